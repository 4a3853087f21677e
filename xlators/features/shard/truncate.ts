/**
 * Cutting a file off, and making it longer by a hole (spec translators.md 5.4; GlusterFS shard.c,
 * shard_truncate_*).
 *
 * Order: blocks beyond the new end are removed, then the last one is cut, then the size is set. A client that
 * dies in between leaves a file of its old size whose end reads as zeros, and never data beyond the end that
 * a later extension would show. Writes of this client wait meanwhile. Growing changes the size alone: another
 * client may be about to extend the file, and has written beyond its end already.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { PrePost, Reply } from "../../../src/core/fops.ts";
import { SETATTR, ZERO_IATT } from "../../../src/core/iatt.ts";
import { Fd } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { O_ACCMODE, O_RDONLY } from "../../../src/core/open-flags.ts";
import { type Context, eachOf, refusal } from "./context.ts";
import { asRoot, isGone, ofNamed, ROOT_CALL } from "./directories.ts";
import type { ShardFile } from "./file.ts";
import { lastBlock, PROBED_BEYOND } from "./geometry.ts";
import { existingBlocks } from "./listing.ts";
import type { Target } from "./ownership.ts";

/** With more blocks than this to remove, those that exist are listed first. */
const PROBED_MAX = 512;
const SIZE_MAX = Number.MAX_SAFE_INTEGER;
const W_OK = 2;

export class Truncator {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  async truncate(file: ShardFile, call: Call, target: Target, size: number): Promise<Reply<"truncate">> {
    if (size > SIZE_MAX) throw refusal(this.#context, "truncate", "EFBIG");
    if (target instanceof Fd) {
      if ((target.flags & O_ACCMODE) === O_RDONLY) throw refusal(this.#context, "ftruncate", "EINVAL");
    } else if (call.uid !== 0) {
      // The bricks would only check what reaches the base file.
      await this.#context.below.access(call, { loc: { inode: target }, mask: W_OK });
    }
    let pre = file.attributes();
    await file.gate.alone(() =>
      file.size.set(target, size, async (before) => {
        pre = file.attributes();
        if (size <= before) await this.#cut(file, call, target, size, before);
      }),
    );
    const isBaseCut = size <= pre.size && lastBlock(size, file.blockSize) === 0;
    if (!isBaseCut) await this.#stamp(file, call, target);
    return { pre, post: file.attributes() };
  }

  /**
   * Removes what a write that failed left beyond the end, unless another client has the file open: what lies
   * there may be its own, written and not yet accounted for.
   */
  async trim(file: ShardFile, call: Call, target: Fd): Promise<void> {
    await file.gate.alone(() =>
      file.size.keep(target, async (size) => {
        if (!(await this.#isAlone(file, target))) return;
        const first = lastBlock(size, file.blockSize) + 1;
        await this.#removeFrom(file, call, first);
        await this.#cutLast(file, call, target, size);
      }),
    );
  }

  /** A lookup hears of it from all copies. A file without a name loses its blocks when it is closed. */
  async #isAlone(file: ShardFile, { inode }: Fd): Promise<boolean> {
    const xdata = new Dict().setInt(KEY.OPEN_FD_COUNT, 1);
    try {
      const reply = await this.#context.below.lookup(ROOT_CALL, { loc: { inode }, xdata });
      const count = reply.xdata?.number(KEY.OPEN_FD_COUNT);
      return count !== undefined && count <= file.opens;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  async #cut(file: ShardFile, call: Call, target: Target, size: number, before: number): Promise<void> {
    const { shards } = this.#context;
    const first = lastBlock(size, file.blockSize) + 1;
    const last = lastBlock(before, file.blockSize);
    if (last >= first) {
      const possible = last - first + 1;
      const blocks =
        possible > PROBED_MAX
          ? (await existingBlocks(this.#context, file.gfid, call)).filter((block) => block >= first)
          : Array.from({ length: possible }, (_, index) => last - index);
      await eachOf(blocks, async (block) => {
        await this.#remove(file, call, block);
      });
      if (shards.directories.known) await this.#removeFrom(file, call, last + 1);
    }
    await this.#cutLast(file, call, target, size);
  }

  /** Block by block, until some in a row do not exist. */
  async #removeFrom(file: ShardFile, call: Call, first: number): Promise<void> {
    for (let block = first, missing = 0; missing < PROBED_BEYOND; block++)
      missing = (await this.#remove(file, call, block)) ? 0 : missing + 1;
  }

  async #remove(file: ShardFile, call: Call, block: number): Promise<boolean> {
    const { shards } = this.#context;
    const known = shards.known(file, block);
    const blocks = await shards.remove(file.gfid, block, call);
    if (known !== undefined) shards.forget(known);
    if (blocks === undefined) return false;
    file.size.addBlocks(-blocks);
    return true;
  }

  /** Cuts the last block, so that a file of `size` bytes has nothing beyond its end. */
  async #cutLast(file: ShardFile, call: Call, target: Target, size: number): Promise<void> {
    const { below, shards } = this.#context;
    const block = lastBlock(size, file.blockSize);
    const within = size - block * file.blockSize;
    if (block === 0) {
      const done =
        target instanceof Fd
          ? await below.ftruncate(call, { fd: target, offset: within })
          : await below.truncate(call, { loc: { inode: target }, offset: within });
      this.#account(file, done);
      file.saw(done.post);
      return;
    }
    await shards.reach(file, block, call, async (shard) => {
      const loc = { inode: shard.inode };
      this.#account(file, ofNamed(await below.truncate(asRoot(call), { loc, offset: within })));
      file.dirty.add(shard);
    });
  }

  /** Times of the base file, whose contents were not changed. */
  async #stamp(file: ShardFile, call: Call, target: Target): Promise<void> {
    const { below, env } = this.#context;
    const { sec: mtime, nsec: mtimeNsec } = call.time ?? env.clock.wall();
    const args = { stat: { ...ZERO_IATT, mtime, mtimeNsec }, valid: SETATTR.MTIME };
    const root = asRoot(call);
    const { post } =
      target instanceof Fd
        ? await below.fsetattr(root, { fd: target, ...args })
        : await below.setattr(root, { loc: { inode: target }, ...args });
    file.saw(post);
  }

  #account(file: ShardFile, { pre, post }: PrePost): void {
    if (post.blocks !== pre.blocks) file.size.addBlocks(post.blocks - pre.blocks);
  }
}
