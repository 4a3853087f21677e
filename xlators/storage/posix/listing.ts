/**
 * A directory as readdir goes through it: a snapshot in the order of cookies that follow from the names
 * alone.
 *
 * A cookie is 40 bits of the name's hash, so that an offset means the same place in every snapshot, on every
 * fd and after a restart: an entry that stays is given exactly once, whatever comes and goes meanwhile. Small
 * cookies survive the arithmetic of clients with several bricks (spec wire.md 9.6).
 */

import { type Gfid, gfidEquals, ROOT_GFID } from "../../../src/core/gfid.ts";
import { encodeName } from "../../../src/core/name.ts";
import { type OsDirent, readdir } from "../../../src/os/files.ts";
import { hash64 } from "./gfid2path.ts";
import { HIDDEN } from "./handle.ts";

const DT_DIR = 4;
const COOKIE_BITS = 40n;
/** Cookies of `.` and `..`, below all others. */
const SELF_COOKIE = 1;
const UP_COOKIE = 2;

export interface ListedEntry {
  readonly name: string;
  /** DT_*, 0 when the file system does not tell. */
  readonly type: number;
  /** Resumes after this entry; a whole number from 1 to 2^40. */
  readonly cookie: number;
}

export class Listing {
  /** Sorted by cookie; the first two are `.` and `..`. */
  readonly entries: readonly ListedEntry[];

  constructor(entries: readonly OsDirent[]) {
    this.entries = inOrder(entries);
  }

  static async read(gfid: Gfid, path: string): Promise<Listing> {
    const entries = await readdir(path);
    const isRoot = gfidEquals(gfid, ROOT_GFID);
    return new Listing(isRoot ? entries.filter((entry) => entry.name !== HIDDEN) : entries);
  }

  /** Index of the first entry after the given offset. */
  indexAfter(offset: bigint): number {
    let low = 0;
    let high = this.entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (BigInt(this.entries[middle]!.cookie) <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** A name's cookie before collisions are settled: 3 to 2^40 + 2. */
export function cookieOf(name: string): number {
  return Number(hash64(encodeName(name)) >> (64n - COOKIE_BITS)) + UP_COOKIE + 1;
}

function inOrder(entries: readonly OsDirent[]): ListedEntry[] {
  const listed = entries.map(({ name, type }) => ({ name, type, cookie: cookieOf(name) }));
  listed.sort((a, b) => a.cookie - b.cookie || (a.name < b.name ? -1 : 1));
  let last = UP_COOKIE;
  for (const entry of listed) {
    // Two names with one hash: the later one moves up, in every snapshot alike.
    if (entry.cookie <= last) entry.cookie = last + 1;
    last = entry.cookie;
  }
  return [
    { name: ".", type: DT_DIR, cookie: SELF_COOKIE },
    { name: "..", type: DT_DIR, cookie: UP_COOKIE },
    ...listed,
  ];
}
