/** performance/write-behind: what is acknowledged when, what goes down as what, and who waits for whom. */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { ZERO_IATT } from "../../../../src/core/iatt.ts";
import { Fd, InodeTable } from "../../../../src/core/inode.ts";
import { O_APPEND, O_DIRECT, O_DSYNC, O_RDWR, O_SYNC, O_TRUNC } from "../../../../src/core/open-flags.ts";
import { settle } from "../../../support/fake-env.ts";
import { Session } from "../../../support/session.ts";
import { KIB, rig, watch } from "./rig.ts";

function filled(size: number, byte: number | string = "x"): Buffer {
  return Buffer.alloc(size, byte);
}

describe("acknowledgement", () => {
  it("comes before the brick has the bytes, without attributes", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    expect(await session.write(fd, "early")).toEqual({ size: 5, pre: ZERO_IATT, post: ZERO_IATT });
    await hold.arrived();
    expect(r.writes()).toEqual([]);
    delays.unhold(hold);
    expect(await session.text(fd)).toBe("early");
    await session.end();
  });

  it("of a write that is not early brings no attributes if earlier bytes were missing on the brick", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    await session.write(fd, "early", 100);
    const empty = session.write(fd, "");
    await hold.arrived();
    const synced = session.write(fd, "sync", 0, O_SYNC);
    delays.unhold(hold);
    for (const reply of [await empty, await synced]) expect(reply).toMatchObject({ post: ZERO_IATT });
    await session.end();
  });

  it("takes a copy: the caller may use his buffer again at once", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    const buffer = Buffer.from("first");
    await r.top.writev(session.call, { fd, data: [buffer], offset: 0, flags: 0 });
    buffer.write("xxxxx");
    delays.unhold(hold);
    expect(await session.text(fd)).toBe("first");
    await session.end();
  });

  it("is for the window's bytes and one write more; the next small one waits for room", async () => {
    await using r = await rig({ "cache-size": "512KB" });
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    const early = Array.from({ length: 9 }, (_, n) =>
      watch(session.write(fd, filled(64 * KIB), n * 64 * KIB)),
    );
    const late = [9, 10].map((n) => watch(session.write(fd, filled(64 * KIB), n * 64 * KIB)));
    await settle();
    expect(early.map(({ state }) => state)).toEqual(new Array(9).fill("done"));
    expect(late.map(({ state }) => state)).toEqual(["pending", "pending"]);
    hold.release();
    await settle();
    expect(late[0]!.state).toBe("done");
    delays.unhold(hold);
    await late[1]!.promise;
    await session.close(fd);
    expect(await session.stat("f")).toMatchObject({ size: 11 * 64 * KIB });
  });

  it("of a large write beyond the window is the brick's own, attributes and all", async () => {
    await using r = await rig({ "cache-size": "512KB" });
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    await session.write(fd, filled(600 * KIB));
    const large = watch(session.write(fd, filled(128 * KIB), 600 * KIB));
    await settle();
    expect(large.state).toBe("pending");
    expect(hold.count).toBe(2);
    delays.unhold(hold);
    expect(await large.promise).toMatchObject({ size: 128 * KIB });
    await session.end();
  });

  it("is the brick's for a write that fills the window while its caller waits for another", async () => {
    await using r = await rig({ "cache-size": "512KB" });
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    const write = (n: number) => watch(session.write(fd, filled(512 * KIB), n * 512 * KIB));
    const writes = [write(0), write(1), write(2)];
    await settle();
    expect(writes.map(({ state }) => state)).toEqual(["done", "done", "pending"]);
    hold.release();
    hold.release();
    await settle();
    const next = write(3);
    await settle();
    expect(next.state).toBe("pending");
    delays.unhold(hold);
    await Promise.all([...writes, next].map(({ promise }) => promise));
    // Nobody waits any more: the next one is early again.
    const last = delays.hold("writev");
    await write(4).promise;
    delays.unhold(last);
    await session.close(fd);
    expect(await session.stat("f")).toMatchObject({ size: 5 * 512 * KIB });
  });

  it.each([
    ["O_SYNC on the fd", O_RDWR | O_SYNC, 0, {}],
    ["O_DSYNC on the fd", O_RDWR | O_DSYNC, 0, {}],
    ["O_SYNC on the call", O_RDWR, O_SYNC, {}],
    ["O_DIRECT with strict-O_DIRECT", O_RDWR | O_DIRECT, 0, { "strict-O_DIRECT": "on" }],
    ["O_DIRECT on the call with strict-O_DIRECT", O_RDWR, O_DIRECT, { "strict-O_DIRECT": "on" }],
    ["pass-through", O_RDWR, 0, { "pass-through": "on" }],
  ] as const)("is the brick's with %s", async (_, fdFlags, flags, options) => {
    await using r = await rig(options);
    const { session, delays } = r;
    const fd = await session.create("f", { flags: fdFlags });
    const hold = delays.hold("writev");
    const write = watch(session.write(fd, filled(4096), 0, flags));
    await hold.arrived();
    await settle();
    expect(write.state).toBe("pending");
    delays.unhold(hold);
    expect((await write.promise).post.size).toBe(4096);
    await session.end();
  });

  it("is the brick's for an fd that was not opened, and for a write that asks something", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    const data = [filled(10)];
    const xdata = new Dict().setUint("glusterfs.write-is-append", 1);
    const asking = watch(r.top.writev(session.call, { fd, data, offset: 0, flags: 0, xdata }));
    const anonymous = Fd.anonymous(fd.inode, O_RDWR);
    const unopened = watch(r.top.writev(session.call, { fd: anonymous, data, offset: 100, flags: 0 }));
    await settle();
    expect([asking.state, unopened.state]).toEqual(["pending", "pending"]);
    delays.unhold(hold);
    expect((await asking.promise).xdata?.number("glusterfs.write-is-append")).toBe(1);
    await unopened.promise;
    await session.end();
  });

  it("with O_DIRECT and no strictness is for whole sectors: others hear at once what is wrong", async () => {
    await using r = await rig();
    const { session } = r;
    const fd = await session.create("f", { flags: O_RDWR | O_DIRECT });
    expect(await session.write(fd, filled(4096))).toMatchObject({ post: ZERO_IATT });
    await expect(session.write(fd, filled(100), 0)).rejects.toMatchObject({ code: "EINVAL" });
    await session.end();
  });

  it("ends for a file that somebody reads on the brick without asking", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const reader = await session.open(fd.inode);
    const writeBehind = r.graph.xlator("write-behind");
    Object.defineProperty(writeBehind.children[0], "localFile", { value: () => 7 });
    const hold = delays.hold("writev");
    await session.write(fd, "early");
    expect(writeBehind.localFile(reader)).toBeUndefined();
    delays.unhold(hold);
    await session.size(fd);
    expect(writeBehind.localFile(reader)).toBe(7);
    expect((await session.write(fd, "late")).post.size).toBe(5);
    await session.release(reader);
    expect((await session.write(fd, "early")).post).toBe(ZERO_IATT);
    await session.end();
  });
});

