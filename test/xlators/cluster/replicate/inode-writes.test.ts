/**
 * Changes of an inode: what goes over the wire, in what order, and what is left on the copies when some of
 * them fail (spec translators.md 4.3, 4.4 and 12).
 */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { type Args, type FopName, XATTROP } from "../../../../src/core/fops.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import type { Fd, Inode } from "../../../../src/core/inode.ts";
import { O_DSYNC, O_RDWR } from "../../../../src/core/open-flags.ts";
import { settle } from "../../../support/fake-env.ts";
import { Copies } from "./three-copies.ts";

const SECOND_MS = 1000;
const BLOCK = Buffer.alloc(4096, "x");

/** A file whose lock is held and whose pre-op is done: one write went before. */
async function warm(copies: Copies, flags = O_RDWR): Promise<Fd> {
  const inode = await copies.file("image", "");
  const fd = await copies.session.open(inode, flags);
  await copies.session.write(fd, BLOCK, 0);
  copies.clearCalls();
  return fd;
}

function calls(copies: Copies): FopName[][] {
  return copies.wires.map((wire) => wire.calls.map(({ fop }) => fop));
}

function three<T>(value: T): T[] {
  return [value, value, value];
}

/** Adds to a sum in an xattr; what it is then. */
async function add(to: Pick<Copies["session"], "top" | "call">, inode: Inode, by: number): Promise<number> {
  const value = Buffer.alloc(8);
  value.writeInt32BE(by, 4);
  const xattrs = Dict.ofBytes({ "trusted.sum": value });
  const reply = await to.top.xattrop(to.call, { loc: { inode }, op: XATTROP.ADD_ARRAY64, xattrs });
  return reply.xattrs.bytes("trusted.sum")!.readInt32BE(4);
}

