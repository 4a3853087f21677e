/**
 * io_uring from JavaScript: the rings are mapped into the process and read and written as typed arrays, the
 * submission is one system call, completions are announced by an eventfd that Node's epoll loop watches. No
 * native code of our own.
 *
 * While the event loop is awake and requests are under way, others wait for each other until it finds nothing
 * new: the kernel announces to a disk at once what it got in one call of three entries or more, and to a
 * virtual disk an announcement costs more than all else of a write.
 *
 * Promises: an entry is never lost or answered twice; more requests than entries wait in a queue. Only this
 * thread submits. Layout of the structs: linux/io_uring.h.
 */

import { release } from "node:os";
import { errnoName, FopError } from "../core/errors.ts";
import { type IoVec, iovSize } from "../core/iovec.ts";
import { EVENT_LOOP } from "./busy-poll.ts";
import { Crowd } from "./core-wait.ts";
import type { DiskIo } from "./disk-io.ts";
import { type FdStream, watchFd } from "./fd-stream.ts";
import { addressOf, declare, mapShared } from "./libc.ts";

const SYS_SETUP = 425;
const SYS_ENTER = 426;
const SYS_REGISTER = 427;
const OP_NOP = 0;
const OP_READV = 1;
const OP_WRITEV = 2;
const OP_FSYNC = 3;
const OP_READ = 22;
const OP_WRITE = 23;
const FSYNC_DATASYNC = 1;
/**
 * RWF_DONTCACHE, from kernel 6.14 on. The first ones with it could drop a page that was dirty again; 6.18 is
 * the oldest that Mortar's tests ran on.
 */
const WRITE_UNCACHED = isKernelSince(6, 18) ? 0x80 : 0;
/** linux/errno.h. */
const EOPNOTSUPP = 95;
const SETUP_COOP_TASKRUN = 1 << 8;
const REGISTER_EVENTFD = 4;
const REGISTER_IOWQ_MAX_WORKERS = 19;
/**
 * Kernel threads for what cannot be done at once: so many calls may hang in a disk before others wait for
 * them.
 */
const WORKERS = 64;
const CQ_EVENTFD_DISABLED = 1;
const OFFSET_SQES = 0x10000000;
const SQE_WORDS = 16;
/** Requests in the kernel at once; the completion ring has twice as many. */
const ENTRIES = 512;
/** Requests in the kernel that are no crowd: the copies of one write are fewer. */
const FEW_REQUESTS = 4;
/** Entries that wait for company, and looks of the loop they wait for it, at most. */
const TOGETHER_MAX = 16;
const LOOKS_MAX = 3;
/**
 * So many entries in one call and the kernel takes them for a batch (its IO_PLUG_THRESHOLD, two, and one
 * more): the disk hears of all at once. Before that each is announced on its own.
 */
const BATCH_MIN = 3;
/** user_data of an entry that is nobody's. */
const NOBODY = ENTRIES;
/** Buffers in one request; longer vectors go out in pieces. */
const IOVECS = 64;
const EFD_NONBLOCK_CLOEXEC = 0o2004000;
const HIGH = 2 ** 32;

const setup = declare("long syscall(long number, uint entries, void *params)");
const enter = declare(
  "long syscall(long number, int fd, uint submit, uint complete, uint flags, void *sig, size_t n)",
);
const register = declare("long syscall(long number, int fd, uint opcode, void *arg, uint count)");
const eventfd = declare("int eventfd(uint initial, int flags)");

