/**
 * What this client knows of inodes: where a file's data is, how a directory is laid out.
 *
 * Nothing here is needed for correctness: what is not known is asked for. Inodes of the same gfid share their
 * state, and a live view of it is handed out.
 */

import { LRUCache } from "lru-cache";
import { type Gfid, gfidEquals, gfidKey, isNullGfid } from "../../../src/core/gfid.ts";
import { type Iatt, ZERO_IATT } from "../../../src/core/iatt.ts";
import type { Inode } from "../../../src/core/inode.ts";
import { shownDirectory, withTimesOf } from "./iatts.ts";
import type { Layout } from "./layout.ts";

/** States that are found by gfid; others are found by their inode alone. */
const STATES_MAX = 65_536;

export class InodeState {
  /** Of a file: the child with its data; -1 while unknown. */
  cached = -1;
  /** `cached` has changed: open files may be open on another child. */
  moved = false;
  /** Target of a move under way, and the child that it was learned from; -1 for none. */
  movingTo = -1;
  movingFrom = -1;
  /** Of a directory. */
  layout: Layout | undefined = undefined;
  /** The set's generation that the layout was learned at. */
  generation = 0;
  /** Of a directory: the child that owns its metadata; -1 while unknown. */
  mds = -1;
  /** Of a directory: where it was last found; for its path. */
  parent: Inode | undefined = undefined;
  name = "";
  /** Of a directory: attributes with the latest times that were shown, so that time never goes back. */
  latest: Iatt | undefined = undefined;

  /** A file's data is there. */
  placed(child: number): void {
    if (this.cached >= 0 && this.cached !== child) this.moved = true;
    if (this.cached !== child) this.movingTo = -1;
    this.cached = child;
    this.layout = undefined;
  }

  laidOut(layout: Layout, generation: number): void {
    this.layout = layout;
    this.generation = generation;
    this.cached = -1;
  }

  /** A part of this directory as users may see it: times never go back, and one brick's details stay. */
  shown(part: Iatt): Iatt {
    if (part === ZERO_IATT) return part;
    const { latest } = this;
    const stat =
      latest === undefined
        ? shownDirectory(part)
        : { ...withTimesOf(shownDirectory(part), latest), dev: latest.dev, blksize: latest.blksize };
    this.latest = stat;
    return stat;
  }

  /** Nothing is known any more. */
  clear(): void {
    this.cached = -1;
    this.layout = undefined;
    this.mds = -1;
  }
}

export class InodeStates {
  readonly #byInode = new WeakMap<Inode, InodeState>();
  readonly #byGfid = new LRUCache<string, InodeState>({ max: STATES_MAX });

  /** For the hot path: what is known of an inode that has been seen. */
  peek(inode: Inode): InodeState | undefined {
    return this.#byInode.get(inode);
  }

  /** The state of an inode, made when there is none. `gfid` when the inode is not linked yet. */
  of(inode: Inode, gfid: Gfid = inode.gfid): InodeState {
    const known = this.#byInode.get(inode);
    if (known !== undefined) return known;
    if (isNullGfid(gfid)) return new InodeState();
    const state = this.ofGfid(gfid);
    // An inode that turned out to be another object must not carry this one's state.
    if (!inode.linked || gfidEquals(inode.gfid, gfid)) this.#byInode.set(inode, state);
    return state;
  }

  ofGfid(gfid: Gfid): InodeState {
    const key = gfidKey(gfid);
    let state = this.#byGfid.get(key);
    if (state === undefined) {
      state = new InodeState();
      this.#byGfid.set(key, state);
    }
    return state;
  }

  forget(inode: Inode): void {
    this.#byInode.delete(inode);
    if (inode.linked) this.#byGfid.delete(gfidKey(inode.gfid));
  }
}
