/** Full children: where new files go, and what happens to a file whose child has no room left. */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { newGfid } from "../../../../src/core/gfid.ts";
import { S_IFREG } from "../../../../src/core/iatt.ts";
import { summed } from "../../../../xlators/cluster/distribute/statfs.ts";
import { outcome } from "../../../conformance/suite.ts";
import { Spread } from "./spread.ts";

const MEGABYTE = 2 ** 20;

async function fill(spread: Spread, child: number, bytes: number): Promise<void> {
  const brick = spread.brick(child);
  const fd = await brick.create("ballast");
  await brick.write(fd, Buffer.alloc(bytes, 1));
  await brick.release(fd);
  // What is known of free space is up to a second old.
  await spread.env.clock.advance(1001);
  await spread.session.exists("x");
  await outcome(spread.session.create(await spread.nameOn(2, "renew")));
  await spread.distribute.set.settled();
}

describe("a child beyond min-free-disk", () => {
  it("DHT-05: gets a linkto file only, and the data goes where there is most room", async () => {
    await using spread = await Spread.start({
      options: { "min-free-disk": "40%" },
      capacities: [MEGABYTE, 2 * MEGABYTE, 4 * MEGABYTE],
    });
    const name = await spread.nameOn(0, "new");
    await fill(spread, 0, (MEGABYTE * 6) / 10 + 8192);
    await fill2(spread);
    const fd = await spread.session.create(name);
    await spread.session.write(fd, "data");
    expect(await spread.shown(name)).toEqual(["link to 1", "data", undefined]);
    const node = await spread.nameOn(0, "node");
    await spread.session.mknod(node, S_IFREG | 0o600);
    expect(await spread.shown(node)).toEqual(["link to 1", "data", undefined]);
    const other = await spread.second();
    expect(await other.text(await other.open(await other.inode(name)))).toBe("data");
    await other.end();
  });

  it("DHT-05: a name with the placement suffix obeys it, and loses it", async () => {
    await using spread = await Spread.start();
    const name = await spread.nameOn(0, "placed");
    await spread.fileOn(2, name, "x");
    expect(await spread.shown(name)).toEqual(["link to 2", undefined, "data"]);
    expect(await spread.session.list()).toEqual([name]);
    const suffixed = `${name}@v-dht:${spread.distribute.set.names[2]}`;
    expect((await spread.session.stat(suffixed)).size).toBe(1);
  });

  it("keeps what is there already, and no new directory counts on it", async () => {
    await using spread = await Spread.start({
      options: { "min-free-disk": "50%", "weighted-rebalance": "off" },
      capacities: [MEGABYTE, MEGABYTE, MEGABYTE],
    });
    const name = await spread.nameOn(0, "old");
    const fd = await spread.session.create(name);
    await fill(spread, 0, (MEGABYTE * 6) / 10);
    await spread.session.write(fd, "still here");
    expect(await spread.shown(name)).toEqual(["data", undefined, undefined]);
    const dir = await spread.session.mkdir("d");
    expect(spread.distribute.set.states.of(dir).layout!.pieces[0]!.stop).toBe(0);
    expect(await spread.shown("d")).toEqual(["directory", "directory", "directory"]);
  });
});

/** Some on the last one too, so that the middle one has most room. */
async function fill2(spread: Spread): Promise<void> {
  const brick = spread.brick(2);
  const fd = await brick.create("ballast");
  await brick.write(fd, Buffer.alloc(2 * MEGABYTE, 1));
  await brick.release(fd);
  await spread.env.clock.advance(1001);
  await outcome(spread.session.create(await spread.nameOn(1, "renew")));
  await spread.distribute.set.settled();
}

describe("a child without any room", () => {
  it("fails a write in mid-image with ENOSPC and keeps what was written; others go on", async () => {
    await using spread = await Spread.start({ capacities: [MEGABYTE, MEGABYTE, MEGABYTE] });
    const { session } = spread;
    const image = await session.create(await spread.nameOn(0, "image"));
    const block = Buffer.alloc(65536, 7);
    let written = 0;
    let end = "ok";
    while (end === "ok") {
      end = await outcome(session.write(image, block, written));
      if (end === "ok") written += block.length;
    }
    expect(end).toBe("ENOSPC");
    expect(written).toBeGreaterThan(MEGABYTE / 2);
    expect(await session.size(image)).toBe(written);
    expect((await session.read(image, written - 10, 10)).equals(block.subarray(0, 10))).toBe(true);
    const shard = await session.create(await spread.nameOn(1, "shard"));
    expect(await outcome(session.write(shard, block))).toBe("ok");
  });

  it("a file that cannot be made leaves no linkto file behind", async () => {
    await using spread = await Spread.start({
      options: { "min-free-disk": "90%", "weighted-rebalance": "off" },
      capacities: [MEGABYTE],
    });
    const name = await spread.nameOn(0, "new");
    await fill(spread, 0, MEGABYTE / 2);
    for (const error of spread.errors.slice(1)) error.failNext("create", "EDQUOT");
    expect(await outcome(spread.session.create(name))).toBe("EDQUOT");
    expect(await spread.shown(name)).toEqual([undefined, undefined, undefined]);
  });

  it("two clients that make one name at once get one file, wherever each would put it", async () => {
    await using spread = await Spread.start({
      options: { "min-free-disk": "90%", "weighted-rebalance": "off" },
      capacities: [MEGABYTE],
    });
    await fill(spread, 0, MEGABYTE / 2);
    // The other client knows nothing of free space yet and tries the name's own child.
    const other = await spread.second({ "min-free-disk": "0%" });
    for (let round = 0; round < 20; round++) {
      const name = await spread.nameOn(0, `round${round}-`);
      const made = [session(spread), other].map((one) =>
        one.top
          .mknod(one.call, {
            loc: one.at(name),
            mode: S_IFREG | 0o600,
            rdev: 0,
            umask: 0,
            xdata: new Dict().setGfid("gfid-req", newGfid()),
          })
          .then(
            () => "ok",
            (error: { code: string }) => error.code,
          ),
      );
      const got = await Promise.all(made);
      expect(
        got.filter((one) => one === "ok"),
        name,
      ).toHaveLength(1);
      const shown = await spread.shown(name);
      expect(
        shown.filter((one) => one === "data"),
        `${name}: ${shown.join()}`,
      ).toHaveLength(1);
    }
    await other.end();
  });
});

function session(spread: Spread) {
  return spread.session;
}

describe("statfs", () => {
  it("is the sum, in the largest block size", () => {
    const part = {
      bsize: 4096,
      frsize: 4096,
      blocks: 100,
      bfree: 50,
      bavail: 40,
      files: 10,
      ffree: 5,
      favail: 5,
    };
    const rest = { fsid: 1, flag: 0, namemax: 255 };
    const small = { ...part, frsize: 512, bsize: 512, blocks: 800 };
    expect(
      summed([
        { ...part, ...rest },
        { ...small, ...rest },
      ]),
    ).toMatchObject({
      bsize: 4096,
      frsize: 4096,
      blocks: 200,
      bfree: 56,
      files: 20,
    });
  });

  it("leaves out children that are away", async () => {
    await using spread = await Spread.start({ capacities: [MEGABYTE, MEGABYTE, MEGABYTE] });
    const { top, call, root } = spread.session;
    const all = await top.statfs(call, { loc: { inode: root } });
    spread.wires[1]!.cut();
    const some = await top.statfs(call, { loc: { inode: root } });
    expect([all.statfs.blocks, some.statfs.blocks]).toEqual([768, 512]);
  });
});
