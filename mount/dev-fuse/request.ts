/**
 * One message of the kernel and the room for its answer. Requests are made once and used again: the buffers,
 * the typed views over them and the callbacks that a fop's promise gets are all there when the message
 * arrives.
 *
 * The message buffer is placed so that a WRITE's payload begins on a page. A request is in use until
 * `reply...` or `fail` was called, exactly once; payload views are valid until then, and longer where
 * somebody took a lease.
 */

import { type ErrnoName, FopError, toFopError } from "../../src/core/errors.ts";
import type { Reply } from "../../src/core/fops.ts";
import { EMPTY_IOVEC, type IoVec, type Lease, type Lender } from "../../src/core/iovec.ts";
import { decodeName } from "../../src/core/name.ts";
import { alignedBuffer, giveUpPages } from "../../src/os/memory.ts";
import { HEADER_IN, HIGH, OUT_HEADER_BYTES, u64, type Words, WRITE_PAYLOAD_BYTE } from "./protocol.ts";

const PAGE = 4096;
/** Header plus the largest fixed answer (statx), rounded up. */
const OUT_BYTES = 512;
/**
 * Words of a message that are read as numbers; what follows are names, payload, and lists read by `u64At`.
 */
const WORDS_MAX = PAGE / 4;
/** First word of the answer's body. */
export const BODY = OUT_HEADER_BYTES / 4;

/** Who sends answers: the channel, or a test that plays the kernel. Each ends the request. */
export interface ReplySink {
  /** The answer's header and `bodyBytes` of `request.out` behind it. */
  send(request: KernelRequest, bodyBytes: number): void;
  /** Header, then `data`, whose memory is released through `lease` afterwards. */
  sendData(request: KernelRequest, data: IoVec, size: number, lease: Lease | undefined): void;
  sendError(request: KernelRequest, code: ErrnoName): void;
  /** The kernel waits for no answer (FORGET, INTERRUPT). */
  drop(request: KernelRequest): void;
  /** The request is answered and its payload not on loan, or not any more. */
  returned(request: KernelRequest): void;
  /** What made a handler or a fop fail, told before its errno is sent. */
  failed(request: KernelRequest, error: unknown): void;
}

export class KernelRequest implements Lender {
  /** The message, `length` bytes of it valid. */
  readonly buffer: Buffer;
  readonly words: Words;
  /** The answer: its header (filled by the sink), then room for a body. */
  readonly out: Buffer;
  readonly outWords: Words;
  /** The answer's header alone, and with the eight bytes that most answers have. */
  readonly outHeader: Buffer;
  readonly outShort: Buffer;
  length = 0;
  /** Bytes of the buffer that messages have filled so far. */
  filledBytes = 0;
  /** A WRITE, and others are in flight: what belongs to it may have been read with it. */
  inCompany = false;
  /** Clock time at which the message was read, where somebody measures. */
  beganMs = 0;
  readonly #sink: ReplySink;
  #payload: Buffer = Buffer.alloc(0);
  #payloadVector: IoVec = EMPTY_IOVEC;
  #answered = true;
  #leases = 0;

  constructor(sink: ReplySink, maxWrite: number) {
    const raw = alignedBuffer(PAGE + maxWrite + PAGE);
    this.buffer = raw.subarray(PAGE - WRITE_PAYLOAD_BYTE);
    this.words = new Uint32Array(this.buffer.buffer, this.buffer.byteOffset, WORDS_MAX);
    this.out = Buffer.from(new ArrayBuffer(OUT_BYTES));
    this.outWords = new Uint32Array(this.out.buffer, this.out.byteOffset, OUT_BYTES / 4);
    this.outHeader = this.out.subarray(0, OUT_HEADER_BYTES);
    this.outShort = this.out.subarray(0, OUT_HEADER_BYTES + 8);
    this.#sink = sink;
  }

  /** Takes a message of `length` bytes that was read into `buffer`. */
  begin(length: number): void {
    this.length = length;
    if (length > this.filledBytes) this.filledBytes = length;
    this.#answered = false;
  }

  /** Gives the memory of the message back; the request can be used again. */
  empty(): void {
    giveUpPages(this.buffer);
    this.filledBytes = 0;
  }

