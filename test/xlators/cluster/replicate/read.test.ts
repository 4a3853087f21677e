/** Which copy is read, and which never is (spec translators.md 4.5). */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import type { Fd } from "../../../../src/core/inode.ts";
import { Copies } from "./three-copies.ts";

/** What features/shard asks for with a stat: the size of a file in blocks, an xattr as any other. */
const SIZE_IN_BLOCKS = "trusted.glusterfs.shard.file-size";
const FIRST = { "read-hash-mode": "0" };

describe("reads", () => {
  it("go to one copy, without asking the others once it is known to be good", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    const fd = await session.open(await copies.file("f"));
    await session.read(fd);
    copies.clearCalls();
    for (let round = 0; round < 10; round++) expect(await session.text(fd)).toBe("content");
    expect(copies.wires.map((wire) => wire.calls.map(({ fop }) => fop))).toEqual([
      Array(10).fill("readv"),
      [],
      [],
    ]);
  });

  it("never take a copy that another one blames, preferred or not", async () => {
    await using copies = await Copies.start({ options: { "read-subvolume-index": "0" } });
    const { session } = copies;
    const inode = await copies.file("f", "old");
    copies.wires[0]!.cut();
    const fd = await session.open(inode);
    await session.write(fd, "new and longer");
    await session.close(fd);
    copies.wires[0]!.mend();
    copies.clearCalls();
    expect((await session.stat("f")).size).toBe(14);
    expect((await session.statInode(inode)).size).toBe(14);
    const again = await session.open(inode);
    expect(await session.text(again)).toBe("new and longer");
    expect(copies.wires[0]!.count("readv")).toBe(0);
    expect(copies.wires[0]!.count("stat")).toBe(0);
  });

  it("notice within ten seconds what another client found out", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    const fd = await session.open(await copies.file("f"));
    await session.read(fd);
    for (const index of [1, 2]) await copies.mark(index, fd.inode, 0, [1, 0, 0]);
    await copies.env.clock.advance(10_000);
    await session.read(fd);
    await copies.env.clock.advance(1);
    copies.clearCalls();
    await session.read(fd);
    expect(copies.wires.map((wire) => wire.count("readv"))).toEqual([0, 1, 0]);
  });

  it("ask once in ten seconds for all files together while nothing is to be healed", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    const fds: Fd[] = [];
    for (const name of ["one", "two", "three"]) fds.push(await session.open(await copies.file(name)));
    const readAll = async (): Promise<number> => {
      copies.clearCalls();
      for (const fd of fds) {
        await session.read(fd);
        await copies.env.clock.advance(1);
      }
      return copies.wires[2]!.count("lookup");
    };
    await readAll();
    for (let round = 0; round < 3; round++) {
      await copies.env.clock.advance(10_000);
      expect(await readAll()).toBe(1);
    }
    // Another client blamed a copy of one of them: from now on each is asked for.
    for (const index of [1, 2]) await copies.mark(index, fds[2]!.inode, 0, [1, 0, 0]);
    await copies.env.clock.advance(10_000);
    expect(await readAll()).toBe(3);
    copies.clearCalls();
    await session.read(fds[2]!);
    expect(copies.wires.map((wire) => wire.count("readv"))).toEqual([0, 1, 0]);
  });

  it("take a copy that is merely dirty", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    const inode = await copies.file("f");
    await copies.mark(0, inode, "dirty", [1, 0, 0]);
    copies.wires[1]!.cut();
    copies.clearCalls();
    expect(await session.text(await session.open(inode))).toBe("content");
    expect(copies.wires[0]!.count("readv")).toBe(1);
  });

  it("leave a smaller copy of an idle file alone", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    const inode = await copies.file("f", "0123456789");
    await copies.env.clock.advance(2000);
    await copies.scribble(0, inode, "0123");
    copies.wires[2]!.cut();
    expect((await session.stat("f")).size).toBe(10);
    expect(await session.text(await session.open(inode))).toBe("0123456789");
    expect(copies.wires[0]!.count("readv")).toBe(0);
  });

  it("go on with another copy when one fails, and come back to it", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    const fd = await session.open(await copies.file("f"));
    copies.errors[0]!.failNext("readv", "EIO");
    expect(await session.text(fd)).toBe("content");
    expect(copies.wires.map((wire) => wire.count("readv"))).toEqual([1, 1, 0]);
    expect(await session.text(fd)).toBe("content");
    expect(copies.wires.map((wire) => wire.count("readv"))).toEqual([2, 1, 0]);
  });

  it("fail when every copy does, with the error of the last", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    const fd = await session.open(await copies.file("f"));
    for (const error of copies.errors) error.failNext("readv", "EIO");
    await expect(session.read(fd)).rejects.toMatchObject({ code: "EIO" });
    expect(copies.wires.map((wire) => wire.count("readv"))).toEqual([1, 1, 1]);
  });

  it("believe a good copy that an xattr is not there", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    const inode = await copies.file("f");
    await session.statInode(inode);
    copies.clearCalls();
    await expect(session.getxattr(inode, "user.none")).rejects.toMatchObject({ code: "ENODATA" });
    expect(copies.wires.map((wire) => wire.calls.length)).toEqual([1, 0, 0]);
  });

  it("are EIO for data and open in data split brain, while names are still found", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const inode = await copies.file("f");
    const fd = await session.open(inode);
    await copies.env.clock.advance(2000);
    for (const [by, blamed] of [
      [0, 1],
      [0, 2],
      [1, 0],
      [2, 0],
    ] as const)
      await copies.mark(by, inode, blamed, [1, 0, 0]);
    copies.wires[0]!.cut();
    copies.wires[0]!.mend();
    await expect(session.read(fd)).rejects.toMatchObject({ code: "EIO" });
    await expect(session.statInode(inode)).rejects.toMatchObject({ code: "EIO" });
    await expect(session.open(inode)).rejects.toMatchObject({ code: "EIO" });
    expect(await session.list()).toEqual(["f"]);
    expect(await session.exists("f")).toBe(true);
  });

  it("need quorum", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const inode = await copies.file("f");
    const fd = await session.open(inode);
    await session.read(fd);
    copies.wires[1]!.cut();
    expect(await session.text(fd)).toBe("content");
    copies.wires[2]!.cut();
    const failing = [
      session.read(fd),
      session.statInode(inode),
      session.lookup("f"),
      session.lookup("not there"),
      session.opendir(),
      session.getxattr(inode, "user.x"),
      session.top.statfs(session.call, { loc: { inode: session.root } }),
    ];
    for (const one of failing) await expect(one).rejects.toMatchObject({ code: "ENOTCONN" });
  });

  it("give size, owner and xattrs from the copies that know them", async () => {
    await using copies = await Copies.start({ options: { "quorum-type": "none" }, count: 2 });
    const { session } = copies;
    const inode = await copies.file("f", "old");
    await copies.env.clock.advance(2000);
    copies.wires[0]!.cut();
    const fd = await session.open(inode);
    await session.write(fd, "longer");
    await session.close(fd);
    await copies.env.clock.advance(2000);
    copies.wires[0]!.mend();
    copies.wires[1]!.cut();
    await session.setattr(inode, SETATTR.MODE, { mode: 0o600 });
    await session.setxattr(inode, SIZE_IN_BLOCKS, "told");
    copies.wires[1]!.mend();
    await copies.env.clock.advance(2000);
    const again = await session.open(inode);
    const xdata = new Dict().setUint(SIZE_IN_BLOCKS, 0);
    for (const reply of [
      await session.top.stat(session.call, { loc: { inode }, xdata }),
      await session.top.fstat(session.call, { fd: again, xdata }),
    ]) {
      expect([reply.stat.size, reply.stat.mode & 0o777]).toEqual([6, 0o600]);
      expect(reply.xdata?.bytes(SIZE_IN_BLOCKS)?.toString()).toBe("told");
    }
    const found = await session.lookup("f", session.root, xdata);
    expect([found.stat.size, found.stat.mode & 0o777]).toEqual([6, 0o600]);
    expect(found.xdata?.bytes(SIZE_IN_BLOCKS)?.toString()).toBe("told");
  });
});

