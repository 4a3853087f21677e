/**
 * Everything that is locked, or waits for a lock, on one inode. Exists only while there is something
 * (`empty`), so the number of these is bounded by what clients hold.
 *
 * Removal (spec translators.md 9.2): unlink, rmdir and a rename over the inode wait until other clients'
 * inodelks are gone; while they wait or run, new inodelks of clients that hold none are queued.
 */

import type { ClientIdentity } from "../../../src/core/call.ts";
import type { ErrnoName } from "../../../src/core/errors.ts";
import type { Gfid } from "../../../src/core/gfid.ts";
import { Domain, type DomainHooks } from "./domain.ts";
import { ENTRYLK_RULES, type Entrylk } from "./entrylk.ts";
import { INODELK_RULES, type Inodelk } from "./inodelk.ts";
import { type IoRequest, ioAllowed, type MandatoryMode } from "./mandatory.ts";
import { clientKey, type LockOwner } from "./owner.ts";
import { PosixLocks } from "./posix-lk.ts";
import { WaitQueue } from "./wait-queue.ts";

/** Who wants the inode's name gone. */
export interface Removal {
  readonly client: ClientIdentity | undefined;
}

/** What the translator does for all its inodes. */
export interface InodeHooks {
  nowMs(): number;
  inodelkContended(inode: InodeLocks, domain: string, held: Inodelk): void;
  entrylkContended(inode: InodeLocks, domain: string, held: Entrylk): void;
  mandatoryMode(): MandatoryMode;
}

export class InodeLocks {
  readonly gfid: Gfid;
  readonly posix = new PosixLocks();
  readonly inodelks = new Map<string, Domain<Inodelk>>();
  readonly entrylks = new Map<string, Domain<Entrylk>>();
  /** I/O that a mandatory lock holds up. */
  readonly io = new WaitQueue<IoRequest>();
  readonly removals = new WaitQueue<Removal>();
  /** Removals that went down to the brick and have not come back. */
  removalsRunning = 0;
  /** Set-gid without group-execute: the mark of files with mandatory locks in mode "file". */
  markedMandatory = false;
  readonly #hooks: InodeHooks;

  constructor(gfid: Gfid, hooks: InodeHooks) {
    this.gfid = gfid;
    this.#hooks = hooks;
  }

  get empty(): boolean {
    return (
      this.posix.count === 0 &&
      this.inodelks.size === 0 &&
      this.entrylks.size === 0 &&
      this.io.size === 0 &&
      this.removals.size === 0 &&
      this.removalsRunning === 0
    );
  }

  inodelkDomain(name: string): Domain<Inodelk> {
    let domain = this.inodelks.get(name);
    if (!domain) {
      const contended = (held: Inodelk): void => this.#hooks.inodelkContended(this, name, held);
      domain = new Domain(INODELK_RULES, this.#domainHooks(contended));
      this.inodelks.set(name, domain);
    }
    return domain;
  }

  entrylkDomain(name: string): Domain<Entrylk> {
    let domain = this.entrylks.get(name);
    if (!domain) {
      const contended = (held: Entrylk): void => this.#hooks.entrylkContended(this, name, held);
      domain = new Domain(ENTRYLK_RULES, this.#domainHooks(contended));
      this.entrylks.set(name, domain);
    }
    return domain;
  }

  /** Whether an inodelk may be tried now, as far as removals go. Internal callers are never held up. */
  admits(owner: LockOwner): boolean {
    if (owner.pid < 0 || (this.removalsRunning === 0 && this.removals.size === 0)) return true;
    if (this.removalsRunning > 0) return false;
    return this.#holders().some((holder) => clientKey(holder.owner.client) === clientKey(owner.client));
  }

  /** Granted inodelks that a removal by this client has to wait for. */
  inTheWayOf(removal: Removal): { domain: string; held: Inodelk }[] {
    return this.#holders()
      .filter(({ owner }) => owner.pid >= 0 && clientKey(owner.client) !== clientKey(removal.client))
      .map(({ domain, held }) => ({ domain, held }));
  }

  /** Tells a holder that somebody waits. */
  contended(domain: string, held: Inodelk): void {
    this.#hooks.inodelkContended(this, domain, held);
  }

  /** Lets everything go on that can, and forgets domains that are empty. Call after every change. */
  changed(): void {
    this.posix.regrant();
    this.removals.grantWhere((removal) => {
      if (this.inTheWayOf(removal).length > 0) return false;
      this.removalsRunning++;
      return true;
    });
    for (const domain of this.inodelks.values()) domain.regrant((lock) => this.admits(lock.owner));
    for (const domain of this.entrylks.values()) domain.regrant();
    this.io.grantWhere((request) => ioAllowed(this, request, this.#hooks.mandatoryMode()));
    for (const [name, domain] of this.inodelks) if (domain.count === 0) this.inodelks.delete(name);
    for (const [name, domain] of this.entrylks) if (domain.count === 0) this.entrylks.delete(name);
  }

  /** Drops what a client holds and refuses what it waits for. */
  dropClient(client: ClientIdentity): void {
    const theirs = ({ owner }: { owner: LockOwner }): boolean => owner.client?.id === client.id;
    for (const queue of [this.posix, ...this.inodelks.values(), ...this.entrylks.values()]) {
      queue.blocked.refuse(theirs, "EAGAIN");
      queue.drop(theirs);
    }
    this.io.refuse(theirs, "ENOTCONN");
    this.removals.refuse((removal) => removal.client?.id === client.id, "ENOTCONN");
  }

  /** Refuses everything that waits. */
  refuseAll(code: ErrnoName): void {
    for (const queue of [this.posix, ...this.inodelks.values(), ...this.entrylks.values()])
      queue.blocked.refuse(() => true, code);
    this.io.refuse(() => true, code);
    this.removals.refuse(() => true, code);
  }

  /** Granted and waiting inodelks of one domain, or of all. */
  inodelkCount(domain?: string): number {
    if (domain !== undefined) return this.inodelks.get(domain)?.count ?? 0;
    let count = 0;
    for (const each of this.inodelks.values()) count += each.count;
    return count;
  }

  entrylkCount(): number {
    let count = 0;
    for (const each of this.entrylks.values()) count += each.count;
    return count;
  }

  /** Whether somebody holds a lock on this very name (a lock on all names does not count). */
  isNameLocked(name: string): boolean {
    for (const domain of this.entrylks.values())
      if (domain.granted.some((held) => held.name === name)) return true;
    return false;
  }

  #holders(): { domain: string; held: Inodelk; owner: LockOwner }[] {
    return [...this.inodelks].flatMap(([domain, locks]) =>
      locks.granted.map((held) => ({ domain, held, owner: held.owner })),
    );
  }

  #domainHooks<L>(contended: (held: L) => void): DomainHooks<L> {
    return { nowMs: () => this.#hooks.nowMs(), contended };
  }
}
