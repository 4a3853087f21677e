/**
 * What storage/posix leaves on disk, as GlusterFS 10 leaves it (translators.md 2.1 to 2.5), seen with other
 * eyes than its own.
 */

// koffi is configured there, which must come before anything else is loaded through it.
import "../../../../src/os/libc.ts";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { describe, expect, it } from "vitest";
import { TIME_FLAGS } from "../../../../src/core/call.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { nodeEnv } from "../../../../src/core/env-node.ts";
import { gfidText, newGfid, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { Fd, Inode } from "../../../../src/core/inode.ts";
import { SILENT } from "../../../../src/core/log.ts";
import { O_CREAT, O_EXCL, O_RDONLY, O_RDWR } from "../../../../src/core/open-flags.ts";
import { getXattr, listXattrs, setXattr } from "../../../support/libc.ts";
import { until } from "../../../support/wait.ts";
import { CALL, PosixFixture, stamped, withGfid } from "./brick-fixture.ts";

const ROOT_TEXT = gfidText(ROOT_GFID);
const mode = (path: string): number => lstatSync(path).mode & 0o7777;
const gfid2path = (path: string): string[] =>
  listXattrs(path)
    .filter((key) => key.startsWith("trusted.gfid2path."))
    .map((key) => getXattr(path, key).toString())
    .sort();

describe("a brick that starts", () => {
  it("has the root's gfid and handle, 256 hash directories, landfill and unlink", async () => {
    await using brick = await PosixFixture.start();
    expect(getXattr(brick.directory, "trusted.gfid")).toEqual(ROOT_GFID);
    const hidden = brick.path(".glusterfs");
    const names = readdirSync(hidden);
    for (let i = 0; i < 256; i++) expect(names).toContain(i.toString(16).padStart(2, "0"));
    expect(mode(hidden)).toBe(0o700);
    expect(mode(brick.path(".glusterfs/a7"))).toBe(0o700);
    expect(mode(brick.path(".glusterfs/unlink"))).toBe(0o600);
    expect(mode(brick.path(".glusterfs/landfill"))).toBe(0o755);
    expect(readlinkSync(brick.handle(ROOT_GFID))).toBe("../../..");
  });
});

describe("a new entry", () => {
  it("file: has the asked gfid, one handle, one gfid2path, and counts one link", async () => {
    await using brick = await PosixFixture.start();
    const gfid = newGfid();
    const { reply } = await brick.create("f", { xdata: new Dict().setGfid("gfid-req", gfid), mode: 0o640 });
    expect(reply.stat).toMatchObject({ gfid, nlink: 1, mode: 0o100640, size: 0 });
    expect(getXattr(brick.path("f"), "trusted.gfid")).toEqual(gfid);
    expect(lstatSync(brick.handle(gfid)).ino).toBe(lstatSync(brick.path("f")).ino);
    expect(lstatSync(brick.path("f")).nlink).toBe(2);
    expect(gfid2path(brick.path("f"))).toEqual([`${ROOT_TEXT}/f`]);
    expect(listXattrs(brick.path("f")).sort()).toHaveLength(2);
  });

  it("directory: has a handle that leads to it through its parent's, and no gfid2path", async () => {
    await using brick = await PosixFixture.start();
    const outer = await brick.mkdir("d");
    const inner = await brick.mkdir("e", { parent: outer.inode });
    const text = gfidText(outer.inode.gfid);
    expect(readlinkSync(brick.handle(outer.inode.gfid))).toBe(`../../00/00/${ROOT_TEXT}/d`);
    expect(readlinkSync(brick.handle(inner.inode.gfid))).toBe(
      `../../${text.slice(0, 2)}/${text.slice(2, 4)}/${text}/e`,
    );
    expect(statSync(brick.handle(inner.inode.gfid)).ino).toBe(statSync(brick.path("d/e")).ino);
    expect(listXattrs(brick.path("d/e"))).toEqual(["trusted.gfid"]);
    expect(outer.reply.stat.nlink).toBe(2);
  });

  it("symlink and fifo: have hard links as handles, and gfid2path", async () => {
    await using brick = await PosixFixture.start();
    const link = await brick.symlink("l", "some/where");
    expect(readlinkSync(brick.handle(link.gfid))).toBe("some/where");
    expect(lstatSync(brick.path("l")).nlink).toBe(2);
    const xdata = withGfid(new Dict());
    const loc = brick.entry("p");
    const fifo = await brick.top.mknod(CALL, { loc, mode: 0o010600, rdev: 0, umask: 0, xdata });
    expect(fifo.stat).toMatchObject({ mode: 0o010600, nlink: 1 });
    expect(lstatSync(brick.handle(fifo.stat.gfid)).isFIFO()).toBe(true);
    expect(gfid2path(brick.path("l"))).toEqual([`${ROOT_TEXT}/l`]);
    expect(gfid2path(brick.path("p"))).toEqual([`${ROOT_TEXT}/p`]);
  });

  it("mknod without type bits makes a regular file; a device keeps its number", async () => {
    await using brick = await PosixFixture.start();
    const plain = await brick.top.mknod(CALL, {
      loc: brick.entry("marker"),
      mode: 0,
      rdev: 0,
      umask: 0,
      xdata: withGfid(new Dict()),
    });
    expect(plain.stat.mode).toBe(0o100000);
    const device = await brick.top.mknod(CALL, {
      loc: brick.entry("null"),
      mode: 0o020666,
      rdev: 2 ** 32 + 3,
      umask: 0,
      xdata: withGfid(new Dict()),
    });
    expect(device.stat).toMatchObject({ mode: 0o020666, rdev: 2 ** 32 + 3 });
  });

  it("belongs to the caller, in a set-gid directory to its group", async () => {
    await using brick = await PosixFixture.start();
    const caller = { ...CALL, uid: 1000, gid: 1001 };
    const { inode } = await brick.mkdir("d", { call: caller });
    expect((await brick.create("d1", { call: caller })).reply.stat).toMatchObject({ uid: 1000, gid: 1001 });
    const valid = 1;
    const stat = { ...(await brick.top.stat(CALL, { loc: { inode } })).stat, mode: 0o042775 };
    await brick.top.setattr(CALL, { loc: { inode }, stat, valid });
    const other = { ...CALL, uid: 5, gid: 6 };
    const file = await brick.create("f", { parent: inode, call: other, mode: 0o6755 });
    expect(file.reply.stat).toMatchObject({ uid: 5, gid: 1001, mode: 0o106755 });
    const inner = await brick.mkdir("e", { parent: inode, call: other });
    expect(inner.reply.stat).toMatchObject({ uid: 5, gid: 1001, mode: 0o042755 });
  });

  it("takes the umask and the option masks", async () => {
    await using brick = await PosixFixture.start({
      "create-mask": "0770",
      "force-create-mode": "0001",
      "create-directory-mask": "0750",
    });
    const loc = brick.entry("f");
    const xdata = withGfid(new Dict());
    const made = await brick.top.mknod(CALL, { loc, mode: 0o100666, rdev: 0, umask: 0o022, xdata });
    expect(made.stat.mode).toBe(0o100641);
    expect((await brick.mkdir("d", { mode: 0o777 })).reply.stat.mode).toBe(0o040750);
  });

  it("keeps xattrs from xdata, but no control keys", async () => {
    await using brick = await PosixFixture.start();
    const size = Buffer.alloc(32, 1);
    const xdata = new Dict()
      .setBytes("trusted.glusterfs.shard.file-size", size)
      .setBytes("user.note", Buffer.from("x"))
      .setBytes("trusted.gfid", Buffer.alloc(16, 9))
      .setInt("glusterfs-internal-fop", 1)
      .setStr("glusterfs.inodelk-count", "1");
    const { inode } = await brick.create("f", { xdata });
    expect(getXattr(brick.path("f"), "trusted.glusterfs.shard.file-size")).toEqual(size);
    expect(getXattr(brick.path("f"), "trusted.gfid")).toEqual(inode.gfid);
    expect(listXattrs(brick.path("f")).sort()).toEqual([
      "trusted.gfid",
      expect.stringMatching(/^trusted\.gfid2path\./),
      "trusted.glusterfs.shard.file-size",
      "user.note",
    ]);
  });

  it("is stamped with the client's time, and so is its parent", async () => {
    await using brick = await PosixFixture.start();
    const flags = TIME_FLAGS.CTIME | TIME_FLAGS.MTIME | TIME_FLAGS.ATIME | 0x18;
    const call = stamped(flags, 0x6b017993, 0x03a150da);
    const { reply } = await brick.create("f", { call });
    expect(getXattr(brick.path("f"), "trusted.glusterfs.mdata").toString("hex")).toBe(
      `01${"0".repeat(16)}${"000000006b0179930000000003a150da".repeat(3)}`,
    );
    expect(reply.stat).toMatchObject({ mtime: 0x6b017993, mtimeNsec: 0x03a150da, atime: 0x6b017993 });
    expect(reply.postParent).toMatchObject({ mtime: 0x6b017993, mtimeNsec: 0x03a150da });
    expect(listXattrs(brick.directory)).toContain("trusted.glusterfs.mdata");
  });

  it.each(["mknod", "mkdir", "create", "symlink"] as const)("%s without gfid-req is EINVAL", async (fop) => {
    await using brick = await PosixFixture.start();
    const loc = brick.entry("x");
    const args = {
      loc,
      mode: 0o100644,
      rdev: 0,
      umask: 0,
      flags: O_RDWR,
      target: "t",
      fd: new Fd(loc.inode, 2),
    };
    await expect(brick.top[fop](CALL, args)).rejects.toMatchObject({ code: "EINVAL", xlator: "brick" });
    const zero = new Dict().setBytes("gfid-req", Buffer.alloc(16));
    await expect(brick.top[fop](CALL, { ...args, xdata: zero })).rejects.toMatchObject({ code: "EINVAL" });
    expect(readdirSync(brick.directory)).toEqual([".glusterfs"]);
  });

  it("leaves nothing behind when it fails half-way", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("first");
    const xdata = new Dict().setGfid("gfid-req", inode.gfid);
    await expect(brick.create("second", { xdata })).rejects.toMatchObject({ code: "EEXIST" });
    expect(existsSync(brick.path("second"))).toBe(false);
    expect(lstatSync(brick.handle(inode.gfid)).ino).toBe(lstatSync(brick.path("first")).ino);
    expect((await brick.lookup("first")).stat.nlink).toBe(1);
  });

  it("is refused when the parent's xattr is not the one that distribute believes in", async () => {
    await using brick = await PosixFixture.start();
    const layout = "trusted.glusterfs.dht";
    setXattr(brick.directory, layout, Buffer.alloc(16, 1));
    const guard = (value: number): Dict =>
      withGfid(
        new Dict().setStr("glusterfs.preop.parent.key", layout).setBytes(layout, Buffer.alloc(16, value)),
      );
    const failure = brick.mkdir("d", { xdata: guard(2) });
    await expect(failure).rejects.toMatchObject({ code: "EIO" });
    const { xdata } = await failure.catch((error) => error);
    expect(xdata.number("glusterfs.preop.check.failed")).toBe(1);
    expect(existsSync(brick.path("d"))).toBe(false);
    await brick.mkdir("d", { xdata: guard(1) });
    expect(listXattrs(brick.path("d"))).toEqual(["trusted.gfid"]);
  });

  it("create opens a file that exists, unless O_EXCL forbids it", async () => {
    await using brick = await PosixFixture.start();
    const first = await brick.create("f");
    await brick.write(first.fd, "old");
    const again = await brick.create("f");
    expect(again.reply.stat).toMatchObject({ gfid: first.inode.gfid, size: 3 });
    expect(await brick.read(again.fd)).toBe("old");
    await expect(brick.create("f", { flags: O_RDWR | O_CREAT | O_EXCL })).rejects.toMatchObject({
      code: "EEXIST",
    });
    await expect(brick.create("f", { flags: 0 })).rejects.toMatchObject({ code: "EEXIST" });
  });

  it("two creates of one name make one file", async () => {
    await using brick = await PosixFixture.start();
    const all = await Promise.all(Array.from({ length: 8 }, () => brick.create("f")));
    const gfids = new Set(all.map(({ inode }) => gfidText(inode.gfid)));
    expect(gfids.size).toBe(1);
    const exclusive = Array.from({ length: 8 }, () => brick.create("g", { flags: O_RDWR | O_EXCL }));
    const outcomes = await Promise.allSettled(exclusive);
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  it("an internal mknod of a gfid that exists makes a hard link", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    const xdata = new Dict().setGfid("gfid-req", inode.gfid).setStr("glusterfs-internal-fop", "yes");
    const { stat } = await brick.top.mknod(CALL, {
      loc: brick.entry("g"),
      mode: 0o101000,
      rdev: 0,
      umask: 0,
      xdata,
    });
    expect(stat).toMatchObject({ gfid: inode.gfid, nlink: 2 });
    expect(gfid2path(brick.path("f"))).toEqual([`${ROOT_TEXT}/f`, `${ROOT_TEXT}/g`]);
  });

  it("mkdir with the gfid of a directory that is elsewhere leads the handle to the new one", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.mkdir("old");
    await brick.mkdir("new", { xdata: new Dict().setGfid("gfid-req", inode.gfid) });
    expect(readlinkSync(brick.handle(inode.gfid))).toBe(`../../00/00/${ROOT_TEXT}/new`);
  });
});

