/**
 * Heals, as scenarios.md has them (HEAL-..): a copy misses something, comes back, and is made like the others,
 * whoever wrote, serves and heals. Afterwards the bricks hold the same and both makes say that nothing is left.
 */

import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { type Cast, casts } from "../support/casts.ts";
import { allocatedBytes, counts, type Marks, pendingMarks } from "../support/copies.ts";
import type { FileAgent } from "../support/file-agent.ts";
import { Lab } from "../support/peers.ts";
import { pattern } from "../support/sample-tree.ts";
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

let scene: Scene | undefined;
afterEach(async () => {
  await scene?.close();
  scene = undefined;
});
async function open(cast: Cast, spec?: Parameters<typeof Scene.open>[2]): Promise<Scene> {
  scene = await Scene.open(lab, cast, spec);
  return scene;
}

describe.each(casts())("%s", (cast) => {
  it("HEAL-01 an empty copy that blames is the source", async () => {
    const s = await open(cast, { copies: 2 });
    await agent.writeFile(s.at("file"), "four");
    await s.byHand(() => {
      truncateSync(s.brick(0, "file"), 0);
      s.blame(0, "file", { "client-1": counts(1) });
    });
    await s.heal();
    expect(readFileSync(s.brick(1, "file"), "utf8")).toBe("");
  });

  it.each([
    ["without a mark", {}],
    ["with a dirty mark on the smaller", { dirty: counts(1) }],
  ])("HEAL-02 the bigger copy wins %s", async (_, marks) => {
    const s = await open(cast, { copies: 2 });
    await agent.writeFile(s.at("file"), "four");
    await s.byHand(() => {
      writeFileSync(s.brick(1, "file"), "fives");
      s.blame(0, "file", marks);
    });
    await s.heal();
    expect(readFileSync(s.brick(0, "file"), "utf8")).toBe("fives");
    expect(pendingMarks(s.replica.directory(0), "file")).toEqual({});
  });

  it("HEAL-04 marks that contradict each other are weighed", async () => {
    const s = await open(cast, { copies: 2 });
    for (const { name } of WEIGHED) await agent.writeFile(s.at(name), "new");
    await s.byHand(() => {
      for (const { name, marks, contents } of WEIGHED) {
        for (const index of [0, 1]) {
          writeFileSync(s.brick(index, name), contents[index]!);
          s.blame(index, name, marks[index]!);
        }
      }
    });
    await s.heal();
    for (const { name, winner } of WEIGHED)
      expect(readFileSync(s.brick(0, name), "utf8"), name).toMatch(winner);
  });

  it("HEAL-05 metadata follows, and a removed xattr is gone everywhere", async () => {
    const s = await open(cast);
    await agent.writeFile(s.at("file"), "content");
    await s.without([0], async () => {
      await agent.chmod(s.at("file"), "0640");
      await agent.chown(s.at("file"), 12, 34);
      await agent.setXattr(s.at("file"), "user.one", "first");
      await agent.setXattr(s.at("file"), "user.two", "second");
    });
    await s.heal();
    expect(await agent.listXattrs(s.brick(0, "file"))).toEqual(
      expect.arrayContaining(["user.one", "user.two"]),
    );
    await s.without([1], async () => {
      await agent.setXattr(s.at("file"), "user.one", "changed");
      await agent.removeXattr(s.at("file"), "user.two");
    });
    await s.heal();
    expect((await agent.getXattr(s.brick(1, "file"), "user.one")).toString()).toBe("changed");
    expect(await agent.listXattrs(s.brick(1, "file"))).not.toContain("user.two");
    expect(await agent.stat(s.brick(1, "file"))).toMatchObject({ mode: "0640", uid: 12, gid: 34 });
  });

  it("HEAL-07 entries of every kind are removed, made and merged", async () => {
    const s = await open(cast, { copies: 2 });
    await agent.mkdir(s.at("removed"));
    await agent.mkdir(s.at("made"));
    await agent.mkdir(s.at("merged"));
    await makeKinds(agent, s.at("removed"));
    await s.without([0], async () => {
      for (const name of await agent.list(s.at("removed")))
        await agent.removeTree(join(s.at("removed"), name));
      await makeKinds(agent, s.at("made"));
      await agent.writeFile(s.at("merged/second"), "by the second");
    });
    await s.without([1], () => agent.writeFile(s.at("merged/first"), "by the first"));
    await s.heal();
    expect(await agent.list(s.at("removed"))).toEqual([]);
    expect(await agent.list(s.at("merged"))).toEqual(["first", "second"]);
    expect(await agent.list(s.at("made"))).toEqual(["block", "char", "deep", "fifo", "file", "link"]);
    expect(await agent.stat(s.brick(0, "made/block"))).toMatchObject({
      type: "block device",
      rdev: (7 << 8) | 5,
    });
  });

  it("HEAL-08 names that change what they are", async () => {
    const s = await open(cast);
    await agent.writeFile(s.at("becomes directory"), "file");
    await agent.writeFile(s.at("again"), "old");
    await agent.writeFile(s.at("linked"), "two names");
    await agent.link(s.at("linked"), s.at("becomes symlink"));
    await agent.writeFile(s.at("shrinks"), pattern(100 * KIB));
    await agent.mkdir(s.at("tree"));
    await agent.mkdir(s.at("tree/deep"));
    await agent.writeFile(s.at("tree/deep/file"), "x");
    const rounds: (() => Promise<void>)[] = [
      async () => {
        await agent.unlink(s.at("becomes directory"));
        await agent.mkdir(s.at("becomes directory"));
      },
      async () => {
        await agent.unlink(s.at("again"));
        await agent.writeFile(s.at("again"), "new");
      },
      async () => {
        await agent.unlink(s.at("becomes symlink"));
        await agent.symlink("linked", s.at("becomes symlink"));
        await agent.link(s.at("linked"), s.at("another name"));
      },
      () => agent.truncate(s.at("shrinks"), 10),
      async () => {
        await agent.removeTree(s.at("tree"));
        await agent.mkdir(s.at("tree"));
        await agent.writeFile(s.at("tree/other"), "y");
      },
    ];
    for (const round of rounds) {
      await s.without([0], round);
      await s.heal();
    }
    expect(await agent.list(s.brick(0, "tree"))).toEqual(["other"]);
    expect(readFileSync(s.brick(0, "again"), "utf8")).toBe("new");
  });

  it.each(["full", "diff"])(
    "HEAL-10 holes stay holes, written zeroes stay written, algorithm %s",
    async (algorithm) => {
      const s = await open(cast, { replicate: [`data-self-heal-algorithm ${algorithm}`] });
      await agent.writeFile(s.at("shrinks"), pattern(MIB));
      await agent.writeFile(s.at("grows"), pattern(10 * KIB));
      await agent.writeFile(s.at("sparse"), "");
      await agent.truncate(s.at("sparse"), 64 * MIB);
      await s.without([0], async () => {
        await agent.truncate(s.at("shrinks"), 12345);
        const grows = await agent.open(s.at("grows"), "O_WRONLY");
        await agent.write(grows, "end", 3 * MIB);
        await agent.close(grows);
        const sparse = await agent.open(s.at("sparse"), "O_WRONLY");
        await agent.write(sparse, pattern(128 * KIB), 32 * MIB);
        await agent.close(sparse);
        await agent.writeFile(s.at("zeroes"), Buffer.alloc(MIB));
      });
      await s.heal();
      expect(allocatedBytes(s.replica.directory(0), "sparse")).toBeLessThan(MIB);
      expect(allocatedBytes(s.replica.directory(0), "zeroes")).toBeGreaterThanOrEqual(MIB);
    },
  );

  it("HEAL-17 what a heal removes waits in a hidden directory, so that a move stays a move", async () => {
    const s = await open(cast);
    // Whether the old or the new parent is healed first is chance, so there are several.
    const pairs = Array.from({ length: 8 }, (_, index) => ({ from: `from-${index}`, to: `to-${index}` }));
    for (const { from, to } of pairs) {
      await agent.mkdir(s.at(from));
      await agent.mkdir(s.at(to));
      await agent.mkdir(s.at(`${from}/moved`));
      await agent.writeFile(s.at(`${from}/moved/file`), "moves along");
      await agent.writeFile(s.at(`${from}/linked`), "two names");
      await agent.link(s.at(`${from}/linked`), s.at(`${to}/other`));
    }
    await agent.mkdir(s.at("tree"));
    await agent.writeFile(s.at("tree/file"), "goes");
    const inodes = (name: string): Promise<string[]> =>
      Promise.all(
        pairs.map(async (pair) => (await agent.stat(s.brick(0, name.replace("PAIR", pair.to)))).ino),
      );
    const linked = await inodes("PAIR/other");
    await s.without([0], async () => {
      for (const { from, to } of pairs) {
        await agent.rename(s.at(`${from}/moved`), s.at(`${to}/moved`));
        await agent.rename(s.at(`${from}/linked`), s.at(`${to}/renamed`));
      }
      await agent.removeTree(s.at("tree"));
    });
    await s.heal();
    expect(await inodes("PAIR/renamed")).toEqual(linked);
    expect(await agent.list(s.at("."))).toEqual(pairs.flatMap(({ from, to }) => [from, to]).sort());
  });
});

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
