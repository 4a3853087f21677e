/**
 * What a test does to files of a mount: plain synchronous operations on paths and descriptors, run inside a
 * file agent.
 *
 * Each takes and gives JSON values, Buffers and nothing else. Failures are errors with `code`. A lock that
 * waits blocks the whole agent; that is its point.
 */

import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { alignedBuffer, cString, getXattr, libc, listXattrs, setXattr } from "./libc.ts";

/** Bytes from the start of a file; a bigint where a number does not reach. */
export type Offset = number | bigint;

/** Octal text in the manner of chmod: "0644". */
export type Mode = string;

export interface Attributes {
  readonly type: string;
  readonly mode: Mode;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly nlink: number;
  /** Inode number in decimal. */
  readonly ino: string;
  readonly rdev: number;
  readonly blocks: number;
  /** Nanoseconds since 1970 in decimal. */
  readonly atime: string;
  readonly mtime: string;
  readonly ctime: string;
}

export interface TreeEntry extends Attributes {
  /** Relative to the root of the snapshot; "." is the root. */
  readonly path: string;
  /** Of a symbolic link. */
  readonly target?: string;
  /** Of a regular file. */
  readonly sha256?: string;
  /** Runs of data as "start-end" by SEEK_DATA and SEEK_HOLE, of a regular file. */
  readonly extents?: readonly string[];
  /** Name to value in hexadecimal. */
  readonly xattrs: Readonly<Record<string, string>>;
}

export interface LockRequest {
  readonly fd: number;
  /** fcntl's process-owned locks or those of the open file description. */
  readonly kind: "posix" | "ofd";
  readonly type: "read" | "write" | "unlock";
  readonly start: Offset;
  /** 0: to the end of the file, wherever that will be. */
  readonly length: number;
  /** Blocks until the lock is granted. */
  readonly wait?: boolean;
}

const LOCK_TYPES = ["read", "write", "unlock"] as const;
const LOCK_BYTES = 32;
const COMMANDS = { posix: { get: 5, set: 6, wait: 7 }, ofd: { get: 36, set: 37, wait: 38 } } as const;
const FLOCK = { shared: 1, exclusive: 2, unlock: 8 } as const;
const FLOCK_NONBLOCKING = 4;
const SEEK = { data: 3, hole: 4 } as const;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const READ_CHUNK = 1 << 20;

const TYPES: readonly (readonly [number, string])[] = [
  [fs.constants.S_IFREG, "file"],
  [fs.constants.S_IFDIR, "directory"],
  [fs.constants.S_IFLNK, "symlink"],
  [fs.constants.S_IFIFO, "fifo"],
  [fs.constants.S_IFSOCK, "socket"],
  [fs.constants.S_IFCHR, "character device"],
  [fs.constants.S_IFBLK, "block device"],
];