describe("reads beside an arbiter", () => {
  const ARBITER = { "arbiter-count": "1" };

  it("never go to it", async () => {
    for (const mode of ["0", "1", "2", "3", "4", "5"]) {
      await using copies = await Copies.start({ options: { ...ARBITER, "read-hash-mode": mode } });
      const { session } = copies;
      for (const name of ["a", "b", "c", "d"]) {
        const fd = await session.open(await copies.file(name));
        expect(await session.text(fd)).toBe("content");
        await session.size(fd);
        await session.statInode(fd.inode);
      }
      expect(await session.list()).toEqual(["a", "b", "c", "d"]);
      for (const fop of ["readv", "fstat", "stat", "readdir", "statfs"] as const)
        expect([mode, fop, copies.wires[2]!.count(fop)]).toEqual([mode, fop, 0]);
    }
  });

  it("fail when only it is good", async () => {
    await using copies = await Copies.start({ options: ARBITER });
    const { session } = copies;
    const inode = await copies.file("f", "old");
    await copies.env.clock.advance(2000);
    copies.wires[0]!.cut();
    const fd = await session.open(inode);
    await session.write(fd, "new");
    await session.close(fd);
    await copies.env.clock.advance(2000);
    copies.wires[0]!.mend();
    copies.wires[1]!.cut();
    await expect(session.open(inode)).rejects.toMatchObject({ code: "EIO" });
    await expect(session.statInode(inode)).rejects.toMatchObject({ code: "EIO" });
  });

  it("list no directory from a copy that missed names while the good one is away", async () => {
    await using copies = await Copies.start({ options: ARBITER });
    const { session } = copies;
    const dir = await session.mkdir("d");
    copies.wires[1]!.cut();
    await session.create("new", { parent: dir });
    copies.wires[1]!.mend();
    copies.wires[0]!.cut();
    await expect(session.list(dir)).rejects.toMatchObject({ code: "ENOTCONN" });
    copies.wires[0]!.mend();
    expect(await session.list(dir)).toEqual(["new"]);
  });

  it("say how much fits into the data copies (ARB-04)", async () => {
    await using copies = await Copies.start({ options: ARBITER });
    const { session } = copies;
    await session.top.statfs(session.call, { loc: { inode: session.root } });
    expect(copies.wires.map((wire) => wire.count("statfs"))).toEqual([1, 1, 0]);
  });
});

