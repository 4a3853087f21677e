/** performance/md-cache: what is served from memory, for how long, and what ends it. */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { newGfid } from "../../../src/core/gfid.ts";
import { S_IFREG, SETATTR, ZERO_IATT } from "../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../src/core/inode.ts";
import { O_RDWR } from "../../../src/core/open-flags.ts";
import { UPCALL } from "../../../src/core/upcall-flags.ts";
import { mdCache } from "../../../xlators/performance/md-cache.ts";
import { above } from "../features/fake-child.ts";
import { CacheRig } from "./cache-rig.ts";

const TYPE = "performance/md-cache";

describe("attributes", () => {
  it("are served for the timeout after they were asked for, and then asked for again", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const fd = await rig.here.open(inode);
    const { root } = rig.here;
    const ask = async () => {
      expect((await rig.here.statInode(inode)).size).toBe(3);
      expect(await rig.here.size(fd)).toBe(3);
      const loc = { inode, parent: root, name: "f" };
      expect((await rig.graph.top.lookup(rig.here.call, { loc })).stat.size).toBe(3);
    };
    await rig.env.clock.advance(999);
    expect(await rig.during(ask)).toEqual([]);
    await rig.env.clock.advance(1);
    expect(await rig.during(ask)).toEqual(["stat", "lookup"]);
  });

  it("of a lookup count from when it was asked, not from when it was answered", async () => {
    await using rig = await CacheRig.make(TYPE);
    await rig.there.create("f");
    const hold = rig.delays.hold("lookup", "reply");
    const looking = rig.here.inode("f");
    await hold.arrived();
    await rig.env.clock.advance(600);
    rig.delays.unhold(hold);
    const inode = await looking;
    await rig.env.clock.advance(500);
    expect(await rig.during(() => rig.here.statInode(inode))).toEqual(["stat"]);
  });

  it("of every entry are known after a listing, plain or not", async () => {
    await using rig = await CacheRig.make(TYPE);
    for (let i = 0; i < 20; i++) await rig.there.create(`f${i}`);
    const list = () => rig.here.list(rig.here.root, 65536);
    expect(await rig.during(list)).toEqual(["opendir", "readdirp"]);
    const { entries } = await rig.there.top.readdirp(rig.there.call, {
      fd: await rig.there.opendir(),
      size: 65536,
      offset: 0n,
    });
    const known = await rig.during(async () => {
      for (const { name, stat } of entries.filter(({ name }) => name.startsWith("f"))) {
        const inode = new Inode();
        rig.here.table.link(inode, stat.gfid, stat.mode);
        await rig.graph.top.lookup(rig.here.call, { loc: { inode, parent: rig.here.root, name } });
      }
    });
    expect(known).toEqual([]);
    rig.reconfigure({ "force-readdirp": "off" });
    expect(await rig.during(list)).toEqual(["opendir", "readdir"]);
  });

  it("are what the reply of an own change says, without asking", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const fd = await rig.here.open(inode);
    const { top } = rig.graph;
    const { call } = rig.here;
    const sizes: [() => Promise<unknown>, number][] = [
      [() => rig.here.write(fd, "defgh", 2), 7],
      [() => top.truncate(call, { loc: { inode }, offset: 5 }), 5],
      [() => top.ftruncate(call, { fd, offset: 4 }), 4],
      [() => top.fallocate(call, { fd, keepSize: false, offset: 0, size: 100 }), 100],
      [() => top.zerofill(call, { fd, offset: 100, size: 10 }), 110],
      [() => top.discard(call, { fd, offset: 0, size: 10 }), 110],
      [() => top.fsync(call, { fd, datasync: false }), 110],
    ];
    for (const [change, size] of sizes) {
      await rig.env.clock.advance(1);
      await change();
      const went = await rig.during(async () => {
        const stat = await rig.here.statInode(inode);
        expect(stat.size).toBe(size);
      });
      expect(went).toEqual([]);
    }
    await rig.here.setattr(inode, SETATTR.MODE, { mode: 0o600 });
    expect((await rig.here.statInode(inode)).mode & 0o777).toBe(0o600);
  });

  it("are asked for after a change whose reply says nothing", async () => {
    const gfid = newGfid();
    const stat = { ...ZERO_IATT, gfid, mode: S_IFREG | 0o644, size: 3, ctime: 5 };
    const { top, asked, answers } = above(mdCache);
    answers.set("stat", () => ({ stat }));
    answers.set("writev", () => ({ size: 1, pre: ZERO_IATT, post: ZERO_IATT }));
    const inode = new Inode(gfid, S_IFREG);
    const fd = new Fd(inode, O_RDWR);
    await top.stat(internalCall(), { loc: { inode } });
    await top.writev(internalCall(), { fd, data: [Buffer.from("x")], offset: 0, flags: 0 });
    await top.stat(internalCall(), { loc: { inode } });
    expect(asked.map(({ fop }) => fop)).toEqual(["stat", "writev", "stat"]);
  });

  it("that were under way when the file changed are given to who asked and not kept", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const fd = await rig.here.open(inode);
    await rig.env.clock.advance(2000);
    const hold = rig.delays.hold("stat", "reply");
    const before = rig.here.statInode(inode);
    await hold.arrived();
    await rig.here.write(fd, "longer");
    rig.delays.unhold(hold);
    expect((await before).size).toBe(3);
    expect((await rig.here.statInode(inode)).size).toBe(6);
  });

  it("are not taken from the reply of a change that another one overlapped", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "");
    const fd = await rig.here.open(inode);
    const hold = rig.delays.hold("writev", "reply");
    const first = rig.here.write(fd, "abc");
    await hold.arrived();
    const second = rig.here.write(fd, "defghi");
    await rig.env.clock.advance(1);
    // The later reply comes first; the earlier one still has the old size.
    rig.delays.unhold(hold);
    await Promise.all([first, second]);
    expect(await rig.during(() => rig.here.statInode(inode))).toEqual(["stat"]);
    expect((await rig.here.statInode(inode)).size).toBe(6);
  });

  it("of a directory follow the names made and removed in it", async () => {
    await using rig = await CacheRig.make(TYPE);
    const { here } = rig;
    const dir = await here.mkdir("d");
    await rig.env.clock.advance(10);
    const before = (await here.statInode(dir)).mtimeNsec;
    await here.create("f", { parent: dir });
    const made = await here.statInode(dir);
    expect(made.mtimeNsec).not.toBe(before);
    await rig.env.clock.advance(10);
    await here.unlink("f", dir);
    expect((await here.statInode(dir)).mtimeNsec).not.toBe(made.mtimeNsec);
  });

  it("of what has lost a name are asked for, also when only the name was given", async () => {
    await using rig = await CacheRig.make(TYPE);
    const { here } = rig;
    const fd = await here.create("f");
    await here.link(fd.inode, "g");
    expect((await here.statInode(fd.inode)).nlink).toBe(2);
    await here.unlink("f");
    expect((await here.statInode(fd.inode)).nlink).toBe(1);
    await here.create("h");
    await here.inode("g");
    await here.rename("h", "g");
    expect((await rig.graph.top.fstat(here.call, { fd })).stat.nlink).toBe(0);
  });
});