describe("names", () => {
  it.each([
    ["a".repeat(256), "ENAMETOOLONG"],
    ["ä".repeat(128), "ENAMETOOLONG"],
    ["a/b", "EPERM"],
    ["a\0b", "EINVAL"],
    ["", "EINVAL"],
    [".glusterfs", "EPERM"],
  ])("%j is %s", async (name, code) => {
    await using brick = await PosixFixture.start();
    await expect(brick.create(name)).rejects.toMatchObject({ code });
    await expect(brick.mkdir(name)).rejects.toMatchObject({ code });
    await expect(brick.lookup(name)).rejects.toMatchObject({ code });
    await expect(brick.unlink(name)).rejects.toMatchObject({ code });
    const rename = brick.top.rename(CALL, { from: brick.entry("x"), to: brick.entry(name) });
    await expect(rename).rejects.toMatchObject({ code });
  });

  it("'.' and '..' can be looked up, and nothing else", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.mkdir("d");
    expect((await brick.lookup(".", { parent: inode })).stat.gfid).toEqual(inode.gfid);
    expect((await brick.lookup("..", { parent: inode })).stat.gfid).toEqual(ROOT_GFID);
    expect((await brick.lookup("..")).stat.gfid).toEqual(ROOT_GFID);
    for (const name of [".", ".."]) {
      await expect(brick.create(name)).rejects.toMatchObject({ code: "EEXIST" });
      await expect(brick.mkdir(name)).rejects.toMatchObject({ code: "EEXIST" });
      await expect(brick.unlink(name)).rejects.toMatchObject({ code: "EINVAL" });
      const rmdir = brick.top.rmdir(CALL, { loc: brick.entry(name), flags: 0 });
      await expect(rmdir).rejects.toMatchObject({ code: "EINVAL" });
      const rename = brick.top.rename(CALL, { from: brick.entry("d"), to: brick.entry(name, inode) });
      await expect(rename).rejects.toMatchObject({ code: "EINVAL" });
    }
  });

  it("of 255 bytes, and of bytes that are no UTF-8, work and come back the same", async () => {
    await using brick = await PosixFixture.start();
    const odd = "caf\udce9\udcff";
    for (const name of ["a".repeat(255), odd]) {
      const { inode } = await brick.create(name);
      expect((await brick.lookup(name)).stat.gfid).toEqual(inode.gfid);
    }
    const names = readdirSync(brick.directory, { encoding: "buffer" }).map((name) => name.toString("latin1"));
    expect(names).toContain("caf\xe9\xff");
    await brick.unlink(odd);
    await expect(brick.lookup(odd)).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("unlink", () => {
  it("removes name and handle of a closed file", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    await brick.top.release(fd);
    await brick.unlink("f", { inode });
    expect(existsSync(brick.path("f"))).toBe(false);
    expect(existsSync(brick.handle(inode.gfid))).toBe(false);
    await expect(brick.top.stat(CALL, { loc: { inode } })).rejects.toMatchObject({ code: "ESTALE" });
  });

  it("parks an open file in unlink, where everything goes on, until the last release", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    const second = new Fd(inode, O_RDONLY);
    await brick.top.open(CALL, { loc: { inode }, fd: second, flags: O_RDONLY });
    await brick.write(fd, "still here");
    await brick.unlink("f", { inode });
    const parked = brick.path(".glusterfs/unlink", gfidText(inode.gfid));
    expect(existsSync(parked)).toBe(true);
    expect(existsSync(brick.handle(inode.gfid))).toBe(false);
    expect(await brick.read(second)).toBe("still here");
    expect(await brick.read(Fd.anonymous(inode, O_RDWR))).toBe("still here");
    expect((await brick.top.stat(CALL, { loc: { inode } })).stat.nlink).toBe(0);
    const { stat } = await brick.top.fstat(CALL, { fd });
    await brick.top.setattr(CALL, { loc: { inode }, stat: { ...stat, mode: 0o100600 }, valid: 1 });
    await brick.top.ftruncate(CALL, { fd, offset: 5 });
    expect((await brick.top.fstat(CALL, { fd })).stat).toMatchObject({ size: 5, mode: 0o100600, nlink: 0 });
    await expect(brick.top.lookup(CALL, { loc: { inode } })).rejects.toMatchObject({ code: "ENOENT" });
    const xdata = new Dict().setUint("unlinked-lookup", 1);
    expect((await brick.top.lookup(CALL, { loc: { inode }, xdata })).stat.nlink).toBe(0);
    await brick.top.release(fd);
    expect(existsSync(parked)).toBe(true);
    await brick.top.release(second);
    expect(existsSync(parked)).toBe(false);
    await expect(brick.read(Fd.anonymous(inode, O_RDWR))).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("of one of several names keeps the handle and the other names' gfid2path", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("a");
    const to = brick.entry("b", brick.root, inode);
    expect((await brick.top.link(CALL, { from: { inode }, to })).stat.nlink).toBe(2);
    expect(gfid2path(brick.path("a"))).toEqual([`${ROOT_TEXT}/a`, `${ROOT_TEXT}/b`]);
    const reply = await brick.unlink("a", { inode, xdata: new Dict().setInt("get-link-count", 1) });
    expect(reply.xdata?.number("get-link-count")).toBe(2);
    expect(gfid2path(brick.path("b"))).toEqual([`${ROOT_TEXT}/b`]);
    expect((await brick.lookup("b")).stat.nlink).toBe(1);
  });

  it("of both names at once leaves no handle behind", async () => {
    await using brick = await PosixFixture.start();
    for (let round = 0; round < 10; round++) {
      const { inode, fd } = await brick.create("a");
      await brick.top.link(CALL, { from: { inode }, to: brick.entry("b", brick.root, inode) });
      await brick.top.release(fd);
      await Promise.all([brick.unlink("a", { inode }), brick.unlink("b", { inode })]);
      expect(existsSync(brick.handle(inode.gfid))).toBe(false);
    }
  });

  it("heeds distribute's conditions", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    const ifClosed = new Dict().setInt("dont-unlink-for-open-fd", 1);
    const ifLinkto = new Dict().setInt("unlink-only-if-dht-linkto-file", 1);
    await expect(brick.unlink("f", { inode, xdata: ifClosed })).rejects.toMatchObject({ code: "EBUSY" });
    await expect(brick.unlink("f", { inode, xdata: ifLinkto })).rejects.toMatchObject({ code: "EBUSY" });
    await brick.top.release(fd);
    await brick.unlink("f", { inode, xdata: ifClosed });
    const linkto = new Dict().setBytes("trusted.glusterfs.dht.linkto", Buffer.from("vol-client-0\0"));
    await brick.create("g", { mode: 0o1000, xdata: linkto });
    await brick.unlink("g", { xdata: ifLinkto });
  });

  it("tells what shard and distribute ask about the file", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    await brick.write(fd, Buffer.alloc(8192, 1));
    const xdata = new Dict().setInt("gf_get_file_block_count", 1).setInt("dht-get-iatt-in-xattr", 1);
    const reply = await brick.unlink("f", { inode, xdata });
    expect(reply.xdata?.number("gf_get_file_block_count")).toBe(16);
    expect(reply.xdata?.get("dht-get-iatt-in-xattr")).toMatchObject({
      type: "iatt",
      value: { size: 8192, nlink: 0 },
    });
  });

  it("of a directory is EISDIR and leaves it alone", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.mkdir("d");
    await expect(brick.unlink("d", { inode })).rejects.toMatchObject({ code: "EISDIR" });
    expect(existsSync(brick.handle(inode.gfid))).toBe(true);
  });
});

