/**
 * The heal daemon of a set on bricks in memory: when it crawls, what it asks to be healed, how it keeps the
 * index clean. What a heal does is not at issue: most tests bring one of their own.
 */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../../../../src/core/call.ts";
import { Deferred } from "../../../../../src/core/concurrency.ts";
import { type Gfid, gfidText } from "../../../../../src/core/gfid.ts";
import type { Inode } from "../../../../../src/core/inode.ts";
import type { Heal } from "../../../../../xlators/cluster/replicate/crawl/heal-queue.ts";
import {
  INDEX_CLASSES,
  IndexDirectory,
} from "../../../../../xlators/cluster/replicate/crawl/index-directory.ts";
import { forEachLimited } from "../../../../../xlators/cluster/replicate/crawl/limited.ts";
import { findPath, pathOn } from "../../../../../xlators/cluster/replicate/crawl/names.ts";
import { SetHealer } from "../../../../../xlators/cluster/replicate/crawl/set-healer.ts";
import type { HealOutcome, HealReport } from "../../../../../xlators/cluster/replicate/heal/report.ts";
import type { Replicate } from "../../../../../xlators/cluster/replicate/replicate.ts";
import { settle } from "../../../../support/fake-env.ts";
import { Copies, type CopiesOptions } from "../three-copies.ts";

const report = (outcome: HealOutcome): HealReport => ({ outcome, slots: {}, bytesMoved: 0, bytesTotal: 0 });

/** A set, its daemon, and the heals that were asked for. */
class Rig implements AsyncDisposable {
  readonly copies: Copies;
  readonly healer: SetHealer;
  /** gfids, in the order of asking. */
  readonly asked: string[] = [];
  /** What the next heals of an object come to; the last one stays. "healed" when nothing is said. */
  readonly outcomes = new Map<string, HealOutcome[]>();
  /** Heals wait for this when it is set. */
  gate: Deferred<void> | undefined;
  running = 0;
  runningMax = 0;

  private constructor(copies: Copies) {
    this.copies = copies;
    const { set } = copies.graph.xlator<Replicate>("v-replicate-0");
    this.healer = new SetHealer(set, { heal: this.#heal });
  }

  static async start(options: CopiesOptions = {}): Promise<Rig> {
    return new Rig(await Copies.start(options));
  }

  get set() {
    return this.healer.set;
  }

  advance(ms: number): Promise<void> {
    return this.copies.env.clock.advance(ms);
  }

  /** What a brick's index lists, all classes. */
  async listed(index: number): Promise<string[]> {
    const found: string[] = [];
    for (const which of INDEX_CLASSES) {
      const top = this.copies.brick(index).top;
      const directory = await IndexDirectory.open(top, internalCall(-6), which);
      for await (const gfid of directory!.entries(10)) found.push(`${which} ${gfidText(gfid)}`);
      await directory!.close();
    }
    return found;
  }

  readonly #heal: Heal = async (_set, inode: Inode, { signal }) => {
    const gfid = gfidText(inode.gfid);
    this.asked.push(gfid);
    this.running++;
    this.runningMax = Math.max(this.runningMax, this.running);
    await this.gate?.promise;
    this.running--;
    if (signal?.aborted) return report("failed");
    const outcomes = this.outcomes.get(gfid) ?? ["healed", "clean"];
    const outcome = outcomes[0]!;
    this.outcomes.set(gfid, outcomes.length > 1 ? outcomes.slice(1) : outcomes);
    return report(outcome);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    this.gate?.resolve();
    await this.healer.stop();
    await this.copies[Symbol.asyncDispose]();
  }
}

const text = (inode: Inode): string => gfidText(inode.gfid);

describe("the heal daemon", () => {
  it("looks again at once after a round that healed, and until one heals nothing", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, 2, [1, 0, 0]);
    rig.healer.start();
    await settle();
    expect(rig.asked).toEqual([text(file), text(file)]);
    await rig.advance(100_000);
    expect(rig.asked).toHaveLength(2);
  });

