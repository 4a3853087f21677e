/**
 * The index as directories that can be opened and listed (spec translators.md 3): one for each class, with a
 * gfid of its own that is new at every start; below that of entry-changes one for each directory with names
 * to heal, with a gfid from the lookup that found it.
 */

import { LRUCache } from "lru-cache";
import { type Gfid, gfidKey, randomGfidAt } from "../../../src/core/gfid.ts";
import type { Inode } from "../../../src/core/inode.ts";
import { INDEX_CLASSES, type IndexClass, type Place } from "./index-store.ts";

/** Directories below entry-changes whose gfids are remembered; a crawl uses one at a time. */
const FOUND_MAX = 16384;

export class VirtualDirectories {
  readonly #randomBytes: (count: number) => Buffer;
  readonly #gfids: Readonly<Record<IndexClass, Gfid>>;
  readonly #classes: ReadonlyMap<string, Place>;
  readonly #found = new LRUCache<string, Place>({ max: FOUND_MAX });
  readonly #foundGfids = new LRUCache<string, Gfid>({ max: FOUND_MAX });

  constructor(randomBytes: (count: number) => Buffer) {
    this.#randomBytes = randomBytes;
    const [xattrop, dirty, changes] = [this.randomGfid(), this.randomGfid(), this.randomGfid()];
    this.#gfids = { xattrop, dirty, "entry-changes": changes };
    this.#classes = new Map(INDEX_CLASSES.map((which) => [gfidKey(this.#gfids[which]), { class: which }]));
  }

  gfidOf(which: IndexClass): Gfid {
    return this.#gfids[which];
  }

  /** What a virtual inode stands for; undefined for all others. */
  place(inode: Inode | undefined): Place | undefined {
    if (inode === undefined) return undefined;
    const key = gfidKey(inode.gfid);
    return this.#classes.get(key) ?? this.#found.get(key);
  }

  /** The gfid of a directory below entry-changes. */
  gfidOfDirectory(of: string): Gfid {
    const known = this.#foundGfids.get(of);
    const gfid = known ?? this.randomGfid();
    this.#foundGfids.set(of, gfid);
    this.#found.set(gfidKey(gfid), { class: "entry-changes", of });
    return gfid;
  }

  /** A random gfid, version 4. */
  randomGfid(): Gfid {
    return randomGfidAt(this.#randomBytes(16), 0);
  }
}
