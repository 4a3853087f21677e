/**
 * Requests that are used again, and how much memory those that nobody uses may hold. A buffer has room for
 * the largest WRITE, but only what messages have filled of it is memory: little of it, but for the kernel's
 * write-back cache, whose WRITEs are of the largest size.
 */

import { KernelRequest, type ReplySink } from "./request.ts";

/** Requests kept; more are made when more are in flight. */
const KEPT_MAX = 64;
/** Filled bytes of those, at most; what is above goes back to the kernel. */
export const KEPT_BYTES_MAX = 16 << 20;

export class RequestPool {
  readonly #sink: ReplySink;
  readonly #maxWrite: number;
  readonly #kept: KernelRequest[] = [];
  #keptBytes = 0;

  /** Of requests that answer through `sink` and have room for WRITEs of `maxWrite` bytes. */
  constructor(sink: ReplySink, maxWrite: number) {
    this.#sink = sink;
    this.#maxWrite = maxWrite;
  }

  /** Bytes of memory that requests nobody uses hold. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  take(): KernelRequest {
    const request = this.#kept.pop();
    if (request === undefined) return new KernelRequest(this.#sink, this.#maxWrite);
    this.#keptBytes -= request.filledBytes;
    return request;
  }

  /** Takes a request back that was answered. */
  give(request: KernelRequest): void {
    if (this.#kept.length >= KEPT_MAX) return;
    if (this.#keptBytes + request.filledBytes > KEPT_BYTES_MAX) request.empty();
    this.#keptBytes += request.filledBytes;
    this.#kept.push(request);
  }
}
