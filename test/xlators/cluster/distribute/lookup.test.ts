/** lookup: where a name is found, which linkto files appear and go, and what is refused. */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { newGfid, parseGfid } from "../../../../src/core/gfid.ts";
import { S_IFREG } from "../../../../src/core/iatt.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { buildGraph } from "../../../../src/graph/graph.ts";
import { parseVolfile } from "../../../../src/graph/volfile.ts";
import { REGISTRY } from "../../../../xlators/registry.ts";
import { outcome } from "../../../conformance/suite.ts";
import { fakeEnv } from "../../../support/fake-env.ts";
import { LINKTO, Spread } from "./spread.ts";

/** A linkto file on one brick, as another client or the past has left it. */
async function plantLinkto(spread: Spread, child: number, name: string, target: number, gfid = newGfid()) {
  const xdata = new Dict().setGfid("gfid-req", gfid).setStr(LINKTO, spread.distribute.set.names[target]!);
  const brick = spread.brick(child);
  const args = { loc: brick.at(name), mode: S_IFREG | 0o1000, rdev: 0, umask: 0, xdata };
  await brick.top.mknod(brick.call, args);
}

describe("lookup of a file", () => {
  it("asks nobody but the child that the name belongs to", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(1, "f");
    await spread.session.create(name);
    spread.clearCalls();
    await spread.session.lookup(name);
    expect(spread.wires.map((wire) => wire.calls.map(({ fop }) => fop))).toEqual([[], ["lookup"], []]);
  });

  it("that lies elsewhere makes a linkto file of its owner, which the next lookup follows", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(0, "f");
    const brick = spread.brick(2);
    await brick.create(name);
    await brick.setattr(await brick.inode(name), 6, { uid: 7, gid: 8 });
    const inode = await spread.session.inode(name);
    expect(await spread.shown(name)).toEqual(["link to 2", undefined, "data"]);
    const linkto = await spread.brick(0).stat(name);
    expect([linkto.mode, linkto.size, linkto.uid, linkto.gid]).toEqual([S_IFREG | 0o1000, 0, 7, 8]);
    expect(await spread.xattrs(inode, LINKTO)).toEqual([
      Buffer.from(`${spread.distribute.set.names[2]}\0`).toString("hex"),
      undefined,
      undefined,
    ]);
    spread.clearCalls();
    await spread.session.lookup(name);
    expect(spread.wires.map((wire) => wire.count("lookup"))).toEqual([1, 0, 1]);
  });

  it("takes a linkto file away that leads nowhere", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(0, "f");
    await plantLinkto(spread, 0, name, 1);
    expect(await outcome(spread.session.lookup(name))).toBe("ENOENT");
    expect(await spread.shown(name)).toEqual([undefined, undefined, undefined]);
  });

  it("does not while the child that it names is away: the file is there", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(0, "f");
    await spread.fileOn(1, name, "x");
    spread.wires[1]!.cut();
    expect(await outcome(spread.session.lookup(name))).toBe("ENOTCONN");
    expect(await outcome(spread.session.create(name))).not.toBe("ok");
    spread.wires[1]!.mend();
    expect(await spread.shown(name)).toEqual(["link to 1", "data", undefined]);
    expect((await spread.session.stat(name)).size).toBe(1);
  });

  it("puts a linkto file right that names the wrong child", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(0, "f");
    const fd = await spread.brick(2).create(name);
    await plantLinkto(spread, 0, name, 1, fd.inode.gfid);
    await spread.session.lookup(name);
    expect(await spread.shown(name)).toEqual(["link to 2", undefined, "data"]);
  });

  it("leaves a linkto file alone that names another file than the one that is found", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(0, "f");
    await spread.brick(2).create(name);
    await plantLinkto(spread, 0, name, 2);
    expect(await outcome(spread.session.lookup(name))).toBe("ESTALE");
    expect(await spread.shown(name)).toEqual(["link to 2", undefined, "data"]);
  });

  it("is EIO when two children have a file of that name, unless one is its own", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(0, "f");
    await spread.brick(1).create(name);
    await spread.brick(2).create(name);
    expect(await outcome(spread.session.lookup(name))).toBe("EIO");
    await spread.brick(0).create(name);
    const own = await spread.brick(0).stat(name);
    expect((await spread.session.stat(name)).gfid).toEqual(own.gfid);
  });

  it("is EIO when it is a directory on another child", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(0, "f");
    await spread.brick(1).create(name);
    await spread.brick(2).mkdir(name);
    expect(await outcome(spread.session.lookup(name))).toBe("EIO");
  });

  it("by gfid finds it on whatever child, after a restart of the client too", async () => {
    await using spread = await Spread.start();
    const { gfid } = await spread.fileOn(2, await spread.nameOn(0, "f"), "x");
    const other = await spread.second();
    const { stat } = await other.top.lookup(other.call, { loc: { inode: new Inode(gfid) } });
    expect(stat.size).toBe(1);
    const fd = await other.open(new Inode(gfid));
    expect(await other.text(fd)).toBe("x");
    await other.end();
  });

  it("trusts a directory's commit hash when it is told to, but never for shards", async () => {
    const shards = parseGfid("be318638-e8a0-4c6d-977d-7a937aa84806")!;
    await using spread = await Spread.start({ options: { "lookup-optimize": "on" } });
    const { session } = spread;
    const dir = await session.mkdir("d");
    const hidden = await session.mkdir(".shard", { xdata: new Dict() });
    expect(hidden.gfid).not.toEqual(shards);
    spread.clearCalls();
    expect(await session.exists("nothing", dir)).toBe(false);
    expect(spread.wires.reduce((sum, wire) => sum + wire.count("lookup"), 0)).toBe(1);

    const loc = session.at(".real");
    const xdata = new Dict().setGfid("gfid-req", shards);
    await session.top.mkdir(session.call, { loc, mode: 0o755, umask: 0, xdata });
    const shard = session.table.link(loc.inode, shards, 0o040000);
    spread.clearCalls();
    expect(await session.exists("f.1", shard)).toBe(false);
    expect(spread.wires.every((wire) => wire.count("lookup") >= 1)).toBe(true);
  });

  it("of a shard is ENOTCONN while a child that may have it is away, of other names ENOENT", async () => {
    const shards = parseGfid("be318638-e8a0-4c6d-977d-7a937aa84806")!;
    await using spread = await Spread.start();
    const { session } = spread;
    const loc = session.at(".shard");
    const xdata = new Dict().setGfid("gfid-req", shards);
    await session.top.mkdir(session.call, { loc, mode: 0o755, umask: 0, xdata });
    const shard = session.table.link(loc.inode, shards, 0o040000);
    const name = await spread.nameOn(0, "f.", shard);
    const other = await spread.nameOn(0, "f");
    spread.wires[2]!.cut();
    expect(await outcome(session.lookup(name, shard))).toBe("ENOTCONN");
    expect(await outcome(session.lookup(other))).toBe("ENOENT");
  });
});

describe("a volume that is told to trust hashes below shard", () => {
  function build(line: string): () => unknown {
    const bricks = ["b0", "b1"].map((name) => `volume ${name}\ntype storage/memory\nend-volume\n`).join("");
    const text = `${bricks}volume d\ntype cluster/distribute\n${line}subvolumes b0 b1\nend-volume
volume s\ntype features/shard\nsubvolumes d\nend-volume\n`;
    return () => buildGraph(parseVolfile(text, "x.vol"), { registry: REGISTRY, env: fakeEnv() });
  }

  it("is refused, and one that says nothing about it is not", () => {
    expect(build("option lookup-optimize on\n")).toThrow(
      /volume "d": option lookup-optimize is on below features\/shard/,
    );
    expect(build("option lookup-optimize off\n")).not.toThrow();
    expect(build("")).not.toThrow();
  });
});
