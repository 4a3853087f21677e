/** Sizes and block counts: what is written when, by one client and by two. */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../../src/core/call.ts";
import { Deferred } from "../../../../src/core/concurrency.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { type Args, XATTROP } from "../../../../src/core/fops.ts";
import { gfidText } from "../../../../src/core/gfid.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import { type Fd, Inode } from "../../../../src/core/inode.ts";
import { O_APPEND, O_RDWR, O_SYNC } from "../../../../src/core/open-flags.ts";
import { settle } from "../../../support/fake-env.ts";
import { Prng } from "../../../support/prng.ts";
import { Session } from "../../../support/session.ts";
import { until } from "../../../support/wait.ts";
import { BLOCK, bytes, Rig } from "./rig.ts";

const FILE_SIZE_KEY = "trusted.glusterfs.shard.file-size";

describe("one writer", () => {
  it("costs one writev and nothing else, once block and size are known", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(4 * BLOCK));
    await rig.a.top.fsync(rig.a.call, { fd, datasync: false });
    rig.a.wire.take();
    for (const block of [0, 1, 2, 3, 1]) await rig.a.write(fd, bytes(100), block * BLOCK + 50);
    expect(rig.a.wire.take()).toEqual(Array.from({ length: 5 }, () => "writev"));
  });

  it("costs one readv to read within a block", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(2 * BLOCK));
    rig.a.wire.take();
    await rig.a.read(fd, BLOCK + 5, 100);
    expect(rig.a.wire.take()).toEqual(["readv"]);
  });

  it("asks for a size that is getting old and does not wait; for one that is too old it waits", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(BLOCK));
    await rig.a.top.ftruncate(rig.a.call, { fd, offset: 2 * BLOCK });
    const uses = [() => rig.a.read(fd, BLOCK, 100), () => rig.a.write(fd, bytes(100))];
    for (const use of uses) {
      const asked = new Deferred<void>();
      rig.a.wire.before = ({ fop }) => (fop === "fstat" ? asked.promise : undefined);
      await rig.env.clock.advance(400);
      rig.a.wire.take();
      await use();
      expect(rig.a.wire.take()).not.toContain("fstat");
      await rig.env.clock.advance(200);
      await use();
      asked.resolve();
      await settle();
      expect(rig.a.wire.take()).toContain("fstat");
      const late = new Deferred<void>();
      rig.a.wire.before = ({ fop }) => (fop === "fstat" ? late.promise : undefined);
      await rig.env.clock.advance(1001);
      let isDone = false;
      const using = use().then(() => {
        isDone = true;
      });
      await settle();
      expect(isDone).toBe(false);
      late.resolve();
      await using;
    }
  });

  it("waits for no size to read what a block has, and publishes none that may be old", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(BLOCK));
    const theirs = await rig.b.open(await rig.b.inode("f"));
    await rig.pass();
    const { gfid } = fd.inode;
    await rig.b.write(theirs, bytes(BLOCK), BLOCK);
    const late = new Deferred<void>();
    rig.a.wire.before = ({ fop }) => (fop === "fstat" ? late.promise : undefined);
    const { data, stat } = await rig.a.top.readv(rig.a.call, { fd, offset: 100, size: 50, flags: 0 });
    expect(Buffer.concat(data as Buffer[]).equals(bytes(BLOCK).subarray(100, 150))).toBe(true);
    expect(stat.gfid.equals(gfid)).toBe(false);
    const synced = await rig.a.top.fsync(rig.a.call, { fd, datasync: false });
    expect([synced.pre.size, synced.post.size]).toEqual([0, 0]);
    late.resolve();
    const valid = SETATTR.MODE;
    const set = await rig.a.top.fsetattr(rig.a.call, { fd, stat: { ...stat, mode: 0o600 }, valid });
    expect(set.post.size).toBe(2 * BLOCK);
  });

  it("asks for sizes that are getting old at a bounded rate, however many files are read", async () => {
    await using rig = await Rig.start();
    const fds = [];
    for (let index = 0; index < 50; index++) {
      const fd = await rig.a.create(`f${index}`);
      await rig.a.write(fd, bytes(100));
      fds.push(fd);
    }
    await rig.pass();
    rig.a.wire.take();
    for (const fd of fds) {
      await rig.env.clock.advance(1);
      await rig.a.read(fd, 0, 100);
    }
    await settle();
    expect(rig.a.wire.count("readv")).toBe(50);
    expect(rig.a.wire.count("fstat")).toBeLessThanOrEqual(5);
  });

  it("asks for the right to the size once while it goes on extending, and gives it back when it pauses", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    for (let at = 0; at < 10; at++) await rig.a.write(fd, bytes(100), at * 100);
    expect(rig.a.wire.count("finodelk")).toBe(1);
    await rig.pass(200);
    expect(rig.a.wire.count("finodelk")).toBe(2);
  });

  it("shares xattrops between writes that end together", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(1));
    rig.a.wire.take();
    await Promise.all(Array.from({ length: 64 }, (_, at) => rig.a.write(fd, bytes(100), at * 100)));
    expect(rig.a.wire.count("fxattrop")).toBeLessThanOrEqual(3);
    expect(rig.extent(fd.inode.gfid).size).toBe(6400);
  });

  it("shares them between writes that end one after the other, and waits for none that takes long", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(1));
    rig.a.wire.take();
    // The first one's data takes a millisecond, the next one's two, the last one's a second.
    let writes = 0;
    rig.a.wire.before = async ({ fop }) => {
      if (fop !== "writev") return;
      const ms = ++writes < 16 ? writes : 1000;
      await new Promise<void>((resolve) => rig.env.clock.after(ms, resolve));
    };
    let done = 0;
    const all = Array.from({ length: 16 }, async (_, at) => {
      await rig.a.write(fd, bytes(100), at * 100);
      done++;
    });
    for (let ms = 0; ms < 40; ms++) await rig.env.clock.advance(1);
    expect(done).toBe(15);
    expect(rig.a.wire.count("fxattrop")).toBeLessThanOrEqual(6);
    await rig.env.clock.advance(1000);
    await Promise.all(all);
    expect(rig.extent(fd.inode.gfid).size).toBe(1600);
  });

  it("tells the disk of block counts with fsync, with flush, or after a second, and stat knows at once", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    const { gfid } = fd.inode;
    await rig.a.top.ftruncate(rig.a.call, { fd, offset: 8 * BLOCK });
    const settlers = [
      () => rig.a.top.fsync(rig.a.call, { fd, datasync: true }),
      () => rig.a.top.flush(rig.a.call, { fd }),
      () => rig.pass(1001),
    ];
    for (const [index, settle] of settlers.entries()) {
      rig.a.wire.take();
      await rig.a.write(fd, bytes(BLOCK), (2 * index + 1) * BLOCK);
      expect(rig.a.wire.count("fxattrop")).toBe(0);
      expect((await rig.a.statInode(fd.inode)).blocks).toBe(rig.room(gfid));
      await settle();
      expect(rig.extent(gfid)).toEqual({ size: 8 * BLOCK, blocks: rig.room(gfid) });
    }
  });

  it("never sees a size smaller than what was acknowledged, however stat and writes meet", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    const random = new Prng(7);
    // Answers take turns to arrive.
    rig.a.wire.before = async () => {
      for (let turns = random.int(0, 4); turns > 0; turns--) await Promise.resolve();
    };
    let acknowledged = 0;
    const seen: [least: number, size: number][] = [];
    const write = async (at: number): Promise<void> => {
      await rig.a.write(fd, bytes(50), at * 50);
      acknowledged = Math.max(acknowledged, (at + 1) * 50);
    };
    const look = async (): Promise<void> => {
      const least = acknowledged;
      seen.push([least, await rig.a.size(fd)]);
    };
    const work: Promise<void>[] = [];
    for (let at = 0; at < 400; at++) {
      work.push(write(at), look());
      if (at % 8 === 0) await Promise.all(work.splice(0));
    }
    await Promise.all(work);
    expect(seen.filter(([least, size]) => size < least)).toEqual([]);
  });

  it("has its size on the disk when a synchronous write returns", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    rig.a.wire.take();
    await rig.a.write(fd, bytes(BLOCK), BLOCK, O_SYNC);
    expect(rig.a.wire.take().slice(-2)).toEqual(["fxattrop", "fsync"]);
  });

  it("reads holes without making blocks, and writes make only theirs", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    const { gfid } = fd.inode;
    await rig.a.top.ftruncate(rig.a.call, { fd, offset: 9 * BLOCK });
    expect((await rig.a.read(fd, 10, 8 * BLOCK)).every((byte) => byte === 0)).toBe(true);
    expect(rig.hidden()).toEqual([]);
    await rig.a.write(fd, "x", 5 * BLOCK);
    await rig.a.read(fd, 0, 9 * BLOCK);
    expect(rig.blocksOf(gfid)).toEqual([5]);
  });

  it("acknowledges what reached the blocks before the one that failed", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    const { gfid } = fd.inode;
    await rig.a.write(fd, "x");
    rig.a.wire.before = ({ fop, args }) => {
      const isThird = "loc" in args && args.loc.name?.endsWith(".2") === true;
      if (fop === "mknod" && isThird) throw new FopError("ENOSPC", { fop, xlator: "test" });
    };
    const reply = await rig.a.write(fd, bytes(4 * BLOCK));
    expect(reply.size).toBe(2 * BLOCK);
    await rig.pass();
    expect(rig.extent(gfid)).toEqual({ size: 2 * BLOCK, blocks: rig.room(gfid) });
    expect(rig.blocksOf(gfid)).toEqual([1]);
  });

  it("goes on after a lost connection with what is on the disk", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(100));
    let lost = 1;
    rig.a.wire.before = ({ fop }) => {
      if (fop === "fxattrop" && lost-- > 0) throw new FopError("ENOTCONN", { fop, xlator: "test" });
    };
    await expect(rig.a.write(fd, bytes(100), 100)).rejects.toMatchObject({ code: "ENOTCONN" });
    await rig.a.write(fd, bytes(100), 300);
    expect(rig.extent(fd.inode.gfid).size).toBe(400);
    await rig.a.top.fsync(rig.a.call, { fd, datasync: false });
    expect(rig.extent(fd.inode.gfid).blocks).toBe(rig.room(fd.inode.gfid));
  });
});

