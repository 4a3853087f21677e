/** Priorities of cached files: the option's text, and which value goes first. */

import { describe, expect, it } from "vitest";
import { PriorityCache, parsePriorities, priorityOf } from "../../src/core/priorities.ts";

describe("a list of priorities", () => {
  it("is read from text, and the last pattern that matches decides", () => {
    const list = parsePriorities("*:1, *.conf:3,a*:2")!;
    expect(["x", "x.conf", "a.conf"].map((name) => priorityOf(list, name))).toEqual([1, 3, 2]);
    expect(priorityOf([], "x")).toBe(0);
  });

  it.each(["*.conf", "*.conf:", ":1", "*.conf:-1", "*.conf:x", "a:1,"])("is not %j", (text) => {
    expect(parsePriorities(text)).toBeUndefined();
  });
});

describe("a cache with priorities", () => {
  const evicted: string[] = [];
  const cache = new PriorityCache<string, { name: string; bytes: number }>(
    10,
    ({ bytes }) => bytes,
    ({ name }) => evicted.push(name),
  );
  const put = (name: string, bytes: number, priority: number) => cache.set(name, { name, bytes }, priority);

  it("drops the least recently used of the lowest priority, and only for room", () => {
    put("a", 4, 1);
    put("b", 4, 1);
    cache.get("a");
    put("high", 2, 7);
    put("c", 4, 1);
    expect(evicted.splice(0)).toEqual(["b"]);
    put("low", 1, 0);
    expect(evicted.splice(0)).toEqual(["low"]);
    cache.delete("c");
    expect([cache.bytes, cache.count, evicted.length]).toEqual([6, 2, 0]);
  });

  it("moves what is set again to its new priority", () => {
    put("a", 4, 9);
    put("d", 5, 8);
    expect(evicted.splice(0)).toEqual(["high"]);
    expect([cache.bytes, cache.count]).toEqual([9, 2]);
  });

  it("holds nothing that is larger than itself", () => {
    put("huge", 11, 0);
    expect(evicted.splice(0)).toEqual(["huge"]);
    cache.resize(4);
    expect(evicted.splice(0)).toEqual(["d"]);
    cache.clear();
    expect([cache.bytes, cache.count, evicted.splice(0)]).toEqual([0, 0, ["a"]]);
  });
});
