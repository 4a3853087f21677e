/**
 * Virtual time (design shape.md 8): one heap of events in the order of (time, sequence) for the whole
 * cluster, and for every machine in it an Env of its own whose timers stop with it.
 *
 * The loop lets all promise callbacks run (one turn of the real event loop), then takes the earliest event.
 * Nothing else moves time, so a run takes as long as its computations and is the same each time.
 */

import type { Clock, Env, Timer } from "../../src/core/env.ts";
import type { LogFields, Logger, LogLevel } from "../../src/core/log.ts";
import { Prng } from "../support/prng.ts";
import type { Trace } from "./trace.ts";

/** Of the wall clock, when virtual time is 0. */
const EPOCH_SEC = 1_700_000_000;

/**
 * Time goes in steps of about a microsecond, which floating point holds exactly: the rest of a delay is never
 * so small that it does not move the clock.
 */
const TICKS_A_MS = 1024;

class Event implements Timer {
  readonly atMs: number;
  readonly sequence: number;
  task: (() => void) | undefined;

  constructor(atMs: number, sequence: number, task: () => void) {
    this.atMs = atMs;
    this.sequence = sequence;
    this.task = task;
  }

  cancel(): void {
    this.task = undefined;
  }

  before(other: Event): boolean {
    return this.atMs < other.atMs || (this.atMs === other.atMs && this.sequence < other.sequence);
  }
}

/** The one clock of a simulated cluster. */
export class SimClock {
  #nowMs = 0;
  #sequence = 0;
  /** A binary heap; cancelled events stay in it until their time. */
  readonly #heap: Event[] = [];
  /** Events run so far. */
  events = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  at(atMs: number, task: () => void): Timer {
    const tickMs = Math.ceil(atMs * TICKS_A_MS) / TICKS_A_MS;
    const event = new Event(Math.max(tickMs, this.#nowMs), this.#sequence++, task);
    this.#push(event);
    return event;
  }

  after(delayMs: number, task: () => void): Timer {
    return this.at(this.#nowMs + Math.max(0, delayMs), task);
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(delayMs, resolve);
    });
  }

  /**
   * Runs events until `done`, or until the time is `untilMs` or nothing is left to happen. Says whether
   * `done`.
   */
  async run(done: () => boolean, untilMs: number): Promise<boolean> {
    for (;;) {
      await settle();
      if (done()) return true;
      const next = this.#pop(untilMs);
      if (next === undefined) {
        this.#nowMs = Math.max(this.#nowMs, Math.min(untilMs, Number.MAX_SAFE_INTEGER));
        return false;
      }
      this.#nowMs = next.atMs;
      this.events++;
      next.task!();
    }
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!event.before(heap[up]!)) break;
      heap[at] = heap[up]!;
      at = up;
    }
    heap[at] = event;
  }

  /** The earliest event that is still wanted; undefined when there is none up to `untilMs`. */
  #pop(untilMs: number): Event | undefined {
    const heap = this.#heap;
    while (heap.length > 0) {
      const first = heap[0]!;
      if (first.task !== undefined && first.atMs > untilMs) return undefined;
      const last = heap.pop()!;
      if (heap.length > 0) this.#sink(last);
      if (first.task !== undefined) return first;
    }
    return undefined;
  }

  #sink(event: Event): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && heap[below + 1]!.before(heap[below]!)) below++;
      if (!heap[below]!.before(event)) break;
      heap[at] = heap[below]!;
      at = below;
    }
    heap[at] = event;
  }
}

/** The real one, kept from whoever watches its use (guard.ts). */
const nextTurn = setImmediate;

/** Lets every promise callback that is due run, and what they cause. */
function settle(): Promise<void> {
  return new Promise((resolve) => nextTurn(resolve));
}

/** Random numbers of one purpose: those of another do not change when more of these are drawn. */
export function randomOf(seed: number, purpose: string): Prng {
  let hash = 0x811c9dc5 ^ seed;
  for (const character of `${purpose}/${seed}`)
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  // A few draws, as seeds that are alike begin alike.
  const random = new Prng(hash);
  for (let i = 0; i < 4; i++) random.float();
  return random;
}

/**
 * A machine's Env. `stop` is the end of the machine: no timer of it fires any more. While `frozen` timers
 * wait, as those of a stopped process do.
 */
export class NodeEnv implements Env {
  readonly random: Prng;
  readonly log: Logger;
  readonly clock: Clock;
  readonly #cluster: SimClock;
  #stopped = false;
  #frozen = false;
  #due: (() => void)[] = [];

  constructor(init: { name: string; clock: SimClock; seed: number; trace: Trace; skewMs?: number }) {
    this.#cluster = init.clock;
    this.random = randomOf(init.seed, init.name);
    this.log = new TraceLog(init.trace, { node: init.name });
    const skewMs = init.skewMs ?? 0;
    this.clock = {
      nowMs: () => this.#cluster.nowMs(),
      wall: () => {
        const ms = this.#cluster.nowMs() + skewMs;
        const sec = Math.floor(ms / 1000);
        return { sec: EPOCH_SEC + sec, nsec: Math.floor((ms - sec * 1000) * 1e6) };
      },
      after: (delayMs, task) => this.#cluster.after(delayMs, () => this.#fire(task)),
    };
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  stop(): void {
    this.#stopped = true;
    this.#due = [];
  }

  freeze(): void {
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
    for (const task of this.#due.splice(0)) this.#cluster.after(0, () => this.#fire(task));
  }

  #fire(task: () => void): void {
    if (this.#stopped) return;
    if (this.#frozen) this.#due.push(task);
    else task();
  }
}

/** What the code logs goes into the trace; the level below "info" is left out. */
class TraceLog implements Logger {
  readonly #trace: Trace;
  readonly #fields: LogFields;

  constructor(trace: Trace, fields: LogFields) {
    this.#trace = trace;
    this.#fields = fields;
  }

  trace(): void {}
  debug(): void {}
  info(message: string, fields?: LogFields): void {
    this.#add("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.#add("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.#add("error", message, fields);
  }

  child(fields: LogFields): TraceLog {
    return new TraceLog(this.#trace, { ...this.#fields, ...fields });
  }

  #add(level: LogLevel, message: string, fields: LogFields = {}): void {
    this.#trace.log(level, message, { ...this.#fields, ...fields });
  }
}