describe("gathering", () => {
  it("joins consecutive small writes while one is under way", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    for (let n = 0; n < 20; n++) await session.write(fd, filled(KIB, n), n * KIB);
    delays.unhold(hold);
    await session.close(fd);
    expect(r.writes().sort()).toEqual(["0+1024", `1024+${19 * KIB}`]);
    const reader = await session.open(fd.inode);
    const all = await session.read(reader, 0, 20 * KIB);
    for (let n = 0; n < 20; n++)
      expect(all.subarray(n * KIB, (n + 1) * KIB).equals(filled(KIB, n))).toBe(true);
    await session.end();
  });

  it("goes on for a moment after a write came back, as more of the stream will follow", async () => {
    await using r = await rig();
    const { session, delays, env } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    await session.write(fd, filled(KIB), 0);
    await session.write(fd, filled(KIB), KIB);
    delays.unhold(hold);
    await settle();
    expect(r.writes()).toEqual(["0+1024"]);
    await session.write(fd, filled(KIB), 2 * KIB);
    await env.clock.advance(3);
    expect(r.writes()).toEqual(["0+1024"]);
    await env.clock.advance(2);
    expect(r.writes()).toEqual(["0+1024", "1024+2048"]);
    // The stream has ended: the next write goes at once.
    await session.write(fd, "x", 3 * KIB);
    await settle();
    expect(r.writes()).toHaveLength(3);
    await session.end();
  });

  it("stops at aggregate-size", async () => {
    await using r = await rig({ "aggregate-size": "16KB", "trickling-writes": "off" });
    const { session } = r;
    const fd = await session.create("f");
    for (let n = 0; n < 40; n++) await session.write(fd, filled(KIB), n * KIB);
    await session.close(fd);
    expect(r.writes()).toEqual(["0+16384", "16384+16384", "32768+8192"]);
    await session.end();
  });

  it("without trickling keeps a small write until somebody needs it", async () => {
    await using r = await rig({ "trickling-writes": "off" });
    const { session } = r;
    const fd = await session.create("f");
    await session.write(fd, "kept");
    await settle();
    expect(r.writes()).toEqual([]);
    await r.top.fsync(session.call, { fd, datasync: true });
    expect(r.writes()).toEqual(["0+4"]);
    await session.end();
  });

  it("does not join what comes from another file, program, owner or place, nor what lies apart", async () => {
    await using r = await rig({ "trickling-writes": "off" });
    const { session } = r;
    const fd = await session.create("f");
    const twin = await session.open(fd.inode);
    await session.write(fd, "aa", 0);
    await session.write(twin, "bb", 2);
    await session.as({ owner: "another" }).write(twin, "cc", 4);
    await session.as({ pid: 4711, owner: "another" }).write(twin, "dd", 6);
    await session.as({ pid: 4711, owner: "another" }).write(twin, "ee", 9);
    await session.close(fd);
    expect(r.writes()).toEqual(["0+2", "2+2", "4+2", "6+2", "9+2"]);
    await session.end();
  });

  it("sends a kept write before anything else of the file changes", async () => {
    await using r = await rig({ "trickling-writes": "off" });
    const { session } = r;
    const fd = await session.create("f");
    await session.write(fd, "kept");
    await session.write(fd, "synced", 100, O_SYNC);
    expect(r.writes()).toEqual(["0+4", "100+6"]);
    await session.end();
  });

  it("merges writes that waited for room", async () => {
    await using r = await rig({ "cache-size": "512KB" });
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    await session.write(fd, filled(513 * KIB));
    const waiting = Array.from({ length: 8 }, (_, n) =>
      watch(session.write(fd, filled(KIB), (513 + n) * KIB)),
    );
    await settle();
    expect(waiting[0]!.state).toBe("pending");
    delays.unhold(hold);
    await Promise.all(waiting.map(({ promise }) => promise));
    await session.close(fd);
    expect(r.writes()).toEqual([`0+${513 * KIB}`, `${513 * KIB}+${8 * KIB}`]);
    await session.end();
  });

  it("writes a large payload whole, out of many pieces", async () => {
    await using r = await rig({ "cache-size": "1MB" });
    const { session } = r;
    const fd = await session.create("f");
    const bytes = Buffer.from(Array.from({ length: 700_001 }, (_, n) => (n * 7) & 0xff));
    const data = [bytes.subarray(0, 5), bytes.subarray(5, 300_000), bytes.subarray(300_000)];
    await r.top.writev(session.call, { fd, data, offset: 3, flags: 0 });
    expect((await session.read(fd, 3, bytes.length)).equals(bytes)).toBe(true);
    expect(r.writes()).toEqual(["3+700001"]);
    await session.end();
  });
});

