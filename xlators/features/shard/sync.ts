/**
 * fsync and flush: the base file, every block that was written since its last sync, and what the disk was not
 * yet told of the block count (spec translators.md 5.4).
 *
 * Promises: after an fsync, all that was acknowledged before it began is on the disks. A block whose sync
 * fails stays to be synced. Syncs that an earlier fsync began are waited for, as they may carry earlier
 * writes.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { SETATTR, ZERO_IATT } from "../../../src/core/iatt.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { O_ACCMODE, O_RDONLY } from "../../../src/core/open-flags.ts";
import { type Context, eachOf } from "./context.ts";
import { asRoot, isGone } from "./directories.ts";
import type { ShardFile } from "./file.ts";

export class Syncer {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  async fsync(file: ShardFile, call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    const before = [...file.syncs];
    const pre = file.lately;
    const [base] = await Promise.all([
      this.#context.below.fsync(call, args),
      this.#syncBlocks(file, call, args.datasync),
      file.size.flushBlocks(args.fd),
      ...before,
    ]);
    file.saw(base.post);
    return { pre, post: file.lately, xdata: base.xdata };
  }

  async flush(file: ShardFile, call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    await Promise.all([file.size.flushBlocks(args.fd), this.#payMtime(file, call, args.fd)]);
    return this.#context.below.flush(call, args);
  }

  /** Writes beyond block 0 moved times of blocks only: the base file gets them when the file is closed. */
  async #payMtime(file: ShardFile, call: Call, fd: Fd): Promise<void> {
    const owed = file.owedMtime;
    if (owed === undefined || (fd.flags & O_ACCMODE) === O_RDONLY) return;
    const args = { fd, stat: { ...ZERO_IATT, ...owed }, valid: SETATTR.MTIME };
    const { post } = await this.#context.below.fsetattr(asRoot(call), args);
    file.saw(post);
  }

  async #syncBlocks(file: ShardFile, call: Call, datasync: boolean): Promise<void> {
    const shards = [...file.dirty];
    if (shards.length === 0) return;
    file.dirty.clear();
    const root = asRoot(call);
    const sync = eachOf(shards, async (shard) => {
      try {
        await this.#context.below.fsync(root, { fd: shard.syncFd, datasync });
      } catch (error) {
        // A block that was taken away has nothing to sync.
        if (!isGone(error)) throw error;
      }
    }).catch((error) => {
      for (const shard of shards) file.dirty.add(shard);
      throw error;
    });
    file.syncs.add(sync);
    try {
      await sync;
    } finally {
      file.syncs.delete(sync);
    }
  }
}
