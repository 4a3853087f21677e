/**
 * XDR (RFC 4506, notation of wire.md section 0): big-endian scalars, everything padded to four bytes; and the
 * few combinators that codec tables are made of.
 *
 * Reading: each length is checked against the bytes left and a limit before it is used, so bad input throws
 * XdrError and nothing else, and never makes a large allocation. `fixed` and `opaque` of the reader are views
 * of the record; the `XdrType`s here copy, since decoded values outlive the receive buffer.
 *
 * Writing: one XdrWriter serves many messages; `take` cuts the finished message off a slab, without copying.
 * Values out of range throw XdrError too: a wrong number must not become another number on the wire.
 * 64-bit fields are `number` up to 2^53-1, or `bigint` (`u64n`, `i64n`) where all bits carry meaning.
 */

import { type Gfid, gfidAt, NULL_GFID } from "../core/gfid.ts";
import { decodeName, encodeName } from "../core/name.ts";

/** Bytes of a record do not mean what they should, or a value does not fit its field. */
export class XdrError extends Error {
  /** EOVERFLOW for a 64-bit number past 2^53-1, EPROTO for everything else. */
  readonly code: "EPROTO" | "EOVERFLOW";

  constructor(message: string, code: "EPROTO" | "EOVERFLOW" = "EPROTO") {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = limit;
    this.name = "XdrError";
    this.code = code;
  }
}

const TWO_32 = 2 ** 32;
/** Upper half of 2^53-1. */
const HIGH_MAX = 0x1fffff;
const SAFE_MAX = BigInt(Number.MAX_SAFE_INTEGER);
/** Most elements of a `list` or `array` that names no limit of its own. */
const DEFAULT_COUNT_MAX = 65_536;
const SLAB_BYTES = 16_384;

/** Bytes that `length` (below 2^31) takes with its padding. */
export function padded(length: number): number {
  return (length + 3) & ~3;
}

/**
 * The u32 at `at`; the caller has checked that it is there, as in all `...At` and `put...` functions here.
 */
export function u32At(bytes: Buffer, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function u64At(bytes: Buffer, at: number): number {
  const high = u32At(bytes, at);
  if (high > HIGH_MAX) throw tooLarge(bytes.readBigUInt64BE(at));
  return high * TWO_32 + u32At(bytes, at + 4);
}

export function i64At(bytes: Buffer, at: number): number {
  const value = (u32At(bytes, at) | 0) * TWO_32 + u32At(bytes, at + 4);
  if (!Number.isSafeInteger(value)) throw tooLarge(bytes.readBigInt64BE(at));
  return value;
}

export function putU32(bytes: Buffer, at: number, value: number): void {
  if (value >>> 0 !== value) throw new XdrError(`xdr: ${value} is not a u32`);
  putWord(bytes, at, value);
}

export function putU64(bytes: Buffer, at: number, value: number): void {
  if (!(value >= 0 && Number.isSafeInteger(value))) throw new XdrError(`xdr: ${value} is not a u64`);
  putWord(bytes, at, Math.floor(value / TWO_32));
  putWord(bytes, at + 4, value >>> 0);
}

export function putI64(bytes: Buffer, at: number, value: number): void {
  if (!Number.isSafeInteger(value)) throw new XdrError(`xdr: ${value} is not an i64`);
  putWord(bytes, at, Math.floor(value / TWO_32));
  putWord(bytes, at + 4, value >>> 0);
}

function putWord(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Text from `start` to `end`, without a NUL, decoded as `decodeName` does. */
export function textAt(bytes: Buffer, start: number, end: number): string {
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === 0) throw new XdrError("xdr: text with a NUL inside");
    if (byte >= 0x80) return decodeName(withoutNul(bytes.subarray(start, end)));
  }
  return bytes.toString("utf8", start, end);
}

function withoutNul(bytes: Buffer): Buffer {
  if (bytes.includes(0)) throw new XdrError("xdr: text with a NUL inside");
  return bytes;
}

/** Below this a loop beats the call into native code. */
const LOOP_BYTES_MAX = 64;

/** A copy of `length` bytes at `at`. */
export function copyOf(bytes: Buffer, at: number, length: number): Buffer {
  const copy = Buffer.allocUnsafe(length);
  if (length > LOOP_BYTES_MAX) bytes.copy(copy, 0, at, at + length);
  else for (let i = 0; i < length; i++) copy[i] = bytes[at + i]!;
  return copy;
}

