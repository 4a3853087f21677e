/**
 * Random values for every struct of the fop table, for fast-check.
 *
 * A struct's field names and kinds come from the codec itself (zeros are a value of every struct); what may
 * be in a field follows from its name, with exceptions a fop. Values are such that equality survives the
 * wire: e.g. statfs stays below 2^53.
 */

import fc from "fast-check";
import { Dict, type DictValue } from "../../src/core/dict.ts";
import { gfidOf } from "../../src/core/gfid.ts";
import type { Iatt } from "../../src/core/iatt.ts";
import { decodeName } from "../../src/core/name.ts";
import { FOP_CODECS } from "../../src/rpc/codec-fops.ts";
import type { FopProcName } from "../../src/rpc/programs.ts";
import { XdrReader, type XdrType } from "../../src/rpc/xdr.ts";

const U32_MAX = 0xffffffff;

export const bytes = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const fixedBytes = (length: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array));

export const gfid = fixedBytes(16).map(gfidOf);
const u32 = fc.integer({ min: 0, max: U32_MAX });
const i32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
const u53 = fc.maxSafeNat();
const i53 = fc.maxSafeInteger();
const u64n = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const i64n = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const nsec = fc.integer({ min: 0, max: 999_999_999 });

/** Names of any bytes but NUL, as the code holds them. */
export const name: fc.Arbitrary<string> = fc.oneof(
  fc.string({ maxLength: 40, unit: "grapheme" }).map((text) => text.replaceAll("\0", "")),
  fc.uint8Array({ min: 1, maxLength: 40 }).map((array) => decodeName(Buffer.from(array))),
  fc.constant("disk-0.qcow2"),
);

export const iatt: fc.Arbitrary<Iatt> = fc.record({
  gfid,
  mode: u32,
  nlink: u32,
  uid: u32,
  gid: u32,
  size: u53,
  blocks: u53,
  blksize: u32,
  dev: u53,
  rdev: u53,
  atime: i53,
  atimeNsec: nsec,
  mtime: i53,
  mtimeNsec: nsec,
  ctime: i53,
  ctimeNsec: nsec,
  btime: i53,
  btimeNsec: nsec,
});

const mdata = fc.record({
  atime: i53,
  atimeNsec: nsec,
  mtime: i53,
  mtimeNsec: nsec,
  ctime: i53,
  ctimeNsec: nsec,
});

const dictValue: fc.Arbitrary<DictValue> = fc.oneof(
  fc.record({ type: fc.constant("str-old" as const), value: bytes(64) }),
  fc.record({ type: fc.constant("int" as const), value: i64n }),
  fc.record({ type: fc.constant("uint" as const), value: u64n }),
  fc.record({ type: fc.constant("double" as const), value: fc.double({ noNaN: true }) }),
  fc.record({ type: fc.constant("str" as const), value: name }),
  fc.record({ type: fc.constant("ptr" as const), value: bytes(200) }),
  fc.record({ type: fc.constant("gfuuid" as const), value: gfid }),
  fc.record({ type: fc.constant("iatt" as const), value: iatt }),
  fc.record({ type: fc.constant("mdata" as const), value: mdata }),
);

export const someDict: fc.Arbitrary<Dict> = fc
  .array(fc.tuple(name, dictValue), { maxLength: 6 })
  .map((pairs) => Dict.from(pairs));
export const dict: fc.Arbitrary<Dict | undefined> = fc.option(someDict, { nil: undefined });

const flock = fc.record({
  type: fc.constantFrom("rdlck" as const, "wrlck" as const, "unlck" as const),
  whence: u32,
  start: i64n,
  len: i64n,
  pid: i32,
  lkOwner: bytes(40),
});
const lease = fc.record({ cmd: u32, type: u32, id: fixedBytes(16), flags: u32 });
const dirent = fc.record({ name, ino: u64n, offset: u64n, type: u32 });
const direntPlus = fc.record(
  { name, ino: u64n, offset: u64n, type: u32, stat: iatt, xattrs: someDict },
  { requiredKeys: ["name", "ino", "offset", "type", "stat"] },
);
const statfs = fc.record({
  bsize: u53,
  frsize: u53,
  blocks: u53,
  bfree: u53,
  bavail: u53,
  files: u53,
  ffree: u53,
  favail: u53,
  fsid: u53,
  flag: u53,
  namemax: u53,
});
const locks = fc.array(fc.record({ flock, clientUid: name, flags: u32 }), { maxLength: 4 });

/** By field name; fields that are not here are u32. */
const BY_NAME: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  opRet: i32,
  opErrno: i32,
  xdata: dict,
  xattrs: dict,
  fd: i53,
  fdIn: i53,
  fdOut: i53,
  offset: u53,
  offsetIn: u53,
  offsetOut: u53,
  dev: u53,
  name,
  oldName: name,
  newName: name,
  target: name,
  volume: name,
  flock,
  lease,
  locks,
  statfs,
  strong: bytes(32),
  valid: i32,
  what: i32,
};

const EXCEPTIONS: { readonly [F in FopProcName]?: Readonly<Record<string, fc.Arbitrary<unknown>>> } = {
  rmdir: { flags: i32 },
  fsyncdir: { datasync: i32 },
  ipc: { op: i32 },
  fallocate: { size: u53 },
  discard: { size: u53 },
  zerofill: { size: u53 },
  entrylk: { named: u53 },
  fentrylk: { named: u53 },
  readdir: { offset: u64n, entries: fc.array(dirent, { maxLength: 8 }) },
  readdirp: { offset: u64n, entries: fc.array(direntPlus, { maxLength: 4 }) },
};

/** Random values of a procedure's call or reply. */
export function wireValue(fop: FopProcName, side: "call" | "reply"): fc.Arbitrary<unknown> {
  const type: XdrType<unknown> = FOP_CODECS[fop][side];
  const zero = type.read(new XdrReader(Buffer.alloc(2048))) as Readonly<Record<string, unknown>>;
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [field, value] of Object.entries(zero)) {
    const special = EXCEPTIONS[fop]?.[field] ?? BY_NAME[field];
    fields[field] = special ?? (Buffer.isBuffer(value) ? gfid : isIatt(value) ? iatt : u32);
  }
  return fc.record(fields);
}

function isIatt(value: unknown): boolean {
  return typeof value === "object" && value !== null && "blksize" in value;
}
