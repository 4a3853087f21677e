/**
 * A layer right above each connection of a client that counts calls without an answer, so that the end of a
 * run can tell whether one was forgotten.
 */

import type { Call } from "../../src/core/call.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { defineXlator, exactly, wind, type XlatorDefinition } from "../../src/core/xlator.ts";
import { Around } from "../../xlators/debug/around.ts";

/** Calls under way, by fop, of one life of a client. */
export type InFlight = Map<FopName, number>;

export function inFlightOver(calls: InFlight): XlatorDefinition {
  return defineXlator({
    type: "sim/in-flight",
    children: exactly(1),
    options: {},
    create: (init) => new Counter(init, calls),
  });
}

class Counter extends Around {
  readonly #calls: InFlight;

  constructor(init: ConstructorParameters<typeof Around>[0], calls: InFlight) {
    super(init);
    this.#calls = calls;
  }

  protected override async around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    this.#add(fop, 1);
    try {
      return await wind(this.child, fop, call, args);
    } finally {
      this.#add(fop, -1);
    }
  }

  #add(fop: FopName, count: number): void {
    const now = (this.#calls.get(fop) ?? 0) + count;
    if (now === 0) this.#calls.delete(fop);
    else this.#calls.set(fop, now);
  }
}