  get opcode(): number {
    return this.words[HEADER_IN.opcode]!;
  }
  get nodeid(): number {
    return u64(this.words, HEADER_IN.nodeid);
  }
  get uid(): number {
    return this.words[HEADER_IN.uid]!;
  }
  get gid(): number {
    return this.words[HEADER_IN.gid]!;
  }
  get pid(): number {
    return this.words[HEADER_IN.pid]!;
  }
  /** The kernel's number for the request; unique while it is open. */
  get unique(): number {
    return u64(this.words, HEADER_IN.unique);
  }

  /** 64-bit field at a byte offset, for lists that reach beyond `words`. */
  u64At(byte: number): number {
    return this.buffer.readUInt32LE(byte) + this.buffer.readUInt32LE(byte + 4) * HIGH;
  }

  /** The NUL-terminated name at a byte offset. */
  name(byte: number): string {
    return decodeName(this.buffer.subarray(byte, this.endOfName(byte)));
  }

  /** Byte offset of the NUL that ends the name at `byte`. EINVAL when there is none. */
  endOfName(byte: number): number {
    const end = this.buffer.indexOf(0, byte);
    if (end < 0 || end >= this.length) throw new FopError("EINVAL", { fop: "name" });
    return end;
  }

  /** `size` bytes of payload from a WRITE, as a view. EINVAL when the message is shorter. */
  payload(size: number): IoVec {
    if (WRITE_PAYLOAD_BYTE + size > this.length) throw new FopError("EINVAL", { fop: "writev" });
    if (this.#payload.length !== size) {
      this.#payload = this.buffer.subarray(WRITE_PAYLOAD_BYTE, WRITE_PAYLOAD_BYTE + size);
      this.#payloadVector = [this.#payload];
    }
    return this.#payloadVector;
  }

  /** The payload is on loan, and the request in use whether it is answered or not. */
  get isLent(): boolean {
    return this.#leases > 0;
  }

  /** Keeps the payload as it is until the lease is released. */
  lend(): Lease {
    this.#leases++;
    return this.#lease;
  }

  // Callbacks are fields, made once a request object, so that a fop's `then` allocates no closure.

  /** Answers with the first `bodyBytes` of the body. */
  readonly reply = (bodyBytes: number): void => {
    if (this.#take()) this.#sink.send(this, bodyBytes);
  };

  /** Answers without a body, whatever the fop said. */
  readonly replyEmpty = (): void => {
    if (this.#take()) this.#sink.send(this, 0);
  };

  /** Answers a READ. */
  readonly replyRead = (reply: Reply<"readv">): void => {
    if (this.#take()) this.#sink.sendData(this, reply.data, reply.size, reply.lease);
  };

  /** Answers a WRITE. */
  readonly replyWritten = (reply: Reply<"writev">): void => {
    this.replyCount(reply.size);
  };

  /** Answers a WRITE of which `bytes` were written. */
  replyCount(bytes: number): void {
    if (!this.#take()) return;
    this.outWords[BODY] = bytes;
    this.outWords[BODY + 1] = 0;
    this.#sink.send(this, 8);
  }

  /** Answers with bytes that do not fit the request's own room. */
  readonly replyBytes = (bytes: Buffer): void => {
    if (this.#take()) this.#sink.sendData(this, [bytes], bytes.length, undefined);
  };

  /**
   * Answers with the errno of a fop that failed; what is no FopError is a bug, and its errno EIO. ENOSYS
   * would make the kernel give the operation up for the whole mount: from a fop it becomes EOPNOTSUPP.
   */
  readonly fail = (error: unknown): void => {
    if (!this.#take()) return;
    this.#sink.failed(this, error);
    const { code } = toFopError(error);
    this.#sink.sendError(this, code === "ENOSYS" ? "EOPNOTSUPP" : code);
  };

  /** Answers with an errno of the edge itself. */
  refuse(code: ErrnoName): void {
    if (this.#take()) this.#sink.sendError(this, code);
  }

  /** Ends a request that has no answer. */
  drop(): void {
    if (this.#take()) this.#sink.drop(this);
  }

  readonly #lease: Lease = {
    release: () => {
      if (--this.#leases === 0 && this.#answered) this.#sink.returned(this);
    },
  };

  #take(): boolean {
    if (this.#answered) return false;
    this.#answered = true;
    return true;
  }
}
