/** Heals of directories and names on three bricks in memory (spec translators.md 4.9; HEAL-07, -17, SB). */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../../src/core/call.ts";
import type { Args } from "../../../../src/core/fops.ts";
import { newGfid } from "../../../../src/core/gfid.ts";
import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK } from "../../../../src/core/iatt.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { healName } from "../../../../xlators/cluster/replicate/heal/heal.ts";
import type { NameHealOptions } from "../../../../xlators/cluster/replicate/heal/report.ts";
import type { Session } from "../../../support/session.ts";
import {
  bytesOn,
  expectUnlocked,
  expectUnmarked,
  fileOn,
  heal,
  runClock,
  setOf,
  startCopies,
} from "./heal-rig.ts";
import type { Copies } from "./three-copies.ts";

const VOLUME_ID = "12345678-9abc-def0-1234-56789abcdef0";
const GRANULAR = { "granular-entry-heal": "on" };
const GFID = newGfid();
const PARKING = { "use-anonymous-inode": "on", "volume-id": VOLUME_ID };

/** Everything below a directory of one brick: path, type, mode, device, gfid, target or content. */
async function tree(brick: Session, directory: Inode, path = ""): Promise<string[]> {
  const lines: string[] = [];
  for (const name of (await brick.list(directory)).sort()) {
    if (name === "." || name === ".." || name.startsWith(".glusterfs")) continue;
    const stat = await brick.stat(name, directory);
    const inode = await brick.inode(name, directory);
    const type = stat.mode & 0o170000;
    const facts = [`${path}/${name}`, stat.mode.toString(8), stat.rdev, stat.gfid.toString("hex")];
    if (type === 0o100000) facts.push((await bytesOn(brick, inode)).toString("latin1"));
    if (type === 0o120000)
      facts.push((await brick.top.readlink(brick.call, { loc: { inode }, size: 4096 })).target);
    lines.push(facts.join(" "));
    if (type === 0o040000) lines.push(...(await tree(brick, inode, `${path}/${name}`)));
  }
  return lines;
}

async function treeOn(copies: Copies, index: number): Promise<string> {
  const brick = copies.brick(index);
  return (await tree(brick, brick.root)).join("\n");
}

/** Heals what bricks list until nothing is listed, as the daemon does. */
async function healAll(copies: Copies): Promise<void> {
  for (let round = 0; round < 12; round++) {
    const listed = await listedInodes(copies);
    if (listed.length === 0) return;
    for (const inode of listed) await heal(copies, inode);
  }
}

/** Every inode with a mark, found by a walk. */
async function listedInodes(copies: Copies): Promise<Inode[]> {
  const found = new Map<string, Inode>();
  for (const index of copies.wires.keys()) {
    const brick = copies.brick(index);
    const walk = async (inode: Inode): Promise<void> => {
      if (Object.keys(await copies.marks(index, inode)).length > 0)
        found.set(inode.gfid.toString("hex"), inode);
      if (((await brick.statInode(inode)).mode & 0o170000) !== 0o040000) return;
      for (const name of await brick.list(inode))
        if (name !== "." && name !== "..") await walk(await brick.inode(name, inode));
    };
    await walk(brick.root);
  }
  return [...found.values()];
}

async function expectSameTrees(copies: Copies): Promise<string> {
  await healAll(copies);
  const trees = await Promise.all([...copies.wires.keys()].map((index) => treeOn(copies, index)));
  for (const one of trees) expect(one).toBe(trees[0]);
  expect(await listedInodes(copies)).toEqual([]);
  return trees[0]!;
}

async function populate(session: Session, parent: Inode): Promise<void> {
  await session.mknod("fifo", S_IFIFO | 0o640, { parent });
  await session.mknod("sock", S_IFSOCK | 0o600, { parent });
  await session.mknod("block", S_IFBLK | 0o600, { parent, rdev: 8 * 2 ** 32 + 1 });
  await session.mknod("char", S_IFCHR | 0o666, { parent, rdev: 1 * 2 ** 32 + 3 });
  await session.symlink("link", "over/there", { parent });
  const file = await session.create("file", { parent, mode: 0o604 });
  await session.write(file, "bytes of the file");
  await session.close(file);
  await session.link(file.inode, "other name", parent);
  const below = await session.mkdir("dir", { parent, mode: 0o751 });
  await session.close(await session.create("deep", { parent: below }));
}

