/** `mortar heal` at work on bricks in memory: what is told, and what another healer means. */

import { describe, expect, it } from "vitest";
import { ObjectNames } from "../../src/cli/heal-names.ts";
import { describeObject, describeTotals, type HealedObject, HealRun } from "../../src/cli/heal-run.ts";
import { gfidText } from "../../src/core/gfid.ts";
import type { Inode } from "../../src/core/inode.ts";
import type { OpenSet } from "../../src/process/replicas.ts";
import type { Replicate } from "../../xlators/cluster/replicate/replicate.ts";
import { until } from "../support/wait.ts";
import { Copies } from "../xlators/cluster/replicate/three-copies.ts";

function setsOf(copies: Copies): OpenSet[] {
  const { set } = copies.graph.xlator<Replicate>("v-replicate-0");
  return [{ graph: copies.graph.graph, set, bricks: ["host:/b0", "host:/b1", "host:/b2"] }];
}

/** A file of which copy 2 missed a write. */
async function behind(copies: Copies, name: string): Promise<Inode> {
  const inode = await copies.file(name, "new");
  await copies.scribble(2, inode, "old");
  for (const index of [0, 1]) await copies.mark(index, inode, 2, [1, 0, 0]);
  return inode;
}

/** Takes or gives back, as another process, the lock of a file's healer: on most of the bricks. */
async function healLock(copies: Copies, inode: Inode, type: "wrlck" | "unlck"): Promise<void> {
  for (const index of [0, 1]) {
    const brick = copies.brick(index).as({ owner: "another healer" });
    const lkOwner = brick.call.lkOwner;
    const flock = { type, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner };
    const args = { loc: { inode }, volume: "v-replicate-0:self-heal", cmd: "setlk", flock } as const;
    await brick.top.inodelk(brick.call, args);
  }
}

describe("healing what the indices list", () => {
  it("tells of each object once, and adds up", async () => {
    await using copies = await Copies.start();
    for (const name of ["a", "b"]) await behind(copies, name);
    const told: string[] = [];
    const run = new HealRun(setsOf(copies), (object) => told.push(describeObject(object)));
    await run.index();
    expect(told).toEqual([
      expect.stringMatching(/: healed, 3 B moved$/),
      expect.stringMatching(/: healed, 3 B moved$/),
    ]);
    expect(describeTotals(run.objects)).toBe("2 healed, 0 in split brain, 0 not healed; 6 B moved");
    expect(run.progress).toMatchObject({ objectsDone: 2, objectsTotal: 2, names: [] });
    const again = new HealRun(setsOf(copies));
    await again.index();
    expect(describeTotals(again.objects)).toBe("nothing to heal");
  });

  it("tells at the end what could not be healed", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("torn", "new");
    for (const index of [0, 1, 2]) {
      await copies.scribble(index, inode, `of ${index}`);
      for (const other of [0, 1, 2]) if (other !== index) await copies.mark(index, inode, other, [1, 0, 0]);
    }
    await behind(copies, "a");
    const told: string[] = [];
    const run = new HealRun(setsOf(copies), (object) => told.push(describeObject(object)));
    await run.index();
    expect(told).toEqual(["/a: healed, 3 B moved", expect.stringMatching(/^\/torn: in split brain/)]);
  });

  it("names the bricks that are away", async () => {
    await using copies = await Copies.start();
    const run = new HealRun(setsOf(copies));
    copies.wires[1]!.cut();
    await expect(run.index()).rejects.toThrow(/^heal: brick "host:\/b1" is not connected: a heal needs all/);
    copies.wires[2]!.cut();
    await expect(run.full(() => {})).rejects.toThrow(/^heal: bricks "host:\/b1", "host:\/b2" are not /);
  });

  it("waits for what another process heals", async () => {
    await using copies = await Copies.start();
    const inode = await behind(copies, "a");
    await healLock(copies, inode, "wrlck");
    const told: HealedObject[] = [];
    const run = new HealRun(setsOf(copies), (object) => told.push(object));
    const running = run.index();
    await until("the heal met the other", () => run.objects.length > 0);
    expect(run.objects).toMatchObject([{ outcome: "busy" }]);
    await healLock(copies, inode, "unlck");
    await running;
    expect(told).toMatchObject([{ outcome: "busy" }, { outcome: "healed" }]);
    expect(run.objects).toMatchObject([{ outcome: "healed" }]);
  });
});

describe("the name of a block", () => {
  it("is that of its image, where a brick knows it", async () => {
    await using copies = await Copies.start();
    const image = await copies.file("vm1.raw", "new");
    const sets = setsOf(copies);
    const names = new ObjectNames(sets);
    const block = `/.shard/${gfidText(image.gfid)}.3`;
    const unknown = "/.shard/11111111-2222-3333-4444-555555555555.1";
    const shown = (path: string | undefined): string => names.of(path, image.gfid);
    expect(shown(block)).toBe(block);
    await names.learn([block, unknown, undefined, "/vm2.raw"]);
    expect(shown(block)).toBe("/vm1.raw (block 3)");
    expect(names.blockOf(block)).toEqual({ image: "/vm1.raw", block: 3 });
    expect([unknown, "/vm2.raw", undefined].map((path) => names.blockOf(path))).toEqual(
      Array(3).fill(undefined),
    );
    expect(shown(unknown)).toBe(unknown);
    expect(shown("/vm2.raw")).toBe("/vm2.raw");
    expect(shown(undefined)).toBe(`<gfid:${gfidText(image.gfid)}>`);
  });
});
