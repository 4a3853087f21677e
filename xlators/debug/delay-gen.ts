/**
 * debug/delay-gen: makes fops late (GlusterFS xlators/debug/delay-gen).
 *
 * By options: a share of the calls goes down after a fixed time on the Env's clock. By script, for tests:
 * `hold` stops calls (or replies) of a fop until they are let go, so that an interleaving is written down
 * instead of hoped for. Only calls and replies that the holds name wait; at `fini` whatever is still held
 * goes on.
 */

import type { Call } from "../../src/core/call.ts";
import { Deferred } from "../../src/core/concurrency.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { int, type OptionTable, percent } from "../../src/core/options.ts";
import { defineXlator, exactly, wind } from "../../src/core/xlator.ts";
import { Around } from "./around.ts";
import { fopList } from "./fop-list.ts";

const options = {
  "delay-percentage": percent({ default: 10, live: true, describe: "Share of the calls that are delayed." }),
  "delay-duration": int({ default: 100_000, min: 0, live: true, describe: "How long, in microseconds." }),
  enable: fopList({ describe: "Fops that may be delayed; none named: all." }),
} as const satisfies OptionTable;

export const delayGen = defineXlator({
  type: "debug/delay-gen",
  children: exactly(1),
  options,
  create: (init) => new DelayGen(init),
});

/** Calls (or replies) of one fop that are stopped. */
export class Hold {
  readonly fop: FopName;
  readonly stage: "call" | "reply";
  readonly #waiting: Deferred<void>[] = [];
  readonly #arrivals: Deferred<void>[] = [];

  constructor(fop: FopName, stage: "call" | "reply") {
    this.fop = fop;
    this.stage = stage;
  }

  /** How many are stopped now. */
  get count(): number {
    return this.#waiting.length;
  }

  /** Resolves when one is stopped here, at once if one is already. */
  arrived(): Promise<void> {
    if (this.count > 0) return Promise.resolve();
    const arrival = new Deferred<void>();
    this.#arrivals.push(arrival);
    return arrival.promise;
  }

  /** Lets the oldest `count` go on. */
  release(count = 1): void {
    for (const waiting of this.#waiting.splice(0, count)) waiting.resolve();
  }

  /** For the translator: waits here. */
  stop(): Promise<void> {
    const waiting = new Deferred<void>();
    this.#waiting.push(waiting);
    for (const arrival of this.#arrivals.splice(0)) arrival.resolve();
    return waiting.promise;
  }
}

export class DelayGen extends Around<typeof options> {
  readonly #holds = new Set<Hold>();

  /** Stops every call of a fop before it goes down, or every reply before it goes up, until `unhold`. */
  hold(fop: FopName, stage: Hold["stage"] = "call"): Hold {
    const hold = new Hold(fop, stage);
    this.#holds.add(hold);
    return hold;
  }

  /** Lets all go on and stops no more. */
  unhold(hold: Hold): void {
    this.#holds.delete(hold);
    hold.release(Number.POSITIVE_INFINITY);
  }

  override async fini(): Promise<void> {
    for (const hold of [...this.#holds]) this.unhold(hold);
  }

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const held = this.#holds.size > 0 && [...this.#holds].some((hold) => hold.fop === fop);
    if (!held && !this.#isChosen(fop)) return wind(this.child, fop, call, args);
    return this.#late(fop, call, args);
  }

  async #late<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    if (!(await this.#stop(fop, "call"))) await this.#pause();
    try {
      return await wind(this.child, fop, call, args);
    } finally {
      await this.#stop(fop, "reply");
    }
  }

  /** Waits at every hold of this stage; says whether the fop is held at any stage. */
  async #stop(fop: FopName, stage: Hold["stage"]): Promise<boolean> {
    const holds = [...this.#holds].filter((hold) => hold.fop === fop);
    for (const hold of holds) if (hold.stage === stage) await hold.stop();
    return holds.length > 0;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.env.clock.after(this.options["delay-duration"] / 1000, resolve);
    });
  }

  #isChosen(fop: FopName): boolean {
    const { enable } = this.options;
    if (enable.length > 0 && !enable.includes(fop)) return false;
    const share = this.options["delay-percentage"];
    return share > 0 && this.env.random.float() * 100 < share;
  }
}
