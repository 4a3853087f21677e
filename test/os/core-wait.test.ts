import { describe, expect, it } from "vitest";
import { CoreWait, ownCounts } from "../../src/os/core-wait.ts";

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