  it("pauses before it heals the same again", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, 2, [1, 0, 0]);
    rig.outcomes.set(text(file), ["healed"]);
    rig.healer.start();
    await settle();
    expect(rig.asked).toHaveLength(2);
    await rig.advance(999);
    expect(rig.asked).toHaveLength(2);
    await rig.advance(1);
    expect(rig.asked).toHaveLength(3);
    await rig.advance(2000);
    expect(rig.asked).toHaveLength(5);
  });

  it("looks at all classes of the index of every brick", async () => {
    await using rig = await Rig.start({ options: { "granular-entry-heal": "on" } });
    const blamed = await rig.copies.file("blamed");
    const dirty = await rig.copies.file("dirty");
    await rig.copies.mark(0, blamed, 1, [1, 0, 0]);
    await rig.copies.mark(2, dirty, "dirty", [1, 0, 0]);
    rig.healer.start();
    await settle();
    expect([...new Set(rig.asked)].sort()).toEqual([text(blamed), text(dirty)].sort());
  });

  it("heals once what several bricks list", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    for (const index of [0, 1]) await rig.copies.mark(index, file, 2, [1, 0, 0]);
    rig.gate = new Deferred();
    rig.healer.start();
    await rig.advance(10);
    expect(rig.healer.running.map(({ gfid }) => gfidText(gfid))).toEqual([text(file)]);
    expect(rig.asked).toHaveLength(1);
    rig.gate.resolve();
    await rig.advance(10);
    expect(rig.healer.running).toEqual([]);
  });

  it("looks when a child comes back, every heal-timeout, and when asked", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, 2, [1, 0, 0]);
    rig.outcomes.set(text(file), ["clean"]);
    rig.healer.start();
    await settle();
    expect(rig.asked).toHaveLength(1);
    await rig.advance(599_000);
    expect(rig.asked).toHaveLength(1);
    await rig.advance(2000);
    expect(rig.asked).toHaveLength(2);
    rig.copies.wires[2]!.cut();
    await settle();
    expect(rig.asked).toHaveLength(2);
    rig.copies.wires[2]!.mend();
    await settle();
    expect(rig.asked).toHaveLength(3);
    rig.healer.wake();
    await settle();
    expect(rig.asked).toHaveLength(4);
  });

  it("crawls once more when it is asked in the middle of a crawl", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, 2, [1, 0, 0]);
    rig.outcomes.set(text(file), ["clean"]);
    rig.gate = new Deferred();
    rig.healer.start();
    await rig.advance(10);
    for (let times = 0; times < 3; times++) rig.healer.wake();
    rig.gate.resolve();
    await rig.advance(10);
    expect(rig.asked).toHaveLength(2);
  });

  it("tries again soon, and then less often, what it could not heal though all copies are up", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, 2, [1, 0, 0]);
    rig.outcomes.set(text(file), ["busy"]);
    rig.healer.start();
    await settle();
    const seen: number[] = [];
    for (let step = 0; step < 5; step++) {
      await rig.advance(5000 * 2 ** step);
      seen.push(rig.asked.length);
    }
    expect(seen).toEqual([2, 3, 4, 5, 6]);
  });

  it("does not try again what only a person can settle, or copies that are away", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    const away = await rig.copies.file("b");
    for (const inode of [file, away]) await rig.copies.mark(0, inode, 2, [1, 0, 0]);
    rig.outcomes.set(text(file), ["split-brain"]);
    rig.outcomes.set(text(away), ["clean"]);
    rig.healer.start();
    await rig.advance(100_000);
    expect(rig.asked).toHaveLength(2);
    rig.outcomes.set(text(away), ["unavailable"]);
    rig.copies.wires[1]!.cut();
    rig.healer.wake();
    await rig.advance(100_000);
    expect(rig.asked).toHaveLength(4);
  });

  it("needs two copies up", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, 2, [1, 0, 0]);
    for (const index of [1, 2]) rig.copies.wires[index]!.cut();
    rig.healer.start();
    rig.healer.wake();
    await rig.advance(1_000_000);
    expect(rig.asked).toEqual([]);
    rig.copies.wires[1]!.mend();
    await settle();
    expect(rig.asked).toContain(text(file));
  });

  it("does nothing while self-heal-daemon is off", async () => {
    await using rig = await Rig.start({ options: { "self-heal-daemon": "off" } });
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, 2, [1, 0, 0]);
    rig.healer.start();
    await rig.advance(1_000_000);
    expect(rig.asked).toEqual([]);
    rig.set.reconfigure({ ...rig.set.options, "self-heal-daemon": true });
    await rig.advance(1_000_000);
    expect(rig.asked.length).toBeGreaterThan(0);
  });

  it.each([1, 4])("heals at most shd-max-threads objects of a brick at a time: %d", async (threads) => {
    await using rig = await Rig.start({ options: { "shd-max-threads": String(threads) } });
    for (let each = 0; each < 10; each++)
      await rig.copies.mark(0, await rig.copies.file(`f${each}`), 2, [1, 0, 0]);
    rig.gate = new Deferred();
    rig.healer.start();
    await rig.advance(10);
    expect(rig.running).toBe(threads);
    rig.gate.resolve();
    await rig.advance(10);
    expect(new Set(rig.asked).size).toBe(10);
    expect(rig.runningMax).toBe(threads);
  });

  it("ends heals and stays ended when it is stopped", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, 2, [1, 0, 0]);
    rig.gate = new Deferred();
    rig.healer.start();
    await rig.advance(10);
    let stopped = false;
    const stopping = rig.healer.stop().then(() => {
      stopped = true;
    });
    await settle();
    expect(stopped).toBe(false);
    rig.gate.resolve();
    await stopping;
    rig.healer.wake();
    rig.copies.wires[2]!.cut();
    rig.copies.wires[2]!.mend();
    await rig.advance(1_000_000);
    expect(rig.asked).toHaveLength(1);
  });
});