describe("names", () => {
  it("are asked for when another one of the same file is known", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const { call, root } = rig.here;
    const loc = { inode, parent: root, name: "g" };
    await expect(rig.graph.top.lookup(call, { loc })).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("are not trusted any more when a brick tells of a change of their directory", async () => {
    await using rig = await CacheRig.make(TYPE, {
      "cache-invalidation": "on",
      "md-cache-timeout": "600",
    });
    const inode = await rig.file("f", "abc");
    const { call, root } = rig.here;
    const look = () => rig.graph.top.lookup(call, { loc: { inode, parent: root, name: "f" } });
    await rig.env.clock.advance(100_000);
    expect(await rig.during(look)).toEqual([]);
    rig.tell(newGfid(), UPCALL.RENAME | UPCALL.PARENT_TIMES, [root.gfid]);
    await rig.env.clock.advance(1);
    expect(await rig.during(look)).toEqual(["lookup"]);
    expect(await rig.during(look)).toEqual([]);
  });
});

describe("xattrs", () => {
  it("that are kept come with a lookup, those that do not exist too", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const get = (name: string) =>
      rig.here.getxattr(inode, name).then(
        (value) => value.toString(),
        (error: { code: string }) => error.code,
      );
    expect(await rig.during(() => get("security.capability"))).toEqual([]);
    expect(await get("security.capability")).toBe("ENODATA");
    await rig.here.setxattr(inode, "security.capability", "caps");
    expect(await get("security.capability")).toBe("caps");
    expect(await rig.during(() => get("security.capability"))).toEqual([]);
    expect(await rig.during(() => get("user.other"))).toEqual(["getxattr"]);
    await rig.there.setxattr(inode, "security.capability", "new!");
    expect(await get("security.capability")).toBe("caps");
    await rig.env.clock.advance(1000);
    expect(await get("security.capability")).toBe("new!");
  });

  it("with values are forgotten when the file is written to, as Linux takes capabilities away", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const fd = await rig.here.open(inode);
    await rig.here.setxattr(inode, "security.capability", "caps");
    await rig.here.getxattr(inode, "security.capability");
    await rig.here.write(fd, "x");
    expect(await rig.during(() => rig.here.getxattr(inode, "security.capability"))).toEqual(["getxattr"]);
  });

  it("of the list and the groups that are on are kept", async () => {
    await using rig = await CacheRig.make(TYPE, {
      "xattr-cache-list": "user.mine.*, user.one",
      "cache-samba-metadata": "on",
    });
    const inode = await rig.file("f", "abc");
    for (const name of ["user.mine.a", "user.one", "user.DOSATTRIB", "user.DosStream.x"]) {
      const work = () => rig.here.getxattr(inode, name).catch(() => {});
      expect(await rig.during(work), name).toEqual([]);
    }
  });

  it("that a lookup asks for besides send it to the brick", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const look = (xdata: Dict) => rig.graph.top.lookup(rig.here.call, { loc: { inode }, xdata });
    const kept = new Dict().setInt("security.ima", 0).setGfid("gfid-req", newGfid());
    expect(await rig.during(() => look(kept))).toEqual([]);
    expect(await rig.during(() => look(new Dict().setInt("user.x", 0)))).toEqual(["lookup"]);
  });
});

