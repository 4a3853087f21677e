/** Data heal on three bricks in memory (spec translators.md 4.9; scenarios HEAL, ARB, EAG-02). */

import { describe, expect, it } from "vitest";
import type { Args } from "../../../../src/core/fops.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { healInode } from "../../../../xlators/cluster/replicate/heal/heal.ts";
import type { HealProgress } from "../../../../xlators/cluster/replicate/heal/report.ts";
import {
  bytesOn,
  expectHealed,
  expectUnlocked,
  expectUnmarked,
  heal,
  noise,
  runClock,
  setOf,
  startCopies,
} from "./heal-rig.ts";
import type { Copies, Hex } from "./three-copies.ts";

const DATA: Hex = [1, 0, 0];
const PIECE = 128 * 1024;

/** A file of which `bad` copies hold something else, and the others say so. */
async function damaged(copies: Copies, bad: readonly number[], good: Buffer): Promise<Inode> {
  const inode = await copies.file("f", "");
  for (const index of copies.wires.keys()) {
    const isBad = bad.includes(index);
    const content = isBad ? `stale ${index}` : good;
    const brick = copies.brick(index);
    const fd = await brick.open(inode);
    await brick.write(fd, content);
    await brick.release(fd);
    if (!isBad) for (const blamed of bad) await copies.mark(index, inode, blamed, DATA);
  }
  return inode;
}

