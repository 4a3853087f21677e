/**
 * Dicts on the wire: the typed form of the fop program (wire.md 4.1) and the untyped one of handshakes and
 * callbacks (4.2).
 *
 * Keys carry one terminating NUL inside their length. Text is decoded as names are, so that bytes survive;
 * text values end at their first NUL, as they do for C. Binary values and gfids are copied out of the record.
 * A key that comes twice has its last value, as in GlusterFS.
 *
 * Limits. A pair takes at least 16 bytes of its record, so the record limit bounds the count; DICT_PAIRS_MAX
 * keeps small values from being blown up into a million objects (stock clients send a few dozen). Keys are
 * xattr names (255) or commands that carry a name or path behind a prefix, hence PATH_MAX. libglusterfs takes
 * values of up to 1 MiB.
 */

import { Dict, type DictValue, type Mdata } from "../core/dict.ts";
import { encodeName } from "../core/name.ts";
import { iatt } from "./structs.ts";
import { copyOf, padded, textAt, XdrError, XdrReader, type XdrType, type XdrWriter } from "./xdr.ts";

export const DICT_PAIRS_MAX = 4096;
export const DICT_KEY_BYTES_MAX = 4096;
export const DICT_VALUE_BYTES_MAX = 1024 * 1024;
/** A whole untyped dict, as it travels in one opaque. */
export const LEGACY_DICT_BYTES_MAX = 4 * 1024 * 1024;

/** Bytes before the pairs: xdr_size, count, length of the array. */
export const DICT_HEADER_BYTES = 12;

/** Wire numbers of the value types. */
const TYPES = {
  "str-old": 1,
  int: 2,
  uint: 3,
  double: 4,
  str: 5,
  ptr: 6,
  gfuuid: 7,
  iatt: 8,
  mdata: 9,
} as const satisfies Record<DictValue["type"], number>;

/** `count` of an absent dict. */
const ABSENT = -1;

/** A typed dict; undefined is GlusterFS' NULL. */
export const dict: XdrType<Dict | undefined> = {
  read: (r) => readDict(r, false),
  write: writeDict,
};

/**
 * The typed dict in front of a payload. Stock receivers find the payload by `xdr_size` alone (wire.md 1.6),
 * so a wrong one is an error here, while elsewhere nobody reads it.
 */
export const payloadDict: XdrType<Dict | undefined> = {
  read: readPayloadDict,
  write: writeDict,
};

/** An untyped dict inside an opaque; undefined is the empty opaque. */
export const legacyDict: XdrType<Dict | undefined> = {
  read(r) {
    const bytes = r.opaque(LEGACY_DICT_BYTES_MAX);
    return bytes.length === 0 ? undefined : decodeLegacyDict(bytes);
  },
  write(w, value) {
    if (value === undefined) w.u32(0);
    else w.opaque(encodeLegacyDict(value));
  },
};

/** Larger ones are seldom the same again. */
const SEEN_BYTES_MAX = 128;
let seenBytes: Buffer = Buffer.alloc(0);
let seen: Dict | undefined;

/**
 * Who writes says the same with every write: bytes that are those of the last dict need no decoding, and
 * share its value, which nobody changes (what came in xdata is copied before anything is added).
 */
function readPayloadDict(r: XdrReader): Dict | undefined {
  const start = r.offset;
  const end = start + seenBytes.length;
  if (end > start && end <= r.end && r.buffer.compare(seenBytes, 0, seenBytes.length, start, end) === 0) {
    r.offset = end;
    return seen;
  }
  const value = readDict(r, true);
  const length = r.offset - start;
  if (value !== undefined && value.size > 0 && length <= SEEN_BYTES_MAX) {
    seenBytes = copyOf(r.buffer, start, length);
    seen = value;
  }
  return value;
}

function readDict(r: XdrReader, sizeMatters: boolean): Dict | undefined {
  const size = r.u32();
  const count = r.i32();
  const pairs = r.u32();
  if (pairs === 0) {
    if (sizeMatters && size !== 0) throw wrongSize(size, 0);
    return count < 0 ? undefined : new Dict();
  }
  if (pairs > DICT_PAIRS_MAX)
    throw new XdrError(`dict: ${pairs} pairs, at most ${DICT_PAIRS_MAX} are allowed`);
  const start = r.offset;
  const value = new Dict();
  for (let i = 0; i < pairs; i++) value.set(readKey(r), readValue(r));
  if (sizeMatters && size !== r.offset - start) throw wrongSize(size, r.offset - start);
  return count < 0 ? undefined : value;
}

function wrongSize(size: number, actual: number): XdrError {
  return new XdrError(`dict: xdr_size ${size} where the pairs take ${actual} bytes`);
}

/** Counted text whose one NUL is its last byte. */
function readKey(r: XdrReader): string {
  const length = r.counted(DICT_KEY_BYTES_MAX);
  const at = r.skip(padded(length));
  return keyAt(r.buffer, at, at + length - 1);
}

function keyAt(bytes: Buffer, start: number, end: number): string {
  if (end < start || bytes[end] !== 0) throw new XdrError("dict: key without a NUL at its end");
  return textAt(bytes, start, end);
}