describe("calls on the wire", () => {
  it("are lock, pre-op and write at first; sync, post-op and unlock a second later", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("image", "");
    const fd = await copies.session.open(inode);
    await copies.session.write(fd, BLOCK);
    copies.clearCalls();
    await copies.env.clock.advance(SECOND_MS);
    expect(calls(copies)).toEqual(three(["fsync", "fxattrop", "finodelk"]));
    copies.clearCalls();
    await copies.session.write(fd, BLOCK);
    expect(calls(copies)).toEqual(three(["finodelk", "fxattrop", "writev"]));
    copies.clearCalls();
    await copies.env.clock.advance(SECOND_MS);
    expect(calls(copies)).toEqual(three(["fsync", "fxattrop", "finodelk"]));
  });

  it("are one parallel round trip for each write that follows another", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    for (let block = 0; block < 5; block++) {
      await copies.env.clock.advance(SECOND_MS / 2);
      await copies.session.write(fd, BLOCK, block * 4096);
    }
    expect(calls(copies)).toEqual(three(Array(5).fill("writev")));
  });

  it("are all out before the first is answered", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    const holds = copies.delays.map((delay) => delay.hold("writev"));
    const writing = copies.session.write(fd, BLOCK);
    await settle();
    expect(holds.map(({ count }) => count)).toEqual([1, 1, 1]);
    for (const [index, hold] of holds.entries()) copies.delays[index]!.unhold(hold);
    await writing;
  });

  it("are two for a write and its fsync, one for a write that is synchronous", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    for (let block = 0; block < 3; block++) {
      await copies.session.write(fd, BLOCK, block * 4096);
      await copies.session.top.fsync(copies.session.call, { fd, datasync: true });
    }
    expect(calls(copies)).toEqual(three(["writev", "fsync", "writev", "fsync", "writev", "fsync"]));
    copies.clearCalls();
    const synchronous = await copies.session.open(fd.inode, O_RDWR | O_DSYNC);
    copies.clearCalls();
    await copies.session.write(synchronous, BLOCK, 0, O_DSYNC);
    expect(calls(copies)).toEqual(three(["writev"]));
  });

  it("need no sync before the post-op when the last fsync covers every write", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    await copies.session.write(fd, BLOCK);
    await copies.session.top.fsync(copies.session.call, { fd, datasync: true });
    copies.clearCalls();
    await copies.env.clock.advance(SECOND_MS);
    expect(calls(copies)).toEqual(three(["fxattrop", "finodelk"]));
  });

  it("sync what was appended, too (WB-06): what power takes from one copy the next append would hide", async () => {
    const losePower = async (durability: "on" | "off") => {
      const options = { "ensure-durability": durability, "read-subvolume-index": "0" };
      await using copies = await Copies.start({ options });
      const fd = await warm(copies);
      await copies.env.clock.advance(SECOND_MS);
      copies.clearCalls();
      await copies.session.write(fd, BLOCK, BLOCK.length);
      await copies.env.clock.advance(SECOND_MS);
      const seen = calls(copies);
      // The first brick loses power, and with it what nobody has synced.
      copies.wires[0]!.cut();
      const brick = copies.brick(0);
      const kept = await brick.open(fd.inode);
      const offset = BLOCK.length * (seen[0]!.includes("fsync") ? 2 : 1);
      await brick.top.ftruncate(brick.call, { fd: kept, offset });
      await brick.release(kept);
      copies.wires[0]!.mend();
      await copies.session.write(fd, BLOCK, 2 * BLOCK.length);
      await copies.env.clock.advance(SECOND_MS);
      const content = await copies.session.read(fd, 0, 3 * BLOCK.length);
      const marks = await Promise.all([0, 1, 2].map((index) => copies.marks(index, fd.inode)));
      return { seen, marks, size: content.length, zeros: content.filter((byte) => byte === 0).length };
    };
    const whole = { marks: three({}), size: 3 * BLOCK.length, zeros: 0 };
    const synced = ["finodelk", "fxattrop", "writev", "fsync", "fxattrop", "finodelk"];
    expect(await losePower("on")).toEqual({ ...whole, seen: three(synced) });
    // Left out: sizes are alike, nobody is blamed, and a whole block reads as zeros.
    const unsynced = synced.filter((fop) => fop !== "fsync");
    expect(await losePower("off")).toEqual({ ...whole, seen: three(unsynced), zeros: BLOCK.length });
  });

  it("of writes that share no byte run side by side, of those that do one after the other", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    const hold = copies.delays[0]!.hold("writev");
    const writes = [0, 4096, 8192, 4000].map((offset) => copies.session.write(fd, BLOCK, offset));
    await settle();
    expect(hold.count).toBe(3);
    copies.delays[0]!.unhold(hold);
    await Promise.all(writes);
    expect(calls(copies)).toEqual(three(Array(4).fill("writev")));
  });

  it("of a metadata change with all copies up are lock, change and unlock", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    copies.clearCalls();
    await copies.session.setattr(inode, SETATTR.MODE, { mode: 0o600 });
    await settle();
    expect(calls(copies)).toEqual(three(["inodelk", "setattr", "inodelk"]));
  });

  it("of a change of xattrs announce it: copies that differ when the client dies are known by that", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    copies.clearCalls();
    const hold = copies.delays[2]!.hold("setxattr");
    const setting = copies.session.setxattr(inode, "user.a", "b");
    await hold.arrived();
    for (const index of [0, 1, 2]) expect(await copies.marks(index, inode)).toEqual({ dirty: [0, 1, 0] });
    copies.delays[2]!.unhold(hold);
    await setting;
    await settle();
    expect(calls(copies)).toEqual(three(["inodelk", "xattrop", "setxattr", "xattrop", "inodelk"]));
    for (const index of [0, 1, 2]) expect(await copies.marks(index, inode)).toEqual({});
  });

  it("clear the marks before a flush is answered (EAG-01)", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    await copies.session.write(fd, BLOCK);
    expect(await copies.marks(0, fd.inode)).toEqual({ dirty: [1, 0, 0] });
    await copies.session.top.flush(copies.session.call, { fd });
    for (const index of [0, 1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({});
    expect(calls(copies)).toEqual(three(["writev", "fsync", "fxattrop", "finodelk", "flush"]));
  });
});