describe("data heal", () => {
  it.each([[[0]], [[1]], [[2]], [[0, 1]], [[0, 2]], [[1, 2]]])(
    "makes copies %j like the good ones",
    async (bad) => {
      await using copies = await startCopies();
      const good = noise(1, 3 * PIECE + 17);
      const inode = await damaged(copies, bad, good);
      const report = await heal(copies, inode);
      expect(report).toMatchObject({ outcome: "healed", slots: { data: { outcome: "healed" } } });
      expect(report.bytesMoved).toBe(bad.length * good.length);
      await expectHealed(copies, inode, good);
      await expectUnlocked(copies, inode);
      expect((await heal(copies, inode)).outcome).toBe("not-needed");
    },
  );

  it.each(["full", "diff", "dynamic"])("cuts, grows and overwrites with algorithm %s", async (algorithm) => {
    await using copies = await startCopies({ options: { "data-self-heal-algorithm": algorithm } });
    const good = noise(2, 2 * PIECE);
    const inode = await damaged(copies, [1, 2], good);
    await copies.scribble(1, inode, noise(3, 3 * PIECE).toString("latin1"));
    await copies.scribble(2, inode, "");
    await heal(copies, inode);
    await expectHealed(copies, inode, good);
  });

  it("moves only what differs with diff", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-algorithm": "diff" } });
    const good = noise(4, 16 * PIECE);
    const stale = Buffer.from(good);
    noise(5, 100).copy(stale, 5 * PIECE + 1000);
    const inode = await damaged(copies, [2], good);
    const brick = copies.brick(2);
    const fd = await brick.open(inode);
    await brick.write(fd, stale);
    await brick.release(fd);
    const report = await heal(copies, inode);
    expect(report).toMatchObject({ outcome: "healed", bytesMoved: PIECE, bytesTotal: 16 * PIECE });
    await expectHealed(copies, inode, good);
  });

  it("tells how far it is", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-window-size": "1" } });
    const inode = await damaged(copies, [2], noise(6, 3 * PIECE));
    const seen: HealProgress[] = [];
    await heal(copies, inode, { onProgress: (progress) => seen.push(progress) });
    expect(seen.map(({ done }) => done)).toEqual([0, PIECE, 2 * PIECE, 3 * PIECE]);
    expect(seen.at(-1)).toEqual({ done: 3 * PIECE, total: 3 * PIECE, moved: 3 * PIECE });
  });

  it("restores the times of the source", async () => {
    await using copies = await startCopies();
    const inode = await damaged(copies, [0], noise(7, 100));
    await copies.env.clock.advance(60_000);
    await heal(copies, inode);
    const stats = await Promise.all([0, 1, 2].map((index) => copies.brick(index).statInode(inode)));
    expect(new Set(stats.map(({ mtime }) => mtime)).size).toBe(1);
  });

  it("syncs the sinks before their marks go", async () => {
    await using copies = await startCopies();
    const inode = await damaged(copies, [2], noise(8, 100));
    copies.clearCalls();
    await heal(copies, inode);
    const fops = copies.wires[2]!.calls.map(({ fop }) => fop);
    expect(fops.indexOf("fsync")).toBeGreaterThan(fops.lastIndexOf("writev"));
    expect(fops.indexOf("xattrop")).toBeGreaterThan(fops.indexOf("fsync"));
  });

  it("picks the largest of copies that a crash left dirty, and blames what it could not heal", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f", "");
    for (const [index, content] of ["a", "bbb", "cc"].entries()) {
      await copies.scribble(index, inode, content);
      await copies.mark(index, inode, "dirty", DATA);
    }
    copies.errors[0]!.failNext("writev", "EIO");
    expect((await heal(copies, inode)).outcome).toBe("partial");
    expect(await copies.marks(1, inode)).toEqual({ "0": [1, 0, 0] });
    expect(await copies.marks(0, inode)).toEqual({ dirty: DATA });
    expect((await heal(copies, inode)).outcome).toBe("healed");
    await expectHealed(copies, inode, "bbb");
  });

  it("keeps to its direction when it ends half-way with copies that only differ in size", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f", "longer");
    await copies.scribble(2, inode, "short");
    const stop = new AbortController();
    await heal(copies, inode, { signal: stop.signal, onProgress: () => stop.abort() });
    expect((await copies.brick(2).statInode(inode)).size).toBe(6);
    const marked = await Promise.all([0, 1, 2].map((index) => copies.marks(index, inode)));
    expect(marked.filter(({ dirty }) => dirty !== undefined)).toEqual([{ dirty: DATA }]);
    expect((await heal(copies, inode)).outcome).toBe("healed");
    await expectHealed(copies, inode, "longer");
  });

  it("does nothing when a copy is down, and says which", async () => {
    await using copies = await startCopies();
    const inode = await damaged(copies, [2], noise(9, 100));
    copies.wires[1]!.cut();
    const report = await heal(copies, inode);
    expect(report.outcome).toBe("unavailable");
    expect(report.why).toContain("v-client-1");
    expect(await copies.marks(0, inode)).toEqual({ "2": DATA });
  });

  it("leaves a file alone that somebody else heals", async () => {
    await using copies = await startCopies();
    const inode = await damaged(copies, [2], noise(10, 100));
    const other = copies.brick(0);
    const volume = `${setOf(copies).name}:self-heal`;
    const flock = {
      type: "wrlck",
      whence: 0,
      start: 0n,
      len: 0n,
      pid: 0,
      lkOwner: other.call.lkOwner,
    } as const;
    for (const index of [0, 1])
      await copies.brick(index).top.inodelk(other.call, { loc: { inode }, volume, cmd: "setlk", flock });
    expect((await heal(copies, inode)).outcome).toBe("busy");
    expect(await copies.marks(0, inode)).toEqual({ "2": DATA });
  });

  it("knows a file that is gone", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    await copies.session.unlink("f");
    expect((await heal(copies, inode)).outcome).toBe("gone");
  });
});

