import { describe, expect, it } from "vitest";
import { CoreWait, Crowd, ownCounts } from "../../src/os/core-wait.ts";

const MS = 1_000_000;

describe("whether cores are scarce", () => {
  it("says so when the thread waited for a third of the time in which it wanted a core", () => {
    let line = `${100 * MS} ${10 * MS} 5`;
    const cores = new CoreWait(() => line);
    expect(cores.isScarce(0)).toBe(false);
    line = `${140 * MS} ${30 * MS} 9`;
    expect(cores.isScarce(60)).toBe(true);
    line = `${190 * MS} ${40 * MS} 12`;
    expect(cores.isScarce(120)).toBe(false);
  });

  it("looks at most every 50 ms", () => {
    let looks = 0;
    const cores = new CoreWait(() => `${++looks} 0 0`);
    for (let nowMs = 0; nowMs < 100; nowMs++) cores.isScarce(nowMs);
    expect(looks).toBe(2);
  });

  it("takes cores for plenty where the kernel does not count", () => {
    const cores = new CoreWait(() => "0 0 0");
    for (let nowMs = 0; nowMs < 1000; nowMs += 100) expect(cores.isScarce(nowMs)).toBe(false);
  });

  it("reads the counts of this process", () => {
    expect(ownCounts()()).toMatch(/^\d+ \d+ \d+\n$/);
  });
});

describe("a crowd of requests", () => {
  const KIB = 1024;
  const scarce = new CoreWait(() => "0 1 0");
  const plenty = new CoreWait(() => "1 0 0");
  let nowMs = 1000;

  function under(cores: CoreWait, ...sizes: readonly number[]): Crowd {
    const crowd = new Crowd(2, cores, () => nowMs);
    for (const bytes of sizes) crowd.join(bytes);
    return crowd;
  }

  it("is more than a few small ones where cores are scarce", () => {
    expect(under(scarce, 4 * KIB, 4 * KIB).isCrowded).toBe(false);
    expect(under(plenty, 4 * KIB, 4 * KIB, 4 * KIB).isCrowded).toBe(false);
    const crowd = under(scarce, 4 * KIB, 4 * KIB, 4 * KIB);
    expect(crowd.isCrowded).toBe(true);
    crowd.leave();
    expect([crowd.isCrowded, crowd.count]).toEqual([false, 2]);
  });

  it("is a stream of large ones, until none came for a while", () => {
    expect(under(plenty, 1024 * KIB, 1024 * KIB).isCrowded).toBe(false);
    expect(under(plenty, 1024 * KIB, 1024 * KIB, 128 * KIB).isCrowded).toBe(false);
    const crowd = under(plenty, 128 * KIB, 128 * KIB, 1024 * KIB);
    for (let left = 0; left < 3; left++) crowd.leave();
    expect(crowd.isCrowded).toBe(true);
    nowMs += 5;
    expect(crowd.isCrowded).toBe(false);
  });
});
