/** ChangeWatch: which answers may be kept. */

import { describe, expect, it } from "vitest";
import { ChangeWatch } from "../../src/core/change-watch.ts";

describe("an answer may be kept", () => {
  it("unless its object changed since the question, whatever others did", () => {
    const watch = new ChangeWatch();
    const first = watch.begin();
    watch.changed("a");
    const second = watch.begin();
    watch.changed("b");
    expect([watch.unchangedSince("a", first), watch.unchangedSince("b", first)]).toEqual([false, false]);
    expect([watch.unchangedSince("a", second), watch.unchangedSince("b", second)]).toEqual([true, false]);
    expect(watch.unchangedSince("c", first)).toBe(true);
  });

  it("by a question asked after a change that another question was under way with", () => {
    const watch = new ChangeWatch();
    watch.begin();
    watch.changed("a");
    watch.end();
    const since = watch.begin();
    expect(watch.unchangedSince("a", since)).toBe(true);
  });

  it("not after everything changed, nor when more changed than is remembered", () => {
    const watch = new ChangeWatch();
    const first = watch.begin();
    watch.allChanged();
    expect(watch.unchangedSince("a", first)).toBe(false);
    const second = watch.begin();
    for (let i = 0; i < 20_000; i++) watch.changed(`file ${i}`);
    expect(watch.unchangedSince("another", second)).toBe(false);
    expect(watch.unchangedSince("another", watch.begin())).toBe(true);
  });
});
