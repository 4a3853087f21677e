/**
 * Which files had everything on disk when the batch that is under way began. A copy whose machine dies loses
 * what it had not synced, of batches that are over, too: GlusterFS clients do not sync what they appended.
 * All copies of a batch see the same calls, so one that was there can tell for another that was.
 *
 * Nothing is known of a file until it was synced once since the start of the brick.
 */

import type { Inode } from "../../../src/core/inode.ts";

interface State {
  /** Changes of data that were done. */
  changes: number;
  /** How many of them a sync has covered. */
  synced: number;
  /** At the last pre-op none was left. */
  wasClean: boolean;
}

const NEVER = -1;

export class SyncWatch {
  readonly #states = new WeakMap<Inode, State>();

  /** A call that may have changed data is over. */
  changed(inode: Inode): void {
    this.#of(inode).changes++;
  }

  /** A sync begins; the number is for `synced`. */
  syncing(inode: Inode): number {
    return this.#of(inode).changes;
  }

  /** A sync succeeded. What was not over when it began may have escaped it. */
  synced(inode: Inode, changes: number): void {
    const state = this.#of(inode);
    state.synced = Math.max(state.synced, changes);
  }

  /** A batch begins. */
  begins(inode: Inode): void {
    const state = this.#of(inode);
    state.wasClean = state.synced === state.changes;
  }

  wasClean(inode: Inode): boolean {
    return this.#states.get(inode)?.wasClean ?? false;
  }

  #of(inode: Inode): State {
    const known = this.#states.get(inode);
    if (known) return known;
    const state = { changes: 0, synced: NEVER, wasClean: false };
    this.#states.set(inode, state);
    return state;
  }
}
