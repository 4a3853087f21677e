/**
 * Memory for acknowledged writes: buffers in powers of two from 4 KiB to 128 KiB, used again and again, so
 * that a stream of small writes makes no garbage. What all files together hold is bounded by their windows;
 * what is kept here unused is bounded by KEPT_BYTES_MAX.
 */

const SMALLEST = 4096;
/** The largest slab; larger payloads lie in several. */
export const SLAB_BYTES_MAX = 128 * 1024;
const KEPT_BYTES_MAX = 8 * 1024 * 1024;

export class Slabs {
  /** Unused slabs by class: SMALLEST << class bytes. */
  readonly #free: Buffer[][] = [];
  #keptBytes = 0;

  /** Bytes that lie here unused. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** A slab of at least `bytes` bytes, or the largest there is. Its contents are whatever they were. */
  take(bytes: number): Buffer {
    const index = classFor(bytes);
    const slab = this.#free[index]?.pop();
    if (slab === undefined) return Buffer.allocUnsafeSlow(SMALLEST << index);
    this.#keptBytes -= slab.length;
    return slab;
  }

  /** Takes a slab back; nobody reads it any more. */
  give(slab: Buffer): void {
    if (this.#keptBytes + slab.length > KEPT_BYTES_MAX) return;
    const index = classFor(slab.length);
    this.#free[index] ??= [];
    this.#free[index].push(slab);
    this.#keptBytes += slab.length;
  }
}

function classFor(bytes: number): number {
  if (bytes >= SLAB_BYTES_MAX) bytes = SLAB_BYTES_MAX;
  return bytes <= SMALLEST ? 0 : 20 - Math.clz32(bytes - 1);
}
