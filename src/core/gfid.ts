/**
 * The gfid: sixteen bytes that name an inode on every brick (spec wire.md 7.7). Never mutated once made.
 */

import { randomFillSync } from "node:crypto";

declare const brand: unique symbol;

/** Sixteen bytes in textual uuid order. */
export type Gfid = Buffer & { readonly [brand]: "gfid" };

/** 00000000-0000-0000-0000-000000000001, the root of every volume. */
export const ROOT_GFID: Gfid = gfidOf(Buffer.from("00000000000000000000000000000001", "hex"));
/** All zero: "no gfid". */
export const NULL_GFID: Gfid = gfidOf(Buffer.alloc(16));

const GFID_BYTES = 16;
/** Memory that gfids share with nothing else: one that is kept for long keeps all that lies beside it. */
const POOL_BYTES = 4096;
let pool = new ArrayBuffer(POOL_BYTES);
let poolUsed = 0;

/** Room for a gfid. */
function room(): Buffer {
  if (poolUsed === POOL_BYTES) {
    pool = new ArrayBuffer(POOL_BYTES);
    poolUsed = 0;
  }
  const bytes = Buffer.from(pool, poolUsed, GFID_BYTES);
  poolUsed += GFID_BYTES;
  return bytes;
}

/** Checks the length and brands; the bytes are shared, not copied. */
export function gfidOf(bytes: Buffer): Gfid {
  if (bytes.length !== 16) throw new RangeError(`gfid: ${bytes.length} bytes instead of 16`);
  return bytes as Gfid;
}

/** A copy of sixteen bytes inside a larger buffer (which may be reused afterwards). */
export function gfidAt(buffer: Buffer, offset: number): Gfid {
  const copy = room();
  for (let i = 0; i < 16; i++) copy[i] = buffer[offset + i]!;
  return copy as Gfid;
}

/** The same of sixteen random bytes, as a version-4 uuid. */
export function randomGfidAt(random: Buffer, offset: number): Gfid {
  return asVersion4(gfidAt(random, offset));
}

function asVersion4(bytes: Buffer): Gfid {
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes as Gfid;
}

/** A random version-4 uuid. */
export function newGfid(): Gfid {
  return asVersion4(randomFillSync(room()));
}

/** A short string that is equal for equal gfids; for Map keys, not for people. */
export function gfidKey(gfid: Gfid): string {
  return gfid.toString("latin1", 0, 16);
}

/** `be318638-e8a0-4c6d-977d-7a937aa84806` */
export function gfidText(gfid: Gfid): string {
  const hex = gfid.toString("hex", 0, 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Text with or without dashes to a gfid; undefined when it is not one. */
export function parseGfid(text: string): Gfid | undefined {
  const hex = text.replaceAll("-", "");
  return /^[0-9a-fA-F]{32}$/.test(hex) ? gfidOf(Buffer.from(hex, "hex")) : undefined;
}

export function gfidEquals(a: Gfid, b: Gfid): boolean {
  return a === b || a.equals(b);
}

export function isNullGfid(gfid: Gfid): boolean {
  return gfid.equals(NULL_GFID);
}

/**
 * Inode number as GlusterFS derives it: the last eight gfid bytes, big-endian; the root is 1 (wire.md 5.1).
 */
export function inoOf(gfid: Gfid): bigint {
  return gfid.readBigUInt64BE(8);
}
