/** The real Env: Node's timers, clock and random numbers. */

import { randomBytes } from "node:crypto";
import type { Env, Timer } from "./env.ts";
import type { Logger } from "./log.ts";

class NodeTimer implements Timer {
  readonly #handle: NodeJS.Timeout;
  constructor(delayMs: number, task: () => void) {
    this.#handle = setTimeout(task, delayMs);
    this.#handle.unref();
  }
  cancel(): void {
    clearTimeout(this.#handle);
  }
}

export function nodeEnv(log: Logger): Env {
  return {
    log,
    clock: {
      nowMs: () => performance.now(),
      wall: () => {
        const now = performance.timeOrigin + performance.now();
        const sec = Math.floor(now / 1000);
        return { sec, nsec: Math.floor((now - sec * 1000) * 1e6) };
      },
      after: (delayMs, task) => new NodeTimer(delayMs, task),
    },
    random: { float: () => Math.random(), bytes: (count) => randomBytes(count) },
  };
}

/**
 * Keeps this process alive until the returned function is called: timers and idle sockets of a graph do not.
 */
export function keepAlive(): () => void {
  const handle = setInterval(() => {}, 2 ** 30);
  return () => clearInterval(handle);
}
