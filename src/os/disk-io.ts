/**
 * DiskIo: reads, writes and syncs of open files that never block the caller. Two engines: io_uring (no thread
 * between the request and the disk) and Node's libuv pool. `auto` takes io_uring when the kernel grants it.
 */

import { fdatasync, fsync, readv, writev } from "node:fs";
import { FopError, toFopError } from "../core/errors.ts";
import type { IoVec } from "../core/iovec.ts";
import { Uring } from "./uring.ts";

export interface DiskIo {
  readonly kind: "io_uring" | "pool";
  /** Fills the buffers from `offset`; bytes read, fewer at the end of the file. */
  readv(fd: number, data: IoVec, offset: number): Promise<number>;
  /**
   * Bytes written; fewer only when the file system stopped (full, limit). `uncached`, where engine, kernel
   * and file system can: the way to the disk begins at once, and then the pages do not stay in memory.
   */
  writev(fd: number, data: IoVec, offset: number, uncached?: boolean): Promise<number>;
  /** Returns when the file (its data and what is needed to find it, with `datasync`) is on the disk. */
  fsync(fd: number, datasync: boolean): Promise<void>;
}

export type DiskIoKind = "auto" | "io_uring" | "pool";

let shared: Uring | undefined | null = null;

/** The engine asked for; engines are shared in the process. ENOSYS when io_uring is demanded and refused. */
export function openDiskIo(kind: DiskIoKind): DiskIo {
  if (kind === "pool") return POOL;
  if (shared === null) shared = Uring.open();
  if (shared) return shared;
  if (kind === "io_uring") throw new FopError("ENOSYS", { message: "the kernel refuses io_uring" });
  return POOL;
}

class PoolIo implements DiskIo {
  readonly kind = "pool";

  readv(fd: number, data: IoVec, offset: number): Promise<number> {
    return new Promise((resolve, reject) => {
      readv(fd, data, offset, (error, count) => (error ? reject(toFopError(error)) : resolve(count)));
    });
  }

  writev(fd: number, data: IoVec, offset: number): Promise<number> {
    return new Promise((resolve, reject) => {
      writev(fd, data, offset, (error, count) => (error ? reject(toFopError(error)) : resolve(count)));
    });
  }

  fsync(fd: number, datasync: boolean): Promise<void> {
    const sync = datasync ? fdatasync : fsync;
    return new Promise((resolve, reject) => {
      sync(fd, (error) => (error ? reject(toFopError(error)) : resolve()));
    });
  }
}

const POOL = new PoolIo();