describe("what ends it", () => {
  const ends: [string, (rig: CacheRig, inode: Inode) => void][] = [
    ["a word about another client's change", (rig, inode) => rig.tell(inode.gfid)],
    ["a brick that goes", (rig) => rig.event({ type: "some-descendent-down" })],
    ["a brick that returns", (rig) => rig.event({ type: "child-up" })],
    ["the edge that forgets the inode", (rig, inode) => rig.cache.forget(inode)],
    ["pass-through", (rig) => rig.reconfigure({ "pass-through": "on" })],
    ["a timeout of 0", (rig) => rig.reconfigure({ "md-cache-timeout": "0" })],
  ];
  it.each(ends)("%s", async (_name, end) => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    expect(await rig.during(() => rig.here.statInode(inode))).toEqual([]);
    end(rig, inode);
    expect(await rig.during(() => rig.here.statInode(inode))).toEqual(["stat"]);
  });

  it("is no word about a reader", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    rig.tell(inode.gfid, UPCALL.ATIME);
    expect(await rig.during(() => rig.here.statInode(inode))).toEqual([]);
  });

  it("is a lock that was granted, for who shares a file by locks", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const fd = await rig.here.open(inode);
    await rig.writeThere("f", "longer");
    await rig.here.lk(fd, "setlk", "rdlck", 0, 0);
    expect((await rig.here.statInode(inode)).size).toBe(6);
  });
});

