/**
 * Page-aligned payload buffers that are used again: an allocation of 128 KiB costs more than the I/O that it
 * serves.
 *
 * A buffer handed out is its holder's until `release`; one that is never released is simply collected.
 */

import type { Lease } from "../core/iovec.ts";
import { addressOf, declare } from "./libc.ts";

const PAGE = 4096;
const SMALLEST_SHIFT = 12;
const LARGEST_SHIFT = 24;

/** A buffer on loan. `buffer` is exactly as long as asked for and begins on a page. */
export interface PooledBuffer extends Lease {
  readonly buffer: Buffer;
}

class Slab implements PooledBuffer {
  buffer: Buffer;
  readonly whole: Buffer;
  readonly #home: Slab[];
  readonly #keepMax: number;
  #out = true;

  constructor(size: number, home: Slab[], keepMax: number) {
    this.whole = alignedBuffer(size);
    this.buffer = this.whole;
    this.#home = home;
    this.#keepMax = keepMax;
  }

  lend(size: number): this {
    this.#out = true;
    if (this.buffer.length !== size) this.buffer = this.whole.subarray(0, size);
    return this;
  }

  release(): void {
    if (!this.#out) return;
    this.#out = false;
    if (this.#home.length < this.#keepMax) this.#home.push(this);
  }
}

/** Buffers in classes of powers of two from 4 KiB to 16 MiB; larger ones are made for one use. */
export class BufferPool {
  readonly #free: Slab[][] = [];
  readonly #keepBytesPerClass: number;

  constructor(keepBytesPerClass = 16 << 20) {
    this.#keepBytesPerClass = keepBytesPerClass;
  }

  take(size: number): PooledBuffer {
    const shift = Math.max(SMALLEST_SHIFT, 32 - Math.clz32(Math.max(size, 1) - 1));
    if (shift > LARGEST_SHIFT) return new Slab(size, [], 0);
    let home = this.#free[shift];
    if (home === undefined) {
      home = [];
      this.#free[shift] = home;
    }
    const slab = home.pop() ?? new Slab(1 << shift, home, Math.max(4, this.#keepBytesPerClass >> shift));
    return slab.lend(size);
  }
}

/** The process-wide pool for payloads. */
export const PAYLOADS = new BufferPool(64 << 20);

/** A page-aligned buffer of exactly `size` bytes, contents undefined. */
export function alignedBuffer(size: number): Buffer {
  const raw = Buffer.allocUnsafeSlow(size + PAGE);
  const skip = (PAGE - (addressOf(raw) % PAGE)) % PAGE;
  return raw.subarray(skip, skip + size);
}

/** Whether a buffer's memory begins at a multiple of `to` bytes. */
export function isAligned(buffer: Buffer, to = 512): boolean {
  return addressOf(buffer) % to === 0;
}

const MADV_DONTNEED = 4;
const madviseCall = declare("int madvise(uintptr_t at, size_t size, int advice)");

/**
 * Gives the memory behind a buffer's whole pages back to the kernel, now: the buffer stays usable, its bytes
 * are zero or what they were. To drop the buffer would leave the memory to the collector, which is in no
 * hurry.
 */
export function giveUpPages(buffer: Buffer): void {
  const begin = addressOf(buffer);
  const from = Math.ceil(begin / PAGE) * PAGE;
  const to = Math.floor((begin + buffer.length) / PAGE) * PAGE;
  if (to > from) madviseCall(from, to - from, MADV_DONTNEED);
}
