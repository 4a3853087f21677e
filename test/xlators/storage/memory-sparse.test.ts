/** SparseData against a plain buffer: contents, holes, and what a crash takes. */

import { describe, expect, it } from "vitest";
import { PAGE_BYTES, SparseData } from "../../../xlators/storage/memory/sparse.ts";
import { Prng } from "../../support/prng.ts";

const FILE_MAX = 6 * PAGE_BYTES;

/** A file as an array of bytes, and which pages hold data. */
class Model {
  bytes = Buffer.alloc(0);

  write(data: Buffer, offset: number): void {
    this.resize(Math.max(this.bytes.length, offset + data.length));
    data.copy(this.bytes, offset);
  }

  resize(size: number): void {
    const next = Buffer.alloc(size);
    this.bytes.copy(next, 0, 0, Math.min(size, this.bytes.length));
    this.bytes = next;
  }

  zero(offset: number, size: number): void {
    this.bytes.fill(0, Math.min(offset, this.bytes.length), Math.min(offset + size, this.bytes.length));
  }
}

function step(rng: Prng, data: SparseData, model: Model): void {
  const offset = rng.int(0, FILE_MAX - 1);
  const size = rng.int(1, FILE_MAX - offset);
  switch (rng.pick(["write", "write", "truncate", "punch", "zero", "reserve"])) {
    case "write": {
      const bytes = rng.bytes(size);
      const cut = rng.int(0, size);
      data.write([bytes.subarray(0, cut), bytes.subarray(cut)], offset);
      model.write(bytes, offset);
      break;
    }
    case "truncate":
      data.truncate(offset);
      model.resize(offset);
      break;
    case "punch":
      data.punch(offset, size);
      model.zero(offset, size);
      break;
    case "zero":
      data.zero(offset, size);
      model.zero(offset, size);
      model.resize(Math.max(model.bytes.length, offset + size));
      break;
    case "reserve": {
      const keepSize = rng.chance(0.5);
      data.reserve(offset, size, keepSize);
      if (!keepSize) model.resize(Math.max(model.bytes.length, offset + size));
    }
  }
}

