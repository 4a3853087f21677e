/** Listings of directories on several children, and their offsets. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Cookies } from "../../../../xlators/cluster/distribute/listing.ts";
import { Spread } from "./spread.ts";

describe("offsets", () => {
  it("small ones come back exactly, with their child", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 100 }),
        fc.nat(),
        fc.bigInt(1n, 2n ** 53n),
        (count, some, offset) => {
          const child = some % count;
          const cookie = new Cookies(count).encode(child, offset);
          expect(new Cookies(count).decode(cookie)).toEqual({ child, offset });
          expect(cookie < 2n ** 63n).toBe(true);
        },
      ),
    );
  });

  it("huge ones keep their child, never grow, and lose no more than their low bits", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 100 }),
        fc.nat(),
        fc.bigInt(2n ** 55n, 2n ** 63n - 1n),
        (count, some, offset) => {
          const child = some % count;
          const cookies = new Cookies(count);
          const back = cookies.decode(cookies.encode(child, offset));
          expect(back.child).toBe(child);
          expect(back.offset <= offset).toBe(true);
          expect(offset - back.offset < 2n ** BigInt(Math.ceil(Math.log2(count)) + 1)).toBe(true);
        },
      ),
    );
  });

  it("are GlusterFS' of a graph with that many bricks", () => {
    expect(new Cookies(3).encode(2, 5n)).toBe(17n);
    expect(new Cookies(6).encode(4, 0x7fffffffffffffffn)).toBe(0x7ffffffffffffffcn);
    expect(new Cookies(2).encode(1, 0x4000000000000000n)).toBe(0x6000000000000001n);
  });
});

describe("a listing", () => {
  it("has each name once: directories, files where they belong, files that lie elsewhere", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const expected: string[] = [];
    for (let index = 0; index < 40; index++) {
      await session.mkdir(`dir${index}`);
      await session.create(`file${index}`);
      await spread.fileOn(index % 3, `placed${index}`, "x");
      expected.push(`dir${index}`, `file${index}`, `placed${index}`);
    }
    for (const size of [64, 700, 65536])
      expect((await session.list(session.root, size)).sort()).toEqual(expected.sort());
  });

  it("goes on without a child that is away: directories still once, its files missing", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    for (let index = 0; index < 12; index++) await session.mkdir(`dir${index}`);
    const lost = await spread.nameOn(1, "lost");
    await session.create(lost);
    const kept = await spread.nameOn(2, "kept");
    await session.create(kept);
    spread.wires[1]!.cut();
    const names = await session.list();
    expect(names.filter((name) => name.startsWith("dir"))).toHaveLength(12);
    expect(names).toContain(kept);
    expect(names).not.toContain(lost);
    expect(new Set(names).size).toBe(names.length);
  });

  it("goes on when a child leaves in the middle", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    for (let index = 0; index < 60; index++) await session.create(`file${index}`);
    const fd = await session.opendir();
    const first = await session.top.readdir(session.call, { fd, size: 200, offset: 0n });
    spread.wires[0]!.cut();
    const rest = await session.top.readdir(session.call, {
      fd,
      size: 65536,
      offset: first.entries.at(-1)!.offset,
    });
    expect(rest.eof).toBe(true);
    const names = [...first.entries, ...rest.entries].map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});
