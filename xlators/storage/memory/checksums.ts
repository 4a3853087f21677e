/** The checksums of a range that rchecksum answers (spec wire.md 9; GlusterFS posix_rchecksum). */

import { createHash } from "node:crypto";
import { Dict } from "../../../src/core/dict.ts";
import type { Reply } from "../../../src/core/fops.ts";

const ADLER_MODULUS = 65521;
/** A strong checksum as GlusterFS sends it: an MD5 fills the first half. */
const STRONG_BYTES = 32;

/** `fips`: the strong one is SHA-256, not MD5. */
export function checksums(data: Buffer, fips: boolean, request: Dict | undefined): Reply<"rchecksum"> {
  const strong = Buffer.alloc(STRONG_BYTES);
  createHash(fips ? "sha256" : "md5")
    .update(data)
    .digest()
    .copy(strong);
  const xdata = request && new Dict();
  if (request?.has("check-zero-filled"))
    xdata!.setUint("buf-has-zeroes", data.every((byte) => byte === 0) ? 1 : 0);
  if (fips) xdata?.setUint("fips-mode-rchecksum", 1);
  return { weak: adler32From0(data), strong, flags: fips ? 1 : 0, xdata };
}

/** zlib's adler32 begun at 0 instead of 1, which is what GlusterFS takes for its weak checksum. */
function adler32From0(data: Buffer): number {
  let a = 0;
  let b = 0;
  for (const byte of data) {
    a = (a + byte) % ADLER_MODULUS;
    b = (b + a) % ADLER_MODULUS;
  }
  return ((b << 16) | a) >>> 0;
}
