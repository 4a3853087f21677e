/**
 * A directory of the index as readdir goes through it. Offsets follow from the names alone, so that one means
 * the same place on every fd and whatever was removed meanwhile; names with the same offset are only ever
 * given together. Pure.
 */

import { encodeName } from "../../../src/core/name.ts";
import type { StoredEntry } from "./index-store.ts";

/** Room that a name takes in a reply besides its bytes. */
const ENTRY_BYTES = 40;

export interface ListedName extends StoredEntry {
  readonly offset: bigint;
}

export class NameListing {
  readonly #names: readonly ListedName[];

  constructor(entries: readonly StoredEntry[]) {
    this.#names = entries
      .map((entry) => ({ ...entry, offset: offsetOf(encodeName(entry.name)) }))
      .sort((a, b) => (a.offset < b.offset ? -1 : a.offset > b.offset ? 1 : a.name < b.name ? -1 : 1));
  }

  /** What comes after `offset` and fits in `size` bytes, one name at least. */
  page(offset: bigint, size: number): { entries: readonly ListedName[]; eof: boolean } {
    const names = this.#names;
    let at = 0;
    for (let high = names.length; at < high; ) {
      const middle = (at + high) >>> 1;
      if (names[middle]!.offset <= offset) at = middle + 1;
      else high = middle;
    }
    const first = at;
    for (let filled = 0; at < names.length; at++) {
      filled += ENTRY_BYTES + Buffer.byteLength(names[at]!.name);
      if (filled > size && at > first && names[at]!.offset !== names[at - 1]!.offset) break;
    }
    return { entries: names.slice(first, at), eof: at === names.length };
  }
}

/** FNV-1a in 40 bits, above 0; small offsets survive the arithmetic of clients with several bricks. */
function offsetOf(name: Buffer): bigint {
  let high = 0x811c9dc5;
  let low = 0xcbf29ce4;
  for (const byte of name) {
    high = Math.imul(high ^ byte, 0x01000193);
    low = Math.imul(low ^ byte ^ (high >>> 24), 0x01000193);
  }
  return BigInt((high >>> 0) * 256 + (low >>> 24)) + 1n;
}