describe("rmdir", () => {
  it("removes an empty directory and its handle, refuses a full one", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.mkdir("d");
    await brick.create("f", { parent: inode });
    const loc = brick.entry("d", brick.root, inode);
    await expect(brick.top.rmdir(CALL, { loc, flags: 0 })).rejects.toMatchObject({ code: "ENOTEMPTY" });
    expect(existsSync(brick.handle(inode.gfid))).toBe(true);
    await brick.unlink("f", { parent: inode });
    await brick.top.rmdir(CALL, { loc, flags: 0 });
    expect(() => lstatSync(brick.handle(inode.gfid))).toThrow("ENOENT");
    await expect(brick.create("g", { parent: inode })).rejects.toMatchObject({ code: "ESTALE" });
  });

  it("with flags moves the tree to the landfill, which the janitor empties, handles and all", async () => {
    await using brick = await PosixFixture.start({ "janitor-sleep-duration": "1" });
    const { inode } = await brick.mkdir("d");
    const inner = await brick.mkdir("e", { parent: inode });
    const { inode: file, fd } = await brick.create("f", { parent: inner.inode });
    await brick.top.release(fd);
    await brick.top.rmdir(CALL, { loc: brick.entry("d", brick.root, inode), flags: 1 });
    expect(existsSync(brick.path("d"))).toBe(false);
    const landfill = brick.path(".glusterfs/landfill");
    await until("landfill empty", () => readdirSync(landfill).length === 0);
    for (const { gfid } of [inode, inner.inode, file])
      expect(() => lstatSync(brick.handle(gfid))).toThrow("ENOENT");
  });
});