describe.each([
  ["all names", {}],
  ["recorded names", GRANULAR],
  ["parking", { ...GRANULAR, ...PARKING }],
])("entry heal (%s)", (_name, options) => {
  it.each([0, 1, 2])("makes everything that copy %i missed (HEAL-07)", async (index) => {
    await using copies = await startCopies({ options });
    const directory = await copies.session.mkdir("d");
    copies.wires[index]!.cut();
    await populate(copies.session, directory);
    copies.wires[index]!.mend();
    const made = await expectSameTrees(copies);
    expect(made.split("\n")).toHaveLength(10);
    await expectUnlocked(copies, directory);
  });

  it.each([0, 1, 2])("removes everything whose removal copy %i missed (HEAL-07)", async (index) => {
    await using copies = await startCopies({ options });
    const { session } = copies;
    const directory = await session.mkdir("d");
    await populate(session, directory);
    copies.wires[index]!.cut();
    for (const name of await session.list(directory)) {
      if (name === "." || name === "..") continue;
      if (name !== "dir") await session.unlink(name, directory);
      else await session.rmdir(name, directory, 1);
    }
    copies.wires[index]!.mend();
    expect((await expectSameTrees(copies)).split("\n")).toHaveLength(1);
  });

  it("replaces what was made anew by the same name (HEAL-08)", async () => {
    await using copies = await startCopies({ options });
    const { session } = copies;
    await copies.file("file-to-dir");
    await copies.file("again", "old");
    const linked = await copies.file("linked");
    await session.link(linked, "hard");
    copies.wires[2]!.cut();
    await session.unlink("file-to-dir");
    const made = await session.mkdir("file-to-dir");
    await session.close(await session.create("inside", { parent: made }));
    await session.unlink("again");
    await copies.file("again", "new");
    await session.unlink("hard");
    await session.symlink("hard", "soft");
    await session.link(linked, "harder");
    copies.wires[2]!.mend();
    await expectSameTrees(copies);
    expect(await copies.marks(0, linked)).toEqual({});
  });

  it("moves what was moved (HEAL-17)", async () => {
    await using copies = await startCopies({ options });
    const { session } = copies;
    const [from, to] = [await session.mkdir("from"), await session.mkdir("to")];
    const moved = await session.mkdir("moved", { parent: from });
    await copies.file("kept", "kept content", moved);
    await copies.file("f", "file content", from);
    copies.wires[1]!.cut();
    await session.rename("moved", "moved", from, to);
    await session.rename("f", "g", from, to);
    copies.wires[1]!.mend();
    await expectSameTrees(copies);
  });
});

