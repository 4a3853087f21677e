/**
 * Adaptive polling of the event loop, as QEMU's iothreads do it: for a moment after each event the loop asks
 * for the next one instead of going to sleep. To be woken from an idle core costs tens of microseconds, most
 * of a small request's latency.
 *
 * The window grows while events come in quick succession and shrinks to nothing when they do not, so that an
 * idle process sleeps. While it polls the process gives its core to anybody who wants it. Sources that can be
 * asked without epoll (a completion ring, /dev/fuse) are asked directly, which spares their events a turn.
 */

import { availableParallelism } from "node:os";
import { declare } from "./libc.ts";

/**
 * Longest time without an event that is spent awake, in microseconds; 0 never polls. A replicated write of
 * 4 KiB takes 200 to 600, in which each process but one has nothing to do; a window that is shorter than the
 * write makes it longer still, for then everybody sleeps.
 */
const POLL_MAX_US = Number(process.env["MORTAR_POLL_MAX_US"] ?? (availableParallelism() > 1 ? 1000 : 0));
const GROW_FROM_US = 8;

/**
 * How long sources alone are looked at before Node gets its turn, in microseconds; a turn costs ten. What
 * only Node knows of waits so long at most: timers alone, when a source tells what else there is (`turnDue`);
 * and all of it (signals, its pool, new connections) when none does.
 */
const STAY_US = 1000;
const STAY_BLIND_US = 50;

/** Where events come from, asked while the loop is awake: cheaper than to wait for epoll. */
export interface PollSource {
  /** Takes what is there, without waiting; whether there was anything. */
  poll(): boolean;
  /** As of the last look: whether Node has something to do that is none of the sources'. */
  readonly turnDue?: boolean | undefined;
  /** A look found nothing, anywhere: time for what waited for more to come; whether there was any. */
  nothingElse?(): boolean;
  /** The loop goes to sleep: from now on epoll must be told. False when something came meanwhile. */
  rest?(): boolean;
}

/** What polling needs of the world; tests bring their own. */
export interface PollWorld {
  nowMs(): number;
  /** Runs `task` in the next turn of the loop, which then does not sleep. */
  nextTurn(task: () => void): void;
  /** Runs what waits for the end of a turn (promises, nextTick), as between two turns. */
  settle(): void;
  /** Gives the core to whoever waits for it. */
  yieldCore(): void;
}

export class BusyPoll {
  readonly #maxUs: number;
  readonly #world: PollWorld;
  #windowUs = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  #awake = false;
  readonly #sources: PollSource[] = [];
  /** The one of them that knows when Node has something to do. */
  #herald: PollSource | undefined;
  readonly #crowds = new Set<() => boolean>();
  /** False: the loop sleeps for every event, from now on. For who only makes load that others bear. */
  enabled = true;

  constructor(maxUs: number, world: PollWorld) {
    this.#maxUs = maxUs;
    this.#world = world;
  }

  /** From now on `source` is asked while the loop is awake. */
  add(source: PollSource): void {
    this.#sources.push(source);
    if ("turnDue" in source) this.#herald = source;
  }

  /**
   * The loop sleeps for every event while `isCrowded`: so much is under way, on cores so scarce, that who
   * polls takes them from who works. Ends with the function that is returned.
   */
  standBackWhile(isCrowded: () => boolean): () => void {
    this.#crowds.add(isCrowded);
    return () => void this.#crowds.delete(isCrowded);
  }

  /** Whether the sources are being asked. */
  get awake(): boolean {
    return this.#awake;
  }

  /** Whether nobody is against it. */
  get mayPoll(): boolean {
    if (!this.enabled) return false;
    for (const isCrowded of this.#crowds) if (isCrowded()) return false;
    return true;
  }

  /** An event came in. Called for every message; costs a clock reading. */
  touch(): void {
    if (this.#maxUs === 0) return;
    const nowMs = this.#world.nowMs();
    const gapUs = (nowMs - this.#lastMs) * 1000;
    this.#lastMs = nowMs;
    if (this.#awake || !this.mayPoll) return;
    // The loop slept before this event: would a longer window have met it awake?
    this.#windowUs =
      gapUs <= this.#maxUs
        ? Math.min(this.#maxUs, Math.max(GROW_FROM_US, this.#windowUs * 2))
        : Math.floor(this.#windowUs / 2);
    if (this.#windowUs === 0) return;
    this.#awake = true;
    this.#world.nextTurn(this.#turn);
  }

  /** One turn of the loop while it polls; before the next one Node asks epoll without waiting. */
  readonly #turn = (): void => {
    try {
      this.#awake = this.#stay();
    } finally {
      // Also after something threw: a loop that is taken for awake must be.
      if (this.#awake) this.#world.nextTurn(this.#turn);
    }
  };

  /** Looks at the sources for a while; false when the loop may go to sleep. */
  #stay(): boolean {
    const world = this.#world;
    const stayUs = this.#herald?.turnDue === undefined ? STAY_BLIND_US : STAY_US;
    const untilMs = world.nowMs() + stayUs / 1000;
    for (;;) {
      const found = this.#look() || this.#nothingElse();
      const nowMs = world.nowMs();
      const isOver = !this.mayPoll || (nowMs - this.#lastMs) * 1000 > this.#windowUs;
      if (!found && isOver && this.#rest()) return false;
      if (nowMs >= untilMs || this.#herald?.turnDue) return true;
      if (found) world.settle();
      else world.yieldCore();
    }
  }

  #look(): boolean {
    let found = false;
    for (const source of this.#sources) if (source.poll()) found = true;
    return found;
  }

  #nothingElse(): boolean {
    let found = false;
    for (const source of this.#sources) if (source.nothingElse?.()) found = true;
    return found;
  }

  #rest(): boolean {
    let quiet = true;
    for (const source of this.#sources) if (source.rest?.() === false) quiet = false;
    return quiet;
  }
}

const yieldCall = declare("int sched_yield()");
/** What Node itself calls between two immediates of one turn. */
const settle = (process as unknown as { _tickCallback(): void })._tickCallback;

/** The process' one event loop. */
export const EVENT_LOOP = new BusyPoll(POLL_MAX_US, {
  nowMs: () => performance.now(),
  nextTurn: setImmediate,
  settle,
  yieldCore: () => void yieldCall(),
});