describe("two writers", () => {
  it("extend one file at the same time, and it is as long as the furthest write", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      await using rig = await Rig.start({ clients: 2 });
      const random = new Prng(seed);
      const first = await rig.a.create("f");
      const fds = [first, await rig.b.open(await rig.b.inode("f"))];
      const { gfid } = first.inode;
      let end = 0;
      const work: Promise<unknown>[] = [];
      for (let step = 0; step < 40; step++) {
        const which = random.int(0, 1);
        const [at, size] = [random.int(0, 20 * BLOCK), random.int(1, 2 * BLOCK)];
        end = Math.max(end, at + size);
        work.push(rig.clients[which]!.write(fds[which]!, bytes(size, step), at));
        if (random.chance(0.3)) await Promise.race(work);
      }
      await Promise.all(work);
      expect(rig.extent(gfid).size, `seed ${seed}`).toBe(end);
      for (const [which, client] of rig.clients.entries()) {
        expect(await client.size(fds[which]!)).toBe(end);
        await client.close(fds[which]!);
      }
      expect(rig.extent(gfid).blocks, `seed ${seed}`).toBe(rig.room(gfid));
    }
  });

  it("append at the same time and lose nothing", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const flags = O_RDWR | O_APPEND;
    const first = await rig.a.create("f", { flags });
    const second = await rig.b.open(await rig.b.inode("f"), flags);
    const line = (who: string, index: number): string =>
      `${who}${String(index).padStart(5, "0")}${"-".repeat(60)}\n`;
    const work: Promise<unknown>[] = [];
    for (let index = 0; index < 200; index++)
      work.push(rig.a.write(first, line("a", index)), rig.b.write(second, line("b", index)));
    await Promise.all(work);
    const lines = (await rig.a.read(first, 0, 400 * 67)).toString().trimEnd().split("\n");
    expect(lines.length).toBe(400);
    for (const who of ["a", "b"])
      expect(lines.filter((one) => one.startsWith(who)).map((one) => `${one}\n`)).toEqual(
        Array.from({ length: 200 }, (_, index) => line(who, index)),
      );
  });

  it("see at once what the other appended", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const mine = await rig.a.create("f");
    const theirs = await rig.b.open(await rig.b.inode("f"));
    for (let index = 0; index < 5; index++) {
      await rig.a.write(mine, bytes(BLOCK, index), index * BLOCK);
      expect((await rig.b.read(theirs, index * BLOCK, BLOCK)).equals(bytes(BLOCK, index))).toBe(true);
      expect(await rig.b.size(theirs)).toBe((index + 1) * BLOCK);
    }
  });

  it("put right what a client did to the size that asks nobody, as GlusterFS' does", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    const { gfid } = fd.inode;
    const foreign = async (delta: number): Promise<void> => {
      const value = Buffer.alloc(32);
      value.writeBigInt64BE(BigInt(delta));
      const loc = { inode: new Inode(gfid, 0o100000) };
      const xattrs = Dict.ofBytes({ [FILE_SIZE_KEY]: value });
      await rig.graph.top.xattrop(internalCall(), { loc, op: XATTROP.ADD_ARRAY64, xattrs });
    };
    await rig.a.write(fd, bytes(100));
    await foreign(900);
    await rig.a.write(fd, bytes(100), 400);
    expect(rig.extent(gfid).size).toBe(1000);
    await rig.a.write(fd, bytes(100), 1400);
    expect(rig.extent(gfid).size).toBe(1500);
    await foreign(-1400);
    await rig.a.top.ftruncate(rig.a.call, { fd, offset: 200 });
    expect(rig.extent(gfid).size).toBe(200);
  });

  it("rename over one name at the same time and leave the blocks of the last file alone", async () => {
    await using rig = await Rig.start({ clients: 2 });
    for (const name of ["target", "first", "second"]) {
      const fd = await rig.a.create(name);
      await rig.a.write(fd, bytes(2 * BLOCK));
      await rig.a.close(fd);
    }
    const { gfid } = await rig.b.inode("second");
    let isLate = false;
    rig.b.wire.before = async ({ fop }) => {
      if (fop !== "inodelk" || isLate) return;
      isLate = true;
      await rig.a.rename("first", "target");
    };
    await rig.b.rename("second", "target");
    await rig.pass();
    expect(isLate).toBe(true);
    expect(rig.hidden()).toEqual([`${gfidText(gfid)}.1`]);
  });

  it("leave no block of a file that one made where the other was just renaming to", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const other = await rig.a.create("other");
    await rig.a.close(other);
    await rig.b.inode("other");
    let fd: Fd | undefined;
    rig.b.wire.before = async ({ fop }) => {
      if (fop !== "rename") return;
      fd = await rig.a.create("target");
      await rig.a.write(fd, bytes(BLOCK));
    };
    await rig.b.rename("other", "target");
    await rig.a.write(fd!, bytes(2 * BLOCK), BLOCK);
    expect((await rig.a.read(fd!, 0, 3 * BLOCK)).length).toBe(3 * BLOCK);
    await rig.a.close(fd!);
    await rig.pass();
    expect(rig.hidden()).toEqual([]);
  });

  it("leave no block of a file that one puts under a name which the other is just taking", async () => {
    for (const take of ["unlink", "rename", "rename to nothing"] as const) {
      await using rig = await Rig.start({ clients: 2 });
      for (const name of ["first", "second", "target"]) {
        const fd = await rig.a.create(name);
        await rig.a.write(fd, bytes(name === "target" ? 100 : 3 * BLOCK));
        await rig.a.close(fd);
      }
      const { gfid } = await rig.b.inode("second");
      if (take === "rename to nothing") await rig.a.unlink("target");
      let isLate = false;
      rig.b.wire.before = async ({ fop }) => {
        if (isLate || fop !== (take === "unlink" ? "unlink" : "rename")) return;
        isLate = true;
        await rig.a.rename("first", "target");
      };
      if (take === "unlink") await rig.b.unlink("target");
      else await rig.b.rename("second", "target");
      await rig.pass();
      expect(isLate, take).toBe(true);
      const blocks = [1, 2].map((block) => `${gfidText(gfid)}.${block}`);
      expect(rig.hidden(), take).toEqual(blocks);
    }
  });

  it("keep the marker of an unlink that failed, unless it was refused: copies may have done it", async () => {
    for (const code of ["EIO", "ENOENT", "EACCES"] as const) {
      await using rig = await Rig.start({ clients: 2 });
      const fd = await rig.a.create("f");
      await rig.a.write(fd, bytes(2 * BLOCK));
      await rig.a.close(fd);
      await rig.b.inode("f");
      rig.b.wire.before = ({ fop, args }) => {
        if (fop === "unlink" && (args as Args<"unlink">).loc.name === "f")
          throw new FopError(code, { fop, xlator: "test" });
      };
      await expect(rig.b.unlink("f")).rejects.toThrow();
      const isMarked = rig.hidden().some((name) => name.startsWith(".remove_me/"));
      expect(isMarked, code).toBe(code !== "EACCES");
      rig.b.wire.before = undefined;
      await rig.b.unlink("f");
      await rig.pass();
      expect(rig.hidden(), code).toEqual([]);
    }
  });

  it("leave nothing of a file that one copy has under a name more when the last one is taken", async () => {
    for (const take of ["unlink", "rename"] as const) {
      await using rig = await Rig.start({ clients: 2 });
      for (const name of ["f", "other"]) {
        const fd = await rig.a.create(name);
        await rig.a.write(fd, bytes(3 * BLOCK));
        await rig.a.close(fd);
      }
      const [{ gfid }, other] = [await rig.a.inode("f"), await rig.a.inode("other")];
      await rig.a.link(await rig.a.inode("f"), "left-over");
      rig.a.wire.fewestLinks = 1;
      if (take === "unlink") await rig.a.unlink("f");
      else await rig.a.rename("other", "f");
      await rig.pass();
      // It is there by its gfid until that copy is healed.
      expect(rig.blocksOf(gfid), take).toEqual([1, 2]);
      await new Session(rig.graph.top).unlink("left-over");
      const next = await rig.join();
      await next.inode("f").catch(() => {});
      await rig.pass();
      const kept = [1, 2].map((block) => `${gfidText(other.gfid)}.${block}`);
      expect(rig.hidden(), take).toEqual(kept);
    }
  });

  it("agree on the room of a block that one wrote while the other took it away", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(512), BLOCK);
    await rig.a.top.ftruncate(rig.a.call, { fd, offset: 2 * BLOCK });
    const mine = await rig.b.open(await rig.b.inode("f"));
    let writing: Promise<unknown> | undefined;
    rig.b.wire.before = async ({ fop }) => {
      if (fop !== "unlink" || writing !== undefined) return;
      writing = rig.a.write(fd, bytes(1024), BLOCK + 1024);
      await until("it asks for the size", () => rig.a.wire.passed.at(-1)?.fop === "finodelk");
    };
    await rig.b.top.ftruncate(rig.b.call, { fd: mine, offset: 512 });
    await writing;
    expect((await rig.b.read(mine, BLOCK + 1024, 2000)).equals(bytes(1024))).toBe(true);
    await rig.a.top.fsync(rig.a.call, { fd, datasync: false });
    expect(rig.extent(fd.inode.gfid).blocks).toBe(rig.room(fd.inode.gfid));
  });
});

