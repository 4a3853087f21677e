/** Directories on all children: made, removed, changed, healed; layouts written and guarded. */

import { describe, expect, it } from "vitest";
import { SETATTR } from "../../../../src/core/iatt.ts";
import { outcome } from "../../../conformance/suite.ts";
import { startGraph } from "../../../support/build-graph.ts";
import { Session } from "../../../support/session.ts";
import { LAYOUT, MDS, Spread } from "./spread.ts";

const THIRDS = ["0000000055555554", "55555555aaaaaaa9", "aaaaaaaaffffffff"];
const CHILDREN = [0, 1, 2];

describe("mkdir", () => {
  it("makes it everywhere, with a whole layout and one metadata owner, where its name belongs", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(1, "d");
    const dir = await spread.session.mkdir(name);
    expect(await spread.shown(name)).toEqual(["directory", "directory", "directory"]);
    expect([...(await spread.ranges(dir))].sort()).toEqual(THIRDS);
    expect(await spread.xattrs(dir, MDS)).toEqual([undefined, "00000000", undefined]);
  });

  it("writes the commit hash 0 with lookup-optimize and 1 without, as GlusterFS does", async () => {
    for (const [value, hash] of [
      ["on", "00000000"],
      ["off", "00000001"],
    ] as const) {
      await using spread = await Spread.start({ options: { "lookup-optimize": value } });
      const layouts = await spread.xattrs(await spread.session.mkdir("d"), LAYOUT);
      expect(layouts.map((layout) => layout!.slice(0, 8))).toEqual([hash, hash, hash]);
    }
  });

  it("gives a child that is away no share, and a lookup makes the directory there later", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(0, "d");
    spread.wires[2]!.cut();
    const dir = await spread.session.mkdir(name);
    expect([...(await spread.ranges(dir))].sort()).toEqual([
      "000000007ffffffe",
      "7fffffffffffffff",
      undefined,
    ]);
    spread.wires[2]!.mend();
    await spread.session.lookup(name);
    expect(await spread.shown(name)).toEqual(["directory", "directory", "directory"]);
    expect([...(await spread.ranges(dir))].sort()).toEqual([
      "0000000000000000",
      "000000007ffffffe",
      "7fffffffffffffff",
    ]);
  });

  it("is refused while the child that the name belongs to is away", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(2, "d");
    spread.wires[2]!.cut();
    expect(await outcome(spread.session.mkdir(name))).toBe("ENOTCONN");
    expect(await spread.shown(name)).toEqual([undefined, undefined, undefined]);
  });

  it("begins anew with the new layout when another client has changed the parent's", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const dir = await session.mkdir("d");
    const name = await spread.nameOn(0, "sub", dir);
    const before = await spread.xattrs(dir, LAYOUT);
    // The first two children swap their ranges, as a rebalance may have it.
    for (const [child, from] of [1, 0, 2].entries())
      await spread.brick(child).setxattr(dir, LAYOUT, Buffer.from(before[from]!, "hex"));
    const made = await session.mkdir(name, { parent: dir });
    expect(await spread.xattrs(made, MDS)).toEqual([undefined, "00000000", undefined]);
  });
});

describe("over one child", () => {
  it("a new directory has the whole range, and every call goes straight through", async () => {
    const volfile = `volume disk\ntype storage/memory\nend-volume
volume v-dht\ntype cluster/distribute\nsubvolumes disk\nend-volume\n`;
    await using graph = await startGraph(volfile);
    const session = new Session(graph.top);
    const dir = await session.mkdir("d");
    const brick = new Session(graph.xlator("disk"));
    expect((await brick.getxattr(dir, LAYOUT)).toString("hex")).toBe("000000000000000000000000ffffffff");
    expect(graph.top.defines("writev")).toBe(false);
  });
});

