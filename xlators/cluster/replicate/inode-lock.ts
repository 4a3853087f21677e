/**
 * The lock of a transaction on an inode, on the bricks (spec translators.md 4.4): an inodelk write lock in
 * the set's domain on all up children, with an owner of its own.
 *
 * First all at once without waiting. If somebody else holds one of them everything is given back and asked
 * for again, now waiting, child 0 first and one after the other, so that two clients never wait for each
 * other. GlusterFS clients take the same domain and ranges.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import type { FopError } from "../../../src/core/errors.ts";
import type { Flock } from "../../../src/core/fops.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { type ChildSet, hasChild, NO_CHILDREN, only } from "./child-set.ts";
import { absences, fanoutTo, mergedError, type Outcomes, successes } from "./fan-out.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** What is locked; through an fd also a file that has no name any more is found. */
export interface LockTarget {
  readonly inode: Inode;
  readonly fd: Fd | undefined;
}

export interface LockRange {
  readonly start: bigint;
  /** 0: to the end. */
  readonly len: bigint;
}

export const WHOLE_FILE: LockRange = { start: 0n, len: 0n };
/** Bricks move exactly this range to a domain of its own, so that it never meets a data lock (spec 9.2). */
export const METADATA_RANGE: LockRange = { start: 2n ** 63n - 2n, len: 0n };

const OWNER_BYTES = 16;

/** A new lock owner; all zero is no owner. */
export function newLockOwner(set: ReplicaSet): Buffer {
  const owner = set.env.random.bytes(OWNER_BYTES);
  owner[0]! |= 1;
  return owner;
}

export class InodeLock {
  readonly #set: ReplicaSet;
  readonly #call: Call;
  readonly #range: LockRange;
  /** Where it is held. */
  children: ChildSet = NO_CHILDREN;
  /** Children that say that there is nothing to lock. */
  absent: ChildSet = NO_CHILDREN;
  /** Why it is not held on more children. */
  error: FopError | undefined;

  private constructor(set: ReplicaSet, owner: Buffer, range: LockRange) {
    this.#set = set;
    this.#call = { ...internalCall(), lkOwner: owner };
    this.#range = range;
  }

  /** Resolves when no child is left to ask, whatever was granted: see `children`. Never rejects. */
  static async take(
    set: ReplicaSet,
    target: LockTarget,
    range: LockRange,
    owner: Buffer,
  ): Promise<InodeLock> {
    const lock = new InodeLock(set, owner, range);
    const tried = await lock.#send(target, set.up, "setlk", "wrlck");
    lock.children = successes(tried);
    lock.absent = absences(tried);
    lock.error = mergedError(tried);
    if (tried.some((outcome) => outcome?.ok === false && outcome.error.code === "EAGAIN")) {
      await lock.release(target);
      await lock.#waitForEach(target);
    }
    return lock;
  }

  /** Never rejects: a child that is gone has dropped its locks. */
  async release(target: LockTarget): Promise<void> {
    const { children } = this;
    this.children = NO_CHILDREN;
    const outcomes = await this.#send(target, children, "setlk", "unlck");
    for (const [child, outcome] of outcomes.entries()) {
      if (outcome === undefined || outcome.ok) continue;
      const { code } = outcome.error;
      if (code === "ENOTCONN" || code === "EBADFD" || code === "ESTALE" || code === "ENOENT") continue;
      this.#set.log.warn("an inode lock could not be given back", { child, code });
    }
  }

  async #waitForEach(target: LockTarget): Promise<void> {
    const { up } = this.#set;
    this.error = undefined;
    this.absent = NO_CHILDREN;
    for (let child = 0; child < this.#set.count; child++) {
      if (!hasChild(up, child)) continue;
      const outcomes = await this.#send(target, only(child), "setlkw", "wrlck");
      this.children |= successes(outcomes);
      this.absent |= absences(outcomes);
      this.error = mergedError(outcomes) ?? this.error;
    }
  }

  #send(
    { inode, fd }: LockTarget,
    children: ChildSet,
    cmd: "setlk" | "setlkw",
    type: "wrlck" | "unlck",
  ): Promise<Outcomes<unknown>> {
    const { start, len } = this.#range;
    const flock: Flock = { type, whence: 0, start, len, pid: 0, lkOwner: this.#call.lkOwner };
    const lock = { volume: this.#set.name, cmd, flock };
    return fd === undefined
      ? fanoutTo(this.#set, children, "inodelk", this.#call, { loc: { inode }, ...lock })
      : fanoutTo(this.#set, children, "finodelk", this.#call, { fd, ...lock });
  }
}
