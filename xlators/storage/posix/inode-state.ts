/**
 * What the brick remembers of an inode while it is of use: open fds, times, whether its last name went. By
 * gfid, not by Inode: a create fop brings an inode that has no identity yet, and anonymous fds share one.
 *
 * Invariant: there is at most one InodeState for a gfid that anybody holds (`hold` ... `letGo`); what nobody
 * holds is a cache and may be dropped at any time.
 */

import { LRUCache } from "lru-cache";
import type { Mdata } from "../../../src/core/dict.ts";
import { type Gfid, gfidKey } from "../../../src/core/gfid.ts";
import { Differences } from "./differences.ts";

/** Inodes without an open fd that are remembered. */
const IDLE_MAX = 65536;

export class InodeState {
  readonly gfid: Gfid;
  readonly key: string;
  /** Named fds (opened by a client), those that are being opened included. */
  opens = 0;
  /** undefined: not read yet; null: the file has none. */
  mdata: Mdata | null | undefined;
  /** The last name is gone and the handle lies in `.glusterfs/unlink`. */
  parked = false;
  /** The last name is gone; nothing may be kept for later. */
  removed = false;
  /** Nobody but this process, and those it lends the file to, can write it (fence.ts). */
  sole = false;
  /** For a directory: the inode that its handle was seen to lead to. */
  dirIno: bigint | undefined;
  holders = 0;
  #differences: Differences | undefined;

  constructor(gfid: Gfid) {
    this.gfid = gfid;
    this.key = gfidKey(gfid);
  }

  /** What fops report whose differences must add up. */
  get differences(): Differences {
    this.#differences ??= new Differences();
    return this.#differences;
  }
}

export class InodeStates {
  readonly #held = new Map<string, InodeState>();
  readonly #idle = new LRUCache<string, InodeState>({ max: IDLE_MAX });

  /** What is known of an inode, to look at; a fresh state when nothing is. */
  of(gfid: Gfid): InodeState {
    const key = gfidKey(gfid);
    const known = this.#held.get(key) ?? this.#idle.get(key);
    if (known) return known;
    const state = new InodeState(gfid);
    this.#idle.set(key, state);
    return state;
  }

  /** Counts a holder, who must call `letGo`. */
  hold(gfid: Gfid): InodeState {
    const state = this.of(gfid);
    if (state.holders++ === 0) {
      this.#idle.delete(state.key);
      this.#held.set(state.key, state);
    }
    return state;
  }

  letGo(state: InodeState): void {
    if (--state.holders > 0) return;
    this.#held.delete(state.key);
    this.#idle.set(state.key, state);
  }

  /** Forgets a removed inode, unless somebody still holds it. */
  drop(gfid: Gfid): void {
    this.#idle.delete(gfidKey(gfid));
  }
}