describe("create", () => {
  it("goes by the new layout when another client has changed it, and loses no file", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const dir = await session.mkdir("d");
    const fresh = await spread.nameOn(0, "fresh", dir);
    const known = await spread.nameOn(0, "known", dir);
    const before = await spread.xattrs(dir, LAYOUT);
    for (const [child, from] of [1, 0, 2].entries())
      await spread.brick(child).setxattr(dir, LAYOUT, Buffer.from(before[from]!, "hex"));
    // Another client, who knows the new layout, has made this one.
    const other = await spread.second();
    const fd = await other.create(known, { parent: dir });
    await other.write(fd, "theirs");
    await other.end();
    await session.create(fresh, { parent: dir });
    expect(await spread.shown(fresh, dir)).toEqual([undefined, "data", undefined]);
    const again = await session.create(known, { parent: dir });
    expect(await session.text(again)).toBe("theirs");
    expect(await spread.shown(known, dir)).toEqual([undefined, "data", undefined]);
  });

  it("is EIO where the layout has a hole that cannot be healed", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const dir = await session.mkdir("d");
    const name = await spread.nameOn(0, "f", dir);
    await spread.brick(0).top.removexattr(session.call, { loc: { inode: dir }, name: LAYOUT });
    spread.wires[2]!.cut();
    const other = await spread.second();
    expect(await outcome(other.create(name, { parent: await other.inode("d") }))).toBe("EIO");
  });
});

describe("a lookup heals", () => {
  it("DHT-08: a directory deleted behind the back on one brick, with owner, mode and xattrs", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const dir = await session.mkdir("d", { mode: 0o750 });
    await session.setattr(dir, SETATTR.UID | SETATTR.GID, { uid: 5, gid: 6 });
    await session.setxattr(dir, "user.note", "kept");
    const lost = spread.distribute.set.states.of(dir).mds === 0 ? 1 : 0;
    await spread.brick(lost).rmdir("d");
    await session.lookup("d");
    expect(await spread.shown("d")).toEqual(["directory", "directory", "directory"]);
    const stat = await spread.brick(lost).stat("d");
    expect([stat.mode & 0o7777, stat.uid, stat.gid]).toEqual([0o750, 5, 6]);
    expect((await spread.brick(lost).getxattr(dir, "user.note")).toString()).toBe("kept");
    expect([...(await spread.ranges(dir))].sort()).toEqual(THIRDS);
    expect(await session.list(dir)).toEqual([]);
  });

  it("DHT-08: owner and mode that a brick has missed, from the metadata owner", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    for (const away of CHILDREN) {
      const name = await spread.nameOn((away + 1) % 3, `d${away}-`);
      const dir = await session.mkdir(name);
      spread.wires[away]!.cut();
      await session.setattr(dir, SETATTR.UID | SETATTR.MODE, { uid: 77, mode: 0o700 });
      spread.wires[away]!.mend();
      expect((await spread.brick(away).stat(name)).uid).toBe(0);
      expect((await session.stat(name)).uid).toBe(77);
      const healed = await spread.brick(away).stat(name);
      expect([healed.uid, healed.mode & 0o7777]).toEqual([77, 0o700]);
    }
  });

  it("xattrs that a brick has missed", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const name = await spread.nameOn(0, "d");
    const dir = await session.mkdir(name);
    spread.wires[1]!.cut();
    await session.setxattr(dir, "user.note", "new");
    expect(await spread.xattrs(dir, MDS)).toEqual(["ffffffff", undefined, undefined]);
    spread.wires[1]!.mend();
    await session.lookup(name);
    expect((await spread.brick(1).getxattr(dir, "user.note")).toString()).toBe("new");
    expect(await spread.xattrs(dir, MDS)).toEqual(["00000000", undefined, undefined]);
  });

  it("layouts with holes and with overlaps, to what a new directory there would have", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const dir = await session.mkdir("d");
    const good = await spread.ranges(dir);
    const bad = ["0000000000000000000000007fffffff", "00000000000000000000000000000000"];
    for (const value of bad)
      for (const child of CHILDREN) {
        await spread.brick(child).setxattr(dir, LAYOUT, Buffer.from(value, "hex"));
        await session.lookup("d");
        expect(await spread.ranges(dir)).toEqual(good);
      }
  });

  it("no sooner: but names that a client makes with an old layout have it healed, too", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const dir = await session.mkdir("d");
    const good = await spread.ranges(dir);
    const [file, directory] = [await spread.nameOn(0, "f", dir), await spread.nameOn(0, "d", dir)];
    const hole = Buffer.from("00000000000000000000000000000000", "hex");
    const made = [
      () => session.create(file, { parent: dir }),
      () => session.mkdir(directory, { parent: dir }),
    ];
    for (const make of made) {
      await spread.brick(0).setxattr(dir, LAYOUT, hole);
      await make();
      expect(await spread.ranges(dir)).toEqual(good);
    }
  });

  it("nothing while a child is away, and layouts that an administrator has set never", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const dir = await session.mkdir("d");
    const own = Buffer.from("00000000000000010000000000000fff", "hex");
    await spread.brick(0).setxattr(dir, LAYOUT, own);
    spread.wires[1]!.cut();
    await session.lookup("d");
    spread.wires[1]!.mend();
    await session.lookup("d");
    expect((await spread.xattrs(dir, LAYOUT))[0]).toBe(own.toString("hex"));
  });

  it("and is EIO where the children have different directories under one name", async () => {
    await using spread = await Spread.start();
    await spread.session.mkdir("d");
    await spread.brick(1).rmdir("d");
    await spread.brick(1).mkdir("d");
    expect(await outcome(spread.session.lookup("d"))).toBe("EIO");
  });
});