describe("index entries with nothing behind them", () => {
  it("are purged when the brick does not have the object", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, 2, [1, 0, 0]);
    await rig.copies.mark(0, file, "dirty", [1, 0, 0]);
    const brick = rig.copies.brick(0);
    await brick.top.unlink(brick.call, { loc: brick.at("a"), flags: 0 });
    expect(await rig.listed(0)).toEqual([`xattrop ${text(file)}`, `dirty ${text(file)}`]);
    rig.healer.start();
    await settle();
    expect(await rig.listed(0)).toEqual([]);
    expect(rig.asked).toEqual([]);
  });

  it("are dropped by an xattrop of zeroes when no copy has a mark", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, 2, [1, 0, 0]);
    const disk = rig.copies.graph.xlator("disk-0");
    await disk.removexattr(internalCall(), { loc: { inode: file }, name: "trusted.afr.v-client-2" });
    expect(await rig.listed(0)).toEqual([`xattrop ${text(file)}`]);
    rig.outcomes.set(text(file), ["not-needed"]);
    rig.healer.start();
    await settle();
    expect(await rig.listed(0)).toEqual([]);
    expect(await rig.copies.marks(0, file)).toEqual({});
  });

  it("stay while an operation is under way that explains them", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("a");
    await rig.copies.mark(0, file, "dirty", [1, 0, 0]);
    rig.outcomes.set(text(file), ["clean"]);
    rig.healer.start();
    await rig.advance(5000);
    expect(await rig.listed(0)).toEqual([`dirty ${text(file)}`]);
    expect(rig.asked).toHaveLength(1);
  });
});

describe("names", () => {
  it("are found on any copy, and conflicts between copies are seen", async () => {
    await using rig = await Rig.start();
    const { session } = rig.copies;
    const dir = await session.mkdir("d");
    const file = await rig.copies.file("f", "x", dir);
    const call = internalCall(-7);
    expect(await findPath(rig.set, call, "/d/f")).toMatchObject({ conflict: false, inode: file });
    expect((await findPath(rig.set, call, "/"))?.entry).toBeUndefined();
    expect(await findPath(rig.set, call, "/d/none")).toBeUndefined();
    expect(await findPath(rig.set, call, "/d/f/below")).toBeUndefined();
    for (const index of [0, 1]) await rig.copies.brick(index).create("twin", { parent: dir });
    expect(await findPath(rig.set, call, "/d/twin")).toMatchObject({ conflict: true });
    await expect(findPath(rig.set, call, "/d/twin/x")).rejects.toMatchObject({ code: "EIO" });
    for (const wire of rig.copies.wires) wire.cut();
    await expect(findPath(rig.set, call, "/d/f")).rejects.toMatchObject({ code: "ENOTCONN" });
  });

  it("are unknown on a brick that keeps none, and the object may be there all the same", async () => {
    await using rig = await Rig.start();
    const file = await rig.copies.file("f");
    const call = internalCall(-7);
    rig.copies.errors[0]!.failWhere((fop) => (fop === "getxattr" ? "ENODATA" : undefined));
    const top = rig.copies.wires[0]!;
    expect(await pathOn(top, call, file.gfid)).toBeUndefined();
    const nobody = Buffer.alloc(16, 7) as Gfid;
    await expect(pathOn(top, call, nobody)).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("a few at a time", () => {
  async function* numbers(count: number, read: number[] = []): AsyncGenerator<number> {
    for (let each = 0; each < count; each++) {
      read.push(each);
      yield each;
    }
  }

  it("does all, and reads no further than it can do", async () => {
    const gates = Array.from({ length: 6 }, () => new Deferred<void>());
    const read: number[] = [];
    const done: number[] = [];
    const all = forEachLimited(numbers(6, read), 2, async (each) => {
      await gates[each]!.promise;
      done.push(each);
    });
    await settle();
    expect(read).toEqual([0, 1]);
    gates[1]!.resolve();
    await settle();
    expect(read).toEqual([0, 1, 2]);
    for (const gate of gates) gate.resolve();
    await all;
    expect(done.sort()).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it("ends after a failure when the rest has ended, and says the first", async () => {
    const gate = new Deferred<void>();
    let ended = false;
    const all = forEachLimited(numbers(10), 3, async (each) => {
      if (each === 1) throw new Error("one");
      await gate.promise;
      ended = true;
    });
    await settle();
    gate.resolve();
    await expect(all).rejects.toThrow("one");
    expect(ended).toBe(true);
  });

  it("stops reading when it is told to", async () => {
    const stop = new AbortController();
    const done: number[] = [];
    await forEachLimited(
      numbers(10),
      1,
      async (each) => {
        done.push(each);
        if (each === 2) stop.abort();
      },
      stop.signal,
    );
    expect(done).toEqual([0, 1, 2]);
  });
});
