/**
 * What md-cache knows: attributes, xattrs and the name of inodes, by gfid; and by name, which inode it is.
 *
 * Every item carries the time at which the question was asked that brought it; how old it may be is for the
 * caller to say. A name is kept with the inode that it was last seen to mean, so that a fop by name finds
 * what it is about to change.
 */

import { LRUCache } from "lru-cache";
import type { DictValue } from "../../../src/core/dict.ts";
import type { Iatt } from "../../../src/core/iatt.ts";

/** With XATTR_BYTES_MAX about 64 MB when full of the largest, 20 MB of ordinary ones. */
const INODES_MAX = 32_768;
/** Longer values of one inode together are not kept. */
const XATTR_BYTES_MAX = 1024;
/** Directories that another client changed, with the time. */
const DISTRUSTED_MAX = 4096;

export interface Xattrs {
  readonly values: Map<string, DictValue | undefined>;
  /** All of those that are kept were asked for: what is not among the values does not exist. */
  readonly complete: boolean;
  readonly askedAtMs: number;
}

export interface KnownInode {
  iatt: Iatt | undefined;
  iattAskedAtMs: number;
  xattrs: Xattrs | undefined;
  /** `placeOf` a name that it was seen under; undefined when none is known. */
  place: string | undefined;
  placeAskedAtMs: number;
}

/** A name as a key. */
export function placeOf(parentKey: string, name: string): string {
  return `${parentKey}${name}`;
}

const PARENT_KEY_LENGTH = 16;

export class KnownInodes {
  readonly #inodes = new LRUCache<string, KnownInode>({
    max: INODES_MAX,
    dispose: (inode) => this.#forgetPlace(inode),
  });
  /** To the key of the inode; each is some inode's `place`. */
  readonly #places = new Map<string, string>();
  /** Directory to the moment before which names in it are not to be trusted. */
  readonly #distrusted = new LRUCache<string, number>({
    max: DISTRUSTED_MAX,
    dispose: (atMs, _key, why) => {
      if (why === "evict") this.#trustedSinceMs = Math.max(this.#trustedSinceMs, atMs);
    },
  });
  #trustedSinceMs = Number.NEGATIVE_INFINITY;

  get count(): number {
    return this.#inodes.size;
  }

  find(key: string): KnownInode | undefined {
    return this.#inodes.get(key);
  }

  /** The inode, made when it is new. */
  obtain(key: string): KnownInode {
    let inode = this.#inodes.get(key);
    if (inode === undefined) {
      inode = { iatt: undefined, iattAskedAtMs: 0, xattrs: undefined, place: undefined, placeAskedAtMs: 0 };
      this.#inodes.set(key, inode);
    }
    return inode;
  }

  drop(key: string): void {
    this.#inodes.delete(key);
  }

  clear(): void {
    this.#inodes.clear();
  }

  /** The inode that a name was last seen to mean. */
  at(place: string): string | undefined {
    return this.#places.get(place);
  }

  setPlace(key: string, inode: KnownInode, place: string, askedAtMs: number): void {
    if (inode.place !== place) {
      this.#forgetPlace(inode);
      const before = this.#places.get(place);
      const other = before === undefined ? undefined : this.#inodes.peek(before);
      if (other !== undefined) other.place = undefined;
      inode.place = place;
      this.#places.set(place, key);
    }
    inode.placeAskedAtMs = askedAtMs;
  }

  /** When the name was last seen to mean this inode; undefined when that is not known, or not any more. */
  placeSeenAtMs(inode: KnownInode, place: string): number | undefined {
    if (inode.place !== place) return undefined;
    const parent = place.slice(0, PARENT_KEY_LENGTH);
    const distrustedAtMs = this.#distrusted.get(parent) ?? this.#trustedSinceMs;
    return inode.placeAskedAtMs > distrustedAtMs ? inode.placeAskedAtMs : undefined;
  }

  /** Another client changed entries of a directory: any of its names may mean something else. */
  distrustNamesIn(parentKey: string, nowMs: number): void {
    this.#distrusted.set(parentKey, nowMs);
  }

  #forgetPlace(inode: KnownInode): void {
    if (inode.place !== undefined) this.#places.delete(inode.place);
    inode.place = undefined;
  }
}

/** Whether they are few enough to be kept. */
export function areShort(values: Iterable<DictValue | undefined>): boolean {
  let bytes = 0;
  for (const value of values) {
    if (value === undefined) continue;
    bytes += typeof value.value === "string" || Buffer.isBuffer(value.value) ? value.value.length : 64;
  }
  return bytes <= XATTR_BYTES_MAX;
}
