/**
 * Env: the outside world as a parameter, so that tests and the simulation can replace it (design shape.md 8).
 */

import type { Logger } from "./log.ts";

/** A pending timer; `cancel` is idempotent. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds that only grow; for durations and deadlines. */
  nowMs(): number;
  /** Wall clock, for time stamps that go to disk. */
  wall(): { readonly sec: number; readonly nsec: number };
  /** Runs `task` once after `delayMs`; does not keep the process alive. */
  after(delayMs: number, task: () => void): Timer;
}

export interface Random {
  /** Uniform in [0, 1). */
  float(): number;
  /** `count` random bytes. */
  bytes(count: number): Buffer;
}

export interface Env {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}
