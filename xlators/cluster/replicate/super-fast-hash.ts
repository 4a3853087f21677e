/**
 * Paul Hsieh's SuperFastHash, by which every client of GlusterFS picks the same copy of a file to read
 * (spec translators.md 4.7, where its vectors are). For inputs whose size is a multiple of four.
 */

export function superFastHash(bytes: Uint8Array): number {
  let hash = bytes.length;
  for (let at = 0; at + 4 <= bytes.length; at += 4) {
    hash = (hash + (bytes[at]! | (bytes[at + 1]! << 8))) | 0;
    hash ^= (hash << 16) ^ ((bytes[at + 2]! | (bytes[at + 3]! << 8)) << 11);
    hash = (hash + (hash >>> 11)) | 0;
  }
  hash ^= hash << 3;
  hash = (hash + (hash >>> 5)) | 0;
  hash ^= hash << 4;
  hash = (hash + (hash >>> 17)) | 0;
  hash ^= hash << 25;
  hash = (hash + (hash >>> 6)) | 0;
  return hash >>> 0;
}
