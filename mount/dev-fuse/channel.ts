/**
 * The channel: /dev/fuse as a source of requests and a sink for their answers.
 *
 * Messages are read from Node's own epoll loop into requests that are used again. While others are in flight
 * it reads on, so that what came together goes to the bricks together; a lone request never waits for a read
 * that finds nothing. An answer is one writev(2), made at once (it copies into pages of the waiting process
 * and never blocks). One that the kernel no longer wants (ENOENT) is dropped. When the mount is gone, reading
 * fails and `closed` resolves.
 */

import { Deferred } from "../../src/core/concurrency.ts";
import type { Clock, Env } from "../../src/core/env.ts";
import { ERRNO, type ErrnoName, UserError } from "../../src/core/errors.ts";
import type { FopMeter } from "../../src/core/fop-meter.ts";
import type { IoVec, Lease } from "../../src/core/iovec.ts";
import type { Logger } from "../../src/core/log.ts";
import { EVENT_LOOP } from "../../src/os/busy-poll.ts";
import { Crowd } from "../../src/os/core-wait.ts";
import { type FdStream, watchFd } from "../../src/os/fd-stream.ts";
import { closeQuietly, isGoneDevice } from "../../src/os/fuse-dev.ts";
import { writevNow } from "../../src/os/send.ts";
import type { MountOptions } from "../options.ts";
import { type Agreement, maxWriteBytes, negotiate, putInitOut } from "./negotiate.ts";
import { FOP_OF_OPCODE } from "./opcodes.ts";
import { FUSE_MAJOR, FUSE_MINOR, HEADER_IN, IN, OPCODE, OUT_HEADER_BYTES } from "./protocol.ts";
import { BODY, type KernelRequest, type ReplySink } from "./request.ts";
import { RequestPool } from "./request-pool.ts";

/** Writes in flight that are no crowd: each is work for all bricks. */
const FEW_WRITES = 1;
const WRITE_ANSWER_BYTES = OUT_HEADER_BYTES + 8;

export interface ChannelHandler {
  /** Everything but INIT. */
  dispatch(request: KernelRequest): void;
  /** INIT was agreed on, and is being answered. */
  agreed(agreement: Agreement): void;
  /** A request fails with `error`; for the log. */
  failed(request: KernelRequest, error: unknown): void;
}

export class Channel implements ReplySink {
  /** Resolves when the kernel closed the connection or `close` was called. */
  readonly closed: Promise<void>;
  /** Resolves when INIT was answered; rejects with UserError when there was no agreement. */
  readonly ready: Promise<void>;
  readonly #closed = new Deferred<void>();
  readonly #ready = new Deferred<void>();
  readonly #fd: number;
  readonly #options: MountOptions;
  readonly #handler: ChannelHandler;
  readonly #log: Logger;
  readonly #clock: Clock;
  /** Who wants to know how long requests took. */
  readonly #meter: FopMeter | undefined;
  readonly #requests: RequestPool;
  #stream: FdStream | undefined;
  /** Requests whose buffers wait for a message. */
  readonly #reading = new Map<Buffer, KernelRequest>();
  #open = true;
  #inFlight = 0;
  /** Those of them that write, and answered ones whose payload is on loan. */
  readonly #writes: Crowd;
  #endStandingBack: (() => void) | undefined;

  /** Takes over `fd`, an open /dev/fuse that is nonblocking. Nothing is read before `start`. */
  constructor(
    fd: number,
    options: MountOptions,
    handler: ChannelHandler,
    { clock, log }: Pick<Env, "clock" | "log">,
    meter?: FopMeter,
    writes = new Crowd(FEW_WRITES),
  ) {
    this.#writes = writes;
    this.#clock = clock;
    this.#meter = meter;
    this.#fd = fd;
    this.#options = options;
    this.#requests = new RequestPool(this, maxWriteBytes(options), clock);
    this.#handler = handler;
    this.#log = log;
    this.closed = this.#closed.promise;
    this.ready = this.#ready.promise;
    this.ready.catch(() => {});
  }