describe("data heal interrupted", () => {
  it.each(["writev", "ftruncate", "fsync", "setattr", "xattrop"] as const)(
    "is finished by the next heal when the sink fails a %s",
    async (fop) => {
      await using copies = await startCopies();
      const good = noise(11, 2 * PIECE);
      const inode = await damaged(copies, [0], good);
      copies.errors[0]!.failNext(fop, "EIO");
      const first = await heal(copies, inode);
      if (fop === "setattr") expect(first.outcome).toBe("healed");
      else expect(await copies.marks(1, inode)).toHaveProperty("0");
      await heal(copies, inode);
      await expectHealed(copies, inode, good);
    },
  );

  it.each(["readv", "xattrop", "lookup", "inodelk"] as const)(
    "is finished by the next heal when the source fails a %s",
    async (fop) => {
      await using copies = await startCopies();
      const good = noise(12, 2 * PIECE);
      const inode = await damaged(copies, [1, 2], good);
      copies.errors[0]!.failNext(fop, "EIO");
      expect(["failed", "unavailable"]).toContain((await heal(copies, inode)).outcome);
      expect(await copies.marks(0, inode)).toMatchObject({ "1": DATA, "2": DATA });
      await heal(copies, inode);
      await expectHealed(copies, inode, good);
    },
  );

  it("heals the other sink when one fails, and goes on blaming that one", async () => {
    await using copies = await startCopies();
    const good = noise(13, PIECE);
    const inode = await damaged(copies, [1, 2], good);
    copies.errors[2]!.failNext("writev", "ENOSPC");
    const report = await heal(copies, inode);
    expect(report).toMatchObject({ outcome: "partial", slots: { data: { sinks: 0b110, healed: 0b010 } } });
    expect(await copies.marks(0, inode)).toEqual({ "2": [2, 0, 0] });
    expect(await copies.marks(1, inode)).toEqual({ "2": DATA });
    await heal(copies, inode);
    await expectHealed(copies, inode, good);
  });

  it.each([0, 2])("stops when brick %i goes away half-way, and is finished later", async (index) => {
    await using copies = await startCopies({ options: { "data-self-heal-window-size": "1" } });
    const good = noise(14, 4 * PIECE);
    const inode = await damaged(copies, [2], good);
    let windows = 0;
    const report = await heal(copies, inode, {
      onProgress: () => {
        if (++windows === 3) copies.wires[index]!.cut();
      },
    });
    expect(report.outcome).toBe("unavailable");
    expect(await copies.marks(1, inode)).toEqual({ "2": DATA });
    copies.wires[index]!.mend();
    expect((await heal(copies, inode)).outcome).toBe("healed");
    await expectHealed(copies, inode, good);
    await expectUnlocked(copies, inode);
  });

  it("trusts no sink that was away for a moment", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-window-size": "1" } });
    const inode = await damaged(copies, [2], noise(15, 4 * PIECE));
    let windows = 0;
    const report = await heal(copies, inode, {
      onProgress: () => {
        if (++windows !== 3) return;
        copies.wires[2]!.cut();
        copies.wires[2]!.mend();
      },
    });
    expect(report.outcome).toBe("unavailable");
    expect(await copies.marks(0, inode)).toEqual({ "2": DATA });
  });

  it("stops when it is told to", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-window-size": "1" } });
    const good = noise(16, 16 * PIECE);
    const inode = await damaged(copies, [2], good);
    const stop = new AbortController();
    const report = await heal(copies, inode, {
      signal: stop.signal,
      onProgress: ({ done }) => {
        if (done === PIECE) stop.abort();
      },
    });
    expect(report.outcome).toBe("failed");
    // The first window has ended, and three may have been at work beside it.
    expect(report.bytesMoved).toBeLessThanOrEqual(4 * PIECE);
    await expectUnlocked(copies, inode);
    expect(await copies.marks(0, inode)).toEqual({ "2": DATA });
  });
});

/** Of each lock of a window that copy 2 granted, how many windows were locked there then, itself included. */
function windowsHeld(copies: Copies): number[] {
  const held = new Set<bigint>();
  const counts: number[] = [];
  for (const { fop, args } of copies.wires[2]!.calls) {
    if (fop !== "inodelk") continue;
    const { volume, flock } = args as Args<"inodelk">;
    if (volume !== setOf(copies).name || flock.len === 0n) continue;
    if (flock.type === "unlck") held.delete(flock.start);
    else counts.push(held.add(flock.start).size);
  }
  return counts;
}

/** Takes and gives back a lock of all of a file as a guest's client does, waiting for it. */
function wholeLock(copies: Copies, { top, call }: ReturnType<Copies["brick"]>) {
  const { name: volume } = setOf(copies);
  return (inode: Inode, type: "wrlck" | "unlck"): Promise<unknown> => {
    const flock = { type, whence: 0, start: 0n, len: 0n, pid: 0, lkOwner: call.lkOwner } as const;
    return top.inodelk(call, { loc: { inode }, volume, cmd: "setlkw", flock });
  };
}

