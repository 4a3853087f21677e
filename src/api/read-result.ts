/**
 * What a read without a copy gives: buffers on loan, how many bytes, whether the file ends there. The buffers
 * are the holder's until `release`; forgetting it costs an allocation, never correctness.
 */

import type { Reply } from "../core/fops.ts";
import type { IoVec, Lease } from "../core/iovec.ts";

export class ReadResult implements Lease {
  readonly data: IoVec;
  /** Total bytes in `data`. */
  readonly size: number;
  /** Nothing follows what was read. */
  readonly eof: boolean;
  #lease: Lease | undefined;

  constructor(data: IoVec, size: number, eof: boolean, lease: Lease | undefined) {
    this.data = data;
    this.size = size;
    this.eof = eof;
    this.#lease = lease;
  }

  /**
   * One result of replies to consecutive ranges of `pieceSize`; what follows a short one does not count.
   * Throws the first failure, with everything released.
   */
  static join(pieces: readonly PromiseSettledResult<Reply<"readv">>[], pieceSize: number): ReadResult {
    const leases = new LeaseGroup();
    const data: Buffer[] = [];
    let size = 0;
    let eof = false;
    let failure: unknown;
    for (const [index, piece] of pieces.entries()) {
      if (piece.status === "fulfilled") leases.add(piece.value.lease);
      if (failure !== undefined || eof) continue;
      if (piece.status === "rejected") {
        failure = piece.reason;
        continue;
      }
      data.push(...piece.value.data);
      size += piece.value.size;
      eof = piece.value.eof || (piece.value.size < pieceSize && index < pieces.length - 1);
    }
    if (failure === undefined) return new ReadResult(data, size, eof, leases);
    leases.release();
    throw failure;
  }

  release(): void {
    const lease = this.#lease;
    this.#lease = undefined;
    lease?.release();
  }
}

class LeaseGroup implements Lease {
  readonly #leases: Lease[] = [];

  add(lease: Lease | undefined): void {
    if (lease) this.#leases.push(lease);
  }

  release(): void {
    for (const lease of this.#leases) lease.release();
  }
}
