/** Histograms of times and meters of fops: exact counts, percentiles within their bound, no span lost. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FopMeter } from "../../src/core/fop-meter.ts";
import {
  bucketEndMs,
  bucketOf,
  LatencyHistogram,
  latenciesSince,
  latenciesTogether,
  NO_LATENCIES,
  percentileMs,
} from "../../src/core/latency.ts";
import { fakeEnv } from "../support/fake-env.ts";

const times = fc.array(fc.double({ min: 0, max: 100_000, noNaN: true }), { minLength: 1, maxLength: 200 });

function histogramOf(values: readonly number[]): LatencyHistogram {
  const histogram = new LatencyHistogram();
  for (const value of values) histogram.record(value);
  return histogram;
}

describe("buckets", () => {
  it("follow each other without gaps, and every time lies in its own", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 130_000, noNaN: true }), (tookMs) => {
        const index = bucketOf(tookMs);
        expect(tookMs).toBeLessThan(bucketEndMs(index));
        if (index > 0) expect(tookMs).toBeGreaterThanOrEqual(bucketEndMs(index - 1));
      }),
    );
  });

  it("take what is out of range for the nearest", () => {
    expect(bucketOf(-5)).toBe(0);
    expect(bucketOf(0)).toBe(0);
    expect(bucketOf(1e12)).toBe(bucketOf(134_217));
    expect(bucketOf(Number.POSITIVE_INFINITY)).toBe(bucketOf(1e12));
  });
});

describe("a histogram", () => {
  it("gives percentiles within seven per cent, or a sixteenth of a microsecond", () => {
    fc.assert(
      fc.property(times, fc.constantFrom(0.5, 0.9, 0.99, 0.999), (values, share) => {
        const sorted = values.toSorted((a, b) => a - b);
        const exact = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
        const found = percentileMs(histogramOf(values).snapshot(), share);
        expect(Math.abs(found - exact)).toBeLessThanOrEqual(exact * 0.07 + 1 / 16_000);
      }),
    );
  });

  it("says nothing of no calls", () => {
    expect(new LatencyHistogram().snapshot()).toEqual(NO_LATENCIES);
    expect(percentileMs(NO_LATENCIES, 0.5)).toBeNaN();
  });

  it("can be told apart by time, and put together", () => {
    fc.assert(
      fc.property(times, times, (first, then) => {
        const histogram = histogramOf(first);
        const before = histogram.snapshot();
        for (const value of then) histogram.record(value);
        const now = histogram.snapshot();
        const apart = histogramOf(then).snapshot();
        expect(latenciesSince(before, now).buckets).toEqual(apart.buckets);
        expect(latenciesSince(before, now).count).toBe(then.length);
        const both = latenciesTogether(before, apart);
        expect(both.buckets).toEqual(now.buckets);
        expect(both.count).toBe(now.count);
        expect(both.maxMs).toBe(now.maxMs);
      }),
    );
  });
});

describe("a meter", () => {
  it("counts calls, failures, payload and times, fop by fop", async () => {
    const { clock } = fakeEnv();
    const meter = new FopMeter(clock);
    const read = meter.begin("readv");
    const write = meter.begin("writev");
    const failing = meter.begin("writev");
    expect(meter.inFlight).toBe(3);
    await clock.advance(2);
    read.done({ size: 4096 });
    failing.failed();
    await clock.advance(1);
    write.done({ size: 100 });
    expect(meter.inFlight).toBe(0);
    const { readv, writev, ...others } = meter.snapshot();
    expect(others).toEqual({});
    expect(readv).toMatchObject({ calls: 1, failures: 0, bytes: 4096, latency: { count: 1, totalMs: 2 } });
    expect(writev).toMatchObject({ calls: 2, failures: 1, bytes: 100, latency: { maxMs: 3, totalMs: 5 } });
  });

  it("uses spans again, of calls that were under way together as well", () => {
    const meter = new FopMeter(fakeEnv().clock);
    const first = meter.begin("stat");
    const second = meter.begin("stat");
    expect(second).not.toBe(first);
    first.done({});
    expect(meter.begin("stat")).toBe(first);
    expect(meter.begin("readv")).not.toBe(second);
    second.done({});
    first.failed();
    expect(meter.snapshot()).toMatchObject({ stat: { calls: 3, failures: 1 } });
    expect(meter.snapshot().readv).toBeUndefined();
  });

  it("tells once when nothing is in flight, hooks included", () => {
    const meter = new FopMeter(fakeEnv().clock);
    let idle = 0;
    const span = meter.begin("stat");
    meter.enter();
    meter.whenIdle(() => idle++);
    span.done({});
    expect(idle).toBe(0);
    meter.leave();
    expect(idle).toBe(1);
    meter.begin("stat").failed();
    expect(idle).toBe(1);
    meter.whenIdle(() => idle++);
    expect(idle).toBe(2);
  });
});
