/** readdir and readdirp of storage/posix: every entry once, whatever happens meanwhile (wire.md 6.3, 9.6). */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import type { Dirent } from "../../../../src/core/fops.ts";
import { inoOf, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { ZERO_IATT } from "../../../../src/core/iatt.ts";
import { Fd, type Inode } from "../../../../src/core/inode.ts";
import { O_RDONLY } from "../../../../src/core/open-flags.ts";
import { CALL, PosixFixture, stamped } from "./brick-fixture.ts";

async function openDirectory(brick: PosixFixture, inode: Inode): Promise<Fd> {
  const fd = new Fd(inode, O_RDONLY);
  await brick.top.opendir(CALL, { loc: { inode }, fd });
  return fd;
}

/** Pages of the given size from an offset to the end; `between` runs after the first page. */
async function list(
  brick: PosixFixture,
  fd: Fd,
  { size = 4096, offset = 0n, between = async () => {} } = {},
): Promise<Dirent[]> {
  const all: Dirent[] = [];
  for (let page = 0; ; page++) {
    const { entries, eof } = await brick.top.readdir(CALL, { fd, size, offset });
    all.push(...entries);
    if (eof) return all;
    expect(entries.length).toBeGreaterThan(0);
    offset = entries.at(-1)!.offset;
    if (page === 0) await between();
  }
}

const names = (entries: readonly Dirent[]): string[] => entries.map((entry) => entry.name).sort();

describe("readdir", () => {
  it("gives all entries once, in pages of any size, and hides the brick's own directory", async () => {
    await using brick = await PosixFixture.start();
    const expected = [".", ".."];
    for (let i = 0; i < 40; i++) {
      await brick.create(`f${i}`);
      expected.push(`f${i}`);
    }
    const fd = await openDirectory(brick, brick.root);
    for (const size of [1, 100, 1000, 1 << 20])
      expect(names(await list(brick, fd, { size }))).toEqual(expected.sort());
    const all = await list(brick, fd);
    for (const { offset } of all) {
      expect(offset).toBeGreaterThan(0n);
      expect(offset).toBeLessThan(2n ** 41n);
    }
  });

  it("gives kinds, and inode numbers that stat gives too", async () => {
    await using brick = await PosixFixture.start();
    const { inode: file } = await brick.create("f");
    const { inode: directory } = await brick.mkdir("d");
    const link = await brick.symlink("l", "x");
    const { inode: inner } = await brick.mkdir("inner", { parent: directory });
    const fd = await openDirectory(brick, brick.root);
    const byName = new Map((await list(brick, fd)).map((entry) => [entry.name, entry]));
    expect(byName.get("f")).toMatchObject({ type: 8, ino: inoOf(file.gfid) });
    expect(byName.get("d")).toMatchObject({ type: 4, ino: inoOf(directory.gfid) });
    expect(byName.get("l")).toMatchObject({ type: 10, ino: inoOf(link.gfid) });
    expect(byName.get(".")).toMatchObject({ type: 4, ino: 1n });
    const below = new Map(
      (await list(brick, await openDirectory(brick, inner))).map((entry) => [entry.name, entry]),
    );
    expect(below.get(".")!.ino).toBe(inoOf(inner.gfid));
    expect(below.get("..")!.ino).toBe(inoOf(directory.gfid));
  });

  it("goes on after any offset, on another fd and while entries come and go", async () => {
    await using brick = await PosixFixture.start();
    for (let i = 0; i < 60; i++) await brick.create(`f${i}`);
    const fd = await openDirectory(brick, brick.root);
    const all = await list(brick, fd);
    const middle = all[30]!;
    const rest = names(all.slice(31));
    expect(names(await list(brick, fd, { offset: middle.offset }))).toEqual(rest);
    const other = await openDirectory(brick, brick.root);
    expect(names(await list(brick, other, { offset: middle.offset }))).toEqual(rest);
    expect(names(await list(brick, Fd.anonymous(brick.root, O_RDONLY), { offset: middle.offset }))).toEqual(
      rest,
    );
    const gone = all.at(-1)!.name;
    const seen = await list(brick, fd, {
      size: 500,
      between: async () => {
        await brick.unlink(gone);
        await brick.create("newcomer");
      },
    });
    const stayed = names(all).filter((name) => name !== gone);
    expect(names(seen)).toEqual(expect.arrayContaining(stayed));
    expect(new Set(names(seen)).size).toBe(seen.length);
    expect(names(seen)).not.toContain(gone);
    expect(names(await list(brick, fd))).toContain("newcomer");
  });

  it("leaves directories out when distribute asks for that", async () => {
    await using brick = await PosixFixture.start();
    await brick.create("f");
    await brick.mkdir("d");
    const fd = await openDirectory(brick, brick.root);
    const xdata = new Dict().setInt("readdir-filter-directories", 1);
    const { entries, eof } = await brick.top.readdir(CALL, { fd, size: 4096, offset: 0n, xdata });
    expect(names(entries)).toEqual(["f"]);
    expect(eof).toBe(true);
  });

  it("needs a directory that is there", async () => {
    await using brick = await PosixFixture.start();
    const { inode: file } = await brick.create("f");
    await expect(openDirectory(brick, file)).rejects.toMatchObject({ code: "ENOTDIR" });
    const { inode } = await brick.mkdir("d");
    const fd = await openDirectory(brick, inode);
    await brick.top.rmdir(CALL, { loc: brick.entry("d", brick.root, inode), flags: 0 });
    await expect(list(brick, fd)).rejects.toMatchObject({ code: "ESTALE" });
    await expect(openDirectory(brick, inode)).rejects.toMatchObject({ code: "ESTALE" });
    const never = new Fd(brick.root, O_RDONLY);
    await expect(list(brick, never)).rejects.toMatchObject({ code: "EBADF" });
  });
});

describe("readdirp", () => {
  it("gives attributes and the xattrs asked for, as lookup does", async () => {
    await using brick = await PosixFixture.start();
    const xdata = new Dict().setBytes("trusted.glusterfs.dht", Buffer.alloc(16, 1));
    await brick.create("f", { call: stamped(7, 77), mode: 0o600 });
    await brick.mkdir("d", { xdata });
    const fd = await openDirectory(brick, brick.root);
    const asked = new Dict().setInt("trusted.glusterfs.*", 0);
    const { entries, eof } = await brick.top.readdirp(CALL, { fd, size: 65536, offset: 0n, xdata: asked });
    expect(eof).toBe(true);
    const byName = new Map(entries.map((entry) => [entry.name, entry]));
    expect(byName.get("f")!.stat).toEqual((await brick.lookup("f")).stat);
    expect(byName.get("f")!.stat).toMatchObject({ mtime: 77, mode: 0o100600 });
    expect(byName.get("f")!.xattrs!.bytes("trusted.glusterfs.mdata")).toHaveLength(57);
    expect(byName.get("d")!.xattrs!.bytes("trusted.glusterfs.dht")).toEqual(Buffer.alloc(16, 1));
    expect(byName.get(".")!.ino).toBe(inoOf(ROOT_GFID));
  });

  it("has room for fewer entries than readdir in the same size", async () => {
    await using brick = await PosixFixture.start();
    for (let i = 0; i < 30; i++) await brick.create(`f${i}`);
    const fd = await openDirectory(brick, brick.root);
    const args = { fd, size: 4096, offset: 0n };
    const plus = await brick.top.readdirp(CALL, args);
    const plain = await brick.top.readdir(CALL, args);
    expect(plus.entries.length).toBeLessThan(plain.entries.length);
    expect(plus.entries.length).toBeGreaterThan(10);
    expect(plus.eof).toBe(false);
  });

  it("lists an entry that was removed since the snapshot, without attributes", async () => {
    await using brick = await PosixFixture.start();
    await brick.create("f");
    const fd = await openDirectory(brick, brick.root);
    const first = await brick.top.readdirp(CALL, { fd, size: 1, offset: 0n });
    const { offset } = first.entries.at(-1)!;
    await brick.unlink("f");
    const { entries } = await brick.top.readdirp(CALL, { fd, size: 4096, offset });
    expect(entries.find((entry) => entry.name === "f")!.stat).toEqual(ZERO_IATT);
  });
});