describe("a reader of a file that grows meanwhile", () => {
  it("gets the other client's bytes or none, not zeros that nobody wrote", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const theirs = await rig.b.create("f");
    await rig.b.write(theirs, bytes(100));
    const mine = await rig.a.open(await rig.a.inode("f"));
    let grown = false;
    rig.a.wire.before = async ({ fop }) => {
      if (fop !== "fstat" || grown) return;
      grown = true;
      // The data has been read by then.
      await settle();
      await rig.b.write(theirs, bytes(BLOCK - 100, 2), 100);
    };
    const read = await rig.a.read(mine, 0, BLOCK);
    expect(grown).toBe(true);
    expect(read.equals(Buffer.concat([bytes(100), bytes(BLOCK - 100, 2)]))).toBe(true);
  });

  it("gets its own client's bytes or none", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(BLOCK + 100));
    let grown = false;
    rig.a.wire.before = async ({ fop, args }) => {
      if (fop !== "readv" || (args as Args<"readv">).fd !== fd || grown) return;
      grown = true;
      // The other block has been read by then.
      await settle();
      await rig.a.write(fd, bytes(BLOCK - 100, 2), BLOCK + 100);
    };
    const reply = await rig.a.top.readv(rig.a.call, { fd, offset: 0, size: 2 * BLOCK, flags: 0 });
    expect(grown).toBe(true);
    expect(Buffer.concat(reply.data).equals(bytes(BLOCK + 100))).toBe(true);
    expect([reply.size, reply.stat.size]).toEqual([BLOCK + 100, 2 * BLOCK]);
  });
});

