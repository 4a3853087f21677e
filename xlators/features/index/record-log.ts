/**
 * The bytes of a record of changed ranges: a head that says whose it is, then one part for each increment of
 * the pending counter, in order. A part says which value it makes of the counter; the ranges of all parts
 * together explain the value of the last. Parts carry checksums, and a broken one ends the record: if its
 * increment took place nevertheless, the counter on disk tells. Pure.
 */

import { crc32 } from "node:zlib";
import { ChangedRanges, decodeRanges } from "../../../src/core/changed-ranges.ts";
import type { Gfid } from "../../../src/core/gfid.ts";

/** One increment, and also what a whole record says. */
export interface RecordPart {
  /** Value of the pending data counter after it. */
  readonly counter: number;
  /** Dirty counts left on the missing copy, all parts up to this one together. */
  readonly dirtyLeft: number;
  readonly ranges: ChangedRanges;
}

const MAGIC = Buffer.from("MortarR1");
const GFID_BYTES = 16;
/** Magic, gfid, size of the pending key; the key and a checksum follow. */
const HEAD_BYTES = MAGIC.length + GFID_BYTES + 2;
const CHECKSUM_BYTES = 4;
/** Size, checksum, two counters; the ranges follow. */
const PART_BYTES = 16;
const COUNTERS_BYTES = 8;

export function encodeHead(gfid: Gfid, key: string): Buffer {
  const name = Buffer.from(key, "utf8");
  const out = Buffer.alloc(HEAD_BYTES + name.length + CHECKSUM_BYTES);
  MAGIC.copy(out);
  gfid.copy(out, MAGIC.length);
  out.writeUInt16BE(name.length, MAGIC.length + GFID_BYTES);
  name.copy(out, HEAD_BYTES);
  out.writeUInt32BE(crc32(out.subarray(0, -CHECKSUM_BYTES)), HEAD_BYTES + name.length);
  return out;
}

export function encodePart(part: RecordPart): Buffer {
  const ranges = part.ranges.encode();
  const out = Buffer.alloc(PART_BYTES + ranges.length);
  out.writeUInt32BE(COUNTERS_BYTES + ranges.length, 0);
  out.writeInt32BE(part.counter, 8);
  out.writeUInt32BE(part.dirtyLeft, 12);
  ranges.copy(out, PART_BYTES);
  out.writeUInt32BE(crc32(out.subarray(8)), 4);
  return out;
}

/** Undefined when it is not a record of this file and copy, or has no whole part. */
export function decodeLog(bytes: Buffer, gfid: Gfid, key: string): RecordPart | undefined {
  const head = encodeHead(gfid, key);
  if (!bytes.subarray(0, head.length).equals(head)) return undefined;
  const ranges = new ChangedRanges();
  let state: RecordPart | undefined;
  for (let at = head.length; at + PART_BYTES <= bytes.length; ) {
    const end = at + 8 + bytes.readUInt32BE(at);
    if (end > bytes.length || end < at + PART_BYTES) break;
    if (crc32(bytes.subarray(at + 8, end)) !== bytes.readUInt32BE(at + 4)) break;
    const added = decodeRanges(bytes.subarray(at + PART_BYTES, end));
    if (!added) break;
    ranges.addAll(added);
    state = {
      counter: bytes.readInt32BE(at + 8),
      dirtyLeft: bytes.readUInt32BE(at + 12),
      ranges,
    };
    at = end;
  }
  return state;
}
