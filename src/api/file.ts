/**
 * An open file of a volume, used in-process: no FUSE, no kernel. Offsets and sizes are bytes, times seconds
 * and nanoseconds.
 *
 * Every method rejects with FopError (`code` is the errno's name); wrong arguments are EINVAL, a closed file
 * is EBADF. Requests may be in flight in any number; two that overlap have no order. Reads and writes are
 * never short, but for reads at the end of the file. A write that resolved has reached the bricks as the
 * volume's options say; `fsync` makes it durable. `await using file = await volume.open(...)` closes it.
 */

import { randomBytes } from "node:crypto";
import type { Call } from "../core/call.ts";
import { Dict } from "../core/dict.ts";
import { FopError } from "../core/errors.ts";
import type { Flock } from "../core/fops.ts";
import { type Iatt, SETATTR, ZERO_IATT } from "../core/iatt.ts";
import type { Fd } from "../core/inode.ts";
import { type IoVec, iovJoin, iovSize, iovSlice } from "../core/iovec.ts";
import { O_ACCMODE, O_APPEND, O_RDONLY, O_WRONLY } from "../core/open-flags.ts";
import { type Extent, findExtents } from "./extents.ts";
import { ReadResult } from "./read-result.ts";
import type { Session } from "./session.ts";
import { type Times, timesChange } from "./times.ts";

/** A byte range to lock; `len` 0 reaches to the end of the file. */
export interface LockRange {
  readonly type: "rdlck" | "wrlck" | "unlck";
  readonly start: number;
  readonly len: number;
}

export interface LockOptions {
  /** Wait for other owners instead of failing with EAGAIN. */
  readonly wait?: boolean;
  /** Ends the wait with EINTR. */
  readonly signal?: AbortSignal;
}

/** Which part of a file, how, and for how long. */
export interface ChunkOptions {
  /** First byte; 0 by default. */
  readonly start?: number;
  /** First byte that is not wanted; the end of the file by default. */
  readonly end?: number;
  /** Bytes of a chunk, 1 MiB by default; only the last one is shorter. */
  readonly size?: number;
  /** Chunks asked for before they are wanted, 4 by default. */
  readonly ahead?: number;
  /** Ends the iteration with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A longer request goes out in pieces of this size, side by side, as the kernel's FUSE client does it. */
const PIECE_BYTES = 1 << 20;
const CHUNK_BYTES = 1 << 20;
const CHUNKS_AHEAD = 4;

export class File {
  readonly fd: Fd;
  readonly #session: Session;
  readonly #call: Call;
  #inFlight = 0;
  #whenIdle: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  /** Ends waits for locks when the file is closed. */
  readonly #closed = new AbortController();

  /** Use `Volume.open`. */
  constructor(session: Session, fd: Fd, call: Call) {
    this.#session = session;
    this.fd = fd;
    this.#call = { ...call, lkOwner: randomBytes(8) };
    session.opened(this);
  }

  /** Linux open flags it was opened with, without those that only count at open. */
  get flags(): number {
    return this.fd.flags;
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Up to `size` bytes from `offset`, without a copy: the buffers are the brick's or the network's own and
   * the caller's until `release`, which lets them be used again.
   */
  async readVector(offset: number, size: number): Promise<ReadResult> {
    const call = this.#begin("readv", O_WRONLY, offset, size);
    try {
      if (size > PIECE_BYTES) return await this.#readPieces(call, offset, size);
      const reply = await this.#session.top.readv(call, { fd: this.fd, offset, size, flags: this.fd.flags });
      return new ReadResult(reply.data, reply.size, reply.eof, reply.lease);
    } finally {
      this.#end();
    }
  }

  /**
   * Up to `size` bytes from `offset` as a buffer of the caller's own; shorter only at the end of the file.
   */
  async read(offset: number, size: number): Promise<Buffer> {
    const result = await this.readVector(offset, size);
    try {
      // More than one part is joined into a buffer of its own already.
      return result.data.length === 1 ? Buffer.from(result.data[0]!) : iovJoin(result.data);
    } finally {
      result.release();
    }
  }

  /** Fills `buffer` from `offset`; returns how many bytes there were. One copy, no allocation. */
  async readInto(buffer: Buffer, offset: number): Promise<number> {
    const result = await this.readVector(offset, buffer.length);
    let at = 0;
    for (const part of result.data) at += part.copy(buffer, at);
    result.release();
    return at;
  }

  /**
   * Writes all of it, without a copy: the buffers are lent and must stay unchanged until the promise settles.
   * With O_DIRECT those of `allocate` (page-aligned) spare the brick a copy. Returns the bytes written.
   */
  async write(offset: number, data: Buffer | IoVec): Promise<number> {
    const vector = Buffer.isBuffer(data) ? [data] : data;
    const size = iovSize(vector);
    const call = this.#begin("writev", O_RDONLY, offset, size);
    try {
      if (size > PIECE_BYTES) await this.#writePieces(call, offset, vector, size);
      else await this.#writePiece(call, offset, vector, size);
      return size;
    } finally {
      this.#end();
    }
  }

  /** Durable on every live brick when it resolves. */
  async fsync(): Promise<void> {
    await this.#run("fsync", (call) => this.#session.top.fsync(call, { fd: this.fd, datasync: false }));
  }

  /** Like `fsync` for the data and what is needed to read it back. */
  async fdatasync(): Promise<void> {
    await this.#run("fsync", (call) => this.#session.top.fsync(call, { fd: this.fd, datasync: true }));
  }

  async stat(): Promise<Iatt> {
    const reply = await this.#run("fstat", (call) => this.#session.top.fstat(call, { fd: this.fd }));
    return reply.stat;
  }

  async truncate(size: number): Promise<void> {
    await this.#change("ftruncate", size, 0, (call) =>
      this.#session.top.ftruncate(call, { fd: this.fd, offset: size }),
    );
  }