describe("rename", () => {
  it("of a file moves its gfid2path", async () => {
    await using brick = await PosixFixture.start();
    const { inode: directory } = await brick.mkdir("d");
    const { inode } = await brick.create("f");
    const to = brick.entry("g", directory);
    const reply = await brick.top.rename(CALL, { from: brick.entry("f", brick.root, inode), to });
    expect(reply.stat).toMatchObject({ gfid: inode.gfid, nlink: 1 });
    expect(gfid2path(brick.path("d/g"))).toEqual([`${gfidText(directory.gfid)}/g`]);
  });

  it("of a directory leads its handle to the new place, while others work below it", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.mkdir("d0");
    const { inode: inner } = await brick.mkdir("e", { parent: inode });
    for (let i = 0; i < 30; i++) {
      const from = brick.entry(`d${i}`, brick.root, inode);
      await Promise.all([
        brick.top.rename(CALL, { from, to: brick.entry(`d${i + 1}`) }),
        brick.create(`f${i}`, { parent: inner }),
        brick.lookup("e", { parent: inode }),
      ]);
    }
    expect(readlinkSync(brick.handle(inode.gfid))).toBe(`../../00/00/${ROOT_TEXT}/d30`);
    expect(readdirSync(brick.path("d30/e"))).toHaveLength(30);
  });

  it("over a file removes the victim's handle; over an open one it stays readable", async () => {
    await using brick = await PosixFixture.start();
    const victim = await brick.create("victim");
    await brick.write(victim.fd, "victim");
    const { inode } = await brick.create("f");
    const to = brick.entry("victim", brick.root, victim.inode);
    await brick.top.rename(CALL, { from: brick.entry("f", brick.root, inode), to });
    expect(existsSync(brick.handle(victim.inode.gfid))).toBe(false);
    expect(await brick.read(victim.fd)).toBe("victim");
    expect((await brick.lookup("victim")).stat.gfid).toEqual(inode.gfid);
    await brick.top.release(victim.fd);
    expect(readdirSync(brick.path(".glusterfs/unlink"))).toEqual([]);
  });

  it("over one of several names of a file leaves the others with a right link count", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("a");
    await brick.top.link(CALL, { from: { inode }, to: brick.entry("b", brick.root, inode) });
    await brick.create("c");
    await brick.top.rename(CALL, { from: brick.entry("c"), to: brick.entry("a", brick.root, inode) });
    expect((await brick.lookup("b")).stat).toMatchObject({ gfid: inode.gfid, nlink: 1 });
    expect(gfid2path(brick.path("b"))).toEqual([`${ROOT_TEXT}/b`]);
  });

  it("between two names of one file does nothing", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("a");
    await brick.top.link(CALL, { from: { inode }, to: brick.entry("b", brick.root, inode) });
    const from = brick.entry("a", brick.root, inode);
    const { stat } = await brick.top.rename(CALL, { from, to: brick.entry("b", brick.root, inode) });
    expect(stat.nlink).toBe(2);
    expect(gfid2path(brick.path("a"))).toEqual([`${ROOT_TEXT}/a`, `${ROOT_TEXT}/b`]);
  });

  it("over an empty directory takes its handle away, over a full one is ENOTEMPTY", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.mkdir("d");
    const { inode: empty } = await brick.mkdir("empty");
    const { inode: full } = await brick.mkdir("full");
    await brick.create("f", { parent: full });
    const from = brick.entry("d", brick.root, inode);
    const refused = brick.top.rename(CALL, { from, to: brick.entry("full", brick.root, full) });
    await expect(refused).rejects.toMatchObject({ code: "ENOTEMPTY" });
    expect(readlinkSync(brick.handle(inode.gfid))).toMatch(/\/d$/);
    await brick.top.rename(CALL, { from, to: brick.entry("empty", brick.root, empty) });
    expect(() => lstatSync(brick.handle(empty.gfid))).toThrow("ENOENT");
    expect(readlinkSync(brick.handle(inode.gfid))).toMatch(/\/empty$/);
  });
});

