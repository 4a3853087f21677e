/**
 * Counts, bytes, failures and times of fops at one place of a graph.
 *
 * A call takes a span at its begin and gives it back when it settled; spans are used again, with their
 * callbacks, so that a call allocates nothing here. `inFlight` is exact: it counts spans that are out.
 */

import type { Clock } from "./env.ts";
import type { FopName } from "./fops.ts";
import { LatencyHistogram, type LatencySnapshot } from "./latency.ts";

/** What one place knows of one fop; plain data. */
export interface FopFigures {
  readonly calls: number;
  readonly failures: number;
  /** Payload of those that succeeded. */
  readonly bytes: number;
  readonly latency: LatencySnapshot;
}

/** By fop; those that were never called are absent. */
export type MeterSnapshot = Readonly<Partial<Record<FopName, FopFigures>>>;

/** Fops whose replies say in `size` how much payload travelled. */
const WITH_PAYLOAD: ReadonlySet<FopName> = new Set(["readv", "writev", "copy_file_range"]);
/** Spans kept for use again, of one fop. */
const SPARE_MAX = 128;

/** One call that is under way; exactly one of its two callbacks is to be called. */
export interface Span {
  readonly done: (reply: unknown) => void;
  readonly failed: () => void;
}

export class FopMeter {
  /** Calls that have not settled. */
  inFlight = 0;
  readonly #clock: Clock;
  readonly #counters = new Map<FopName, FopCounter>();
  #onIdle: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The counter of one fop; whoever calls a fop by the million keeps it. */
  counter(fop: FopName): FopCounter {
    let counter = this.#counters.get(fop);
    if (counter === undefined) {
      counter = new FopCounter(this, this.#clock, WITH_PAYLOAD.has(fop));
      this.#counters.set(fop, counter);
    }
    return counter;
  }

  /** A call begins. */
  begin(fop: FopName): Span {
    return this.counter(fop).begin();
  }

  /** Counts a call that somebody else timed. */
  record(fop: FopName, tookMs: number, failed: boolean, bytes: number): void {
    this.counter(fop).record(tookMs, failed, bytes);
  }

  /** Something begins that is in flight and not counted, e.g. a hook. */
  enter(): void {
    this.inFlight++;
  }

  /** Ends `enter`. */
  leave(): void {
    if (--this.inFlight === 0 && this.#onIdle !== undefined) this.#idle();
  }

  /** Calls `task` once, as soon as nothing is in flight: at once when that is so now. One task at a time. */
  whenIdle(task: (() => void) | undefined): void {
    this.#onIdle = task;
    if (this.inFlight === 0) this.#idle();
  }

  /** Fops that were called at least once. */
  snapshot(): MeterSnapshot {
    const figures: Partial<Record<FopName, FopFigures>> = {};
    for (const [fop, counter] of this.#counters) if (counter.calls > 0) figures[fop] = counter.figures();
    return figures;
  }

  #idle(): void {
    const task = this.#onIdle;
    this.#onIdle = undefined;
    task?.();
  }
}

/** One fop at one place. */
export class FopCounter {
  calls = 0;
  readonly #meter: FopMeter;
  readonly #clock: Clock;
  readonly #hasPayload: boolean;
  readonly #latency = new LatencyHistogram();
  readonly #spare: PooledSpan[] = [];
  #failures = 0;
  #bytes = 0;

  constructor(meter: FopMeter, clock: Clock, hasPayload: boolean) {
    this.#meter = meter;
    this.#clock = clock;
    this.#hasPayload = hasPayload;
  }

  /** A call begins. */
  begin(): Span {
    const span = this.#spare.pop() ?? new PooledSpan(this);
    this.#meter.inFlight++;
    span.beganMs = this.#clock.nowMs();
    return span;
  }

  record(tookMs: number, failed: boolean, bytes: number): void {
    this.calls++;
    this.#bytes += bytes;
    if (failed) this.#failures++;
    this.#latency.record(tookMs);
  }

  figures(): FopFigures {
    const latency = this.#latency.snapshot();
    return { calls: this.calls, failures: this.#failures, bytes: this.#bytes, latency };
  }

  /** For spans. */
  ended(span: PooledSpan, reply: { readonly size?: number } | undefined): void {
    const bytes = this.#hasPayload ? (reply?.size ?? 0) : 0;
    this.record(this.#clock.nowMs() - span.beganMs, reply === undefined, bytes);
    if (this.#spare.length < SPARE_MAX) this.#spare.push(span);
    this.#meter.leave();
  }
}

class PooledSpan implements Span {
  beganMs = 0;
  readonly done: (reply: unknown) => void;
  readonly failed: () => void;

  constructor(counter: FopCounter) {
    this.done = (reply) => counter.ended(this, reply as { size?: number });
    this.failed = () => counter.ended(this, undefined);
  }
}