describe("data heal beside guests", () => {
  it("lets them write everywhere, and keeps every write", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-window-size": "1" } });
    const good = noise(17, 8 * PIECE);
    const inode = await damaged(copies, [2], good);
    const fd = await copies.session.open(inode);
    const writes: Promise<unknown>[] = [];
    const report = await heal(copies, inode, {
      onProgress: ({ done }) => {
        // Behind the heal, at its front and ahead of it.
        for (const at of [0, done - 500, done + PIECE]) {
          const offset = Math.min(Math.max(0, at), 8 * PIECE - 1000);
          const data = noise(done + offset, 1000);
          data.copy(good, offset);
          writes.push(copies.session.write(fd, data, offset));
        }
      },
    });
    await runClock(copies, Promise.all(writes));
    expect(report.outcome).toBe("healed");
    await runClock(copies, copies.session.close(fd));
    await expectHealed(copies, inode, good);
  });

  it("keeps the mark of a write that the sink missed meanwhile", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-window-size": "1" } });
    const good = noise(18, 4 * PIECE);
    const inode = await damaged(copies, [2], good);
    const fd = await copies.session.open(inode);
    let writing: Promise<unknown> | undefined;
    await heal(copies, inode, {
      onProgress: ({ done }) => {
        if (done !== 2 * PIECE) return;
        const data = noise(99, 1000);
        data.copy(good, 0);
        const stop = copies.errors[2]!.failWhere((fop, _call, args) => {
          if (fop !== "writev" || (args as Args<"writev">).offset !== 0) return undefined;
          stop();
          return "EIO";
        });
        writing = copies.session.write(fd, data, 0);
      },
    });
    await runClock(copies, writing!);
    await runClock(copies, copies.session.close(fd));
    expect(await copies.marks(0, inode)).toHaveProperty("2");
    await heal(copies, inode);
    await expectHealed(copies, inode, good);
  });

  it("stops copying from a source that fails a guest's write", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-window-size": "1" } });
    const good = noise(19, 4 * PIECE);
    const inode = await damaged(copies, [2], good);
    const fd = await copies.session.open(inode);
    let writing: Promise<unknown> | undefined;
    const report = await heal(copies, inode, {
      onProgress: ({ done }) => {
        if (done !== PIECE) return;
        // Into what is not healed yet, so that copying from brick 0 would undo it.
        const data = noise(98, 1000);
        data.copy(good, 3 * PIECE);
        copies.errors[0]!.failNext("writev", "EIO");
        writing = copies.session.write(fd, data, 3 * PIECE);
      },
    });
    await runClock(copies, writing!);
    await runClock(copies, copies.session.close(fd));
    expect(report.outcome).toBe("failed");
    expect((await heal(copies, inode)).slots.data).toMatchObject({ source: 1, outcome: "healed" });
    await expectHealed(copies, inode, good);
  });

  it("copies four windows side by side while nobody wants the file", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-window-size": "1" } });
    const inode = await damaged(copies, [2], noise(23, 16 * PIECE));
    copies.clearCalls();
    await heal(copies, inode);
    expect(Math.max(...windowsHeld(copies))).toBe(4);
    await expectUnlocked(copies, inode);
  });

  it("lets a guest in that wants the whole file, and then goes on with one window at a time", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-window-size": "1" } });
    const inode = await damaged(copies, [2], noise(24, 32 * PIECE));
    const guest = copies.brick(0);
    const lock = wholeLock(copies, guest);
    copies.clearCalls();
    let asked = false;
    let before = 0;
    let waiting: Promise<unknown> | undefined;
    await heal(copies, inode, {
      onProgress: ({ done }) => {
        if (asked || done < 4 * PIECE) return;
        asked = true;
        waiting = lock(inode, "wrlck").then(async () => {
          before = windowsHeld(copies).length;
          await lock(inode, "unlck");
          // Guests go on coming.
          await lock(inode, "wrlck");
          await lock(inode, "unlck");
        });
      },
    });
    await runClock(copies, waiting!);
    const held = windowsHeld(copies);
    // Four windows before it came, four at work, and one that waits behind it on one copy.
    expect(before).toBeLessThanOrEqual(9);
    expect(held[before + 1]).toBe(1);
    await expectUnlocked(copies, inode);
  });

  it("rests between windows while somebody wants the lock", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-window-size": "1" } });
    const inode = await damaged(copies, [2], noise(20, 2 * PIECE));
    const guest = copies.brick(0);
    const { name: volume } = setOf(copies);
    const lock = { whence: 0, start: 0n, len: 10n, pid: 0, lkOwner: guest.call.lkOwner };
    const take = (type: "wrlck" | "unlck") =>
      guest.top.inodelk(guest.call, { loc: { inode }, volume, cmd: "setlk", flock: { ...lock, type } });
    copies.clearCalls();
    await take("wrlck");
    const running = healInode(setOf(copies), inode);
    await copies.env.clock.advance(0);
    expect(copies.wires[2]!.count("writev")).toBe(0);
    await take("unlck");
    const report = await runClock(copies, running);
    expect(report.outcome).toBe("healed");
  });
});

