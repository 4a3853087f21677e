/** Two copies and an arbiter: what it is sent, and who may go on with whom (spec translators.md 4.12). */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import type { Args } from "../../../../src/core/fops.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import { iovJoin } from "../../../../src/core/iovec.ts";
import { settle } from "../../../support/fake-env.ts";
import { Copies } from "./three-copies.ts";

const ARBITER = 2;

function start(): Promise<Copies> {
  return Copies.start({ options: { "arbiter-count": "1", "post-op-delay-secs": "0" } });
}

describe("an arbiter", () => {
  it("gets a byte instead of what is written, and keeps none", async () => {
    await using copies = await start();
    const fd = await copies.session.create("f");
    copies.clearCalls();
    expect((await copies.session.write(fd, "hello")).size).toBe(5);
    const sent = copies.wires.map(({ calls }) => {
      const write = calls.find(({ fop }) => fop === "writev")!.args as Args<"writev">;
      return iovJoin(write.data).toString("latin1");
    });
    expect(sent).toEqual(["hello", "hello", "\xff"]);
    await settle();
    const brick = copies.brick(ARBITER);
    expect((await brick.statInode(fd.inode)).size).toBe(0);
    for (const index of [0, 1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({});
    expect((await copies.session.statInode(fd.inode)).size).toBe(5);
  });

  it("is blamed by the two copies when it is away, and stands in for one of them", async () => {
    await using copies = await start();
    const fd = await copies.session.create("f");
    copies.wires[ARBITER]!.cut();
    await copies.session.write(fd, "1");
    await settle();
    for (const index of [0, 1]) expect(await copies.marks(index, fd.inode)).toEqual({ 2: [1, 0, 0] });
    copies.wires[ARBITER]!.mend();
    const other = await copies.session.create("g");
    copies.wires[1]!.cut();
    await copies.session.write(other, "1");
    await settle();
    for (const index of [0, ARBITER])
      expect(await copies.marks(index, other.inode)).toEqual({ 1: [1, 0, 0] });
  });

  it("does not stand in for the only good copy (ARB-02)", async () => {
    await using copies = await start();
    const fd = await copies.session.create("f");
    await copies.session.write(fd, "0");
    copies.wires[0]!.cut();
    await copies.session.write(fd, "1");
    await copies.session.setattr(fd.inode, SETATTR.MODE, { mode: 0o600 });
    await settle();
    copies.wires[0]!.mend();
    copies.wires[1]!.cut();
    const before = await copies.marks(ARBITER, fd.inode);
    for (const call of [
      () => copies.session.write(fd, "2"),
      () => copies.session.setxattr(fd.inode, "user.a", "b"),
      () => copies.session.read(fd),
    ])
      await expect(call()).rejects.toMatchObject({ code: expect.stringMatching(/^(ENOTCONN|EIO)$/) });
    await expect(copies.session.write(fd, "2")).rejects.toMatchObject({ code: "ENOTCONN" });
    await settle();
    expect(await copies.marks(ARBITER, fd.inode)).toEqual(before);
    copies.wires[1]!.mend();
    await copies.session.write(fd, "3");
  });

  it("tells mode and xattrs where every other copy is blamed", async () => {
    await using copies = await start();
    const { inode } = await copies.session.create("f");
    copies.wires[0]!.cut();
    await copies.session.setattr(inode, SETATTR.MODE, { mode: 0o600 });
    await copies.session.setxattr(inode, "user.a", "new");
    // As a heal leaves it that lost the first copy before its end.
    await copies.mark(0, inode, 1, [0, 1, 0]);
    copies.wires[0]!.mend();
    const { stat, xdata } = await copies.session.lookup("f", undefined, new Dict().setInt("user.a", 0));
    expect(stat.mode & 0o777).toBe(0o600);
    expect(xdata?.bytes("user.a")?.toString()).toBe("new");
  });

  it("clears no mark when it alone says yes", async () => {
    await using copies = await start();
    const fd = await copies.session.create("f");
    await copies.session.write(fd, "0");
    for (const index of [0, 1]) copies.errors[index]!.failNext("writev", "ENOSPC");
    await expect(copies.session.write(fd, "1")).rejects.toMatchObject({ code: "ENOSPC" });
    await settle();
    for (const index of [0, 1, 2]) expect(await copies.marks(index, fd.inode)).toEqual({ dirty: [1, 0, 0] });
  });
});

describe.each([
  ["an arbiter", { "arbiter-count": "1" }],
  ["a third copy", {}],
] as const)("%s that is full", (_, options) => {
  it("is what the caller hears of when the second copy is away (QUO-10)", async () => {
    await using copies = await Copies.start({ options: { ...options, "post-op-delay-secs": "0" } });
    const { session } = copies;
    const fd = await session.create("f");
    for (const fop of ["create", "mkdir", "writev"] as const) copies.errors[2]!.failNext(fop, "ENOSPC", 10);
    copies.wires[1]!.cut();
    await expect(session.write(fd, "1")).rejects.toMatchObject({ code: "ENOSPC" });
    await expect(session.create("g")).rejects.toMatchObject({ code: "ENOSPC" });
    await expect(session.mkdir("d")).rejects.toMatchObject({ code: "ENOSPC" });
  });
});