describe("a listing", () => {
  it("stays with the copy it began on, and fails over at its beginning only", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    for (let index = 0; index < 20; index++) await session.create(`f${index}`);
    const fd = await session.opendir();
    copies.errors[0]!.failNext("readdir", "EIO");
    const first = await session.top.readdir(session.call, { fd, size: 256, offset: 0n });
    expect(copies.wires.map((wire) => wire.count("readdir"))).toEqual([1, 1, 0]);
    const { offset } = first.entries.at(-1)!;
    await session.top.readdir(session.call, { fd, size: 256, offset });
    expect(copies.wires.map((wire) => wire.count("readdir"))).toEqual([1, 2, 0]);
    copies.wires[1]!.cut();
    await expect(session.top.readdir(session.call, { fd, size: 256, offset })).rejects.toMatchObject({
      code: "ENOTCONN",
    });
  });

  it("never comes from a copy that missed names", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    const dir = await session.mkdir("d");
    copies.wires[0]!.cut();
    await session.create("new", { parent: dir });
    copies.wires[0]!.mend();
    expect(await session.list(dir)).toEqual(["new"]);
    expect(copies.wires[0]!.count("readdir")).toBe(0);
  });

  it("brings no attributes of copies that may be stale", async () => {
    await using copies = await Copies.start({ options: FIRST });
    const { session } = copies;
    const inode = await copies.file("f", "old");
    await copies.file("g", "same");
    await copies.env.clock.advance(2000);
    copies.wires[0]!.cut();
    const fd = await session.open(inode);
    await session.write(fd, "longer");
    await session.close(fd);
    await copies.env.clock.advance(2000);
    copies.wires[0]!.mend();
    const sizes = async (): Promise<Record<string, number>> => {
      const dir = await session.opendir();
      const { entries } = await session.top.readdirp(session.call, { fd: dir, size: 4096, offset: 0n });
      const files = entries.filter(({ name }) => name === "f" || name === "g");
      return Object.fromEntries(files.map(({ name, stat }) => [name, stat.size]));
    };
    // The directory itself is good on copy 0, which is listed; of "f" that copy is stale.
    expect(await sizes()).toEqual({ f: 0, g: 0 });
    await session.lookup("g");
    expect(await sizes()).toEqual({ f: 0, g: 4 });
  });

  it("brings attributes when nothing waits for a heal", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    await copies.file("f");
    await copies.env.clock.advance(2000);
    const fd = await session.opendir();
    await session.statInode(session.root);
    const { entries } = await session.top.readdirp(session.call, { fd, size: 4096, offset: 0n });
    expect(entries.find(({ name }) => name === "f")?.stat.size).toBe(7);
  });

  it("does not show what heals hide in the root, even when that is all there is", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    for (const index of [0, 1, 2]) {
      const brick = copies.brick(index);
      for (let count = 0; count < 10; count++)
        await brick.mkdir(`.glusterfs-anonymous-inode-${count}`.padEnd(60, "x"));
    }
    await session.create("zzz");
    expect(await session.list(session.root, 128)).toEqual(["zzz"]);
    await expect(session.lookup(".glusterfs-anonymous-inode-1")).rejects.toMatchObject({ code: "EPERM" });
  });
});
