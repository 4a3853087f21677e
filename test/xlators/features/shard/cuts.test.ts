/** Files that one client cuts while others write: no write that was acknowledged lies beyond the end. */

import { describe, expect, it } from "vitest";
import { gfidText } from "../../../../src/core/gfid.ts";
import type { Fd } from "../../../../src/core/inode.ts";
import { Session } from "../../../support/session.ts";
import { BLOCK, bytes, type Client, Rig } from "./rig.ts";

describe("a client that writes where another one has just cut the file", () => {
  it("raises the size again", async () => {
    const places = [
      { what: "in a block that is gone", cut: 100, at: 2 * BLOCK + 50, end: 2 * BLOCK + 150 },
      { what: "in the block that was cut", cut: 100, at: 150, end: 250 },
      { what: "across blocks", cut: 100, at: BLOCK - 50, end: BLOCK + 50 },
    ];
    for (const { what, cut, at, end } of places) {
      await using rig = await Rig.start({ clients: 2 });
      const mine = await rig.a.create("f");
      await rig.a.write(mine, bytes(3 * BLOCK));
      const theirs = await rig.b.open(await rig.b.inode("f"));
      await rig.pass(400);
      await rig.b.top.ftruncate(rig.b.call, { fd: theirs, offset: cut });
      await rig.a.write(mine, bytes(100, 2), at);
      expect(rig.extent(mine.inode.gfid).size, what).toBe(end);
      expect((await rig.b.read(theirs, at, 200)).equals(bytes(100, 2)), what).toBe(true);
      expect(
        (await rig.b.read(theirs, cut, at - cut)).every((byte) => byte === 0),
        what,
      ).toBe(true);
      await rig.b.top.ftruncate(rig.b.call, { fd: theirs, offset: cut });
      await rig.a.top.zerofill(rig.a.call, { fd: mine, offset: at, size: 100 });
      expect(rig.extent(mine.inode.gfid).size, what).toBe(end);
    }
  });

  it("raises it where a third client has made room behind the cut, or died before it told what it wrote", async () => {
    const room = async (c: Client, fd: Fd, at: number): Promise<void> => {
      await c.top.fallocate(c.call, { fd, keepSize: true, offset: at - 50, size: 400 });
    };
    const death = async (c: Client, fd: Fd, at: number): Promise<void> => {
      c.wire.before = ({ fop }) => {
        if (fop === "finodelk") c.wire.changesLeft = 0;
      };
      await expect(c.write(fd, bytes(400, 3), at - 50)).rejects.toThrow();
    };
    const places = [
      { what: "room in the block that was cut", third: room, at: 150 },
      { what: "room in a block that was gone", third: room, at: 2 * BLOCK + 50 },
      { what: "data in a block that was gone", third: death, at: 2 * BLOCK + 50 },
    ];
    for (const { what, third, at } of places) {
      await using rig = await Rig.start({ clients: 3 });
      const [a, b, c] = rig.clients as [Client, Client, Client];
      const mine = await a.create("f");
      await a.write(mine, bytes(3 * BLOCK));
      const theirs = await b.open(await b.inode("f"));
      const others = await c.open(await c.inode("f"));
      await rig.pass(400);
      await b.top.ftruncate(b.call, { fd: theirs, offset: 100 });
      await third(c, others, at);
      await a.write(mine, bytes(100, 2), at);
      expect(rig.extent(mine.inode.gfid).size, what).toBe(at + 100);
      expect((await b.read(theirs, at, 200)).equals(bytes(100, 2)), what).toBe(true);
    }
  });

  it("raises it where a block that it sees for the first time was made anew since", async () => {
    await using rig = await Rig.start({ clients: 3 });
    const [a, b, c] = rig.clients as [Client, Client, Client];
    const theirs = await b.create("f");
    await b.write(theirs, bytes(3 * BLOCK));
    const others = await c.open(await c.inode("f"));
    const mine = await a.open(await a.inode("f"));
    await b.top.ftruncate(b.call, { fd: theirs, offset: 100 });
    const at = 2 * BLOCK + 50;
    c.wire.before = ({ fop }) => {
      if (fop === "finodelk") c.wire.changesLeft = 0;
    };
    await expect(c.write(others, bytes(400, 3), at - 50)).rejects.toThrow();
    await a.write(mine, bytes(100, 2), at);
    expect(rig.extent(mine.inode.gfid).size).toBe(at + 100);
    expect((await b.read(theirs, at, 200)).equals(bytes(100, 2))).toBe(true);
  });

  it("asks for no size when it writes over what is there", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const mine = await rig.a.create("f");
    await rig.a.write(mine, bytes(2 * BLOCK));
    await rig.pass(400);
    rig.a.wire.take();
    await rig.a.write(mine, bytes(100), 50);
    await rig.a.write(mine, bytes(100), BLOCK + 50);
    expect(rig.a.wire.take()).toEqual(["writev", "writev"]);
  });

  it("finds blocks that the other took away and made anew", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const mine = await rig.a.create("f");
    await rig.a.write(mine, bytes(3 * BLOCK));
    const theirs = await rig.b.open(await rig.b.inode("f"));
    await rig.b.top.ftruncate(rig.b.call, { fd: theirs, offset: 10 });
    await rig.b.write(theirs, bytes(3 * BLOCK, 2), 0);
    expect((await rig.a.read(mine, 0, 3 * BLOCK)).equals(bytes(3 * BLOCK, 2))).toBe(true);
    await rig.b.top.ftruncate(rig.b.call, { fd: theirs, offset: 10 });
    await rig.pass(1001);
    await rig.a.write(mine, bytes(BLOCK, 3), 2 * BLOCK);
    expect((await rig.b.read(theirs, 2 * BLOCK, BLOCK)).equals(bytes(BLOCK, 3))).toBe(true);
  });
});

