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
/** Spans kept for use again. */
const SPARE_MAX = 256;

class FopRecord {
  calls = 0;
  failures = 0;
  bytes = 0;
  readonly latency = new LatencyHistogram();
  readonly hasPayload: boolean;

  constructor(fop: FopName) {
    this.hasPayload = WITH_PAYLOAD.has(fop);
  }
}

/** One call that is under way; exactly one of its two callbacks is to be called. */
export interface Span {
  readonly done: (reply: unknown) => void;
  readonly failed: () => void;
}

export class FopMeter {
  /** Calls that have not settled. */
  inFlight = 0;
  readonly #clock: Clock;
  readonly #records = new Map<FopName, FopRecord>();
  readonly #spare: PooledSpan[] = [];
  #onIdle: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A call begins. */
  begin(fop: FopName): Span {
    const span = this.#spare.pop() ?? new PooledSpan(this);
    this.inFlight++;
    span.record = this.#record(fop);
    span.beganMs = this.#clock.nowMs();
    return span;
  }

  /** Counts a call that somebody else timed. */
  record(fop: FopName, tookMs: number, failed: boolean, bytes: number): void {
    const record = this.#record(fop);
    record.calls++;
    record.bytes += bytes;
    if (failed) record.failures++;
    record.latency.record(tookMs);
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

  snapshot(): MeterSnapshot {
    const figures: Partial<Record<FopName, FopFigures>> = {};
    for (const [fop, { calls, failures, bytes, latency }] of this.#records)
      figures[fop] = { calls, failures, bytes, latency: latency.snapshot() };
    return figures;
  }

  #record(fop: FopName): FopRecord {
    let record = this.#records.get(fop);
    if (record === undefined) {
      record = new FopRecord(fop);
      this.#records.set(fop, record);
    }
    return record;
  }

  /** For spans. */
  ended(span: PooledSpan, reply: { readonly size?: number } | undefined): void {
    const { record } = span;
    record.calls++;
    if (reply === undefined) record.failures++;
    else if (record.hasPayload) record.bytes += reply.size ?? 0;
    record.latency.record(this.#clock.nowMs() - span.beganMs);
    if (this.#spare.length < SPARE_MAX) this.#spare.push(span);
    this.leave();
  }

  #idle(): void {
    const task = this.#onIdle;
    this.#onIdle = undefined;
    task?.();
  }
}

class PooledSpan implements Span {
  record!: FopRecord;
  beganMs = 0;
  readonly done: (reply: unknown) => void;
  readonly failed: () => void;

  constructor(meter: FopMeter) {
    this.done = (reply) => meter.ended(this, reply as { size?: number });
    this.failed = () => meter.ended(this, undefined);
  }
}
