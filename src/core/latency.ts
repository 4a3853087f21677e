/**
 * How long calls took, in buckets that grow with the value: eight to each power of two, so that a percentile
 * is at most 7 % off, from 1/16 microsecond to two minutes (longer ones count as that).
 *
 * Recording is a few integer operations on one typed array and allocates nothing. Counts are doubles: exact
 * up to 2^53, which no mount lives to see. Two snapshots of the same histogram can be subtracted bucket by
 * bucket, which gives the percentiles of the time between them.
 */

/** Units of a bucket's lower end in a millisecond. */
const UNITS_IN_MS = 16_000;
const SUB_BITS = 3;
const SUB = 1 << SUB_BITS;
const UNITS_MAX = 2 ** 31 - 1;
const BUCKETS = (31 - SUB_BITS + 1) * SUB;

/** What a histogram held at one moment; plain data that may travel as JSON. */
export interface LatencySnapshot {
  readonly count: number;
  readonly totalMs: number;
  readonly maxMs: number;
  /** Index and count of each bucket that is not empty, one after the other. */
  readonly buckets: readonly number[];
}

export const NO_LATENCIES: LatencySnapshot = { count: 0, totalMs: 0, maxMs: 0, buckets: [] };

export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #totalMs = 0;
  #maxMs = 0;

  /** Counts one call. Negative times (a clock that was set back) count as none at all. */
  record(tookMs: number): void {
    const index = bucketOf(tookMs);
    this.#counts[index] = this.#counts[index]! + 1;
    this.#count++;
    this.#totalMs += tookMs;
    if (tookMs > this.#maxMs) this.#maxMs = tookMs;
  }

  snapshot(): LatencySnapshot {
    const buckets: number[] = [];
    for (const [index, count] of this.#counts.entries()) if (count > 0) buckets.push(index, count);
    return { count: this.#count, totalMs: this.#totalMs, maxMs: this.#maxMs, buckets };
  }
}

/** Which bucket a time belongs to. */
export function bucketOf(tookMs: number): number {
  // Math.min before the conversion: a double above 2^31 would wrap around.
  const units = Math.min(tookMs * UNITS_IN_MS, UNITS_MAX) | 0;
  if (units < SUB) return Math.max(units, 0);
  const exponent = 31 - Math.clz32(units) - SUB_BITS;
  return (exponent << SUB_BITS) + (units >>> exponent);
}

/** Where a bucket ends, in milliseconds; times in it are below. */
export function bucketEndMs(index: number): number {
  if (index < 2 * SUB) return (index + 1) / UNITS_IN_MS;
  const exponent = (index >>> SUB_BITS) - 1;
  return ((index - (exponent << SUB_BITS) + 1) * 2 ** exponent) / UNITS_IN_MS;
}

/** Where a bucket begins. */
function bucketBeginMs(index: number): number {
  return index === 0 ? 0 : bucketEndMs(index - 1);
}

/**
 * The time that a share of the calls (0.5, 0.99 ...) did not exceed, in milliseconds: the middle of its
 * bucket. NaN when nothing was recorded.
 */
export function percentileMs({ count, buckets, maxMs }: LatencySnapshot, share: number): number {
  if (count === 0) return Number.NaN;
  let left = Math.max(1, Math.ceil(count * share));
  for (let at = 0; at < buckets.length; at += 2) {
    left -= buckets[at + 1]!;
    const index = buckets[at]!;
    if (left <= 0) return Math.min(maxMs, (bucketBeginMs(index) + bucketEndMs(index)) / 2);
  }
  return maxMs;
}

/** What was recorded between two snapshots. The maximum is that of the whole time. */
export function latenciesSince(before: LatencySnapshot, now: LatencySnapshot): LatencySnapshot {
  const had = new Map<number, number>();
  for (let at = 0; at < before.buckets.length; at += 2) had.set(before.buckets[at]!, before.buckets[at + 1]!);
  const buckets: number[] = [];
  for (let at = 0; at < now.buckets.length; at += 2) {
    const index = now.buckets[at]!;
    const count = now.buckets[at + 1]! - (had.get(index) ?? 0);
    if (count > 0) buckets.push(index, count);
  }
  return {
    count: now.count - before.count,
    totalMs: now.totalMs - before.totalMs,
    maxMs: now.maxMs,
    buckets,
  };
}

/** Two histograms of the same kind as one. */
export function latenciesTogether(a: LatencySnapshot, b: LatencySnapshot): LatencySnapshot {
  const sum = new Map<number, number>();
  for (const { buckets } of [a, b])
    for (let at = 0; at < buckets.length; at += 2)
      sum.set(buckets[at]!, (sum.get(buckets[at]!) ?? 0) + buckets[at + 1]!);
  return {
    count: a.count + b.count,
    totalMs: a.totalMs + b.totalMs,
    maxMs: Math.max(a.maxMs, b.maxMs),
    buckets: [...sum].sort(([x], [y]) => x - y).flat(),
  };
}
