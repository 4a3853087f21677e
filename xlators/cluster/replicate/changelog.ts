/**
 * The changelog on disk: who missed what (spec translators.md 4.1).
 *
 * Every brick that completed an operation keeps, for each brick that missed it, twelve bytes in
 * `trusted.afr.BRICK-ID`: three big-endian counters, data, metadata and entry. `trusted.afr.dirty` has the
 * same form and counts operations that began here and have no verdict yet. They change through xattrop
 * ADD_ARRAY alone, so increments of several clients add up.
 */

import { Dict } from "../../../src/core/dict.ts";

/**
 * What an operation changes; the three counters. Entry of a file has no meaning; data of a directory asks
 * for a full entry heal.
 */
export type Slot = "data" | "metadata" | "entry";
export const SLOTS = ["data", "metadata", "entry"] as const satisfies readonly Slot[];

/** Three counters; negative ones are decrements. */
export interface Counts {
  readonly data: number;
  readonly metadata: number;
  readonly entry: number;
}

export const NO_COUNTS: Counts = Object.freeze({ data: 0, metadata: 0, entry: 0 });
export const COUNTS_BYTES = 12;
export const AFR_PREFIX = "trusted.afr.";
export const DIRTY_KEY = "trusted.afr.dirty";

const ZERO = Buffer.alloc(COUNTS_BYTES);

/** What one brick has to say of one inode. */
export interface ChangelogRow {
  /** By child: what that child missed, as this brick recorded it. */
  readonly pending: readonly Counts[];
  readonly dirty: Counts;
}

export function countsOf(slot: Slot, count: number): Counts {
  return { ...NO_COUNTS, [slot]: count };
}

export function addCounts(a: Counts, b: Counts): Counts {
  return { data: a.data + b.data, metadata: a.metadata + b.metadata, entry: a.entry + b.entry };
}

export function negateCounts(counts: Counts): Counts {
  return { data: -counts.data, metadata: -counts.metadata, entry: -counts.entry };
}

export function isClean(counts: Counts): boolean {
  return counts.data === 0 && counts.metadata === 0 && counts.entry === 0;
}

/**
 * The counters of an xattr; absent ones are zero. They are read as signed, as the xattrop arithmetic is: a
 * metadata heal of GlusterFS leaves a host-endian 1, which is 0x01000000 here and is undone by subtracting it
 * (gotcha 7).
 */
export function decodeCounts(bytes: Buffer | undefined): Counts {
  if (bytes === undefined) return NO_COUNTS;
  const at = (offset: number): number => (bytes.length >= offset + 4 ? bytes.readInt32BE(offset) : 0);
  return { data: at(0), metadata: at(4), entry: at(8) };
}

export function encodeCounts(counts: Counts): Buffer {
  const bytes = Buffer.allocUnsafe(COUNTS_BYTES);
  bytes.writeInt32BE(counts.data | 0, 0);
  bytes.writeInt32BE(counts.metadata | 0, 4);
  bytes.writeInt32BE(counts.entry | 0, 8);
  return bytes;
}

/** The row in a reply's xattrs; `pendingKeys` by child. */
export function decodeRow(xattrs: Dict | undefined, pendingKeys: readonly string[]): ChangelogRow {
  return {
    pending: pendingKeys.map((key) => decodeCounts(xattrs?.bytes(key))),
    dirty: decodeCounts(xattrs?.bytes(DIRTY_KEY)),
  };
}

/** xdata of a lookup that wants the row back; adds to `xdata` when one is given. */
export function requestRow(pendingKeys: readonly string[], xdata: Dict = new Dict()): Dict {
  for (const key of pendingKeys) xdata.setBytes(key, ZERO);
  return xdata.setBytes(DIRTY_KEY, ZERO);
}

/**
 * Increments for one xattrop. Every pending key is named, those that stay with zeroes, so that the reply
 * shows what blame is on disk (spec 4.4, pre-op); zeroes do not create the xattr.
 */
export function rowIncrements(
  pendingKeys: readonly string[],
  pending: (child: number) => Counts | undefined,
  dirty: Counts = NO_COUNTS,
): Dict {
  const xattrs = new Dict();
  for (const [child, key] of pendingKeys.entries()) {
    const counts = pending(child);
    xattrs.setBytes(key, counts ? encodeCounts(counts) : ZERO);
  }
  return xattrs.setBytes(DIRTY_KEY, encodeCounts(dirty));
}
