/** Open files and locks of programs while copies come and go. */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { Fd } from "../../../../src/core/inode.ts";
import { KEY } from "../../../../src/core/keys.ts";
import { O_CREAT, O_RDWR, O_TRUNC } from "../../../../src/core/open-flags.ts";
import { settle } from "../../../support/fake-env.ts";
import { SecondClient } from "./second-client.ts";
import { Copies } from "./three-copies.ts";

describe("an open file", () => {
  it("is opened on a copy that returns, before it takes part, and not emptied again", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f", "content");
    copies.wires[1]!.cut();
    const fd = await copies.session.open(inode, O_RDWR | O_CREAT | O_TRUNC);
    await copies.session.write(fd, "abc");
    copies.wires[1]!.mend();
    copies.clearCalls();
    await copies.session.write(fd, "def", 3);
    const fops = copies.wires[1]!.calls.map(({ fop, args }) =>
      fop === "open" ? `open ${(args as { flags: number }).flags}` : fop,
    );
    expect(fops[0]).toBe(`open ${O_RDWR}`);
    expect(fops).toContain("writev");
    expect(copies.wires[0]!.count("open")).toBe(0);
  });

  it("is emptied by O_TRUNC as a transaction", async () => {
    await using copies = await Copies.start({ options: { "post-op-delay-secs": "0" } });
    const inode = await copies.file("f", "content");
    copies.wires[2]!.cut();
    const fd = await copies.session.open(inode, O_RDWR | O_TRUNC);
    await settle();
    expect(await copies.session.size(fd)).toBe(0);
    expect(await copies.marks(0, inode)).toEqual({ 2: [1, 0, 0] });
  });

  it("that cannot be emptied is closed again", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f", "content");
    for (const error of copies.errors) error.failNext("ftruncate", "EIO");
    await expect(copies.session.open(inode, O_RDWR | O_TRUNC)).rejects.toMatchObject({ code: "EIO" });
    const xdata = new Dict().setUint(KEY.OPEN_FD_COUNT, 0);
    const { session } = copies;
    const reply = await session.top.lookup(session.call, { loc: { inode }, xdata });
    expect(reply.xdata!.number(KEY.OPEN_FD_COUNT)).toBe(0);
  });

  it("that could be opened on too few copies is closed on those", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    for (const index of [0, 1]) copies.errors[index]!.failNext("open", "EMFILE");
    await expect(copies.session.open(inode)).rejects.toMatchObject({ code: "EMFILE" });
    await copies.session.open(inode);
  });

  it("needs no open when it is anonymous", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f", "content");
    const fd = Fd.anonymous(inode, O_RDWR);
    copies.clearCalls();
    await copies.session.write(fd, "C");
    expect((await copies.session.read(fd)).toString()).toBe("Content");
    expect(copies.wires.map((wire) => wire.count("open"))).toEqual([0, 0, 0]);
  });

  it("of which no copy is good cannot be opened", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    for (const [index, blamed] of [
      [0, 1],
      [1, 2],
      [2, 0],
    ] as const)
      await copies.mark(index, inode, blamed, [1, 0, 0]);
    copies.wires[0]!.cut();
    copies.wires[0]!.mend();
    await expect(copies.session.open(inode)).rejects.toMatchObject({ code: "EIO" });
  });
});

