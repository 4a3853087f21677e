/**
 * The kernel's side of FUSE (7.31 to 7.45) as constants and places: opcodes, flags, where each field of each
 * message lies, and writers for the structs that answers carry.
 *
 * Messages are read through `Words`, a Uint32Array over the message: field places are word indices (byte
 * offset / 4), names end in their unit where it is not a word. A 64-bit field is two words, the low one
 * first; byte order is the machine's, and Mortar supports little-endian machines only. Source of the facts:
 * linux/fuse.h.
 */

import { inoOf } from "../../src/core/gfid.ts";
import type { Iatt } from "../../src/core/iatt.ts";

export type Words = Uint32Array;

/** 2^32, the weight of a 64-bit field's second word. */
export const HIGH = 2 ** 32;

export const FUSE_MAJOR = 7;
/** The newest minor whose structs this file knows; kernels talk down to it. */
export const FUSE_MINOR = 45;
/** Kernel 5.4; older ones lack FUSE_MAX_PAGES and what Mortar builds on. */
export const FUSE_MINOR_MIN = 31;
export const FUSE_ROOT_ID = 1;

export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
/** Where a WRITE's payload begins: fuse_in_header and fuse_write_in before it. */
export const WRITE_PAYLOAD_BYTE = 80;

export const OPCODE = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
} as const;

/** INIT flags of the first word. */
export const INIT = {
  ASYNC_READ: 1 << 0,
  POSIX_LOCKS: 1 << 1,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  DONT_MASK: 1 << 6,
  FLOCK_LOCKS: 1 << 10,
  AUTO_INVAL_DATA: 1 << 12,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  WRITEBACK_CACHE: 1 << 16,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  HANDLE_KILLPRIV_V2: 1 << 28,
  INIT_EXT: 1 << 30,
} as const;

/** INIT flags of the second word (bits 32 and up), valid with INIT_EXT. */
export const INIT2 = {
  DIRECT_IO_ALLOW_MMAP: 1 << 4,
  PASSTHROUGH: 1 << 5,
} as const;

export const FOPEN = {
  DIRECT_IO: 1 << 0,
  KEEP_CACHE: 1 << 1,
  PARALLEL_DIRECT_WRITES: 1 << 6,
  PASSTHROUGH: 1 << 7,
} as const;

export const FATTR = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  LOCKOWNER: 1 << 9,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const;

export const GETATTR_FH = 1;
/** Pages of the kernel's cache; the handle is any that may write. */
export const WRITE_CACHE = 1 << 0;
export const WRITE_LOCKOWNER = 1 << 1;
export const WRITE_KILL_SUIDGID = 1 << 2;
export const READ_LOCKOWNER = 1 << 1;
export const FSYNC_FDATASYNC = 1;

export const FALLOC = { KEEP_SIZE: 1, PUNCH_HOLE: 2, ZERO_RANGE: 0x10 } as const;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
export const RENAME_NOREPLACE = 1;
export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;

export const NOTIFY = { INVAL_INODE: 2, INVAL_ENTRY: 3 } as const;

/** fuse_in_header. */
export const HEADER_IN = { len: 0, opcode: 1, unique: 2, nodeid: 4, uid: 6, gid: 7, pid: 8 } as const;

