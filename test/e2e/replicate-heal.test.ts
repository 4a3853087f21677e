/**
 * Heals, as scenarios.md has them (HEAL-..): a copy misses something, comes back, and is made like the
 * others, whoever wrote, serves and heals. Afterwards the bricks hold the same and both makes say that
 * nothing is left.
 */

import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { casts, EVERY_MIXTURE } from "../support/casts.ts";
import { allocatedBytes, counts, type Marks, pendingMarks } from "../support/copies.ts";
import type { FileAgent } from "../support/file-agent.ts";
import { Lab } from "../support/peers.ts";
import { pattern, writeSampleTree } from "../support/sample-tree.ts";
import { Scene } from "../support/scene.ts";

const KIB = 1024;
const MIB = 1 << 20;

const lab = new Lab("replicate-heal");
const agent = lab.agent();
afterAll(() => lab.close());

/** HEAL-04: what each of two copies says of both, what it holds, and whose content wins. */
const WEIGHED = [
  {
    name: "a: one blames itself and the other, who blames back",
    marks: [{ "client-1": counts(1) }, { "client-0": counts(1), "client-1": counts(1) }],
    contents: ["abc", "def"],
    winner: /abc/,
  },
  {
    name: "b: both blame both, equal sizes",
    marks: [blameBoth(1), blameBoth(1)],
    contents: ["abc", "def"],
    winner: /abc|def/,
  },
  {
    name: "c: both blame both, the first more",
    marks: [blameBoth(2), blameBoth(1)],
    contents: ["abc", "def"],
    winner: /abc/,
  },
  {
    name: "d: both blame both, the second is bigger",
    marks: [blameBoth(2), blameBoth(1)],
    contents: ["abc", "defg"],
    winner: /defg/,
  },
  {
    name: "e: the second blames only itself",
    marks: [{}, { "client-1": counts(1) }],
    contents: ["abc", "def"],
    winner: /def/,
  },
] as const satisfies readonly {
  name: string;
  marks: readonly Marks[];
  contents: readonly string[];
  winner: RegExp;
}[];

function blameBoth(count: number): Marks {
  return { "client-0": counts(count), "client-1": counts(count) };
}

