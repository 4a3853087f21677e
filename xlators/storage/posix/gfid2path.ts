/**
 * gfid2path: the xattr that tells under which names a non-directory is found, one for each hard link (spec
 * translators.md 2.3).
 *
 * Name `trusted.gfid2path.<XXH64 of the value, seed 0, 16 hex digits>`, value `<parent gfid>/<name>` without
 * NUL.
 */

import xxhash from "xxhash-wasm";
import { type Gfid, gfidText, parseGfid } from "../../../src/core/gfid.ts";
import { decodeName, encodeName } from "../../../src/core/name.ts";

export const GFID2PATH_PREFIX = "trusted.gfid2path.";
/** Files with more names than this get no further gfid2path xattrs. */
export const GFID2PATH_LINKS_MAX = 500;

const { h64Raw } = await xxhash();

/** XXH64 with seed 0, for gfid2path and directory cookies. */
export function hash64(bytes: Buffer): bigint {
  return h64Raw(bytes, 0n);
}

/** The xattr for one name of a file. */
export function gfid2path(parent: Gfid, name: string): { key: string; value: Buffer } {
  const value = Buffer.concat([Buffer.from(`${gfidText(parent)}/`, "latin1"), encodeName(name)]);
  return { key: GFID2PATH_PREFIX + hash64(value).toString(16).padStart(16, "0"), value };
}

/** A stored value back to parent and name; undefined when it is none. */
export function parseGfid2path(value: Buffer): { parent: Gfid; name: string } | undefined {
  const parent = value[36] === 0x2f ? parseGfid(value.toString("latin1", 0, 36)) : undefined;
  return parent && value.length > 37 ? { parent, name: decodeName(value.subarray(37)) } : undefined;
}

export function isGfid2path(name: string): boolean {
  return name.startsWith(GFID2PATH_PREFIX);
}
