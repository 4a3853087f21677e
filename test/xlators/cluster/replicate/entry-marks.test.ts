/**
 * What operations on names leave on the copies: the vectors of translators.md 12, and what each way of
 * failing leaves (spec 4.4).
 */

import { describe, expect, it } from "vitest";
import { S_IFIFO } from "../../../../src/core/iatt.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { Copies } from "./three-copies.ts";

const GRANULAR = { "granular-entry-heal": "on" };

describe("marks after operations on names", () => {
  it("are none while all copies take part", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const dir = await session.mkdir("d");
    await session.create("f", { parent: dir });
    await session.mkdir("sub", { parent: dir });
    await session.rename("f", "g", dir);
    await session.unlink("g", dir);
    await session.rmdir("sub", dir);
    for (const index of [0, 1, 2]) {
      expect(await copies.marks(index, dir)).toEqual({});
      expect(await copies.marks(index, session.root)).toEqual({});
    }
    expect(copies.wires.map((wire) => wire.count("xattrop"))).toEqual([0, 0, 0]);
  });

  it("are those of GlusterFS with a copy away", async () => {
    await using copies = await Copies.start({ options: GRANULAR });
    const { session } = copies;
    const d = await session.mkdir("d");
    await session.create("g", { parent: d });
    await session.create("p");
    copies.wires[2]!.cut();
    const fresh = await session.create("new", { parent: d });
    const sub = await session.mkdir("sub", { parent: d });
    await session.unlink("g", d);
    await session.rename("p", "p2");
    for (const index of [0, 1]) {
      expect(await copies.marks(index, session.root)).toEqual({ 2: [0, 0, 2] });
      expect(await copies.marks(index, d)).toEqual({ 2: [0, 0, 3] });
      expect(await copies.marks(index, fresh.inode)).toEqual({ 2: [1, 1, 0] });
      expect(await copies.marks(index, sub)).toEqual({ 2: [1, 1, 1] });
    }
  });

  it("ask for no full heal of a new directory when names are not recorded", async () => {
    await using copies = await Copies.start();
    copies.wires[1]!.cut();
    const dir = await copies.session.mkdir("d");
    expect(await copies.marks(0, dir)).toEqual({ 1: [0, 1, 1] });
  });

  it("are metadata alone on new objects without content, and none on symbolic links", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    copies.wires[0]!.cut();
    const fifo = await session.mknod("fifo", S_IFIFO | 0o600);
    const link = await session.symlink("link", "target");
    expect(await copies.marks(1, fifo)).toEqual({ 0: [0, 1, 0] });
    expect(await copies.marks(1, link)).toEqual({});
    expect(await copies.marks(1, session.root)).toEqual({ 0: [0, 0, 2] });
  });

  it("count a rename once for each of two directories", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const [a, b] = [await session.mkdir("a"), await session.mkdir("b")];
    await session.create("f", { parent: a });
    copies.wires[2]!.cut();
    await session.rename("f", "f", a, b);
    expect(await copies.marks(0, a)).toEqual({ 2: [0, 0, 1] });
    expect(await copies.marks(0, b)).toEqual({ 2: [0, 0, 1] });
  });

  it("blame a copy that fails, and nobody when all refuse for the same reason", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    copies.errors[1]!.failNext("mkdir", "ENOSPC");
    const dir = await session.mkdir("d");
    expect(await copies.marks(0, session.root)).toEqual({ 1: [0, 0, 1] });
    expect(await copies.marks(2, dir)).toEqual({ 1: [0, 1, 1] });
    expect(await copies.marks(1, session.root)).toEqual({});

    await expect(session.mkdir("d")).rejects.toMatchObject({ code: "EEXIST" });
    expect(await copies.marks(0, session.root)).toEqual({ 1: [0, 0, 1] });
  });

  it("are dirt, not blame, when too few copies did it", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    copies.errors[1]!.failNext("create", "ENOSPC");
    copies.errors[2]!.failNext("create", "EIO");
    await expect(session.create("f")).rejects.toMatchObject({ code: "ENOSPC" });
    expect(await copies.marks(0, session.root)).toEqual({ dirty: [0, 0, 1] });
    expect(await copies.marks(1, session.root)).toEqual({});
  });

  it("stay dirty when a copy fails while another is away", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    copies.wires[2]!.cut();
    copies.errors[1]!.failNext("mkdir", "ENOSPC");
    await expect(session.mkdir("d")).rejects.toMatchObject({ code: "ENOSPC" });
    for (const index of [0, 1]) expect(await copies.marks(index, session.root)).toEqual({ dirty: [0, 0, 1] });
  });

  it("blame a copy whose directory is not empty: what is in it was never acknowledged", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const dir = await session.mkdir("d");
    await copies.brick(1).create("left over", { parent: dir });
    await session.rmdir("d");
    for (const index of [0, 2]) expect(await copies.marks(index, session.root)).toEqual({ 1: [0, 0, 1] });
  });

  it("leave a copy alone whose directory is not empty, without a rule of quorum", async () => {
    await using copies = await Copies.start({ options: { "quorum-type": "none" } });
    const { session } = copies;
    const dir = await session.mkdir("d");
    await copies.brick(1).create("left over", { parent: dir });
    await session.rmdir("d");
    for (const index of [0, 1, 2]) expect(await copies.marks(index, session.root)).toEqual({});
  });

  it("blame the copy that did what the others refused", async () => {
    await using copies = await Copies.start({ options: GRANULAR });
    const { session } = copies;
    for (const index of [1, 2]) copies.errors[index]!.failNext("create", "ENOSPC");
    await expect(session.create("f")).rejects.toMatchObject({ code: "ENOSPC" });
    expect(await copies.marks(0, session.root)).toEqual({});
    for (const index of [1, 2]) expect(await copies.marks(index, session.root)).toEqual({ 0: [0, 0, 1] });
  });

  it("never blame all copies: the last one that nobody blames has to take part", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    copies.wires[0]!.cut();
    await session.mkdir("a");
    copies.wires[0]!.mend();
    copies.wires[1]!.cut();
    await session.mkdir("b");
    copies.wires[1]!.mend();
    copies.wires[2]!.cut();
    await expect(session.mkdir("c")).rejects.toMatchObject({ code: "ENOTCONN" });
    copies.wires[2]!.mend();
    copies.errors[2]!.failNext("mkdir", "EIO");
    await expect(session.mkdir("d")).rejects.toMatchObject({ code: "EIO" });
    expect(await copies.marks(0, session.root)).toMatchObject({ 1: [0, 0, 1] });
    for (const index of [0, 1]) expect(await copies.marks(index, session.root)).not.toHaveProperty("2");
  });

  it("are undone when quorum is lost before anything happened", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    copies.wires[2]!.cut();
    copies.errors[1]!.failNext("xattrop", "EIO");
    await expect(session.mkdir("d")).rejects.toMatchObject({ code: "EIO" });
    expect(await copies.marks(0, session.root)).toEqual({});
    expect(copies.wires[0]!.count("mkdir")).toBe(0);
  });

  it("keep dirty counts even with optimistic-change-log off", async () => {
    await using copies = await Copies.start({ options: { "optimistic-change-log": "off" } });
    const { session } = copies;
    await session.mkdir("d");
    expect(copies.wires.map((wire) => wire.count("xattrop"))).toEqual([2, 2, 2]);
    for (const index of [0, 1, 2]) expect(await copies.marks(index, session.root)).toEqual({});
  });
});