describe.each(casts())("%s", (cast) => {
  describe("two copies, after one heal", () => {
    let s: Scene;
    beforeAll(async () => {
      s = await Scene.open(lab, cast, { copies: 2, replicate: ["data-self-heal-algorithm full"] });
      const files = ["emptied", "bigger", "bigger-dirty", ...WEIGHED.map(({ name }) => name)];
      for (const name of files) await agent.writeFile(s.at(name), "four");
      for (const name of ["removed", "made", "merged"]) await agent.mkdir(s.at(name));
      await makeKinds(agent, s.at("removed"));
      await s.without([0], async () => {
        for (const name of await agent.list(s.at("removed")))
          await agent.removeTree(join(s.at("removed"), name));
        await makeKinds(agent, s.at("made"));
        await agent.writeFile(s.at("merged/second"), "by the second");
      });
      await s.without([1], () => agent.writeFile(s.at("merged/first"), "by the first"));
      await s.byHand(() => markByHand(s));
      await s.untilConnected();
      await s.heal();
    });
    afterAll(() => s.close());

    it("HEAL-01 an empty copy that blames is the source", () => {
      expect(readFileSync(s.brick(1, "emptied"), "utf8")).toBe("");
    });

    it.each(["bigger", "bigger-dirty"])("HEAL-02 the bigger copy wins: %s", (name) => {
      expect(readFileSync(s.brick(0, name), "utf8")).toBe("fives");
      expect(pendingMarks(s.replica.directory(0), name)).toEqual({});
    });

    it.each(WEIGHED)("HEAL-04 marks that contradict each other are weighed: $name", ({ name, winner }) => {
      expect(readFileSync(s.brick(0, name), "utf8")).toMatch(winner);
    });

    it("HEAL-07 entries of every kind are removed, made and merged", async () => {
      expect(await agent.list(s.brick(0, "removed"))).toEqual([]);
      expect(await agent.list(s.brick(0, "merged"))).toEqual(["first", "second"]);
      expect(await agent.list(s.brick(0, "made"))).toEqual(["block", "char", "deep", "fifo", "file", "link"]);
      expect(await agent.stat(s.brick(0, "made/block"))).toMatchObject({
        type: "block device",
        rdev: (7 << 8) | 5,
      });
    });
  });

  describe("three copies, after a heal of the first and a heal of the second", () => {
    let s: Scene;
    let inodes: string[];
    beforeAll(async () => {
      s = await Scene.open(lab, cast, { replicate: ["data-self-heal-algorithm diff"] });
      await setUpThree(s);
      inodes = await inodesOfMoved(s);
      await s.without([0], () => changeThree(s));
      await s.heal();
      await s.without([1], async () => {
        await agent.setXattr(s.at("file"), "user.one", "changed");
        await agent.removeXattr(s.at("file"), "user.two");
        await agent.unlink(s.at("again"));
        await agent.writeFile(s.at("again"), "newer");
      });
      await s.heal();
    });
    afterAll(() => s.close());

    it("HEAL-05 metadata follows, and a removed xattr is gone everywhere", async () => {
      for (const index of [0, 1, 2]) {
        expect((await agent.getXattr(s.brick(index, "file"), "user.one")).toString()).toBe("changed");
        expect(await agent.listXattrs(s.brick(index, "file"))).not.toContain("user.two");
        expect(await agent.stat(s.brick(index, "file"))).toMatchObject({ mode: "0640", uid: 12, gid: 34 });
      }
    });

    it("HEAL-08 names that change what they are", async () => {
      expect(await agent.list(s.brick(0, "tree"))).toEqual(["other"]);
      expect((await agent.stat(s.brick(0, "becomes directory"))).type).toBe("directory");
      expect((await agent.stat(s.brick(0, "becomes symlink"))).type).toBe("symlink");
      expect(readFileSync(s.brick(1, "again"), "utf8")).toBe("newer");
      expect((await agent.stat(s.brick(0, "shrinks"))).size).toBe(10);
    });

    it("HEAL-10 holes stay holes, written zeroes stay written", () => {
      expect(allocatedBytes(s.replica.directory(0), "sparse")).toBeLessThan(MIB);
      expect(allocatedBytes(s.replica.directory(0), "zeroes")).toBeGreaterThanOrEqual(MIB);
    });

    it("HEAL-17 what a heal removes waits in a hidden directory, so that a move stays a move", async () => {
      expect(await inodesOfMoved(s, "to", "renamed")).toEqual(inodes);
      expect(await agent.list(s.brick(0, "to-0/moved"))).toEqual(["file"]);
      expect((await agent.list(s.at("."))).filter((name) => name.startsWith("."))).toEqual([]);
    });
  });
});

// GlusterFS looks for a brick every 3 s, and for work after 5: they wait together.
describe.concurrent.each(casts(EVERY_MIXTURE))("%s", (cast) => {
  it.each(cast.client === "mortar" && cast.bricks !== cast.healer ? [false, true] : [false])(
    "all that was missed arrives, with an arbiter: %s",
    async (arbiter) => {
      const agent = lab.agent();
      const s = await Scene.open(lab, cast, { arbiter });
      await agent.writeFile(s.at("image"), pattern(4 * MIB));
      await agent.mkdir(s.at("before"));
      await writeSampleTree(agent, s.at("before"));
      await agent.mkdir(s.at("meanwhile"));
      await s.without([1], async () => {
        const image = await agent.open(s.at("image"), "O_RDWR|O_DIRECT");
        for (let block = 0; block < 16; block++)
          await agent.write(image, Buffer.alloc(64 * KIB, block + 1), ((block * 7) % 64) * 64 * KIB);
        await agent.close(image);
        await agent.removeTree(s.at("before"));
        // Of three copies GlusterFS' healer cannot bring a new symbolic link to one that is blamed already.
        if (cast.healer === "mortar") await writeSampleTree(agent, s.at("meanwhile"));
        else await agent.writeFile(s.at("meanwhile/file"), pattern(100 * KIB));
      });
      await s.heal();
      await s.close();
    },
  );
});

/** HEAL-01, 02 and 04, on the bricks of a volume of two copies. */
function markByHand(s: Scene): void {
  truncateSync(s.brick(0, "emptied"), 0);
  s.blame(0, "emptied", { "client-1": counts(1) });
  for (const [name, marks] of [
    ["bigger", {}],
    ["bigger-dirty", { dirty: counts(1) }],
  ] as const) {
    writeFileSync(s.brick(1, name), "fives");
    s.blame(0, name, marks);
  }
  for (const { name, marks, contents } of WEIGHED) {
    for (const index of [0, 1]) {
      writeFileSync(s.brick(index, name), contents[index]!);
      s.blame(index, name, marks[index]!);
    }
  }
}

