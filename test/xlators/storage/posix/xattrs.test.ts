/** xattrs, xattrop, times and xdata answers of storage/posix (translators.md 2.3, 2.7, wire.md 9). */

// koffi is configured there, which must come before anything else is loaded through it.
import "../../../../src/os/libc.ts";
import { hostname } from "node:os";
import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { gfidText } from "../../../../src/core/gfid.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import { Fd, type Inode } from "../../../../src/core/inode.ts";
import { encodeMdata, mdataAt } from "../../../../src/core/mdata.ts";
import { O_RDWR } from "../../../../src/core/open-flags.ts";
import { getXattr, listXattrs, setXattr } from "../../../support/libc.ts";
import { CALL, PosixFixture, stamped, withGfid } from "./brick-fixture.ts";

const MDATA = "trusted.glusterfs.mdata";
const HEAL = { ...CALL, pid: -6 };
const bytes = (text: string): Buffer => Buffer.from(text);

describe("setxattr and getxattr", () => {
  it("set, replace, create-only, list and remove, by loc and by fd", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    const set = (value: string, flags: number) =>
      brick.top.setxattr(CALL, { loc: { inode }, xattrs: Dict.ofBytes({ "user.a": bytes(value) }), flags });
    await expect(set("0", 2)).rejects.toMatchObject({ code: "ENODATA" });
    await set("1", 1);
    await expect(set("2", 1)).rejects.toMatchObject({ code: "EEXIST" });
    await set("3", 0);
    await brick.top.fsetxattr(CALL, { fd, xattrs: Dict.ofBytes({ "user.b": bytes("b") }), flags: 0 });
    const { xattrs } = await brick.top.getxattr(CALL, { loc: { inode }, name: undefined });
    expect([...xattrs.keys()].sort()).toEqual(["user.a", "user.b"]);
    expect(xattrs.bytes("user.a")).toEqual(bytes("3"));
    expect((await brick.top.fgetxattr(CALL, { fd, name: "user.b" })).xattrs.text("user.b")).toBe("b");
    await brick.top.removexattr(CALL, { loc: { inode }, name: "user.a" });
    await brick.top.fremovexattr(CALL, { fd, name: "user.b" });
    await expect(brick.top.removexattr(CALL, { loc: { inode }, name: "user.a" })).rejects.toMatchObject({
      code: "ENODATA",
    });
    expect((await brick.top.getxattr(CALL, { loc: { inode }, name: undefined })).xattrs.size).toBe(0);
  });

  it("values of any size that the file system takes come back whole, larger ones are refused", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    const value = Buffer.alloc(2000, 7);
    const set = (size: number) =>
      brick.top.setxattr(CALL, {
        loc: { inode },
        xattrs: Dict.ofBytes({ "user.a": Buffer.alloc(size, 7) }),
        flags: 0,
      });
    await set(2000);
    const { xattrs } = await brick.top.getxattr(CALL, { loc: { inode }, name: "user.a" });
    expect(xattrs.bytes("user.a")).toEqual(value);
    await set(0);
    expect(
      (await brick.top.getxattr(CALL, { loc: { inode }, name: "user.a" })).xattrs.bytes("user.a"),
    ).toHaveLength(0);
    await expect(set(100_000)).rejects.toMatchObject({ code: expect.stringMatching(/E2BIG|ERANGE|ENOSPC/) });
  });

  it("nobody sets, sees or removes what identifies the file", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    const loc = { inode };
    const stolen = Dict.ofBytes({
      "trusted.gfid": Buffer.alloc(16, 1),
      "trusted.glusterfs.volume-id": Buffer.alloc(16),
    });
    await brick.top.setxattr(CALL, { loc, xattrs: stolen, flags: 0 });
    expect(getXattr(brick.path("f"), "trusted.gfid")).toEqual(inode.gfid);
    expect(listXattrs(brick.path("f"))).not.toContain("trusted.glusterfs.volume-id");
    const path = listXattrs(brick.path("f")).find((key) => key.startsWith("trusted.gfid2path."))!;
    const forged = Dict.ofBytes({ [path]: bytes("x") });
    await expect(brick.top.setxattr(CALL, { loc, xattrs: forged, flags: 0 })).rejects.toMatchObject({
      code: "EOPNOTSUPP",
    });
    for (const name of ["trusted.gfid", path])
      await expect(brick.top.getxattr(HEAL, { loc, name })).rejects.toMatchObject({ code: "ENODATA" });
    await expect(brick.top.removexattr(CALL, { loc, name: "trusted.gfid" })).rejects.toMatchObject({
      code: "EPERM",
    });
    await expect(brick.top.removexattr(CALL, { loc, name: path })).rejects.toMatchObject({ code: "ENODATA" });
    const { xattrs } = await brick.top.getxattr(HEAL, { loc, name: undefined });
    expect(xattrs.size).toBe(0);
  });

  it("mdata is hidden from clients and shown to internal callers", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f", { call: stamped(7, 5) });
    const loc = { inode };
    await expect(brick.top.getxattr(CALL, { loc, name: MDATA })).rejects.toMatchObject({ code: "ENODATA" });
    expect((await brick.top.getxattr(CALL, { loc, name: undefined })).xattrs.has(MDATA)).toBe(false);
    expect((await brick.top.getxattr(HEAL, { loc, name: MDATA })).xattrs.bytes(MDATA)).toEqual(
      encodeMdata(mdataAt({ sec: 5, nsec: 0 })),
    );
  });

  it("removes in bulk, missing names too, but never identity", async () => {
    await using brick = await PosixFixture.start();
    const xdata = new Dict().setBytes("user.a", bytes("1")).setBytes("user.b", bytes("2"));
    const { inode } = await brick.create("f", { xdata });
    const names = (...keys: string[]) =>
      Dict.from(keys.map((key) => [key, { type: "str", value: "" }] as const));
    const remove = (keys: Dict) => brick.top.removexattr(CALL, { loc: { inode }, name: "", xdata: keys });
    await expect(remove(names("user.a", "trusted.gfid"))).rejects.toMatchObject({ code: "EPERM" });
    const reply = await remove(names("user.a", "user.b", "user.none"));
    expect(reply.xdata!.get("dht-get-iatt-in-xattr")).toMatchObject({ type: "iatt" });
    expect((await brick.top.getxattr(CALL, { loc: { inode }, name: undefined })).xattrs.size).toBe(0);
  });

  it("answers attributes before and after", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f", { call: stamped(7, 5) });
    const xattrs = Dict.ofBytes({ "user.a": bytes("1") });
    const { xdata } = await brick.top.setxattr(stamped(1, 9), { loc: { inode }, xattrs, flags: 0 });
    expect(xdata!.get("virt-gf-prestat")).toMatchObject({ value: { ctime: 5 } });
    expect(xdata!.get("virt-gf-poststat")).toMatchObject({ value: { ctime: 9, mtime: 5 } });
  });
});

