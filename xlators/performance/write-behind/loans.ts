/**
 * Payloads that are kept where they are instead of copied: those of the kernel's page cache, whose lender
 * leaves them alone for as long as they are needed.
 *
 * The window is no measure for them. It bounds what a program was promised before the bricks have it, and the
 * kernel made that promise when the program wrote to its cache; answered early, it goes on handing out the
 * next pages while these are on their way. What bounds them is memory.
 */

import type { Lease, Lender } from "../../../src/core/iovec.ts";

/** Bytes on loan at once, of all files: enough for the bricks to be busy with some while others come. */
export const LOANS_MAX = 16 << 20;

export class Loans {
  /** Tests have room for less. */
  bytesMax = LOANS_MAX;
  #bytes = 0;

  /** Bytes on loan. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Borrows a payload of `size` bytes; undefined when too much is on loan. */
  take(lender: Lender, size: number): Lease | undefined {
    if (this.#bytes + size > this.bytesMax) return undefined;
    this.#bytes += size;
    const lease = lender.lend();
    return {
      release: () => {
        this.#bytes -= size;
        lease.release();
      },
    };
  }
}
