/**
 * Locks of fcntl, OFD and flock (the lk fop) on one inode (spec translators.md 9.1). An owner's locks never
 * overlap and never touch when they are alike; locks of different owners overlap only when both are read
 * locks.
 *
 * Waiting requests are granted in the order of arrival as far as they fit; a new request that fits does not
 * wait for them (as fcntl does it). A waiting owner keeps what it holds, but see `breakDeadlock`.
 */

import type { Fd } from "../../../src/core/inode.ts";
import { type ByteRange, overlaps, subtract, touches, union } from "../../../src/core/ranges.ts";
import type { LockOwner } from "./owner.ts";
import { WaitQueue } from "./wait-queue.ts";

export interface PosixLock {
  readonly owner: LockOwner;
  /** The fd it was last set through; its release drops the lock. */
  readonly fd: Fd | undefined;
  readonly range: ByteRange;
  readonly type: "rdlck" | "wrlck";
  /** Asked for with lkmode mandatory. */
  readonly mandatory: boolean;
}

export class PosixLocks {
  #granted: PosixLock[] = [];
  readonly blocked = new WaitQueue<PosixLock>();

  get granted(): readonly PosixLock[] {
    return this.#granted;
  }

  /** Granted and waiting. */
  get count(): number {
    return this.#granted.length + this.blocked.size;
  }

  /** The first granted lock that this one cannot stand beside. */
  conflict(lock: Pick<PosixLock, "owner" | "range" | "type">): PosixLock | undefined {
    return this.#granted.find((held) => conflicts(held, lock));
  }

  /** Grants without looking: what the owner has in the range is replaced, and joined with what is alike. */
  set(lock: PosixLock): void {
    let { range } = lock;
    const next: PosixLock[] = [];
    for (const held of this.#granted) {
      if (held.owner.key !== lock.owner.key) next.push(held);
      else if (
        held.type === lock.type &&
        held.mandatory === lock.mandatory &&
        touches(held.range, lock.range)
      )
        range = union(range, held.range);
      else pushPieces(next, held, lock.range);
    }
    next.push({ ...lock, range });
    this.#granted = next;
  }

  /** Takes a range away from an owner. */
  unset(owner: LockOwner, range: ByteRange): void {
    const next: PosixLock[] = [];
    for (const held of this.#granted) {
      if (held.owner.key === owner.key) pushPieces(next, held, range);
      else next.push(held);
    }
    this.#granted = next;
  }

  /** Waits until the lock is granted. `onAbort` is called when the caller gave up and others may go ahead. */
  wait(lock: PosixLock, signal: AbortSignal | undefined, onAbort: () => void): Promise<void> {
    if (!signal?.aborted) this.#breakDeadlock(lock);
    return this.blocked.wait(lock, signal, onAbort);
  }

  /** Grants whatever fits now, in order. Call after every change. */
  regrant(): void {
    // A grant may turn a write lock of the same owner into a read lock, and so let somebody before it in the
    // queue go.
    while (this.blocked.grantWhere((request) => this.#grant(request)) > 0);
  }

  /** Drops granted locks; returns how many. */
  drop(which: (lock: PosixLock) => boolean): number {
    const before = this.#granted.length;
    this.#granted = this.#granted.filter((held) => !which(held));
    return before - this.#granted.length;
  }

  #grant(request: PosixLock): boolean {
    if (this.conflict(request)) return false;
    this.set(request);
    return true;
  }

  /**
   * Two readers that both wait to become writers would wait for ever. When somebody whom this request would
   * wait for waits, itself or through others, for a lock of the same owner, the owner gives up what it holds
   * in the requested range first. (GlusterFS gives that up with every request that waits; there is no
   * EDEADLK, as it would come to flock and OFD callers as well.)
   */
  #breakDeadlock(lock: PosixLock): void {
    const ahead = new Set<string>();
    const frontier: Pick<PosixLock, "owner" | "range" | "type">[] = [lock];
    for (let request = frontier.pop(); request; request = frontier.pop()) {
      for (const held of this.#granted) {
        if (!conflicts(held, request) || ahead.has(held.owner.key)) continue;
        ahead.add(held.owner.key);
        for (const other of this.blocked.requests)
          if (other.owner.key === held.owner.key) frontier.push(other);
      }
    }
    if (!ahead.has(lock.owner.key)) return;
    this.unset(lock.owner, lock.range);
    this.regrant();
  }
}

function conflicts(held: PosixLock, wanted: Pick<PosixLock, "owner" | "range" | "type">): boolean {
  return (
    (held.type === "wrlck" || wanted.type === "wrlck") &&
    held.owner.key !== wanted.owner.key &&
    overlaps(held.range, wanted.range)
  );
}

function pushPieces(into: PosixLock[], held: PosixLock, cut: ByteRange): void {
  for (const range of subtract(held.range, cut)) into.push({ ...held, range });
}
