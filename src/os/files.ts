/**
 * Metadata calls on local files, asynchronous, in GlusterFS' terms: paths as bytes, nanosecond times, xattrs,
 * errno as FopError. Each runs in the libuv pool, so that a disk that stalls holds the call and nothing else;
 * only `fstat` is synchronous, because the inode of an open file is in memory.
 */

import * as fs from "node:fs";
import { FopError, toFopError } from "../core/errors.ts";
import type { Statfs } from "../core/fops.ts";
import { decodeName } from "../core/name.ts";
import { cString, declare, direct, pooled } from "./libc.ts";

export type OsPath = string | Buffer;

/** What statx(2) tells. `rdev` in its two halves; times in seconds and nanoseconds. */
export interface OsStat {
  readonly dev: number;
  readonly ino: bigint;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly size: number;
  readonly blocks: number;
  readonly blksize: number;
  readonly atime: number;
  readonly atimeNsec: number;
  readonly mtime: number;
  readonly mtimeNsec: number;
  readonly ctime: number;
  readonly ctimeNsec: number;
  readonly btime: number;
  readonly btimeNsec: number;
}

export interface OsDirent {
  readonly name: string;
  /** DT_*: 4 directory, 8 file, 10 symlink, 0 unknown. */
  readonly type: number;
}

/** New times; an absent pair stays, "now" takes the kernel's clock. */
export interface NewTimes {
  readonly atime?: number | "now";
  readonly atimeNsec?: number;
  readonly mtime?: number | "now";
  readonly mtimeNsec?: number;
}

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_AND_BTIME = 0xfff;
const UTIME_NOW = 0x3fffffff;
const UTIME_OMIT = 0x3ffffffe;
const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** The kernel's limit for one value (XATTR_SIZE_MAX) and for a list of names (XATTR_LIST_MAX). */
const XATTR_MAX = 65536;

const c = {
  statx: declare("int statx(int dir, const void *path, int flags, uint mask, void *out)"),
  lgetxattr: declare("int64_t lgetxattr(const void *path, const void *name, void *value, size_t size)"),
  fgetxattr: declare("int64_t fgetxattr(int fd, const void *name, void *value, size_t size)"),
  lsetxattr: declare(
    "int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)",
  ),
  fsetxattr: declare("int fsetxattr(int fd, const void *name, const void *value, size_t size, int flags)"),
  llistxattr: declare("int64_t llistxattr(const void *path, void *list, size_t size)"),
  flistxattr: declare("int64_t flistxattr(int fd, void *list, size_t size)"),
  lremovexattr: declare("int lremovexattr(const void *path, const void *name)"),
  fremovexattr: declare("int fremovexattr(int fd, const void *name)"),
  open: declare("int open(const void *path, int flags, uint mode)"),
  mknod: declare("int mknod(const void *path, uint mode, uint64_t dev)"),
  linkat: declare("int linkat(int fromDir, const void *from, int toDir, const void *to, int flags)"),
  utimensat: declare("int utimensat(int dir, const void *path, const void *times, int flags)"),
  futimens: declare("int futimens(int fd, const void *times)"),
  fallocate: declare("int fallocate(int fd, int mode, int64_t offset, int64_t size)"),
  lseek: declare("int64_t lseek(int fd, int64_t offset, int whence)"),
  statvfs: declare("int statvfs(const void *path, void *out)"),
  syncfs: declare("int syncfs(int fd)"),
  truncate: declare("int truncate(const void *path, int64_t size)"),
  ftruncate: declare("int ftruncate(int fd, int64_t size)"),
};

/** Sets an xattr of a path and blocks this thread until it is done. */
export function setXattrNow(path: OsPath, name: string, value: Buffer): void {
  direct("setxattr", c.lsetxattr, cString(path), cString(name), value, value.length, 0);
}

const EMPTY = cString("");
const statxOut = Buffer.alloc(256);