describe("virtual xattrs", () => {
  it("tell where a file lies and under which paths", async () => {
    await using brick = await PosixFixture.start({ "glusterd-uuid": "be318638-e8a0-4c6d-977d-7a937aa84806" });
    const { inode: outer } = await brick.mkdir("d");
    const { inode: directory } = await brick.mkdir("e", { parent: outer });
    const { inode, fd } = await brick.create("f", { parent: directory });
    await brick.top.link(CALL, { from: { inode }, to: brick.entry("g", brick.root, inode) });
    const get = async (of: Inode, name: string) =>
      (await brick.top.getxattr(CALL, { loc: { inode: of }, name })).xattrs.text(name);
    expect((await get(inode, "glusterfs.gfidtopath"))!.split(":").sort()).toEqual(["/d/e/f", "/g"]);
    expect(await get(directory, "glusterfs.gfidtopath")).toBe("/d/e");
    expect(await get(brick.root, "glusterfs.gfidtopath")).toBe("/");
    const typeOf = async (of: Inode) =>
      (await brick.top.getxattr(CALL, { loc: { inode: of }, name: "glusterfs.gfidtopath" })).xattrs.get(
        "glusterfs.gfidtopath",
      )?.type;
    // A file's reach programs without a NUL at their end, a directory's with one: as from glusterfsd.
    expect([await typeOf(inode), await typeOf(directory)]).toEqual(["ptr", "str"]);
    expect(await get(inode, "trusted.glusterfs.pathinfo")).toBe(
      `<POSIX(${brick.directory}):${hostname()}:${brick.handle(inode.gfid)}>`,
    );
    expect(await get(inode, "trusted.glusterfs.node-uuid")).toBe("be318638-e8a0-4c6d-977d-7a937aa84806");
    expect(await get(outer, "glusterfs.get_real_filename:E")).toBe("e");
    const missing = brick.top.getxattr(CALL, {
      loc: { inode: outer },
      name: "glusterfs.get_real_filename:zzz",
    });
    await expect(missing).rejects.toMatchObject({ code: "ENODATA" });
    const count = async () =>
      (await brick.top.getxattr(CALL, { loc: { inode }, name: "glusterfs.open-fd-count" })).xattrs.number(
        "glusterfs.open-fd-count",
      );
    expect(await count()).toBe(1);
    await brick.top.release(fd);
    expect(await count()).toBe(0);
  });
});