function isKernelSince(major: number, minor: number): boolean {
  const [ownMajor = 0, ownMinor = 0] = release().split(".").map(Number);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

interface Request {
  readonly opcode: number;
  readonly fd: number;
  readonly data: IoVec;
  readonly offset: number;
  readonly flags: number;
  readonly resolve: (result: number) => void;
  readonly reject: (error: FopError) => void;
}

export class Uring implements DiskIo {
  readonly kind = "io_uring";
  readonly #fd: number;
  readonly #ring: Int32Array;
  readonly #sqes: Uint32Array;
  readonly #sqHead: number;
  readonly #sqTail: number;
  readonly #sqMask: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqMask: number;
  readonly #cqFlags: number;
  readonly #cqes: number;
  /** Request by slot; a slot's number is the entry's user_data. */
  readonly #slots: (Request | undefined)[] = new Array(ENTRIES);
  readonly #freeSlots: number[] = [];
  /** One iovec array a slot: the kernel reads it until the request completes. */
  readonly #iovecs = Buffer.alloc(ENTRIES * IOVECS * 16);
  readonly #iovecsAt = addressOf(this.#iovecs);
  readonly #waiting: Request[] = [];
  /** Entries in the ring that the kernel was not told of, and the looks of the loop since the first. */
  #untold = 0;
  #looks = 0;
  readonly #underWay = new Crowd(FEW_REQUESTS);
  #wake: FdStream | undefined;
  #reaping = false;
  #alive = false;

  private constructor(fd: number, params: Buffer) {
    this.#fd = fd;
    const sqEntries = params.readUInt32LE(0);
    const cqEntries = params.readUInt32LE(4);
    const sqArray = params.readUInt32LE(64);
    const cqes = params.readUInt32LE(100);
    const mapped = mapShared(fd, Math.max(sqArray + sqEntries * 4, cqes + cqEntries * 16), 0);
    this.#ring = new Int32Array(mapped.buffer, mapped.byteOffset, mapped.length >> 2);
    const sqes = mapShared(fd, sqEntries * SQE_WORDS * 4, OFFSET_SQES);
    this.#sqes = new Uint32Array(sqes.buffer, sqes.byteOffset, sqEntries * SQE_WORDS);
    this.#sqHead = params.readUInt32LE(40) >> 2;
    this.#sqTail = params.readUInt32LE(44) >> 2;
    this.#sqMask = this.#ring[params.readUInt32LE(48) >> 2]!;
    this.#cqHead = params.readUInt32LE(80) >> 2;
    this.#cqTail = params.readUInt32LE(84) >> 2;
    this.#cqMask = this.#ring[params.readUInt32LE(88) >> 2]!;
    this.#cqFlags = params.readUInt32LE(104) >> 2;
    this.#cqes = cqes >> 2;
    for (let i = 0; i < sqEntries; i++) this.#ring[(sqArray >> 2) + i] = i;
    for (let slot = ENTRIES - 1; slot >= 0; slot--) this.#freeSlots.push(slot);
  }

  /** A ring, or undefined when the kernel (or a seccomp filter) refuses one. */
  static open(): Uring | undefined {
    const params = Buffer.alloc(120);
    params.writeUInt32LE(SETUP_COOP_TASKRUN, 8);
    const fd = setup(SYS_SETUP, ENTRIES, params);
    if (fd < 0) return undefined;
    const uring = new Uring(fd, params);
    const signal = eventfd(0, EFD_NONBLOCK_CLOEXEC);
    const arg = Buffer.alloc(4);
    arg.writeInt32LE(signal);
    if (signal < 0 || register(SYS_REGISTER, fd, REGISTER_EVENTFD, arg, 1) < 0) return undefined;
    const counter = Buffer.alloc(64);
    const workers = Buffer.alloc(8);
    workers.writeUInt32LE(WORKERS, 0);
    register(SYS_REGISTER, fd, REGISTER_IOWQ_MAX_WORKERS, workers, 2);
    uring.#wake = watchFd(signal, { buffer: () => counter, onData: () => uring.#reap() });
    EVENT_LOOP.add({
      poll: () => uring.#poll(),
      nothingElse: () => uring.#nothingElse(),
      rest: () => uring.#rest(),
    });
    EVENT_LOOP.standBackWhile(() => uring.#underWay.isCrowded);
    return uring;
  }

  readv(fd: number, data: IoVec, offset: number): Promise<number> {
    return data.length <= IOVECS
      ? this.#request(OP_READV, fd, data, offset, 0)
      : this.#pieces(OP_READV, fd, data, offset);
  }

  writev(fd: number, data: IoVec, offset: number, uncached = false): Promise<number> {
    if (data.length > IOVECS) return this.#pieces(OP_WRITEV, fd, data, offset);
    return this.#request(OP_WRITEV, fd, data, offset, uncached ? WRITE_UNCACHED : 0);
  }

  async fsync(fd: number, datasync: boolean): Promise<void> {
    await this.#request(OP_FSYNC, fd, [], 0, datasync ? FSYNC_DATASYNC : 0);
  }

  /** A vector longer than a slot's iovec array: piece after piece, up to the first short one. */
  async #pieces(opcode: number, fd: number, data: IoVec, offset: number): Promise<number> {
    let done = 0;
    for (let from = 0; from < data.length; from += IOVECS) {
      const piece = data.slice(from, from + IOVECS);
      const count = await this.#request(opcode, fd, piece, offset + done, 0);
      done += count;
      if (count < piece.reduce((sum, part) => sum + part.length, 0)) break;
    }
    return done;
  }

  #request(opcode: number, fd: number, data: IoVec, offset: number, flags: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const request = { opcode, fd, data, offset, flags, resolve, reject };
      const slot = this.#freeSlots.pop();
      if (slot === undefined) this.#waiting.push(request);
      else this.#submit(slot, request);
    });
  }

  /**
   * Writes the entry. The kernel is told at once when the disk has nothing to do yet, or when the event loop
   * would not do it soon.
   */
  #submit(slot: number, request: Request): void {
    this.#slots[slot] = request;
    this.#underWay.join(iovSize(request.data));
    const tail = this.#ring[this.#sqTail]!;
    this.#fill((tail & this.#sqMask) * SQE_WORDS, slot, request);
    Atomics.store(this.#ring, this.#sqTail, (tail + 1) | 0);
    this.#untold++;
    const isAlone = this.#freeSlots.length === ENTRIES - 1;
    if (isAlone || this.#untold >= TOGETHER_MAX || !EVENT_LOOP.awake) this.#tell();
  }

  /** Tells the kernel. What completes at once (page cache) is reaped without the eventfd. */
  #tell(): void {
    if (this.#untold === BATCH_MIN - 1) this.#fillUp();
    const untold = this.#untold;
    this.#untold = 0;
    this.#looks = 0;
    this.#ring[this.#cqFlags] = CQ_EVENTFD_DISABLED;
    const accepted = enter(SYS_ENTER, this.#fd, untold, 0, 0, null, 0);
    if (!EVENT_LOOP.awake) this.#ring[this.#cqFlags] = 0;
    if (accepted !== untold) this.#takeBack();
    this.#reap();
  }

  /** An entry that does nothing makes two a batch, for a hundredth of what a disk's announcement costs. */
  #fillUp(): void {
    const tail = this.#ring[this.#sqTail]!;
    const at = (tail & this.#sqMask) * SQE_WORDS;
    this.#sqes.fill(0, at, at + SQE_WORDS);
    this.#sqes[at] = OP_NOP;
    this.#sqes[at + 8] = NOBODY;
    Atomics.store(this.#ring, this.#sqTail, (tail + 1) | 0);
    this.#untold++;
  }

  /**
   * The kernel did not take all (out of memory): the entries that are left are withdrawn and their requests
   * fail, rather than hang.
   */
  #takeBack(): void {
    const head = Atomics.load(this.#ring, this.#sqHead);
    const tail = this.#ring[this.#sqTail]!;
    Atomics.store(this.#ring, this.#sqTail, head);
    for (let entry = head; entry !== tail; entry = (entry + 1) | 0) {
      const slot = this.#sqes[(entry & this.#sqMask) * SQE_WORDS + 8]!;
      if (slot === NOBODY) continue;
      this.#vacate(slot)?.reject(new FopError("EAGAIN", { message: "io_uring took no request" }));
    }
  }

  #fill(at: number, slot: number, request: Request): void {
    const { data, offset } = request;
    const sqes = this.#sqes;
    let opcode = request.opcode;
    let address = 0;
    let length = data.length;
    if (length === 1) {
      opcode = opcode === OP_READV ? OP_READ : OP_WRITE;
      address = addressOf(data[0]!);
      length = data[0]!.length;
    } else if (length > 1) {
      address = this.#fillIovecs(slot, data);
    }
    sqes.fill(0, at, at + SQE_WORDS);
    sqes[at] = opcode;
    sqes[at + 1] = request.fd;
    sqes[at + 2] = offset % HIGH;
    sqes[at + 3] = Math.floor(offset / HIGH);
    sqes[at + 4] = address % HIGH;
    sqes[at + 5] = Math.floor(address / HIGH);
    sqes[at + 6] = length;
    sqes[at + 7] = request.flags;
    sqes[at + 8] = slot;
  }

  #fillIovecs(slot: number, data: IoVec): number {
    const start = slot * IOVECS * 16;
    let at = start;
    for (const part of data) {
      const address = addressOf(part);
      this.#iovecs.writeUInt32LE(address % HIGH, at);
      this.#iovecs.writeUInt32LE(Math.floor(address / HIGH), at + 4);
      this.#iovecs.writeUInt32LE(part.length, at + 8);
      this.#iovecs.writeUInt32LE(0, at + 12);
      at += 16;
    }
    return this.#iovecsAt + start;
  }

  /** While the loop is awake the kernel need not announce anything. */
  #poll(): boolean {
    const ring = this.#ring;
    ring[this.#cqFlags] = CQ_EVENTFD_DISABLED;
    if (this.#untold > 0 && ++this.#looks > LOOKS_MAX) this.#tell();
    if (ring[this.#cqHead]! === Atomics.load(ring, this.#cqTail)) return false;
    EVENT_LOOP.touch();
    this.#reap();
    return true;
  }

  #nothingElse(): boolean {
    if (this.#untold === 0) return false;
    this.#tell();
    return true;
  }

  #rest(): boolean {
    if (this.#untold > 0) this.#tell();
    Atomics.store(this.#ring, this.#cqFlags, 0);
    return this.#ring[this.#cqHead]! === Atomics.load(this.#ring, this.#cqTail);
  }

  /** Answers everything that completed; slots that came free go to the requests that wait. */
  #reap(): void {
    if (this.#reaping) return;
    this.#reaping = true;
    const ring = this.#ring;
    let head = ring[this.#cqHead]!;
    while (head !== Atomics.load(ring, this.#cqTail)) {
      const at = this.#cqes + (head & this.#cqMask) * 4;
      const slot = ring[at]!;
      const result = ring[at + 2]!;
      head = (head + 1) | 0;
      Atomics.store(ring, this.#cqHead, head);
      if (slot === NOBODY) continue;
      this.#complete(slot, result);
      const next = this.#waiting.length > 0 ? this.#freeSlots.pop() : undefined;
      if (next !== undefined) this.#submit(next, this.#waiting.shift()!);
    }
    this.#reaping = false;
    this.#keepAlive();
  }

  #complete(slot: number, result: number): void {
    const request = this.#vacate(slot);
    if (!request) return;
    if (result >= 0) request.resolve(result);
    else if (result === -EOPNOTSUPP && request.opcode === OP_WRITEV && request.flags !== 0) {
      // The file system cannot leave its cache out.
      const { opcode, fd, data, offset, resolve, reject } = request;
      this.#request(opcode, fd, data, offset, 0).then(resolve, reject);
    } else request.reject(new FopError(errnoName(-result)));
  }

  /** The request that had the slot. */
  #vacate(slot: number): Request | undefined {
    const request = this.#slots[slot];
    this.#slots[slot] = undefined;
    this.#freeSlots.push(slot);
    if (request) this.#underWay.leave();
    return request;
  }

  /** The process stays alive while a request is in the kernel, and only then. */
  #keepAlive(): void {
    const busy = this.#freeSlots.length < ENTRIES;
    if (busy === this.#alive) return;
    this.#alive = busy;
    if (busy) this.#wake?.ref();
    else this.#wake?.unref();
  }
}
