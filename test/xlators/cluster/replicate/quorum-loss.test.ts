/** What calls get, and what is left on the copies, when quorum is lost before or in the middle of them. */

import { describe, expect, it } from "vitest";
import { quorumFigures } from "../../../../src/control/quorum-figures.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import type { Fd } from "../../../../src/core/inode.ts";
import type { Replicate } from "../../../../xlators/cluster/replicate/replicate.ts";
import { settle } from "../../../support/fake-env.ts";
import { Copies } from "./three-copies.ts";

const SECOND_MS = 1000;
const NOT_CONNECTED = { code: "ENOTCONN" };
const SUSPEND = { "quorum-loss-policy": "suspend", "suspend-timeout": "60" };

async function opened(copies: Copies): Promise<Fd> {
  return copies.session.open(await copies.file("image", "0123456789"));
}

describe("without quorum", () => {
  it("every kind of call fails with ENOTCONN, and nothing is changed", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const fd = await opened(copies);
    const { inode } = fd;
    copies.wires[0]!.cut();
    copies.wires[2]!.cut();
    copies.clearCalls();
    const calls = [
      session.write(fd, "x"),
      session.read(fd),
      session.size(fd),
      session.setattr(inode, SETATTR.MODE, { mode: 0o600 }),
      session.setxattr(inode, "user.x", "y"),
      session.top.truncate(session.call, { loc: { inode }, offset: 0 }),
      session.top.fsync(session.call, { fd, datasync: false }),
      session.open(inode),
      session.create("other"),
      session.unlink("image"),
      session.stat("image"),
      session.lk(fd, "setlk", "wrlck", 0, 1),
      session.top.statfs(session.call, { loc: { inode: session.root } }),
    ];
    for (const call of calls) await expect(call).rejects.toMatchObject(NOT_CONNECTED);
    const sent = copies.wires[1]!.calls.map(({ fop }) => fop).filter((fop) => fop !== "lookup");
    expect(sent).toEqual([]);
    copies.wires[0]!.mend();
    copies.wires[2]!.mend();
    for (const index of [0, 1, 2]) expect(await copies.marks(index, inode)).toEqual({});
  });

  it("of two copies the first goes on alone, the second does not", async () => {
    await using copies = await Copies.start({ count: 2, options: { "quorum-type": "auto" } });
    const fd = await opened(copies);
    copies.wires[1]!.cut();
    await copies.session.write(fd, "x");
    await copies.session.top.flush(copies.session.call, { fd });
    expect(await copies.marks(0, fd.inode)).toEqual({ 1: [1, 0, 0] });
    copies.wires[1]!.mend();
    copies.wires[0]!.cut();
    await expect(copies.session.write(fd, "y")).rejects.toMatchObject(NOT_CONNECTED);
  });

  it("without a rule of quorum one copy goes on alone, whichever it is", async () => {
    await using copies = await Copies.start({ count: 2 });
    const fd = await opened(copies);
    copies.wires[0]!.cut();
    await copies.session.write(fd, "x");
    await copies.session.top.flush(copies.session.call, { fd });
    expect(await copies.marks(1, fd.inode)).toEqual({ 0: [1, 0, 0] });
  });
});

