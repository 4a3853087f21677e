/** Changed ranges: never less than what was written, bounded, and when a heal may rely on them. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  BLOCK_BYTES,
  ChangedRanges,
  decodeChange,
  decodeRanges,
  decodeRecord,
  ENCODED_BYTES_MAX,
  encodeChange,
  encodeRecord,
  rangesToHeal,
} from "../../src/core/changed-ranges.ts";
import { Prng } from "../support/prng.ts";

const MIB = 2 ** 20;
const END = Number.POSITIVE_INFINITY;

const write = fc.record({
  offset: fc.oneof(fc.nat(64 * MIB), fc.nat(2 ** 44)),
  size: fc.oneof(fc.nat(3 * BLOCK_BYTES), fc.nat(4 * MIB), fc.constant(END)),
});

function rangesOf(writes: readonly { offset: number; size: number }[]): ChangedRanges {
  const ranges = new ChangedRanges();
  for (const { offset, size } of writes) ranges.add(offset, size);
  return ranges;
}

/** True when every byte of the write is in the ranges. */
function covers(ranges: ChangedRanges, { offset, size }: { offset: number; size: number }): boolean {
  return size === 0 || ranges.spans().some(({ start, end }) => start <= offset && offset + size <= end);
}

/** Writes at random places of a file, aligned to `align`. */
function randomWrites(seed: number, count: number, size: number, fileBytes: number, align: number) {
  const prng = new Prng(seed);
  return Array.from({ length: count }, () => ({
    offset: prng.int(0, Math.floor((fileBytes - size) / align) - 1) * align,
    size,
  }));
}

describe("ChangedRanges", () => {
  it("holds every byte that was added, and with few ranges only the blocks around them", () => {
    fc.assert(
      fc.property(fc.array(write, { maxLength: 40 }), (writes) => {
        const ranges = rangesOf(writes);
        expect(writes.every((one) => covers(ranges, one))).toBe(true);
        for (const { start, end } of ranges.spans()) {
          const inside = writes.filter(
            ({ offset, size }) => size > 0 && offset < end && offset + size > start,
          );
          expect(Math.min(...inside.map(({ offset }) => offset)) - start).toBeLessThan(BLOCK_BYTES);
          const last = Math.max(...inside.map(({ offset, size }) => offset + size));
          expect(end === last || end - last < BLOCK_BYTES).toBe(true);
        }
      }),
    );
  });

  it("lists ranges in order, with a gap between any two", () => {
    fc.assert(
      fc.property(fc.array(write, { maxLength: 700 }), (writes) => {
        const spans = rangesOf(writes).spans();
        for (const [i, { start, end }] of spans.entries()) {
          expect(start).toBeLessThan(end);
          if (i > 0) expect(start).toBeGreaterThan(spans[i - 1]!.end);
        }
      }),
      { numRuns: 30 },
    );
  });

  it("is the same whatever the order of the writes, and when it is a union of two", () => {
    fc.assert(
      fc.property(fc.array(write, { maxLength: 600 }), fc.nat(600), (writes, at) => {
        const all = rangesOf(writes).spans();
        expect(rangesOf([...writes].reverse()).spans()).toEqual(all);
        const union = rangesOf(writes.slice(0, at));
        union.addAll(rangesOf(writes.slice(at)));
        expect(union.spans()).toEqual(all);
      }),
      { numRuns: 30 },
    );
  });

  it("survives its encoding", () => {
    fc.assert(
      fc.property(fc.array(write, { maxLength: 300 }), (writes) => {
        const ranges = rangesOf(writes);
        expect(decodeRanges(ranges.encode())!.spans()).toEqual(ranges.spans());
      }),
    );
  });

  it("is cut at the size of the file", () => {
    const ranges = ChangedRanges.of([
      { start: 0, end: 10 },
      { start: 3 * BLOCK_BYTES, end: END },
    ]);
    expect(ranges.spans(10)).toEqual([{ start: 0, end: 10 }]);
    expect(ranges.spans(4 * BLOCK_BYTES + 1)).toEqual([
      { start: 0, end: BLOCK_BYTES },
      { start: 3 * BLOCK_BYTES, end: 4 * BLOCK_BYTES + 1 },
    ]);
    expect(ranges.bytes(4 * BLOCK_BYTES)).toBe(2 * BLOCK_BYTES);
  });

  it("remembers 128 MiB of random 64 KiB writes in 1 GiB exactly, 4 KiB writes too", () => {
    for (const [count, size, align] of [
      [2048, 65536, 65536],
      [32768, 4096, 4096],
    ] as const) {
      const writes = randomWrites(size, count, size, 1024 * MIB, align);
      const changed = new Set(writes.map(({ offset }) => offset)).size * size;
      expect(rangesOf(writes).bytes(1024 * MIB)).toBe(changed);
    }
  });

  it("adds less than a fifth to 64 KiB writes that are not aligned", () => {
    const writes = randomWrites(3, 1000, 65536, 1024 * MIB, 1);
    expect(rangesOf(writes).bytes(1024 * MIB)).toBeLessThan(1.2 * 1000 * 65536);
  });

  it("gets coarser instead of larger, and still misses nothing", () => {
    const prng = new Prng(11);
    const ranges = new ChangedRanges();
    const writes: { offset: number; size: number }[] = [];
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 5000; i++) {
        const one = { offset: prng.int(0, 2 ** 28 - 1) * BLOCK_BYTES, size: prng.int(1, 20000) };
        writes.push(one);
        ranges.add(one.offset, one.size);
      }
      expect(ranges.encode().length).toBeLessThanOrEqual(ENCODED_BYTES_MAX);
    }
    const spans = ranges.spans();
    expect(spans.length).toBeGreaterThan(5000);
    for (const one of writes) {
      let low = 0;
      let high = spans.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >>> 1;
        if (spans[middle]!.start <= one.offset) low = middle;
        else high = middle - 1;
      }
      expect(spans[low]!.start <= one.offset && one.offset + one.size <= spans[low]!.end).toBe(true);
    }
  });

  it("stays within its bound when all gaps are equal and when numbers are as large as they get", () => {
    const even = new ChangedRanges();
    for (let i = 0; i < 70000; i++) even.add(2 * i * BLOCK_BYTES, 1);
    expect(even.encode().length).toBeLessThanOrEqual(ENCODED_BYTES_MAX);
    // Two bytes a range fit 32,000 times: not much more than what must be is filled in.
    expect(even.count).toBeGreaterThan(20000);
    const huge = new ChangedRanges();
    for (let i = 0; i < 20000; i++) huge.add(i * 2 ** 38, 2 ** 37);
    expect(huge.encode().length).toBeLessThanOrEqual(ENCODED_BYTES_MAX);
    expect(decodeRanges(huge.encode())!.spans()).toEqual(huge.spans());
  });
});

