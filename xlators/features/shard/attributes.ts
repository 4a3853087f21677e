/**
 * The two xattrs of a base file (spec translators.md 5.2): its block size in bytes as one big-endian word,
 * and four words, of which the first is the size in bytes and the third the number of 512-byte blocks of all
 * blocks together. Their values are signed, and only ever changed by adding.
 */

import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Iatt } from "../../../src/core/iatt.ts";

export const SHARD_PREFIX = "trusted.glusterfs.shard.";
export const BLOCK_SIZE_KEY = `${SHARD_PREFIX}block-size`;
export const FILE_SIZE_KEY = `${SHARD_PREFIX}file-size`;
const SIZE_BYTES = 32;
const BLOCKS_AT = 16;

/** Size in bytes and 512-byte blocks of a whole file. */
export interface Extent {
  readonly size: number;
  readonly blocks: number;
}

/** xdata of a fop whose reply shall bring the size. */
export function askingSize(xdata: Dict | undefined): Dict {
  return (xdata?.clone() ?? new Dict()).setUint(FILE_SIZE_KEY, SIZE_BYTES);
}

/** xdata of a fop whose reply shall tell whether the file is cut into blocks, too. */
export function askingAll(xdata: Dict | undefined): Dict {
  return askingSize(xdata).setUint(BLOCK_SIZE_KEY, 0);
}

/** Undefined for a file that is not cut into blocks. EIO when the value makes no sense. */
export function blockSizeOf(xdata: Dict | undefined): number | undefined {
  const bytes = xdata?.bytes(BLOCK_SIZE_KEY);
  if (bytes === undefined) return undefined;
  const value = bytes.length === 8 ? Number(bytes.readBigUInt64BE(0)) : Number.NaN;
  if (value === 0) return undefined;
  if (!Number.isSafeInteger(value))
    throw new FopError("EIO", {
      xlator: "features/shard",
      message: `${BLOCK_SIZE_KEY} is ${bytes.toString("hex")}`,
    });
  return value;
}

/** Undefined when the reply does not have it. Counts that fell below zero are shown as zero. */
export function extentOf(xdata: Dict | undefined): Extent | undefined {
  const bytes = xdata?.bytes(FILE_SIZE_KEY);
  if (bytes === undefined || bytes.length < SIZE_BYTES) return undefined;
  const size = Number(bytes.readBigInt64BE(0));
  const blocks = Number(bytes.readBigInt64BE(BLOCKS_AT));
  return { size: Math.max(0, size), blocks: Math.max(0, blocks) };
}

/** The 32 bytes of sizes, or of what is to be added to them. */
export function encodeExtent({ size, blocks }: Extent): Buffer {
  const bytes = Buffer.alloc(SIZE_BYTES);
  bytes.writeBigInt64BE(BigInt(size), 0);
  bytes.writeBigInt64BE(BigInt(blocks), BLOCKS_AT);
  return bytes;
}

/** xdata with both xattrs, as whoever makes a file gives them to it. */
export function withShardXattrs(xdata: Dict | undefined, blockSize: number, size = 0): Dict {
  const word = Buffer.alloc(8);
  word.writeBigUInt64BE(BigInt(blockSize));
  return (xdata?.clone() ?? new Dict())
    .setBytes(BLOCK_SIZE_KEY, word)
    .setBytes(FILE_SIZE_KEY, encodeExtent({ size, blocks: 0 }));
}

export function withExtent(stat: Iatt, { size, blocks }: Extent): Iatt {
  return { ...stat, size, blocks };
}
