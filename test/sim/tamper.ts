/**
 * Layers that make a graph wrong on purpose: one function between two translators, which may answer a call
 * itself, change it, or change its reply. What mutants are made of.
 */

import type { Call } from "../../src/core/call.ts";
import type { Env } from "../../src/core/env.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { defineXlator, exactly, wind, type XlatorDefinition } from "../../src/core/xlator.ts";
import { Around } from "../../xlators/debug/around.ts";

/** One call on its way down. */
export interface Passing<F extends FopName = FopName> {
  readonly fop: F;
  readonly call: Call;
  readonly args: Args<F>;
  /** Name of the layer; ends with the index of the child it stands over, for layers of clients. */
  readonly layer: string;
  readonly env: Env;
  /** Sends it on, perhaps with other args. */
  next(args?: Args<F>): Promise<Reply<F>>;
}

/** What a layer does to one kind of call. */
export type Tampering = { readonly [F in FopName]?: (passing: Passing<F>) => Promise<Reply<F>> };

export function tamper(type: string, tampering: Tampering): XlatorDefinition {
  return defineXlator({
    type: `sim/${type}`,
    children: exactly(1),
    options: {},
    create: (init) => new Tamper(init, tampering),
  });
}

class Tamper extends Around {
  readonly #tampering: Tampering;

  constructor(init: ConstructorParameters<typeof Around>[0], tampering: Tampering) {
    super(init);
    this.#tampering = tampering;
  }

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const change = this.#tampering[fop] as ((passing: Passing<F>) => Promise<Reply<F>>) | undefined;
    const next = (given: Args<F> = args): Promise<Reply<F>> => wind(this.child, fop, call, given);
    if (change === undefined) return next();
    return change({ fop, call, args, layer: this.name, env: this.env, next });
  }
}
