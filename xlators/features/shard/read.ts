/**
 * Reading: readv and seek (spec translators.md 5.4; GlusterFS shard.c, which reads in one buffer, makes every
 * block that is read, and has no seek).
 *
 * A block that does not exist reads as zeros and is not made. Blocks are read side by side, and in whole, so
 * that O_DIRECT's rules hold up to the end of the file; what lies beyond the end is cut off afterwards.
 * Blocks that have all that was asked for show that the file reaches so far, as whoever cuts it shortens
 * them; how big it is, is asked where they do not and the known size may be old. Promises: what was read is
 * cut at a size that was known before, so whoever reads a file that grows sees no zeros that nobody wrote.
 */

import type { Call } from "../../../src/core/call.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { type IoVec, iovSlice, type Lease } from "../../../src/core/iovec.ts";
import { type Context, checkReadable, eachOf, refusal } from "./context.ts";
import { asRoot, isGone, isNameless } from "./directories.ts";
import type { ShardFile } from "./file.ts";
import { blockOf, lastBlock, type Piece, pieces } from "./geometry.ts";
import { existingBlocks } from "./listing.ts";

/** With more blocks than this to go through, those that exist are listed first. */
const PROBED_MAX = 512;
const PROBED_AT_ONCE = 32;

type Part = Reply<"readv"> | undefined;

