/**
 * Changing data: writev, fallocate, discard and zerofill (spec translators.md 5.4; GlusterFS shard.c,
 * shard_common_inode_write_*).
 *
 * Blocks are changed side by side; then the size on disk is raised if the range ends beyond it. A write
 * within a block that is known, below a size that is known, costs one writev, however old that knowledge is:
 * whoever cuts a file removes its blocks or shortens them. Beside the look for another block the size is
 * asked. When the file of a block grew, or was gone, the size is confirmed (file-size.ts); should the file
 * have been cut, the data is written again while nobody may cut it: what is acknowledged neither lies beyond
 * the end nor is lost with it. Limit: a third client that wrote more into a block that was cut, and has not
 * raised the size yet, hides the cut from who believes in an old size. Of a write that fails later on, what
 * is without a gap is acknowledged as a short one. O_SYNC and O_DSYNC hold for every block and for the size.
 */

import type { Call } from "../../../src/core/call.ts";
import { fanout } from "../../../src/core/concurrency.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Args, FopName, PrePost, Reply } from "../../../src/core/fops.ts";
import { gfidText } from "../../../src/core/gfid.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { type IoVec, iovSize, iovSlice } from "../../../src/core/iovec.ts";
import { KEY } from "../../../src/core/keys.ts";
import { O_APPEND, O_DIRECT, O_DSYNC, O_LARGEFILE, O_RDWR, O_SYNC } from "../../../src/core/open-flags.ts";
import { type Context, checkWritable, eachOf, refusal } from "./context.ts";
import { asRoot, isGone, ofNamed } from "./directories.ts";
import type { ShardFile } from "./file.ts";
import { blockOf, lastBlock, type Piece, PROBED_BEYOND, pieces } from "./geometry.ts";
import type { Shard } from "./shards.ts";

/** Empty blocks that an allocation beyond the end may leave before it. */
const GAP_MAX = 1024;
/** Has bricks tell blocks before and after so that differences add up. */
const ATOMIC = new Dict().setUint(KEY.WRITE_UPDATE_ATOMIC, 1);
/** Flags of the caller's file that matter for blocks; the rest is about the base file. */
const CARRIED = O_DIRECT | O_SYNC;

/** What is done to one block, which `fd` reaches. */
type Change = (fd: Fd, piece: Piece) => Promise<PrePost>;

export class Writer {
  readonly #context: Context;
  /** Takes away what a failed change left beyond the end of the file. */
  readonly #trim: (file: ShardFile, call: Call, fd: Fd) => Promise<void>;

  constructor(context: Context, trim: (file: ShardFile, call: Call, fd: Fd) => Promise<void>) {
    this.#context = context;
    this.#trim = trim;
  }

