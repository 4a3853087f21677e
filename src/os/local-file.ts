/**
 * A local file with the interface of a file of a volume (src/api/file.ts): what copies and measures one can
 * copy and measure the other. Reads come in pooled, page-aligned buffers, through io_uring where there is it.
 *
 * Errors are FopError. Reads are short only at the end of the file; a short write is ENOSPC.
 */

import * as fs from "node:fs";
import { FopError, toFopError } from "../core/errors.ts";
import { S_IFBLK, S_IFMT } from "../core/iatt.ts";
import { type IoVec, iovSize, type Lease } from "../core/iovec.ts";
import { type DiskIo, openDiskIo } from "./disk-io.ts";
import * as files from "./files.ts";
import { PAYLOADS, type PooledBuffer } from "./memory.ts";

/** Bytes read; `release` gives the buffer back. */
export class LocalRead implements Lease {
  readonly data: IoVec;
  readonly size: number;
  readonly eof: boolean;
  readonly #lease: PooledBuffer;

  constructor(lease: PooledBuffer, size: number) {
    const { buffer } = lease;
    this.#lease = lease;
    this.size = size;
    this.eof = size < buffer.length;
    this.data = size === 0 ? [] : [this.eof ? buffer.subarray(0, size) : buffer];
  }

  release(): void {
    this.#lease.release();
  }
}

export class LocalFile {
  readonly fd: number;
  readonly #io: DiskIo;
  #closed = false;

  private constructor(fd: number) {
    this.fd = fd;
    this.#io = openDiskIo("auto");
  }

  /** `flags` are Linux open flags; symbolic links are followed unless they say otherwise. */
  static async open(path: files.OsPath, flags: number, mode = 0o600): Promise<LocalFile> {
    const fd = await new Promise<number>((resolve, reject) => {
      fs.open(files.raw(path), flags, mode, (error, opened) =>
        error ? reject(toFopError(error, { fop: "open" })) : resolve(opened),
      );
    });
    return new LocalFile(fd);
  }

  async readVector(offset: number, size: number): Promise<LocalRead> {
    const lease = PAYLOADS.take(size);
    try {
      let count = 0;
      while (count < size) {
        const rest = count === 0 ? lease.buffer : lease.buffer.subarray(count);
        const got = await this.#io.readv(this.fd, [rest], offset + count);
        count += got;
        // What follows a part of a block cannot be asked for with O_DIRECT, and is the end of the file.
        if (got === 0 || count % BLOCK !== 0) break;
      }
      return new LocalRead(lease, count);
    } catch (error) {
      lease.release();
      throw error;
    }
  }

  /** Writes all of it; the buffers are lent until it settles. */
  async write(offset: number, data: Buffer | IoVec): Promise<number> {
    const vector = Buffer.isBuffer(data) ? [data] : data;
    const size = iovSize(vector);
    const count = await this.#io.writev(this.fd, vector, offset);
    if (count < size) throw new FopError("ENOSPC", { fop: "writev", message: "short write" });
    return count;
  }

  /** Writes and blocks this thread until it is done: what a simple program does. */
  writeSync(offset: number, data: Buffer): void {
    try {
      if (fs.writeSync(this.fd, data, 0, data.length, offset) === data.length) return;
    } catch (error) {
      throw toFopError(error, { fop: "writev" });
    }
    throw new FopError("ENOSPC", { fop: "writev", message: "short write" });
  }

  fsync(): Promise<void> {
    return this.#io.fsync(this.fd, false);
  }

  async stat(): Promise<files.OsStat> {
    const stat = files.fstat(this.fd);
    return (stat.mode & S_IFMT) === S_IFBLK ? { ...stat, size: await files.seekEnd(this.fd) } : stat;
  }

  truncate(size: number): Promise<void> {
    return files.ftruncate(this.fd, size);
  }

  /** ENXIO at and after the end. */
  seek(offset: number, what: "data" | "hole"): Promise<number> {
    return files.seek(this.fd, offset, what);
  }

  chmod(mode: number): Promise<void> {
    return files.fchmod(this.fd, mode);
  }

  chown(uid: number, gid: number): Promise<void> {
    return files.fchown(this.fd, uid, gid);
  }

  utimes(times: files.NewTimes): Promise<void> {
    return files.futimens(this.fd, times);
  }

  /** Closing again does nothing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await files.close(this.fd);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const BLOCK = 512;
