import { describe, expect, it } from "vitest";
import { gfidAt, gfidText, newGfid, parseGfid, ROOT_GFID } from "../../src/core/gfid.ts";
import { Inode, InodeTable } from "../../src/core/inode.ts";

describe("inode table", () => {
  it("has the root from the beginning and never lets it go", () => {
    const table = new InodeTable();
    table.letGo(table.root, 100);
    expect(table.find(ROOT_GFID)).toBe(table.root);
  });

  it("gives one object a gfid, whoever links it", () => {
    const table = new InodeTable();
    const gfid = newGfid();
    const first = table.link(new Inode(), gfid, 0o100644);
    const second = table.link(new Inode(), gfid, 0o100644);
    expect(second).toBe(first);
    expect(first.type).toBe(0o100000);
  });

  it("never changes the gfid of an inode that has one", () => {
    const table = new InodeTable();
    const old = table.link(new Inode(), newGfid(), 0o100644);
    const fresh = table.link(old, newGfid(), 0o100644);
    expect(fresh).not.toBe(old);
  });

  it("keeps held inodes and forgets the idle ones that were used least", () => {
    const forgotten: Inode[] = [];
    const table = new InodeTable({ idleMax: 2, onForget: (inode) => forgotten.push(inode) });
    const [a, b, c, d] = [newGfid(), newGfid(), newGfid(), newGfid()].map((gfid) =>
      table.link(new Inode(), gfid, 0o100644),
    );
    expect(forgotten).toEqual([a, b]);
    table.hold(c!, 2);
    table.letGo(c!);
    table.link(new Inode(), newGfid(), 0);
    table.link(new Inode(), newGfid(), 0);
    expect(forgotten).toEqual([a, b, d]);
    expect(table.find(c!.gfid)).toBe(c);
    table.letGo(c!);
    expect(table.find(c!.gfid)).toBe(c);
  });
});

describe("gfid", () => {
  it("reads and prints uuids, with and without dashes", () => {
    const text = "be318638-e8a0-4c6d-977d-7a937aa84806";
    expect(gfidText(parseGfid(text)!)).toBe(text);
    expect(gfidText(parseGfid(text.replaceAll("-", ""))!)).toBe(text);
    expect(parseGfid("be318638")).toBeUndefined();
  });

  it("keeps no other memory alive than that of other gfids", () => {
    const received = Buffer.allocUnsafe(64).fill(7);
    const gfids = Array.from({ length: 1000 }, () => gfidAt(received, 8));
    const scratch = Buffer.allocUnsafe(16);
    expect(gfids.every((gfid) => gfid.equals(received.subarray(0, 16)))).toBe(true);
    const memories = new Set([...gfids, newGfid()].map(({ buffer }) => buffer));
    expect(memories.has(scratch.buffer)).toBe(false);
    const bytes = [...memories].reduce((sum, { byteLength }) => sum + byteLength, 0);
    expect(bytes).toBeLessThan(1000 * 16 + 2 * 4096);
  });
});
