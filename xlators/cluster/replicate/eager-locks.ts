/**
 * The eager locks of all inodes of a replica set, as long as they are held or waited for: nothing is kept of
 * a block that nobody wrote to for a while. They are found by gfid, so that two objects of the same inode
 * share their locks; the way by object is shorter.
 */

import type { Dict } from "../../../src/core/dict.ts";
import { type Gfid, gfidKey } from "../../../src/core/gfid.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import type { InodeSlot } from "./batch.ts";
import { EagerLock, lockCountRequest } from "./eager-lock.ts";
import type { ReplicaSet } from "./replica-set.ts";

interface Pair {
  readonly data: EagerLock;
  readonly metadata: EagerLock;
}

export class EagerLocks {
  readonly #set: ReplicaSet;
  /** May hold pairs that have become free. */
  readonly #byInode = new WeakMap<Inode, Pair>();
  readonly #busy = new Map<string, Pair>();
  /** By slot, what asks how many locks there are. */
  readonly #countRequests: Readonly<Record<InodeSlot, Dict>>;

  constructor(set: ReplicaSet) {
    this.#set = set;
    this.#countRequests = {
      data: lockCountRequest(set, "data"),
      metadata: lockCountRequest(set, "metadata"),
    };
  }

  /** Inodes with a lock that is held or waited for. */
  get busyCount(): number {
    return this.#busy.size;
  }

  /** The lock to enter now. */
  of(inode: Inode, slot: InodeSlot): EagerLock {
    let pair = this.#byInode.get(inode);
    if (pair !== undefined && !isFree(pair)) return pair[slot];
    const key = gfidKey(inode.gfid);
    pair = this.#busy.get(key) ?? this.#make(inode, key);
    this.#byInode.set(inode, pair);
    this.#busy.set(key, pair);
    return pair[slot];
  }

  /** Ends delays on the inode: marks are cleared and locks given back when this resolves. */
  async settle(inode: Inode): Promise<void> {
    const pair = this.#find(inode);
    if (pair === undefined) return;
    await pair.data.settle();
    await pair.metadata.settle();
  }

  /** To be called before an fd is released. */
  async forgetFd(fd: Fd): Promise<void> {
    const pair = this.#find(fd.inode);
    if (pair === undefined) return;
    await pair.data.forgetFd(fd);
    await pair.metadata.forgetFd(fd);
  }

  /** A brick says that somebody waits for the lock: who holds it for nothing gives it up at once. */
  contended(gfid: Gfid, slot: InodeSlot): void {
    this.#busy.get(gfidKey(gfid))?.[slot].contended();
  }

  /** Ends the delays of all inodes. */
  async settleAll(): Promise<void> {
    await Promise.all(
      [...this.#busy.values()].flatMap(({ data, metadata }) => [data.settle(), metadata.settle()]),
    );
  }

  #find(inode: Inode): Pair | undefined {
    const pair = this.#byInode.get(inode);
    return pair !== undefined && !isFree(pair) ? pair : this.#busy.get(gfidKey(inode.gfid));
  }

  #make(inode: Inode, key: string): Pair {
    const onFree = (): void => {
      if (!isFree(pair)) return;
      this.#byInode.delete(inode);
      if (this.#busy.get(key) === pair) this.#busy.delete(key);
    };
    const { data, metadata } = this.#countRequests;
    const pair: Pair = {
      data: new EagerLock(this.#set, "data", inode, data, onFree),
      metadata: new EagerLock(this.#set, "metadata", inode, metadata, onFree),
    };
    return pair;
  }
}

function isFree({ data, metadata }: Pair): boolean {
  return data.isFree && metadata.isFree;
}