/** Request bodies, word indices from the start of the message; `name` and the like are byte offsets. */
export const IN = {
  init: { major: 10, minor: 11, maxReadahead: 12, flags: 13, flags2: 14 },
  getattr: { flags: 10, fh: 12 },
  setattr: {
    valid: 10,
    fh: 12,
    size: 14,
    lockOwner: 16,
    atime: 18,
    mtime: 20,
    ctime: 22,
    atimeNsec: 24,
    mtimeNsec: 25,
    ctimeNsec: 26,
    mode: 27,
    uid: 29,
    gid: 30,
  },
  mknod: { mode: 10, rdev: 11, umask: 12, nameByte: 56 },
  mkdir: { mode: 10, umask: 11, nameByte: 48 },
  rename: { newdir: 10, nameByte: 48 },
  rename2: { newdir: 10, flags: 12, nameByte: 56 },
  link: { oldnodeid: 10, nameByte: 48 },
  open: { flags: 10 },
  create: { flags: 10, mode: 11, umask: 12, nameByte: 56 },
  release: { fh: 10, flags: 12, releaseFlags: 13, lockOwner: 14 },
  flush: { fh: 10, lockOwner: 14 },
  /** READ, READDIR and READDIRPLUS. */
  read: { fh: 10, offset: 12, size: 14, readFlags: 15, lockOwner: 16, flags: 18 },
  write: { fh: 10, offset: 12, size: 14, writeFlags: 15, lockOwner: 16, flags: 18 },
  fsync: { fh: 10, flags: 12 },
  /** Without SETXATTR_EXT. */
  setxattr: { size: 10, flags: 11, nameByte: 48 },
  getxattr: { size: 10, nameByte: 48 },
  lk: { fh: 10, owner: 12, start: 14, end: 16, type: 18, pid: 19, flags: 20 },
  access: { mask: 10 },
  forget: { nlookup: 10 },
  batchForget: { count: 10, items: 12 },
  interrupt: { unique: 10 },
  fallocate: { fh: 10, offset: 12, length: 14, mode: 16 },
  lseek: { fh: 10, offset: 12, whence: 14 },
  copyFileRange: { fhIn: 10, offIn: 12, nodeidOut: 14, fhOut: 16, offOut: 18, len: 20 },
  statx: { flags: 10, fh: 12 },
} as const;

export const ATTR_BYTES = 88;
export const ENTRY_OUT_BYTES = 128;
export const ATTR_OUT_BYTES = 104;
export const OPEN_OUT_BYTES = 16;
export const STATX_OUT_BYTES = 288;
export const STATFS_OUT_BYTES = 80;
export const INIT_OUT_BYTES = 64;
export const LK_OUT_BYTES = 24;
/** fuse_dirent before its name. */
export const DIRENT_BYTES = 24;
export const DIRENTPLUS_BYTES = ENTRY_OUT_BYTES + DIRENT_BYTES;

/** How long the kernel may use what it was told: seconds and nanoseconds. */
export interface Validity {
  readonly sec: number;
  readonly nsec: number;
}

/** `1.5` seconds as a Validity. */
export function validity(seconds: number): Validity {
  const sec = Math.floor(seconds);
  return { sec, nsec: Math.min(999_999_999, Math.round((seconds - sec) * 1e9)) };
}

/** A 64-bit field as a number; may exceed 2^53 and is then not exact: callers check the range. */
export function u64(words: Words, at: number): number {
  return words[at]! + words[at + 1]! * HIGH;
}

/** A 64-bit field with its sign, e.g. seconds of a time. */
export function i64(words: Words, at: number): number {
  return words[at]! + (words[at + 1]! | 0) * HIGH;
}

export function u64n(words: Words, at: number): bigint {
  return (BigInt(words[at + 1]!) << 32n) | BigInt(words[at]!);
}

/** Writes a whole number, negative ones included, as 64 bits. */
export function putU64(words: Words, at: number, value: number): void {
  words[at] = value % HIGH;
  words[at + 1] = Math.floor(value / HIGH);
}

export function putU64n(words: Words, at: number, value: bigint): void {
  words[at] = Number(value & 0xffffffffn);
  words[at + 1] = Number((value >> 32n) & 0xffffffffn);
}

/** Linux' 32-bit encoding of a device number (new_encode_dev) to major * 2^32 + minor, and back. */
export function decodeRdev(rdev: number): number {
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return ((rdev >>> 8) & 0xfff) * HIGH + minor;
}

