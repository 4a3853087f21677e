/** What `mortar compare` measures, and what a measurement asks of the process that it runs in. */

import { describe, expect, it } from "vitest";
import { loadsOf } from "../../src/cli/compare/compare-command.ts";
import { type Measuring, measure } from "../../src/cli/compare/measure.ts";
import type { OpenLoadFile, Station } from "../../src/cli/compare/rows.ts";
import type { Sample } from "../../src/compare/loads.ts";
import { COMPARE_LOADS, COMPARE_SCALES } from "../../src/compare/loads.ts";
import { EVENT_LOOP } from "../../src/os/busy-poll.ts";
import { fakeEnv } from "../support/fake-env.ts";

/** A row that answers at once, and notes whether the event loop might poll meanwhile. */
class NotingStation implements Station {
  readonly directory?: string;
  readonly polled = new Set<boolean>();
  readonly env = fakeEnv();
  failure: Error | undefined;

  constructor(directory: string | undefined) {
    if (directory !== undefined) this.directory = directory;
  }

  async open(): Promise<OpenLoadFile> {
    const answered = async (): Promise<void> => {
      this.polled.add(EVENT_LOOP.enabled);
      if (this.failure) throw this.failure;
      await new Promise<void>((resolve) => void this.env.clock.after(10, resolve));
    };
    return {
      readVector: async (_offset, size) => {
        await answered();
        return { size, release: () => {} };
      },
      write: async (_offset, data) => {
        await answered();
        return data.length;
      },
      fsync: async () => {},
      close: async () => {},
    };
  }

  create(): Promise<OpenLoadFile> {
    return this.open();
  }

  async remove(): Promise<void> {}

  async stop(): Promise<void> {}

  /** Runs a load for a while of simulated time. */
  async measure(id: string): Promise<Sample> {
    const load = COMPARE_LOADS.find((each) => each.id === id)!;
    const { signal } = new AbortController();
    const scale = { ...COMPARE_SCALES.quick, fileMiB: 1, ddBlocks: 8 };
    const measuring: Measuring = { scale, env: this.env, signal, limitMs: 50 };
    const done = measure(this, load, measuring);
    const settled = done.then(
      () => true,
      () => true,
    );
    while ((await Promise.race([settled, new Promise(setImmediate)])) !== true)
      await this.env.clock.advance(10);
    return done;
  }
}

describe("a measurement", () => {
  it("by path with many requests in flight leaves the cores to who answers them", async () => {
    for (const id of ["seq-read", "seq-write", "4k-read-32", "4k-write-32", "dd"]) {
      const station = new NotingStation("/mnt");
      await station.measure(id);
      expect([...station.polled], id).toEqual([false]);
      expect(EVENT_LOOP.enabled).toBe(true);
    }
  });

  it("by path with one request at a time looks out for its answer", async () => {
    const station = new NotingStation("/mnt");
    await station.measure("4k-read");
    expect([...station.polled]).toEqual([true]);
  });

  it("by the library polls as the library does for anybody", async () => {
    const station = new NotingStation(undefined);
    await station.measure("seq-read");
    expect([...station.polled]).toEqual([true]);
  });

  it("that fails lets the loop poll again", async () => {
    const station = new NotingStation("/mnt");
    station.failure = new Error("the disk is gone");
    await expect(station.measure("seq-read")).rejects.toThrow("the disk is gone");
    expect(EVENT_LOOP.enabled).toBe(true);
  });
});

describe("--loads", () => {
  it("names loads in their order; without it all are run", () => {
    expect(loadsOf("dd,4k-read").map(({ id }) => id)).toEqual(["dd", "4k-read"]);
    expect(loadsOf(undefined)).toBe(COMPARE_LOADS);
  });

  it.each([
    ["dd,4k-read,dd", 'compare: --loads: "dd" is named twice; name each once'],
    ["dd,", 'compare: --loads: "" is none of seq-write'],
  ])("%s is refused in one line", (list, message) => {
    expect(() => loadsOf(list)).toThrow(message);
  });
});
