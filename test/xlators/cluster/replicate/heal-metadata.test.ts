/** Metadata heal and split brains on three bricks in memory (spec translators.md 4.9, 4.10; HEAL-05, SB). */

import { describe, expect, it } from "vitest";
import { SETATTR } from "../../../../src/core/iatt.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import type { Resolution } from "../../../../xlators/cluster/replicate/decide.ts";
import { bytesOn, expectHealed, expectUnlocked, expectUnmarked, heal, startCopies } from "./heal-rig.ts";
import type { Copies, Hex } from "./three-copies.ts";

const METADATA: Hex = [0, 1, 0];
const DATA: Hex = [1, 0, 0];

async function look(copies: Copies, index: number, inode: Inode): Promise<string> {
  const brick = copies.brick(index);
  const { mode, uid, gid, mtime } = await brick.statInode(inode);
  const names = (await brick.listxattr(inode)).filter((name) => !name.startsWith("trusted.afr."));
  const values = await Promise.all(
    names.sort().map(async (name) => `${name}=${await brick.getxattr(inode, name)}`),
  );
  return [mode.toString(8), uid, gid, mtime, ...values].join(" ");
}

async function expectAlike(copies: Copies, inode: Inode): Promise<string> {
  const looks = await Promise.all([...copies.wires.keys()].map((index) => look(copies, index, inode)));
  expect(new Set(looks).size, looks.join("\n")).toBe(1);
  await expectUnmarked(copies, inode);
  return looks[0]!;
}

