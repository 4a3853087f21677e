/**
 * The marks around a batch of operations on one inode, all under one lock (spec translators.md 4.4): pre-op
 * when the first begins, blame when a copy misses one, post-op when the last is over.
 *
 * Invariants. While an operation may be under way `trusted.afr.dirty` is raised on every copy that takes part
 * (metadata operations with all copies locked leave that out: optimistic-change-log; but not those on xattrs,
 * where GlusterFS does so as well: see UNSEEN). A copy that is away is blamed with the pre-op (right after
 * it, while nobody knows whether it is the last good one), one that fails before the caller hears of success:
 * what was acknowledged is never on good copies alone without their knowing it. (GlusterFS blames who is away
 * with the post-op, a second later: a client that dies in between leaves a stale copy that nobody blames.)
 * Dirty is lowered only when every copy that is not blamed has everything, on disk too (ensure-durability);
 * otherwise it stays and a heal compares. Needs below: xattrop of all keys in one call, which answers their
 * values.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { ChangedRanges, encodeChange } from "../../../src/core/changed-ranges.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import { type FopName, type Reply, XATTROP } from "../../../src/core/fops.ts";
import { Fd } from "../../../src/core/inode.ts";
import { CHANGED_RANGES_KEY, KEY } from "../../../src/core/keys.ts";
import { O_RDWR } from "../../../src/core/open-flags.ts";
import { type Counts, countsOf, decodeRow, NO_COUNTS, rowIncrements } from "./changelog.ts";
import { type ChildSet, childrenOf, hasChild, NO_CHILDREN, only } from "./child-set.ts";
import { absences, failures, fanoutTo, mergedError, noQuorum, type Outcomes, successes } from "./fan-out.ts";
import type { LockTarget } from "./inode-lock.ts";
import { isObjectRemoved, mayBeRemoved, removedError } from "./removed.ts";
import type { ReplicaSet } from "./replica-set.ts";

export type InodeSlot = "data" | "metadata";

/** Where the lock is held, and where there is nothing to lock. */
export interface HeldOn {
  readonly children: ChildSet;
  readonly absent: ChildSet;
}

/** xdata of the fsync before a post-op: bricks may do several such calls in one. */
const BATCHED_FSYNC = new Dict().setInt("batch-fsync", 1).setStr(KEY.INTERNAL_FOP, "yes");

/**
 * Changes of xattrs: when the client dies with some copies told, nothing else would ever show that they
 * differ (a lookup compares owners and modes only), and additions keep the difference (the size of an image
 * in blocks).
 */
const UNSEEN: ReadonlySet<FopName> = new Set([
  "xattrop",
  "fxattrop",
  "setxattr",
  "fsetxattr",
  "removexattr",
  "fremovexattr",
]);

export class Batch {
  readonly slot: InodeSlot;
  /** Every byte that an operation of the batch may have changed. */
  readonly ranges: ChangedRanges | undefined;
  /** Copies that have everything so far; operations go to these. */
  good: ChildSet;
  /** Copies that nobody blamed at the pre-op, without an arbiter. */
  sources: ChildSet;
  /** The same with an arbiter. */
  blameless: ChildSet;
  /** Something was changed since the last sync, and not synchronously. */
  unsynced = false;
  readonly #set: ReplicaSet;
  readonly #call: Call;
  readonly #locked: ChildSet;
  /** Children that were up and had nothing to lock. */
  readonly #absent: ChildSet;
  /** Generation of the set at the beginning. */
  readonly #since: number;
  /** Copies whose dirty count this batch raised. */
  #dirtied: ChildSet = NO_CHILDREN;
  /** Copies whose pending count this batch raised on the good ones. */
  #blamed: ChildSet = NO_CHILDREN;
  #poisoned = false;
  /** There is nothing to begin on: the lock is to be given back. */
  #refused = false;
  #beginning: Promise<void> | undefined;
  #begun = false;
  #blaming: Promise<void> | undefined;

  constructor(set: ReplicaSet, slot: InodeSlot, lock: HeldOn, owner: Buffer) {
    const locked = lock.children;
    this.#set = set;
    this.slot = slot;
    this.#locked = locked;
    this.#absent = lock.absent;
    this.#since = set.generation;
    this.good = locked;
    this.sources = locked & set.dataChildren;
    this.blameless = locked;
    this.ranges = slot === "data" ? new ChangedRanges() : undefined;
    this.#call = { ...internalCall(), lkOwner: owner };
  }

  /** A copy is missing or has failed: the batch is to end soon, so that a heal gets its turn. */
  get isWounded(): boolean {
    return this.#poisoned || this.#refused || this.good !== this.#locked;
  }

  /** Whether marks were written that the post-op will change again, and with them the ctime. */
  get isMarked(): boolean {
    return this.#dirtied !== NO_CHILDREN;
  }