/** Attributes of an open file, at once. */
export function fstat(fd: number): OsStat {
  direct("fstat", c.statx, fd, EMPTY, AT_EMPTY_PATH, STATX_BASIC_AND_BTIME, statxOut);
  return readStatx(statxOut);
}

/** Attributes of a path; a symlink's own. */
export async function lstat(path: OsPath): Promise<OsStat> {
  const out = Buffer.alloc(256);
  await pooled("lstat", c.statx, AT_FDCWD, cString(path), AT_SYMLINK_NOFOLLOW, STATX_BASIC_AND_BTIME, out);
  return readStatx(out);
}

/** Attributes of what a path leads to. */
export async function stat(path: OsPath): Promise<OsStat> {
  const out = Buffer.alloc(256);
  await pooled("stat", c.statx, AT_FDCWD, cString(path), 0, STATX_BASIC_AND_BTIME, out);
  return readStatx(out);
}

export function open(path: OsPath, flags: number, mode = 0): Promise<number> {
  return pooled("open", c.open, cString(path), flags | fs.constants.O_NOFOLLOW | 0o2000000, mode);
}

/** How many fds this process may have: the soft limit, which node raises to the hard one when it starts. */
export function openFilesMax(): number {
  const found = /^Max open files\s+(\d+)/m.exec(fs.readFileSync("/proc/self/limits", "utf8"));
  return found === null ? Number.MAX_SAFE_INTEGER : Number(found[1]);
}

export const close = (fd: number): Promise<void> => node((done) => fs.close(fd, done));
export const mkdir = (path: OsPath, mode: number): Promise<void> =>
  node((done) => fs.mkdir(raw(path), mode, done));
export const rmdir = (path: OsPath): Promise<void> => node((done) => fs.rmdir(raw(path), done));
export const unlink = (path: OsPath): Promise<void> => node((done) => fs.unlink(raw(path), done));
export const rename = (from: OsPath, to: OsPath): Promise<void> =>
  node((done) => fs.rename(raw(from), raw(to), done));
export const symlink = (target: OsPath, path: OsPath): Promise<void> =>
  node((done) => fs.symlink(raw(target), raw(path), null, done));
export const lchown = (path: OsPath, uid: number, gid: number): Promise<void> =>
  node((done) => fs.lchown(raw(path), uid, gid, done));
export const fchown = (fd: number, uid: number, gid: number): Promise<void> =>
  node((done) => fs.fchown(fd, uid, gid, done));
export const chmod = (path: OsPath, mode: number): Promise<void> =>
  node((done) => fs.chmod(raw(path), mode, done));
export const fchmod = (fd: number, mode: number): Promise<void> => node((done) => fs.fchmod(fd, mode, done));
export const access = (path: OsPath, mask: number): Promise<void> =>
  node((done) => fs.access(raw(path), mask, done));

/** A hard link to `from` itself, also when it is a symlink. */
export async function link(from: OsPath, to: OsPath): Promise<void> {
  await pooled("link", c.linkat, AT_FDCWD, cString(from), AT_FDCWD, cString(to), 0);
}

/** `mode` with its type bits; `major` and `minor` for device nodes. */
export async function mknod(path: OsPath, mode: number, major = 0, minor = 0): Promise<void> {
  const low = ((major & 0xfff) << 8) | (minor & 0xff);
  const dev = (BigInt(minor >>> 8) << 20n) | (BigInt(major >>> 12) << 44n) | BigInt(low);
  await pooled("mknod", c.mknod, cString(path), mode, dev);
}

/** The target of a symlink, as bytes. */
export function readlink(path: OsPath): Promise<Buffer> {
  return node((done) => fs.readlink(raw(path), "buffer", done));
}

export async function truncate(path: OsPath, size: number): Promise<void> {
  await pooled("truncate", c.truncate, cString(path), size);
}

export async function ftruncate(fd: number, size: number): Promise<void> {
  await pooled("ftruncate", c.ftruncate, fd, size);
}

