import { describe, expect, it } from "vitest";
import type { KernelRequest, ReplySink } from "../../mount/dev-fuse/request.ts";
import { KEPT_BYTES_MAX, RequestPool, TRIM_AFTER_MS } from "../../mount/dev-fuse/request-pool.ts";
import { FakeClock } from "../support/fake-env.ts";

const MAX_WRITE = 1 << 20;
/** Nobody answers here. */
const SINK = {} as ReplySink;

/** `count` requests in flight at once, each of a message of `bytes`, then given back. */
function serve(pool: RequestPool, count: number, bytes: number): Set<KernelRequest> {
  const requests = Array.from({ length: count }, () => pool.take());
  for (const request of requests) request.begin(bytes);
  for (const request of requests) pool.give(request);
  return new Set(requests);
}

describe("requests that nobody uses", () => {
  it("are used again", () => {
    const pool = new RequestPool(SINK, MAX_WRITE, new FakeClock());
    const before = serve(pool, 20, 4096);
    expect(pool.keptBytes).toBe(20 * 4096);
    expect(serve(pool, 20, 100)).toEqual(before);
    // What a large message has filled once is memory from then on.
    expect(pool.keptBytes).toBe(20 * 4096);
  });

  it("hold no more memory than they may for long, however many were in flight", async () => {
    const clock = new FakeClock();
    const pool = new RequestPool(SINK, MAX_WRITE, clock);
    for (let round = 0; round < 3; round++) {
      const used = serve(pool, 60, MAX_WRITE);
      // A burst that goes on finds the memory of its last requests.
      await clock.advance(TRIM_AFTER_MS - 1);
      expect(pool.keptBytes).toBe(60 * MAX_WRITE);
      expect(serve(pool, 60, MAX_WRITE)).toEqual(used);
      await clock.advance(1);
      expect(pool.keptBytes).toBeLessThanOrEqual(KEPT_BYTES_MAX);
      expect(pool.keptBytes).toBeGreaterThan(KEPT_BYTES_MAX - 2 * MAX_WRITE);
    }
  });

  it("give memory back to the kernel beyond that, and serve on", async () => {
    const clock = new FakeClock();
    const pool = new RequestPool(SINK, MAX_WRITE, clock);
    const requests = Array.from({ length: 60 }, () => pool.take());
    for (const request of requests) {
      request.buffer.fill(7);
      request.begin(MAX_WRITE);
    }
    const before = process.memoryUsage.rss();
    for (const request of requests) pool.give(request);
    await clock.advance(TRIM_AFTER_MS);
    expect(before - process.memoryUsage.rss()).toBeGreaterThan(60 * MAX_WRITE - 2 * KEPT_BYTES_MAX);
    for (const request of requests) expect(request.buffer.fill(9).at(-1)).toBe(9);
    expect(new Set(requests)).toContain(pool.take());
  });
});
