/**
 * Linux open flags as fops carry them (x86-64 and arm64 differ; these are x86-64, which is what the wire
 * has).
 */
export const O_ACCMODE = 0o3;
export const O_RDONLY = 0;
export const O_WRONLY = 0o1;
export const O_RDWR = 0o2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NOCTTY = 0o400;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_DSYNC = 0o10000;
export const O_ASYNC = 0o20000;
export const O_DIRECT = 0o40000;
export const O_LARGEFILE = 0o100000;
export const O_DIRECTORY = 0o200000;
export const O_NOFOLLOW = 0o400000;
export const O_NOATIME = 0o1000000;
export const O_CLOEXEC = 0o2000000;
/** Includes O_DSYNC. */
export const O_SYNC = 0o4010000;

/** Whether what is opened with these flags may be written through. */
export function mayWrite(flags: number): boolean {
  return (flags & O_ACCMODE) !== O_RDONLY;
}
