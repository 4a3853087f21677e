/** Locks that are kept between operations: shared within a client, given up to another one. */

import { describe, expect, it } from "vitest";
import type { Fd } from "../../../../src/core/inode.ts";
import { settle } from "../../../support/fake-env.ts";
import { Prng } from "../../../support/prng.ts";
import { SecondClient } from "./second-client.ts";
import { Copies } from "./three-copies.ts";

const SECOND_MS = 1000;

async function openIn(second: SecondClient, name: string): Promise<Fd> {
  return second.session.open(await second.session.inode(name));
}

describe("two writers", () => {
  it.each([
    ["by messages", true],
    ["by the counts in replies alone", false],
  ])("see each other %s, get the lock in turn, and every copy has the same bytes", async (_, told) => {
    await using copies = await Copies.start();
    const fd = await copies.session.open(await copies.file("image", "0".repeat(64)));
    await using second = await SecondClient.start(copies);
    if (!told) for (const wire of [...copies.wires, ...second.doors]) wire.onChildEvent = () => {};
    const theirs = await openIn(second, "image");
    const counts = [0, 0];
    copies.clearCalls();
    for (const door of second.doors) door.calls.length = 0;
    const writer = async (which: number, prng: Prng): Promise<void> => {
      const [session, open] = which === 0 ? [copies.session, fd] : [second.session, theirs];
      for (let write = 0; write < 40; write++) {
        await session.write(open, String(which).repeat(16), Math.floor(prng.float() * 48));
        counts[which]!++;
        await copies.env.clock.advance(1);
      }
    };
    const both = Promise.all([writer(0, new Prng(1)), writer(1, new Prng(2))]);
    for (let step = 0; step < 500 && Math.min(...counts) < 40; step++) await copies.env.clock.advance(10);
    await both;
    // Nobody waited for the end of a delay.
    expect(copies.env.clock.nowMs()).toBeLessThan(SECOND_MS);
    // At worst the lock changes hands with every write: lock (asked twice), mark, write, sync, two more.
    for (const [index, { calls }] of copies.wires.entries())
      expect(calls.length + second.doors[index]!.calls.length).toBeLessThanOrEqual(7 * 80);
    await copies.env.clock.advance(2 * SECOND_MS);
    const contents = await Promise.all(
      [0, 1, 2].map(async (index) => {
        const brick = copies.brick(index);
        return brick.text(await brick.open(fd.inode));
      }),
    );
    expect(new Set(contents).size).toBe(1);
    for (const index of [0, 1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({});
  });

  it("do not wait for each other on different children", async () => {
    await using copies = await Copies.start();
    const fd = await copies.session.open(await copies.file("image", "0000"));
    await using second = await SecondClient.start(copies);
    const theirs = await openIn(second, "image");
    // Both hold the lock of one child and meet at the others.
    const hold = copies.delays[0]!.hold("finodelk");
    const ours = copies.session.write(fd, "1");
    const their = second.session.write(theirs, "2");
    await settle();
    copies.delays[0]!.unhold(hold);
    let done = false;
    const both = Promise.all([ours, their]).finally(() => {
      done = true;
    });
    for (let step = 0; step < 30 && !done; step++) await copies.env.clock.advance(100);
    expect(done).toBe(true);
    await both;
  });

  it("do not wait for one that has stopped writing", async () => {
    await using copies = await Copies.start();
    const fd = await copies.session.open(await copies.file("image", "0000"));
    await using second = await SecondClient.start(copies);
    const theirs = await openIn(second, "image");
    await copies.session.write(fd, "1");
    expect((await second.session.write(theirs, "2", 1)).size).toBe(1);
    expect(copies.env.clock.nowMs()).toBe(0);
  });

  it("wait no longer than the delay where bricks do not tell of contention", async () => {
    await using copies = await Copies.start();
    for (const wire of copies.wires) wire.onChildEvent = () => {};
    const fd = await copies.session.open(await copies.file("image", "0000"));
    await using second = await SecondClient.start(copies);
    const theirs = await openIn(second, "image");
    await copies.session.write(fd, "1");
    const their = second.session.write(theirs, "2", 1);
    let done = false;
    void their.finally(() => {
      done = true;
    });
    await copies.env.clock.advance(0.5 * SECOND_MS);
    expect(done).toBe(false);
    await copies.env.clock.advance(0.6 * SECOND_MS);
    expect((await their).size).toBe(1);
  });

  it("need not wait for it after many writes: replies are asked seldom then, but whoever pauses asks", async () => {
    await using copies = await Copies.start();
    for (const wire of copies.wires) wire.onChildEvent = () => {};
    const fd = await copies.session.open(await copies.file("image", "0000"));
    await using second = await SecondClient.start(copies);
    const theirs = await openIn(second, "image");
    for (let write = 0; write < 6; write++) {
      await copies.session.write(fd, "1");
      await copies.env.clock.advance(2);
    }
    const their = second.session.write(theirs, "2", 1);
    await copies.session.write(fd, "3", 3);
    let done = false;
    void their.finally(() => {
      done = true;
    });
    await copies.env.clock.advance(20);
    expect(done).toBe(true);
    expect((await their).size).toBe(1);
  });
});

describe("a lock that is kept", () => {
  it("costs no call of its own while its inode is written again and again", async () => {
    await using copies = await Copies.start();
    const fd = await copies.session.open(await copies.file("image", "0000"));
    copies.clearCalls();
    for (let write = 0; write < 40; write++) {
      await copies.session.write(fd, "1");
      await copies.env.clock.advance(5);
    }
    const others = copies.wires[0]!.calls.map(({ fop }) => fop).filter((fop) => fop !== "writev");
    expect(others).toEqual(["finodelk", "fxattrop"]);
  });

  it("is given back after the delay, none with post-op-delay-secs 0, at once with eager-lock off", async () => {
    for (const options of [{ "post-op-delay-secs": "0" }, { "eager-lock": "off" }]) {
      await using copies = await Copies.start({ options });
      const fd = await copies.session.open(await copies.file("image", "0000"));
      copies.clearCalls();
      await copies.session.write(fd, "1");
      await settle();
      const fops = copies.wires[0]!.calls.map(({ fop }) => fop);
      if ("eager-lock" in options) await copies.env.clock.advance(SECOND_MS);
      expect(fops.slice(0, 3)).toEqual(["finodelk", "fxattrop", "writev"]);
      expect(copies.wires[0]!.count("finodelk")).toBe(2);
    }
  });

  it("is taken anew when a copy returns, on that one too", async () => {
    await using copies = await Copies.start();
    const fd = await copies.session.open(await copies.file("image", "0000"));
    copies.wires[2]!.cut();
    await copies.session.write(fd, "1");
    copies.wires[2]!.mend();
    copies.clearCalls();
    await copies.session.write(fd, "2", 1);
    expect(copies.wires[2]!.calls.map(({ fop }) => fop)).toContain("writev");
    await copies.env.clock.advance(SECOND_MS);
    expect(await copies.marks(0, fd.inode)).toEqual({ 2: [1, 0, 0] });
    expect(await copies.marks(2, fd.inode)).toEqual({});
  });

  it("lets a caller go who gives up waiting for it", async () => {
    await using copies = await Copies.start();
    const fd = await copies.session.open(await copies.file("image", "0000"));
    const hold = copies.delays[0]!.hold("writev");
    const first = copies.session.write(fd, "1");
    await hold.arrived();
    const controller = new AbortController();
    const waiting = copies.session.as({ signal: controller.signal }).write(fd, "2");
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "EINTR" });
    copies.delays[0]!.unhold(hold);
    await first;
    await copies.session.write(fd, "3");
  });

  it("is gone when the graph has stopped, and the marks with it", async () => {
    const copies = await Copies.start();
    try {
      const fd = await copies.session.open(await copies.file("image", "0000"));
      await copies.session.write(fd, "1");
    } finally {
      copies.clearCalls();
      await copies[Symbol.asyncDispose]();
    }
    expect(copies.wires[0]!.calls.map(({ fop }) => fop)).toEqual(["fsync", "fxattrop", "finodelk"]);
  });

  it("holds up the end of the graph for five seconds at most, when a copy hangs", async () => {
    const copies = await Copies.start({ contracts: false });
    const fd = await copies.session.open(await copies.file("image", "0000"));
    await copies.session.write(fd, "1");
    copies.delays[1]!.hold("fxattrop");
    let ended = false;
    const end = copies.graph[Symbol.asyncDispose]().then(() => {
      ended = true;
    });
    await copies.env.clock.advance(4999);
    expect(ended).toBe(false);
    await copies.env.clock.advance(1);
    expect(ended).toBe(true);
    await end;
    expect(copies.env.log.lines.map(({ message }) => message)).toContain(
      "a copy does not answer: what was written last may stay marked for a heal",
    );
  });

  it("is one for all objects of an inode", async () => {
    await using copies = await Copies.start();
    const fd = await copies.session.create("image");
    const twin = await copies.session.create("image");
    expect(twin.inode).not.toBe(fd.inode);
    await copies.session.write(fd, "1");
    copies.clearCalls();
    await copies.session.write(twin, "2", 1);
    expect(copies.wires[0]!.calls.map(({ fop }) => fop)).toEqual(["writev"]);
  });
});
