/**
 * What inodelk and entrylk have in common: granted and waiting locks of one domain of one inode (spec
 * translators.md 9.2). What a lock covers is told by `DomainRules`.
 *
 * An owner never conflicts with itself, and its locks are separate objects. A request that fits nevertheless
 * waits behind a waiting one that it would overtake, unless its owner has a lock in the domain already: else
 * a nested lock could never be taken, and the outer one never given back.
 */

import type { LockOwner } from "./owner.ts";
import { WaitQueue } from "./wait-queue.ts";

export interface DomainLock {
  readonly owner: LockOwner;
  /** When it was granted, on the clock of `nowMs`. */
  grantedMs: number;
  /** When its holder was last told that somebody waits; undefined: never. */
  contendedMs: number | undefined;
}

export interface DomainRules<L> {
  /** Whether two locks exclude each other if their owners differ. */
  conflicts(a: L, b: L): boolean;
  /** Whether an unlock request means this lock, if its owner is the same. */
  matches(held: L, request: L): boolean;
}

/** What a domain needs of the world. */
export interface DomainHooks<L> {
  nowMs(): number;
  /** Somebody waits for, or was refused because of, this granted lock. */
  contended(held: L): void;
}

export class Domain<L extends DomainLock> {
  readonly #rules: DomainRules<L>;
  readonly #hooks: DomainHooks<L>;
  #granted: L[] = [];
  readonly blocked = new WaitQueue<L>();

  constructor(rules: DomainRules<L>, hooks: DomainHooks<L>) {
    this.#rules = rules;
    this.#hooks = hooks;
  }

  get granted(): readonly L[] {
    return this.#granted;
  }

  /** Granted and waiting. */
  get count(): number {
    return this.#granted.length + this.blocked.size;
  }

  /** Grants the lock, or tells that it has to wait. */
  tryLock(lock: L): boolean {
    let free = true;
    for (const held of this.#granted) {
      if (held.owner.key === lock.owner.key || !this.#rules.conflicts(held, lock)) continue;
      free = false;
      this.#hooks.contended(held);
    }
    if (!free || (this.#wouldOvertake(lock) && !this.#knows(lock.owner))) return false;
    lock.grantedMs = this.#hooks.nowMs();
    this.#granted.push(lock);
    return true;
  }

  /** Gives one lock back, the newest that matches; false when the owner holds no such one. */
  unlock(request: L): boolean {
    const index = this.#granted.findLastIndex(
      (held) => held.owner.key === request.owner.key && this.#rules.matches(held, request),
    );
    if (index >= 0) this.#granted.splice(index, 1);
    return index >= 0;
  }

  /** Grants in the order of arrival what may go now; `admit` may hold some back. Call after every change. */
  regrant(admit: (lock: L) => boolean = () => true): void {
    this.blocked.grantWhere((request) => admit(request) && this.tryLock(request));
  }

  /** Drops granted locks; returns how many. */
  drop(which: (lock: L) => boolean): number {
    const before = this.#granted.length;
    this.#granted = this.#granted.filter((held) => !which(held));
    return before - this.#granted.length;
  }

  /**
   * Age in milliseconds of the oldest granted lock that the request would exclude; undefined when there is
   * none.
   */
  oldestInTheWayMs(request: L): number | undefined {
    const since = this.#granted
      .filter((held) => this.#rules.conflicts(held, request))
      .map((held) => held.grantedMs);
    return since.length > 0 ? this.#hooks.nowMs() - Math.min(...since) : undefined;
  }

  #wouldOvertake(lock: L): boolean {
    return this.blocked.some((waiting) => this.#rules.conflicts(waiting, lock));
  }

  #knows(owner: LockOwner): boolean {
    return (
      this.#granted.some((held) => held.owner.key === owner.key) ||
      this.blocked.some((waiting) => waiting.owner.key === owner.key)
    );
  }
}
