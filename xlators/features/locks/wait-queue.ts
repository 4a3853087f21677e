/**
 * Fops that wait for something of another owner to go away, in the order of arrival. Each promise settles
 * once: granted, refused with an errno (clear-locks, disconnect, release, graph stop), or EINTR when the
 * caller gives up.
 */

import { Deferred } from "../../../src/core/concurrency.ts";
import { type ErrnoName, FopError } from "../../../src/core/errors.ts";

interface Waiting<T> {
  readonly request: T;
  readonly deferred: Deferred<void>;
  /** Stops listening to the caller's signal. */
  readonly unlisten: () => void;
}

export class WaitQueue<T> {
  #waiting: Waiting<T>[] = [];

  get size(): number {
    return this.#waiting.length;
  }

  get requests(): T[] {
    return this.#waiting.map((waiting) => waiting.request);
  }

  some(test: (request: T) => boolean): boolean {
    return this.#waiting.some((waiting) => test(waiting.request));
  }

  /** Waits until granted. `onAbort` is called, after the request left the queue, when the caller gave up. */
  wait(request: T, signal: AbortSignal | undefined, onAbort: () => void): Promise<void> {
    const deferred = new Deferred<void>();
    if (signal?.aborted) return Promise.reject(new FopError("EINTR"));
    const abort = (): void => {
      this.#waiting = this.#waiting.filter((other) => other !== waiting);
      deferred.reject(new FopError("EINTR"));
      onAbort();
    };
    const unlisten = (): void => signal?.removeEventListener("abort", abort);
    const waiting: Waiting<T> = { request, deferred, unlisten };
    signal?.addEventListener("abort", abort, { once: true });
    this.#waiting.push(waiting);
    return deferred.promise;
  }

  /**
   * Grants, in order, whatever passes the test. While one is tested the queue holds just those before it that
   * stay. Returns how many.
   */
  grantWhere(test: (request: T) => boolean): number {
    const all = this.#waiting;
    if (all.length === 0) return 0;
    this.#waiting = [];
    for (const waiting of all) {
      if (!test(waiting.request)) {
        this.#waiting.push(waiting);
        continue;
      }
      waiting.unlisten();
      waiting.deferred.resolve();
    }
    return all.length - this.#waiting.length;
  }

  /** Refuses requests; returns how many. */
  refuse(which: (request: T) => boolean, code: ErrnoName): number {
    const refused = this.#waiting.filter((waiting) => which(waiting.request));
    this.#waiting = this.#waiting.filter((waiting) => !refused.includes(waiting));
    for (const { unlisten, deferred } of refused) {
      unlisten();
      deferred.reject(new FopError(code));
    }
    return refused.length;
  }
}
