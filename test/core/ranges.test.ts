/** Byte ranges, against sets of single bytes. */

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type ByteRange,
  covers,
  lengthOf,
  overlaps,
  RANGE_END,
  rangeOf,
  sameRange,
  subtract,
  touches,
  union,
  WHOLE,
} from "../../src/core/ranges.ts";

const range = fc
  .tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 20 }))
  .map(([a, b]): ByteRange => ({ start: BigInt(Math.min(a, b)), end: BigInt(Math.max(a, b)) }));

function bytes({ start, end }: ByteRange): bigint[] {
  const all: bigint[] = [];
  for (let at = start; at <= end; at++) all.push(at);
  return all;
}

describe("rangeOf", () => {
  it("takes length 0 as everything from the start on", () => {
    expect(rangeOf(5n, 0n)).toEqual({ start: 5n, end: RANGE_END });
    expect(rangeOf(0n, 0n)).toEqual(WHOLE);
  });

  it("takes a negative length as the bytes before the start", () => {
    expect(rangeOf(10n, -4n)).toEqual({ start: 6n, end: 9n });
    expect(rangeOf(10n, BigInt.asUintN(64, -4n))).toEqual({ start: 6n, end: 9n });
  });

  it("knows no range that begins below zero or ends beyond the last offset", () => {
    expect(rangeOf(-1n, 1n)).toBeUndefined();
    expect(rangeOf(3n, -4n)).toBeUndefined();
    expect(rangeOf(RANGE_END, 2n)).toBeUndefined();
    expect(rangeOf(RANGE_END, 1n)).toEqual({ start: RANGE_END, end: RANGE_END });
  });

  it("is undone by lengthOf", () => {
    for (const [start, len] of [
      [0n, 0n],
      [7n, 1n],
      [7n, 100n],
    ] as const)
      expect(lengthOf(rangeOf(start, len)!)).toBe(len);
  });
});

describe("range arithmetic", () => {
  it("agrees with sets of bytes", () => {
    fc.assert(
      fc.property(range, range, (a, b) => {
        const [inA, inB] = [bytes(a), bytes(b)];
        const both = inA.filter((byte) => inB.includes(byte));
        expect(overlaps(a, b)).toBe(both.length > 0);
        expect(covers(a, b)).toBe(both.length === inB.length);
        expect(sameRange(a, b)).toBe(both.length === inB.length && both.length === inA.length);
        expect(subtract(a, b).flatMap(bytes)).toEqual(inA.filter((byte) => !inB.includes(byte)));
        const either = new Set([...inA, ...inB]);
        const hasGap = bytes(union(a, b)).length > either.size;
        expect(touches(a, b)).toBe(!hasGap);
        for (const byte of either) expect(bytes(union(a, b))).toContain(byte);
      }),
    );
  });
});
