/** rename: every combination of where both names belong and where the data of both files is. */

import { describe, expect, it } from "vitest";
import { outcome } from "../../../conformance/suite.ts";
import { Spread } from "./spread.ts";

const CHILDREN = [0, 1, 2];
/** Where the target's data is; -1: there is no target. */
const TARGETS = [-1, ...CHILDREN];

describe("rename of a file", () => {
  for (const fromOwn of CHILDREN)
    it(`DHT-06: leaves one data file and its linkto file in place; old name on ${fromOwn}`, async () => {
      await using spread = await Spread.start({ contracts: false });
      for (const data of CHILDREN)
        for (const toOwn of CHILDREN)
          for (const replaced of TARGETS) {
            const what = `from ${fromOwn} with data on ${data} to ${toOwn} over data on ${replaced}`;
            const dir = await spread.session.mkdir(what);
            const from = await spread.nameOn(fromOwn, "from", dir);
            const to = await spread.nameOn(toOwn, "to", dir);
            await spread.fileOn(data, from, "source", dir);
            if (replaced >= 0) await spread.fileOn(replaced, to, "target", dir);
            await spread.session.rename(from, to, dir);
            const expected = CHILDREN.map((child) =>
              child === data ? "data" : child === toOwn ? `link to ${data}` : undefined,
            );
            expect(await spread.shown(to, dir), what).toEqual(expected);
            expect(await spread.shown(from, dir), what).toEqual([undefined, undefined, undefined]);
            expect(await spread.session.list(dir), what).toEqual([to]);
            const inode = await spread.session.inode(to, dir);
            expect(await spread.session.text(await spread.session.open(inode)), what).toBe("source");
            expect((await spread.session.stat(to, dir)).nlink, what).toBe(1);
          }
    });

  it("is seen by another client at once, whatever it knew before", async () => {
    await using spread = await Spread.start();
    const other = await spread.second();
    for (const data of CHILDREN) {
      const name = await spread.nameOn((data + 1) % 3, `f${data}-`);
      await spread.fileOn(data, name, `content ${data}`);
      expect((await other.stat(name)).size).toBe(9);
      await spread.session.rename(name, `moved${data}`);
      expect(await other.exists(name)).toBe(false);
      const fd = await other.open(await other.inode(`moved${data}`));
      expect(await other.text(fd)).toBe(`content ${data}`);
    }
    expect((await other.list()).sort()).toEqual(["moved0", "moved1", "moved2"]);
    await other.end();
  });

  it("takes everything back when the child with the data fails", async () => {
    await using spread = await Spread.start();
    const from = await spread.nameOn(0, "from");
    const to = await spread.nameOn(2, "to");
    await spread.fileOn(1, from, "source");
    await spread.fileOn(2, to, "target");
    spread.errors[1]!.failNext("link", "EIO");
    expect(await outcome(spread.session.rename(from, to))).toBe("EIO");
    expect(await spread.shown(from)).toEqual(["link to 1", "data", undefined]);
    expect(await spread.shown(to)).toEqual([undefined, undefined, "data"]);
    expect((await spread.session.list()).sort()).toEqual([from, to]);
  });

  it("fails, and leaves the target, when the target's child does not let it go", async () => {
    await using spread = await Spread.start();
    const from = await spread.nameOn(0, "from");
    const to = await spread.nameOn(2, "to");
    await spread.fileOn(1, from, "source");
    await spread.fileOn(2, to, "target");
    spread.errors[2]!.failNext("rename", "EROFS");
    expect(await outcome(spread.session.rename(from, to))).toBe("EROFS");
    const { session } = spread;
    expect(await session.text(await session.open(await session.inode(to)))).toBe("target");
    expect(await session.text(await session.open(await session.inode(from)))).toBe("source");
  });
});

describe("rename of a directory", () => {
  it("moves it on all children, with its contents and its path", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const dir = await session.mkdir("d");
    await session.create("f", { parent: dir });
    await session.rename("d", "e");
    expect(await spread.shown("e")).toEqual(["directory", "directory", "directory"]);
    expect(await spread.shown("d")).toEqual([undefined, undefined, undefined]);
    expect(spread.distribute.set.pathOf(dir)).toBe("/e");
    expect(await session.list(await session.inode("e"))).toEqual(["f"]);
  });

  it("is undone on all children when one of them fails", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    await session.mkdir("d");
    const own = await Promise.all([0, 1, 2].map((child) => spread.nameOn(child, "to")));
    for (const to of own)
      for (const failing of CHILDREN) {
        spread.errors[failing]!.failNext("rename", "EIO");
        expect(await outcome(session.rename("d", to))).toBe("EIO");
        expect(await spread.shown("d")).toEqual(["directory", "directory", "directory"]);
        expect(await spread.shown(to)).toEqual([undefined, undefined, undefined]);
      }
  });

  it("is refused while a child is away: it would keep the old name", async () => {
    await using spread = await Spread.start();
    await spread.session.mkdir("d");
    spread.wires[2]!.cut();
    expect(await outcome(spread.session.rename("d", "e"))).toBe("ENOTCONN");
  });

  it("replaces a directory that holds stale linkto files only", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    await session.mkdir("d");
    const target = await session.mkdir("e");
    const name = await spread.nameOn(0, "f", target);
    await spread.fileOn(1, name, "x", target);
    await spread.brick(1).unlink(name, target);
    await session.rename("d", "e");
    expect(await session.list()).toEqual(["e"]);
  });
});