describe("SparseData", () => {
  it("holds the bytes that a plain buffer would hold", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rng = new Prng(seed);
      const data = new SparseData();
      const model = new Model();
      for (let i = 0; i < 60; i++) {
        step(rng, data, model);
        expect(data.size, `seed ${seed} step ${i}`).toBe(model.bytes.length);
        expect(data.read(0, FILE_MAX).equals(model.bytes), `seed ${seed} step ${i}`).toBe(true);
      }
    }
  });

  it("never calls a byte a hole that is not zero, and finds data and holes in turn", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rng = new Prng(seed);
      const data = new SparseData();
      const model = new Model();
      for (let i = 0; i < 20; i++) step(rng, data, model);
      const covered = Buffer.alloc(model.bytes.length);
      for (let at = 0; at < data.size; ) {
        const from = data.nextData(at);
        if (from === undefined) break;
        const to = data.nextHole(from);
        expect(to, `seed ${seed}`).toBeGreaterThan(from);
        covered.fill(1, from, to);
        at = to;
      }
      const wrong = covered.findIndex((inData, at) => inData === 0 && model.bytes[at] !== 0);
      expect(wrong, `seed ${seed}`).toBe(-1);
    }
  });

  it("counts the pages that a range lacks, none for an empty range", () => {
    const data = new SparseData();
    data.write([Buffer.from("x")], PAGE_BYTES);
    expect(data.missing(0, 3 * PAGE_BYTES)).toBe(2);
    expect(data.missing(10, 0)).toBe(0);
    expect(data.pageCount).toBe(1);
  });

  it("is after a crash what it was at the last sync when nothing was kept", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rng = new Prng(seed);
      const data = new SparseData();
      const model = new Model();
      for (let i = 0; i < 10; i++) step(rng, data, model);
      data.sync();
      const synced = Buffer.from(model.bytes);
      for (let i = 0; i < 10; i++) step(rng, data, model);
      data.crash(() => false);
      expect(data.read(0, FILE_MAX).equals(synced), `seed ${seed}`).toBe(true);
    }
  });

  it("has after a crash in every page the synced or the last bytes, as the disk chose", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rng = new Prng(seed);
      const data = new SparseData();
      const old = rng.bytes(FILE_MAX);
      data.write([old], 0);
      data.sync();
      const next = rng.bytes(FILE_MAX);
      data.write([next], 0);
      const kept = new Set<unknown>();
      data.crash((what) => {
        if (rng.chance(0.5)) kept.add(what);
        return kept.has(what);
      });
      for (let page = 0; page < FILE_MAX / PAGE_BYTES; page++) {
        const [from, to] = [page * PAGE_BYTES, (page + 1) * PAGE_BYTES];
        const expected = (kept.has(page) ? next : old).subarray(from, to);
        expect(data.read(from, PAGE_BYTES).equals(expected), `seed ${seed} page ${page}`).toBe(true);
      }
    }
  });

  it("tears a page at sectors when the crash says which were written", () => {
    const data = new SparseData();
    data.write([Buffer.alloc(PAGE_BYTES, "a")], 0);
    data.sync();
    data.write([Buffer.alloc(PAGE_BYTES, "b")], 0);
    data.crash(() => 0b101);
    const expected = Buffer.alloc(PAGE_BYTES, "a").fill("b", 0, 512).fill("b", 1024, 1536);
    expect(data.read(0, PAGE_BYTES).equals(expected)).toBe(true);
  });

  it("never ends behind appended bytes that a crash took, whatever the disk says of its size", () => {
    const data = new SparseData();
    data.write([Buffer.alloc(100, "a")], 0);
    data.sync();
    data.write([Buffer.alloc(2 * PAGE_BYTES, "b")], PAGE_BYTES);
    data.writeBack((what) => what === "size");
    data.write([Buffer.alloc(PAGE_BYTES, "c")], 3 * PAGE_BYTES);
    data.crash((what) => what !== 2);
    expect(data.size).toBe(2 * PAGE_BYTES);
    expect(data.read(PAGE_BYTES, PAGE_BYTES).equals(Buffer.alloc(PAGE_BYTES, "b"))).toBe(true);
  });

  it("has nothing behind its end after a crash that kept a truncate, when it grows again", () => {
    const data = new SparseData();
    data.write([Buffer.alloc(3 * PAGE_BYTES, "a")], 0);
    data.sync();
    data.truncate(100);
    data.crash((what) => what === "size");
    data.write([Buffer.from("b")], 3 * PAGE_BYTES);
    const expected = Buffer.alloc(3 * PAGE_BYTES).fill("a", 0, 100);
    expect(data.read(0, 3 * PAGE_BYTES).equals(expected)).toBe(true);
  });

  it("keeps over a crash what was written back before, at the state it had then", () => {
    const data = new SparseData();
    data.write([Buffer.from("a")], 0);
    data.sync();
    data.write([Buffer.from("b")], 0);
    data.writeBack(() => true);
    data.write([Buffer.from("c")], 0);
    data.write([Buffer.from("d")], PAGE_BYTES);
    data.crash(() => false);
    expect(data.read(0, 2 * PAGE_BYTES).toString()).toBe("b");
  });

  it("keeps a synchronous write over a crash and loses the others", () => {
    const data = new SparseData();
    data.write([Buffer.alloc(2 * PAGE_BYTES, "a")], 0);
    data.syncRange(0, 2 * PAGE_BYTES);
    data.write([Buffer.from("b")], 0);
    data.write([Buffer.from("c")], PAGE_BYTES);
    data.syncRange(PAGE_BYTES, 1);
    data.crash(() => false);
    expect(data.read(0, 1).toString()).toBe("a");
    expect(data.read(PAGE_BYTES, 2).toString()).toBe("ca");
  });
});
