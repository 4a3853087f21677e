/** Heals that a client's own lookups cause (spec translators.md 4.2). */

import { describe, expect, it } from "vitest";
import { Deferred } from "../../../../src/core/concurrency.ts";
import { gfidText } from "../../../../src/core/gfid.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { BackgroundHeals, type Heal } from "../../../../xlators/cluster/replicate/heal/background.ts";
import type { HealReport } from "../../../../xlators/cluster/replicate/heal/report.ts";
import { askCopies } from "../../../../xlators/cluster/replicate/inode-state.ts";
import { expectHealed, runClock, setOf, startCopies } from "./heal-rig.ts";
import type { Copies } from "./three-copies.ts";

const ALL_ON = { "data-self-heal": "on", "metadata-self-heal": "on", "entry-self-heal": "on" };
const HEALED: HealReport = { outcome: "healed", slots: {}, bytesMoved: 0, bytesTotal: 0 };

async function damaged(copies: Copies, name: string): Promise<Inode> {
  const inode = await copies.file(name, "good content");
  await copies.scribble(2, inode, "stale");
  for (const index of [0, 1]) await copies.mark(index, inode, 2, [1, 1, 0]);
  return inode;
}

async function noticeOf(copies: Copies, heals: BackgroundHeals, inode: Inode): Promise<void> {
  heals.notice(inode.gfid, await askCopies(setOf(copies), setOf(copies).up, inode));
}

async function settled(copies: Copies, heals: BackgroundHeals): Promise<void> {
  for (let step = 0; step < 1000 && heals.runningCount > 0; step++) await copies.env.clock.advance(1);
}

describe("heal on access", () => {
  it("heals what a lookup shows to be damaged", async () => {
    await using copies = await startCopies({ options: ALL_ON });
    const inode = await damaged(copies, "f");
    await copies.session.lookup("f");
    for (let step = 0; step < 300; step++) await copies.env.clock.advance(1);
    await expectHealed(copies, inode, "good content");
  });

  it("is off by default", async () => {
    await using copies = await startCopies();
    const inode = await damaged(copies, "f");
    await copies.session.lookup("f");
    await copies.env.clock.advance(300);
    expect(await copies.marks(0, inode)).toEqual({ "2": [1, 1, 0] });
  });

  it("heals only the slots that are switched on", async () => {
    await using copies = await startCopies({ options: { "metadata-self-heal": "on" } });
    const inode = await damaged(copies, "f");
    const heals = new BackgroundHeals(setOf(copies));
    await noticeOf(copies, heals, inode);
    await settled(copies, heals);
    expect(await copies.marks(0, inode)).toEqual({ "2": [1, 0, 0] });
  });

  it("tells of every object that it has worked on", async () => {
    await using copies = await startCopies({ options: ALL_ON });
    const inode = await damaged(copies, "f");
    const heals = new BackgroundHeals(setOf(copies));
    const told: string[] = [];
    heals.healed = (gfid) => told.push(gfidText(gfid));
    await noticeOf(copies, heals, inode);
    await settled(copies, heals);
    expect(told).toEqual([gfidText(inode.gfid)]);
  });

  it("runs so many at a time, keeps so many waiting, and drops the rest", async () => {
    const options = { ...ALL_ON, "background-self-heal-count": "2", "heal-wait-queue-length": "3" };
    await using copies = await startCopies({ options });
    const gates: Deferred<HealReport>[] = [];
    const heal: Heal = () => {
      const gate = new Deferred<HealReport>();
      gates.push(gate);
      return gate.promise;
    };
    const heals = new BackgroundHeals(setOf(copies), heal);
    const inodes: Inode[] = [];
    for (let i = 0; i < 7; i++) {
      const inode = await copies.file(`f${i}`, "x");
      for (const index of [0, 1]) await copies.mark(index, inode, 2, [1, 0, 0]);
      inodes.push(inode);
    }
    for (const inode of [...inodes, ...inodes]) await noticeOf(copies, heals, inode);
    expect([heals.runningCount, heals.waitingCount]).toEqual([2, 3]);
    while (heals.runningCount > 0) {
      gates.shift()!.resolve(HEALED);
      await copies.env.clock.advance(0);
    }
    expect(gates).toEqual([]);
    expect(heals.waitingCount).toBe(0);
  });

  it("begins nothing while a copy is down, with a count of 0, and once stopped", async () => {
    await using copies = await startCopies({ options: { ...ALL_ON, "background-self-heal-count": "0" } });
    const inode = await damaged(copies, "f");
    const set = setOf(copies);
    const heals = new BackgroundHeals(set);
    await noticeOf(copies, heals, inode);
    expect(heals.runningCount).toBe(0);
    set.options = { ...set.options, "background-self-heal-count": 4 };
    copies.wires[1]!.cut();
    await noticeOf(copies, heals, inode);
    expect(heals.runningCount).toBe(0);
    copies.wires[1]!.mend();
    await heals.stop();
    await noticeOf(copies, heals, inode);
    expect(heals.runningCount).toBe(0);
  });

  it("ends the heals that run when it is stopped", async () => {
    await using copies = await startCopies({ options: ALL_ON });
    const inode = await damaged(copies, "f");
    const heals = new BackgroundHeals(setOf(copies));
    await noticeOf(copies, heals, inode);
    expect(heals.runningCount).toBe(1);
    await runClock(copies, heals.stop());
    expect(heals.runningCount).toBe(0);
  });
});
