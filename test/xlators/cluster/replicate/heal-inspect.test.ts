/** What heal info tells of an inode without healing it (spec translators.md 4.11; HEAL-09, -28, SB-13). */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../../src/core/call.ts";
import { gfidText, newGfid } from "../../../../src/core/gfid.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { listBrick } from "../../../../xlators/cluster/replicate/crawl/info.ts";
import { inspectInode } from "../../../../xlators/cluster/replicate/heal/heal.ts";
import type { Inspection } from "../../../../xlators/cluster/replicate/heal/report.ts";
import { fileOn, heal, setOf, startCopies } from "./heal-rig.ts";
import type { Copies, Hex } from "./three-copies.ts";

const DATA: Hex = [1, 0, 0];

function inspect(copies: Copies, inode: Inode): Promise<Inspection> {
  return inspectInode(setOf(copies), inode);
}

/** Locks all of a file on one brick, as its client or healer would. */
async function locked(copies: Copies, inode: Inode, suffix = ""): Promise<void> {
  const { top, call } = copies.brick(1);
  const flock = { type: "wrlck", whence: 0, start: 0n, len: 0n, pid: 0, lkOwner: call.lkOwner } as const;
  const volume = setOf(copies).name + suffix;
  await top.inodelk(call, { loc: { inode }, volume, cmd: "setlk", flock });
}

describe("a look at an inode", () => {
  it("finds nothing at a clean one, and says so of one that is not there", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    expect(await inspect(copies, inode)).toMatchObject({ exists: true, status: "no-heal", slots: [] });
    expect(await inspect(copies, new Inode(newGfid()))).toMatchObject({ exists: false, status: "no-heal" });
  });

  it("names the slots, the copies behind and the bytes to go", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f", "0123456789");
    for (const index of [0, 1]) await copies.mark(index, inode, 2, [2, 1, 0]);
    expect(await inspect(copies, inode)).toMatchObject({
      status: "heal",
      pending: true,
      slots: ["data", "metadata"],
      behind: 0b100,
      bytesToHeal: 10,
      splitBrain: [],
    });
  });

  it("takes the data count of a directory for no slot of its own", async () => {
    await using copies = await startCopies();
    const inode = await copies.session.mkdir("d");
    await copies.mark(0, inode, 2, [1, 0, 1]);
    expect(await inspect(copies, inode)).toMatchObject({ status: "heal", slots: ["entry"], bytesToHeal: 0 });
  });

  it("says possibly healing while a healer holds the file", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    await copies.mark(0, inode, 2, DATA);
    await locked(copies, inode, ":self-heal");
    expect(await inspect(copies, inode)).toMatchObject({ status: "possibly-healing", possiblyHealing: true });
  });

  it("does not list a file that is merely being written (HEAL-28)", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    await copies.mark(0, inode, "dirty", DATA);
    expect(await inspect(copies, inode)).toMatchObject({ status: "heal", pending: false });
    await locked(copies, inode);
    expect(await inspect(copies, inode)).toMatchObject({ status: "no-heal", slots: [] });
    await copies.mark(0, inode, "dirty", DATA);
    expect(await inspect(copies, inode)).toMatchObject({ status: "heal", slots: ["data"] });
  });

  it("does not list a file whose copies are of different size for a moment", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    await copies.scribble(2, inode, "short");
    expect(await inspect(copies, inode)).toMatchObject({ status: "heal", behind: 0b100 });
    await locked(copies, inode);
    expect((await inspect(copies, inode)).status).toBe("no-heal");
  });

  it("lists what differs without a mark", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    await copies.brick(1).setattr(inode, SETATTR.MODE, { mode: 0o600 });
    expect(await inspect(copies, inode)).toMatchObject({
      status: "heal",
      slots: ["metadata"],
      pending: false,
    });
  });

  it.each<[string, Hex]>([
    ["data", [1, 0, 0]],
    ["metadata", [0, 1, 0]],
  ])("finds split brain in %s", async (slot, counts) => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    for (const i of [0, 1, 2]) for (const j of [0, 1, 2]) if (i !== j) await copies.mark(i, inode, j, counts);
    expect(await inspect(copies, inode)).toMatchObject({
      status: "split-brain",
      splitBrain: [slot],
      pending: true,
    });
  });

  it("finds different types behind one gfid", async () => {
    await using copies = await startCopies();
    const gfid = newGfid();
    await fileOn(copies.brick(0), "f", gfid);
    const xdata = copies.session.gfidReq().setGfid("gfid-req", gfid);
    const { top, call, root } = copies.brick(1);
    await top.mkdir(call, {
      loc: { inode: new Inode(), parent: root, name: "f" },
      mode: 0o755,
      umask: 0,
      xdata,
    });
    expect(await inspect(copies, new Inode(gfid))).toMatchObject({
      status: "split-brain",
      splitBrain: ["type"],
    });
    expect((await heal(copies, new Inode(gfid))).outcome).toBe("split-brain");
  });

  it("lists marks while a copy is down, but calls nothing a split brain", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    for (const i of [0, 1, 2]) for (const j of [0, 1, 2]) if (i !== j) await copies.mark(i, inode, j, DATA);
    copies.wires[2]!.cut();
    expect(await inspect(copies, inode)).toMatchObject({ status: "heal", pending: true, splitBrain: [] });
  });

  it("does not take the empty copy of an arbiter for one that is behind", async () => {
    await using copies = await startCopies({ options: { "arbiter-count": "1" } });
    const inode = await copies.file("f");
    expect((await inspect(copies, inode)).status).toBe("no-heal");
  });

  it("fails when no copy says anything", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    for (const wire of copies.wires) wire.cut();
    await expect(inspect(copies, inode)).rejects.toMatchObject({ code: "ENOTCONN" });
  });
});

describe("what a brick lists", () => {
  it("leaves out what was removed since, also while a copy is away that cannot say so (HEAL-09)", async () => {
    await using copies = await startCopies();
    const kept = await copies.file("g");
    await copies.mark(0, kept, 2, DATA);
    // The index lists first and marks then: so it keeps an object that is not there.
    await expect(copies.mark(0, new Inode(newGfid()), 2, DATA)).rejects.toMatchObject({ code: "ESTALE" });
    copies.wires[2]!.cut();
    // A brick that cannot tell paths says last that the object is gone.
    copies.errors[0]!.failWhere((_, __, args) =>
      (args as { name?: string }).name === "glusterfs.gfidtopath" ? "EOPNOTSUPP" : undefined,
    );
    const listed = await listBrick(setOf(copies), 0, internalCall());
    expect(listed.map(({ gfid }) => gfidText(gfid))).toEqual([gfidText(kept.gfid)]);
  });
});
