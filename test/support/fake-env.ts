/**
 * An Env that tests drive: time stands still until `advance`, random numbers are seeded, and the log is kept
 * for assertions.
 */

import type { Clock, Env, Timer } from "../../src/core/env.ts";
import type { LogFields, Logger, LogLevel } from "../../src/core/log.ts";
import { Prng } from "./prng.ts";

interface Pending {
  readonly atMs: number;
  readonly sequence: number;
  readonly task: () => void;
}

/** Timers in the order of (time, sequence). The wall clock starts in 2024 and moves with the same hands. */
export class FakeClock implements Clock {
  #nowMs = 0;
  #sequence = 0;
  readonly #pending = new Set<Pending>();

  nowMs(): number {
    return this.#nowMs;
  }

  wall(): { sec: number; nsec: number } {
    const ms = Math.floor(this.#nowMs);
    return { sec: 1_700_000_000 + Math.floor(ms / 1000), nsec: (ms % 1000) * 1_000_000 };
  }

  after(delayMs: number, task: () => void): Timer {
    const pending = { atMs: this.#nowMs + Math.max(0, delayMs), sequence: this.#sequence++, task };
    this.#pending.add(pending);
    return { cancel: () => this.#pending.delete(pending) };
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** Moves time on, running what is due in order; promise callbacks run in between. */
  async advance(byMs: number): Promise<void> {
    const end = this.#nowMs + byMs;
    for (;;) {
      await settle();
      const next = this.#earliest();
      if (!next || next.atMs > end) break;
      this.#pending.delete(next);
      this.#nowMs = next.atMs;
      next.task();
    }
    this.#nowMs = end;
    await settle();
  }

  #earliest(): Pending | undefined {
    let first: Pending | undefined;
    for (const pending of this.#pending) {
      const earlier = first === undefined || pending.atMs < first.atMs;
      if (earlier || (pending.atMs === first!.atMs && pending.sequence < first!.sequence)) first = pending;
    }
    return first;
  }
}

/** Lets every promise callback that is due run, and what they cause. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** A log that remembers. */
export class MemoryLog implements Logger {
  readonly lines: LogLine[];
  readonly #fields: LogFields;

  constructor(lines: LogLine[] = [], fields: LogFields = {}) {
    this.lines = lines;
    this.#fields = fields;
  }

  trace(message: string, fields?: LogFields): void {
    this.#add("trace", message, fields);
  }
  debug(message: string, fields?: LogFields): void {
    this.#add("debug", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.#add("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.#add("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.#add("error", message, fields);
  }

  child(fields: LogFields): MemoryLog {
    return new MemoryLog(this.lines, { ...this.#fields, ...fields });
  }

  #add(level: LogLevel, message: string, fields: LogFields = {}): void {
    this.lines.push({ level, message, fields: { ...this.#fields, ...fields } });
  }
}

export interface FakeEnv extends Env {
  readonly clock: FakeClock;
  readonly random: Prng;
  readonly log: MemoryLog;
}

export function fakeEnv(seed = 1): FakeEnv {
  return { clock: new FakeClock(), random: new Prng(seed), log: new MemoryLog() };
}
