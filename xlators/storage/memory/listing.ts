/**
 * readdir of the in-memory brick: an open directory keeps a snapshot taken at offset 0, so that names that
 * stay are listed exactly once while others come and go. Cookies grow with time, so a listing may be resumed
 * by any fd, at any cookie, without a snapshot.
 */

import type { Dirent } from "../../../src/core/fops.ts";
import { inoOf } from "../../../src/core/gfid.ts";
import { direntType, S_IFDIR } from "../../../src/core/iatt.ts";
import { nameBytes } from "../../../src/core/name.ts";
import { DOT_COOKIE, DOTDOT_COOKIE, type Entry, type MemNode } from "./node.ts";

/** What an entry takes in a reply besides its name, about as GlusterFS counts it. */
const DIRENT_BYTES = 40;
const DIRENT_PLUS_BYTES = 200;

export class Listing {
  readonly #dir: MemNode;
  #snapshot: Entry[] | undefined;

  constructor(dir: MemNode) {
    this.#dir = dir;
  }

  /**
   * Entries after `offset` that fit into `size` bytes, at least one. `make` turns each into what the reply
   * carries; its node is undefined for "." and "..".
   */
  read<D extends Dirent>(
    offset: bigint,
    size: number,
    plus: boolean,
    make: (dirent: Dirent, node: MemNode | undefined) => D,
  ): { entries: D[]; eof: boolean } {
    if (offset === 0n || !this.#snapshot) this.#snapshot = [...this.#dir.entries!.values()];
    const entries: D[] = [];
    let room = size;
    for (const { dirent, node } of this.#after(offset)) {
      room -= nameBytes(dirent.name) + (plus ? DIRENT_PLUS_BYTES : DIRENT_BYTES);
      if (room < 0 && entries.length > 0) return { entries, eof: false };
      entries.push(make(dirent, node));
    }
    return { entries, eof: true };
  }

  *#after(offset: bigint): Generator<{ dirent: Dirent; node: MemNode | undefined }> {
    const dir = this.#dir;
    if (offset < DOT_COOKIE) yield { dirent: dot(".", dir, DOT_COOKIE), node: undefined };
    if (offset < DOTDOT_COOKIE)
      yield { dirent: dot("..", dir.parent ?? dir, DOTDOT_COOKIE), node: undefined };
    const snapshot = this.#snapshot!;
    for (let i = firstAfter(snapshot, offset); i < snapshot.length; i++) {
      const { name, node, cookie } = snapshot[i]!;
      // What was removed meanwhile is skipped; a name that was given to another inode has a newer cookie.
      if (dir.entries!.get(name)?.cookie !== cookie) continue;
      const dirent = { name, ino: inoOf(node.gfid), offset: BigInt(cookie), type: direntType(node.mode) };
      yield { dirent, node };
    }
  }
}

function dot(name: string, dir: MemNode, cookie: number): Dirent {
  return { name, ino: inoOf(dir.gfid), offset: BigInt(cookie), type: direntType(S_IFDIR) };
}

/** Index of the first entry with a cookie above `offset`; cookies grow along the array. */
function firstAfter(snapshot: readonly Entry[], offset: bigint): number {
  let low = 0;
  let high = snapshot.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (BigInt(snapshot[middle]!.cookie) > offset) high = middle;
    else low = middle + 1;
  }
  return low;
}
