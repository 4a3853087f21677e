/** Operations on names: locks, order, failures, what the caller gets (spec translators.md 4.4). */

import { describe, expect, it } from "vitest";
import type { Args, FopName } from "../../../../src/core/fops.ts";
import { gfidOf } from "../../../../src/core/gfid.ts";
import { S_IFREG } from "../../../../src/core/iatt.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { inLockOrder, type LockedName } from "../../../../xlators/cluster/replicate/entry-locks.ts";
import { SecondClient } from "./second-client.ts";
import { Copies, type Wire } from "./three-copies.ts";

function lockCalls(wire: Wire): string[] {
  return wire.calls
    .filter(({ fop }) => fop === "entrylk")
    .map(({ args }) => {
      const { cmd, name } = args as Args<"entrylk">;
      return `${cmd} ${name ?? "*"}`;
    });
}

function fops(wire: Wire): FopName[] {
  return wire.calls.map(({ fop }) => fop);
}

describe("locks on names", () => {
  const inode = (last: number): Inode => new Inode(gfidOf(Buffer.alloc(16, last)));

  it("are asked for by gfid, whole directories first, then by bytes of the name", () => {
    const [a, b] = [inode(1), inode(2)];
    const names: LockedName[] = [
      { parent: b, name: "a" },
      { parent: a, name: "é" },
      { parent: a, name: "z" },
      { parent: a, name: "B" },
      { parent: a, name: undefined },
    ];
    expect(inLockOrder(names).map(({ name }) => name)).toEqual([undefined, "B", "z", "é", "a"]);
  });

  it("are taken before the operation and given back after it", async () => {
    await using copies = await Copies.start();
    // What is known of the directory is asked for once.
    await copies.session.statInode(copies.session.root);
    copies.clearCalls();
    await copies.session.mkdir("d");
    for (const wire of copies.wires) expect(fops(wire)).toEqual(["entrylk", "mkdir", "entrylk"]);
    expect(lockCalls(copies.wires[0]!)).toEqual(["lock-nb d", "unlock d"]);
  });

  it("of an rmdir cover the directory, of a rename both names and a directory that is replaced", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const [dir, victim] = [await session.mkdir("d"), await session.mkdir("v")];
    copies.clearCalls();
    await session.top.rename(session.call, {
      from: { inode: dir, parent: session.root, name: "d" },
      to: { inode: victim, parent: session.root, name: "v" },
    });
    expect(lockCalls(copies.wires[0]!).sort()).toEqual(
      ["lock-nb *", "lock-nb d", "lock-nb v", "unlock *", "unlock d", "unlock v"].sort(),
    );
    copies.clearCalls();
    await session.top.rmdir(session.call, { loc: { inode: dir, parent: session.root, name: "v" }, flags: 0 });
    expect(lockCalls(copies.wires[0]!).sort()).toEqual(["lock-nb *", "lock-nb v", "unlock *", "unlock v"]);
  });

  it("are waited for one after the other when somebody else has one", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const other = copies.brick(1);
    await other.entrylk(other.root, "v-replicate-0", "lock-nb", "d");
    let made = false;
    const making = session.mkdir("d").then(() => {
      made = true;
    });
    await copies.env.clock.advance(100);
    expect(made).toBe(false);
    expect(lockCalls(copies.wires[0]!)).toEqual(["lock-nb d", "unlock d", "lock d"]);
    expect(lockCalls(copies.wires[1]!)).toEqual(["lock-nb d", "lock d"]);
    expect(lockCalls(copies.wires[2]!)).toEqual(["lock-nb d", "unlock d"]);
    await other.entrylk(other.root, "v-replicate-0", "unlock", "d");
    await making;
    expect(lockCalls(copies.wires[2]!)).toEqual(["lock-nb d", "unlock d", "lock d", "unlock d"]);
  });

  it("are not held by a caller that gives up waiting", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const other = copies.brick(1);
    await other.entrylk(other.root, "v-replicate-0", "lock-nb", "d");
    const patience = new AbortController();
    const call = { ...session.call, signal: patience.signal };
    const args = { loc: session.at("d"), mode: 0o755, umask: 0, xdata: session.gfidReq() };
    const making = session.top.mkdir(call, args);
    await copies.env.clock.advance(100);
    patience.abort();
    await expect(making).rejects.toMatchObject({ code: "EINTR" });
    await copies.env.clock.advance(1);
    await other.entrylk(other.root, "v-replicate-0", "unlock", "d");
    await session.mkdir("d");
    expect(await session.list()).toEqual(["d"]);
  });

  it("let many clients of one name through, each once", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => session.mkdir("d")));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const result of results)
      if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "EEXIST" });
    const gfids = await Promise.all([0, 1, 2].map((index) => copies.brick(index).stat("d")));
    expect(new Set(gfids.map(({ gfid }) => gfid.toString("hex"))).size).toBe(1);
    for (const index of [0, 1, 2]) expect(await copies.marks(index, session.root)).toEqual({});
  });
});