export const fileOperations = {
  /** `flags` as in open(2), e.g. "O_RDWR|O_CREAT". */
  open(path: string | Buffer, flags: string, mode: Mode = "0644"): number {
    return libc("open", cString(path), openFlags(flags), Number.parseInt(mode, 8));
  },
  close(fd: number): void {
    fs.closeSync(fd);
  },
  read(fd: number, size: number, offset: Offset): Buffer {
    const { bytes, address } = alignedBuffer(size);
    return bytes.subarray(0, libc("pread", fd, address, size, offset));
  },
  write(fd: number, data: Buffer | string, offset: Offset): number {
    const from = Buffer.from(data);
    const { bytes, address } = alignedBuffer(from.length);
    from.copy(bytes);
    return libc("pwrite", fd, address, from.length, offset);
  },
  fsync(fd: number): void {
    fs.fsyncSync(fd);
  },
  fdatasync(fd: number): void {
    fs.fdatasyncSync(fd);
  },
  ftruncate(fd: number, size: Offset): void {
    libc("ftruncate", fd, size);
  },
  fallocate(fd: number, mode: number, offset: Offset, size: number): void {
    libc("fallocate", fd, mode, offset, size);
  },
  seek(fd: number, offset: Offset, what: "data" | "hole"): number {
    return libc("lseek", fd, offset, SEEK[what]);
  },
  fstat(fd: number): Attributes {
    return attributes(fs.fstatSync(fd, { bigint: true }));
  },
  fchmod(fd: number, mode: Mode): void {
    fs.fchmodSync(fd, mode);
  },

  /** False when another owner holds a lock that conflicts. */
  lock({ fd, kind, type, start, length, wait }: LockRequest): boolean {
    const command = COMMANDS[kind][wait ? "wait" : "set"];
    try {
      libc("fcntl", fd, command, flock(type, start, length));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return false;
      throw error;
    }
  },
  /** The first lock that would conflict, as "type start length", or undefined. */
  conflictingLock({ fd, kind, type, start, length }: LockRequest): string | undefined {
    const lock = flock(type, start, length);
    libc("fcntl", fd, COMMANDS[kind].get, lock);
    const found = LOCK_TYPES[lock.readInt16LE(0)];
    if (found === "unlock") return undefined;
    return `${found} ${lock.readBigInt64LE(8)} ${lock.readBigInt64LE(16)}`;
  },
  /** flock(2); false when it would have to wait. */
  flock(fd: number, type: keyof typeof FLOCK): boolean {
    try {
      libc("flock", fd, FLOCK[type] | FLOCK_NONBLOCKING);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return false;
      throw error;
    }
  },

  readFile(path: string): Buffer {
    return fs.readFileSync(path);
  },
  writeFile(path: string, data: Buffer | string): void {
    fs.writeFileSync(path, data);
  },
  appendFile(path: string, data: Buffer | string): void {
    fs.appendFileSync(path, data);
  },
  stat(path: string | Buffer): Attributes {
    return attributes(fs.lstatSync(path, { bigint: true }));
  },
  list(path: string | Buffer): string[] {
    return fs.readdirSync(path).sort();
  },
  /** As `list`, for names that are not text. */
  listBytes(path: string): Buffer[] {
    return fs.readdirSync(path, { encoding: "buffer" });
  },
  mkdir(path: string | Buffer, mode: Mode = "0755"): void {
    fs.mkdirSync(path, { mode });
  },
  mknod(path: string, mode: Mode, device: number): void {
    libc("mknod", cString(path), Number.parseInt(mode, 8), device);
  },
  link(from: string, to: string): void {
    fs.linkSync(from, to);
  },
  symlink(target: string, path: string): void {
    fs.symlinkSync(target, path);
  },
  rename(from: string, to: string): void {
    fs.renameSync(from, to);
  },
  unlink(path: string | Buffer): void {
    fs.unlinkSync(path);
  },
  rmdir(path: string): void {
    fs.rmdirSync(path);
  },
  removeTree(path: string): void {
    fs.rmSync(path, { recursive: true });
  },
  chmod(path: string, mode: Mode): void {
    fs.chmodSync(path, mode);
  },
  chown(path: string, uid: number, gid: number): void {
    fs.lchownSync(path, uid, gid);
  },
  truncate(path: string, size: number): void {
    fs.truncateSync(path, size);
  },
  /**
   * Sets atime and mtime, each in nanoseconds since 1970 as decimal text; symbolic links are not followed.
   */
  utimes(path: string, atime: string, mtime: string): void {
    const times = Buffer.alloc(32);
    for (const [index, text] of [atime, mtime].entries()) {
      times.writeBigInt64LE(BigInt(text) / 1_000_000_000n, index * 16);
      times.writeBigInt64LE(BigInt(text) % 1_000_000_000n, index * 16 + 8);
    }
    libc("utimensat", AT_FDCWD, cString(path), times, AT_SYMLINK_NOFOLLOW);
  },
  setXattr(path: string, name: string, value: Buffer | string): void {
    setXattr(path, name, value);
  },
  getXattr(path: string, name: string): Buffer {
    return getXattr(path, name);
  },
  listXattrs(path: string): string[] {
    return listXattrs(path);
  },
  removeXattr(path: string, name: string): void {
    libc("lremovexattr", cString(path), cString(name));
  },
  /** Bytes of the file system: all, and those free for everybody. */
  statfs(path: string): { total: number; available: number } {
    const { bsize, blocks, bavail } = fs.statfsSync(path);
    return { total: bsize * blocks, available: bsize * bavail };
  },

  /** Everything below `root`, sorted by path, with all that a client can see of it. */
  snapshot(root: string): TreeEntry[] {
    const entries: TreeEntry[] = [];
    visit(root, ".", entries);
    return entries;
  },
};

