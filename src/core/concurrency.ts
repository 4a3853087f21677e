/**
 * Few tools for promises: a fop on many children with all outcomes, and one-at-a-time sections.
 */

import type { Clock } from "./env.ts";
import { FopError, toFopError } from "./errors.ts";

/** How one child answered. */
export type Outcome<R> =
  | { readonly ok: true; readonly reply: R }
  | { readonly ok: false; readonly error: FopError };

/** Starts all, waits for all, never rejects; outcomes are in the order of `targets`. */
export function fanout<T, R>(
  targets: readonly T[],
  run: (target: T, index: number) => Promise<R>,
): Promise<Outcome<R>[]> {
  return Promise.all(
    targets.map((target, index) =>
      run(target, index).then(
        (reply): Outcome<R> => ({ ok: true, reply }),
        (error): Outcome<R> => ({ ok: false, error: toFopError(error) }),
      ),
    ),
  );
}

/**
 * The first reply when all who are there did it; undefined when nobody is there (ENOTCONN). Throws the first
 * refusal.
 */
export function replyOfAllThere<R>(outcomes: Iterable<Outcome<R> | undefined>): R | undefined {
  let reply: R | undefined;
  for (const outcome of outcomes) {
    if (outcome?.ok) reply ??= outcome.reply;
    else if (outcome !== undefined && outcome.error.code !== "ENOTCONN") throw outcome.error;
  }
  return reply;
}

/** `Promise.allSettled` for the hot path: the same results at a third of the cost. */
export function allSettled<R>(promises: readonly Promise<R>[]): Promise<PromiseSettledResult<R>[]> {
  return new Promise((resolve) => {
    const results = new Array<PromiseSettledResult<R>>(promises.length);
    let left = promises.length;
    if (left === 0) resolve(results);
    for (let index = 0; index < promises.length; index++)
      promises[index]!.then(
        (value) => {
          results[index] = { status: "fulfilled", value };
          if (--left === 0) resolve(results);
        },
        (reason) => {
          results[index] = { status: "rejected", reason };
          if (--left === 0) resolve(results);
        },
      );
  });
}

/**
 * Runs tasks of the same key one after the other, in the order of arrival; tasks of different keys side by
 * side.
 */
export class KeyedQueue<K> {
  readonly #tails = new Map<K, Promise<unknown>>();

  run<R>(key: K, task: () => Promise<R>): Promise<R> {
    const before = this.#tails.get(key);
    const mine = before ? before.then(task, task) : task();
    const tail: Promise<void> = mine.then(
      () => this.#settle(key, tail),
      () => this.#settle(key, tail),
    );
    this.#tails.set(key, tail);
    return mine;
  }

  #settle(key: K, tail: Promise<unknown>): void {
    if (this.#tails.get(key) === tail) this.#tails.delete(key);
  }
}

/** A promise with its handles outside; whoever makes one names who settles it. */
export class Deferred<R> {
  readonly promise: Promise<R>;
  resolve!: (value: R) => void;
  reject!: (error: unknown) => void;
  constructor() {
    this.promise = new Promise<R>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

/** Waits for `work` (which goes on) for `ms` at most; says whether it has ended. Rejects when it does. */
export function within(clock: Clock, ms: number, work: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, () => resolve(false));
    work.then(
      () => {
        timer.cancel();
        resolve(true);
      },
      (error) => {
        timer.cancel();
        reject(error);
      },
    );
  });
}

/** Rejects with EINTR (told to be from `where`) when the signal fires first; `onAbort` undoes the wait. */
export function abortable<R>(
  work: Promise<R>,
  signal: AbortSignal | undefined,
  onAbort: () => void,
  where: { fop?: string; xlator?: string } = {},
): Promise<R> {
  if (!signal) return work;
  return new Promise<R>((resolve, reject) => {
    const abort = (): void => {
      onAbort();
      reject(new FopError("EINTR", where));
    };
    if (signal.aborted) {
      abort();
      work.catch(() => {});
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