describe("order", () => {
  it("of overlapping writes is that of their arrival, early or not, answered or not", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    const writes = [
      session.write(fd, "aaaaaaaa", 0),
      session.write(fd, "bbbb", 2),
      session.write(fd, "cc", 3, O_SYNC),
      session.write(fd, "dd", 8),
      session.write(fd, "e", 3),
    ];
    await settle();
    // One of those that overlap and the one beside them.
    expect(hold.count).toBe(2);
    delays.unhold(hold);
    await Promise.all(writes);
    expect(await session.text(fd)).toBe("aabecbaadd");
    await session.end();
  });

  it("of two writers is that in which they were issued, block by block (WB-01)", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    const expected = Buffer.alloc(40);
    const writes: Promise<unknown>[] = [];
    // Each begins in the middle of the one before, or right behind it; nobody waits for an answer.
    for (let step = 0; step < 16; step++) {
      const offset = step * 2 + (step % 3);
      const block = Buffer.alloc(4, 0x61 + step);
      block.copy(expected, offset);
      writes.push(session.write(fd, block, offset, step % 2 === 0 ? 0 : O_SYNC));
    }
    await settle();
    delays.unhold(hold);
    await Promise.all(writes);
    const text = await session.text(fd);
    expect(text).toBe(expected.subarray(0, text.length).toString());
    expect(text.length).toBe(15 * 2 + 0 + 4);
    await session.end();
  });

  it("holds for writes that are all answered by the brick", async () => {
    await using r = await rig({ "strict-O_DIRECT": "on" });
    const { session, delays } = r;
    const fd = await session.create("f", { flags: O_RDWR | O_DIRECT });
    const hold = delays.hold("writev");
    const first = watch(session.write(fd, filled(1024, "a"), 0));
    const second = watch(session.write(fd, filled(1024, "b"), 512));
    const beside = watch(session.write(fd, filled(512, "c"), 4096));
    await settle();
    expect(hold.count).toBe(2);
    delays.unhold(hold);
    await Promise.all([first.promise, second.promise, beside.promise]);
    expect(
      (await session.read(fd, 0, 1536)).equals(Buffer.concat([filled(512, "a"), filled(1024, "b")])),
    ).toBe(true);
    await session.end();
  });

  it("lets writes side by side, unless strict-write-ordering is on", async () => {
    for (const [strict, atOnce] of [
      ["off", 3],
      ["on", 1],
    ] as const) {
      await using r = await rig({ "strict-write-ordering": strict });
      const { session, delays } = r;
      const fd = await session.create("f");
      const hold = delays.hold("writev");
      // Each lies apart from the one before, so each closes it.
      for (const offset of [0, 1000, 2000, 3000]) await session.write(fd, "x", offset);
      await settle();
      expect(hold.count, `strict ${strict}`).toBe(atOnce);
      delays.unhold(hold);
      await session.close(fd);
    }
  });

  it("of appends is one after the other", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f", { flags: O_RDWR | O_APPEND });
    const hold = delays.hold("writev");
    await session.write(fd, "one ", 0);
    await session.write(fd, "two ", 0);
    await session.write(fd, "three", 0);
    await settle();
    expect(hold.count).toBe(1);
    delays.unhold(hold);
    expect(await session.text(fd)).toBe("one two three");
    await session.end();
  });

  it("of a truncation is after the writes it cuts, and before those that come later", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    await session.write(fd, "0123456789");
    const cut = r.top.ftruncate(session.call, { fd, offset: 4 });
    await session.write(fd, "ab", 6);
    await settle();
    expect(r.went.some(({ fop }) => fop === "ftruncate")).toBe(false);
    delays.unhold(hold);
    expect((await cut).post.size).toBe(4);
    expect(await session.text(fd)).toBe("0123\0\0ab");
    await session.end();
  });

  it("of an open that truncates is after the writes before it", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    await session.write(fd, "gone");
    const opening = watch(session.open(fd.inode, O_RDWR | O_TRUNC));
    await settle();
    expect(opening.state).toBe("pending");
    delays.unhold(hold);
    await opening.promise;
    expect(await session.size(fd)).toBe(0);
    await session.end();
  });
});

