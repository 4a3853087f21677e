/**
 * XDR (RFC 4506): big-endian scalars, everything padded to four bytes; and the few combinators that codec tables are made of.
 *
 * Reading: each length is checked against the bytes left and a limit before it is used, so bad input throws
 * XdrError and nothing else, and never makes a large allocation. `fixed` and `opaque` of the reader are views of the record; the
 * `XdrType`s here copy, since decoded values outlive the receive buffer.
 *
 * Writing: one XdrWriter serves many messages; `take` cuts the finished message off a slab, without copying.
 * Values out of range throw XdrError too: a wrong number must not become another number on the wire.
 *
 * 64-bit fields are `number` up to 2^53-1, or `bigint` (`u64n`, `i64n`) where all bits carry meaning. Notation: wire.md section 0.
 */

import { type Gfid, gfidAt } from "../core/gfid.ts";
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
/** Most elements of a `list` or `array` that names no limit of its own. */
const DEFAULT_COUNT_MAX = 65_536;
const SLAB_BYTES = 16_384;

/** Bytes that `length` takes with its padding. */
export function padded(length: number): number {
  return (length + 3) & ~3;
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
    return this.i32() >>> 0;
  }

  i32(): number {
    const at = this.#advance(4);
    const bytes = this.buffer;
    return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  }

  u64(): number {
    const high = this.u32();
    const low = this.u32();
    if (high > 0x1fffff)
      throw new XdrError(
        `xdr: u64 ${BigInt(high) * 0x1_0000_0000n + BigInt(low)} is past 2^53-1`,
        "EOVERFLOW",
      );
    return high * TWO_32 + low;
  }

  i64(): number {
    const high = this.i32();
    const low = this.u32();
    const value = high * TWO_32 + low;
    if (high > 0x1fffff || value < Number.MIN_SAFE_INTEGER)
      throw new XdrError(
        `xdr: i64 ${BigInt(high) * 0x1_0000_0000n + BigInt(low)} is past 2^53-1`,
        "EOVERFLOW",
      );
    return value;
  }

  u64n(): bigint {
    return this.buffer.readBigUInt64BE(this.#advance(8));
  }

  i64n(): bigint {
    return this.buffer.readBigInt64BE(this.#advance(8));
  }

  /** An IEEE 754 double. */
  f64(): number {
    return this.buffer.readDoubleBE(this.#advance(8));
  }

  /** Raw bytes without a length and without padding; a view. */
  fixed(length: number): Buffer {
    const at = this.#advance(length);
    return this.buffer.subarray(at, at + length);
  }

  /** Counted bytes, at most `max`; a view. */
  opaque(max: number): Buffer {
    const length = this.u32();
    if (length > max) throw new XdrError(`xdr: opaque of ${length} bytes, at most ${max} are allowed here`);
    const at = this.#advance(padded(length));
    return this.buffer.subarray(at, at + length);
  }

  /** Counted text of at most `max` bytes, decoded as `decodeName` does. C peers cannot hold a NUL in it, so it is refused. */
  string(max: number): string {
    const text = decodeName(this.opaque(max));
    if (text.includes("\0")) throw new XdrError("xdr: string with a NUL inside");
    return text;
  }

  /** Passes over `length` bytes; gives where they begin in `buffer`. */
  skip(length: number): number {
    return this.#advance(length);
  }

  /** Sixteen bytes, copied: gfids are kept for long. */
  gfid(): Gfid {
    return gfidAt(this.buffer, this.#advance(16));
  }

  /** Claims `length` bytes; gives where they begin. */
  #advance(length: number): number {
    const at = this.offset;
    if (length > this.end - at)
      throw new XdrError(`xdr: ${length} bytes wanted at offset ${at}, the record ends at ${this.end}`);
    this.offset = at + length;
    return at;
  }
}

/** Builds messages one after the other in slabs of its own. */
export class XdrWriter {
  readonly #slabBytes: number;
  #slab: Buffer;
  #start = 0;
  #at = 0;

  /** @param slabBytes size of a slab; messages that are larger get one to measure. */
  constructor(slabBytes = SLAB_BYTES) {
    this.#slabBytes = slabBytes;
    this.#slab = Buffer.allocUnsafeSlow(slabBytes);
  }

  /** Bytes of the message so far. */
  get length(): number {
    return this.#at - this.#start;
  }

  u32(value: number): void {
    if (value >>> 0 !== value) throw new XdrError(`xdr: ${value} is not a u32`);
    this.#word(value);
  }

  i32(value: number): void {
    if ((value | 0) !== value) throw new XdrError(`xdr: ${value} is not an i32`);
    this.#word(value);
  }

  u64(value: number): void {
    if (!(value >= 0 && Number.isSafeInteger(value))) throw new XdrError(`xdr: ${value} is not a u64`);
    this.#word(Math.floor(value / TWO_32));
    this.#word(value % TWO_32);
  }

  i64(value: number): void {
    if (!Number.isSafeInteger(value)) throw new XdrError(`xdr: ${value} is not an i64`);
    this.#word(Math.floor(value / TWO_32));
    this.#word(value >>> 0);
  }

  u64n(value: bigint): void {
    if (BigInt.asUintN(64, value) !== value) throw new XdrError(`xdr: ${value} is not a u64`);
    const at = this.#reserve(8);
    this.#slab.writeBigUInt64BE(value, at);
  }

  i64n(value: bigint): void {
    if (BigInt.asIntN(64, value) !== value) throw new XdrError(`xdr: ${value} is not an i64`);
    const at = this.#reserve(8);
    this.#slab.writeBigInt64BE(value, at);
  }

  /** An IEEE 754 double. */
  f64(value: number): void {
    const at = this.#reserve(8);
    this.#slab.writeDoubleBE(value, at);
  }

  /** Raw bytes, no length, no padding. */
  fixed(bytes: Buffer): void {
    const at = this.#reserve(bytes.length);
    this.#slab.set(bytes, at);
  }

  /** Counted bytes and their padding. */
  opaque(bytes: Buffer): void {
    this.u32(bytes.length);
    const at = this.#reserve(padded(bytes.length));
    this.#slab.set(bytes, at);
    this.#slab.fill(0, at + bytes.length, this.#at);
  }

  /** Counted text, encoded as `encodeName` does, without a terminating NUL. Gives its length in bytes, unpadded. */
  string(text: string): number {
    const length = text.length;
    const at = this.#reserve(4 + padded(length));
    const slab = this.#slab;
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
    this.#put(at, length);
    return length;
  }

  /** Sixteen bytes as they are. */
  gfid(gfid: Gfid): void {
    const at = this.#reserve(16);
    const slab = this.#slab;
    for (let i = 0; i < 16; i++) slab[at + i] = gfid[i]!;
  }

  /** Overwrites the u32 at `at` (bytes from the start of this message), for lengths known only afterwards. */
  patchU32(at: number, value: number): void {
    if (at < 0 || at + 4 > this.length) throw new XdrError(`xdr: nothing to patch at ${at}`);
    this.#put(this.#start + at, value);
  }

  /** The message, the writer's no more; the next one begins empty. */
  take(): Buffer {
    const message = this.#slab.subarray(this.#start, this.#at);
    this.#start = this.#at;
    return message;
  }

  /** Drops the message begun, after an error half-way through. */
  discard(): void {
    this.#at = this.#start;
  }

  #encoded(text: string): number {
    if (text.includes("\0")) throw new XdrError("xdr: string with a NUL inside");
    const bytes = encodeName(text);
    this.opaque(bytes);
    return bytes.length;
  }

  #word(value: number): void {
    this.#put(this.#reserve(4), value);
  }

  #put(at: number, value: number): void {
    const slab = this.#slab;
    slab[at] = value >>> 24;
    slab[at + 1] = value >>> 16;
    slab[at + 2] = value >>> 8;
    slab[at + 3] = value;
  }

  /** Room for `count` bytes (not zeroed), claimed; gives where they begin. */
  #reserve(count: number): number {
    if (this.#at + count > this.#slab.length) this.#grow(count);
    const at = this.#at;
    this.#at = at + count;
    return at;
  }

  #grow(count: number): void {
    const length = this.length;
    const slab = Buffer.allocUnsafeSlow(Math.max(this.#slabBytes, 2 * (length + count)));
    this.#slab.copy(slab, 0, this.#start, this.#at);
    this.#slab = slab;
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
  return { read: (r) => Buffer.from(r.opaque(max)), write: (w, value) => w.opaque(value) };
}

/** `length` raw bytes; copied on reading. */
export function fixed(length: number): XdrType<Buffer> {
  return {
    read: (r) => Buffer.from(r.fixed(length)),
    write(w, value) {
      if (value.length !== length) throw new XdrError(`xdr: ${value.length} bytes instead of ${length}`);
      w.fixed(value);
    },
  };
}

/** Fields one after the other, in the order they are written here. */
export function struct<const F extends Fields>(fields: F): XdrType<Struct<F>> {
  const names = Object.keys(fields);
  const types = names.map((name) => fields[name]!);
  const count = names.length;
  return {
    read(r) {
      const value: Record<string, unknown> = {};
      for (let i = 0; i < count; i++) value[names[i]!] = types[i]!.read(r);
      return value as Struct<F>;
    },
    write(w, value) {
      for (let i = 0; i < count; i++) types[i]!.write(w, (value as Record<string, unknown>)[names[i]!]);
    },
  };
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
