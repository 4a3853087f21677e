/** performance/quick-read: small files come with their lookup, and are served until they may have changed. */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { newGfid } from "../../../src/core/gfid.ts";
import { type Iatt, S_IFREG, SETATTR, ZERO_IATT } from "../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../src/core/inode.ts";
import { O_DIRECT, O_RDWR, O_TRUNC } from "../../../src/core/open-flags.ts";
import { quickRead } from "../../../xlators/performance/quick-read.ts";
import { above } from "../features/fake-child.ts";
import { CacheRig, KIB } from "./cache-rig.ts";

const TYPE = "performance/quick-read";

describe("a small file", () => {
  it("is read from what its lookup brought, in any part, for the timeout", async () => {
    await using rig = await CacheRig.make(TYPE);
    const fd = await rig.here.open(await rig.file("f", "abcdefgh"));
    const went = await rig.during(async () => {
      expect((await rig.here.read(fd)).toString()).toBe("abcdefgh");
      const middle = await rig.graph.top.readv(rig.here.call, { fd, offset: 2, size: 3, flags: 0 });
      expect(middle).toMatchObject({ size: 3, eof: false });
      const rest = await rig.graph.top.readv(rig.here.call, { fd, offset: 6, size: 9, flags: 0 });
      expect(rest).toMatchObject({ size: 2, eof: true });
    });
    expect(went).toEqual([]);
    await rig.env.clock.advance(1000);
    expect(await rig.during(() => rig.here.read(fd))).toEqual(["readv"]);
  });

  it("is confirmed by a lookup, stat, fstat or listing that shows no change, without its bytes", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const fd = await rig.here.open(inode);
    const dir = await rig.here.opendir();
    const { top } = rig.graph;
    const { call } = rig.here;
    const looks = [
      () => top.lookup(call, { loc: { inode } }),
      () => top.stat(call, { loc: { inode } }),
      () => top.fstat(call, { fd }),
      () => top.readdirp(call, { fd: dir, size: 4096, offset: 0n }),
    ];
    for (const look of looks) {
      await rig.env.clock.advance(900);
      const reply = await look();
      expect((reply as { xdata?: Dict }).xdata?.has("glusterfs.content") ?? false).toBe(false);
      await rig.env.clock.advance(900);
      expect(await rig.during(() => rig.here.read(fd))).toEqual([]);
    }
  });

  it("is dropped by a lookup that shows another client's change, and comes with the next one", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const fd = await rig.here.open(inode);
    await rig.writeThere("f", "xyz");
    expect(await rig.here.text(fd)).toBe("abc");
    const { top } = rig.graph;
    await top.lookup(rig.here.call, { loc: { inode } });
    expect(await rig.here.text(fd)).toBe("xyz");
    await top.lookup(rig.here.call, { loc: { inode } });
    expect(await rig.during(() => rig.here.read(fd))).toEqual([]);
  });

  it("with a mtime that was set back is told apart by ctime, where that is wanted", async () => {
    for (const [option, text] of [
      ["off", "abc"],
      ["on", "xyz"],
    ] as const) {
      await using rig = await CacheRig.make(TYPE, { "ctime-invalidation": option });
      const inode = await rig.file("f", "abc");
      const { stat } = await rig.there.lookup("f");
      const fd = await rig.here.open(inode);
      await rig.writeThere("f", "xyz");
      await rig.there.setattr(inode, SETATTR.MTIME, { mtime: stat.mtime, mtimeNsec: stat.mtimeNsec });
      await rig.graph.top.lookup(rig.here.call, { loc: { inode } });
      expect(await rig.here.text(fd), option).toBe(text);
    }
  });
});