describe("who looks", () => {
  it("at bytes waits for those that were acknowledged, and for no others", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    await session.write(fd, filled(8192, "a"), 0, O_SYNC);
    const hold = delays.hold("writev");
    await session.write(fd, "bbbb", 4096);
    const same = watch(session.read(fd, 4090, 10));
    expect((await session.read(fd, 0, 4096)).equals(filled(4096, "a"))).toBe(true);
    expect(same.state).toBe("pending");
    delays.unhold(hold);
    expect((await same.promise).toString()).toBe("aaaaaabbbb");
    await session.end();
  });

  it("at the gap that a write behind the end makes waits for that write", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    await session.write(fd, "head", 0, O_SYNC);
    const hold = delays.hold("writev");
    await session.write(fd, "tail", 100);
    const gap = watch(session.read(fd, 20, 10));
    await settle();
    expect(gap.state).toBe("pending");
    delays.unhold(hold);
    expect((await gap.promise).equals(filled(10, 0))).toBe(true);
    await session.end();
  });

  it.each(["fstat", "stat", "lookup", "setattr", "link", "rename", "seek", "fsync", "flush"] as const)(
    "by %s waits until all acknowledged bytes are written",
    async (fop) => {
      await using r = await rig();
      const { session, delays, top } = r;
      const { call } = session;
      const fd = await session.create("f");
      const { inode } = fd;
      const here = { inode, parent: session.root, name: "f" };
      const there = { inode, parent: session.root, name: "g" };
      const asks: Record<typeof fop, () => Promise<unknown>> = {
        fstat: async () => (await top.fstat(call, { fd })).stat.size,
        stat: async () => (await top.stat(call, { loc: { inode } })).stat.size,
        lookup: async () => (await top.lookup(call, { loc: here })).stat.size,
        setattr: async () =>
          (await top.setattr(call, { loc: { inode }, stat: ZERO_IATT, valid: 0x100 })).post.size,
        link: async () => (await top.link(call, { from: here, to: there })).stat.size,
        rename: async () => (await top.rename(call, { from: here, to: there })).stat.size,
        seek: async () => (await top.seek(call, { fd, offset: 0, what: "hole" })).offset,
        fsync: async () => (await top.fsync(call, { fd, datasync: true })).post.size,
        flush: async () => {
          await top.flush(call, { fd });
          return 5;
        },
      };
      const hold = delays.hold("writev");
      await session.write(fd, "bytes");
      const asked = watch(asks[fop]());
      await hold.arrived();
      await settle();
      expect(asked.state).toBe("pending");
      expect(r.went.some((one) => one.fop === fop)).toBe(false);
      delays.unhold(hold);
      expect(await asked.promise).toBe(5);
      await session.end();
    },
  );

  it("up a name without knowing the file sees the size that was acknowledged", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const other = new Session(r.top, { table: new InodeTable() });
    const fd = await session.create("f");
    const hold = delays.hold("writev");
    await session.write(fd, "bytes");
    const size = watch(other.stat("f"));
    await settle();
    expect(size.state).toBe("pending");
    delays.unhold(hold);
    expect((await size.promise).size).toBe(5);
    await session.end();
  });

  it("up a name sees the size also when the write ends while the lookup is on its way back", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const other = new Session(r.top, { table: new InodeTable() });
    const fd = await session.create("f");
    const writes = delays.hold("writev");
    const lookups = delays.hold("lookup", "reply");
    await session.write(fd, "bytes");
    const size = watch(other.stat("f"));
    await lookups.arrived();
    delays.unhold(writes);
    await settle();
    delays.unhold(lookups);
    expect((await size.promise).size).toBe(5);
    await session.end();
  });

  it("at a directory gets no attributes of files with unwritten bytes, or that were written meanwhile", async () => {
    await using r = await rig();
    const { session, delays, top } = r;
    const fd = await session.create("dirty");
    const later = await session.create("later");
    await session.create("clean");
    const dir = await session.opendir();
    const writes = delays.hold("writev");
    const list = async () => {
      const { entries } = await top.readdirp(session.call, { fd: dir, size: 4096, offset: 0n });
      return entries
        .filter(({ name, stat }) => !name.startsWith(".") && stat === ZERO_IATT)
        .map(({ name }) => name)
        .sort();
    };
    await session.write(fd, "bytes");
    expect(await list()).toEqual(["dirty"]);
    const replies = delays.hold("readdirp", "reply");
    await session.write(later, "bytes");
    const listing = list();
    await replies.arrived();
    delays.unhold(writes);
    await settle();
    delays.unhold(replies);
    expect(await listing).toEqual(["dirty", "later"]);
    expect(await list()).toEqual([]);
    await session.end();
  });
});