describe("entry heal", () => {
  it("keeps the inode of a moved directory when removed entries are parked (HEAL-17)", async () => {
    await using copies = await startCopies({ options: PARKING });
    const { session } = copies;
    const [a, b] = [await session.mkdir("a"), await session.mkdir("b")];
    const moved = await session.mkdir("moved", { parent: a });
    await copies.file("kept", "kept content", moved);
    copies.wires[2]!.cut();
    await session.rename("moved", "there", a, b);
    copies.wires[2]!.mend();
    await heal(copies, a);
    expect(await copies.brick(2).list(copies.brick(2).root)).toContain(
      `.glusterfs-anonymous-inode-${VOLUME_ID}`,
    );
    copies.clearCalls();
    await heal(copies, b);
    expect(copies.wires[2]!.count("mkdir")).toBeLessThanOrEqual(1);
    const there = await copies.brick(2).inode("there", b);
    expect(await copies.brick(2).list(there)).toContain("kept");
    expect(await session.list()).not.toContain(`.glusterfs-anonymous-inode-${VOLUME_ID}`);
  });

  it("unlinks a second name of a parked file instead of leaving it", async () => {
    await using copies = await startCopies({ options: PARKING });
    const { session } = copies;
    const [a, b] = [await session.mkdir("a"), await session.mkdir("b")];
    const file = await copies.file("one", "content", a);
    await session.link(file, "two", a);
    await session.link(file, "kept", b);
    copies.wires[2]!.cut();
    await session.unlink("one", a);
    await session.unlink("two", a);
    copies.wires[2]!.mend();
    await expectSameTrees(copies);
    expect((await copies.brick(2).list(a)).filter((name) => !name.startsWith("."))).toEqual([]);
  });

  it.each([{}, GRANULAR])("heals directories that took each other's names (%j)", async (options) => {
    await using copies = await startCopies({ options });
    const { session } = copies;
    const directory = await session.mkdir("d");
    for (const name of ["a", "b", "c"]) {
      const made = await session.mkdir(name, { parent: directory });
      await copies.file(`in ${name}`, name, made);
    }
    copies.wires[1]!.cut();
    for (const [from, to] of [
      ["a", "x"],
      ["b", "a"],
      ["c", "b"],
      ["x", "c"],
    ] as const)
      await session.rename(from, to, directory, directory);
    copies.wires[1]!.mend();
    await expectSameTrees(copies);
  });

  it("merges directories in which each side only added names (HEAL-07, SB-07)", async () => {
    await using copies = await startCopies({ count: 2, options: { "quorum-type": "none" } });
    const { session } = copies;
    const directory = await session.mkdir("d");
    for (const [index, name] of ["left", "right"].entries()) {
      copies.wires[index]!.cut();
      await copies.file(name, `content of ${name}`, directory);
      copies.wires[index]!.mend();
    }
    const report = await heal(copies, directory);
    expect(report.slots.entry).toMatchObject({ outcome: "healed", source: -1 });
    expect(await expectSameTrees(copies)).toMatch(/left.*content of left\n.*right.*content of right/);
  });

  it("merges after a crash instead of removing anything", async () => {
    await using copies = await startCopies();
    const directory = await copies.session.mkdir("d");
    for (const index of [0, 1]) {
      await fileOn(copies.brick(index), "half", GFID, "", directory);
    }
    for (const index of [0, 1, 2]) await copies.mark(index, directory, "dirty", [0, 0, 1]);
    await expectSameTrees(copies);
    expect(await copies.brick(2).exists("half", directory)).toBe(true);
  });

  it("takes marks only when every name is equal, and merges those around a conflict (SB-09)", async () => {
    await using copies = await startCopies({ count: 2, options: { "quorum-type": "none" } });
    const directory = await copies.session.mkdir("d");
    for (const index of [0, 1]) {
      const brick = copies.brick(index);
      await brick.close(await brick.create("same", { parent: directory }));
      await brick.close(await brick.create(`only${index}`, { parent: directory }));
      await copies.mark(index, directory, 1 - index, [0, 0, 1]);
    }
    const report = await heal(copies, directory);
    expect(report.outcome).toBe("split-brain");
    expect(report.why).toContain('"same"');
    for (const index of [0, 1])
      expect(await copies.brick(index).list(directory)).toEqual(expect.arrayContaining(["only0", "only1"]));
    expect(await copies.marks(0, directory)).toEqual({ "1": [0, 0, 1] });
  });

  it("looks at recorded names only, when all marks are recorded", async () => {
    await using copies = await startCopies({ options: GRANULAR });
    const directory = await copies.session.mkdir("d");
    for (let i = 0; i < 40; i++) await copies.file(`f${i}`, "x", directory);
    copies.wires[2]!.cut();
    await copies.session.unlink("f7", directory);
    copies.wires[2]!.mend();
    copies.clearCalls();
    expect((await heal(copies, directory)).outcome).toBe("healed");
    const names = copies.wires[2]!.calls.flatMap(({ fop, args }) =>
      fop === "lookup" ? [(args as Args<"lookup">).loc.name] : [],
    );
    expect(new Set(names.filter((name) => name !== undefined && /^f\d+$/.test(name)))).toEqual(
      new Set(["f7"]),
    );
    await expectSameTrees(copies);
  });

  it("walks all names when a brick has lost its records", async () => {
    await using copies = await startCopies({ options: GRANULAR });
    const directory = await copies.session.mkdir("d");
    for (const index of [0, 1]) {
      await fileOn(copies.brick(index), "f", GFID, "", directory);
      await copies.mark(index, directory, 2, [0, 0, 1]);
    }
    await expectSameTrees(copies);
    expect(await copies.brick(2).exists("f", directory)).toBe(true);
  });

  it.each(["mknod", "mkdir", "unlink", "rmdir", "xattrop", "readdir"] as const)(
    "is finished by the next heal when a sink goes on failing a %s",
    async (fop) => {
      await using copies = await startCopies();
      const { session } = copies;
      const directory = await session.mkdir("d");
      await copies.file("goes", "x", directory);
      await session.mkdir("goes too", { parent: directory });
      copies.wires[1]!.cut();
      await session.unlink("goes", directory);
      await session.rmdir("goes too", directory);
      await copies.file("comes", "y", directory);
      await session.mkdir("comes too", { parent: directory });
      copies.wires[1]!.mend();
      copies.errors[1]!.failNext(fop, "EIO", 3);
      expect((await heal(copies, directory)).outcome).toBe("failed");
      expect(await copies.marks(0, directory)).toHaveProperty("1");
      await expectSameTrees(copies);
    },
  );

  it("lets others work in the directory meanwhile", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    const directory = await session.mkdir("d");
    copies.wires[2]!.cut();
    for (let i = 0; i < 100; i++) await copies.file(`f${i}`, "x", directory);
    copies.wires[2]!.mend();
    const healing = heal(copies, directory);
    for (let i = 0; i < 100; i += 10) await session.unlink(`f${i}`, directory);
    await copies.file("new", "y", directory);
    await healing;
    await expectSameTrees(copies);
    expect(await copies.brick(2).exists("new", directory)).toBe(true);
    expect(await copies.brick(2).exists("f0", directory)).toBe(false);
  });

  it("keeps names and marks of the arbiter like those of others", async () => {
    await using copies = await startCopies({ options: { "arbiter-count": "1" } });
    const directory = await copies.session.mkdir("d");
    copies.wires[2]!.cut();
    await copies.file("f", "content", directory);
    copies.wires[2]!.mend();
    await healAll(copies);
    expect((await copies.brick(2).stat("f", directory)).size).toBe(0);
    expect(await listedInodes(copies)).toEqual([]);
  });
});