/**
 * Gfids read last, by their last byte. A message names the same few again and again, and gfids never change.
 */
const GFIDS_SEEN = new Array<Gfid>(256).fill(NULL_GFID);

/** The gfid at `at`: one seen before if possible, since comparing costs a fifth of allocating. */
export function sharedGfidAt(bytes: Buffer, at: number): Gfid {
  const slot = bytes[at + 15]!;
  const seen = GFIDS_SEEN[slot]!;
  for (let i = 0; i < 16; i++) {
    if (seen[i] !== bytes[at + i]) {
      const fresh = gfidAt(bytes, at);
      GFIDS_SEEN[slot] = fresh;
      return fresh;
    }
  }
  return seen;
}

function tooShort(length: number, at: number, end: number): XdrError {
  return new XdrError(`xdr: ${length} bytes wanted at offset ${at}, the record ends at ${end}`);
}

function tooLarge(value: bigint): XdrError {
  return new XdrError(`xdr: ${value} has more than 53 bits`, "EOVERFLOW");
}

/** A cursor over `buffer` from `offset` to `end` (both in bytes of the buffer). */
export class XdrReader {
  readonly buffer: Buffer;
  /** Where the next read begins. */
  offset: number;
  readonly end: number;

  constructor(buffer: Buffer, offset = 0, end = buffer.length) {
    this.buffer = buffer;
    this.offset = offset;
    this.end = end;
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.end - this.offset;
  }

  u32(): number {
    return u32At(this.buffer, this.skip(4));
  }

  i32(): number {
    return u32At(this.buffer, this.skip(4)) | 0;
  }

  u64(): number {
    return u64At(this.buffer, this.skip(8));
  }

  i64(): number {
    return i64At(this.buffer, this.skip(8));
  }

  u64n(): bigint {
    const at = this.skip(8);
    const high = u32At(this.buffer, at);
    return high === 0 ? BigInt(u32At(this.buffer, at + 4)) : this.buffer.readBigUInt64BE(at);
  }

  i64n(): bigint {
    const at = this.skip(8);
    const high = u32At(this.buffer, at);
    return high === 0 ? BigInt(u32At(this.buffer, at + 4)) : this.buffer.readBigInt64BE(at);
  }

  /** An IEEE 754 double. */
  f64(): number {
    return this.buffer.readDoubleBE(this.skip(8));
  }

  /** Raw bytes without a length and without padding; a view. */
  fixed(length: number): Buffer {
    const at = this.skip(length);
    return this.buffer.subarray(at, at + length);
  }

  /** Counted bytes, at most `max`; a view. */
  opaque(max: number): Buffer {
    const length = this.counted(max);
    const at = this.skip(padded(length));
    return this.buffer.subarray(at, at + length);
  }

  /** The same, copied: for values that outlive the record. */
  opaqueCopy(max: number): Buffer {
    const length = this.counted(max);
    return copyOf(this.buffer, this.skip(padded(length)), length);
  }

  /**
   * Counted text of at most `max` bytes, decoded as `decodeName` does. C peers cannot hold a NUL in it, so it
   * is refused.
   */
  string(max: number): string {
    const length = this.counted(max);
    const at = this.skip(padded(length));
    return textAt(this.buffer, at, at + length);
  }

  /** A length of at most `max` bytes; what it counts may not be there. */
  counted(max: number): number {
    const length = this.u32();
    if (length > max) throw new XdrError(`xdr: ${length} bytes, at most ${max} are allowed here`);
    return length;
  }

  /** Passes over `length` bytes, which must be there; gives where they begin in `buffer`. */
  skip(length: number): number {
    const at = this.offset;
    if (length > this.end - at) throw tooShort(length, at, this.end);
    this.offset = at + length;
    return at;
  }

  /** Sixteen bytes, never a view: gfids are kept for long. */
  gfid(): Gfid {
    return sharedGfidAt(this.buffer, this.skip(16));
  }
}

/** Builds messages one after the other in slabs of its own. */
export class XdrWriter {
  readonly #slabBytes: number;
  /** Memory that `reserve` has positions of, until the next `reserve`. */
  slab: Buffer;
  #start = 0;
  #at = 0;

  /** @param slabBytes size of a slab; messages that are larger get one to measure. */
  constructor(slabBytes = SLAB_BYTES) {
    this.#slabBytes = slabBytes;
    this.slab = Buffer.allocUnsafeSlow(slabBytes);
  }

  /** Bytes of the message so far. */
  get length(): number {
    return this.#at - this.#start;
  }