describe("marks", () => {
  it("of data: dirty while writes go on, nothing afterwards", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    for (const index of [0, 1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({ dirty: [1, 0, 0] });
    await copies.env.clock.advance(SECOND_MS);
    for (const index of [0, 1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({});
  });

  it("of data and metadata blame who is away, once for a batch of writes", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    copies.wires[2]!.cut();
    const fd = await copies.session.open(inode);
    for (const offset of [0, 4096, 8192]) await copies.session.write(fd, BLOCK, offset);
    expect(await copies.marks(0, inode)).toEqual({ 2: [1, 0, 0], dirty: [1, 0, 0] });
    await copies.session.close(fd);
    await copies.session.setattr(inode, SETATTR.MODE, { mode: 0o600 });
    await settle();
    for (const index of [0, 1]) expect(await copies.marks(index, inode)).toEqual({ 2: [1, 1, 0] });
    expect(await copies.marks(2, inode)).toEqual({});
  });

  it("blame a copy that fails before the caller hears of success", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    copies.errors[1]!.failNext("writev", "EIO");
    const hold = copies.delays[0]!.hold("fxattrop");
    let answered = false;
    const writing = copies.session.write(fd, BLOCK, 8192).then(() => {
      answered = true;
    });
    await hold.arrived();
    await settle();
    expect(answered).toBe(false);
    copies.delays[0]!.unhold(hold);
    await writing;
    await settle();
    for (const index of [0, 2]) expect(await copies.marks(index, fd.inode)).toEqual({ 1: [1, 0, 0] });
    // What it was sent before is not known to be whole either: it stays dirty.
    expect(await copies.marks(1, fd.inode)).toEqual({ dirty: [1, 0, 0] });
  });

  it("blame a copy that wrote less than the others", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    copies.errors[2]!.reconfigure({
      failure: 100,
      "error-no": "GF_ERROR_SHORT_WRITE",
      enable: ["writev"],
      "random-failure": false,
    });
    const { size } = await copies.session.write(fd, BLOCK, 4096);
    expect(size).toBe(4096);
    await settle();
    expect(await copies.marks(0, fd.inode)).toEqual({ 2: [1, 0, 0] });
  });

  it("are none when all copies refuse for the same reason", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    for (const error of copies.errors) error.failNext("writev", "ENOSPC");
    await expect(copies.session.write(fd, BLOCK, 0)).rejects.toMatchObject({ code: "ENOSPC" });
    await copies.env.clock.advance(SECOND_MS);
    for (const index of [0, 1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({});
  });

  it("stay dirty when copies fail for different reasons, or none can say what it has", async () => {
    for (const codes of [
      ["ENOSPC", "EDQUOT", "ENOSPC"],
      ["EIO", "EIO", "EIO"],
    ] as const) {
      await using copies = await Copies.start();
      const fd = await warm(copies);
      for (const [index, error] of copies.errors.entries()) error.failNext("writev", codes[index]!);
      await expect(copies.session.write(fd, BLOCK, 0)).rejects.toMatchObject({ code: codes[0] });
      await copies.env.clock.advance(SECOND_MS);
      for (const index of [0, 1, 2])
        expect(await copies.marks(index, fd.inode)).toEqual({ dirty: [1, 0, 0] });
    }
  });

  it("blame a copy that cannot sync what it was sent", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    await copies.session.write(fd, BLOCK);
    copies.errors[0]!.failNext("fsync", "EIO");
    await copies.env.clock.advance(SECOND_MS);
    for (const index of [1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({ 0: [1, 0, 0] });
    expect(await copies.marks(0, fd.inode)).toEqual({ dirty: [1, 0, 0] });
  });

  it("blame a copy that was away before it had synced, though it is back in time to sync what it has left", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    await copies.session.write(fd, BLOCK);
    copies.wires[0]!.cut();
    copies.wires[0]!.mend();
    await copies.env.clock.advance(SECOND_MS);
    for (const index of [1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({ 0: [1, 0, 0] });
    expect(await copies.marks(0, fd.inode)).toEqual({ dirty: [1, 0, 0] });
  });

  it("blame a copy that was away before a sync that the caller asks for", async () => {
    await using copies = await Copies.start();
    const fd = await warm(copies);
    await copies.session.write(fd, BLOCK);
    copies.wires[0]!.cut();
    copies.wires[0]!.mend();
    await copies.session.top.fsync(copies.session.call, { fd, datasync: true });
    for (const index of [1, 2]) expect(await copies.marks(index, fd.inode)).toMatchObject({ 0: [1, 0, 0] });
  });

  it("of a copy that fails the pre-op keep reads away from it at once", async () => {
    await using copies = await Copies.start({ options: { "read-subvolume-index": "0" } });
    const inode = await copies.file("f", "old");
    const fd = await copies.session.open(inode);
    await copies.env.clock.advance(SECOND_MS);
    expect((await copies.session.read(fd, 0, 3)).toString()).toBe("old");
    copies.errors[0]!.failNext("fxattrop", "ENOSPC");
    await copies.session.write(fd, Buffer.from("new"), 0);
    expect((await copies.session.read(fd, 0, 3)).toString()).toBe("new");
  });

  it("that another client left keep reads away from a copy once a pre-op has found them", async () => {
    await using copies = await Copies.start({ options: { "read-subvolume-index": "0" } });
    const inode = await copies.file("f", "good");
    const fd = await copies.session.open(inode);
    await copies.env.clock.advance(SECOND_MS);
    expect((await copies.session.read(fd, 0, 4)).toString()).toBe("good");
    await copies.scribble(0, inode, "gone");
    for (const index of [1, 2]) await copies.mark(index, inode, 0, [1, 0, 0]);
    await copies.session.write(fd, BLOCK, 4);
    expect((await copies.session.read(fd, 0, 4)).toString()).toBe("good");
  });

  it("that another client left keep the answer to an addition away from the copy that missed one", async () => {
    await using copies = await Copies.start({ options: { "read-subvolume-index": "0" } });
    const inode = await copies.file("f");
    await copies.env.clock.advance(SECOND_MS);
    await copies.session.lookup("f");
    for (const index of [1, 2]) {
      await add(copies.brick(index), inode, 5);
      await copies.mark(index, inode, 0, [0, 1, 0]);
    }
    expect(await add(copies.session, inode, 1)).toBe(6);
  });

  it("blame a copy whose sum is another after an addition, as one that failed unseen before", async () => {
    await using copies = await Copies.start({ options: { "read-subvolume-index": "0" } });
    const inode = await copies.file("f");
    await copies.env.clock.advance(SECOND_MS);
    await add(copies.brick(0), inode, 5);
    expect(await add(copies.session, inode, 1)).toBe(1);
    await copies.env.clock.advance(SECOND_MS);
    for (const index of [1, 2]) expect(await copies.marks(index, inode)).toEqual({ 0: [0, 1, 0] });
    expect(await add(copies.session, inode, 1)).toBe(2);
  });

  it("fail, and add nothing, where the copies with the same sum are no quorum", async () => {
    const options = { "quorum-type": "fixed", "quorum-count": "3" };
    await using copies = await Copies.start({ options });
    const inode = await copies.file("f");
    await copies.env.clock.advance(SECOND_MS);
    await add(copies.brick(2), inode, 5);
    await expect(add(copies.session, inode, 1)).rejects.toMatchObject({ code: "ENOTCONN" });
    await copies.env.clock.advance(SECOND_MS);
    for (const index of [0, 1, 2]) {
      expect(Object.keys(await copies.marks(index, inode))).toEqual(["dirty"]);
      expect(await add(copies.brick(index), inode, 0)).toBe(index === 2 ? 5 : 0);
    }
  });

  it("take an addition back that too few copies did", async () => {
    await using copies = await Copies.start({ options: { "quorum-type": "fixed", "quorum-count": "3" } });
    const { session } = copies;
    const { inode } = await session.create("f");
    copies.errors[2]!.failWhere((fop, _call, args) =>
      fop === "xattrop" && (args as Args<"xattrop">).xattrs.has("trusted.sum") ? "ENOSPC" : undefined,
    );
    await expect(add(session, inode, 7)).rejects.toMatchObject({ code: "ENOSPC" });
    await copies.env.clock.advance(SECOND_MS);
    for (const index of [0, 1, 2]) expect(await add(copies.brick(index), inode, 0)).toBe(0);
  });

  it("never blame the last good copy, not even for a moment", async () => {
    await using copies = await Copies.start();
    const fd = await copies.session.create("f");
    for (const index of [0, 1]) {
      copies.wires[index]!.cut();
      await copies.session.write(fd, BLOCK);
      await copies.env.clock.advance(SECOND_MS);
      copies.wires[index]!.mend();
    }
    copies.wires[2]!.cut();
    copies.clearCalls();
    await expect(copies.session.write(fd, BLOCK)).rejects.toMatchObject({ code: "EIO" });
    await copies.env.clock.advance(SECOND_MS);
    const blames = copies.wires.flatMap((wire) =>
      wire.calls.filter(({ fop, args }) => {
        if (fop !== "xattrop" && fop !== "fxattrop") return false;
        const bytes = (args as Args<"xattrop">).xattrs.bytes("trusted.afr.v-client-2");
        return bytes?.some((byte) => byte !== 0) ?? false;
      }),
    );
    expect(blames).toEqual([]);
  });

  it("of a failed metadata change blame who failed, and leave all dirty without quorum", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    copies.errors[2]!.failNext("setattr", "EIO");
    await copies.session.setattr(inode, SETATTR.MODE, { mode: 0o600 });
    await settle();
    for (const index of [0, 1]) expect(await copies.marks(index, inode)).toEqual({ 2: [0, 1, 0] });
    const other = await copies.file("g");
    for (const index of [1, 2]) copies.errors[index]!.failNext("setattr", "ENOSPC");
    await expect(copies.session.setattr(other, SETATTR.MODE, { mode: 0o600 })).rejects.toMatchObject({
      code: "ENOSPC",
    });
    await settle();
    for (const index of [0, 1, 2]) expect(await copies.marks(index, other)).toEqual({ dirty: [0, 1, 0] });
  });

  it("blame who is away when a client dies before its post-op", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    copies.wires[2]!.cut();
    const fd = await copies.session.open(inode);
    await copies.session.write(fd, BLOCK);
    // As after the client's death: nothing more is said, and the copy returns.
    expect(await copies.marks(0, inode)).toEqual({ 2: [1, 0, 0], dirty: [1, 0, 0] });
    expect(await copies.marks(1, inode)).toEqual({ 2: [1, 0, 0], dirty: [1, 0, 0] });
  });
});