  /** Reserves space; the file grows to hold the range unless `keepSize`. */
  async fallocate(offset: number, size: number, keepSize = false): Promise<void> {
    await this.#change("fallocate", offset, size, (call) =>
      this.#session.top.fallocate(call, { fd: this.fd, keepSize, offset, size }),
    );
  }

  /** Punches a hole: the range reads as zeroes, the size stays. */
  async discard(offset: number, size: number): Promise<void> {
    await this.#change("discard", offset, size, (call) =>
      this.#session.top.discard(call, { fd: this.fd, offset, size }),
    );
  }

  /** Writes zeroes without sending them; may grow the file. */
  async zerofill(offset: number, size: number): Promise<void> {
    await this.#change("zerofill", offset, size, (call) =>
      this.#session.top.zerofill(call, { fd: this.fd, offset, size }),
    );
  }

  /** Offset of the next data or hole; ENXIO at and after the end, EOPNOTSUPP where bricks cannot tell. */
  async seek(offset: number, what: "data" | "hole"): Promise<number> {
    checkRange("seek", offset, 0);
    const reply = await this.#run("seek", (call) =>
      this.#session.top.seek(call, { fd: this.fd, offset, what }),
    );
    return reply.offset;
  }

  /** Data and holes from `start` to `end`, without gaps; what bricks cannot tell is data. */
  extents(options: Pick<ChunkOptions, "start" | "end" | "signal"> = {}): AsyncGenerator<Extent> {
    return findExtents(this, options);
  }

  /**
   * The content in order, some chunks ahead of who reads it. Release each result; those not taken are
   * released when the iteration ends early.
   */
  async *chunks(options: ChunkOptions = {}): AsyncGenerator<ReadResult> {
    const { start = 0, size = CHUNK_BYTES, ahead = CHUNKS_AHEAD, signal } = options;
    const { end = Number.MAX_SAFE_INTEGER } = options;
    checkRange("readv", start, 0);
    const queue: Promise<ReadResult>[] = [];
    let next = start;
    try {
      for (let eof = false; !eof; ) {
        signal?.throwIfAborted();
        for (; queue.length < ahead && next < end; next += size) {
          const chunk = this.readVector(next, Math.min(size, end - next));
          // Whoever waits for it hears of the failure; nobody may, if one before it failed.
          chunk.catch(() => {});
          queue.push(chunk);
        }
        const chunk = await queue.shift();
        if (chunk === undefined) return;
        eof = chunk.eof || chunk.size === 0;
        if (chunk.size > 0) yield chunk;
        else chunk.release();
      }
    } finally {
      for (const chunk of await Promise.allSettled(queue))
        if (chunk.status === "fulfilled") chunk.value.release();
    }
  }

  /** Sets or removes a lock of this open file; EAGAIN when another owner is in the way. */
  async lock(range: LockRange, options: LockOptions = {}): Promise<void> {
    await this.#lk(options.wait ? "setlkw" : "setlk", range, options.signal);
  }

  /** The lock that is in the way of `range`, undefined when none is. */
  async testLock(range: LockRange): Promise<LockRange | undefined> {
    const { type, start, len } = await this.#lk("getlk", range);
    return type === "unlck" ? undefined : { type, start: Number(start), len: Number(len) };
  }

  async chmod(mode: number): Promise<void> {
    await this.#setattr({ ...ZERO_IATT, mode }, SETATTR.MODE);
  }

  async chown(uid: number, gid: number): Promise<void> {
    await this.#setattr({ ...ZERO_IATT, uid, gid }, SETATTR.UID | SETATTR.GID);
  }

  async utimes(times: Times): Promise<void> {
    const { stat, valid } = timesChange(times);
    await this.#setattr(stat, valid);
  }

  /** ENODATA when there is none of that name. */
  async getxattr(name: string): Promise<Buffer> {
    const { xattrs } = await this.#run("fgetxattr", (call) =>
      this.#session.top.fgetxattr(call, { fd: this.fd, name }),
    );
    const value = xattrs.bytes(name);
    if (!value) throw new FopError("ENODATA", { fop: "fgetxattr" });
    return value;
  }

  async listxattr(): Promise<string[]> {
    const { xattrs } = await this.#run("fgetxattr", (call) =>
      this.#session.top.fgetxattr(call, { fd: this.fd, name: undefined }),
    );
    return [...xattrs.keys()];
  }

  /** `flags`: 0, 1 XATTR_CREATE, 2 XATTR_REPLACE. */
  async setxattr(name: string, value: Buffer, flags = 0): Promise<void> {
    const xattrs = Dict.ofBytes({ [name]: value });
    await this.#run("fsetxattr", (call) => this.#session.top.fsetxattr(call, { fd: this.fd, xattrs, flags }));
  }

  async removexattr(name: string): Promise<void> {
    await this.#run("fremovexattr", (call) => this.#session.top.fremovexattr(call, { fd: this.fd, name }));
  }

  /**
   * Ends waits for locks, waits for requests in flight, flushes and releases, locks included. Rejects with
   * what close(2) would report, once; the file is closed in any case, and closing it again does nothing.
   */
  async close(): Promise<void> {
    if (this.#closing) return this.#closing.catch(() => {});
    this.#closing = this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#closed.abort();
    if (this.#inFlight > 0)
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve;
      });
    try {
      await this.#session.top.flush(this.#call, { fd: this.fd });
    } finally {
      await this.#session.top.release(this.fd);
      this.#session.closed(this);
    }
  }

  async #readPieces(call: Call, offset: number, size: number): Promise<ReadResult> {
    const pieces = [];
    for (let at = 0; at < size; at += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, size - at);
      pieces.push(
        this.#session.top.readv(call, {
          fd: this.fd,
          offset: offset + at,
          size: length,
          flags: this.fd.flags,
        }),
      );
    }
    return ReadResult.join(await Promise.allSettled(pieces), PIECE_BYTES);
  }

  /** Side by side; appends one after the other. Settles when no piece needs its buffers any more. */
  async #writePieces(call: Call, offset: number, data: IoVec, size: number): Promise<void> {
    const isAppend = (this.fd.flags & O_APPEND) !== 0;
    const pieces = [];
    for (let at = 0; at < size; at += PIECE_BYTES) {
      const end = Math.min(at + PIECE_BYTES, size);
      const piece = this.#writePiece(call, offset + at, iovSlice(data, at, end), end - at);
      if (isAppend) await piece;
      else pieces.push(piece);
    }
    for (const piece of await Promise.allSettled(pieces)) if (piece.status === "rejected") throw piece.reason;
  }

  async #writePiece(call: Call, offset: number, data: IoVec, size: number): Promise<void> {
    const reply = await this.#session.top.writev(call, { fd: this.fd, data, offset, flags: this.fd.flags });
    if (reply.size < size) throw new FopError("ENOSPC", { fop: "writev", message: "short write" });
  }

  async #setattr(stat: Iatt, valid: number): Promise<void> {
    await this.#run("fsetattr", (call) => this.#session.top.fsetattr(call, { fd: this.fd, stat, valid }));
  }

  async #lk(cmd: "getlk" | "setlk" | "setlkw", range: LockRange, signal?: AbortSignal): Promise<Flock> {
    checkRange("lk", range.start, range.len);
    const flock: Flock = {
      type: range.type,
      whence: 0,
      start: BigInt(range.start),
      len: BigInt(range.len),
      pid: this.#call.pid,
      lkOwner: this.#call.lkOwner,
    };
    const end = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal;
    const reply = await this.#run("lk", (call) =>
      this.#session.top.lk(cmd === "setlkw" ? { ...call, signal: end } : call, { fd: this.fd, cmd, flock }),
    );
    return reply.flock;
  }

  /** A change of a range of the file: the file must be open for writing. */
  async #change(
    fop: string,
    offset: number,
    size: number,
    work: (call: Call) => Promise<unknown>,
  ): Promise<void> {
    const call = this.#begin(fop, O_RDONLY, offset, size);
    try {
      await work(call);
    } finally {
      this.#end();
    }
  }

  async #run<R>(fop: string, work: (call: Call) => Promise<R>): Promise<R> {
    const call = this.#begin(fop);
    try {
      return await work(call);
    } finally {
      this.#end();
    }
  }

  /** Counts a request in and checks it as the kernel would; `refused` is the access mode that forbids it. */
  #begin(fop: string, refused?: number, offset = 0, size = 0): Call {
    if (this.#closing) throw new FopError("EBADF", { fop, message: "the file is closed" });
    if (refused !== undefined && (this.fd.flags & O_ACCMODE) === refused)
      throw new FopError("EBADF", {
        fop,
        message: `the file is not open for ${refused === O_WRONLY ? "reading" : "writing"}`,
      });
    checkRange(fop, offset, size);
    this.#inFlight++;
    return this.#call;
  }

  #end(): void {
    if (--this.#inFlight === 0) this.#whenIdle?.();
  }
}

function checkRange(fop: string, offset: number, size: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0)
    throw new FopError("EINVAL", { fop, message: `offset ${offset} is no whole number from 0` });
  if (!Number.isSafeInteger(size) || size < 0)
    throw new FopError("EINVAL", { fop, message: `size ${size} is no whole number from 0` });
  if (offset + size > Number.MAX_SAFE_INTEGER)
    throw new FopError("EFBIG", { fop, message: `${offset} + ${size} is beyond every file` });
}