/** Times of a path; a symlink's own. */
export async function utimens(path: OsPath, times: NewTimes): Promise<void> {
  await pooled("utimens", c.utimensat, AT_FDCWD, cString(path), timespecs(times), AT_SYMLINK_NOFOLLOW);
}

export async function futimens(fd: number, times: NewTimes): Promise<void> {
  await pooled("futimens", c.futimens, fd, timespecs(times));
}

/** `mode`: FALLOC_FL_* bits (1 keep size, 2 punch hole, 0x10 zero range). */
export async function fallocate(fd: number, mode: number, offset: number, size: number): Promise<void> {
  await pooled("fallocate", c.fallocate, fd, mode, offset, size);
}

/** Where the next data or hole begins at or after `offset`; ENXIO past the end. */
export function seek(fd: number, offset: number, what: "data" | "hole"): Promise<number> {
  return pooled("seek", c.lseek, fd, offset, what === "data" ? SEEK_DATA : SEEK_HOLE);
}

/** Where a file or a block device ends. Moves the descriptor's position. */
export function seekEnd(fd: number): Promise<number> {
  return pooled("seek", c.lseek, fd, 0, SEEK_END);
}

/** Writes back everything dirty in the file system that `fd` lies on. */
export async function syncfs(fd: number): Promise<void> {
  await pooled("syncfs", c.syncfs, fd);
}

export async function statfs(path: OsPath): Promise<Statfs> {
  const out = Buffer.alloc(128);
  await pooled("statfs", c.statvfs, cString(path), out);
  return {
    bsize: u64(out, 0),
    frsize: u64(out, 8),
    blocks: u64(out, 16),
    bfree: u64(out, 24),
    bavail: u64(out, 32),
    files: u64(out, 40),
    ffree: u64(out, 48),
    favail: u64(out, 56),
    fsid: u64(out, 64) % 2 ** 53,
    flag: u64(out, 72),
    namemax: u64(out, 80),
  };
}

/** Names and types of a directory, `.` and `..` left out, in the order the file system gives them. */
export async function readdir(path: OsPath): Promise<OsDirent[]> {
  const entries = await node<fs.Dirent<Buffer>[]>((done) =>
    fs.readdir(raw(path), { withFileTypes: true, encoding: "buffer" }, done as never),
  );
  return entries.map((entry) => ({ name: decodeName(entry.name), type: direntType(entry) }));
}

/** The value of an xattr, undefined when there is none. */
export function lgetxattr(path: OsPath, name: string): Promise<Buffer | undefined> {
  const at = cString(path);
  return getValue((value, size) => pooled("lgetxattr", c.lgetxattr, at, cString(name), value, size));
}

export function fgetxattr(fd: number, name: string): Promise<Buffer | undefined> {
  return getValue((value, size) => pooled("fgetxattr", c.fgetxattr, fd, cString(name), value, size));
}

export async function lsetxattr(path: OsPath, name: string, value: Buffer, flags = 0): Promise<void> {
  await pooled("lsetxattr", c.lsetxattr, cString(path), cString(name), value, value.length, flags);
}

export async function fsetxattr(fd: number, name: string, value: Buffer, flags = 0): Promise<void> {
  await pooled("fsetxattr", c.fsetxattr, fd, cString(name), value, value.length, flags);
}

export function llistxattr(path: OsPath): Promise<string[]> {
  const at = cString(path);
  return getNames((list, size) => pooled("llistxattr", c.llistxattr, at, list, size));
}

export function flistxattr(fd: number): Promise<string[]> {
  return getNames((list, size) => pooled("flistxattr", c.flistxattr, fd, list, size));
}

export async function lremovexattr(path: OsPath, name: string): Promise<void> {
  await pooled("lremovexattr", c.lremovexattr, cString(path), cString(name));
}

export async function fremovexattr(fd: number, name: string): Promise<void> {
  await pooled("fremovexattr", c.fremovexattr, fd, cString(name));
}

type Getter = (buffer: Buffer, size: number) => Promise<number>;