describe("operations on names", () => {
  it("give an object one gfid everywhere, also without a wish", async () => {
    // The contract asks callers for a wish.
    await using copies = await Copies.start({ contracts: false });
    const { session } = copies;
    await session.top.mkdir(session.call, { loc: session.at("d"), mode: 0o755, umask: 0 });
    const gfids = await Promise.all([0, 1, 2].map((index) => copies.brick(index).stat("d")));
    expect(new Set(gfids.map(({ gfid }) => gfid.toString("hex"))).size).toBe(1);
  });

  it("do not take a copy for good that has another object under the name", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    await copies.brick(1).create("f");
    const { inode } = await session.create("f");
    expect(await copies.marks(0, session.root)).toEqual({ 1: [0, 0, 1] });
    expect(await copies.marks(2, inode)).toEqual({ 1: [1, 1, 0] });
  });

  it("do not happen on a copy that is behind when the good ones refuse", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const dir = await session.mkdir("d");
    copies.wires[1]!.cut();
    await session.mkdir("there", { parent: dir });
    copies.wires[1]!.mend();
    copies.clearCalls();
    await expect(session.mkdir("there", { parent: dir })).rejects.toMatchObject({ code: "EEXIST" });
    expect(copies.wires.map((wire) => wire.count("mkdir"))).toEqual([1, 0, 1]);
    await session.mkdir("new", { parent: dir });
    expect(copies.wires.map((wire) => wire.count("mkdir"))).toEqual([2, 1, 2]);
    for (const index of [0, 2]) expect(await copies.marks(index, dir)).toEqual({ 1: [0, 0, 1] });
    expect(await copies.marks(1, dir)).toEqual({});
  });

  it("do not count on a copy alone that missed what another client did just now", async () => {
    const options = { "quorum-type": "none" };
    await using copies = await Copies.start({ options });
    const { session } = copies;
    await copies.file("gone");
    await using second = await SecondClient.start(copies, options);
    await second.session.lookup("gone");
    // So that it believes to know the directory.
    await second.session.mkdir("d");
    copies.wires[2]!.cut();
    const made = await copies.file("made");
    await session.unlink("gone");
    const count = (await copies.marks(0, session.root))[2];
    await expect(second.session.mknod("made", S_IFREG | 0o644)).rejects.toMatchObject({ code: "EEXIST" });
    await expect(second.session.unlink("gone")).rejects.toMatchObject({ code: "ENOENT" });
    expect(await copies.marks(2, session.root)).toEqual({});
    for (const index of [0, 1]) {
      const marks = await copies.marks(index, session.root);
      expect(Object.keys(marks)).toEqual(["2"]);
      expect(marks[2]![2]).toBeGreaterThan(count![2]);
    }
    expect((await second.session.lookup("made")).stat.gfid.equals(made.gfid)).toBe(true);
    await expect(second.session.lookup("gone")).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("open what is there when all copies have the same", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const inode = await copies.file("f");
    const { reply } = await session.createFull("f");
    expect(reply.stat.gfid.equals(inode.gfid)).toBe(true);
    expect(reply.stat.size).toBe(7);
  });

  it("succeed with a copy away, and their objects can be used at once", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    copies.wires[0]!.cut();
    const fd = await session.create("f");
    await session.write(fd, "data");
    expect(await session.text(fd)).toBe("data");
    await session.link(fd.inode, "g");
    await session.rename("g", "h");
    expect((await session.list()).sort()).toEqual(["f", "h"]);
    await session.unlink("f");
    await session.unlink("h");
    expect(await session.list()).toEqual([]);
  });

  it("tell the error that says most: no room rather than not connected", async () => {
    await using copies = await Copies.start();
    copies.wires[0]!.cut();
    copies.errors[2]!.failNext("create", "ENOSPC");
    await expect(copies.session.create("f")).rejects.toMatchObject({ code: "ENOSPC" });
  });

  it("are refused without quorum before anything is locked", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    copies.wires[0]!.cut();
    copies.wires[1]!.cut();
    copies.clearCalls();
    await expect(session.mkdir("d")).rejects.toMatchObject({ code: "ENOTCONN" });
    await expect(session.unlink("d")).rejects.toMatchObject({ code: "ENOTCONN" });
    expect(copies.wires[2]!.calls).toEqual([]);
  });

  it("wait for quorum when the volume is to wait", async () => {
    await using copies = await Copies.start({ options: { "quorum-loss-policy": "suspend" } });
    const { session } = copies;
    copies.wires[0]!.cut();
    copies.wires[1]!.cut();
    let made = false;
    const making = session.mkdir("d").then(() => {
      made = true;
    });
    await copies.env.clock.advance(5000);
    expect(made).toBe(false);
    copies.wires[0]!.mend();
    await making;
    expect(await session.exists("d")).toBe(true);
  });

  it("write less than a quorum did nothing off as failed, and leave no open file behind", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    copies.errors[1]!.failNext("create", "EIO");
    copies.errors[2]!.failNext("create", "EIO");
    await expect(session.create("f")).rejects.toMatchObject({ code: "EIO" });
    await copies.brick(0).unlink("f");
    expect(await copies.brick(0).exists("f")).toBe(false);
  });

  it("do not say that there is no such name when some copies had it and too few lost it", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    await copies.file("f");
    await copies.brick(1).unlink("f");
    copies.errors[2]!.failNext("unlink", "EIO");
    await expect(session.unlink("f")).rejects.toMatchObject({ code: "EIO" });
    expect(await copies.brick(0).exists("f")).toBe(false);
    expect(await copies.brick(2).exists("f")).toBe(true);
    // One that does not answer may have done it: the other one's word is not enough.
    await copies.file("g");
    await copies.brick(0).unlink("g");
    copies.errors[1]!.failNext("unlink", "EIO");
    copies.errors[2]!.failNext("unlink", "EIO");
    await expect(session.unlink("g")).rejects.toMatchObject({ code: "EIO" });
  });

  it("do not ask an arbiter whose word would be the only one", async () => {
    await using copies = await Copies.start({ options: { "arbiter-count": "1" } });
    const { session } = copies;
    const dir = await session.mkdir("d");
    copies.wires[0]!.cut();
    await session.mkdir("sub", { parent: dir });
    copies.wires[0]!.mend();
    copies.wires[1]!.cut();
    await expect(session.mkdir("other", { parent: dir })).rejects.toMatchObject({ code: "ENOTCONN" });
    expect(await copies.marks(2, dir)).toEqual({ 0: [0, 0, 1] });
  });

  it("answer with the attributes that later reads give", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    for (const name of ["a", "b", "c", "d", "e"]) {
      const { fd, reply } = await session.createFull(name);
      expect(reply.stat).toEqual(await session.statInode(fd.inode));
      expect(reply.postParent).toEqual(await session.statInode(session.root));
    }
  });
});