describe("recorded names", () => {
  async function recorded(copies: Copies, index: number, dir: Inode): Promise<string[]> {
    const brick = copies.brick(index);
    const key = "glusterfs.xattrop_entry_changes_gfid";
    const { xattrs } = await brick.top.getxattr(brick.call, { loc: { inode: brick.root }, name: key });
    const all = brick.table.obtain(xattrs.gfid(key)!);
    all.type = 0o040000;
    const gfid = dir.gfid.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
    if (!(await brick.exists(gfid, all))) return [];
    return (await brick.list(await brick.inode(gfid, all))).sort();
  }

  it("are those that a copy missed", async () => {
    await using copies = await Copies.start({ options: GRANULAR });
    const { session } = copies;
    const d = await session.mkdir("d");
    await session.create("g", { parent: d });
    await session.create("p");
    copies.wires[2]!.cut();
    await session.create("new", { parent: d });
    await session.mkdir("sub", { parent: d });
    await session.unlink("g", d);
    await session.rename("p", "p2");
    expect(await recorded(copies, 0, d)).toEqual(["g", "new", "sub"]);
    expect(await recorded(copies, 1, session.root)).toEqual(["p", "p2"]);
  });

  it("are forgotten when all copies have them", async () => {
    await using copies = await Copies.start({ options: { ...GRANULAR, "optimistic-change-log": "off" } });
    await copies.session.mkdir("d");
    expect(await recorded(copies, 0, copies.session.root)).toEqual([]);
  });
});
