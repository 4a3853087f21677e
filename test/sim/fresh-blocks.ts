/**
 * A layer below features/shard that looks each block up again before it is read. Replicate learns of what
 * other clients marked when an object is looked up (spec translators.md 4.5): programs cause that for files,
 * and nobody does for blocks. Runs in which copies go stale for some clients alone need it.
 */

import type { Call } from "../../src/core/call.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { defineXlator, exactly, Xlator } from "../../src/core/xlator.ts";

export const freshBlocks = defineXlator({
  type: "sim/fresh-blocks",
  children: exactly(1),
  options: {},
  create: (init) => new FreshBlocks(init),
});

class FreshBlocks extends Xlator {
  override async readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    if (args.fd.anonymous) await this.child.lookup(call, { loc: { inode: args.fd.inode } });
    return this.child.readv(call, args);
  }
}