describe("a Change and a ChangeRecord", () => {
  const ranges = ChangedRanges.of([{ start: 8192, end: 16384 }]);

  it("survive their encodings", () => {
    const change = decodeChange(encodeChange({ ranges, dirtyLeft: ["trusted.afr.v-client-2"] }))!;
    expect(change.dirtyLeft).toEqual(["trusted.afr.v-client-2"]);
    expect(change.ranges.spans()).toEqual(ranges.spans());
    const record = decodeRecord(encodeRecord({ counter: -7, dirtyLeft: 3, ranges }))!;
    expect({ ...record, ranges: record.ranges.spans() }).toEqual({
      counter: -7,
      dirtyLeft: 3,
      ranges: ranges.spans(),
    });
  });

  it("are refused when they are cut, longer or of another version", () => {
    for (const [encoded, decode] of [
      [encodeChange({ ranges, dirtyLeft: ["a", "b"] }), decodeChange],
      [encodeRecord({ counter: 1, dirtyLeft: 0, ranges }), decodeRecord],
    ] as const) {
      for (let size = 0; size < encoded.length; size++)
        expect(decode(Buffer.from(encoded.subarray(0, size)))).toBeUndefined();
      expect(decode(Buffer.concat([encoded, Buffer.from([1])]))).toBeUndefined();
      const other = Buffer.from(encoded);
      other[0] = 2;
      expect(decode(other)).toBeUndefined();
    }
    expect(decodeChange(undefined)).toBeUndefined();
  });

  it("never throw on any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        decodeChange(Buffer.from([1, ...bytes]));
        decodeRecord(Buffer.from([1, ...bytes]));
        decodeRanges(Buffer.from(bytes));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("rangesToHeal", () => {
  const first = { counter: 2, dirtyLeft: 1, ranges: ChangedRanges.of([{ start: 0, end: 4096 }]) };
  const second = { counter: 1, dirtyLeft: 0, ranges: ChangedRanges.of([{ start: 8192, end: 12288 }]) };
  const clean = { by: [], sinkDirty: 0, sourceDirty: 0 };

  it("is the union of what all accusers recorded and of what the sink wrote alone", () => {
    const healed = rangesToHeal({
      ...clean,
      against: [{ counter: 2, record: first }],
      by: [{ counter: 1, record: second }],
    });
    expect(healed!.spans()).toEqual([
      { start: 0, end: 4096 },
      { start: 8192, end: 12288 },
    ]);
  });

  it("is unknown when one record is missing or explains another counter", () => {
    const against = [{ counter: 2, record: first }];
    expect(rangesToHeal({ ...clean, against: [] })).toBeUndefined();
    expect(
      rangesToHeal({ ...clean, against: [...against, { counter: 1, record: undefined }] }),
    ).toBeUndefined();
    expect(rangesToHeal({ ...clean, against, by: [{ counter: 3, record: undefined }] })).toBeUndefined();
    expect(rangesToHeal({ ...clean, against: [{ counter: 3, record: first }] })).toBeUndefined();
  });

  it("is unknown when a batch without a verdict may have written elsewhere", () => {
    const against = [{ counter: 2, record: first }];
    expect(rangesToHeal({ ...clean, against, sourceDirty: 1 })).toBeUndefined();
    expect(rangesToHeal({ ...clean, against, sinkDirty: 1 })).toBeDefined();
    expect(rangesToHeal({ ...clean, against, sinkDirty: 2 })).toBeUndefined();
    expect(rangesToHeal({ ...clean, against, sinkDirty: -1 })).toBeUndefined();
  });
});
