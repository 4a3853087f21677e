/**
 * A filter that treats all fops alike: one method instead of fifty. What the debug translators are made of.
 */

import type { Call } from "../../src/core/call.ts";
import { type Args, FOP_NAMES, type FopName, type Reply } from "../../src/core/fops.ts";
import type { OptionTable } from "../../src/core/options.ts";
import { Xlator } from "../../src/core/xlator.ts";

export abstract class Around<T extends OptionTable = OptionTable> extends Xlator<T> {
  /** Stands for every fop; `wind(this.child, fop, call, args)` passes it on. */
  protected abstract around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>>;
}

for (const fop of FOP_NAMES)
  Object.defineProperty(Around.prototype, fop, {
    value(this: { around(fop: FopName, call: Call, args: unknown): unknown }, call: Call, args: unknown) {
      return this.around(fop, call, args);
    },
    writable: true,
    configurable: true,
  });
