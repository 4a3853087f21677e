/**
 * Slabs: page-aligned memory that sockets read into and that records are views of (design data-path.md).
 *
 * A slab is counted: the receiver that fills it holds it once, and each record in it holds it once more. When
 * the last holder lets go it serves again. A holder that never lets go costs an allocation, never
 * correctness.
 */

import { alignedBuffer } from "../os/memory.ts";

/** What a connection begins with. Most carry little, and one slab a connection is always out. */
export const SLAB_BYTES_MIN = 68 * 1024;
/** What a busy connection ends with: one payload of 1 MiB with its head, or several of 128 KiB. */
export const SLAB_BYTES_MAX = 16 * SLAB_BYTES_MIN;
/** Free slabs kept for the next connection or burst, over all sizes. */
const KEPT_BYTES_MAX = 64 * 1024 * 1024;

/** Memory for received bytes. */
export class Slab {
  readonly memory: Buffer;
  readonly #home: SlabPool;
  #holders = 1;

  constructor(size: number, home: SlabPool) {
    this.memory = alignedBuffer(size);
    this.#home = home;
  }

  /** True when nobody but the receiver holds it: its memory may be filled from the start again. */
  get sole(): boolean {
    return this.#holders === 1;
  }

  hold(): void {
    this.#holders++;
  }

  letGo(): void {
    if (--this.#holders === 0) this.#home.give(this);
  }

  /** Out of the pool again, with one holder. */
  reuse(): this {
    this.#holders = 1;
    return this;
  }
}

/**
 * Free slabs by size, powers of four between the two limits; records larger than the largest get a slab for
 * once.
 */
export class SlabPool {
  readonly #free = new Map<number, Slab[]>();
  #keptBytes = 0;

  take(size: number): Slab {
    const slab = this.#free.get(size)?.pop();
    if (slab === undefined) return new Slab(size, this);
    this.#keptBytes -= size;
    return slab.reuse();
  }

  give(slab: Slab): void {
    const size = slab.memory.length;
    if (size > SLAB_BYTES_MAX || this.#keptBytes + size > KEPT_BYTES_MAX) return;
    this.#keptBytes += size;
    const list = this.#free.get(size);
    if (list) list.push(slab);
    else this.#free.set(size, [slab]);
  }
}

/** The process-wide pool. */
export const SLABS = new SlabPool();
