/**
 * How a data heal keeps out of the guests' way. It holds a lock for each window at work. While nobody else
 * wants them, two and soon WINDOWS_MAX are at work at the same time. When somebody wanted the lock of a
 * window, one at a time is, and the heal rests before the next: at first as long as the window took, then up
 * to four times as long, so that guests get half to four fifths of the time and the heal always gets on.
 */

import type { Env } from "../../../../src/core/env.ts";

const WINDOWS_MAX = 4;
const SHARE_MAX = 4;
/** Guests need a chance even if windows take no time, and no rest is longer than the second. */
const REST_MIN_MS = 1;
const REST_MAX_MS = 1000;

export class Pace {
  /** How many windows may still be at work when the next is begun. */
  othersMax = 0;
  readonly #env: Env;
  #share = 0;
  #tookMs = 0;

  constructor(env: Env) {
    this.#env = env;
  }

  /** A window got its lock; `contended`: somebody else had it, or waited for it. */
  began(contended: boolean): void {
    this.#share = contended ? Math.min(SHARE_MAX, Math.max(1, this.#share * 2)) : Math.floor(this.#share / 2);
    this.othersMax = this.#share > 0 ? 0 : Math.min(WINDOWS_MAX - 1, this.othersMax * 2 + 1);
  }

  /** A window gave its lock back after this time. */
  ended(tookMs: number): void {
    this.#tookMs = tookMs;
  }

  /** Rests before the next window when guests are there; no window is at work then. */
  async rest(): Promise<void> {
    if (this.#share === 0) return;
    const restMs = Math.min(REST_MAX_MS, Math.max(REST_MIN_MS, this.#tookMs * this.#share));
    await new Promise<void>((resolve) => {
      this.#env.clock.after(restMs, resolve);
    });
  }
}