describe("xattrop", () => {
  const KEY = "trusted.afr.dirty";

  it("is one step for all others on the inode, by loc and by fd", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    const one = Dict.ofBytes({ [KEY]: Buffer.from("000000010000000000000001", "hex") });
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        i % 2 === 0
          ? brick.top.xattrop(CALL, { loc: { inode }, op: 0, xattrs: one })
          : brick.top.fxattrop(CALL, {
              fd: i % 4 === 1 ? fd : Fd.anonymous(inode, O_RDWR),
              op: 0,
              xattrs: one,
            }),
      ),
    );
    expect(getXattr(brick.path("f"), KEY).toString("hex")).toBe("000000280000000000000028");
  });

  it("reads with zeros and creates nothing by that", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    const zeros = Dict.ofBytes({ [KEY]: Buffer.alloc(12), "trusted.afr.x": Buffer.alloc(12) });
    const { xattrs } = await brick.top.xattrop(CALL, { loc: { inode }, op: 0, xattrs: zeros });
    expect(xattrs.bytes(KEY)).toEqual(Buffer.alloc(12));
    expect(xattrs.bytes("trusted.afr.x")).toEqual(Buffer.alloc(12));
    expect(listXattrs(brick.path("f"))).not.toContain(KEY);
  });

  it("answers xdata, too", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f", { mode: 0o600 });
    const one = Dict.ofBytes({ [KEY]: Buffer.from("00000001", "hex") });
    const xdata = new Dict().setInt("dht-get-mode-in-xattr", 1).setInt("trusted.afr.*", 0);
    const reply = await brick.top.xattrop(CALL, { loc: { inode }, op: 0, xattrs: one, xdata });
    expect(reply.xdata!.number("dht-get-mode-in-xattr")).toBe(0o100600);
    expect(reply.xdata!.bytes(KEY)).toEqual(Buffer.from("00000001", "hex"));
  });

  it("is EINVAL for operations that GlusterFS does not have", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    const xattrs = Dict.ofBytes({ [KEY]: Buffer.from("00000001", "hex") });
    const refused = brick.top.xattrop(CALL, { loc: { inode }, op: 2, xattrs });
    await expect(refused).rejects.toMatchObject({ code: "EINVAL" });
  });
});

describe("xdata answers", () => {
  it("lookup gives the xattrs that names and patterns ask for", async () => {
    await using brick = await PosixFixture.start();
    await brick.create("f", { call: stamped(7, 1) });
    setXattr(brick.path("f"), "trusted.afr.vol-client-0", Buffer.alloc(12, 1));
    setXattr(brick.path("f"), "trusted.afr.vol-client-1", Buffer.alloc(12, 2));
    setXattr(brick.path("f"), "user.u", bytes("u"));
    const asked = new Dict()
      .setInt("trusted.afr.*", 0)
      .setInt(MDATA, 0)
      .setInt("trusted.missing", 0)
      .setInt("glusterfs.inodelk-count", 0);
    const { xdata } = await brick.lookup("f", { xdata: asked });
    expect([...xdata!.keys()].sort()).toEqual([
      "trusted.afr.vol-client-0",
      "trusted.afr.vol-client-1",
      MDATA,
    ]);
    expect(xdata!.bytes(MDATA)).toHaveLength(57);
    expect((await brick.lookup("f")).xdata).toBeUndefined();
    expect((await brick.lookup("f", { xdata: new Dict() })).xdata!.size).toBe(0);
  });

  it("list-xattr leaves out what belongs to this brick alone", async () => {
    await using brick = await PosixFixture.start();
    await brick.create("f");
    setXattr(brick.path("f"), "user.u", bytes("u"));
    setXattr(brick.path("f"), "trusted.glusterfs.quota.size", bytes("q"));
    setXattr(brick.path("f"), "trusted.glusterfs.dht.linkto", bytes("l\0"));
    const { xdata } = await brick.lookup("f", { xdata: new Dict().setInt("list-xattr", 1) });
    expect([...xdata!.keys()].sort()).toEqual(["trusted.glusterfs.dht.linkto", "user.u"]);
  });

  it("contents, sizes and counts are given where they are asked for", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    await brick.write(fd, "small file");
    const asked = new Dict()
      .setUint("glusterfs.content", 64)
      .setInt("get-size", 1)
      .setInt("glusterfs.open-fd-count", 1)
      .setInt("gf_request_link_count", 1);
    const { xdata } = await brick.lookup("f", { xdata: asked });
    expect(xdata!.text("glusterfs.content")).toBe("small file");
    expect(xdata!.number("get-size")).toBe(10);
    expect(xdata!.number("glusterfs.open-fd-count")).toBe(1);
    expect(xdata!.number("gf_response_link_count")).toBe(1);
    const tooSmall = await brick.lookup("f", { xdata: new Dict().setUint("glusterfs.content", 9) });
    expect(tooSmall.xdata!.has("glusterfs.content")).toBe(false);
    const counts = new Dict()
      .setInt("glusterfs.open-fd-count", 1)
      .setInt("glusterfs.open-active-fd-count", 1);
    const args = { fd, data: [bytes("x")], offset: 0, flags: 0, xdata: counts };
    const written = await brick.top.writev(CALL, args);
    expect(written.xdata!.number("glusterfs.open-fd-count")).toBe(1);
    const second = new Fd(inode, O_RDWR);
    await brick.top.open(CALL, { loc: { inode }, fd: second, flags: O_RDWR });
    expect((await brick.top.writev(CALL, args)).xdata!.number("glusterfs.open-active-fd-count")).toBe(2);
  });
});

