/** What a client knows of copies, and when it asks again (spec translators.md 4.5). */

import { describe, expect, it } from "vitest";
import { Inode } from "../../../../src/core/inode.ts";
import { InodeStates } from "../../../../xlators/cluster/replicate/inode-state.ts";
import type { Replicate } from "../../../../xlators/cluster/replicate/replicate.ts";
import { settle } from "../../../support/fake-env.ts";
import { Copies } from "./three-copies.ts";

function statesOf(copies: Copies): InodeStates {
  return new InodeStates(copies.graph.xlator<Replicate>("v-replicate-0").set);
}

function lookups(copies: Copies): number[] {
  return copies.wires.map((wire) => wire.count("lookup"));
}

describe("states of inodes", () => {
  it("are asked for once, for all who wait", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    const states = statesOf(copies);
    copies.clearCalls();
    await Promise.all([1, 2, 3].map(() => states.ensureFresh(copies.session.call, inode)));
    await states.ensureFresh(copies.session.call, inode);
    expect(lookups(copies)).toEqual([1, 1, 1]);
    expect(states.peek(inode)).toMatchObject({
      readableData: 0b111,
      readableMetadata: 0b111,
      answered: 0b111,
    });
  });

  it("are stale when a copy comes or goes", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    const states = statesOf(copies);
    await states.ensureFresh(copies.session.call, inode);
    expect(states.isFresh(inode)).toBe(true);
    copies.wires[1]!.cut();
    expect(states.isFresh(inode)).toBe(false);
    expect(await states.ensureFresh(copies.session.call, inode)).toMatchObject({ readableData: 0b101 });
    copies.wires[1]!.mend();
    expect(states.isFresh(inode)).toBe(false);
  });

  it("are one for all objects of the same gfid", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    const states = statesOf(copies);
    await states.ensureFresh(copies.session.call, inode);
    const twin = new Inode(inode.gfid, inode.type);
    states.markBad(inode, 1, "data");
    expect(states.peek(twin)).toMatchObject({ readableData: 0b101, readableMetadata: 0b111 });
  });

  it("keep a bad copy bad, whatever bricks say, until its mark is on disk", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    const states = statesOf(copies);
    await states.ensureFresh(copies.session.call, inode);
    states.markBad(inode, 0, "data");
    copies.wires[2]!.cut();
    copies.wires[2]!.mend();
    expect(await states.ensureFresh(copies.session.call, inode)).toMatchObject({ readableData: 0b110 });
    states.expire(inode);
    expect(await states.ensureFresh(copies.session.call, inode)).toMatchObject({ readableData: 0b110 });
    states.invalidate(inode);
    expect(await states.ensureFresh(copies.session.call, inode)).toMatchObject({ readableData: 0b111 });
  });

  it("do not believe answers that were given before a copy failed", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    const states = statesOf(copies);
    copies.clearCalls();
    const holds = copies.delays.map((delay) => delay.hold("lookup", "reply"));
    const asking = states.ensureFresh(copies.session.call, inode);
    await settle();
    // The answers are on their way; meanwhile something failed, and its mark was written.
    await copies.mark(0, inode, 1, [1, 0, 0]);
    states.invalidate(inode);
    for (const [index, hold] of holds.entries()) copies.delays[index]!.unhold(hold);
    expect(await asking).toMatchObject({ readableData: 0b101 });
    expect(lookups(copies).every((count) => count === 2)).toBe(true);
  });

  it("without a good copy are asked for each time", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    for (const index of [0, 1, 2]) await copies.mark(index, inode, (index + 1) % 3, [1, 0, 0]);
    const states = statesOf(copies);
    copies.clearCalls();
    for (let round = 0; round < 3; round++) {
      expect(await states.ensureFresh(copies.session.call, inode)).toMatchObject({ readableData: 0 });
      expect(states.isFresh(inode)).toBe(false);
    }
    expect(lookups(copies)).toEqual([3, 3, 3]);
  });

  it("are not learned from less than a quorum", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    const states = statesOf(copies);
    for (const index of [0, 1]) copies.errors[index]!.failNext("lookup", "EIO");
    await expect(states.ensureFresh(copies.session.call, inode)).rejects.toMatchObject({ code: "EIO" });
    expect(await states.ensureFresh(copies.session.call, inode)).toMatchObject({ readableData: 0b111 });
  });

  it("know of files without a name by their open fd", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const inode = await copies.file("f");
    const fd = await session.open(inode);
    await session.unlink("f");
    copies.wires[2]!.cut();
    copies.wires[2]!.mend();
    const states = statesOf(copies);
    const state = await states.ensureFresh(session.call, inode, fd);
    expect(state.readableData & 0b011).toBe(0b011);
    expect(await session.text(fd)).toBe("content");
  });
});
