/** What trials say: medians over rounds, and whether they reach what is wanted. */

import { describe, expect, it } from "vitest";
import { type Figure, figureTable, gather, isReached } from "../../bench/figures.ts";

const heal = (value: number): Figure => ({ text: "heal", value, unit: "s", wanted: 2 });
const moved: Figure = { text: "bytes", value: 1.1, unit: "x" };

describe("figures of trials", () => {
  it("are put together by round, in their first order", () => {
    expect(gather([heal(1), moved, heal(3)])).toEqual([
      { text: "heal", unit: "s", wanted: 2, values: [1, 3] },
      { text: "bytes", unit: "x", values: [1.1] },
    ]);
  });

  it("are judged by the median, never by the best round", () => {
    const judged = (...values: number[]) => isReached(gather(values.map(heal))[0]!);
    expect(judged(1, 5, 2)).toBe(true);
    expect(judged(1, 5, 3)).toBe(false);
    expect(isReached(gather([moved])[0]!)).toBeUndefined();
  });

  it("are one table", () => {
    const table = figureTable(gather([heal(1), heal(5), heal(3), moved]));
    expect(table).toMatch(/heal .* 3\.00 s .* 1\.00 - 5\.00 \(3 rounds\) .* 2 s .* MISSED/);
    expect(table).toMatch(/bytes .* 1\.10 x .* one round /);
  });
});