describe("link", () => {
  it("is EMLINK beyond max-hardlinks, EPERM for directories, EEXIST for a name that is there", async () => {
    await using brick = await PosixFixture.start({ "max-hardlinks": "2" });
    const { inode } = await brick.create("a");
    const { inode: directory } = await brick.mkdir("d");
    const link = (from: Inode, name: string) =>
      brick.top.link(CALL, { from: { inode: from }, to: brick.entry(name, brick.root, from) });
    await expect(link(inode, "d")).rejects.toMatchObject({ code: "EEXIST" });
    await link(inode, "b");
    await expect(link(inode, "c")).rejects.toMatchObject({ code: "EMLINK" });
    await expect(link(directory, "e")).rejects.toMatchObject({ code: "EPERM" });
  });

  it("gives a removed but open file a name again", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("a");
    await brick.write(fd, "back");
    await brick.unlink("a", { inode });
    await brick.top.link(CALL, { from: { inode }, to: brick.entry("b", brick.root, inode) });
    expect(existsSync(brick.path(".glusterfs/unlink", gfidText(inode.gfid)))).toBe(false);
    await brick.top.release(fd);
    expect((await brick.lookup("b")).stat).toMatchObject({ gfid: inode.gfid, nlink: 1, size: 4 });
  });
});