describe("quorum lost in the middle of a write", () => {
  it("while it is locked: nothing is marked and no lock is left", async () => {
    await using copies = await Copies.start();
    const fd = await opened(copies);
    for (const index of [1, 2]) copies.errors[index]!.failNext("finodelk", "EIO");
    await expect(copies.session.write(fd, "x")).rejects.toMatchObject({ code: "EIO" });
    await settle();
    expect(copies.wires[0]!.calls.slice(-2).map(({ fop }) => fop)).toEqual(["finodelk", "finodelk"]);
    for (const index of [0, 1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({});
    await copies.session.write(fd, "x");
  });

  it("at the pre-op: the marks that it made are taken back", async () => {
    await using copies = await Copies.start();
    const fd = await opened(copies);
    copies.wires[2]!.cut();
    copies.errors[1]!.failNext("fxattrop", "ENOSPC");
    await expect(copies.session.write(fd, "x")).rejects.toMatchObject({ code: "ENOSPC" });
    await settle();
    expect(copies.wires[0]!.count("writev")).toBe(1); // The one that filled the file.
    for (const index of [0, 1]) expect(await copies.marks(index, fd.inode)).toEqual({});
  });

  it("at the write: it fails with what tells most, nobody is blamed and all stay dirty", async () => {
    await using copies = await Copies.start();
    const fd = await opened(copies);
    copies.errors[0]!.failNext("writev", "ENOSPC");
    copies.errors[1]!.failNext("writev", "ENOTCONN");
    await expect(copies.session.write(fd, "x")).rejects.toMatchObject({ code: "ENOSPC" });
    await copies.env.clock.advance(2 * SECOND_MS);
    for (const index of [0, 1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({ dirty: [1, 0, 0] });
  });

  it("at the marks for a copy that failed: the write fails, and all stay dirty", async () => {
    await using copies = await Copies.start();
    const fd = await opened(copies);
    await copies.session.write(fd, "x");
    copies.errors[2]!.failNext("writev", "EIO");
    copies.errors[1]!.failNext("fxattrop", "EIO");
    await expect(copies.session.write(fd, "y")).rejects.toMatchObject({ code: "EIO" });
    await copies.env.clock.advance(2 * SECOND_MS);
    expect(await copies.marks(1, fd.inode)).toEqual({ dirty: [1, 0, 0] });
    expect(await copies.marks(2, fd.inode)).toEqual({ dirty: [1, 0, 0] });
  });

  it("and the last good copy with it: nobody blames that one (EAG-02)", async () => {
    await using copies = await Copies.start();
    const fd = await opened(copies);
    copies.wires[0]!.cut();
    await copies.session.write(fd, "1");
    await copies.session.top.flush(copies.session.call, { fd });
    copies.wires[0]!.mend();
    copies.wires[1]!.cut();
    await copies.session.write(fd, "2");
    await copies.session.top.flush(copies.session.call, { fd });
    copies.wires[1]!.mend();
    await copies.session.write(fd, "3");
    copies.errors[2]!.failNext("writev", "ENOTCONN");
    await expect(copies.session.write(fd, "4")).rejects.toMatchObject(NOT_CONNECTED);
    copies.wires[2]!.cut();
    await copies.env.clock.advance(2 * SECOND_MS);
    for (const index of [0, 1]) {
      const marks = await copies.marks(index, fd.inode);
      expect(marks.dirty).toEqual([1, 0, 0]);
      expect(marks[2]).toBeUndefined();
    }
    await expect(copies.session.write(fd, "5")).rejects.toMatchObject({ code: "EIO" });
  });
});

describe("quorum-loss-policy suspend", () => {
  it("lets calls wait for quorum, and says once that they do", async () => {
    await using copies = await Copies.start({ options: SUSPEND });
    const fd = await opened(copies);
    for (const index of [1, 2]) copies.wires[index]!.cut();
    const writes = [copies.session.write(fd, "abc"), copies.session.write(fd, "def", 3)];
    const read = copies.session.read(fd);
    await copies.env.clock.advance(30 * SECOND_MS);
    const name = "trusted.mortar.quorum";
    const stats = await copies.session.getxattr(copies.session.root, name);
    expect(JSON.parse(stats.toString())).toMatchObject({ up: 1, of: 3, waiting: 3, suspensions: 1 });
    const dump = copies.graph.xlator<Replicate>("v-replicate-0").dump();
    expect(dump).toMatchObject({ hasQuorum: false, callsForQuorum: { waiting: 3, suspensions: 1 } });
    expect(quorumFigures(copies.graph.graph)).toEqual([
      { name: "v-replicate-0", copiesUp: 1, hasQuorum: false, waiting: 3, suspended: 3, timedOut: 0 },
    ]);
    copies.wires[1]!.mend();
    for (const write of writes) expect((await write).size).toBe(3);
    expect((await read).length).toBeGreaterThan(0);
    expect((await copies.session.read(fd, 0, 6)).toString()).toBe("abcdef");
    const lines = copies.env.log.lines.filter(({ message }) => message.startsWith("quorum is"));
    expect(lines.map(({ message }) => message)).toEqual([
      "quorum is lost: calls wait",
      "quorum is back: calls go on",
    ]);
  });

  it("repeats a write that was under way when quorum went", async () => {
    await using copies = await Copies.start({ options: SUSPEND });
    const fd = await opened(copies);
    await copies.session.write(fd, "warm");
    const holds = [1, 2].map((index) => copies.delays[index]!.hold("writev"));
    const writing = copies.session.write(fd, "abcd");
    await settle();
    expect(holds.map(({ count }) => count)).toEqual([1, 1]);
    for (const index of [1, 2]) copies.wires[index]!.cut();
    for (const [at, hold] of holds.entries()) copies.delays[at + 1]!.unhold(hold);
    await copies.env.clock.advance(SECOND_MS);
    for (const index of [1, 2]) copies.wires[index]!.mend();
    await copies.env.clock.advance(SECOND_MS);
    expect((await writing).size).toBe(4);
  });

  it("ends with ENOTCONN when the time is over, and with EINTR when the caller gives up", async () => {
    await using copies = await Copies.start({ options: SUSPEND });
    const fd = await opened(copies);
    for (const index of [1, 2]) copies.wires[index]!.cut();
    const controller = new AbortController();
    const impatient = copies.session.as({ signal: controller.signal }).write(fd, "x");
    const patient = copies.session.write(fd, "x");
    const outcomes = Promise.allSettled([impatient, patient]);
    await settle();
    controller.abort();
    await copies.env.clock.advance(61 * SECOND_MS);
    const codes = (await outcomes).map((one) => (one.status === "rejected" ? one.reason.code : "ok"));
    expect(codes).toEqual(["EINTR", "ENOTCONN"]);
  });
});
