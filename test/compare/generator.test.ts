/**
 * The load generator: what it asks for, how much at a time, when it ends, and that nothing is in flight when
 * it failed. On simulated time, on files that are made of promises.
 */

import { describe, expect, it } from "vitest";
import { type Job, type LoadFile, runJobs, runSmallWrites } from "../../src/compare/generator.ts";
import { sampleOfJobs } from "../../src/compare/loads.ts";
import { fakeEnv } from "../support/fake-env.ts";

const BLOCK = 4096;
const NEVER = new AbortController().signal;

/** Requests take `tookMs` each; keeps what was asked for and how many were in flight. */
class SlowFile implements LoadFile {
  readonly env = fakeEnv();
  readonly offsets: number[] = [];
  readonly #tookMs: number;
  inFlight = 0;
  inFlightMax = 0;
  released = 0;
  /** The size of what is read at an offset; an error to fail with. */
  answer: (offset: number) => number | Error = () => BLOCK;

  constructor(tookMs = 10) {
    this.#tookMs = tookMs;
  }

  async readVector(offset: number): Promise<{ size: number; release: () => void }> {
    return { size: await this.#request(offset), release: () => void this.released++ };
  }

  async write(offset: number): Promise<number> {
    return this.#request(offset);
  }

  async #request(offset: number): Promise<number> {
    this.offsets.push(offset);
    this.inFlightMax = Math.max(this.inFlightMax, ++this.inFlight);
    await new Promise<void>((resolve) => void this.env.clock.after(this.#tookMs, resolve));
    this.inFlight--;
    const answer = this.answer(offset);
    if (answer instanceof Error) throw answer;
    return answer;
  }

  job(change: Partial<Job> = {}): Job {
    return {
      file: this,
      rw: "read",
      order: "sequential",
      blockBytes: BLOCK,
      fileBytes: 16 * BLOCK,
      depth: 4,
      data: Buffer.alloc(BLOCK),
      ...change,
    };
  }
}

describe("a job", () => {
  it.each(["read", "write"] as const)(
    "that goes through a file asks for each block once (%s)",
    async (rw) => {
      const file = new SlowFile();
      const running = runJobs([file.job({ rw })], file.env, NEVER);
      await file.env.clock.advance(1000);
      const [result] = await running;
      expect(file.offsets).toEqual(Array.from({ length: 16 }, (_, index) => index * BLOCK));
      expect(file.inFlightMax).toBe(4);
      expect(file.released).toBe(rw === "read" ? 16 : 0);
      expect(result).toMatchObject({ bytes: 16 * BLOCK });
      expect(result!.latencies).toMatchObject({ count: 16, totalMs: 160, maxMs: 10 });
    },
  );

  it("that jumps about stays on blocks of the file, and ends when its time is up", async () => {
    const file = new SlowFile();
    const running = runJobs([file.job({ order: "random", depth: 2, limitMs: 500 })], file.env, NEVER);
    await file.env.clock.advance(1000);
    const [result] = await running;
    expect(result!.latencies.count).toBe(100);
    expect(new Set(file.offsets).size).toBeGreaterThan(10);
    for (const offset of file.offsets) {
      expect(offset % BLOCK).toBe(0);
      expect(offset).toBeLessThan(16 * BLOCK);
    }
  });

  it("fails with the first failure when nothing is in flight any more, and asks for no more", async () => {
    const file = new SlowFile();
    file.answer = (offset) => (offset === 2 * BLOCK ? new Error("disk on fire") : BLOCK);
    const failed = expect(runJobs([file.job()], file.env, NEVER)).rejects.toThrow("disk on fire");
    await file.env.clock.advance(1000);
    await failed;
    expect(file.inFlight).toBe(0);
    expect(file.offsets.length).toBeLessThanOrEqual(8);
  });

  it("takes a short read for a failure", async () => {
    const file = new SlowFile();
    file.answer = () => 100;
    const failed = expect(runJobs([file.job({ depth: 1 })], file.env, NEVER)).rejects.toThrow(
      /short read of 100/,
    );
    await file.env.clock.advance(1000);
    await failed;
  });

  it("ends with the signal's reason", async () => {
    const file = new SlowFile();
    const stop = new AbortController();
    const ended = expect(runJobs([file.job()], file.env, stop.signal)).rejects.toThrow("enough");
    await file.env.clock.advance(15);
    stop.abort(new Error("enough"));
    await file.env.clock.advance(1000);
    await ended;
    expect(file.inFlight).toBe(0);
  });
});

describe("jobs side by side", () => {
  it("give all bytes by the slowest one's time, and each one's own rate", () => {
    const latencies = { count: 1, totalMs: 1, maxMs: 1, buckets: [] };
    const sample = sampleOfJobs([
      { bytes: 1024 * 1000, elapsedMs: 1000, latencies },
      { bytes: 1024 * 1000, elapsedMs: 2000, latencies },
    ]);
    expect(sample).toMatchObject({ aggrb: 1000, minb: 500, maxb: 1000, iops: 1, meanUs: 1000 });
  });
});

describe("small writes", () => {
  it("go one after the other, each where the last one ended", async () => {
    const file = new SlowFile(1);
    const running = runSmallWrites(file, { blocks: 5, data: Buffer.alloc(1024) }, file.env, NEVER);
    await file.env.clock.advance(100);
    const result = await running;
    expect(file.offsets).toEqual([0, 1024, 2048, 3072, 4096]);
    expect(file.inFlightMax).toBe(1);
    expect(result.bytes).toBe(5 * 1024);
  });

  it("block where a file can, yet hear of the wish to stop", async () => {
    const { clock, random } = fakeEnv();
    const stop = new AbortController();
    let writes = 0;
    let nowMs = 0;
    const file: LoadFile = {
      readVector: () => Promise.reject(new Error("not asked for")),
      write: () => Promise.reject(new Error("not asked for")),
      writeSync: () => {
        nowMs += 1;
        if (++writes === 100) stop.abort(new Error("enough"));
      },
    };
    const env = { clock: Object.assign(Object.create(clock), { nowMs: () => nowMs }), random };
    const all = runSmallWrites(file, { blocks: 1e9, data: Buffer.alloc(1024) }, env, stop.signal);
    await expect(all).rejects.toThrow("enough");
    expect(writes).toBeLessThan(130);
  });
});