function readValue(r: XdrReader): DictValue {
  const type = r.u32();
  switch (type) {
    case TYPES["str-old"]:
      return { type: "str-old", value: r.opaqueCopy(DICT_VALUE_BYTES_MAX) };
    case TYPES.int:
      return { type: "int", value: r.i64n() };
    case TYPES.uint:
      return { type: "uint", value: r.u64n() };
    case TYPES.double:
      return { type: "double", value: r.f64() };
    case TYPES.str:
      return { type: "str", value: readText(r) };
    case TYPES.ptr:
      return { type: "ptr", value: r.opaqueCopy(DICT_VALUE_BYTES_MAX) };
    case TYPES.gfuuid:
      return { type: "gfuuid", value: r.gfid() };
    case TYPES.iatt:
      return { type: "iatt", value: iatt.read(r) };
    case TYPES.mdata:
      return { type: "mdata", value: readMdata(r) };
    default:
      throw new XdrError(`dict: value of unknown type ${type}`);
  }
}

/** Text up to its first NUL, which may be missing. */
function readText(r: XdrReader): string {
  const length = r.counted(DICT_VALUE_BYTES_MAX);
  const start = r.skip(padded(length));
  let end = start;
  while (end < start + length && r.buffer[end] !== 0) end++;
  return textAt(r.buffer, start, end);
}

function writeDict(w: XdrWriter, value: Dict | undefined): void {
  const header = w.length;
  w.u32(0);
  w.i32(value === undefined ? ABSENT : value.size);
  w.u32(value === undefined ? 0 : value.size);
  if (value === undefined || value.size === 0) return;
  for (const [key, entry] of value) {
    writeText(w, key);
    writeValue(w, entry);
  }
  w.patchU32(header, w.length - header - DICT_HEADER_BYTES);
}

function writeValue(w: XdrWriter, entry: DictValue): void {
  w.u32(TYPES[entry.type]);
  switch (entry.type) {
    case "str-old":
    case "ptr":
      w.opaque(entry.value);
      break;
    case "int":
      w.i64n(entry.value);
      break;
    case "uint":
      w.u64n(entry.value);
      break;
    case "double":
      w.f64(entry.value);
      break;
    case "str":
      writeText(w, entry.value);
      break;
    case "gfuuid":
      w.gfid(entry.value);
      break;
    case "iatt":
      iatt.write(w, entry.value);
      break;
    case "mdata":
      writeMdata(w, entry.value);
  }
}

/** Text with its NUL counted: `string` minus the NUL, then what the NUL adds to length and padding. */
function writeText(w: XdrWriter, text: string): void {
  const at = w.length;
  const length = w.string(text);
  w.patchU32(at, length + 1);
  if (padded(length) === length) w.u32(0);
}

function readMdata(r: XdrReader): Mdata {
  const atime = r.i64();
  const mtime = r.i64();
  const ctime = r.i64();
  const atimeNsec = r.u32();
  const mtimeNsec = r.u32();
  const ctimeNsec = r.u32();
  return { atime, atimeNsec, mtime, mtimeNsec, ctime, ctimeNsec };
}

function writeMdata(w: XdrWriter, mdata: Mdata): void {
  w.i64(mdata.atime);
  w.i64(mdata.mtime);
  w.i64(mdata.ctime);
  w.u32(mdata.atimeNsec);
  w.u32(mdata.mtimeNsec);
  w.u32(mdata.ctimeNsec);
}

/** The untyped form. Numbers become decimal text; attributes have no untyped form and are refused. */
export function encodeLegacyDict(value: Dict): Buffer {
  const parts: Buffer[] = [u32Bytes(value.size)];
  for (const [key, entry] of value) {
    if (key.includes("\0")) throw new XdrError("dict: key with a NUL inside");
    const name = encodeName(`${key}\0`);
    const bytes = legacyBytes(key, entry);
    parts.push(u32Bytes(name.length - 1), u32Bytes(bytes.length), name, bytes);
  }
  return Buffer.concat(parts);
}

function legacyBytes(key: string, entry: DictValue): Buffer {
  switch (entry.type) {
    case "str-old":
    case "ptr":
    case "gfuuid":
      return entry.value;
    case "str":
      return encodeName(`${entry.value}\0`);
    case "int":
    case "uint":
    case "double":
      return Buffer.from(`${entry.value}\0`, "latin1");
    default:
      throw new XdrError(`dict: "${key}": type ${entry.type} has no untyped form`);
  }
}

function u32Bytes(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Reads the untyped form; every value is of type `str-old`, its bytes copied. */
export function decodeLegacyDict(bytes: Buffer): Dict {
  const r = new XdrReader(bytes);
  const pairs = r.u32();
  if (pairs > DICT_PAIRS_MAX)
    throw new XdrError(`dict: ${pairs} pairs, at most ${DICT_PAIRS_MAX} are allowed`);
  const value = new Dict();
  for (let i = 0; i < pairs; i++) {
    const keyBytes = r.u32();
    const valueBytes = r.u32();
    if (keyBytes > DICT_KEY_BYTES_MAX) throw new XdrError(`dict: key of ${keyBytes} bytes`);
    if (valueBytes > DICT_VALUE_BYTES_MAX) throw new XdrError(`dict: value of ${valueBytes} bytes`);
    const at = r.skip(keyBytes + 1);
    const key = keyAt(bytes, at, at + keyBytes);
    value.set(key, { type: "str-old", value: copyOf(bytes, r.skip(valueBytes), valueBytes) });
  }
  if (r.remaining !== 0) throw new XdrError(`dict: ${r.remaining} bytes after the last pair`);
  return value;
}
