/**
 * How a data heal keeps out of the guests' way. It holds a lock for one window at a time; when somebody else
 * wanted that lock, it rests before the next window, at first as long as the window took, then up to four
 * times as long, so that guests get half to four fifths of the time and the heal always gets on.
 */

import type { Env } from "../../../../src/core/env.ts";

const SHARE_MAX = 4;
/** Guests need a chance even if windows take no time, and no rest is longer than the second. */
const REST_MIN_MS = 1;
const REST_MAX_MS = 1000;

export class Pace {
  readonly #env: Env;
  #share = 0;

  constructor(env: Env) {
    this.#env = env;
  }

  /** Rests after a window; `tookMs`: how long its lock was held. */
  async rest(contended: boolean, tookMs: number): Promise<void> {
    this.#share = contended ? Math.min(SHARE_MAX, Math.max(1, this.#share * 2)) : Math.floor(this.#share / 2);
    if (this.#share === 0) return;
    const restMs = Math.min(REST_MAX_MS, Math.max(REST_MIN_MS, tookMs * this.#share));
    await new Promise<void>((resolve) => {
      this.#env.clock.after(restMs, resolve);
    });
  }
}