describe("rmdir", () => {
  it("is ENOTEMPTY as long as any child has something in it", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    for (const child of CHILDREN) {
      const dir = await session.mkdir(`d${child}`);
      await spread.brick(child).create("hidden", { parent: dir });
      expect(await outcome(session.rmdir(`d${child}`))).toBe("ENOTEMPTY");
      expect(await spread.shown(`d${child}`)).toEqual(["directory", "directory", "directory"]);
    }
  });

  it("takes stale linkto files along, but not those that lead to a file", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const dir = await session.mkdir("d");
    const name = await spread.nameOn(0, "f", dir);
    await spread.fileOn(2, name, "x", dir);
    expect(await outcome(session.rmdir("d"))).toBe("ENOTEMPTY");
    await spread.brick(2).unlink(name, dir);
    await session.rmdir("d");
    expect(await spread.shown("d")).toEqual([undefined, undefined, undefined]);
  });

  it("makes the directory again where it is gone when a child does not let it go", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    for (const failing of CHILDREN) {
      const name = `d${failing}`;
      await session.mkdir(name, { mode: 0o711 });
      spread.errors[failing]!.failNext("rmdir", "EIO");
      expect(await outcome(session.rmdir(name))).toBe("EIO");
      await spread.distribute.set.settled();
      expect(await spread.shown(name)).toEqual(["directory", "directory", "directory"]);
      for (const child of CHILDREN) expect((await spread.brick(child).stat(name)).mode & 0o7777).toBe(0o711);
    }
  });

  it("and mkdir of the same name by two clients at once leave it whole or gone", async () => {
    await using spread = await Spread.start();
    const { session } = spread;
    const other = await spread.second();
    for (let round = 0; round < 30; round++) {
      await Promise.all([
        outcome(session.mkdir("d")),
        outcome(other.rmdir("d")),
        outcome(other.mkdir("d")),
        outcome(session.rmdir("d")),
        outcome(session.lookup("d")),
      ]);
      const there = await session.exists("d");
      const shown = await spread.shown("d");
      expect(shown, `round ${round}`).toEqual(CHILDREN.map(() => (there ? "directory" : undefined)));
      if (there) expect([...(await spread.ranges(await session.inode("d")))].sort()).toEqual(THIRDS);
    }
    await other.end();
  });
});

describe("attributes of a directory", () => {
  it("are refused while its metadata owner is away: a heal would undo them", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(1, "d");
    const dir = await spread.session.mkdir(name);
    spread.wires[1]!.cut();
    expect(await outcome(spread.session.setattr(dir, SETATTR.MODE, { mode: 0o700 }))).toBe("ENOTCONN");
    expect(await outcome(spread.session.setxattr(dir, "user.x", "y"))).toBe("ENOTCONN");
  });

  it("times never go back, whichever child tells them", async () => {
    await using spread = await Spread.start();
    const { session, env } = spread;
    const dir = await session.mkdir("d");
    let last = 0;
    for (let count = 0; count < 12; count++) {
      await env.clock.advance(10);
      await session.create(`f${count}`, { parent: dir });
      const { stat } = await session.top.stat(session.call, { loc: { inode: dir } });
      const now = stat.mtime + stat.mtimeNsec / 1e9;
      expect(now).toBeGreaterThan(last);
      last = now;
    }
  });
});
