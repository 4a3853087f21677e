/**
 * The lock of one inode (its data, or its metadata) as all operations of this client share it: taken once,
 * kept while operations follow each other, given back when somebody else wants it (spec translators.md 4.4,
 * eager lock and delayed post-op; GlusterFS afr-transaction.c).
 *
 * Owners are the operations under way; no two of them touch the same byte, so that all copies see the same
 * order. Others queue: behind an owner whose bytes they share, or, once the lock is to be given back, for the
 * time after that. When the last owner leaves, the post-op waits for post-op-delay-secs, and whoever comes in
 * time finds lock and dirty mark in place. Contention is seen in the lock counts that writes answer, and in
 * messages of the bricks (which GlusterFS clients ignore) while nothing is written.
 * A child that comes or goes ends the sharing: the next acquisition is on the children of then.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { abortable, Deferred } from "../../../src/core/concurrency.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Timer } from "../../../src/core/env.ts";
import type { FopName } from "../../../src/core/fops.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { LOCK_KEY } from "../../../src/core/keys.ts";
import { Batch, type InodeSlot } from "./batch.ts";
import { firstChild, NO_CHILDREN } from "./child-set.ts";
import { noQuorum } from "./fan-out.ts";
import {
  InodeLock,
  type LockRange,
  type LockTarget,
  METADATA_RANGE,
  newLockOwner,
  WHOLE_FILE,
} from "./inode-lock.ts";
import type { ReplicaSet } from "./replica-set.ts";

/**
 * Replies are asked for the number of waiting locks at most this often: bricks count for each that asks, and
 * a request that asks is longer than its neighbours, which costs a brick the place of its payload in memory.
 * More seldom while nobody waits.
 */
const CONTENTION_MS_MIN = 1;
const CONTENTION_MS_MAX = 16;
/** Payloads from here on are dearer to copy than a question is to ask: they always ask. */
const ALWAYS_ASK_BYTES = 64 * 1024;

/** xdata that asks for the number of locks of a slot; those of metadata have their own domain (spec 9.2). */
export function lockCountRequest(set: ReplicaSet, slot: InodeSlot): Dict {
  const domain = slot === "data" ? set.name : `${set.name}:metadata`;
  return new Dict().setStr(LOCK_KEY.INODELK_DOM_COUNT, domain);
}

/** What the lock has to know of an operation. */
export interface Holder {
  readonly fop: FopName;
  readonly call: Call;
  readonly fd: Fd | undefined;
  /** First byte that it may change, and the one after the last; Infinity: to the end. Empty: none. */
  readonly start: number;
  readonly end: number;
  /** Lock and marks may stay for a while after it. */
  readonly mayLinger: boolean;
}

interface Waiter {
  readonly holder: Holder;
  readonly entered: Deferred<void>;
}

type State = "free" | "acquiring" | "held" | "releasing";

export class EagerLock implements LockTarget {
  readonly inode: Inode;
  /** Of an operation that has not released it; see `forgetFd`. */
  fd: Fd | undefined;
  readonly #set: ReplicaSet;
  readonly #slot: InodeSlot;
  readonly #owner: Buffer;
  readonly #onFree: () => void;
  #state: State = "free";
  #lock: InodeLock | undefined;
  #batch: Batch | undefined;
  #generation = 0;
  /** Nobody joins any more: the lock goes back when the last owner leaves. */
  #release = false;
  #timer: Timer | undefined;
  #timerIsShort = false;
  /** When the last owner left. */
  #idleSinceMs = 0;
  #askedAtMs = 0;
  #askEveryMs = CONTENTION_MS_MIN;
  /** The last operation did not ask who waits. */
  #isUnasked = false;
  readonly #countRequest: Dict;
  readonly #owners: Holder[] = [];
  readonly #queue: Waiter[] = [];
  #idle: Deferred<void> | undefined;

  /** `onFree` is called when nobody holds it nor waits for it. */
  constructor(set: ReplicaSet, slot: InodeSlot, inode: Inode, countRequest: Dict, onFree: () => void) {
    this.#set = set;
    this.#slot = slot;
    this.inode = inode;
    this.#owner = newLockOwner(set);
    this.#countRequest = countRequest;
    this.#onFree = onFree;
  }

  /** The marks of the operations that hold the lock now. Only for owners. */
  get batch(): Batch {
    return this.#batch!;
  }