describe("locks of programs", () => {
  it("are on every copy, and a conflict on one undoes those on the others", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    const fd = await copies.session.open(inode);
    const other = copies.session.as({ owner: "other" });
    const brick = copies.brick(1);
    const theirs = await brick.open(inode);
    await brick.lk(theirs, "setlk", "wrlck", 0, 10);
    await expect(copies.session.lk(fd, "setlk", "wrlck", 0, 10)).rejects.toMatchObject({ code: "EAGAIN" });
    await brick.lk(theirs, "setlk", "unlck", 0, 10);
    await other.lk(fd, "setlk", "wrlck", 0, 10);
    await expect(copies.session.lk(fd, "setlk", "wrlck", 0, 10)).rejects.toMatchObject({ code: "EAGAIN" });
    const { flock } = await copies.session.lk(fd, "getlk", "wrlck", 0, 10);
    expect(flock.type).toBe("wrlck");
    await other.lk(fd, "setlk", "unlck", 0, 10);
    await copies.session.lk(fd, "setlk", "wrlck", 0, 10);
    await brick.release(theirs);
  });

  it("need a quorum of grants (QUO-06)", async () => {
    await using copies = await Copies.start();
    const fd = await copies.session.open(await copies.file("f"));
    copies.wires[0]!.cut();
    await copies.session.lk(fd, "setlk", "wrlck", 0, 1);
    await copies.session.lk(fd, "setlk", "unlck", 0, 1);
    copies.errors[1]!.failNext("lk", "EIO");
    await expect(copies.session.lk(fd, "setlk", "wrlck", 0, 1)).rejects.toMatchObject({ code: "EIO" });
    await copies.session.as({ owner: "other" }).lk(fd, "setlk", "wrlck", 0, 1);
  });

  it("are granted on a copy that was away when the file was opened (EAG-08)", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    copies.wires[0]!.cut();
    const fd = await copies.session.open(inode);
    copies.wires[0]!.mend();
    copies.clearCalls();
    await copies.session.lk(fd, "setlk", "wrlck", 0, 0);
    expect(copies.wires[0]!.calls.map(({ fop }) => fop)).toEqual(["open", "lk"]);
  });

  it("that too few copies kept end the use of the descriptor, for reads as for writes (EAG-09)", async () => {
    await using copies = await Copies.start({ options: { "read-subvolume-index": "2" } });
    const { session } = copies;
    const inode = await copies.file("f", "content");
    const fd = await session.open(inode);
    const unlocked = await session.open(inode);
    await session.lk(fd, "setlk", "wrlck", 0, 0);
    /** A child that comes back with strict-locks does not know the descriptor any more. */
    const lose = (child: number): void => {
      copies.wires[child]!.cut();
      copies.wires[child]!.mend();
      copies.errors[child]!.failWhere((_fop, _call, args) =>
        (args as { fd?: Fd }).fd === fd ? "EBADFD" : undefined,
      );
    };
    lose(0);
    await session.write(fd, "CON");
    expect(String(await session.read(fd))).toBe("CONtent");
    lose(1);
    copies.clearCalls();
    await expect(session.write(fd, "lost")).rejects.toMatchObject({ code: "EBADFD" });
    await expect(session.read(fd)).rejects.toMatchObject({ code: "EBADFD" });
    expect(copies.wires.map((wire) => wire.count("writev") + wire.count("readv"))).toEqual([0, 0, 0]);
    expect(String(await session.read(unlocked))).toBe("CONtent");
  });

  it("do not matter to a descriptor that is opened again where they were lost", async () => {
    await using copies = await Copies.start();
    const { session } = copies;
    const fd = await session.open(await copies.file("f", "content"));
    await session.lk(fd, "setlk", "wrlck", 0, 0);
    for (const wire of copies.wires.slice(0, 2)) {
      wire.cut();
      wire.mend();
    }
    copies.clearCalls();
    await session.write(fd, "CON");
    expect(String(await session.read(fd))).toBe("CONtent");
    await session.read(fd);
    expect(copies.wires.map((wire) => wire.count("fstat"))).toEqual([1, 1, 1]);
  });

  it("of other translators: one of two that come at the same time gets it, on all copies", async () => {
    await using copies = await Copies.start();
    const inode = await copies.file("f");
    await using second = await SecondClient.start(copies);
    const theirs = await second.session.inode("f");
    const outcomes = await Promise.allSettled([
      copies.session.inodelk(inode, "domain", "setlk", "wrlck"),
      second.session.inodelk(theirs, "domain", "setlk", "wrlck"),
    ]);
    expect(outcomes.filter(({ status }) => status === "fulfilled").length).toBeLessThanOrEqual(1);
    const winner = outcomes[0]!.status === "fulfilled" ? copies.session : second.session;
    if (outcomes.some(({ status }) => status === "fulfilled"))
      await winner.inodelk(winner === copies.session ? inode : theirs, "domain", "setlk", "unlck");
    await copies.session.inodelk(inode, "domain", "setlkw", "wrlck");
    await copies.session.entrylk(inode, "domain", "lock-nb", "name");
    await expect(second.session.entrylk(theirs, "domain", "lock-nb", "name")).rejects.toMatchObject({
      code: "EAGAIN",
    });
    const waiting = second.session.entrylk(theirs, "domain", "lock", "name");
    await copies.session.entrylk(inode, "domain", "unlock", "name");
    await waiting;
  });
});