describe("metadata heal", () => {
  it("copies owner, mode, xattrs and times of what a copy missed (HEAL-05)", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    const inode = await copies.file("f");
    await session.setxattr(inode, "user.old", "1");
    await session.setxattr(inode, "trusted.kept", "2");
    copies.wires[0]!.cut();
    await session.setattr(inode, SETATTR.MODE, { mode: 0o600 });
    await session.setattr(inode, SETATTR.UID | SETATTR.GID, { uid: 7, gid: 8 });
    await session.setattr(inode, SETATTR.MTIME, { mtime: 12345, mtimeNsec: 6 });
    await session.setxattr(inode, "user.new", "3");
    await session.top.removexattr(session.call, { loc: { inode }, name: "user.old" });
    copies.wires[0]!.mend();
    expect((await heal(copies, inode)).slots.metadata).toMatchObject({ outcome: "healed", sinks: 0b001 });
    expect(await expectAlike(copies, inode)).toBe("100600 7 8 12345 trusted.kept=2 user.new=3");
    await expectUnlocked(copies, inode);
  });

  it.each([[[0]], [[1]], [[0, 2]], [[1, 2]]])("makes copies %j like the others", async (bad) => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    for (const index of copies.wires.keys()) {
      const brick = copies.brick(index);
      await brick.setattr(inode, SETATTR.MODE, { mode: bad.includes(index) ? 0o700 : 0o640 });
      await brick.setxattr(inode, "user.k", bad.includes(index) ? "bad" : "good");
      if (!bad.includes(index)) for (const blamed of bad) await copies.mark(index, inode, blamed, METADATA);
    }
    expect((await heal(copies, inode)).outcome).toBe("healed");
    expect(await expectAlike(copies, inode)).toMatch(/^100640 .*user.k=good$/);
  });

  it("leaves a copy's own marks and names alone", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    await copies.mark(0, inode, 1, [1, 1, 0]);
    await heal(copies, inode, { slots: ["metadata"] });
    expect(await copies.marks(0, inode)).toEqual({ "1": DATA });
    expect(await copies.marks(1, inode)).toEqual({});
  });

  it("heals copies that differ without a mark, like the first", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    await copies.brick(1).setattr(inode, SETATTR.UID, { uid: 5 });
    expect((await heal(copies, inode)).slots.metadata).toMatchObject({ outcome: "healed", source: 0 });
    await expectAlike(copies, inode);
  });

  it("undoes the mark that GlusterFS leaves in host byte order (gotcha 7)", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    for (const index of [0, 1]) await copies.mark(index, inode, 2, [0, 0x01000000, 0]);
    expect((await heal(copies, inode)).outcome).toBe("healed");
    await expectAlike(copies, inode);
  });

  it.each(["setattr", "setxattr", "getxattr", "xattrop"] as const)(
    "is finished by the next heal when the sink fails a %s",
    async (fop) => {
      await using copies = await startCopies();
      const inode = await copies.file("f");
      copies.wires[2]!.cut();
      await copies.session.setattr(inode, SETATTR.MODE, { mode: 0o600 });
      await copies.session.setxattr(inode, "user.k", "v");
      copies.wires[2]!.mend();
      copies.errors[2]!.failNext(fop, "EIO");
      expect((await heal(copies, inode)).outcome).toBe("failed");
      expect(await copies.marks(0, inode)).toHaveProperty("2");
      expect((await heal(copies, inode)).outcome).toBe("healed");
      await expectAlike(copies, inode);
    },
  );

  it.each([
    ["not blamed by a copy that is no quorum without it", 1, 0, { dirty: METADATA }],
    ["blamed by the copy that is the quorum", 0, 1, { "1": METADATA }],
  ])("leaves a sink that fails, with nobody blamed, %s", async (_, source, sink, marks) => {
    await using copies = await startCopies({ count: 2, options: { "quorum-type": "auto" } });
    const inode = await copies.file("f");
    await copies.brick(source).setxattr(inode, "user.k", "unacknowledged");
    await copies.mark(source, inode, "dirty", METADATA);
    copies.errors[sink]!.failNext("setxattr", "ENOSPC");
    expect((await heal(copies, inode)).outcome).toBe("failed");
    expect(await copies.marks(source, inode)).toEqual(marks);
    expect((await heal(copies, inode)).outcome).toBe("healed");
    expect(await expectAlike(copies, inode)).toContain("user.k=unacknowledged");
  });

  it("works on symlinks and directories", async () => {
    await using copies = await startCopies();
    const link = await copies.session.symlink("l", "target");
    const directory = await copies.session.mkdir("d");
    copies.wires[1]!.cut();
    for (const inode of [link, directory])
      await copies.session.setattr(inode, SETATTR.UID | SETATTR.GID, { uid: 3, gid: 4 });
    copies.wires[1]!.mend();
    for (const inode of [link, directory]) {
      expect((await heal(copies, inode)).outcome).toBe("healed");
      await expectAlike(copies, inode);
    }
  });

  it("heals the arbiter too", async () => {
    await using copies = await startCopies({ options: { "arbiter-count": "1" } });
    const inode = await copies.file("f");
    copies.wires[2]!.cut();
    await copies.session.setattr(inode, SETATTR.MODE, { mode: 0o600 });
    copies.wires[2]!.mend();
    expect((await heal(copies, inode)).outcome).toBe("healed");
    await expectAlike(copies, inode);
  });
});