describe("a merge under a rule of quorum", () => {
  it("does not bring back a name that was removed while a dirty copy was away", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    await copies.file("f");
    copies.wires[2]!.cut();
    await session.unlink("f");
    copies.wires[2]!.mend();
    await copies.mark(2, session.root, "dirty", [0, 0, 1]);
    expect((await heal(copies, session.root)).outcome).toBe("healed");
    for (const index of [0, 1, 2]) expect(await copies.brick(index).exists("f")).toBe(false);
    await expectUnmarked(copies, session.root);
  });

  it("keeps what a quorum has, whoever is to blame: it may have been seen, and its removal was no promise", async () => {
    await using copies = await startCopies();
    const { session } = copies;
    const { inode } = await session.create("f");
    await copies.brick(2).unlink("f");
    await copies.mark(2, session.root, 0, [0, 0, 1]);
    await copies.mark(2, session.root, 1, [0, 0, 1]);
    await copies.mark(0, session.root, "dirty", [0, 0, 1]);
    await heal(copies, session.root);
    for (const index of [0, 1, 2])
      expect((await copies.brick(index).inode("f")).gfid.equals(inode.gfid)).toBe(true);
    await expectUnmarked(copies, session.root);
  });

  it("drops an empty object whose making failed after a removal that failed, whoever has it", async () => {
    await using copies = await startCopies({ options: { "arbiter-count": "1" } });
    const { session } = copies;
    const inode = await copies.file("f", "kept");
    const made = newGfid();
    for (const index of [0, 2]) {
      await copies.brick(index).unlink("f");
      await fileOn(copies.brick(index), "f", made, "");
      await copies.mark(index, session.root, "dirty", [0, 0, 1]);
    }
    for (const [on, blamed] of [
      [0, 2],
      [1, 0],
      [1, 2],
      [2, 0],
    ] as const)
      await copies.mark(on, session.root, blamed, [0, 0, 1]);
    expect((await heal(copies, session.root)).outcome).toBe("healed");
    for (const index of [0, 1, 2])
      expect((await copies.brick(index).inode("f")).gfid.equals(inode.gfid)).toBe(true);
    await expectUnmarked(copies, session.root);
  });
});

