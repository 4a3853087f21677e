/** Adler-32, with which GlusterFS makes its weak checksum: begun at 0, where zlib's own begins at 1. */

const MODULUS = 65521;
/** Bytes that can be summed up before the sums must be reduced. */
const RUN_BYTES = 5552;

/** The checksum of `bytes` that follow what `soFar` is the checksum of; an unsigned 32-bit number. */
export function adler32From0(bytes: Buffer, soFar = 0): number {
  let low = soFar & 0xffff;
  let high = soFar >>> 16;
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(at + RUN_BYTES, bytes.length);
    for (; at < end; at++) {
      low += bytes[at]!;
      high += low;
    }
    low %= MODULUS;
    high %= MODULUS;
  }
  return ((high << 16) | low) >>> 0;
}
