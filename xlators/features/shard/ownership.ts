/**
 * The right to change the size of one file, among the clients of Mortar: an inodelk on the base file in a
 * domain of its own, kept for a while, so that a writer that goes on extending a file asks for it once.
 *
 * Promises: whoever has entered knows the size on disk, and no other client of Mortar changes it before he
 * leaves. It is handed on when somebody else asks for it (as the bricks say), when nobody used it for a short
 * while, when the fd that it was taken by is released, and in any case within HOLD_MAX_MS. Limits: GlusterFS'
 * client changes sizes without asking; see file-size.ts for what is done about that.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { Deferred } from "../../../src/core/concurrency.ts";
import type { Env } from "../../../src/core/env.ts";
import type { Flock, LockType } from "../../../src/core/fops.ts";
import { Fd, type Inode } from "../../../src/core/inode.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";

/** What a base file is reached by: an open fd, or its inode alone. */
export type Target = Fd | Inode;

/** Longest time from taking it to handing it on; also how long another client waits at worst. */
const HOLD_MAX_MS = 1000;
const HOLD_IDLE_MS = 100;
const OWNER_BYTES = 16;
/**
 * Bricks let a name be removed only when nobody but the remover has an inodelk on the file, callers with a
 * pid below zero excepted (GlusterFS locks/common.c). This lock need not hinder an unlink; -3 is a trusted
 * client.
 */
const PID = -3;

export interface OwnershipInit {
  readonly below: XlatorBase;
  readonly env: Env;
  readonly domain: string;
  /** Runs when it was taken, before anybody enters: what is known of the size may be old. */
  taken(target: Target): Promise<void>;
}

export class Ownership {
  readonly #init: OwnershipInit;
  readonly #call: Call;
  /** What it was taken by; undefined while it is not held. */
  #held: Target | undefined;
  #takenMs = 0;
  #usedMs = 0;
  #users = 0;
  /** To be handed on as soon as those inside have left. */
  #wanted = false;
  /** While it is being taken or handed on. */
  #changing: Promise<void> | undefined;
  #drained: Deferred<void> | undefined;
  #isWatched = false;

  constructor(init: OwnershipInit) {
    this.#init = init;
    this.#call = { ...internalCall(PID), lkOwner: init.env.random.bytes(OWNER_BYTES) };
  }

  get isHeld(): boolean {
    return this.#held !== undefined;
  }

  /** Takes it if need be. Whoever entered must leave, and must not enter again before. */
  async enter(target: Target): Promise<void> {
    for (;;) {
      if (this.#changing !== undefined) await this.#changing;
      else if (this.#held === undefined) return this.#change(this.#take(target));
      else if (!this.#isDue()) break;
      else if (this.#users === 0) await this.#change(this.#handOn());
      else await this.#drain();
    }
    this.#users++;
  }

  leave(): void {
    this.#users--;
    this.#usedMs = this.#now();
    if (this.#users > 0) return;
    if (this.#isDue()) void this.#change(this.#handOn());
    else this.#watch();
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  /** What was known is in doubt, or somebody else wants it: it is taken anew before it is used again. */
  doubt(): void {
    this.#wanted = true;
    if (this.#held !== undefined && this.#users === 0 && this.#changing === undefined)
      void this.#change(this.#handOn());
  }

  /** Hands it on and resolves when that is done; with `target`, only if it was taken by that. */
  async end(target?: Target): Promise<void> {
    while (this.#held !== undefined || this.#changing !== undefined) {
      if (this.#changing !== undefined) await this.#changing.catch(ignore);
      else if (target !== undefined && this.#held !== target) return;
      else {
        this.doubt();
        if (this.#users > 0) await this.#drain();
      }
    }
  }

  /** Resolves when those inside have left. */
  #drain(): Promise<void> {
    this.#drained ??= new Deferred();
    return this.#drained.promise;
  }

  #now(): number {
    return this.#init.env.clock.nowMs();
  }

  #isDue(): boolean {
    return this.#wanted || this.#now() - this.#takenMs >= HOLD_MAX_MS;
  }

  #change(work: Promise<void>): Promise<void> {
    const change = work.finally(() => {
      this.#changing = undefined;
    });
    this.#changing = change;
    return change;
  }

  async #take(target: Target): Promise<void> {
    this.#wanted = false;
    await this.#lock(target, "wrlck");
    try {
      await this.#init.taken(target);
    } catch (error) {
      await this.#unlock(target);
      throw error;
    }
    this.#held = target;
    // Whoever took it has it at least once, even if somebody else wants it already.
    this.#users++;
    this.#takenMs = this.#usedMs = this.#now();
  }

  async #handOn(): Promise<void> {
    const target = this.#held!;
    this.#held = undefined;
    await this.#unlock(target);
  }

  async #unlock(target: Target): Promise<void> {
    try {
      await this.#lock(target, "unlck");
    } catch (error) {
      // The brick that cannot be told has dropped the lock with the connection.
      this.#init.env.log.debug("a lock on a file's size could not be given back", { error });
    }
  }

  async #lock(target: Target, type: LockType): Promise<void> {
    const { below, domain: volume } = this.#init;
    const flock: Flock = { type, whence: 0, start: 0n, len: 0n, pid: 0, lkOwner: this.#call.lkOwner };
    const cmd = type === "unlck" ? "setlk" : "setlkw";
    if (target instanceof Fd) await below.finodelk(this.#call, { fd: target, volume, cmd, flock });
    else await below.inodelk(this.#call, { loc: { inode: target }, volume, cmd, flock });
  }

  /** One timer at a time; it looks how long nobody came. */
  #watch(): void {
    if (this.#isWatched) return;
    this.#isWatched = true;
    this.#init.env.clock.after(HOLD_IDLE_MS, () => {
      this.#isWatched = false;
      if (this.#held === undefined || this.#users > 0 || this.#changing !== undefined) return;
      if (this.#now() - this.#usedMs >= HOLD_IDLE_MS) void this.#change(this.#handOn());
      else this.#watch();
    });
  }
}

function ignore(): void {}
