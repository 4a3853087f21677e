/** What a lookup answers when copies do not say the same (spec translators.md 4.6). */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import type { Args } from "../../../../src/core/fops.ts";
import { newGfid } from "../../../../src/core/gfid.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { KEY } from "../../../../src/core/keys.ts";
import { Copies } from "./three-copies.ts";

describe("lookup", () => {
  it("asks all copies for marks and locks, and gives no gfid away", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    await copies.file("f");
    copies.clearCalls();
    await session.lookup("f", session.root, session.gfidReq());
    for (const wire of copies.wires) {
      const [call] = wire.calls.filter(({ fop }) => fop === "lookup");
      const keys = [...(call!.args as Args<"lookup">).xdata!.keys()];
      expect(keys).not.toContain("gfid-req");
      expect(keys).toEqual(
        expect.arrayContaining([
          "trusted.afr.v-client-0",
          "trusted.afr.v-client-2",
          "trusted.afr.dirty",
          "glusterfs.inodelk-count",
          "glusterfs.entrylk-count",
          "glusterfs.parent-entrylk",
        ]),
      );
    }
  });

  it("teaches which copies may be read: no other call is needed before a read", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const inode = await copies.file("f");
    copies.wires[2]!.cut();
    copies.wires[2]!.mend();
    await session.lookup("f");
    copies.clearCalls();
    await session.statInode(inode);
    expect(copies.wires.map((wire) => wire.count("lookup"))).toEqual([0, 0, 0]);
  });

  it("counts who has a file open where most have", async () => {
    await using copies = await Copies.start({ options: { "read-subvolume-index": "0" } });
    const { session } = copies;
    const inode = await copies.file("f");
    await copies.brick(2).open(inode);
    await copies.brick(2).open(inode);
    const xdata = new Dict().setInt(KEY.OPEN_FD_COUNT, 1);
    const reply = await session.lookup("f", session.root, xdata);
    expect(reply.xdata?.number(KEY.OPEN_FD_COUNT)).toBe(2);
  });

  it("tells who asks how many names the copy with fewest has", async () => {
    await using copies = await Copies.start({ options: { "read-subvolume-index": "0" } });
    const { session } = copies;
    const inode = await copies.file("f");
    await copies.brick(0).link(inode, "left-over");
    const told = async (): Promise<number | undefined> => {
      const xdata = new Dict().setInt(KEY.FEWEST_LINKS, 1);
      const { stat, xdata: reply } = await session.lookup("f", session.root, xdata);
      expect(stat.nlink).toBe(2);
      return reply?.number(KEY.FEWEST_LINKS);
    };
    expect(await told()).toBe(1);
    for (const wire of copies.wires)
      for (const { args } of wire.calls)
        expect([...((args as Args<"lookup">).xdata?.keys() ?? [])]).not.toContain(KEY.FEWEST_LINKS);
    await copies.brick(1).link(inode, "left-over");
    await copies.brick(2).link(inode, "left-over");
    expect(await told()).toBe(2);
    expect((await session.lookup("f")).xdata?.has(KEY.FEWEST_LINKS)).toBe(false);
  });

  it("tells who wants a name gone of the few copies that have it, and a heal may spread it", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const directory = await session.mkdir("d");
    await copies.brick(1).create("f", { parent: directory });
    const xdata = new Dict().setInt(KEY.GONE_EVERYWHERE, 1);
    const look = (how?: Dict) => session.lookup("f", directory, how);
    const failHeal = () => {
      for (const index of [0, 2]) copies.errors[index]!.failNext("mknod", "ENOSPC");
    };
    failHeal();
    await expect(look()).rejects.toMatchObject({ code: "ENOENT" });
    failHeal();
    await expect(look(xdata)).rejects.toMatchObject({ code: "EAGAIN" });
    copies.wires[1]!.cut();
    await expect(look(xdata)).rejects.toMatchObject({ code: "ENOENT" });
    copies.wires[1]!.mend();
    expect((await look(xdata)).stat.nlink).toBe(1);
    expect((await copies.brick(0).lookup("f", directory)).stat.nlink).toBe(1);
  });

  it("is EIO when good copies have different objects under the name", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    for (const index of [0, 1, 2])
      await copies.brick(index).write(await copies.brick(index).create("f"), "a");
    await expect(session.lookup("f")).rejects.toMatchObject({ code: "EIO" });
  });

  it("believes the copies whose directory is not behind", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const dir = await session.mkdir("d");
    copies.wires[2]!.cut();
    const { inode } = await session.create("f", { parent: dir });
    await copies.brick(2).create("f", { parent: dir });
    copies.wires[2]!.mend();
    // One more copy is away, so that nothing can be healed.
    copies.wires[1]!.cut();
    await expect(session.lookup("f", dir)).rejects.toMatchObject({ code: "ENOTCONN" });
    copies.wires[1]!.mend();
    const found = await session.lookup("f", dir);
    expect(found.stat.gfid.equals(inode.gfid)).toBe(true);
  });

  it("is ENOENT while a name is being made on few copies", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const brick = copies.brick(0);
    await brick.create("f");
    await brick.entrylk(brick.root, "v-replicate-0", "lock-nb", "f");
    await expect(withTime(copies, session.lookup("f"))).rejects.toMatchObject({ code: "ENOENT" });
    await brick.entrylk(brick.root, "v-replicate-0", "unlock", "f");
  });

  it("waits for an operation that is changing what the name means", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const gfid = newGfid();
    const xdata = (): Dict => new Dict().setGfid("gfid-req", gfid);
    for (const index of [0, 1, 2]) {
      const brick = copies.brick(index);
      const make = index === 0 ? brick.gfidReq() : xdata();
      await brick.top.mkdir(brick.call, { loc: brick.at("d"), mode: 0o755, umask: 0, xdata: make });
      await brick.entrylk(brick.root, "v-replicate-0", "lock-nb", "d");
    }
    copies.wires[2]!.cut();
    let settled = false;
    const looking = session.lookup("d").finally(() => {
      settled = true;
    });
    await copies.env.clock.advance(10);
    expect(settled).toBe(false);
    const first = copies.brick(0);
    await first.rmdir("d");
    await first.top.mkdir(first.call, { loc: first.at("d"), mode: 0o755, umask: 0, xdata: xdata() });
    await copies.env.clock.advance(100);
    expect((await looking).stat.gfid.equals(gfid)).toBe(true);
  });

  it("tells the mode of a copy that too few blame where all are blamed", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const inode = await copies.file("f");
    copies.wires[0]!.cut();
    await session.setattr(inode, SETATTR.MODE, { mode: 0o600 });
    for (const blamed of [1, 2]) await copies.mark(0, inode, blamed, [0, 1, 0]);
    copies.wires[0]!.mend();
    expect((await session.lookup("f")).stat.mode & 0o777).toBe(0o600);
  });

  it("of a gfid that most copies lost says so", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const { inode } = await session.create("f");
    for (const index of [0, 1]) await copies.brick(index).unlink("f");
    const loc = { inode: new Inode(inode.gfid, inode.type) };
    await expect(session.top.lookup(session.call, { loc })).rejects.toMatchObject({ code: /ENOENT|ESTALE/ });
  });

  it("shows heal tools a name without quorum", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    await copies.file("f");
    copies.wires[0]!.cut();
    copies.wires[1]!.cut();
    await expect(session.lookup("f")).rejects.toMatchObject({ code: "ENOTCONN" });
    const tool = session.as({ pid: -7 });
    expect((await tool.stat("f")).size).toBe(7);
  });
});

/** Lets time pass until the promise settles. */
async function withTime<R>(copies: Copies, work: Promise<R>): Promise<R> {
  let settled = false;
  const done = work.finally(() => {
    settled = true;
  });
  done.catch(() => {});
  for (let step = 0; step < 1000 && !settled; step++) await copies.env.clock.advance(1);
  return done;
}