describe("times", () => {
  it("of a write beyond block 0 are the file's at once, and on the disk when it is closed", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(2 * BLOCK));
    const before = (await rig.b.stat("f")).mtime;
    await rig.pass(5000);
    await rig.a.write(fd, bytes(10), BLOCK);
    const after = (await rig.a.stat("f")).mtime;
    expect(after).toBeGreaterThanOrEqual(before + 5);
    await rig.a.close(fd);
    expect((await rig.b.stat("f")).mtime).toBe(after);
  });

  it("that somebody sets are shown, older ones too", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(2 * BLOCK));
    await rig.a.setattr(await rig.a.inode("f"), SETATTR.MTIME, { mtime: 12345, mtimeNsec: 6 });
    expect(await rig.a.stat("f")).toMatchObject({ mtime: 12345, mtimeNsec: 6 });
    await rig.a.close(fd);
    expect(await rig.a.stat("f")).toMatchObject({ mtime: 12345, mtimeNsec: 6 });
  });

  it("move with truncate, wherever the file is cut", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(5 * BLOCK));
    for (const offset of [4 * BLOCK, 7 * BLOCK + 1, 100]) {
      const before = (await rig.a.stat("f")).mtime;
      await rig.pass(3000);
      await rig.a.top.ftruncate(rig.a.call, { fd, offset });
      expect((await rig.a.stat("f")).mtime).toBeGreaterThanOrEqual(before + 3);
    }
  });
});
