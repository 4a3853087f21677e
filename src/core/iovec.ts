/**
 * Payloads: vectors of buffers that are passed on and never flattened on the way (design data-path.md).
 *
 * Ownership. Args lend: the callee may read a buffer until its promise settles, then never again, unless it
 * took a lease from a lender among the args. Replies
 * give: the callee never touches a reply's buffers again; whoever consumes them last calls `lease.release()`
 * so that their memory can be used for the next request. Forgetting to release costs an allocation, never
 * correctness.
 */

/** An ordered list of byte ranges that together are one payload. */
export type IoVec = readonly Buffer[];

/** Memory on loan: `release` gives it back, once; after that its bytes may change at any time. */
export interface Lease {
  release(): void;
}

/** Whose payload may be kept beyond the answer: it stays what it is until the lease is released. */
export interface Lender {
  lend(): Lease;
}

export const EMPTY_IOVEC: IoVec = [];

/** Total bytes. */
export function iovSize(iov: IoVec): number {
  let size = 0;
  for (const part of iov) size += part.length;
  return size;
}

/** Bytes `start` to `end` (exclusive) as views, no copy. */
export function iovSlice(iov: IoVec, start: number, end: number): IoVec {
  if (iov.length === 1) return start === 0 && end >= iov[0]!.length ? iov : [iov[0]!.subarray(start, end)];
  const out: Buffer[] = [];
  let at = 0;
  for (const part of iov) {
    const from = Math.max(start - at, 0);
    const to = Math.min(end - at, part.length);
    if (from < to) out.push(from === 0 && to === part.length ? part : part.subarray(from, to));
    at += part.length;
    if (at >= end) break;
  }
  return out;
}

/**
 * One contiguous buffer: the part itself when there is just one, else a copy. Not for payloads on the hot
 * path.
 */
export function iovJoin(iov: IoVec): Buffer {
  return iov.length === 1 ? iov[0]! : Buffer.concat(iov as Buffer[]);
}
