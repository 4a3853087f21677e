/**
 * Types of the fuse-native package, version 2.2.6, as far as this edge uses it; from its index.js and
 * fuse-native.c.
 *
 * Answers are (result, value): a result below zero is a negative errno, and for read and write the count is
 * the result. Members with an underscore are the package's own; the subclass in binding.ts replaces some of
 * them.
 */

declare module "fuse-native" {
  /** Everything the package can put into a struct stat. Times are milliseconds since 1970. */
  export interface FuseStat {
    mode: number;
    uid: number;
    gid: number;
    size: number;
    dev: number;
    nlink: number;
    ino: number;
    rdev: number;
    blksize: number;
    blocks: number;
    atime: number;
    mtime: number;
    ctime: number;
  }

  /** A struct statvfs; every field is cut to 32 bits by the package. */
  export interface FuseStatfs {
    bsize: number;
    frsize: number;
    blocks: number;
    bfree: number;
    bavail: number;
    files: number;
    ffree: number;
    favail: number;
    fsid: number;
    flag: number;
    namemax: number;
  }

  export type Done = (result: number) => void;
  export type Answer<T> = (result: number, value?: T) => void;

  export interface FuseOperations {
    /** A number is the handle of an open file: binding.ts passes it in the path's place. */
    getattr(target: string | number, done: Answer<FuseStat>): void;
    /** Never called by the package, but its presence makes libfuse send the request. */
    fgetattr(path: string, handle: number, done: Answer<FuseStat>): void;
    readlink(path: string, done: Answer<string>): void;
    mknod(path: string, mode: number, rdev: number, done: Done): void;
    mkdir(path: string, mode: number, done: Done): void;
    unlink(path: string, done: Done): void;
    rmdir(path: string, done: Done): void;
    symlink(target: string, path: string, done: Done): void;
    rename(from: string, to: string, done: Done): void;
    link(from: string, to: string, done: Done): void;
    chmod(path: string, mode: number, done: Done): void;
    /** 0xffffffff leaves the owner or the group alone. */
    chown(path: string, uid: number, gid: number, done: Done): void;
    truncate(path: string, size: number, done: Done): void;
    ftruncate(path: string, handle: number, size: number, done: Done): void;
    utimens(path: string, atimeMs: number, mtimeMs: number, done: Done): void;
    open(path: string, flags: number, done: Answer<number>): void;
    /** Like utimens called by binding.ts alone, which adds the flags. */
    create(path: string, mode: number, flags: number, done: Answer<number>): void;
    read(path: string, handle: number, into: Buffer, size: number, offset: number, done: Done): void;
    write(path: string, handle: number, from: Buffer, size: number, offset: number, done: Done): void;
    statfs(path: string, done: Answer<FuseStatfs>): void;
    flush(path: string, handle: number, done: Done): void;
    release(path: string, handle: number, done: Done): void;
    fsync(path: string, datasync: number, handle: number, done: Done): void;
    fsyncdir(path: string, datasync: number, handle: number, done: Done): void;
    readdir(path: string, done: (result: number, names?: string[], stats?: FuseStat[]) => void): void;
    setxattr(path: string, name: string, value: Buffer, position: number, flags: number, done: Done): void;
    getxattr(path: string, name: string, done: Answer<Buffer>): void;
    listxattr(path: string, done: Answer<string[]>): void;
    removexattr(path: string, name: string, done: Done): void;
  }

  /** Answers one request: negative errno or count, then what the operation gives. Once only. */
  export type Signal = (result: number, ...values: unknown[]) => void;
  /** What the native side calls for a request: its request struct, the operation's number, the arguments. */
  export type Handler = (request: Buffer, op: number, ...args: unknown[]) => void;

  export interface FuseOptions {
    /** false: operations never time out. */
    timeout?: number | false;
  }

  export default class Fuse {
    constructor(mountpoint: string, operations: Partial<FuseOperations>, options?: FuseOptions);
    readonly mnt: string;
    readonly ops: FuseOperations;
    mount(done: (error: Error | null) => void): void;
    unmount(done: (error: Error | null) => void): void;
    protected _thread: Buffer | null;
    protected _fuseOptions(): string;
    protected _makeHandlerArray(): Handler[];
    protected _close(done: (error: Error | null) => void): void;
    protected _op_getattr(signal: Signal, target: string | number): void;
    protected _op_fgetattr(signal: Signal, path: string, handle: number): void;
    protected _op_getxattr(signal: Signal, path: string, name: string, into: Buffer, position: number): void;
    protected _op_listxattr(signal: Signal, path: string, into: Buffer): void;
    protected _op_utimens(signal: Signal, path: string, ...rest: unknown[]): void;
    protected _op_create(signal: Signal, path: string, mode: number, ...rest: unknown[]): void;
  }
}