export type FileOperations = typeof fileOperations;

function visit(root: string, path: string, entries: TreeEntry[]): void {
  const full = join(root, path);
  const stats = fs.lstatSync(full, { bigint: true });
  const xattrs: Record<string, string> = {};
  for (const name of listXattrs(full)) xattrs[name] = getXattr(full, name).toString("hex");
  entries.push({
    path,
    ...attributes(stats),
    ...(stats.isSymbolicLink() ? { target: fs.readlinkSync(full) } : {}),
    ...(stats.isFile() ? content(full, Number(stats.size)) : {}),
    xattrs,
  });
  if (!stats.isDirectory()) return;
  for (const name of fs.readdirSync(full).sort()) visit(root, join(path, name), entries);
}

function content(path: string, size: number): { sha256: string; extents: string[] } {
  const fd = fs.openSync(path, "r");
  try {
    const hash = createHash("sha256");
    const chunk = Buffer.alloc(READ_CHUNK);
    for (let count = fs.readSync(fd, chunk); count > 0; count = fs.readSync(fd, chunk))
      hash.update(chunk.subarray(0, count));
    return { sha256: hash.digest("hex"), extents: dataExtents(fd, size) };
  } finally {
    fs.closeSync(fd);
  }
}

function dataExtents(fd: number, size: number): string[] {
  const extents: string[] = [];
  for (let offset = 0; offset < size; ) {
    let start: number;
    try {
      start = libc("lseek", fd, offset, SEEK.data);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENXIO") break;
      throw error;
    }
    offset = libc("lseek", fd, start, SEEK.hole);
    extents.push(`${start}-${offset}`);
  }
  return extents;
}

function attributes(stats: fs.BigIntStats): Attributes {
  const format = Number(stats.mode) & fs.constants.S_IFMT;
  return {
    type: TYPES.find(([bits]) => bits === format)?.[1] ?? "unknown",
    mode: (Number(stats.mode) & 0o7777).toString(8).padStart(4, "0"),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    size: Number(stats.size),
    nlink: Number(stats.nlink),
    ino: String(stats.ino),
    rdev: Number(stats.rdev),
    blocks: Number(stats.blocks),
    atime: String(stats.atimeNs),
    mtime: String(stats.mtimeNs),
    ctime: String(stats.ctimeNs),
  };
}

/** O_DIRECT and O_LARGEFILE are not in every table of Node. */
function openFlags(text: string): number {
  let flags = 0;
  for (const name of text.split("|")) {
    const value = fs.constants[name as keyof typeof fs.constants];
    if (typeof value !== "number") throw new Error(`open flags: "${name}" is unknown`);
    flags |= value;
  }
  return flags;
}

function flock(type: LockRequest["type"], start: Offset, length: number): Buffer {
  const lock = Buffer.alloc(LOCK_BYTES);
  lock.writeInt16LE(LOCK_TYPES.indexOf(type), 0);
  lock.writeBigInt64LE(BigInt(start), 8);
  lock.writeBigInt64LE(BigInt(length), 16);
  return lock;
}
