/**
 * What stands in a file's line (backlog.ts): batches, which are acknowledged bytes on their way to the
 * bricks, and turns, which are changes whose callers still wait.
 */

import type { Call } from "../../../src/core/call.ts";
import { Deferred } from "../../../src/core/concurrency.ts";
import type { FopError } from "../../../src/core/errors.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { type IoVec, iovSize, iovSlice, type Lease } from "../../../src/core/iovec.ts";
import { O_APPEND } from "../../../src/core/open-flags.ts";
import type { Slabs } from "./slabs.ts";

/** Bytes from `start` to `end` (exclusive) that an entry of the line changes. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Every byte a file could have. */
export const WHOLE_FILE: Span = { start: 0, end: Number.POSITIVE_INFINITY };

/** What a write changes; where an append lands is known to nobody before it has landed. */
export function spanOfWrite(fd: Fd, offset: number, size: number): Span {
  return (fd.flags & O_APPEND) !== 0 ? WHOLE_FILE : { start: offset, end: offset + size };
}

export function overlap(a: Span, b: Span): boolean {
  return a.start < b.end && b.start < a.end;
}

/**
 * Open: it may still grow. Ready: complete, it goes when its place allows. Sent: with the child. Failed: the
 * child could not do it, it is kept. Gone: done, or given up.
 */
export type BatchState = "open" | "ready" | "sent" | "failed" | "gone";

/** Acknowledged bytes that lie one after the other and go down as one write. */
export class Batch implements Span {
  readonly fd: Fd;
  readonly call: Call;
  readonly flags: number;
  state: BatchState = "open";
  /** Why the last attempt failed. */
  error: FopError | undefined;
  /** Somebody was told of that error. */
  reported = false;
  /** Bytes before it that exist because of it, as it begins behind the end of the file; for reads. */
  readonly readsFrom: number;
  readonly #slabs: Slabs;
  /** Slabs, or the caller's own memory when there is a lease. */
  readonly #parts: Buffer[] = [];
  #lease: Lease | undefined;
  /** Unused bytes of the last part. */
  #room = 0;
  /** Bytes that were written already, by a write that came out short. */
  #written = 0;
  #offset: number;
  #size = 0;
  #attempt: Deferred<FopError | undefined> | undefined;

  /** Begins without bytes; `knownSize` is the size of the file as far as known. */
  constructor(call: Call, args: Args<"writev">, knownSize: number, slabs: Slabs) {
    const { signal: _given, ...lasting } = call;
    this.call = call.signal === undefined ? call : lasting;
    this.fd = args.fd;
    this.flags = args.flags;
    this.#offset = args.offset;
    this.readsFrom = Math.min(args.offset, knownSize);
    this.#slabs = slabs;
  }

  get offset(): number {
    return this.#offset;
  }
  get size(): number {
    return this.#size;
  }
  get isAppend(): boolean {
    return (this.fd.flags & O_APPEND) !== 0;
  }
  get start(): number {
    return this.isAppend ? 0 : this.#offset;
  }
  get end(): number {
    return this.isAppend ? Number.POSITIVE_INFINITY : this.#offset + this.#size;
  }
  /** It could go if nothing before it were in its way. */
  get waits(): boolean {
    return this.state === "ready";
  }

  /** Whether a reader of these bytes must wait for it. */
  isSeenBy({ start, end }: Span): boolean {
    return this.isAppend || (this.readsFrom < end && start < this.end);
  }

  /** Whether a write continues this batch: the same program, file and flags, the next byte, and room left. */
  continues(call: Call, args: Args<"writev">, size: number, sizeMax: number): boolean {
    return (
      this.state === "open" &&
      args.offset === this.#offset + this.#size &&
      this.#size + size <= sizeMax &&
      args.fd === this.fd &&
      args.flags === this.flags &&
      sameCaller(call, this.call)
    );
  }