describe("ACLs as text", () => {
  const TEXT = "u::rwx,u:1000:r-x,g::r-x,g:5:---,m::r-x,o::r--";

  it("are set, got and answered like libacl writes them", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f", { mode: 0o640 });
    const loc = { inode };
    const get = async (name: string) => (await brick.top.getxattr(CALL, { loc, name })).xattrs.text(name);
    expect(await get("glusterfs.posix.acl")).toBe("u::rw-,g::r--,o::---");
    const set = (text: string) =>
      brick.top.setxattr(CALL, { loc, xattrs: new Dict().setStr("glusterfs.posix.acl", text), flags: 0 });
    const { xdata } = await set("user::rwx,group::r-x,other::r--,user:1000:5,group:5:---,mask::r-x");
    expect(xdata!.bytes("system.posix_acl_access")).toEqual(
      getXattr(brick.path("f"), "system.posix_acl_access"),
    );
    expect(await get("glusterfs.posix.acl")).toBe(TEXT);
    const asked = new Dict().setInt("glusterfs.posix.acl", 0).setInt("glusterfs.posix.default_acl", 0);
    const answered = (await brick.lookup("f", { xdata: asked })).xdata!;
    expect([...answered.keys()]).toEqual(["glusterfs.posix.acl"]);
    expect(answered.text("glusterfs.posix.acl")).toBe(TEXT);
    for (const bad of ["", "u::rwx", "u::rwx,g::r-x,o::r--,x::rwx", "u::rwz,g::---,o::---"])
      await expect(set(bad)).rejects.toMatchObject({ code: "EINVAL" });
  });

  it("a directory's default ACL takes the place of the umask", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.mkdir("d");
    const xattrs = new Dict().setStr("glusterfs.posix.default_acl", "u::rwx,g::rwx,o::r--");
    await brick.top.setxattr(CALL, { loc: { inode }, xattrs, flags: 0 });
    const fresh = { loc: brick.entry("f", inode), mode: 0o100666, rdev: 0, umask: 0o077 };
    const made = await brick.top.mknod(CALL, { ...fresh, xdata: withGfid(new Dict()) });
    expect(made.stat.mode).toBe(0o100664);
  });
});