describe("split brain", () => {
  const contents = ["one", "three", "four4"];

  /** Every copy differs and blames all others. */
  async function split(copies: Copies, counts: Hex): Promise<Inode> {
    const inode = await copies.file("f", "");
    for (const index of copies.wires.keys()) {
      await copies.env.clock.advance(1000);
      await copies.scribble(index, inode, contents[index]!);
      await copies.brick(index).setattr(inode, SETATTR.MODE, { mode: 0o600 + index });
      for (const blamed of copies.wires.keys())
        if (blamed !== index) await copies.mark(index, inode, blamed, counts);
    }
    return inode;
  }

  it("is left alone, and told", async () => {
    await using copies = await startCopies();
    const inode = await split(copies, [1, 1, 0]);
    const report = await heal(copies, inode);
    expect(report).toMatchObject({
      outcome: "split-brain",
      slots: { data: { outcome: "split-brain" }, metadata: { outcome: "split-brain" } },
    });
    for (const index of copies.wires.keys())
      expect((await bytesOn(copies.brick(index), inode)).toString()).toBe(contents[index]);
    expect(await copies.marks(0, inode)).toEqual({ "1": [1, 1, 0], "2": [1, 1, 0] });
  });

  it.each<[Resolution, string]>([
    [{ kind: "latest-mtime" }, "four4"],
    [{ kind: "source-brick", child: 0 }, "one"],
    [{ kind: "source-brick", child: 1 }, "three"],
  ])("is settled by %o", async (resolution, content) => {
    await using copies = await startCopies();
    const inode = await split(copies, DATA);
    const before = await heal(copies, inode, { resolution, dryRun: true });
    expect(before.outcome).toBe("would-heal");
    expect((await bytesOn(copies.brick(0), inode)).toString()).toBe("one");
    const report = await heal(copies, inode, { resolution });
    expect(report.slots.data).toMatchObject({ outcome: "healed", source: before.slots.data!.source });
    await heal(copies, inode);
    await expectHealed(copies, inode, content);
  });

  it("is not settled by a size that two copies have (SB-05)", async () => {
    await using copies = await startCopies();
    const inode = await split(copies, DATA);
    const report = await heal(copies, inode, { resolution: { kind: "bigger-file" } });
    expect(report).toMatchObject({ outcome: "unresolved" });
    expect(report.why).toContain("no bigger file");
    expect(await copies.marks(0, inode)).toEqual({ "1": DATA, "2": DATA });
  });

  it("of metadata takes a brick, not a size", async () => {
    await using copies = await startCopies();
    const inode = await split(copies, METADATA);
    expect((await heal(copies, inode, { resolution: { kind: "bigger-file" } })).slots.metadata).toMatchObject(
      {
        outcome: "unresolved",
      },
    );
    await heal(copies, inode, { resolution: { kind: "source-brick", child: 1 } });
    expect((await copies.brick(2).statInode(inode)).mode & 0o777).toBe(0o601);
  });

  it.each(["mtime", "ctime"])("is settled by favorite-child-policy %s", async (policy) => {
    await using copies = await startCopies({ options: { "favorite-child-policy": policy } });
    const inode = await split(copies, [1, 1, 0]);
    expect((await heal(copies, inode)).outcome).toBe("healed");
    await expectHealed(copies, inode, "four4");
  });

  it("settled goes on in the same direction after an interruption", async () => {
    await using copies = await startCopies();
    const inode = await split(copies, DATA);
    copies.errors[1]!.failNext("writev", "EIO");
    copies.errors[2]!.failNext("writev", "EIO");
    const resolution: Resolution = { kind: "source-brick", child: 0 };
    expect((await heal(copies, inode, { resolution })).outcome).toBe("failed");
    // Nobody has to say it again.
    expect((await heal(copies, inode)).slots.data).toMatchObject({ outcome: "healed", source: 0 });
    await heal(copies, inode);
    await expectHealed(copies, inode, "one");
  });

  it("is not what a resolution finds in a file that only needs healing", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    const resolution: Resolution = { kind: "source-brick", child: 2 };
    expect((await heal(copies, inode, { resolution })).outcome).toBe("not-split-brain");
    for (const index of [0, 1]) await copies.mark(index, inode, 2, DATA);
    expect((await heal(copies, inode, { resolution })).outcome).toBe("not-split-brain");
    expect(await copies.marks(0, inode)).toEqual({ "2": DATA });
  });

  it("needs all copies to be settled", async () => {
    await using copies = await startCopies();
    const inode = await split(copies, DATA);
    copies.wires[2]!.cut();
    const report = await heal(copies, inode, { resolution: { kind: "source-brick", child: 0 } });
    expect(report.outcome).toBe("unavailable");
  });
});