  get isFree(): boolean {
    return this.#state === "free" && this.#queue.length === 0;
  }

  /**
   * xdata for an owner's operation that asks how many locks there are, when it is time to or the payload is
   * large (of requests that are all alike a brick knows the places); shared.
   */
  countRequest(payloadBytes: number): Dict | undefined {
    const now = this.#set.env.clock.nowMs();
    const sinceMs = now - this.#askedAtMs;
    const isDue = sinceMs >= this.#askEveryMs;
    const asks = isDue || payloadBytes >= ALWAYS_ASK_BYTES;
    this.#isUnasked = !asks && sinceMs >= CONTENTION_MS_MIN;
    if (!asks) return undefined;
    this.#askedAtMs = now;
    if (isDue) this.#askEveryMs = Math.min(this.#askEveryMs * 2, CONTENTION_MS_MAX);
    return this.#countRequest;
  }

  /**
   * Makes `holder` an owner: at once (undefined), or when the promise resolves. Rejects when the lock cannot
   * be had on enough children, or with EINTR when the caller gives up.
   */
  enter(holder: Holder): Promise<void> | undefined {
    if (this.#state !== "held" || this.#queue.length > 0 || !this.#maySpare(holder))
      return this.#wait(holder);
    this.#own(holder);
    return undefined;
  }

  /** The owner is done: its outcome is in the batch. */
  leave(holder: Holder): void {
    const at = this.#owners.indexOf(holder);
    this.#owners[at] = this.#owners.at(-1)!;
    this.#owners.pop();
    if (this.batch.isWounded || !this.#set.options["eager-lock"]) this.#release = true;
    const isLast = this.#owners.length === 0 && this.#queue.length === 0;
    if (!isLast || this.#release) this.#pump();
    else if (holder.mayLinger && this.#set.options["post-op-delay-secs"] > 0) this.#linger();
    else this.contended();
  }

  /** Somebody else wants the lock. What is not held yet, or on its way back, stays as it is. */
  contended(): void {
    if (this.#state !== "held") return;
    this.#release = true;
    if (this.#owners.length === 0) this.#pump();
  }

  /** Ends a delay, with post-op and unlock; resolves when the lock is not held for nothing any more. */
  async settle(): Promise<void> {
    if (this.#state === "held" && this.#owners.length === 0) this.contended();
    if (this.#state !== "releasing") return;
    this.#idle ??= new Deferred();
    await this.#idle.promise;
  }

  /** The fd is about to be released: post-op and unlock must not need it any more. */
  async forgetFd(fd: Fd): Promise<void> {
    if (this.fd !== fd) return;
    await this.settle();
    if (this.fd === fd) this.fd = this.#owners.find((owner) => owner.fd !== undefined && owner.fd !== fd)?.fd;
  }

  /** Joins the owners. */
  #own(holder: Holder): void {
    this.#owners.push(holder);
    if (holder.fd !== undefined) this.fd = holder.fd;
  }

  /** Whether the held lock may be shared with one more. */
  #maySpare(holder: Holder): boolean {
    if (this.#generation !== this.#set.generation) this.#release = true;
    if (this.#release) return false;
    if (!this.#set.options["eager-lock"] && this.#owners.length > 0) return false;
    for (const owner of this.#owners) if (owner.start < holder.end && holder.start < owner.end) return false;
    return true;
  }

  #wait(holder: Holder): Promise<void> {
    const waiter: Waiter = { holder, entered: new Deferred() };
    this.#queue.push(waiter);
    this.#pump();
    const where = { fop: holder.fop, xlator: this.#set.name };
    return abortable(waiter.entered.promise, holder.call.signal, () => this.#giveUp(waiter), where);
  }

  #giveUp(waiter: Waiter): void {
    const at = this.#queue.indexOf(waiter);
    if (at >= 0) this.#queue.splice(at, 1);
    // It got in just now, and nobody is going to leave for it.
    else if (this.#owners.includes(waiter.holder)) this.leave(waiter.holder);
  }

  /** Lets in who may come in, or gives the lock back, or takes it. */
  #pump(): void {
    if (this.#state === "free") {
      if (this.#queue.length > 0) void this.#acquire();
      return;
    }
    if (this.#state !== "held") return;
    while (this.#queue.length > 0 && this.#maySpare(this.#queue[0]!.holder)) {
      const { holder, entered } = this.#queue.shift()!;
      this.#own(holder);
      entered.resolve();
    }
    if (this.#owners.length > 0) return;
    if (this.#queue.length > 0) this.#release = true;
    if (this.#release) void this.#giveBack();
  }

  /**
   * The last owner left and others may come. One timer serves many operations: when it is due it looks how
   * long nobody came. It is due early when the last replies were not asked who waits: then a question of its
   * own makes up for that.
   */
  #linger(): void {
    const { clock } = this.#set.env;
    this.#idleSinceMs = clock.nowMs();
    if (this.#timer !== undefined && (this.#timerIsShort || !this.#isUnasked)) return;
    this.#timer?.cancel();
    this.#timerIsShort = this.#isUnasked;
    const delayMs = this.#timerIsShort ? this.#pauseMs : this.#lingerMs;
    this.#timer = clock.after(delayMs, this.#onLinger);
  }

  get #lingerMs(): number {
    return this.#set.options["post-op-delay-secs"] * 1000;
  }

  /** A pause of this length asks who waits; shorter ones leave it to the writes that come soon. */
  get #pauseMs(): number {
    return Math.min(CONTENTION_MS_MAX, this.#lingerMs);
  }

  readonly #onLinger = (): void => {
    this.#timer = undefined;
    if (this.#state !== "held" || this.#owners.length > 0) return;
    const { clock } = this.#set.env;
    const idleMs = clock.nowMs() - this.#idleSinceMs;
    if (idleMs >= this.#lingerMs) {
      this.contended();
      return;
    }
    this.#timerIsShort = this.#isUnasked && idleMs < this.#pauseMs;
    const untilMs = this.#timerIsShort ? this.#pauseMs : this.#lingerMs;
    this.#timer = clock.after(untilMs - idleMs, this.#onLinger);
    if (this.#isUnasked && !this.#timerIsShort) void this.#ask();
  };

  /** Asks one brick for the number of locks. A brick that cannot say leaves it at the end of the delay. */
  async #ask(): Promise<void> {
    this.#isUnasked = false;
    const lock = this.#lock!;
    const child = this.#set.children[firstChild(lock.children)]!;
    const call = internalCall();
    const xdata = this.#countRequest;
    try {
      const reply = this.fd
        ? await child.fstat(call, { fd: this.fd, xdata })
        : await child.stat(call, { loc: { inode: this.inode }, xdata });
      if (this.#lock === lock && (reply.xdata?.number(LOCK_KEY.INODELK_COUNT) ?? 0) > 1) this.contended();
    } catch {
      // Whoever waits gets the lock when the delay is over.
    }
  }

  async #acquire(): Promise<void> {
    this.#state = "acquiring";
    const set = this.#set;
    const { holder } = this.#queue[0]!;
    this.fd = holder.fd;
    this.#generation = set.generation;
    this.#askedAtMs = set.env.clock.nowMs();
    this.#askEveryMs = CONTENTION_MS_MIN;
    this.#isUnasked = false;
    const lock = await InodeLock.take(set, this, this.#rangeFor(holder), this.#owner);
    this.#lock = lock;
    if (lock.children === NO_CHILDREN || !set.hasQuorum(lock.children)) {
      const error = lock.error ?? noQuorum(set, holder.fop);
      for (const { entered } of this.#queue.splice(0)) entered.reject(error);
    } else {
      this.#batch = new Batch(set, this.#slot, lock, this.#owner);
    }
    this.#release = false;
    this.#state = "held";
    if (this.#queue.length === 0) this.#release = true;
    this.#pump();
  }

  async #giveBack(): Promise<void> {
    this.#state = "releasing";
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#batch?.end(this);
    await this.#lock?.release(this);
    this.#batch = undefined;
    this.#lock = undefined;
    this.fd = undefined;
    this.#state = "free";
    this.#idle?.resolve();
    this.#idle = undefined;
    if (this.#queue.length === 0) this.#onFree();
    else this.#pump();
  }

  #rangeFor({ start, end }: Holder): LockRange {
    if (this.#slot === "metadata") return METADATA_RANGE;
    const { options, arbiter } = this.#set;
    if (options["eager-lock"] || options["full-lock"] || arbiter >= 0 || end <= start) return WHOLE_FILE;
    return { start: BigInt(start), len: end === Number.POSITIVE_INFINITY ? 0n : BigInt(end - start) };
  }
}