describe("closing", () => {
  it("is answered when the writes are done, and goes down behind", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    const hold = delays.hold("flush");
    await session.write(fd, "x");
    await r.top.flush(session.call, { fd });
    await hold.arrived();
    const released = watch(session.release(fd));
    await settle();
    expect(released.state).toBe("pending");
    delays.unhold(hold);
    await released.promise;
  });

  it("waits for the brick with flush-behind off, and where locks hang on it", async () => {
    for (const locked of [false, true]) {
      await using r = await rig({ "flush-behind": locked ? "on" : "off" });
      const { session, delays } = r;
      const fd = await session.create("f");
      if (locked) await session.lk(fd, "setlk", "wrlck", 0, 1);
      const hold = delays.hold("flush");
      const flush = watch(r.top.flush(session.call, { fd }));
      await hold.arrived();
      await settle();
      expect(flush.state, `locked ${locked}`).toBe("pending");
      delays.unhold(hold);
      await flush.promise;
      await session.end();
    }
  });

  it("unlocks only when what was written under the lock is on the brick", async () => {
    await using r = await rig();
    const { session, delays } = r;
    const fd = await session.create("f");
    await session.lk(fd, "setlk", "wrlck", 0, 0);
    const hold = delays.hold("writev");
    await session.write(fd, "x");
    const unlock = watch(session.lk(fd, "setlk", "unlck", 0, 0));
    await settle();
    expect(unlock.state).toBe("pending");
    delays.unhold(hold);
    await unlock.promise;
    await session.end();
  });

  it("without a flush still writes what was acknowledged", async () => {
    await using r = await rig({ "trickling-writes": "off" });
    const { session } = r;
    const fd = await session.create("f");
    await session.write(fd, "kept");
    await session.release(fd);
    expect(r.writes()).toEqual(["0+4"]);
  });
});

