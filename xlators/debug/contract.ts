/**
 * debug/contract: checks that the layers above and below keep the rules of src/core, and blames the one that
 * does not (design shape.md 7). Tests put it between all layers.
 *
 * Checked: fields of args and replies (contract-checks.ts); fops answer with a promise, only FopErrors with
 * their place in them, and within `timeout`; payloads on loan are not written to; nothing is called before
 * child-up nor after parent-down, nothing is in flight at fini; an fd is not used after its release.
 * A breach rejects the fop with ContractError, which no edge takes for an errno, is logged, and stays in
 * `breaches`.
 */

import type { Call } from "../../src/core/call.ts";
import type { Timer } from "../../src/core/env.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { Fd } from "../../src/core/inode.ts";
import type { IoVec } from "../../src/core/iovec.ts";
import { type OptionTable, time } from "../../src/core/options.ts";
import {
  type ChildEvent,
  defineXlator,
  exactly,
  type ParentEvent,
  wind,
  type XlatorBase,
} from "../../src/core/xlator.ts";
import { Around } from "./around.ts";
import { argsFault, callFault, replyFault } from "./contract-checks.ts";

const options = {
  timeout: time({
    default: 600,
    min: 0,
    live: true,
    describe: "Seconds a fop may take; 0: any. Waiting locks are exempt.",
  }),
} as const satisfies OptionTable;

export const contract = defineXlator({
  type: "debug/contract",
  children: exactly(1),
  options,
  create: (init) => new Contract(init),
});

/** A layer broke the rules: a bug in Mortar, never an errno. */
export class ContractError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ContractError";
  }
}

/** Fops that may wait for another client for ever. */
const MAY_WAIT: ReadonlySet<FopName> = new Set([
  "lk",
  "inodelk",
  "finodelk",
  "entrylk",
  "fentrylk",
  "unlink",
  "rmdir",
  "rename",
]);

export class Contract extends Around<typeof options> {
  readonly #breaches: string[] = [];
  readonly #inFlight = new Map<number, FopName>();
  readonly #released = new WeakSet<Fd>();
  #sequence = 0;
  #childUp = false;
  #stopped = false;

  /** What was broken so far, in order. */
  get breaches(): readonly string[] {
    return this.#breaches;
  }

  override async fini(): Promise<void> {
    for (const fop of this.#inFlight.values()) this.#breach("below", fop, "is still in flight at fini");
  }

  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    if (event.type === "child-up") this.#childUp = true;
    super.onChildEvent(event, from);
  }

  override onParentEvent(event: ParentEvent): void {
    this.#stopped = event.type === "parent-down";
    super.onParentEvent(event);
  }

  override async release(fd: Fd): Promise<void> {
    if (this.#released.has(fd)) this.#breach("above", "release", "the fd was released before");
    this.#released.add(fd);
    await super.release(fd);
  }

  override async releasedir(fd: Fd): Promise<void> {
    if (this.#released.has(fd)) this.#breach("above", "releasedir", "the fd was released before");
    this.#released.add(fd);
    await super.releasedir(fd);
  }

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const fault = this.#lifeFault() ?? callFault(call) ?? argsFault(fop, args) ?? this.#fdFault(args);
    if (fault !== undefined) return Promise.reject(this.#breach("above", fop, fault));
    return this.#watched(fop, call, args);
  }

  async #watched<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const sequence = ++this.#sequence;
    const lent = lentSum(args);
    const timer = this.#startTimer(fop);
    this.#inFlight.set(sequence, fop);
    try {
      const reply = await this.#started(fop, call, args);
      const fault = replyFault(fop, args, reply);
      if (fault !== undefined) throw this.#breach("below", fop, fault);
      return reply;
    } catch (error) {
      throw this.#checkedError(fop, error);
    } finally {
      timer?.cancel();
      this.#inFlight.delete(sequence);
      if (lentSum(args) !== lent) this.#breach("below", fop, "data was changed while on loan");
    }
  }

  /** A fop must neither throw nor answer without a promise. */
  #started<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    let promise: Promise<Reply<F>>;
    try {
      promise = wind(this.child, fop, call, args);
    } catch (error) {
      throw this.#breach("below", fop, `threw instead of rejecting: ${String(error)}`);
    }
    if (promise instanceof Promise) return promise;
    throw this.#breach("below", fop, "did not answer with a promise");
  }

  #checkedError(fop: FopName, error: unknown): unknown {
    if (error instanceof ContractError) return error;
    if (!(error instanceof FopError))
      return this.#breach("below", fop, `rejected with something else than a FopError: ${String(error)}`);
    if (error.fop === "" || error.xlator === "")
      return this.#breach("below", fop, `rejected with ${error.code}, but without telling where`);
    return error;
  }

  #startTimer(fop: FopName): Timer | undefined {
    const seconds = this.options.timeout;
    if (seconds === 0 || MAY_WAIT.has(fop)) return undefined;
    return this.env.clock.after(seconds * 1000, () => {
      this.#breach("below", fop, `has not settled after ${seconds} s`);
    });
  }

  #lifeFault(): string | undefined {
    if (!this.#childUp) return "called before child-up";
    return this.#stopped ? "called after parent-down" : undefined;
  }

  #fdFault(args: object): string | undefined {
    for (const value of Object.values(args))
      if (value instanceof Fd && this.#released.has(value)) return "the fd was released before";
    return undefined;
  }

  #breach(side: "above" | "below", fop: string, what: string): ContractError {
    const who = side === "below" ? `"${this.child.name}"` : `whoever is above "${this.child.name}"`;
    const message = `contract: ${who}: ${fop}: ${what}`;
    this.#breaches.push(message);
    this.log.error("contract broken", { side, fop, what });
    return new ContractError(message);
  }
}

/** A checksum of the payload that goes down; enough to notice a write to it. */
function lentSum(args: object): number {
  const data = (args as { data?: IoVec }).data;
  if (!data) return 0;
  let sum = 0;
  for (const part of data) for (let i = 0; i < part.length; i++) sum = (Math.imul(sum, 31) + part[i]!) | 0;
  return sum;
}