export function encodeRdev(rdev: number): number {
  const major = Math.floor(rdev / HIGH);
  const minor = rdev % HIGH;
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/** fuse_attr at word `at`. `isRoot`: the mount's root is inode 1, whatever directory it shows. */
export function putAttr(words: Words, at: number, stat: Iatt, isRoot: boolean): void {
  const gfid = stat.gfid;
  words[at] = isRoot ? 1 : gfid.readUInt32BE(12);
  words[at + 1] = isRoot ? 0 : gfid.readUInt32BE(8);
  putU64(words, at + 2, stat.size);
  putU64(words, at + 4, stat.blocks);
  putU64(words, at + 6, stat.atime);
  putU64(words, at + 8, stat.mtime);
  putU64(words, at + 10, stat.ctime);
  words[at + 12] = stat.atimeNsec;
  words[at + 13] = stat.mtimeNsec;
  words[at + 14] = stat.ctimeNsec;
  words[at + 15] = stat.mode;
  words[at + 16] = stat.nlink;
  words[at + 17] = stat.uid;
  words[at + 18] = stat.gid;
  words[at + 19] = encodeRdev(stat.rdev);
  words[at + 20] = stat.blksize;
  words[at + 21] = 0;
}

/** fuse_entry_out at word `at`. */
export function putEntry(
  words: Words,
  at: number,
  nodeid: number,
  stat: Iatt,
  entry: Validity,
  attr: Validity,
): void {
  putU64(words, at, nodeid);
  words[at + 2] = 0;
  words[at + 3] = 0;
  words[at + 4] = entry.sec;
  words[at + 5] = 0;
  words[at + 6] = attr.sec;
  words[at + 7] = 0;
  words[at + 8] = entry.nsec;
  words[at + 9] = attr.nsec;
  putAttr(words, at + 10, stat, nodeid === FUSE_ROOT_ID);
}

/** An entry that says "no such name" (nodeid 0), for as long as `entry` says. */
export function putNegativeEntry(words: Words, at: number, entry: Validity): void {
  words.fill(0, at, at + ENTRY_OUT_BYTES / 4);
  words[at + 4] = entry.sec;
  words[at + 8] = entry.nsec;
}

/** fuse_attr_out at word `at`. */
export function putAttrOut(words: Words, at: number, stat: Iatt, attr: Validity, isRoot: boolean): void {
  words[at] = attr.sec;
  words[at + 1] = 0;
  words[at + 2] = attr.nsec;
  words[at + 3] = 0;
  putAttr(words, at + 4, stat, isRoot);
}

const STATX_BASIC = 0x7ff;
const STATX_BTIME = 0x800;

/** fuse_statx_out at word `at`: what GETATTR tells, and the time of birth when it is known. */
export function putStatxOut(words: Words, at: number, stat: Iatt, attr: Validity, isRoot: boolean): void {
  words.fill(0, at, at + STATX_OUT_BYTES / 4);
  words[at] = attr.sec;
  words[at + 2] = attr.nsec;
  const s = at + 8;
  words[s] = STATX_BASIC | (stat.btime !== 0 ? STATX_BTIME : 0);
  words[s + 1] = stat.blksize;
  words[s + 4] = stat.nlink;
  words[s + 5] = stat.uid;
  words[s + 6] = stat.gid;
  words[s + 7] = stat.mode & 0xffff;
  putU64n(words, s + 8, isRoot ? 1n : inoOf(stat.gfid));
  putU64(words, s + 10, stat.size);
  putU64(words, s + 12, stat.blocks);
  putTime(words, s + 16, stat.atime, stat.atimeNsec);
  putTime(words, s + 20, stat.btime, stat.btimeNsec);
  putTime(words, s + 24, stat.ctime, stat.ctimeNsec);
  putTime(words, s + 28, stat.mtime, stat.mtimeNsec);
  words[s + 32] = Math.floor(stat.rdev / HIGH);
  words[s + 33] = stat.rdev % HIGH;
}

function putTime(words: Words, at: number, sec: number, nsec: number): void {
  putU64(words, at, sec);
  words[at + 2] = nsec;
}

/** Bytes a record takes in a directory listing: padded to eight. */
export function align8(bytes: number): number {
  return (bytes + 7) & ~7;
}
