/**
 * Adaptive polling of the event loop, as QEMU's iothreads do it: for a moment after each event the loop asks
 * for the next one instead of going to sleep. To be woken from an idle core costs tens of microseconds, most
 * of a small request's latency.
 *
 * The window grows while events come in quick succession and shrinks to nothing when they do not, so that an
 * idle process sleeps. While it polls the process gives its core to anybody who wants it.
 */

import { availableParallelism } from "node:os";
import { declare } from "./libc.ts";

/** Longest time without an event that is spent awake, in microseconds; 0 never polls. */
const POLL_MAX_US = Number(process.env["MORTAR_POLL_MAX_US"] ?? (availableParallelism() > 1 ? 200 : 0));
const GROW_FROM_US = 8;

/** What polling needs of the world; tests bring their own. */
export interface PollWorld {
  nowMs(): number;
  /** Runs `task` in the next turn of the loop, which then does not sleep. */
  nextTurn(task: () => void): void;
  /** Gives the core to whoever waits for it. */
  yieldCore(): void;
}

export class BusyPoll {
  readonly #maxUs: number;
  readonly #world: PollWorld;
  #windowUs = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  #awake = false;

  constructor(maxUs: number, world: PollWorld) {
    this.#maxUs = maxUs;
    this.#world = world;
  }

  /** An event came in. Called for every message; costs a clock reading. */
  touch(): void {
    if (this.#maxUs === 0) return;
    const nowMs = this.#world.nowMs();
    const gapUs = (nowMs - this.#lastMs) * 1000;
    this.#lastMs = nowMs;
    if (this.#awake) return;
    // The loop slept before this event: would a longer window have met it awake?
    this.#windowUs =
      gapUs <= this.#maxUs
        ? Math.min(this.#maxUs, Math.max(GROW_FROM_US, this.#windowUs * 2))
        : Math.floor(this.#windowUs / 2);
    if (this.#windowUs === 0) return;
    this.#awake = true;
    this.#world.nextTurn(this.#turn);
  }

  /** One turn of the loop while it polls; between two of them Node asks epoll without waiting. */
  readonly #turn = (): void => {
    if ((this.#world.nowMs() - this.#lastMs) * 1000 > this.#windowUs) {
      this.#awake = false;
      return;
    }
    this.#world.yieldCore();
    this.#world.nextTurn(this.#turn);
  };
}

const yieldCall = declare("int sched_yield()");

/** The process' one event loop. */
export const EVENT_LOOP = new BusyPoll(POLL_MAX_US, {
  nowMs: () => performance.now(),
  nextTurn: setImmediate,
  yieldCore: () => void yieldCall(),
});