describe("what is not kept", () => {
  it("is a file longer than max-file-size", async () => {
    await using rig = await CacheRig.make(TYPE, { "max-file-size": "4KB" });
    const fd = await rig.here.open(await rig.file("f", Buffer.alloc(4 * KIB + 1)));
    expect(await rig.during(() => rig.here.read(fd))).toEqual(["readv"]);
  });

  it("is asked for with O_DIRECT", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", Buffer.alloc(512));
    const direct = await rig.here.open(inode, O_RDWR | O_DIRECT);
    expect(await rig.during(() => rig.here.read(direct, 0, 512))).toEqual(["readv"]);
  });

  const part: [string, Partial<Iatt>, Dict][] = [
    ["the first block of a sharded file", { size: 4096 }, new Dict()],
    ["a copy that is not known to be good", { size: 3 }, new Dict().setInt("sh-failed", 1)],
  ];
  it.each(part)("is %s", async (_name, change, xdata) => {
    const { top, asked, answers } = above(quickRead);
    const inode = new Inode(newGfid(), S_IFREG);
    const stat = { ...ZERO_IATT, gfid: inode.gfid, mode: S_IFREG, ctime: 1, ...change };
    answers.set("lookup", () => ({
      stat,
      postParent: ZERO_IATT,
      xdata: xdata.setBytes("glusterfs.content", Buffer.from("abc")),
    }));
    await top.lookup(internalCall(), { loc: { inode } });
    await top.readv(internalCall(), { fd: new Fd(inode, O_RDWR), offset: 0, size: 3, flags: 0 });
    expect(asked.map(({ fop }) => fop)).toEqual(["lookup", "readv"]);
  });

  it("was under way when the file changed", async () => {
    await using rig = await CacheRig.make(TYPE);
    await rig.file("f", "abc");
    const inode = await rig.there.inode("f");
    const fd = await rig.here.open(inode);
    rig.event({ type: "child-up" });
    const hold = rig.delays.hold("lookup", "reply");
    const looking = rig.here.lookup("f");
    await hold.arrived();
    await rig.here.write(fd, "xyz");
    rig.delays.unhold(hold);
    await looking;
    expect(await rig.here.text(fd)).toBe("xyz");
  });
});

describe("what ends it", () => {
  const ends: [string, (rig: CacheRig, inode: Inode, fd: Fd) => unknown][] = [
    ["an own write", (rig, _inode, fd) => rig.here.write(fd, "x")],
    [
      "an own truncation",
      (rig, inode) => rig.graph.top.truncate(rig.here.call, { loc: { inode }, offset: 2 }),
    ],
    ["an open that truncates", (rig, inode) => rig.here.open(inode, O_RDWR | O_TRUNC)],
    ["a lock that was granted", (rig, _inode, fd) => rig.here.lk(fd, "setlk", "wrlck", 0, 0)],
    ["own times", (rig, inode) => rig.here.setattr(inode, SETATTR.MTIME, { mtime: 1 })],
    ["a word about another client's change", (rig, inode) => rig.tell(inode.gfid)],
    ["a layer above that saw another client's change", (rig, inode) => rig.cache.invalidate(inode.gfid)],
    ["a brick that goes", (rig) => rig.event({ type: "child-down" })],
    ["the edge that forgets the inode", (rig, inode) => rig.cache.forget(inode)],
  ];
  it.each(ends)("%s", async (_name, end) => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const fd = await rig.here.open(inode);
    expect(await rig.during(() => rig.here.read(fd))).toEqual([]);
    await end(rig, inode, fd);
    expect(await rig.during(() => rig.here.read(fd))).toEqual(["readv"]);
  });

  it("is a full cache: those of low priority first, then those not used for longest", async () => {
    const bytes = 32 * KIB;
    await using rig = await CacheRig.make(TYPE, { "cache-size": "100KB", priority: "*.conf:2" });
    const fds = new Map<string, Fd>();
    for (const name of ["a.conf", "b.img", "c.img", "d.conf"])
      fds.set(name, await rig.here.open(await rig.file(name, Buffer.alloc(bytes))));
    const kept = async () => {
      const names = [];
      for (const [name, fd] of fds) {
        const went = await rig.during(() => rig.here.read(fd, 0, bytes));
        if (went.length === 0) names.push(name);
      }
      return names;
    };
    expect(await kept()).toEqual(["a.conf", "c.img", "d.conf"]);
    expect(rig.cache.dump()).toMatchObject({ files: 3 });
    rig.reconfigure({ "cache-size": "40KB", priority: "*.conf:2" });
    expect(await kept()).toEqual(["d.conf"]);
  });
});