export class Reader {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  async readv(file: ShardFile, call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const { offset, size, fd } = args;
    checkReadable(this.#context, "readv", fd);
    const within = offset % file.blockSize;
    if (within + size > file.blockSize) return this.#readMany(file, call, args);
    const block = (offset - within) / file.blockSize;
    const { size: extent } = file;
    const end = offset + size;
    const before = extent.size;
    const isKnown = extent.covers(end);
    const reading = this.#readOne(file, call, args, block, within, size);
    // Asked after the data was, so that a disk works meanwhile.
    const asking = end <= before ? extent.renew(fd) : isKnown ? undefined : extent.ask(fd);
    asking?.catch(ignore);
    const part = await reading;
    if (isKnown || (end <= before && part?.size === size)) return finish(file, args, before, [part], [size]);
    await (asking ?? extent.refresh(fd));
    const now = extent.size;
    if (end <= before || now <= before) return finish(file, args, now, [part], [size]);
    part?.lease?.release();
    return finish(file, args, now, [await this.#readOne(file, call, args, block, within, size)], [size]);
  }

  async #readMany(file: ShardFile, call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const { offset, size, fd } = args;
    const { size: extent } = file;
    const end = offset + size;
    if (!extent.covers(end)) await extent.ask(fd);
    const before = extent.size;
    const wanted = before <= offset ? [] : pieces(offset, size, file.blockSize);
    const inside = wanted.filter(({ start }) => offset + start < before);
    const parts = await Promise.all(inside.map((piece) => this.#readPiece(file, call, args, piece)));
    return finish(
      file,
      args,
      before,
      parts,
      inside.map((piece) => piece.size),
    );
  }

  #readPiece(file: ShardFile, call: Call, args: Args<"readv">, piece: Piece): Promise<Part> {
    return this.#readOne(file, call, args, piece.block, piece.offset, piece.size);
  }

  /** Undefined when the block does not exist. */
  async #readOne(
    file: ShardFile,
    call: Call,
    { fd, flags, xdata }: Args<"readv">,
    block: number,
    offset: number,
    size: number,
  ): Promise<Part> {
    const { below, shards } = this.#context;
    if (block === 0) return below.readv(call, { fd, offset, size, flags, xdata });
    const found = shards.known(file, block) ?? (await shards.find(file, block, call));
    if (found === undefined) return undefined;
    const root = asRoot(call);
    try {
      const part = await below.readv(root, { fd: found.fdFor(fd.flags), offset, size, flags, xdata });
      if (!isNameless(part.stat)) return part;
      part.lease?.release();
    } catch (error) {
      if (!isGone(error)) throw error;
    }
    // Another client took the block away, and may have made it anew.
    shards.forget(found);
    const again = await shards.find(file, block, call);
    return again && below.readv(root, { fd: again.fdFor(fd.flags), offset, size, flags, xdata });
  }

  async seek(file: ShardFile, call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    const { fd, offset, what } = args;
    checkReadable(this.#context, "seek", fd);
    if (!file.size.ownership.isHeld) await file.size.ask(fd);
    const { size } = file.size;
    if (offset >= size) throw refusal(this.#context, "seek", "ENXIO");
    const first = blockOf(offset, file.blockSize);
    const last = lastBlock(size, file.blockSize);
    for await (const blocks of this.#candidates(file, call, first, last, what)) {
      const found = await this.#seekIn(file, call, args, blocks, offset);
      const at = found.find((one) => one !== undefined);
      if (at === undefined) continue;
      if (at < size) return { offset: at };
      break;
    }
    if (what === "hole") return { offset: size };
    throw refusal(this.#context, "seek", "ENXIO");
  }

  /** Blocks to look into, in order and some at a time; for data of a huge file only those that exist. */
  async *#candidates(
    file: ShardFile,
    call: Call,
    first: number,
    last: number,
    what: "data" | "hole",
  ): AsyncGenerator<number[]> {
    if (what === "data" && last - first > PROBED_MAX) {
      const existing = await existingBlocks(this.#context, file.gfid, call);
      const blocks = existing.filter((block) => block >= first && block <= last).sort((a, b) => a - b);
      if (first === 0) blocks.unshift(0);
      for (let at = 0; at < blocks.length; at += PROBED_AT_ONCE) yield blocks.slice(at, at + PROBED_AT_ONCE);
      return;
    }
    // Most answers are in the first block; further ones are asked side by side.
    yield [first];
    for (let block = first + 1; block <= last; block += PROBED_AT_ONCE) {
      const count = Math.min(PROBED_AT_ONCE, last - block + 1);
      yield Array.from({ length: count }, (_, index) => block + index);
    }
  }

  /** Where it is in each of the blocks, in bytes of the file. */
  async #seekIn(
    file: ShardFile,
    call: Call,
    args: Args<"seek">,
    blocks: readonly number[],
    from: number,
  ): Promise<(number | undefined)[]> {
    const found: (number | undefined)[] = blocks.map(() => undefined);
    const indexes = blocks.map((_, index) => index);
    await eachOf(indexes, async (index) => {
      const start = blocks[index]! * file.blockSize;
      const within = Math.max(0, from - start);
      const at = await this.#seekOne(file, call, args, blocks[index]!, within);
      if (at !== undefined && at < file.blockSize) found[index] = start + at;
    });
    return found;
  }

  /** Bytes from the start of the block; undefined when the block has none. What does not exist is a hole. */
  async #seekOne(
    file: ShardFile,
    call: Call,
    { fd, what, xdata }: Args<"seek">,
    block: number,
    offset: number,
  ): Promise<number | undefined> {
    const { below, shards } = this.#context;
    const nothing = what === "hole" ? offset : undefined;
    try {
      if (block === 0) return (await below.seek(call, { fd, offset, what, xdata })).offset;
      const found = await shards.reach(file, block, call, (shard) =>
        below.seek(asRoot(call), { fd: shard.fd, offset, what, xdata }),
      );
      return found === undefined ? nothing : found.offset;
    } catch (error) {
      // The block's file ends before.
      if (error instanceof FopError && error.code === "ENXIO") return nothing;
      throw error;
    }
  }
}

/**
 * The reply of a read whose blocks answered: gaps filled with zeros, cut at the end of the file as it was
 * known before they were asked. Of what was appended meanwhile they may not have had all.
 */
function finish(
  file: ShardFile,
  { offset, size: asked }: Args<"readv">,
  before: number,
  parts: readonly Part[],
  sizes: readonly number[],
): Reply<"readv"> {
  const stat = file.lately;
  const end = Math.min(before, file.size.size);
  const size = Math.max(0, Math.min(asked, end - offset));
  const eof = offset + size >= end;
  const only = parts.length === 1 ? parts[0] : undefined;
  if (only !== undefined && only.size === size) {
    const { data, lease, xdata } = only;
    return { data, size, stat, eof, lease, xdata };
  }
  const data: Buffer[] = [];
  let left = size;
  for (let index = 0; index < parts.length && left > 0; index++) {
    const wanted = Math.min(sizes[index]!, left);
    const part = parts[index];
    const have = Math.min(part?.size ?? 0, wanted);
    if (have > 0) data.push(...(iovSlice(part!.data, 0, have) as Buffer[]));
    if (have < wanted) data.push(Buffer.alloc(wanted - have));
    left -= wanted;
  }
  return { data: data as IoVec, size, stat, eof, lease: leaseOf(parts), xdata: parts[0]?.xdata };
}

function leaseOf(parts: readonly Part[]): Lease | undefined {
  const leases = parts.flatMap((part) => part?.lease ?? []);
  if (leases.length === 0) return undefined;
  return {
    release() {
      for (const lease of leases) lease.release();
    },
  };
}

function ignore(): void {}