it("more than a minute is waited only for bricks that tell of changes", async () => {
  await using rig = await CacheRig.make(TYPE, { "md-cache-timeout": "600" });
  const inode = await rig.file("f", "abc");
  await rig.env.clock.advance(60_000);
  expect(await rig.during(() => rig.here.statInode(inode))).toEqual(["stat"]);
  rig.reconfigure({ "md-cache-timeout": "600", "cache-invalidation": "on" });
  await rig.here.statInode(inode);
  await rig.env.clock.advance(599_000);
  expect(await rig.during(() => rig.here.statInode(inode))).toEqual([]);
});

describe("another client's change", () => {
  it("is told upwards, so that the kernel drops its pages; an own one is not", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const fd = await rig.here.open(inode);
    await rig.here.write(fd, "own");
    await rig.env.clock.advance(1000);
    await rig.here.statInode(inode);
    expect(rig.told).toEqual([]);
    await rig.writeThere("f", "longer");
    await rig.env.clock.advance(1000);
    await rig.here.statInode(inode);
    expect(rig.told).toMatchObject([{ type: "upcall", upcall: { gfid: inode.gfid } }]);
  });

  it("is told to the caches below first, lest the kernel get there what it was told to drop", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const order: string[] = [];
    rig.delays.invalidate = (gfid) => order.push(`below ${gfid.equals(inode.gfid)}`);
    rig.cache.addParent({ onChildEvent: ({ type }) => order.push(`above ${type}`) });
    await rig.writeThere("f", "longer");
    await rig.env.clock.advance(1000);
    await rig.here.statInode(inode);
    expect(order).toEqual(["below true", "above upcall"]);
  });

  it("is told upwards when an own write meets it", async () => {
    await using rig = await CacheRig.make(TYPE);
    const inode = await rig.file("f", "abc");
    const fd = await rig.here.open(inode);
    await rig.writeThere("f", "longer");
    await rig.here.write(fd, "own");
    expect(rig.told).toHaveLength(1);
  });

  it("is not told with global-cache-invalidation off", async () => {
    await using rig = await CacheRig.make(TYPE, { "global-cache-invalidation": "off" });
    const inode = await rig.file("f", "abc");
    await rig.writeThere("f", "longer");
    await rig.env.clock.advance(1000);
    await rig.here.statInode(inode);
    expect(rig.told).toEqual([]);
  });
});

it("statfs is kept when that is wanted", async () => {
  await using rig = await CacheRig.make(TYPE, { "md-cache-statfs": "on" });
  const ask = () => rig.graph.top.statfs(rig.here.call, { loc: { inode: rig.here.root } });
  expect(await rig.during(ask)).toEqual(["statfs"]);
  expect(await rig.during(ask)).toEqual([]);
  await rig.env.clock.advance(1000);
  expect(await rig.during(ask)).toEqual(["statfs"]);
});

it("memory is bounded, whatever is listed", async () => {
  const { top, answers } = above(mdCache);
  const stat = { ...ZERO_IATT, mode: S_IFREG, ctime: 1 };
  let next = 0;
  answers.set("readdirp", () => ({
    entries: Array.from({ length: 1000 }, () => {
      const name = `f${next++}`;
      return { name, ino: 1n, offset: BigInt(next), type: 8, stat: { ...stat, gfid: newGfid() } };
    }),
    eof: false,
  }));
  const fd = new Fd(new Inode(newGfid(), 0o040000), 0);
  for (let i = 0; i < 33; i++) await top.readdirp(internalCall(), { fd, size: 1 << 20, offset: 0n });
  expect(top.dump()).toMatchObject({ inodes: 32_768 });
});