describe("holes and zeroes", () => {
  const SIZE = 64 * PIECE;

  async function blocksOn(copies: Copies, index: number, inode: Inode): Promise<number> {
    return (await copies.brick(index).statInode(inode)).blocks;
  }

  it.each(["full", "diff"])("keeps holes with algorithm %s (HEAL-10)", async (algorithm) => {
    await using copies = await startCopies({ options: { "data-self-heal-algorithm": algorithm } });
    const fd = await copies.session.create("sparse");
    copies.wires[0]!.cut();
    await copies.session.write(fd, noise(21, PIECE), 10 * PIECE);
    await copies.session.top.ftruncate(copies.session.call, { fd, offset: SIZE });
    await copies.session.close(fd);
    copies.wires[0]!.mend();
    expect(await heal(copies, fd.inode)).toMatchObject({ outcome: "healed", bytesTotal: PIECE });
    await expectHealed(copies, fd.inode, await bytesOn(copies.brick(1), fd.inode));
    expect(await blocksOn(copies, 0, fd.inode)).toBeLessThanOrEqual(3 * (PIECE / 512));
  });

  it.each(["full", "diff"])(
    "writes zeroes that the source has written, with algorithm %s",
    async (algorithm) => {
      await using copies = await startCopies({ options: { "data-self-heal-algorithm": algorithm } });
      const inode = await damaged(copies, [0], Buffer.alloc(4 * PIECE));
      await heal(copies, inode);
      await expectHealed(copies, inode, Buffer.alloc(4 * PIECE));
      expect(await blocksOn(copies, 0, inode)).toBe(await blocksOn(copies, 1, inode));
    },
  );

  it("looks at the whole of a sparse file when a brick cannot tell where its data is", async () => {
    await using copies = await startCopies();
    const inode = await damaged(copies, [0], Buffer.from("x"));
    for (const index of [1, 2]) {
      const brick = copies.brick(index);
      const fd = await brick.open(inode);
      await brick.top.ftruncate(brick.call, { fd, offset: SIZE });
      await brick.release(fd);
    }
    copies.errors[0]!.failNext("seek", "ENOSYS");
    expect(await heal(copies, inode)).toMatchObject({ outcome: "healed", bytesTotal: SIZE });
    await expectHealed(copies, inode, await bytesOn(copies.brick(1), inode));
  });

  it("overwrites data of a sink where the source has a hole", async () => {
    await using copies = await startCopies({ options: { "data-self-heal-algorithm": "full" } });
    const inode = await damaged(copies, [0], Buffer.from("x"));
    for (const index of [1, 2]) {
      const brick = copies.brick(index);
      const fd = await brick.open(inode);
      await brick.top.ftruncate(brick.call, { fd, offset: 4 * PIECE });
      await brick.release(fd);
    }
    await copies.scribble(0, inode, noise(22, 4 * PIECE).toString("latin1"));
    await heal(copies, inode);
    await expectHealed(copies, inode, await bytesOn(copies.brick(1), inode));
  });
});