  /** Requests that the kernel waits for. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Begins to read; the descriptor must belong to a mount. Keeps the process alive until closed. */
  start(): void {
    this.#stream = watchFd(this.#fd, {
      buffer: () => this.#prepare(),
      polled: true,
      expectsMore: () => this.#inFlight > 1,
      onData: (count, buffer) => this.#received(count, buffer),
      onError: (error) => this.#ended(error),
      onEnd: () => this.#ended(undefined),
    });
    this.#stream.ref();
    this.#endStandingBack = EVENT_LOOP.standBackWhile(() => this.#writes.isCrowded);
  }

  /** Gives the mount up: the kernel fails what still waits for an answer. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#stream?.close();
    this.#endStandingBack?.();
    closeQuietly(this.#fd);
    this.#ready.reject(new UserError("mount: unmounted before it was ready"));
    this.#closed.resolve();
  }

  send(request: KernelRequest, bodyBytes: number): void {
    const size = OUT_HEADER_BYTES + bodyBytes;
    this.#putHeader(request, size, 0);
    this.#write([size === WRITE_ANSWER_BYTES ? request.outShort : request.out.subarray(0, size)], request);
    this.#end(request, false, 0);
  }

  sendData(request: KernelRequest, data: IoVec, size: number, lease: Lease | undefined): void {
    this.#putHeader(request, OUT_HEADER_BYTES + size, 0);
    this.#write(data.length === 1 ? [request.outHeader, data[0]!] : [request.outHeader, ...data], request);
    lease?.release();
    this.#end(request, false, request.opcode === OPCODE.READ ? size : 0);
  }

  sendError(request: KernelRequest, code: ErrnoName): void {
    this.#putHeader(request, OUT_HEADER_BYTES, -ERRNO[code]);
    this.#write([request.outHeader], request);
    this.#end(request, true, 0);
  }

  drop(request: KernelRequest): void {
    this.#end(request, false, 0);
  }

  returned(request: KernelRequest): void {
    if (request.opcode === OPCODE.WRITE) this.#writes.leave();
    this.#requests.give(request);
  }

  failed(request: KernelRequest, error: unknown): void {
    this.#handler.failed(request, error);
  }

  #prepare(): Buffer {
    const request = this.#requests.take();
    this.#reading.set(request.buffer, request);
    return request.buffer;
  }

  #received(count: number, buffer: Buffer): void {
    const request = this.#reading.get(buffer)!;
    this.#reading.delete(buffer);
    this.#inFlight++;
    request.begin(count);
    if (request.opcode === OPCODE.WRITE) {
      this.#writes.join(count);
      request.inCompany = this.#writes.count > 1;
    }
    if (this.#meter !== undefined) request.beganMs = this.#clock.nowMs();
    if (request.words[HEADER_IN.len] !== count) {
      this.#log.error("message of wrong length from /dev/fuse", { length: count });
      request.refuse("EIO");
    } else if (request.opcode === OPCODE.INIT) this.#initialise(request);
    else this.#handler.dispatch(request);
  }

  #initialise(request: KernelRequest): void {
    try {
      if (request.words[IN.init.major]! > FUSE_MAJOR) {
        // A kernel of a later major version asks again with ours.
        request.outWords.fill(0, BODY, BODY + 16);
        request.outWords[BODY] = FUSE_MAJOR;
        request.outWords[BODY + 1] = FUSE_MINOR;
        request.reply(64);
        return;
      }
      const agreement = negotiate(request.words, this.#options);
      this.#handler.agreed(agreement);
      request.reply(putInitOut(request.outWords, BODY, agreement));
      this.#ready.resolve();
    } catch (error) {
      request.refuse("EPROTO");
      this.#ready.reject(error);
    }
  }

  #putHeader(request: KernelRequest, size: number, error: number): void {
    const { outWords, words } = request;
    outWords[0] = size;
    outWords[1] = error;
    outWords[2] = words[HEADER_IN.unique]!;
    outWords[3] = words[HEADER_IN.unique + 1]!;
  }

  #write(parts: IoVec, request: KernelRequest): void {
    if (!this.#open) return;
    try {
      writevNow(this.#fd, parts);
    } catch (error) {
      const code = (error as { code?: string }).code;
      // ENOENT: the request was interrupted and nobody waits. ENODEV: the mount is gone.
      if (code !== "ENOENT" && !isGoneDevice(error))
        this.#log.error("answer refused by the kernel", { opcode: request.opcode, code });
    }
  }

  #end(request: KernelRequest, failed: boolean, bytes: number): void {
    this.#inFlight--;
    if (this.#meter !== undefined) this.#measure(this.#meter, request, failed, bytes);
    if (!request.isLent) this.returned(request);
  }

  #measure(meter: FopMeter, request: KernelRequest, failed: boolean, bytes: number): void {
    const { opcode } = request;
    const fop = FOP_OF_OPCODE[opcode];
    if (fop === undefined) return;
    const written = opcode === OPCODE.WRITE && !failed ? request.outWords[BODY]! : bytes;
    meter.record(fop, this.#clock.nowMs() - request.beganMs, failed, written);
  }

  #ended(error: unknown): void {
    if (error !== undefined && !isGoneDevice(error)) this.#log.error("read of /dev/fuse failed", { error });
    this.close();
  }
}