describe("what reaches the brick", () => {
  it("five writes to one place are five writes, and nobody syncs who was not asked (WB-06)", async () => {
    await using r = await rig();
    const { session } = r;
    const fd = await session.create("f");
    for (let n = 0; n < 5; n++) await session.write(fd, `${n}`);
    await session.close(fd);
    expect(r.writes()).toEqual(new Array(5).fill("0+1"));
    expect(r.went.some(({ fop }) => fop === "fsync")).toBe(false);
    await session.end();
  });

  it("by an fsync outlives a power failure, and only that is promised", async () => {
    await using r = await rig({ "trickling-writes": "off" });
    const { session, disk } = r;
    const fd = await session.create("f");
    await session.write(fd, "synced");
    await r.top.fsync(session.call, { fd, datasync: false });
    await session.write(fd, " lost", 6);
    await session.end();
    await r.graph.graph.stop();
    disk.crash();
    const { data } = disk.find(fd.inode.gfid)!;
    expect(data!.read(0, 100).subarray(0, 6).toString()).toBe("synced");
    expect(data!.read(6, 100).every((byte) => byte === 0)).toBe(true);
  });
});

describe("options", () => {
  it("change while files are open, and what waits goes by the new ones", async () => {
    await using r = await rig({ "trickling-writes": "off", "aggregate-size": "64KB" });
    const { session } = r;
    const fd = await session.create("f");
    await session.write(fd, "kept");
    await settle();
    expect(r.writes()).toEqual([]);
    const writeBehind = r.graph.xlator("write-behind");
    const options = (writeBehind as unknown as { options: Record<string, unknown> }).options;
    writeBehind.reconfigure({ ...options, "trickling-writes": true } as never);
    await settle();
    expect(r.writes()).toEqual(["0+4"]);
    await session.end();
  });

  it("that contradict each other are refused", async () => {
    await expect(rig({ "cache-size": "512KB", "aggregate-size": "1MB" })).rejects.toThrow(
      /write-behind.*aggregate-size: "1MB" is above the window: at most cache-size, which is 512KB/,
    );
  });
});