describe("changed ranges", () => {
  it("moves what was written while a copy was away, and no more", async () => {
    await using copies = await startCopies();
    const good = noise(23, 32 * PIECE);
    const inode = await copies.file("image", good as unknown as string);
    const fd = await copies.session.open(inode);
    copies.wires[2]!.cut();
    for (const offset of [3 * PIECE, 9 * PIECE + 4096, 31 * PIECE]) {
      const data = noise(offset, 4096);
      data.copy(good, offset);
      await copies.session.write(fd, data, offset);
    }
    await copies.session.close(fd);
    copies.wires[2]!.mend();
    const report = await heal(copies, inode);
    expect(report).toMatchObject({ outcome: "healed", bytesMoved: 3 * 4096, bytesTotal: 3 * 4096 });
    await expectHealed(copies, inode, good);
  });

  it("looks at the whole file after a mark that came without ranges", async () => {
    await using copies = await startCopies();
    const good = noise(24, 4 * PIECE);
    const inode = await copies.file("image", good as unknown as string);
    const fd = await copies.session.open(inode);
    copies.wires[2]!.cut();
    noise(25, 4096).copy(good, PIECE);
    await copies.session.write(fd, good.subarray(PIECE, PIECE + 4096), PIECE);
    await copies.session.close(fd);
    copies.wires[2]!.mend();
    await copies.scribble(2, inode, "what a client of GlusterFS left");
    for (const index of [0, 1]) await copies.mark(index, inode, 2, DATA);
    const report = await heal(copies, inode);
    expect(report).toMatchObject({ outcome: "healed", bytesTotal: 4 * PIECE });
    await expectHealed(copies, inode, good);
  });
});

describe("data heal with an arbiter", () => {
  const arbitrated = { options: { "arbiter-count": "1" } };

  it("never writes to it, and takes its marks away", async () => {
    await using copies = await startCopies(arbitrated);
    const fd = await copies.session.create("f");
    copies.wires[2]!.cut();
    await copies.session.write(fd, "content");
    await copies.session.close(fd);
    copies.wires[2]!.mend();
    copies.clearCalls();
    expect((await heal(copies, fd.inode)).outcome).toBe("healed");
    expect(copies.wires[2]!.count("writev")).toBe(0);
    await expectHealed(copies, fd.inode, "content");
    await expectUnlocked(copies, fd.inode);
  });

  it("heals a data copy that it blames with the other", async () => {
    await using copies = await startCopies(arbitrated);
    const fd = await copies.session.create("f");
    copies.wires[0]!.cut();
    await copies.session.write(fd, "content");
    await copies.session.close(fd);
    copies.wires[0]!.mend();
    expect((await heal(copies, fd.inode)).slots.data).toMatchObject({ outcome: "healed", source: 1 });
    await expectHealed(copies, fd.inode, "content");
  });

  it("leaves marks alone when it is the only good copy (ARB-02)", async () => {
    await using copies = await startCopies(arbitrated);
    const inode = await copies.file("f", "content");
    await copies.mark(0, inode, 1, DATA);
    await copies.mark(1, inode, 0, DATA);
    await copies.mark(2, inode, 0, DATA);
    await copies.mark(2, inode, 1, DATA);
    expect((await heal(copies, inode)).outcome).toBe("arbiter-only");
    expect(await copies.marks(2, inode)).toEqual({ "0": DATA, "1": DATA });
  });

  it("heals from a data copy that it alone blames: too few do for it to have missed anything", async () => {
    await using copies = await startCopies(arbitrated);
    const inode = await copies.file("f", "content");
    await copies.scribble(1, inode, "CONTENT");
    await copies.mark(0, inode, 1, DATA);
    await copies.mark(2, inode, 0, DATA);
    await copies.mark(2, inode, 1, DATA);
    expect((await heal(copies, inode)).slots.data).toMatchObject({ outcome: "healed", source: 0 });
    await expectHealed(copies, inode, "content");
  });
});

describe("a clean file", () => {
  it("needs nothing, and a look at its data moves nothing", async () => {
    await using copies = await startCopies();
    const inode = await copies.file("f");
    expect((await heal(copies, inode)).outcome).toBe("not-needed");
    expect(await heal(copies, inode, { slots: ["data"] })).toMatchObject({ outcome: "clean", bytesMoved: 0 });
    await expectUnmarked(copies, inode);
  });
});