async function getValue(get: Getter): Promise<Buffer | undefined> {
  try {
    return await grow(get, 256);
  } catch (error) {
    if (error instanceof FopError && error.code === "ENODATA") return undefined;
    throw error;
  }
}

async function getNames(get: Getter): Promise<string[]> {
  const list = await grow(get, 1024);
  const names: string[] = [];
  for (let at = 0; at < list.length; ) {
    const end = list.indexOf(0, at);
    names.push(decodeName(list.subarray(at, end)));
    at = end + 1;
  }
  return names;
}

/** Calls with a small buffer first and with the largest possible one when that was too small. */
async function grow(get: Getter, first: number): Promise<Buffer> {
  const small = Buffer.allocUnsafe(first);
  try {
    return small.subarray(0, await get(small, small.length));
  } catch (error) {
    if (!(error instanceof FopError && error.code === "ERANGE")) throw error;
  }
  const large = Buffer.allocUnsafe(XATTR_MAX);
  return Buffer.from(large.subarray(0, await get(large, large.length)));
}

/** A Node call with a callback as a promise; errors become FopError. */
function node<R>(start: (done: (error: Error | null, result?: R) => void) => void): Promise<R> {
  return new Promise<R>((resolve, reject) => {
    start((error, result) => (error ? reject(toFopError(error)) : resolve(result as R)));
  });
}

/** A path as Node takes it: UTF-8 strings would lose names with other bytes. */
export function raw(path: OsPath): Buffer {
  return typeof path === "string" ? cString(path).subarray(0, -1) : path;
}

function u64(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 2 ** 32;
}

function i64(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at) + buffer.readInt32LE(at + 4) * 2 ** 32;
}

/** struct statx of linux/stat.h. */
function readStatx(out: Buffer): OsStat {
  return {
    blksize: out.readUInt32LE(4),
    nlink: out.readUInt32LE(16),
    uid: out.readUInt32LE(20),
    gid: out.readUInt32LE(24),
    mode: out.readUInt16LE(28),
    ino: out.readBigUInt64LE(32),
    size: u64(out, 40),
    blocks: u64(out, 48),
    atime: i64(out, 64),
    atimeNsec: out.readUInt32LE(72),
    btime: i64(out, 80),
    btimeNsec: out.readUInt32LE(88),
    ctime: i64(out, 96),
    ctimeNsec: out.readUInt32LE(104),
    mtime: i64(out, 112),
    mtimeNsec: out.readUInt32LE(120),
    rdevMajor: out.readUInt32LE(128),
    rdevMinor: out.readUInt32LE(132),
    dev: deviceNumber(out.readUInt32LE(136), out.readUInt32LE(140)),
  };
}

/** dev_t of Linux from its halves, as st_dev shows it. */
function deviceNumber(major: number, minor: number): number {
  return (major & 0xfff) * 256 + (minor & 0xff) + (minor >>> 8) * 2 ** 20;
}

function timespecs(times: NewTimes): Buffer {
  const out = Buffer.alloc(32);
  writeTimespec(out, 0, times.atime, times.atimeNsec);
  writeTimespec(out, 16, times.mtime, times.mtimeNsec);
  return out;
}

function writeTimespec(out: Buffer, at: number, sec: number | "now" | undefined, nsec = 0): void {
  const special = sec === undefined ? UTIME_OMIT : sec === "now" ? UTIME_NOW : undefined;
  out.writeBigInt64LE(typeof sec === "number" ? BigInt(sec) : 0n, at);
  out.writeBigInt64LE(BigInt(special ?? nsec), at + 8);
}

function direntType(entry: fs.Dirent<Buffer>): number {
  if (entry.isFile()) return 8;
  if (entry.isDirectory()) return 4;
  if (entry.isSymbolicLink()) return 10;
  if (entry.isFIFO()) return 1;
  if (entry.isSocket()) return 12;
  if (entry.isBlockDevice()) return 6;
  return entry.isCharacterDevice() ? 2 : 0;
}