describe("setattr", () => {
  it("changes what `valid` names, and nothing else", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    const { stat } = await brick.top.stat(CALL, { loc: { inode } });
    const wanted = { ...stat, mode: 0o100751, uid: 7, gid: 8, mtime: -5, mtimeNsec: 999_999_999, size: 77 };
    const first = await brick.top.setattr(CALL, {
      loc: { inode },
      stat: wanted,
      valid: SETATTR.UID | SETATTR.SIZE,
    });
    expect(first.post).toMatchObject({ uid: 7, gid: 0, mode: stat.mode, size: 0 });
    const second = await brick.top.fsetattr(CALL, { fd, stat: wanted, valid: SETATTR.MODE | SETATTR.MTIME });
    expect(second.post).toMatchObject({
      mode: 0o100751,
      mtime: -5,
      mtimeNsec: 999_999_999,
      atime: stat.atime,
    });
    const all = await brick.top.setattr(CALL, { loc: { inode }, stat: wanted, valid: -1 });
    expect(all.post).toMatchObject({ uid: 7, gid: 8, mode: 0o100751, size: 0 });
    await brick.top.setattr(CALL, { loc: { inode }, stat: wanted, valid: 0 });
  });

  it("explicit times go back too, in mdata exactly; ctime only forward", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f", { call: stamped(7, 1000) });
    const { stat } = await brick.top.stat(CALL, { loc: { inode } });
    const back = { ...stat, mtime: 10, mtimeNsec: 11, atime: 12, atimeNsec: 13 };
    const valid = SETATTR.MTIME | SETATTR.ATIME;
    const { post } = await brick.top.setattr(stamped(1, 1001), { loc: { inode }, stat: back, valid });
    expect(post).toMatchObject({ mtime: 10, mtimeNsec: 11, atime: 12, atimeNsec: 13, ctime: 1001 });
    const early = await brick.top.setattr(stamped(1, 5), { loc: { inode }, stat: back, valid });
    expect(early.post.ctime).toBe(1001);
    expect(Number(getXattr(brick.path("f"), MDATA).readBigUInt64BE(25))).toBe(10);
  });

  it("explicit times create no mdata", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    const { stat } = await brick.top.stat(CALL, { loc: { inode } });
    const { post } = await brick.top.setattr(CALL, {
      loc: { inode },
      stat: { ...stat, mtime: 10 },
      valid: SETATTR.MTIME,
    });
    expect(post.mtime).toBe(10);
    expect(listXattrs(brick.path("f"))).not.toContain(MDATA);
  });

  it("a symlink's own owner and times change, its mode does not", async () => {
    await using brick = await PosixFixture.start();
    const inode = await brick.symlink("l", "nowhere");
    const { stat } = await brick.top.stat(CALL, { loc: { inode } });
    const wanted = { ...stat, uid: 3, gid: 4, mode: 0o120000, mtime: 5 };
    const valid = SETATTR.UID | SETATTR.GID | SETATTR.MODE | SETATTR.MTIME;
    const { post } = await brick.top.setattr(CALL, { loc: { inode }, stat: wanted, valid });
    expect(post).toMatchObject({ uid: 3, gid: 4, mode: 0o120777, mtime: 5 });
    expect((await brick.top.readlink(CALL, { loc: { inode }, size: 4096 })).target).toBe("nowhere");
    expect((await brick.top.readlink(CALL, { loc: { inode }, size: 3 })).target).toBe("now");
  });
});

describe("mdata", () => {
  it("is merged by maximum when healing or an old client's lookup brings it", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    const loc = { inode };
    const first = new Dict().set("set-ctime-mdata", { type: "mdata", value: mdataAt({ sec: 100, nsec: 0 }) });
    await brick.top.setxattr(CALL, { loc, xattrs: first, flags: 0 });
    const other = { ...mdataAt({ sec: 50, nsec: 0 }), mtime: 200 };
    await brick.top.setxattr(HEAL, { loc, xattrs: Dict.ofBytes({ [MDATA]: encodeMdata(other) }), flags: 0 });
    const { stat } = await brick.top.stat(CALL, { loc });
    expect(stat).toMatchObject({ ctime: 100, mtime: 200, atime: 100 });
    const bad = Dict.ofBytes({ [MDATA]: Buffer.alloc(3) });
    await expect(brick.top.setxattr(HEAL, { loc, xattrs: bad, flags: 0 })).rejects.toMatchObject({
      code: "EINVAL",
    });
  });

  it("is ignored when the ctime feature is off", async () => {
    await using brick = await PosixFixture.start({ ctime: "off" });
    const { inode, reply } = await brick.create("f", { call: stamped(7, 5) });
    expect(reply.stat.mtime).toBeGreaterThan(1e9);
    expect(listXattrs(brick.path("f"))).not.toContain(MDATA);
    setXattr(brick.path("f"), MDATA, encodeMdata(mdataAt({ sec: 5, nsec: 0 })));
    expect((await brick.top.stat(CALL, { loc: { inode } })).stat.mtime).toBeGreaterThan(1e9);
  });

  it("belongs to the gfid: two inodes of one name have their own", async () => {
    await using brick = await PosixFixture.start();
    const first = await brick.create("f", { call: stamped(7, 5) });
    await brick.top.release(first.fd);
    await brick.unlink("f", { inode: first.inode });
    const second = await brick.create("f");
    expect(second.reply.stat.mtime).toBeGreaterThan(1e9);
    expect(gfidText(second.inode.gfid)).not.toBe(gfidText(first.inode.gfid));
  });
});