describe("lookup", () => {
  it("is ENOENT without the entry, ESTALE without the parent, EPERM below a file", async () => {
    await using brick = await PosixFixture.start();
    await expect(brick.lookup("x")).rejects.toMatchObject({ code: "ENOENT" });
    const gone = new Inode(newGfid(), 0o040000);
    await expect(brick.lookup("x", { parent: gone })).rejects.toMatchObject({ code: "ESTALE" });
    await expect(brick.lookup("x", { parent: new Inode() })).rejects.toMatchObject({ code: "ESTALE" });
    const { inode } = await brick.create("f");
    await expect(brick.lookup("x", { parent: inode })).rejects.toMatchObject({ code: "EPERM" });
    await expect(brick.create("x", { parent: inode })).rejects.toMatchObject({ code: "EPERM" });
    const nameless = brick.top.lookup(CALL, { loc: { inode: gone } });
    await expect(nameless).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("by gfid needs no lookup before, whatever the kind", async () => {
    await using brick = await PosixFixture.start();
    const { inode: file } = await brick.create("f");
    const { inode: directory } = await brick.mkdir("d");
    const link = await brick.symlink("l", "/etc");
    for (const known of [file, directory, link]) {
      const inode = new Inode(known.gfid, 0);
      const { stat } = await brick.top.lookup(CALL, { loc: { inode } });
      expect(stat.mode & 0o170000).toBe(known.type);
      expect(stat.gfid).toEqual(known.gfid);
    }
  });

  it("gives an entry without gfid the proposed one, once it is a second old", async () => {
    const real = nodeEnv(SILENT);
    let offsetSec = -5;
    const wall = () => {
      const { sec, nsec } = real.clock.wall();
      return { sec: sec + offsetSec, nsec };
    };
    await using brick = await PosixFixture.start({}, { ...real, clock: { ...real.clock, wall } });
    writeFileSync(brick.path("f"), "");
    mkdirSync(brick.path("d"));
    await expect(brick.lookup("f", { xdata: withGfid(new Dict()) })).rejects.toMatchObject({
      code: "ENOENT",
    });
    offsetSec = 5;
    const xdata = withGfid(new Dict());
    const { stat } = await brick.lookup("f", { xdata });
    expect(stat.gfid).toEqual(xdata.gfid("gfid-req"));
    expect(stat.nlink).toBe(1);
    await expect(brick.lookup("d")).rejects.toMatchObject({ code: "ENODATA" });
    const directory = await brick.lookup("d", { xdata: withGfid(new Dict()) });
    expect(readlinkSync(brick.handle(directory.stat.gfid))).toMatch(/\/d$/);
  });

  it("restores a lost handle", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    rmSync(brick.handle(inode.gfid));
    await expect(brick.top.stat(CALL, { loc: { inode } })).rejects.toMatchObject({ code: "ESTALE" });
    await brick.lookup("f");
    expect((await brick.top.stat(CALL, { loc: { inode } })).stat.nlink).toBe(1);
  });

  it("removes a directory's handle that leads nowhere", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.mkdir("d");
    rmSync(brick.path("d"), { recursive: true });
    await expect(brick.top.lookup(CALL, { loc: { inode } })).rejects.toMatchObject({ code: "ENOENT" });
    expect(() => lstatSync(brick.handle(inode.gfid))).toThrow("ENOENT");
  });

  it("never follows a symlink out of the brick, not even through a stale handle", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.mkdir("d");
    renameSync(brick.path("d"), brick.path("elsewhere"));
    await brick.symlink("d", "/etc");
    await expect(brick.lookup("passwd", { parent: inode })).rejects.toMatchObject({ code: "ESTALE" });
    await expect(brick.create("evil", { parent: inode })).rejects.toMatchObject({ code: "ESTALE" });
    const link = await brick.symlink("l", "/etc");
    const asDirectory = new Inode(link.gfid, 0o040000);
    await expect(brick.lookup("passwd", { parent: asDirectory })).rejects.toMatchObject({ code: "ESTALE" });
    const target = brick.path("victim");
    writeFileSync(target, "untouched");
    const toVictim = await brick.symlink("v", target);
    await expect(brick.top.truncate(CALL, { loc: { inode: toVictim }, offset: 0 })).rejects.toMatchObject({
      code: "EINVAL",
    });
    const opening = brick.top.open(CALL, {
      loc: { inode: toVictim },
      fd: new Fd(toVictim, O_RDWR),
      flags: O_RDWR,
    });
    await expect(opening).rejects.toMatchObject({ code: "ELOOP" });
    const { stat } = await brick.top.stat(CALL, { loc: { inode: toVictim } });
    await brick.top.setattr(CALL, { loc: { inode: toVictim }, stat: { ...stat, mode: 0o777 }, valid: 1 });
    expect(readFileSync(target, "utf8")).toBe("untouched");
    expect(mode(target)).not.toBe(0o777);
  });

  it("finds its way below directories deeper than the kernel follows symlinks", async () => {
    await using brick = await PosixFixture.start();
    let parent = brick.root;
    for (let depth = 0; depth < 60; depth++) parent = (await brick.mkdir(`d${depth}`, { parent })).inode;
    const { inode } = await brick.create("deep", { parent });
    expect((await brick.lookup("deep", { parent })).stat.gfid).toEqual(inode.gfid);
    const fd = new Fd(parent, O_RDONLY);
    await brick.top.opendir(CALL, { loc: { inode: parent }, fd });
    const { entries } = await brick.top.readdirp(CALL, { fd, size: 65536, offset: 0n });
    expect(entries.map((entry) => entry.name).sort()).toEqual([".", "..", "deep"]);
    await brick.top.releasedir(fd);
    await brick.unlink("deep", { parent });
  });
});