/** Whether the old or the new parent is healed first is chance, so there are several. */
const PAIRS = [0, 1, 2, 3, 4, 5, 6, 7];

/** Inode numbers on brick 0: what is moved and not copied keeps them. */
async function inodesOfMoved(s: Scene, parent = "from", linked = "linked"): Promise<string[]> {
  const names = PAIRS.flatMap((pair) => [`${parent}-${pair}/moved`, `${parent}-${pair}/${linked}`]);
  return Promise.all(names.map(async (name) => (await agent.stat(s.brick(0, name))).ino));
}

async function setUpThree(s: Scene): Promise<void> {
  await agent.writeFile(s.at("file"), "content");
  await agent.writeFile(s.at("becomes directory"), "file");
  await agent.writeFile(s.at("again"), "old");
  await agent.writeFile(s.at("linked"), "two names");
  await agent.link(s.at("linked"), s.at("becomes symlink"));
  await agent.writeFile(s.at("shrinks"), pattern(MIB));
  await agent.writeFile(s.at("grows"), pattern(10 * KIB));
  await agent.writeFile(s.at("sparse"), "");
  await agent.truncate(s.at("sparse"), 64 * MIB);
  for (const name of ["tree", "tree/deep"]) await agent.mkdir(s.at(name));
  await agent.writeFile(s.at("tree/deep/file"), "x");
  for (const pair of PAIRS) {
    for (const name of [`from-${pair}`, `to-${pair}`, `from-${pair}/moved`]) await agent.mkdir(s.at(name));
    await agent.writeFile(s.at(`from-${pair}/moved/file`), "moves along");
    await agent.writeFile(s.at(`from-${pair}/linked`), "two names");
    await agent.link(s.at(`from-${pair}/linked`), s.at(`to-${pair}/other`));
  }
}

async function changeThree(s: Scene): Promise<void> {
  await agent.chmod(s.at("file"), "0640");
  await agent.chown(s.at("file"), 12, 34);
  await agent.setXattr(s.at("file"), "user.one", "first");
  await agent.setXattr(s.at("file"), "user.two", "second");
  await agent.unlink(s.at("becomes directory"));
  await agent.mkdir(s.at("becomes directory"));
  await agent.unlink(s.at("again"));
  await agent.writeFile(s.at("again"), "new");
  await agent.unlink(s.at("becomes symlink"));
  await agent.symlink("linked", s.at("becomes symlink"));
  await agent.link(s.at("linked"), s.at("another name"));
  await agent.truncate(s.at("shrinks"), 10);
  await writeAt(s.at("grows"), "end", 3 * MIB);
  await writeAt(s.at("sparse"), pattern(128 * KIB), 32 * MIB);
  await agent.writeFile(s.at("zeroes"), Buffer.alloc(MIB));
  await agent.removeTree(s.at("tree"));
  await agent.mkdir(s.at("tree"));
  await agent.writeFile(s.at("tree/other"), "y");
  for (const pair of PAIRS) {
    await agent.rename(s.at(`from-${pair}/moved`), s.at(`to-${pair}/moved`));
    await agent.rename(s.at(`from-${pair}/linked`), s.at(`to-${pair}/renamed`));
  }
}

async function writeAt(path: string, data: Buffer | string, offset: number): Promise<void> {
  const fd = await agent.open(path, "O_WRONLY");
  await agent.write(fd, data, offset);
  await agent.close(fd);
}

/** One of each kind. */
async function makeKinds(by: FileAgent, directory: string): Promise<void> {
  await by.mknod(join(directory, "fifo"), "010644", 0);
  await by.mknod(join(directory, "block"), "060644", (7 << 8) | 5);
  await by.mknod(join(directory, "char"), "020644", (1 << 8) | 3);
  await by.writeFile(join(directory, "file"), "content");
  await by.symlink("file", join(directory, "link"));
  await by.mkdir(join(directory, "deep"));
  await by.mkdir(join(directory, "deep/deeper"));
  await by.writeFile(join(directory, "deep/deeper/file"), "at the bottom");
}