  u32(value: number): void {
    const at = this.reserve(4);
    putU32(this.slab, at, value);
  }

  i32(value: number): void {
    if ((value | 0) !== value) throw new XdrError(`xdr: ${value} is not an i32`);
    const at = this.reserve(4);
    putWord(this.slab, at, value);
  }

  u64(value: number): void {
    const at = this.reserve(8);
    putU64(this.slab, at, value);
  }

  i64(value: number): void {
    const at = this.reserve(8);
    putI64(this.slab, at, value);
  }

  u64n(value: bigint): void {
    const at = this.reserve(8);
    if (value >= 0n && value <= SAFE_MAX) putU64(this.slab, at, Number(value));
    else if (BigInt.asUintN(64, value) === value) this.slab.writeBigUInt64BE(value, at);
    else throw new XdrError(`xdr: ${value} is not a u64`);
  }

  i64n(value: bigint): void {
    const at = this.reserve(8);
    if (value >= 0n && value <= SAFE_MAX) putU64(this.slab, at, Number(value));
    else if (BigInt.asIntN(64, value) === value) this.slab.writeBigInt64BE(value, at);
    else throw new XdrError(`xdr: ${value} is not an i64`);
  }

  /** An IEEE 754 double. */
  f64(value: number): void {
    const at = this.reserve(8);
    this.slab.writeDoubleBE(value, at);
  }

  /** Raw bytes, no length, no padding. */
  fixed(bytes: Buffer): void {
    const at = this.reserve(bytes.length);
    this.slab.set(bytes, at);
  }

  /** Counted bytes and their padding. */
  opaque(bytes: Buffer): void {
    this.u32(bytes.length);
    const at = this.reserve(padded(bytes.length));
    this.slab.set(bytes, at);
    this.slab.fill(0, at + bytes.length, this.#at);
  }

  /**
   * Counted text, encoded as `encodeName` does, without a terminating NUL. Gives its length in bytes,
   * unpadded.
   */
  string(text: string): number {
    const length = text.length;
    const at = this.reserve(4 + padded(length));
    const slab = this.slab;
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit === 0) throw new XdrError("xdr: string with a NUL inside");
      if (unit >= 0x80) {
        this.#at = at;
        return this.#encoded(text);
      }
      slab[at + 4 + i] = unit;
    }
    for (let i = at + 4 + length; i < this.#at; i++) slab[i] = 0;
    putU32(slab, at, length);
    return length;
  }

  /** Sixteen bytes as they are. */
  gfid(gfid: Gfid): void {
    const at = this.reserve(16);
    const slab = this.slab;
    for (let i = 0; i < 16; i++) slab[at + i] = gfid[i]!;
  }

