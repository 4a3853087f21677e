/** rename: what may replace what, and that nothing is lost on the way. */

import { expect } from "vitest";
import { gfidEquals } from "../../src/core/gfid.ts";
import { outcome, type Subject } from "./suite.ts";

export const rename: Subject = {
  name: "rename",
  cases: [
    {
      name: "a file changes name and directory and stays itself",
      async run({ a, b }) {
        const fd = await a.create("f");
        await a.write(fd, "data");
        const before = await a.stat("f");
        const dir = await a.mkdir("d");
        const reply = await a.rename("f", "g", a.root, dir);
        expect(gfidEquals(reply.stat.gfid, before.gfid)).toBe(true);
        expect(await b.exists("f")).toBe(false);
        const after = await b.stat("g", await b.inode("d"));
        expect(gfidEquals(after.gfid, before.gfid)).toBe(true);
        expect(await a.text(fd)).toBe("data");
      },
    },
    {
      name: "a file replaces a file, a symlink or a node",
      async run({ a }) {
        for (const make of [
          () => a.create("target"),
          () => a.symlink("target", "nowhere"),
          () => a.mknod("target", 0o010600),
        ]) {
          await make();
          const fd = await a.create("source");
          await a.write(fd, "source");
          await a.rename("source", "target");
          expect(await a.list()).toEqual(["target"]);
          expect(await a.text(await a.open(await a.inode("target")))).toBe("source");
          await a.unlink("target");
        }
      },
    },
    {
      name: "a directory replaces an empty directory only",
      async run({ a }) {
        const dir = await a.mkdir("d");
        await a.create("inside", { parent: dir });
        await a.mkdir("empty");
        const full = await a.mkdir("full");
        await a.create("f", { parent: full });
        expect(await outcome(a.rename("d", "full"))).toBe("ENOTEMPTY");
        await a.rename("d", "empty");
        expect((await a.list()).sort()).toEqual(["empty", "full"]);
        expect(await a.list(await a.inode("empty"))).toEqual(["inside"]);
      },
    },
    {
      name: "files and directories do not replace each other",
      async run({ a }) {
        await a.create("f");
        await a.mkdir("d");
        expect(await outcome(a.rename("f", "d"))).toBe("EISDIR");
        expect(await outcome(a.rename("d", "f"))).toBe("ENOTDIR");
        expect((await a.list()).sort()).toEqual(["d", "f"]);
      },
    },
    {
      name: "a directory does not move below itself",
      async run({ a }) {
        const dir = await a.mkdir("d");
        const sub = await a.mkdir("sub", { parent: dir });
        expect(await outcome(a.rename("d", "x", a.root, sub))).toBe("EINVAL");
        expect(await outcome(a.rename("d", "x", a.root, dir))).toBe("EINVAL");
      },
    },
    {
      name: "a directory that moves takes its contents and its parents' link counts along",
      async run({ a, b }) {
        const from = await a.mkdir("from");
        const to = await a.mkdir("to");
        const moved = await a.mkdir("moved", { parent: from });
        await a.create("f", { parent: moved });
        await a.rename("moved", "there", from, to);
        expect([(await a.stat("from")).nlink, (await a.stat("to")).nlink]).toEqual([2, 3]);
        const seen = await b.inode("there", await b.inode("to"));
        expect(await b.list(seen)).toEqual(["f"]);
        await a.create("g", { parent: moved });
        expect((await b.list(seen)).sort()).toEqual(["f", "g"]);
      },
    },
    {
      name: "two names of one inode stay both",
      async run({ a }) {
        await a.create("f");
        await a.link(await a.inode("f"), "g");
        await a.rename("f", "g");
        expect((await a.list()).sort()).toEqual(["f", "g"]);
        expect((await a.stat("f")).nlink).toBe(2);
      },
    },
    {
      name: "a name onto itself changes nothing",
      async run({ a }) {
        await a.create("f");
        await a.rename("f", "f");
        expect(await a.list()).toEqual(["f"]);
      },
    },
    {
      name: "replacing one of several names leaves the others",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "old");
        await a.link(await a.inode("f"), "g");
        await a.create("new");
        await a.rename("new", "f");
        expect((await a.stat("g")).nlink).toBe(1);
        expect(await a.text(await a.open(await a.inode("g")))).toBe("old");
      },
    },
    {
      name: "many renames over one name leave one file, whole",
      async run({ a }) {
        for (let round = 0; round < 20; round++) {
          const fd = await a.create(`temporary${round}`);
          await a.write(fd, `round ${round}`);
        }
        await Promise.all(Array.from({ length: 20 }, (_, round) => a.rename(`temporary${round}`, "target")));
        expect(await a.list()).toEqual(["target"]);
        expect(await a.text(await a.open(await a.inode("target")))).toMatch(/^round \d+$/);
      },
    },
  ],
};
