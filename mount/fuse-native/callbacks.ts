/**
 * The promises of operations.ts as the callbacks that fuse-native calls: one table, one way of turning a
 * rejection into an errno. What the errno leaves open goes to the log (failures.ts).
 */

import type { FuseOperations } from "fuse-native";
import { Deferred } from "../../src/core/concurrency.ts";
import { toFopError } from "../../src/core/errors.ts";
import type { FopMeter, Span } from "../../src/core/fop-meter.ts";
import type { FopName } from "../../src/core/fops.ts";
import type { FailureLog } from "../failures.ts";
import type { Operations } from "./operations.ts";

/** A failure as the kernel wants it: the negative errno. */
function errnoOf(error: unknown, operation: string, failures: FailureLog): number {
  failures.tell(error, operation);
  return -toFopError(error, { fop: operation, xlator: "fuse-native" }).errno;
}

/** Requests that libfuse waits for. */
export class InFlight {
  #count = 0;
  #drained: Deferred<void> | undefined;

  enter(): void {
    this.#count++;
  }

  leave(): void {
    if (--this.#count === 0) this.#drained?.resolve();
  }

  /** Resolves when every request so far is answered; asked once, at the end of a mount. */
  async drained(): Promise<void> {
    if (this.#count === 0) return;
    this.#drained = new Deferred<void>();
    await this.#drained.promise;
  }
}

/** Which fop an operation of libfuse counts as; a name of its own is the fop's. */
const FOP_OF_OPERATION: Readonly<Record<string, FopName>> = {
  getattr: "stat",
  fgetattr: "fstat",
  read: "readv",
  write: "writev",
  readdir: "readdirp",
  chmod: "setattr",
  chown: "setattr",
  utimens: "setattr",
  listxattr: "getxattr",
  ...Object.fromEntries(
    (["readlink", "mknod", "mkdir", "unlink", "rmdir", "symlink", "rename", "link"] as const)
      .concat(["truncate", "ftruncate", "open", "create", "statfs", "flush", "fsync", "fsyncdir"] as never)
      .concat(["setxattr", "getxattr", "removexattr"] as never)
      .map((name) => [name, name]),
  ),
};

/**
 * Everything libfuse 2 may ask for. What is not here it answers itself: with ENOSYS, or from what it knows.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: a table, one entry an operation.
export function callbacks(
  operations: Operations,
  inFlight: InFlight,
  failures: FailureLog,
  meter?: FopMeter,
): FuseOperations {
  /** Begins to measure an operation, where somebody wants to know. */
  function begun(name: string): Span | undefined {
    const fop = FOP_OF_OPERATION[name];
    return fop && meter?.begin(fop);
  }
  /** Answers with a value, or with nothing but success. */
  function settle<T>(name: string, work: Promise<T>, done: (result: number, value?: T) => void): void {
    const span = begun(name);
    inFlight.enter();
    work
      .then(
        (value) => {
          done(0, value);
          span?.done({});
        },
        (error) => {
          done(errnoOf(error, name, failures));
          span?.failed();
        },
      )
      .finally(() => inFlight.leave());
  }
  /** Answers with a byte count as the result itself. */
  function count(name: string, work: Promise<number>, done: (result: number) => void): void {
    const span = begun(name);
    inFlight.enter();
    work.then(
      (bytes) => {
        done(bytes);
        span?.done({ size: bytes });
        inFlight.leave();
      },
      (error) => {
        done(errnoOf(error, name, failures));
        span?.failed();
        inFlight.leave();
      },
    );
  }
  return {
    getattr: (target, done) =>
      settle(
        "getattr",
        typeof target === "number" ? operations.fgetattr(target) : operations.getattr(target),
        done,
      ),
    fgetattr: (_path, handle, done) => settle("fgetattr", operations.fgetattr(handle), done),
    readlink: (path, done) => settle("readlink", operations.readlink(path), done),
    mknod: (path, mode, rdev, done) => settle("mknod", operations.mknod(path, mode, rdev), done),
    mkdir: (path, mode, done) => settle("mkdir", operations.mkdir(path, mode), done),
    unlink: (path, done) => settle("unlink", operations.unlink(path), done),
    rmdir: (path, done) => settle("rmdir", operations.rmdir(path), done),
    symlink: (target, path, done) => settle("symlink", operations.symlink(target, path), done),
    rename: (from, to, done) => settle("rename", operations.rename(from, to), done),
    link: (from, to, done) => settle("link", operations.link(from, to), done),
    chmod: (path, mode, done) => settle("chmod", operations.chmod(path, mode), done),
    chown: (path, uid, gid, done) => settle("chown", operations.chown(path, uid, gid), done),
    truncate: (path, size, done) => settle("truncate", operations.truncate(path, size), done),
    ftruncate: (_path, handle, size, done) => settle("ftruncate", operations.ftruncate(handle, size), done),
    utimens: (path, atimeMs, mtimeMs, done) =>
      settle("utimens", operations.utimens(path, atimeMs, mtimeMs), done),
    open: (path, flags, done) => settle("open", operations.open(path, flags), done),
    create: (path, mode, flags, done) => settle("create", operations.create(path, mode, flags), done),
    read: (_path, handle, into, size, offset, done) =>
      count("read", operations.read(handle, into, size, offset), done),
    write: (_path, handle, from, _size, offset, done) =>
      count("write", operations.write(handle, from, offset), done),
    statfs: (path, done) => settle("statfs", operations.statfs(path), done),
    flush: (_path, handle, done) => settle("flush", operations.flush(handle), done),
    release: (_path, handle, done) => settle("release", operations.release(handle), done),
    fsync: (_path, datasync, handle, done) => settle("fsync", operations.fsync(handle, datasync !== 0), done),
    fsyncdir: (path, datasync, _handle, done) =>
      settle("fsyncdir", operations.fsyncdir(path, datasync !== 0), done),
    readdir: (path, done) =>
      settle("readdir", operations.readdir(path), (result, found) =>
        done(result, found?.names, found?.stats),
      ),
    setxattr: (path, name, value, _position, flags, done) =>
      settle("setxattr", operations.setxattr(path, name, value, flags), done),
    getxattr: (path, name, done) => settle("getxattr", operations.getxattr(path, name), done),
    listxattr: (path, done) => settle("listxattr", operations.listxattr(path), done),
    removexattr: (path, name, done) => settle("removexattr", operations.removexattr(path, name), done),
  };
}