  /** Copies bytes to its end. */
  add(data: IoVec): void {
    let left = iovSize(data);
    for (const part of data) {
      for (let at = 0; at < part.length; ) {
        if (this.#room === 0) this.#grow(left);
        const last = this.#parts[this.#parts.length - 1]!;
        const count = Math.min(this.#room, part.length - at);
        part.copy(last, last.length - this.#room, at, at + count);
        this.#room -= count;
        this.#size += count;
        left -= count;
        at += count;
      }
    }
  }

  /** Keeps bytes where they are; they are the whole batch. */
  borrow(data: IoVec, size: number, lease: Lease): void {
    this.#parts.push(...data);
    this.#size = size;
    this.#lease = lease;
  }

  /** The bytes that are to be written yet. */
  get data(): IoVec {
    const { length } = this.#parts;
    const whole = this.#parts.map((part, index) =>
      index === length - 1 ? part.subarray(0, part.length - this.#room) : part,
    );
    return this.#written === 0 ? whole : iovSlice(whole, this.#written, this.#written + this.#size);
  }

  /** The first `count` bytes were written, the rest were not. */
  shorten(count: number): void {
    this.#written += count;
    this.#offset += count;
    this.#size -= count;
  }

  /** How the attempt that is due or under way ends; for one that has failed, what it failed with. */
  outcome(): Promise<FopError | undefined> {
    if (this.state === "gone" || this.state === "failed") return Promise.resolve(this.error);
    this.#attempt ??= new Deferred();
    return this.#attempt.promise;
  }

  /** An attempt ended. */
  fail(error: FopError): void {
    this.state = "failed";
    this.error = error;
    this.#tell(error);
  }

  /** It leaves the line: written, or given up with `error`. Its memory may be used again. */
  leave(error: FopError | undefined): void {
    this.state = "gone";
    this.error = error;
    const parts = this.#parts.splice(0);
    if (this.#lease === undefined) for (const part of parts) this.#slabs.give(part);
    else this.#lease.release();
    this.#tell(error);
  }

  #grow(bytes: number): void {
    const slab = this.#slabs.take(Math.max(bytes, this.#size));
    this.#parts.push(slab);
    this.#room = slab.length;
  }

  #tell(error: FopError | undefined): void {
    const attempt = this.#attempt;
    this.#attempt = undefined;
    attempt?.resolve(error);
  }
}

/** A change whose caller waits for it: in line from its arrival to its end. */
export class Turn implements Span {
  readonly start: number;
  readonly end: number;
  /** It makes what was written to its span before it pointless, as a truncation does. */
  readonly supersedes: boolean;
  /** Settles when nothing before it is in its way; absent when nothing was. */
  started: Deferred<void> | undefined;

  constructor({ start, end }: Span, supersedes: boolean) {
    this.start = start;
    this.end = end;
    this.supersedes = supersedes;
  }

  get waits(): boolean {
    return this.started !== undefined;
  }

  /** Whether this failed batch needs not be written for it. */
  clears(batch: Batch): boolean {
    return this.supersedes && this.start <= batch.start && batch.end <= this.end && !batch.isAppend;
  }
}

/**
 * A write that waits to be acknowledged: a small one for room in the window, a large one for its payload to
 * be borrowed. The payload is the caller's until `answer` settles.
 */
export class Applicant implements Span {
  readonly call: Call;
  readonly args: Args<"writev">;
  readonly size: number;
  readonly start: number;
  readonly end: number;
  readonly answer = new Deferred<Reply<"writev">>();
  /** It never goes down by itself. */
  readonly waits = false;

  constructor(call: Call, args: Args<"writev">, size: number) {
    this.call = call;
    this.args = args;
    this.size = size;
    const span = spanOfWrite(args.fd, args.offset, size);
    this.start = span.start;
    this.end = span.end;
  }
}

export type Place = Batch | Turn | Applicant;

function sameCaller(a: Call, b: Call): boolean {
  if (a === b) return true;
  return a.uid === b.uid && a.gid === b.gid && a.pid === b.pid && a.lkOwner.equals(b.lkOwner);
}
