/**
 * What the log says of requests that failed. A program gets an errno and nothing else; where that does not
 * say what is wrong with the volume, the log does: which operation, on which file, what was decided, where
 * and why. The same failure is told once a minute, with how often it came meanwhile, so that a guest that
 * tries again and again does not fill a disk.
 */

import { LRUCache } from "lru-cache";
import type { Clock } from "../src/core/env.ts";
import { type ErrnoName, type FopError, isBug, toFopError } from "../src/core/errors.ts";
import type { Logger } from "../src/core/log.ts";

/** Errnos that are about the volume and not about what was asked of it. */
const OF_THE_VOLUME: ReadonlySet<ErrnoName> = new Set<ErrnoName>([
  "EIO",
  "ENXIO",
  "ENOMEM",
  "ENFILE",
  "EMFILE",
  "ENOSPC",
  "EDQUOT",
  "EROFS",
  "EPROTO",
  "EBADFD",
  "ENOTCONN",
  "ECONNRESET",
  "ECONNREFUSED",
  "ETIMEDOUT",
]);
const QUIET_MS = 60_000;
/** Different failures that are remembered. */
const REMEMBERED_MAX = 256;

interface Told {
  quietUntilMs: number;
  /** How often it came since. */
  untold: number;
}

export class FailureLog {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #told = new LRUCache<string, Told>({ max: REMEMBERED_MAX });

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /**
   * A request ends with `error`; `operation` is the fop as the log calls it, `pathOf` the file as far as its
   * name is known. What is no FopError is a bug, and told each time with its stack.
   */
  tell(error: unknown, operation: string, pathOf: () => string | undefined = () => undefined): void {
    if (isBug(error)) {
      this.#log.error("a request failed by a bug", { operation, error });
      return;
    }
    const failure = toFopError(error);
    if (OF_THE_VOLUME.has(failure.code)) this.#warn(failure, operation, pathOf);
  }

  #warn(error: FopError, operation: string, pathOf: () => string | undefined): void {
    const now = this.#clock.nowMs();
    const key = `${operation} ${error.code} ${error.xlator} ${error.message}`;
    const told = this.#told.get(key);
    if (told !== undefined && now < told.quietUntilMs) {
      told.untold++;
      return;
    }
    this.#told.set(key, { quietUntilMs: now + QUIET_MS, untold: 0 });
    const path = pathOf();
    this.#log.warn("a request failed", {
      operation,
      ...(path === undefined ? {} : { path }),
      error,
      ...(told?.untold ? { timesBefore: told.untold } : {}),
    });
  }
}
