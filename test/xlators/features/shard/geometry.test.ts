/** Which blocks a range lies in, as a table. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { gfidText, newGfid } from "../../../../src/core/gfid.ts";
import {
  blockOf,
  blockOfName,
  lastBlock,
  pieces,
  shardName,
} from "../../../../xlators/features/shard/geometry.ts";

const MIB = 2 ** 20;
const TIB = 2 ** 40;

/** offset, size, block size: block@offset+size of every piece. */
const RANGES: readonly (readonly [offset: number, size: number, blockSize: number, parts: string])[] = [
  [0, 0, 4096, ""],
  [0, 1, 4096, "0@0+1"],
  [0, 4096, 4096, "0@0+4096"],
  [4095, 2, 4096, "0@4095+1 1@0+1"],
  [4096, 4096, 4096, "1@0+4096"],
  [1, 3 * 4096, 4096, "0@1+4095 1@0+4096 2@0+4096 3@0+1"],
  [64 * MIB - 1, 2, 64 * MIB, `0@${64 * MIB - 1}+1 1@0+1`],
  [4 * TIB, 1, 4 * MIB, `${MIB}@0+1`],
  [2 ** 53 - 4096, 2, 4 * MIB, `${2 ** 31 - 1}@${4 * MIB - 4096}+2`],
];

describe("pieces", () => {
  it.each(RANGES)("%d+%d in blocks of %d: %s", (offset, size, blockSize, parts) => {
    const found = pieces(offset, size, blockSize).map(
      (piece) => `${piece.block}@${piece.offset}+${piece.size}`,
    );
    expect(found.join(" ")).toBe(parts);
  });

  it("cover the range once, in order, each within its block", () => {
    const range = fc.record({
      offset: fc.nat(2 ** 40),
      size: fc.nat(200_000),
      blockSize: fc.integer({ min: 512, max: 2 ** 20 }),
    });
    fc.assert(
      fc.property(range, ({ offset, size, blockSize }) => {
        let at = 0;
        for (const piece of pieces(offset, size, blockSize)) {
          expect(piece.start).toBe(at);
          expect(piece.block * blockSize + piece.offset).toBe(offset + at);
          expect(piece.offset + piece.size).toBeLessThanOrEqual(blockSize);
          expect(piece.size).toBeGreaterThan(0);
          at += piece.size;
        }
        expect(at).toBe(size);
      }),
    );
  });
});

describe("blocks", () => {
  it.each([
    [0, 0],
    [1, 0],
    [4096, 0],
    [4097, 1],
    [3 * 4096, 2],
  ])("a file of %d bytes ends in block %d", (size, block) => {
    expect(lastBlock(size, 4096)).toBe(block);
  });

  it("are exact where a quotient of doubles would round up", () => {
    expect(blockOf(2 ** 53 - 1, 3)).toBe(Number((2n ** 53n - 1n) / 3n));
    expect(blockOf(2 ** 53 - 4, 3)).toBe(Number((2n ** 53n - 4n) / 3n));
  });

  it("have names by gfid and number, and only theirs are found", () => {
    const [gfid, other] = [newGfid(), newGfid()];
    const prefix = gfidText(gfid);
    expect(shardName(gfid, 17)).toBe(`${prefix}.17`);
    expect(blockOfName(shardName(gfid, 17), prefix)).toBe(17);
    for (const name of [
      shardName(other, 17),
      prefix,
      `${prefix}.`,
      `${prefix}.0`,
      `${prefix}.01`,
      `${prefix}.1x`,
    ])
      expect(blockOfName(name, prefix), name).toBeUndefined();
  });
});
