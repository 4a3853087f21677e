import { describe, expect, it } from "vitest";
import { Callers, parseGroups } from "../../mount/callers.ts";
import { FakeClock } from "../support/fake-env.ts";

function callers(gidTimeoutSec = 300) {
  const clock = new FakeClock();
  const asked: number[] = [];
  const readGroups = (pid: number): number[] => {
    asked.push(pid);
    return [pid * 10, asked.length];
  };
  return { clock, asked, callers: new Callers(clock, gidTimeoutSec, readGroups) };
}

describe("callers", () => {
  it("get the same Call again while nothing about them changed", () => {
    const { callers: c, asked } = callers();
    const first = c.of(1000, 100, 42);
    expect(first).toMatchObject({ uid: 1000, gid: 100, pid: 42, groups: [420, 1] });
    expect(first.lkOwner).toHaveLength(0);
    expect(c.of(1000, 100, 42)).toBe(first);
    expect(asked).toEqual([42]);
  });

  it("differ by each of uid, gid, pid and lock owner", () => {
    const { callers: c } = callers();
    const variants = [
      [1000, 100, 42, 0, 0],
      [1001, 100, 42, 0, 0],
      [1000, 101, 42, 0, 0],
      [1000, 100, 43, 0, 0],
      [1000, 100, 42, 7, 0],
      [1000, 100, 42, 0, 7],
    ] as const;
    for (const [uid, gid, pid, low, high] of variants) {
      const call = c.of(uid, gid, pid, low, high);
      const owner = low || high ? Buffer.from([low, 0, 0, 0, high, 0, 0, 0]) : Buffer.alloc(0);
      expect(call).toMatchObject({ uid, gid, pid, lkOwner: owner });
    }
  });

  it("that share a place do not get each other's Call", () => {
    const { callers: c } = callers();
    const one = c.of(1, 1, 5);
    const other = c.of(2, 2, 5 + 256);
    expect([one.uid, other.uid, c.of(1, 1, 5).uid]).toEqual([1, 2, 1]);
  });

  it("have their groups read again after gid-timeout", async () => {
    const { callers: c, clock, asked } = callers(2);
    c.of(1000, 100, 42);
    await clock.advance(1999);
    c.of(1000, 100, 42);
    expect(asked).toHaveLength(1);
    await clock.advance(1);
    expect(c.of(1000, 100, 42).groups).toEqual([420, 2]);
  });

  it("who are root need no groups", () => {
    const { callers: c, asked } = callers();
    expect(c.of(0, 0, 42).groups).toEqual([]);
    expect(asked).toEqual([]);
  });

  it.each([
    ["Name:\tx\nGroups:\t4 24 1000 \nNStgid:\t1\n", [4, 24, 1000]],
    ["Groups:\t \nVm: 1\n", []],
    ["Name:\tx\n", []],
  ])("read %j", (status, groups) => {
    expect(parseGroups(status)).toEqual(groups);
  });
});
