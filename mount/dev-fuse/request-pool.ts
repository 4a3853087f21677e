/**
 * Requests that are used again, and how much memory those that nobody uses may hold. A buffer has room for
 * the largest WRITE, but only what messages have filled of it is memory: little of it, but for the kernel's
 * write-back cache, whose WRITEs are of the largest size.
 */

import type { Clock } from "../../src/core/env.ts";
import { KernelRequest, type ReplySink } from "./request.ts";

/** Requests kept; more are made when more are in flight. */
const KEPT_MAX = 96;
/** Filled bytes of those for long. */
export const KEPT_BYTES_MAX = 16 << 20;
/** What is above that goes back to the kernel after so long: memory costs more to get than to fill. */
export const TRIM_AFTER_MS = 1000;

export class RequestPool {
  readonly #sink: ReplySink;
  readonly #maxWrite: number;
  readonly #kept: KernelRequest[] = [];
  readonly #clock: Pick<Clock, "after">;
  #keptBytes = 0;
  #trimming = false;

  /** Of requests that answer through `sink` and have room for WRITEs of `maxWrite` bytes. */
  constructor(sink: ReplySink, maxWrite: number, clock: Pick<Clock, "after">) {
    this.#sink = sink;
    this.#maxWrite = maxWrite;
    this.#clock = clock;
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
    this.#keptBytes += request.filledBytes;
    this.#kept.push(request);
    if (this.#keptBytes <= KEPT_BYTES_MAX || this.#trimming) return;
    this.#trimming = true;
    this.#clock.after(TRIM_AFTER_MS, () => this.#trim());
  }

  #trim(): void {
    this.#trimming = false;
    for (const request of this.#kept) {
      if (this.#keptBytes <= KEPT_BYTES_MAX) return;
      this.#keptBytes -= request.filledBytes;
      request.empty();
    }
  }
}
