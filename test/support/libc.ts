/**
 * The system calls of end-to-end tests that Node has no call for, bound apart from src/os: an oracle shares
 * no code with what it judges. Synchronous; failures throw an Error with `code` (errno name), as node:fs
 * does.
 */

import { constants } from "node:os";
import koffi from "koffi";

const lib = koffi.load("libc.so.6");
const ERRNO_NAMES = new Map<number, string>(
  Object.entries(constants.errno).map(([name, number]) => [number, name]),
);
// Where a number has two names, the one that GlusterFS uses; and what Node lacks.
for (const [name, number] of [
  ["EAGAIN", 11],
  ["EOPNOTSUPP", 95],
  ["ENODATA", 61],
  ["ESTALE", 116],
  ["EBADFD", 77],
] as const)
  ERRNO_NAMES.set(number, name);

type Value = number | bigint | string | Buffer | null;
type Function = (...args: Value[]) => number | bigint;

const functions = {
  lsetxattr: "int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)",
  lgetxattr: "int64_t lgetxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)",
  llistxattr: "int64_t llistxattr(const char *path, _Out_ uint8_t *list, size_t size)",
  lremovexattr: "int lremovexattr(const char *path, const char *name)",
  open: "int open(const char *path, int flags, unsigned int mode)",
  mknod: "int mknod(const char *path, unsigned int mode, uint64_t device)",
  ftruncate: "int ftruncate(int fd, int64_t size)",
  fallocate: "int fallocate(int fd, int mode, int64_t offset, int64_t size)",
  lseek: "int64_t lseek(int fd, int64_t offset, int whence)",
  utimensat: "int utimensat(int directory, const char *path, const uint8_t *times, int flags)",
  fcntl: "int fcntl(int fd, int command, _Inout_ uint8_t *lock)",
  flock: "int flock(int fd, int operation)",
  pread: "int64_t pread(int fd, uintptr_t buffer, size_t size, int64_t offset)",
  pwrite: "int64_t pwrite(int fd, uintptr_t buffer, size_t size, int64_t offset)",
  copy_file_range:
    "int64_t copy_file_range(int from, _Inout_ int64_t *fromOffset, int to, _Inout_ int64_t *toOffset, size_t size, uint32_t flags)",
  renameat2:
    "int renameat2(int fromDirectory, const char *from, int toDirectory, const char *to, uint32_t flags)",
  // As cachestat is called, which libc has no name for.
  syscall:
    "int64_t syscall(int64_t number, int fd, const uint8_t *range, _Out_ uint8_t *counts, uint32_t flags)",
} as const;

const bound = new Map<string, Function>();

/** The name of an errno, also where Node calls it unknown. */
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(Math.abs(errno)) ?? `errno ${errno}`;
}

/** Calls libc; throws with the errno when the result is negative. */
export function libc(name: keyof typeof functions, ...args: Value[]): number {
  let call = bound.get(name);
  if (call === undefined) {
    call = lib.func(functions[name]) as unknown as Function;
    bound.set(name, call);
  }
  const result = Number(call(...args));
  if (result < 0) {
    const errno = koffi.errno();
    const code = errnoName(errno);
    throw Object.assign(new Error(`${name}: ${code}`), { code, errno });
  }
  return result;
}

/** A path or name of any bytes as a C string. */
export function cString(text: string | Buffer): Buffer {
  return Buffer.concat([typeof text === "string" ? Buffer.from(text) : text, Buffer.of(0)]);
}

const ALIGNMENT = 4096;

/** An area of memory aligned for O_DIRECT, with its address for `pread` and `pwrite`. */
export function alignedBuffer(size: number): { bytes: Buffer; address: bigint } {
  const all = Buffer.alloc(size + ALIGNMENT);
  const start = koffi.address(all);
  const shift = (ALIGNMENT - Number(start % BigInt(ALIGNMENT))) % ALIGNMENT;
  return { bytes: all.subarray(shift, shift + size), address: start + BigInt(shift) };
}

const XATTR_MAX = 65536;

/** Names of a path's extended attributes, sorted; symbolic links are not followed. */
export function listXattrs(path: string | Buffer): string[] {
  const list = Buffer.alloc(XATTR_MAX);
  const size = libc("llistxattr", cString(path), list, list.length);
  const names = list.toString("utf8", 0, size).split("\0");
  return names.filter((name) => name !== "").sort();
}

export function getXattr(path: string | Buffer, name: string): Buffer {
  const value = Buffer.alloc(XATTR_MAX);
  return value.subarray(0, libc("lgetxattr", cString(path), cString(name), value, value.length));
}

export function setXattr(path: string | Buffer, name: string, value: string | Buffer, flags = 0): void {
  const bytes = Buffer.from(value);
  libc("lsetxattr", cString(path), cString(name), bytes, bytes.length, flags);
}