  /** Overwrites the u32 at `at` (bytes from the start of this message), for lengths known only afterwards. */
  patchU32(at: number, value: number): void {
    if (at < 0 || at + 4 > this.length) throw new XdrError(`xdr: nothing to patch at ${at}`);
    putU32(this.slab, this.#start + at, value);
  }

  /** The message, the writer's no more; the next one begins empty. */
  take(): Buffer {
    const message = this.slab.subarray(this.#start, this.#at);
    this.#start = this.#at;
    return message;
  }

  /** Drops the message begun, after an error half-way through. */
  discard(): void {
    this.#at = this.#start;
  }

  /** Claims `count` bytes in `slab`, not zeroed; gives where they begin. */
  reserve(count: number): number {
    if (this.#at + count > this.slab.length) this.#grow(count);
    const at = this.#at;
    this.#at = at + count;
    return at;
  }

  #encoded(text: string): number {
    if (text.includes("\0")) throw new XdrError("xdr: string with a NUL inside");
    const bytes = encodeName(text);
    this.opaque(bytes);
    return bytes.length;
  }

  #grow(count: number): void {
    const length = this.length;
    const slab = Buffer.allocUnsafeSlow(Math.max(this.#slabBytes, 2 * (length + count)));
    this.slab.copy(slab, 0, this.#start, this.#at);
    this.slab = slab;
    this.#start = 0;
    this.#at = length;
  }
}

/** How a value of type T looks on the wire, both ways. */
export interface XdrType<T> {
  read(reader: XdrReader): T;
  write(writer: XdrWriter, value: T): void;
}

/** The TypeScript type behind an XdrType. */
export type XdrValue<T> = T extends XdrType<infer V> ? V : never;

type Fields = Readonly<Record<string, XdrType<unknown>>>;
type Struct<F extends Fields> = { readonly [K in keyof F]: XdrValue<F[K]> };

export const u32: XdrType<number> = { read: (r) => r.u32(), write: (w, value) => w.u32(value) };
export const i32: XdrType<number> = { read: (r) => r.i32(), write: (w, value) => w.i32(value) };
export const u64: XdrType<number> = { read: (r) => r.u64(), write: (w, value) => w.u64(value) };
export const i64: XdrType<number> = { read: (r) => r.i64(), write: (w, value) => w.i64(value) };
export const u64n: XdrType<bigint> = { read: (r) => r.u64n(), write: (w, value) => w.u64n(value) };
export const i64n: XdrType<bigint> = { read: (r) => r.i64n(), write: (w, value) => w.i64n(value) };
export const gfid: XdrType<Gfid> = { read: (r) => r.gfid(), write: (w, value) => w.gfid(value) };

/** Text of at most `max` bytes. */
export function str(max: number): XdrType<string> {
  return { read: (r) => r.string(max), write: (w, value) => w.string(value) };
}

/** Counted bytes, at most `max`; copied on reading. */
export function opaque(max: number): XdrType<Buffer> {
  return { read: (r) => r.opaqueCopy(max), write: (w, value) => w.opaque(value) };
}

/** `length` raw bytes; copied on reading. */
export function fixed(length: number): XdrType<Buffer> {
  return {
    read: (r) => copyOf(r.buffer, r.skip(length), length),
    write(w, value) {
      if (value.length !== length) throw new XdrError(`xdr: ${value.length} bytes instead of ${length}`);
      w.fixed(value);
    },
  };
}

/**
 * Fields one after the other, in the order they are written here.
 *
 * Reader and writer are put together as source text, once for each struct: property names that the engine
 * knows cost a fifth of ones that it has to look up, and every message is read and written by these. The text
 * is made of the names of our own tables and nothing else.
 */
export function struct<const F extends Fields>(fields: F): XdrType<Struct<F>> {
  const names = Object.keys(fields);
  for (const name of names) if (!/^[a-zA-Z]+$/.test(name)) throw new Error(`xdr: "${name}" names no field`);
  const types = names.map((_name, index) => `type${index}`);
  const reads = names.map((name, index) => `${name}: type${index}.read(r)`);
  const writes = names.map((name, index) => `type${index}.write(w, value.${name});`);
  const source = `return {
    read(r) { return { ${reads.join(", ")} }; },
    write(w, value) { ${writes.join(" ")} },
  };`;
  return new Function(...types, source)(...Object.values(fields)) as XdrType<Struct<F>>;
}

/** A chain of optional values: u32 1 before each, u32 0 after the last (wire.md section 0). */
export function list<T>(type: XdrType<T>, max = DEFAULT_COUNT_MAX): XdrType<readonly T[]> {
  return {
    read(r) {
      const values: T[] = [];
      for (let more = r.u32(); more !== 0; more = r.u32()) {
        if (more !== 1) throw new XdrError(`xdr: list link ${more} is neither 0 nor 1`);
        if (values.length === max) throw new XdrError(`xdr: list of more than ${max} elements`);
        values.push(type.read(r));
      }
      return values;
    },
    write(w, values) {
      for (const value of values) {
        w.u32(1);
        type.write(w, value);
      }
      w.u32(0);
    },
  };
}

/** A u32 count, then that many values. */
export function array<T>(type: XdrType<T>, max = DEFAULT_COUNT_MAX): XdrType<readonly T[]> {
  return {
    read(r) {
      const count = r.u32();
      if (count > max) throw new XdrError(`xdr: array of ${count} elements, at most ${max} are allowed here`);
      const values: T[] = [];
      for (let i = 0; i < count; i++) values.push(type.read(r));
      return values;
    },
    write(w, values) {
      w.u32(values.length);
      for (const value of values) type.write(w, value);
    },
  };
}

/** The value encoded on its own. */
export function encode<T>(type: XdrType<T>, value: T): Buffer {
  const writer = new XdrWriter(256);
  type.write(writer, value);
  return writer.take();
}

/** The value in `bytes`, which must hold it and nothing after it. */
export function decode<T>(type: XdrType<T>, bytes: Buffer): T {
  const reader = new XdrReader(bytes);
  const value = type.read(reader);
  if (reader.remaining !== 0) throw new XdrError(`xdr: ${reader.remaining} bytes after the end of the value`);
  return value;
}
