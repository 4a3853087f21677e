/** Blocks of features/shard: never two of one name, whatever happens to the layout under open images. */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { newGfid, parseGfid } from "../../../../src/core/gfid.ts";
import { S_IFREG } from "../../../../src/core/iatt.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { outcome } from "../../../conformance/suite.ts";
import type { Session } from "../../../support/session.ts";
import { LAYOUT, Spread } from "./spread.ts";

const DOMAIN = "dht.layout.heal";
const SHARDS = parseGfid("be318638-e8a0-4c6d-977d-7a937aa84806")!;

async function shardDirectory({ session }: Spread): Promise<Inode> {
  const loc = session.at(".shard");
  const xdata = new Dict().setGfid("gfid-req", SHARDS);
  await session.top.mkdir(session.call, { loc, mode: 0o755, umask: 0, xdata });
  return session.table.link(loc.inode, SHARDS, 0o040000);
}

/** What shard does for a block: look for it, make it when it is not there. */
async function block(session: Session, name: string, parent: Inode): Promise<string> {
  const found = await outcome(session.lookup(name, parent));
  if (found !== "ENOENT") return found;
  const xdata = new Dict().setGfid("gfid-req", newGfid());
  const loc = session.at(name, parent);
  return outcome(session.top.mknod(session.call, { loc, mode: S_IFREG | 0o600, rdev: 0, umask: 0, xdata }));
}

/**
 * Each child gets the range of the next one, as a rebalance after a change of the volume may have it: under
 * write locks on all children.
 */
async function rotate(spread: Spread, directory: Inode): Promise<void> {
  const bricks = spread.wires.map((_, child) => spread.brick(child));
  for (const brick of bricks) await brick.inodelk(directory, DOMAIN, "setlkw", "wrlck");
  const pieces = await spread.xattrs(directory, LAYOUT);
  for (const [child, brick] of bricks.entries())
    await brick.setxattr(directory, LAYOUT, Buffer.from(pieces[(child + 1) % bricks.length]!, "hex"));
  for (const brick of bricks) await brick.inodelk(directory, DOMAIN, "setlk", "unlck");
}

describe("a block", () => {
  it("is made where the layout on disk says, not where this client remembers", async () => {
    await using spread = await Spread.start();
    const shards = await shardDirectory(spread);
    const name = await spread.nameOn(0, "image.", shards);
    await rotate(spread, shards);
    expect(await block(spread.session, name, shards)).toBe("ok");
    expect(await spread.shown(name, shards)).toEqual([undefined, undefined, "data"]);
  });

  it("that another client has made since by a newer layout is EEXIST, and is found then", async () => {
    await using spread = await Spread.start();
    const shards = await shardDirectory(spread);
    const name = await spread.nameOn(0, "image.", shards);
    expect(await outcome(spread.session.lookup(name, shards))).toBe("ENOENT");
    await rotate(spread, shards);
    const other = await spread.second();
    await other.lookup(".shard");
    expect(await block(other, name, shards)).toBe("ok");
    const xdata = new Dict().setGfid("gfid-req", newGfid());
    const { top, call } = spread.session;
    const loc = spread.session.at(name, shards);
    expect(await outcome(top.mknod(call, { loc, mode: S_IFREG, rdev: 0, umask: 0, xdata }))).toBe("EEXIST");
    expect((await spread.shown(name, shards)).filter((one) => one === "data")).toHaveLength(1);
    expect(await outcome(spread.session.lookup(name, shards))).toBe("ok");
    await other.end();
  });

  it.each([
    ["a hole", "0000000000000000000000000000ffff"],
    ["an overlap", "000000000000000000000000ffffffff"],
    ["no piece", undefined],
  ])("is made although the layout got %s under open images: it is healed first", async (_what, piece) => {
    await using spread = await Spread.start();
    const shards = await shardDirectory(spread);
    const whole = await spread.ranges(shards);
    const names = await Promise.all([0, 1, 2].map((child) => spread.nameOn(child, "image.", shards)));
    for (const child of [0, 1, 2]) {
      const brick = spread.brick(child);
      const { top, call } = brick;
      if (piece === undefined) await top.removexattr(call, { loc: { inode: shards }, name: LAYOUT });
      else await brick.setxattr(shards, LAYOUT, Buffer.from(piece, "hex"));
      expect(await block(spread.session, names[child]!, shards)).toBe("ok");
      expect((await spread.shown(names[child]!, shards)).indexOf("data")).toBe(child);
      expect(await spread.ranges(shards)).toEqual(whole);
    }
  });

  it("of two clients at work while the layout changes is there once", async () => {
    await using spread = await Spread.start();
    const shards = await shardDirectory(spread);
    const other = await spread.second();
    await other.lookup(".shard");
    for (let round = 0; round < 40; round++) {
      const name = `image.${round}`;
      const change = round % 4 === 0 ? rotate(spread, shards) : Promise.resolve();
      const got = await Promise.all([
        block(spread.session, name, shards),
        block(other, name, shards),
        change,
      ]);
      expect(["ok", "EEXIST"], name).toContain(got[0]);
      expect(["ok", "EEXIST"], name).toContain(got[1]);
      const shown = await spread.shown(name, shards);
      expect(
        shown.filter((one) => one === "data"),
        `${name}: ${shown.join()}`,
      ).toHaveLength(1);
    }
    await other.end();
  });
});