describe("name heal", () => {
  async function nameOn(
    copies: Copies,
    indexes: readonly number[],
    content: string,
    gfid = newGfid(),
  ): Promise<void> {
    for (const index of indexes) await fileOn(copies.brick(index), "f", gfid, content);
  }

  function byName(copies: Copies, options?: NameHealOptions) {
    const { session } = copies;
    return runClock(copies, healName(setOf(copies), internalCall(-6), session.root, "f", options));
  }

  async function gfidsOn(copies: Copies): Promise<(string | undefined)[]> {
    return Promise.all(
      [...copies.wires.keys()].map(async (index) => {
        const brick = copies.brick(index);
        return (await brick.exists("f")) ? (await brick.stat("f")).gfid.toString("hex") : undefined;
      }),
    );
  }

  it("finds nothing to do for a name that is equal, or nowhere", async () => {
    await using copies = await startCopies();
    expect(await byName(copies)).toMatchObject({ outcome: "clean" });
    await copies.file("f");
    expect(await byName(copies)).toMatchObject({ outcome: "clean", changed: 0 });
  });

  it.each([[[0]], [[2]], [[0, 1]], [[1, 2]]])(
    "makes a name that only %j have, and marks it as new",
    async (having) => {
      await using copies = await startCopies();
      await nameOn(copies, having, "content");
      expect(await byName(copies)).toMatchObject({ outcome: "healed" });
      expect(new Set(await gfidsOn(copies)).size).toBe(1);
      const inode = await copies.brick(0).inode("f");
      expect(Object.keys(await copies.marks(having[0]!, inode))).toHaveLength(3 - having.length);
      await heal(copies, inode);
      for (const index of [0, 1, 2])
        expect((await bytesOn(copies.brick(index), inode)).toString()).toBe("content");
      await expectUnmarked(copies, inode);
    },
  );

  it("removes a name that the directory's good copies do not have", async () => {
    await using copies = await startCopies();
    await copies.file("f");
    copies.wires[2]!.cut();
    await copies.session.unlink("f");
    copies.wires[2]!.mend();
    expect(await byName(copies)).toMatchObject({ outcome: "healed", changed: 0b100 });
    expect(await gfidsOn(copies)).toEqual([undefined, undefined, undefined]);
  });

  it("says split brain when copies have different objects there (SB-05)", async () => {
    await using copies = await startCopies();
    await nameOn(copies, [0], "a");
    await nameOn(copies, [1], "b");
    const result = await byName(copies);
    expect(result.outcome).toBe("split-brain");
    expect(result.why).toContain("gfid split brain");
    expect(new Set(await gfidsOn(copies)).size).toBe(3);
  });

  it("gives all copies what a quorum has there, while none is blamed", async () => {
    await using copies = await startCopies();
    await nameOn(copies, [0], "a");
    await nameOn(copies, [1, 2], "b");
    const [, wanted] = await gfidsOn(copies);
    expect((await byName(copies)).outcome).toBe("healed");
    expect(await gfidsOn(copies)).toEqual([wanted, wanted, wanted]);
  });

  it.each(["on", "off"])(
    "blames a copy that may lose a name meanwhile (granular-entry-heal %s)",
    async (granular) => {
      await using copies = await startCopies({ options: { "granular-entry-heal": granular } });
      const { root } = copies.session;
      await nameOn(copies, [0], "a");
      await nameOn(copies, [1, 2], "b");
      const [, wanted] = await gfidsOn(copies);
      copies.errors[0]!.failNext("mknod", "ENOSPC");
      expect((await byName(copies)).outcome).toBe("failed");
      expect(await gfidsOn(copies)).toEqual([undefined, wanted, wanted]);
      for (const index of [1, 2]) expect(await copies.marks(index, root)).toEqual({ 0: [0, 0, 1] });
      expect((await heal(copies, root)).outcome).toBe("healed");
      expect(await gfidsOn(copies)).toEqual([wanted, wanted, wanted]);
      await expectUnmarked(copies, root);
    },
  );

  it("takes nothing away where blame finds no room", async () => {
    await using copies = await startCopies();
    const { root } = copies.session;
    await nameOn(copies, [0], "a");
    await nameOn(copies, [1, 2], "b");
    const before = await gfidsOn(copies);
    copies.errors[2]!.failNext("xattrop", "ENOSPC");
    expect((await byName(copies)).outcome).toBe("failed");
    expect(await gfidsOn(copies)).toEqual(before);
    await expectUnmarked(copies, root);
    expect((await byName(copies)).outcome).toBe("healed");
    await expectUnmarked(copies, root);
  });

  it.each<[string, NameHealOptions["resolution"], string]>([
    ["bigger-file", { kind: "bigger-file" }, "longest of all"],
    ["latest-mtime", { kind: "latest-mtime" }, "newest"],
    ["source-brick", { kind: "source-brick", child: 0 }, "brick 0"],
  ])("is settled by %s", async (_name, resolution, content) => {
    await using copies = await startCopies();
    const order = ["brick 0", "longest of all", "newest"];
    for (const [index, text] of order.entries()) {
      await copies.env.clock.advance(5000);
      await nameOn(copies, [index], text);
    }
    const source = order.indexOf(content);
    expect(await byName(copies, { resolution: resolution!, dryRun: true })).toMatchObject({
      outcome: "would-heal",
      source,
    });
    expect(new Set(await gfidsOn(copies)).size).toBe(3);
    expect(await byName(copies, { resolution: resolution! })).toMatchObject({ outcome: "healed", source });
    expect(new Set(await gfidsOn(copies)).size).toBe(1);
    const inode = await copies.brick(0).inode("f");
    await heal(copies, inode);
    for (const index of [0, 1, 2])
      expect((await bytesOn(copies.brick(index), inode)).toString()).toBe(content);
  });

  it("is settled by the majority of objects", async () => {
    await using copies = await startCopies({ options: { "favorite-child-policy": "majority" } });
    await nameOn(copies, [0], "a");
    await nameOn(copies, [1, 2], "b");
    expect(await byName(copies)).toMatchObject({ outcome: "healed", changed: 0b001 });
  });

  it("of different types is settled by a named brick only", async () => {
    await using copies = await startCopies();
    await copies.brick(0).mkdir("f");
    await nameOn(copies, [1, 2], "b");
    expect((await byName(copies, { resolution: { kind: "bigger-file" } })).outcome).toBe("split-brain");
    const result = await byName(copies, { resolution: { kind: "source-brick", child: 1 } });
    expect(result).toMatchObject({ outcome: "healed", changed: 0b001 });
  });

  it("needs every child", async () => {
    await using copies = await startCopies();
    await nameOn(copies, [0], "a");
    copies.wires[2]!.cut();
    expect((await byName(copies)).outcome).toBe("unavailable");
    expect(await copies.brick(1).exists("f")).toBe(false);
  });
});
