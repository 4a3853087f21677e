/**
 * writev(2) here and now on a nonblocking descriptor (/dev/fuse, a socket): about a microsecond, where a
 * stream's write costs ten. What the kernel does not take is the caller's to queue.
 */

import type { IoVec } from "../core/iovec.ts";
import { addressOf, declare, lastError } from "./libc.ts";

const HIGH = 2 ** 32;
/** The kernel takes at most this many buffers in one call (IOV_MAX). */
const IOVECS_MAX = 1024;
const EAGAIN = "EAGAIN";

const writevCall = declare("int64_t writev(int fd, const void *iov, int count)");
const iov = Buffer.alloc(IOVECS_MAX * 16);
const words = new Uint32Array(iov.buffer, iov.byteOffset, IOVECS_MAX * 4);

/**
 * Bytes the kernel took from the front of `parts`; 0 when it would have to wait, or when `parts` is empty.
 * Throws FopError for everything else (EPIPE, ECONNRESET, ENOENT of an interrupted FUSE request ...).
 */
export function writevNow(fd: number, parts: IoVec): number {
  const count = Math.min(parts.length, IOVECS_MAX);
  for (let i = 0, at = 0; i < count; i++, at += 4) {
    const part = parts[i]!;
    const address = addressOf(part);
    words[at] = address % HIGH;
    words[at + 1] = Math.floor(address / HIGH);
    words[at + 2] = part.length;
    words[at + 3] = 0;
  }
  if (count === 0) return 0;
  const taken = writevCall(fd, iov, count);
  if (taken >= 0) return taken;
  const error = lastError("writev");
  if (error.code === EAGAIN) return 0;
  throw error;
}

/** What is left of `parts` after the first `taken` bytes. */
export function rest(parts: IoVec, taken: number): IoVec {
  let at = 0;
  while (at < parts.length && taken >= parts[at]!.length) taken -= parts[at++]!.length;
  return taken === 0 ? parts.slice(at) : [parts[at]!.subarray(taken), ...parts.slice(at + 1)];
}
