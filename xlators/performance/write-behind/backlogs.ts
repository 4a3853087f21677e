/**
 * The lines of all files (backlog.ts), found by inode.
 *
 * One line a gfid, whichever Inode object names it: a lookup by name comes with a fresh one. A line that is
 * idle is only remembered with its inode.
 */

import { type Gfid, gfidKey } from "../../../src/core/gfid.ts";
import type { Inode } from "../../../src/core/inode.ts";
import { Backlog, type Host } from "./backlog.ts";

export class Backlogs {
  readonly #host: Host;
  readonly #byInode = new WeakMap<Inode, Backlog>();
  readonly #busy = new Map<string, Backlog>();

  constructor(host: Host) {
    this.#host = host;
  }

  /** Lines with something in them. */
  get busy(): ReadonlyMap<string, Backlog> {
    return this.#busy;
  }

  /** The line of a file, made when there is none. */
  of(inode: Inode): Backlog {
    const known = this.#byInode.get(inode);
    if (known !== undefined && !known.isIdle) return known;
    const key = known?.key ?? gfidKey(inode.gfid);
    const backlog = this.#busy.get(key) ?? known ?? new Backlog(key, this.#host);
    if (backlog !== known) this.#byInode.set(inode, backlog);
    return backlog;
  }

  /** The line of a file if there was one; an inode without a gfid has none. */
  find(inode: Inode): Backlog | undefined {
    const known = this.#byInode.get(inode);
    if (this.#busy.size === 0 || (known !== undefined && !known.isIdle) || !inode.linked) return known;
    return this.#busy.get(known?.key ?? gfidKey(inode.gfid)) ?? known;
  }

  /** The line of a file if acknowledged bytes are in it. */
  dirty(gfid: Gfid): Backlog | undefined {
    if (this.#busy.size === 0) return undefined;
    const backlog = this.#busy.get(gfidKey(gfid));
    return backlog?.isDirty ? backlog : undefined;
  }

  /** To be told by the lines. */
  enter(backlog: Backlog): void {
    this.#busy.set(backlog.key, backlog);
  }
  leave(backlog: Backlog): void {
    this.#busy.delete(backlog.key);
  }
}
