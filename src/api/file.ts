/**
 * An open file of a volume, used in-process: no FUSE, no kernel. Offsets and sizes are bytes, times seconds
 * and nanoseconds.
 *
 * Every method rejects with FopError (`code` is the errno's name). Requests may be in flight in any number;
 * two that overlap have no order. A write that resolved has reached the brick as the volume's options say;
 * `fsync` makes it durable.
 */

import { randomBytes } from "node:crypto";
import type { Call } from "../core/call.ts";
import { Dict } from "../core/dict.ts";
import { FopError } from "../core/errors.ts";
import type { Flock } from "../core/fops.ts";
import type { Iatt } from "../core/iatt.ts";
import type { Fd, InodeTable } from "../core/inode.ts";
import { type IoVec, iovJoin, iovSize, type Lease } from "../core/iovec.ts";
import type { XlatorBase } from "../core/xlator.ts";

/** Bytes read, in the brick's or the network's own buffers: call `release` when done with them. */
export interface ReadResult extends Lease {
  readonly data: IoVec;
  readonly size: number;
  readonly eof: boolean;
}

/** A byte range to lock; `len` 0 reaches to the end of the file. */
export interface LockRange {
  readonly type: "rdlck" | "wrlck" | "unlck";
  readonly start: number;
  readonly len: number;
}

export class File {
  readonly fd: Fd;
  readonly #top: XlatorBase;
  readonly #inodes: InodeTable;
  readonly #call: Call;
  #closed = false;

  /** Use `Volume.open`. */
  constructor(top: XlatorBase, inodes: InodeTable, fd: Fd, call: Call) {
    this.#top = top;
    this.#inodes = inodes;
    this.fd = fd;
    this.#call = { ...call, lkOwner: randomBytes(8) };
    inodes.hold(fd.inode);
  }

  /** Up to `size` bytes from `offset`, without a copy. */
  async readVector(offset: number, size: number): Promise<ReadResult> {
    const reply = await this.#top.readv(this.#live(), { fd: this.fd, offset, size, flags: this.fd.flags });
    const { data, eof, lease } = reply;
    return { data, size: reply.size, eof, release: () => lease?.release() };
  }

  /**
   * Up to `size` bytes from `offset` as a buffer of the caller's own; shorter only at the end of the file.
   */
  async read(offset: number, size: number): Promise<Buffer> {
    const result = await this.readVector(offset, size);
    const own = Buffer.from(iovJoin(result.data));
    result.release();
    return own;
  }

  /** Writes everything. The buffers must stay unchanged until it resolves. Returns the bytes written. */
  async write(offset: number, data: Buffer | IoVec): Promise<number> {
    const vector = Buffer.isBuffer(data) ? [data] : data;
    const reply = await this.#top.writev(this.#live(), {
      fd: this.fd,
      data: vector,
      offset,
      flags: this.fd.flags,
    });
    if (reply.size < iovSize(vector)) throw new FopError("ENOSPC", { fop: "writev", message: "short write" });
    return reply.size;
  }

  /** Durable on every live brick when it resolves. */
  async fsync(): Promise<void> {
    await this.#top.fsync(this.#live(), { fd: this.fd, datasync: false });
  }

  /** Like `fsync` for the data and what is needed to read it back. */
  async fdatasync(): Promise<void> {
    await this.#top.fsync(this.#live(), { fd: this.fd, datasync: true });
  }

  async stat(): Promise<Iatt> {
    return (await this.#top.fstat(this.#live(), { fd: this.fd })).stat;
  }

  async truncate(size: number): Promise<void> {
    await this.#top.ftruncate(this.#live(), { fd: this.fd, offset: size });
  }

  /** Reserves space; the file grows to hold the range unless `keepSize`. */
  async fallocate(offset: number, size: number, keepSize = false): Promise<void> {
    await this.#top.fallocate(this.#live(), { fd: this.fd, keepSize, offset, size });
  }

  /** Punches a hole: the range reads as zeroes, the size stays. */
  async discard(offset: number, size: number): Promise<void> {
    await this.#top.discard(this.#live(), { fd: this.fd, offset, size });
  }

  /** Writes zeroes without sending them; may grow the file. */
  async zerofill(offset: number, size: number): Promise<void> {
    await this.#top.zerofill(this.#live(), { fd: this.fd, offset, size });
  }

  /** Offset of the next data or hole; ENXIO at and after the end. */
  async seek(offset: number, what: "data" | "hole"): Promise<number> {
    return (await this.#top.seek(this.#live(), { fd: this.fd, offset, what })).offset;
  }

  /** Sets or removes a lock; EAGAIN when another owner is in the way, unless `wait`. */
  async lock(range: LockRange, wait = false): Promise<void> {
    await this.#lk(wait ? "setlkw" : "setlk", range);
  }

  /** The lock that is in the way of `range`, undefined when none is. */
  async testLock(range: LockRange): Promise<LockRange | undefined> {
    const { type, start, len } = await this.#lk("getlk", range);
    return type === "unlck" ? undefined : { type, start: Number(start), len: Number(len) };
  }

  async getxattr(name: string): Promise<Buffer> {
    const { xattrs } = await this.#top.fgetxattr(this.#live(), { fd: this.fd, name });
    const value = xattrs.bytes(name);
    if (!value) throw new FopError("ENODATA", { fop: "fgetxattr" });
    return value;
  }

  async setxattr(name: string, value: Buffer, flags = 0): Promise<void> {
    await this.#top.fsetxattr(this.#live(), { fd: this.fd, xattrs: Dict.ofBytes({ [name]: value }), flags });
  }

  async removexattr(name: string): Promise<void> {
    await this.#top.fremovexattr(this.#live(), { fd: this.fd, name });
  }

  /**
   * Flushes and releases. What close(2) would report is what it rejects with; the file is closed in any case.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    const call = this.#live();
    this.#closed = true;
    try {
      await this.#top.flush(call, { fd: this.fd });
    } finally {
      await this.#top.release(this.fd);
      this.#inodes.letGo(this.fd.inode);
    }
  }

  async #lk(cmd: "getlk" | "setlk" | "setlkw", range: LockRange): Promise<Flock> {
    const call = this.#live();
    const flock: Flock = {
      type: range.type,
      whence: 0,
      start: BigInt(range.start),
      len: BigInt(range.len),
      pid: call.pid,
      lkOwner: call.lkOwner,
    };
    return (await this.#top.lk(call, { fd: this.fd, cmd, flock })).flock;
  }

  #live(): Call {
    if (this.#closed) throw new FopError("EBADF", { message: "the file is closed" });
    return this.#call;
  }
}
