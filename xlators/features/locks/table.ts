/** All inodes of a brick on which something is locked or waits, by gfid. */

import type { ClientIdentity } from "../../../src/core/call.ts";
import { type Gfid, gfidKey } from "../../../src/core/gfid.ts";
import { type InodeHooks, InodeLocks } from "./inode-locks.ts";

export class LockTable {
  readonly #inodes = new Map<string, InodeLocks>();
  readonly #hooks: InodeHooks;

  constructor(hooks: InodeHooks) {
    this.#hooks = hooks;
  }

  get size(): number {
    return this.#inodes.size;
  }

  find(gfid: Gfid): InodeLocks | undefined {
    return this.#inodes.size === 0 ? undefined : this.#inodes.get(gfidKey(gfid));
  }

  /**
   * The inode's locks, made when there are none. Whoever calls this calls `changed` when nothing came of it.
   */
  of(gfid: Gfid): InodeLocks {
    const key = gfidKey(gfid);
    let inode = this.#inodes.get(key);
    if (!inode) {
      inode = new InodeLocks(gfid, this.#hooks);
      this.#inodes.set(key, inode);
    }
    return inode;
  }

  /** Lets everything on the inode go on that can, and forgets the inode when nothing is left. */
  changed(inode: InodeLocks): void {
    inode.changed();
    if (inode.empty) this.#inodes.delete(gfidKey(inode.gfid));
  }

  /** A client's connection ended. */
  dropClient(client: ClientIdentity): void {
    for (const inode of [...this.#inodes.values()]) {
      inode.dropClient(client);
      this.changed(inode);
    }
  }

  /** The graph stops: whoever waits is told so. */
  refuseAll(): void {
    for (const inode of [...this.#inodes.values()]) {
      inode.refuseAll("ENOTCONN");
      this.changed(inode);
    }
  }
}
