/**
 * The door of every operation: enough copies are up, or the call fails with ENOTCONN, or (Mortar's own
 * `quorum-loss-policy suspend`) it waits until they are (spec translators.md 4.3).
 *
 * Promises: a waiting call ends when quorum returns, with EINTR when the caller gives up, with ENOTCONN after
 * `suspend-timeout` seconds or when the set stops. The beginning and the end of a suspension are logged once,
 * and `getfattr -n trusted.mortar.quorum` tells how many calls wait and waited.
 */

import type { Call } from "../../../src/core/call.ts";
import { abortable, Deferred } from "../../../src/core/concurrency.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { FopName, Reply } from "../../../src/core/fops.ts";
import { countChildren } from "./child-set.ts";
import { noQuorum } from "./fan-out.ts";
import type { ReplicaSet } from "./replica-set.ts";
import { outOfService } from "./service.ts";

/** Between two attempts while quorum is at hand. */
const PAUSE_MS = 100;

/** Mortar's own virtual xattr, of any inode: the numbers below as JSON. */
export const QUORUM_STATS_XATTR = "trusted.mortar.quorum";

interface Waiter {
  readonly fop: FopName;
  readonly done: Deferred<void>;
}

export interface GateStats {
  readonly up: number;
  readonly of: number;
  readonly hasQuorum: boolean;
  /** Calls that wait for quorum now. */
  readonly waiting: number;
  /** Calls that had to wait since the start. */
  readonly suspended: number;
  /** Of these, the ones whose time ran out. */
  readonly timedOut: number;
  /** Times that quorum was lost while calls were waiting or came in. */
  readonly suspensions: number;
}

export class QuorumGate {
  readonly #set: ReplicaSet;
  readonly #waiting = new Set<Waiter>();
  readonly #unwatch: () => void;
  #suspendedSinceMs: number | undefined;
  #suspended = 0;
  #timedOut = 0;
  #suspensions = 0;
  #stopped = false;

  constructor(set: ReplicaSet) {
    this.#set = set;
    this.#unwatch = set.watch(() => this.#look());
  }

  get stats(): GateStats {
    const set = this.#set;
    return {
      up: countChildren(set.up),
      of: set.count,
      hasQuorum: set.hasQuorum(),
      waiting: this.#waiting.size,
      suspended: this.#suspended,
      timedOut: this.#timedOut,
      suspensions: this.#suspensions,
    };
  }

  /** Answers QUORUM_STATS_XATTR; undefined for other names. */
  xattr(name: string | undefined): Promise<Reply<"getxattr">> | undefined {
    if (name !== QUORUM_STATS_XATTR) return undefined;
    return Promise.resolve({ xattrs: Dict.ofBytes({ [name]: Buffer.from(JSON.stringify(this.stats)) }) });
  }

  /** Whether calls wait instead of failing. */
  get isPatient(): boolean {
    return this.#set.options["quorum-loss-policy"] === "suspend";
  }

  /**
   * Undefined when the call may go on at once, which is the usual case and costs nothing; else a promise that
   * resolves when it may, and rejects with ENOTCONN or EINTR.
   */
  enter(fop: FopName, call: Call): Promise<void> | undefined {
    const refused = outOfService(this.#set, fop);
    if (refused === undefined) return undefined;
    if (!this.isPatient || this.#stopped) return Promise.reject(refused);
    return this.#wait(fop, call);
  }

  /**
   * Does what `attempt` does, and with `suspend` again and again while it fails for want of copies. For calls
   * that may be repeated: done twice they leave what they leave when done once.
   */
  async persist<R>(fop: FopName, call: Call, attempt: () => Promise<R>): Promise<R> {
    const deadlineMs = this.#set.env.clock.nowMs() + this.#set.options["suspend-timeout"] * 1000;
    for (;;) {
      await this.enter(fop, call);
      try {
        return await attempt();
      } catch (error) {
        const lost = error instanceof FopError && error.code === "ENOTCONN";
        const isOver = this.#stopped || this.#set.env.clock.nowMs() >= deadlineMs;
        if (!lost || !this.isPatient || isOver) throw error;
        // The copies are there already, or still: whatever makes them fail gets a moment.
        if (outOfService(this.#set, fop) === undefined) await this.#pause();
      }
    }
  }

  /** Ends all waits with ENOTCONN; nobody waits any more. */
  stop(): void {
    this.#stopped = true;
    this.#unwatch();
    for (const { fop, done } of this.#waiting) done.reject(noQuorum(this.#set, fop));
    this.#waiting.clear();
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#set.env.clock.after(PAUSE_MS, resolve);
    });
  }

  async #wait(fop: FopName, call: Call): Promise<void> {
    const set = this.#set;
    const waiter: Waiter = { fop, done: new Deferred() };
    this.#suspended++;
    if (this.#suspendedSinceMs === undefined) {
      this.#suspendedSinceMs = set.env.clock.nowMs();
      this.#suspensions++;
      set.log.warn("quorum is lost: calls wait", { up: set.up, timeout: set.options["suspend-timeout"] });
    }
    this.#waiting.add(waiter);
    const timer = set.env.clock.after(set.options["suspend-timeout"] * 1000, () => {
      this.#timedOut++;
      waiter.done.reject(noQuorum(set, fop));
    });
    const { promise } = waiter.done;
    try {
      await abortable(promise, call.signal, () => {}, { fop, xlator: set.name });
    } finally {
      timer.cancel();
      this.#waiting.delete(waiter);
    }
  }

  #look(): void {
    if (this.#suspendedSinceMs === undefined) return;
    if (this.isPatient && outOfService(this.#set, "lookup") !== undefined) return;
    const seconds = (this.#set.env.clock.nowMs() - this.#suspendedSinceMs) / 1000;
    this.#suspendedSinceMs = undefined;
    this.#set.log.warn("quorum is back: calls go on", { waiting: this.#waiting.size, seconds });
    for (const { fop, done } of this.#waiting) {
      const refused = outOfService(this.#set, fop);
      if (refused === undefined) done.resolve();
      else done.reject(refused);
    }
    this.#waiting.clear();
  }
}