  /**
   * The pre-op: undefined when it is done already, which later operations of the batch inherit. `known` are
   * the copies known to be good where no call to the bricks is needed to find out. Rejects, with nothing
   * marked, when too few copies take part, none of them is good, or they alone have missed a removal.
   */
  begin(target: LockTarget, fop: FopName, known: ChildSet): Promise<void> | undefined {
    if (this.#begun) return undefined;
    this.#beginning ??= this.#begin(target, fop, known);
    return this.#beginning;
  }

  /**
   * Takes note that these copies missed an operation of which the caller is to hear as done. Undefined when
   * there is nothing to mark; else resolves when enough good copies know, and rejects when they cannot.
   */
  blame(target: LockTarget, fop: FopName, failed: ChildSet): Promise<void> | undefined {
    this.good &= ~failed;
    if ((this.#set.all & ~this.good & ~this.#blamed) === NO_CHILDREN) return undefined;
    const before = this.#blaming ?? Promise.resolve();
    const mine = before.then(
      () => this.#blameRest(target, fop),
      () => this.#blameRest(target, fop),
    );
    this.#blaming = mine;
    return mine;
  }

  /**
   * Copies may differ and nobody can say which is right: they stay dirty. `asked` may have done the
   * operation; without a pre-op their dirty count is raised now.
   */
  async poison(target: LockTarget, asked: ChildSet): Promise<void> {
    if (this.#poisoned) return;
    this.#poisoned = true;
    this.#set.log.warn("copies may differ until a heal compares them", { slot: this.slot, copies: asked });
    if (this.#dirtied === NO_CHILDREN) await this.#xattrop(target, asked, NO_CHILDREN, 1);
  }

  /** The post-op. Never rejects: what cannot be said stays dirty. */
  async end(target: LockTarget): Promise<void> {
    try {
      await this.#blaming;
    } catch {
      this.#poisoned = true;
    }
    if (!this.#begun || this.#poisoned || this.#dirtied === NO_CHILDREN) return;
    await this.#syncData(target);
    if (this.#poisoned) return;
    const dirty = this.#dirtied & this.good;
    const late = this.#set.all & ~this.good & ~this.#blamed;
    const outcomes = await this.#xattrop(target, dirty, late, -1);
    const failed = failures(outcomes);
    if (failed !== NO_CHILDREN) this.#set.log.info("copies stay dirty", { copies: failed, slot: this.slot });
  }

  async #begin(target: LockTarget, fop: FopName, known: ChildSet): Promise<void> {
    const set = this.#set;
    const optimistic = set.options["optimistic-change-log"] && this.#locked === set.all;
    if (this.slot === "metadata" && optimistic && !UNSEEN.has(fop)) {
      this.sources &= known;
      this.#check(fop, NO_CHILDREN, undefined);
      this.#begun = true;
      return;
    }
    // Whoever blames the last good copy and dies before taking that back leaves no good copy at all.
    const away = (known & this.#locked) === NO_CHILDREN ? NO_CHILDREN : set.all & ~this.#locked;
    const outcomes = await this.#xattrop(target, this.#locked, away, 1);
    this.#dirtied = successes(outcomes);
    this.good = this.#dirtied;
    this.#blamed = away;
    const accused = this.#accused(outcomes);
    this.blameless = this.good & ~accused;
    this.sources &= this.blameless;
    try {
      this.#check(fop, accused, mergedError(outcomes));
      await this.#checkThere(target, fop, this.#absent | absences(outcomes));
    } catch (error) {
      // Nothing was sent yet, so nothing has to be compared.
      await this.#xattrop(target, this.#dirtied, away, -1, -1);
      throw error;
    }
    await this.#blameRest(target, fop);
    this.#begun = true;
  }

  /** Throws when an operation must not begin on these copies. */
  #check(fop: FopName, accused: ChildSet, error: FopError | undefined): void {
    const set = this.#set;
    const isEnough = set.hasQuorum(this.good);
    if (isEnough && this.sources !== NO_CHILDREN) return;
    this.#refused = true;
    if (!isEnough) throw error ?? noQuorum(set, fop);
    const arbiter = set.arbiter < 0 ? NO_CHILDREN : only(set.arbiter);
    // The arbiter alone is good: it knows that data is missing, yet has none.
    const code = (this.good & ~accused) === arbiter && arbiter !== NO_CHILDREN ? "ENOTCONN" : "EIO";
    throw new FopError(code, { fop, xlator: set.name, message: `${code}: no good copy takes part` });
  }

  /** Throws when the copies without the object know that it was removed. */
  async #checkThere({ inode }: LockTarget, fop: FopName, missing: ChildSet): Promise<void> {
    const copies = { found: this.good, missing };
    if (!mayBeRemoved(this.#set, copies) || !(await isObjectRemoved(this.#set, inode.gfid, copies))) return;
    this.#refused = true;
    throw removedError(this.#set, fop);
  }

  /** Copies that the answers of a pre-op blame. */
  #accused(outcomes: Outcomes<Reply<"xattrop">>): ChildSet {
    let accused = NO_CHILDREN;
    for (const outcome of outcomes) {
      if (!outcome?.ok) continue;
      const { pending } = decodeRow(outcome.reply.xattrs, this.#set.pendingKeys);
      for (const [child, counts] of pending.entries()) if (counts[this.slot] !== 0) accused |= only(child);
    }
    return accused;
  }

  /** Marks all that failed and are not marked yet, until those that know of it are a quorum. */
  async #blameRest(target: LockTarget, fop: FopName): Promise<void> {
    const set = this.#set;
    for (;;) {
      const unblamed = set.all & ~this.good & ~this.#blamed;
      if (unblamed === NO_CHILDREN) return;
      const outcomes = await this.#xattrop(target, this.good, unblamed, 0);
      const knowing = successes(outcomes);
      if (!set.hasQuorum(knowing) || (knowing & this.sources) === NO_CHILDREN) {
        await this.poison(target, this.good);
        throw mergedError(outcomes) ?? noQuorum(set, fop);
      }
      this.#blamed |= unblamed;
      this.good = knowing;
    }
  }

  /**
   * To be called right before the copies are synced. One that was away since it was written to, however
   * short, has missed that: its machine may have lost what was not synced, and would sync what is left.
   */
  beforeSync(): void {
    if (!this.unsynced) return;
    this.unsynced = false;
    const left = this.good & this.#set.leftSince(this.#since);
    if (left === NO_CHILDREN) return;
    this.#set.log.info("copies were away before they synced", { copies: left });
    this.good &= ~left;
  }

  /**
   * A copy that cannot sync is as good as one that missed a write. GlusterFS clients leave the sync out when
   * all writes were appends, as a shorter copy is then seen by its size. We do not: nobody blames such a copy
   * for what it lost in a power failure, and the next append (behind a hole there) or a truncate makes the
   * sizes alike; it then reads as zeros, for ever. Blocks of 64 MiB pay one sync each.
   */
  async #syncData(target: LockTarget): Promise<void> {
    const { unsynced } = this;
    this.beforeSync();
    if (!unsynced || !this.#set.options["ensure-durability"]) return;
    const fd = target.fd ?? Fd.anonymous(target.inode, O_RDWR);
    const args = { fd, datasync: true, xdata: BATCHED_FSYNC };
    const outcomes = await fanoutTo(this.#set, this.good, "fsync", this.#call, args);
    const synced = successes(outcomes);
    if (synced !== this.good) this.#set.log.warn("copies cannot sync", { copies: this.good & ~synced });
    if (this.#set.hasQuorum(synced) && (synced & this.sources) !== NO_CHILDREN) this.good = synced;
    else this.#poisoned = true;
  }

  /** Adds `dirty` to the dirty count of `on`, and there `count` to the pending count of each of `blamed`. */
  #xattrop(
    target: LockTarget,
    on: ChildSet,
    blamed: ChildSet,
    dirty: number,
    count = 1,
  ): Promise<Outcomes<Reply<"xattrop">>> {
    const set = this.#set;
    const mark: Counts = countsOf(this.slot, count);
    const xattrs = rowIncrements(
      set.pendingKeys,
      (child) => (hasChild(blamed, child) ? mark : undefined),
      dirty === 0 ? NO_COUNTS : countsOf(this.slot, dirty),
    );
    const xdata = this.#changeOf(blamed);
    const { inode, fd } = target;
    const op = XATTROP.ADD_ARRAY;
    return fd === undefined
      ? fanoutTo(set, on, "xattrop", this.#call, { loc: { inode }, op, xattrs, xdata })
      : fanoutTo(set, on, "fxattrop", this.#call, { fd, op, xattrs, xdata });
  }

  /** What the missing copies miss, as far as it is known now: with every mark that names any of them. */
  #changeOf(blamed: ChildSet): Dict | undefined {
    if (this.ranges === undefined || (blamed | this.#blamed) === NO_CHILDREN) return undefined;
    // A copy that was not synced may also lack what was written in batches that are over.
    if (!this.#set.options["ensure-durability"]) return undefined;
    const missing = (blamed | this.#blamed) & this.#dirtied;
    const dirtyLeft = childrenOf(missing).map((child) => this.#set.pendingKeys[child]!);
    return new Dict().setBytes(CHANGED_RANGES_KEY.CHANGE, encodeChange({ ranges: this.ranges, dirtyLeft }));
  }
}