describe("a client that knows a block which another one took away and made anew", () => {
  const AT = BLOCK + 100;

  /** The first client knows block 1 from before. */
  async function remade() {
    const rig = await Rig.start({ clients: 2 });
    const mine = await rig.a.create("f");
    await rig.a.write(mine, bytes(2 * BLOCK));
    const theirs = await rig.b.open(await rig.b.inode("f"));
    await rig.b.top.ftruncate(rig.b.call, { fd: theirs, offset: 10 });
    await rig.b.write(theirs, bytes(200, 2), AT);
    await rig.b.end();
    await rig.pass(1001);
    return { rig, mine };
  }

  it("reads and writes the new one, though somebody has the old one open", async () => {
    await using rig = await Rig.start({ clients: 2 });
    const mine = await rig.a.create("f");
    await rig.a.write(mine, bytes(2 * BLOCK));
    const { gfid } = mine.inode;
    const brick = new Session(rig.graph.top);
    const shards = await brick.inode(".shard");
    const name = `${gfidText(gfid)}.1`;
    const old = await brick.inode(name, shards);
    await brick.open(old);
    const theirs = await rig.b.open(await rig.b.inode("f"));
    await rig.b.top.ftruncate(rig.b.call, { fd: theirs, offset: 10 });
    await rig.b.write(theirs, bytes(BLOCK, 2), BLOCK);
    expect((await rig.a.read(mine, BLOCK, BLOCK)).equals(bytes(BLOCK, 2))).toBe(true);
    await brick.open(await brick.inode(name, shards));
    await rig.b.top.ftruncate(rig.b.call, { fd: theirs, offset: 10 });
    await rig.b.write(theirs, bytes(BLOCK, 3), BLOCK);
    await rig.a.write(mine, bytes(200, 4), AT);
    expect((await rig.b.read(theirs, AT, 200)).equals(bytes(200, 4))).toBe(true);
    await rig.b.top.ftruncate(rig.b.call, { fd: theirs, offset: 10 });
    await rig.a.top.fallocate(rig.a.call, { fd: mine, keepSize: false, offset: BLOCK, size: BLOCK });
    await rig.a.top.fsync(rig.a.call, { fd: mine, datasync: false });
    expect(rig.extent(gfid).blocks).toBe(rig.room(gfid));
  });

  it("cuts the new one", async () => {
    const { rig, mine } = await remade();
    await using _ = rig;
    await rig.a.top.ftruncate(rig.a.call, { fd: mine, offset: AT });
    await rig.a.top.ftruncate(rig.a.call, { fd: mine, offset: 2 * BLOCK });
    expect((await rig.a.read(mine, AT, 200)).equals(Buffer.alloc(200))).toBe(true);
  });

  it("punches holes into the new one", async () => {
    const { rig, mine } = await remade();
    await using _ = rig;
    await rig.a.top.discard(rig.a.call, { fd: mine, offset: AT, size: 200 });
    expect((await rig.a.read(mine, AT, 200)).equals(Buffer.alloc(200))).toBe(true);
  });

  it("finds the data of the new one", async () => {
    const { rig, mine } = await remade();
    await using _ = rig;
    const { offset } = await rig.a.top.seek(rig.a.call, { fd: mine, offset: BLOCK, what: "data" });
    expect(offset).toBeLessThanOrEqual(AT);
  });
});
