/**
 * Which blocks a byte range lies in (spec translators.md 5.1). Pure. Offsets and sizes are bytes; block 0 is
 * the file itself, block n from 1 on is the file `/.shard/GFID.n`.
 */

import { type Gfid, gfidText } from "../../../src/core/gfid.ts";

/**
 * Blocks that a client who died left beyond the end of a file are looked for until so many in a row do not
 * exist; so nobody makes one further from the end than that.
 */
export const PROBED_BEYOND = 4;

/** The part of a range that lies in one block. */
export interface Piece {
  readonly block: number;
  /** First byte within the block. */
  readonly offset: number;
  readonly size: number;
  /** First byte within the range. */
  readonly start: number;
}

/** The block that the byte at `offset` lies in. Exact up to 2^53, as a remainder is. */
export function blockOf(offset: number, blockSize: number): number {
  return (offset - (offset % blockSize)) / blockSize;
}

/** The last block of a file of `size` bytes; block 0 exists always. */
export function lastBlock(size: number, blockSize: number): number {
  return size === 0 ? 0 : blockOf(size - 1, blockSize);
}

/** The range block by block; none for an empty one. */
export function pieces(offset: number, size: number, blockSize: number): Piece[] {
  const found: Piece[] = [];
  for (let start = 0; start < size; ) {
    const at = offset + start;
    const within = at % blockSize;
    const length = Math.min(blockSize - within, size - start);
    found.push({ block: (at - within) / blockSize, offset: within, size: length, start });
    start += length;
  }
  return found;
}

/** Name of a block in `/.shard`. */
export function shardName(base: Gfid, block: number): string {
  return `${gfidText(base)}.${block}`;
}

/** The block that a name in `/.shard` is of, when it belongs to the file whose gfid is `prefix` as text. */
export function blockOfName(name: string, prefix: string): number | undefined {
  if (name.length <= prefix.length + 1 || !name.startsWith(prefix) || name[prefix.length] !== ".")
    return undefined;
  const digits = name.slice(prefix.length + 1);
  return /^[1-9]\d*$/.test(digits) ? Number(digits) : undefined;
}