  async writev(file: ShardFile, call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    const { fd, offset } = args;
    checkWritable(this.#context, "writev", fd);
    const size = iovSize(args.data);
    const pre = file.lately;
    const sizeBefore = file.size.size;
    if (size === 0) return { size, pre, post: pre };
    let written = 0;
    if (!file.gate.tryEnter()) await file.gate.enter();
    try {
      if (((args.flags | fd.flags) & O_APPEND) !== 0) {
        await file.size.append(fd, async (end) => {
          written = await this.#write(file, call, args, end, size);
          return end + written;
        });
        await this.#syncSize(call, args);
      } else {
        if (offset > sizeBefore) await this.#comeNear(file, fd, offset);
        const { growths } = file;
        const isExtending = offset + size > file.size.size;
        if (isExtending) file.size.comes();
        try {
          const writing = this.#write(file, call, args, offset, size);
          // Asked after the data was sent, so that a disk works meanwhile.
          const asking = file.size.renew(fd);
          written = await writing;
          await asking;
        } finally {
          if (isExtending) file.size.arrives();
        }
        const end = offset + written;
        if (isInDoubt(file, end, growths)) {
          const found = await this.#reach(file, fd, end, sizeBefore, async () => {
            written = await this.#write(file, call, args, offset, size);
            return offset + written;
          });
          if (found < end) await this.#syncSize(call, args);
        }
      }
    } finally {
      file.gate.leave();
      if (written < size) this.#cleanUp(file, call, fd, offset + size);
    }
    const xdata = args.xdata === undefined ? undefined : answers(args, sizeBefore);
    return { size: written, pre, post: file.lately, xdata };
  }

  /**
   * With keepSize files of blocks stay as long as they are, too: one that reached beyond the end would hide
   * from a writer that another client has cut the file. Bricks count only blocks within their files, so this
   * room counts when it is written.
   */
  async fallocate(file: ShardFile, call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    const { below } = this.#context;
    const { keepSize } = args;
    const xdata = atomic(args.xdata);
    if (keepSize) await this.#reachBlocks(file, call, args);
    const change: Change = (fd, { offset, size }) =>
      below.fallocate(fd === args.fd ? call : asRoot(call), { fd, keepSize, offset, size, xdata });
    return this.#fill("fallocate", file, call, args, change, keepSize);
  }

  /**
   * Blocks beyond the end of the file are found by those before them, when the file is cut or removed: a
   * range that begins further on has them made, empty.
   */
  async #reachBlocks(file: ShardFile, call: Call, { fd, offset }: Args<"fallocate">): Promise<void> {
    if (!file.size.ownership.isHeld) await file.size.ask(fd);
    const first = lastBlock(file.size.size, file.blockSize) + 1;
    const count = blockOf(offset, file.blockSize) - first;
    if (count <= 0) return;
    const message = `${count} blocks would lie between the end of the file and the range`;
    if (count > GAP_MAX) throw refusal(this.#context, "fallocate", "EOPNOTSUPP", message);
    await eachOf(
      Array.from({ length: count }, (_, index) => first + index),
      async (block) => {
        await this.#context.shards.obtain(file, block, call);
      },
    );
  }

  zerofill(file: ShardFile, call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    const { below } = this.#context;
    const xdata = atomic(args.xdata);
    return this.#fill("zerofill", file, call, args, (fd, { offset, size }) =>
      below.zerofill(fd === args.fd ? call : asRoot(call), { fd, offset, size, xdata }),
    );
  }

  /** Punches holes; blocks that do not exist are holes already, and the size stays. */
  async discard(file: ShardFile, call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    const { below, shards } = this.#context;
    const { fd, offset } = args;
    this.#checkRange("discard", args);
    const xdata = atomic(args.xdata);
    const pre = file.attributes();
    if (!file.gate.tryEnter()) await file.gate.enter();
    try {
      if (!file.size.covers(offset + args.size)) await file.size.ask(fd);
      const inside = Math.max(0, Math.min(args.size, file.size.size - offset));
      await eachOf(pieces(offset, inside, file.blockSize), async (piece) => {
        const { block, offset: from, size } = piece;
        if (block === 0) {
          this.#count(file, undefined, await below.discard(call, { fd, offset: from, size, xdata }));
          return;
        }
        await shards.reach(file, block, call, async (shard) => {
          const lower = { fd: shard.fd, offset: from, size, xdata };
          this.#count(file, shard, ofNamed(await below.discard(asRoot(call), lower)));
        });
      });
    } finally {
      file.gate.leave();
    }
    return { pre, post: file.attributes() };
  }

  /** Changes every block of a range and raises the size to its end. */
  async #fill(
    fop: FopName,
    file: ShardFile,
    call: Call,
    args: Args<"zerofill">,
    change: Change,
    keepSize = false,
  ): Promise<PrePost> {
    const { fd, offset, size } = args;
    this.#checkRange(fop, args);
    const pre = file.attributes();
    const end = offset + size;
    let isDone = false;
    if (!file.gate.tryEnter()) await file.gate.enter();
    try {
      const asking = file.size.isFresh ? undefined : file.size.refresh(fd);
      asking?.catch(ignore);
      const { growths } = file;
      if (!keepSize && offset > file.size.size) await this.#comeNear(file, fd, offset);
      const sizeBefore = file.size.size;
      await this.#changeAll(file, call, args, change);
      await asking;
      if (!keepSize && isInDoubt(file, end, growths))
        await this.#reach(file, fd, end, sizeBefore, async () => {
          await this.#changeAll(file, call, args, change);
          return end;
        });
      await file.size.flushBlocks(fd);
      isDone = true;
    } finally {
      file.gate.leave();
      if (!isDone) this.#cleanUp(file, call, fd, end);
    }
    return { pre, post: file.attributes() };
  }

  /**
   * Before blocks far beyond the end are made the size is raised to where they begin: should this client die
   * then, whoever cuts or removes the file still finds them. A write that fails leaves the file as long.
   */
  async #comeNear(file: ShardFile, fd: Fd, offset: number): Promise<void> {
    const first = blockOf(offset, file.blockSize);
    if (first > lastBlock(file.size.size, file.blockSize) + PROBED_BEYOND)
      await file.size.extend(fd, first * file.blockSize);
  }

  /**
   * Blocks were changed up to `end`: makes the size on disk cover that, and answers the one that was found.
   * Should another client have cut the file meanwhile, the change is made `again`, which answers its end: the
   * cut may have taken it along. `sizeBefore`: as it was known before the change.
   */
  async #reach(
    file: ShardFile,
    fd: Fd,
    end: number,
    sizeBefore: number,
    again: () => Promise<number>,
  ): Promise<number> {
    const found = await file.size.confirm(fd, end);
    if (found < Math.min(end, sizeBefore)) await file.size.append(fd, again);
    return found;
  }

  #changeAll(
    file: ShardFile,
    call: Call,
    { fd, offset, size }: Args<"zerofill">,
    change: Change,
  ): Promise<void> {
    const ranges = pieces(offset, size, file.blockSize);
    return eachOf(ranges, (piece) => this.#change(file, call, fd, piece, change));
  }

  async #change(file: ShardFile, call: Call, fd: Fd, piece: Piece, change: Change): Promise<void> {
    const { shards } = this.#context;
    const { block } = piece;
    if (block === 0) {
      this.#account(file, undefined, piece, await change(fd, piece));
      return;
    }
    const shard = shards.known(file, block) ?? (await this.#arrive(file, call, fd, piece));
    try {
      this.#account(file, shard, piece, ofNamed(await change(shard.fd, piece)));
      return;
    } catch (error) {
      if (!isGone(error)) throw error;
      this.#wasTaken(shard);
    }
    const again = await shards.obtain(file, block, call);
    this.#account(file, again, piece, ofNamed(await change(again.fd, piece)));
  }

  /** Bytes that were written from the start of the range on, without a gap; fails when there are none. */
  async #write(
    file: ShardFile,
    call: Call,
    args: Args<"writev">,
    offset: number,
    size: number,
  ): Promise<number> {
    const within = offset % file.blockSize;
    const block = (offset - within) / file.blockSize;
    if (within + size <= file.blockSize) return this.#writeOne(file, call, args, block, within, args.data);
    const parts = pieces(offset, size, file.blockSize);
    const outcomes = await fanout(parts, (piece) => {
      const data = iovSlice(args.data, piece.start, piece.start + piece.size);
      return this.#writeOne(file, call, args, piece.block, piece.offset, data);
    });
    let written = 0;
    for (let index = 0; index < parts.length; index++) {
      const outcome = outcomes[index]!;
      if (!outcome.ok && written === 0) throw outcome.error;
      if (!outcome.ok) break;
      written += outcome.reply;
      if (outcome.reply < parts[index]!.size) break;
    }
    return written;
  }

  async #writeOne(
    file: ShardFile,
    call: Call,
    args: Args<"writev">,
    block: number,
    offset: number,
    data: IoVec,
  ): Promise<number> {
    const { below, shards } = this.#context;
    const xdata = atomic(args.xdata);
    if (block === 0) {
      const reply = await below.writev(call, { fd: args.fd, data, offset, flags: args.flags, xdata });
      this.#account(file, undefined, { offset, size: reply.size }, reply);
      return reply.size;
    }
    const root = asRoot(call);
    const given = args.flags | args.fd.flags;
    const flags = (given & CARRIED) | O_RDWR | O_LARGEFILE;
    const piece = { block, offset, size: iovSize(data) };
    const shard = shards.known(file, block) ?? (await this.#arrive(file, call, args.fd, piece));
    try {
      const reply = await below.writev(root, { fd: shard.fdFor(given), data, offset, flags, xdata });
      this.#account(file, shard, { offset, size: reply.size }, ofNamed(reply));
      return reply.size;
    } catch (error) {
      if (!isGone(error)) throw error;
      this.#wasTaken(shard);
    }
    const again = await shards.obtain(file, block, call);
    const reply = await below.writev(root, { fd: again.fdFor(given), data, offset, flags, xdata });
    this.#account(file, again, { offset, size: reply.size }, ofNamed(reply));
    return reply.size;
  }

  /**
   * A block that is not known, for a change that ends within it. Where the size seems to cover that, another
   * client may have cut the file since, and a third one made the block anew that has not said yet how long
   * the file is.
   */
  async #arrive(
    file: ShardFile,
    call: Call,
    fd: Fd,
    { block, offset, size }: Pick<Piece, "block" | "offset" | "size">,
  ): Promise<Shard> {
    const isCovered = block * file.blockSize + offset + size <= file.size.size;
    const asking = isCovered && !file.size.ownership.isHeld ? file.size.ask(fd) : undefined;
    asking?.catch(ignore);
    const shard = await this.#context.shards.obtain(file, block, call);
    await asking;
    return shard;
  }

  /** Another client took the block away; whoever made it anew may not have said yet how long the file is. */
  #wasTaken(shard: Shard): void {
    shard.file.growths++;
    this.#context.shards.forget(shard);
  }

  /** A range of a block was filled: what that means for the file. */
  #account(
    file: ShardFile,
    shard: Shard | undefined,
    { offset, size }: { readonly offset: number; readonly size: number },
    changed: PrePost,
  ): void {
    // Less than it had: it was cut just now.
    if (changed.pre.size < offset + size || changed.post.size < changed.pre.size) file.growths++;
    this.#count(file, shard, changed);
  }

  #count(file: ShardFile, shard: Shard | undefined, { pre, post }: PrePost): void {
    if (post.blocks !== pre.blocks) file.size.addBlocks(post.blocks - pre.blocks);
    if (shard === undefined) {
      file.saw(post);
      return;
    }
    file.dirty.add(shard);
    file.touched(post);
  }

  /** A synchronous write is not over before its size is on the disk. */
  async #syncSize(call: Call, { fd, flags }: Args<"writev">): Promise<void> {
    if (((flags | fd.flags) & O_DSYNC) !== 0) await this.#context.below.fsync(call, { fd, datasync: true });
  }

  #checkRange(fop: FopName, { fd, size }: { readonly fd: Fd; readonly size: number }): void {
    checkWritable(this.#context, fop, fd);
    if (size === 0) throw refusal(this.#context, fop, "EINVAL");
  }

  /** After a change that failed, if it was to reach beyond the end of the file; one at a time. */
  #cleanUp(file: ShardFile, call: Call, fd: Fd, end: number): void {
    if (file.isTrimmed || end <= file.size.size) return;
    file.isTrimmed = true;
    this.#trim(file, call, fd)
      .catch((error) => {
        this.#context.log.debug("what a failed write left beyond the end of a file could not be removed", {
          gfid: gfidText(file.gfid),
          error,
        });
      })
      .finally(() => {
        file.isTrimmed = false;
      });
  }
}

/** Blocks were changed up to `end`, and `growths` counted before: whether the size may not cover that. */
function isInDoubt(file: ShardFile, end: number, growths: number): boolean {
  return end > file.size.size || file.growths !== growths;
}

function atomic(xdata: Dict | undefined): Dict {
  return xdata === undefined ? ATOMIC : xdata.clone().setUint(KEY.WRITE_UPDATE_ATOMIC, 1);
}

/** What a write's xdata asked for and is about the whole file. */
function answers({ fd, offset, xdata }: Args<"writev">, sizeBefore: number): Dict {
  const reply = new Dict();
  const isAppend = offset === sizeBefore || (fd.flags & O_APPEND) !== 0;
  if (xdata!.has(KEY.WRITE_IS_APPEND)) reply.setUint(KEY.WRITE_IS_APPEND, isAppend ? 1 : 0);
  return reply;
}

function ignore(): void {}
