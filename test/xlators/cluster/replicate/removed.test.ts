/**
 * Objects that one of two copies has and the other has not, without a rule of quorum: what was removed while
 * a copy was away takes no writes when that copy is back, what was made meanwhile does.
 */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../../src/core/inode.ts";
import { O_RDWR } from "../../../../src/core/open-flags.ts";
import { settle } from "../../../support/fake-env.ts";
import { bytesOn, expectHealed, expectUnlocked, heal, runClock, startCopies } from "./heal-rig.ts";
import type { Copies } from "./three-copies.ts";

const STALE = { code: "ESTALE" };

function two(options: Readonly<Record<string, string>> = {}): Promise<Copies> {
  return startCopies({ count: 2, options: { "quorum-type": "none", ...options } });
}

/** Runs `work` while one copy is away. */
async function without(copies: Copies, child: number, work: () => Promise<unknown>): Promise<void> {
  copies.wires[child]!.cut();
  await work();
  copies.wires[child]!.mend();
}

/** A file that was removed while copy 0, which has it still, was away. */
async function removedBehind(copies: Copies, name = "f"): Promise<Inode> {
  const inode = await copies.file(name, "old");
  await without(copies, 0, () => copies.session.unlink(name));
  expect(await copies.brick(0).exists(name)).toBe(true);
  return inode;
}

function writeTo(copies: Copies, inode: Inode, text = "new"): Promise<unknown> {
  return runClock(copies, copies.session.write(Fd.anonymous(inode, O_RDWR), text));
}

describe("what was removed while a copy was away", () => {
  it("takes no write by gfid, and is left without a mark", async () => {
    await using copies = await two();
    const inode = await removedBehind(copies);
    await expect(writeTo(copies, inode)).rejects.toMatchObject(STALE);
    expect((await bytesOn(copies.brick(0), inode)).toString()).toBe("old");
    expect(await copies.marks(0, inode)).toEqual({});
    await expectUnlocked(copies, inode);
  });

  it("takes no write through a descriptor that only that copy knows", async () => {
    await using copies = await two();
    const inode = await copies.file("f", "old");
    copies.wires[1]!.cut();
    const fd = await copies.session.open(inode);
    copies.wires[1]!.mend();
    await without(copies, 0, () => copies.session.unlink("f"));
    await expect(runClock(copies, copies.session.write(fd, "new"))).rejects.toMatchObject(STALE);
    expect((await bytesOn(copies.brick(0), inode)).toString()).toBe("old");
  });

  it("takes no new attributes, truncation or sync", async () => {
    await using copies = await two();
    const { session } = copies;
    const inode = await removedBehind(copies);
    const fd = Fd.anonymous(inode, O_RDWR);
    const stat = { ...(await copies.brick(0).statInode(inode)), mode: 0o100600 };
    const attempts = [
      () => session.top.setattr(session.call, { loc: { inode }, stat, valid: SETATTR.MODE }),
      () => session.top.truncate(session.call, { loc: { inode }, offset: 0 }),
      () => session.top.fsync(session.call, { fd, datasync: true }),
    ];
    for (const attempt of attempts)
      await expect(runClock<unknown>(copies, attempt())).rejects.toMatchObject(STALE);
    expect((await copies.brick(0).statInode(inode)).mode & 0o777).toBe(0o644);
  });

  it("is not read either, nor opened or found by gfid", async () => {
    await using copies = await two();
    const { session } = copies;
    const inode = await removedBehind(copies);
    await expect(session.read(Fd.anonymous(inode, O_RDWR), 0, 3)).rejects.toMatchObject(STALE);
    await expect(session.open(inode)).rejects.toMatchObject(STALE);
    await expect(session.top.lookup(session.call, { loc: { inode } })).rejects.toMatchObject(STALE);
  });

  it("takes no write when its name belongs to another object by now", async () => {
    await using copies = await two();
    const inode = await copies.file("f", "old");
    await without(copies, 0, async () => {
      await copies.session.unlink("f");
      await copies.file("f", "other");
    });
    await expect(writeTo(copies, inode)).rejects.toMatchObject(STALE);
  });

  it("takes no write when its directory went with it", async () => {
    await using copies = await two();
    const { session } = copies;
    const outer = await session.mkdir("outer");
    const dir = await session.mkdir("d", { parent: outer });
    const inode = await copies.file("f", "old", dir);
    await without(copies, 0, async () => {
      await session.unlink("f", dir);
      await session.rmdir("d", outer);
    });
    await expect(writeTo(copies, inode)).rejects.toMatchObject(STALE);
  });

  it("takes no write when half of the copies are enough by a rule", async () => {
    await using copies = await two({ "quorum-type": "fixed", "quorum-count": "1" });
    const inode = await removedBehind(copies);
    await expect(writeTo(copies, inode)).rejects.toMatchObject(STALE);
  });

  it("is found by no lookup of its name while somebody else holds the lock on that", async () => {
    await using copies = await two();
    await removedBehind(copies);
    const bricks = [copies.brick(0), copies.brick(1)];
    const entrylk = (cmd: "lock" | "unlock") => {
      const lock = { volume: "v-replicate-0", name: "f", type: "wrlck", cmd } as const;
      return Promise.all(
        bricks.map(({ top, call }) => top.entrylk(call, { ...lock, loc: { inode: copies.session.root } })),
      );
    };
    await entrylk("lock");
    const looking = copies.session.exists("f");
    looking.catch(() => {});
    await copies.env.clock.advance(30);
    await entrylk("unlock");
    expect(await runClock(copies, looking)).toBe(false);
    expect(await copies.brick(0).exists("f")).toBe(false);
  });
});

describe("what was made while a copy was away", () => {
  it("takes writes by gfid and by descriptor when that copy is back and not healed", async () => {
    await using copies = await two();
    copies.wires[1]!.cut();
    const fd = await copies.session.create("f");
    copies.wires[1]!.mend();
    await runClock(copies, copies.session.write(fd, "one"));
    await writeTo(copies, fd.inode, "two");
    expect(await copies.brick(1).exists("f")).toBe(false);
    await heal(copies, copies.session.root);
    await heal(copies, fd.inode);
    await expectHealed(copies, fd.inode, "two");
  });

  it("takes attributes", async () => {
    await using copies = await two();
    const { session } = copies;
    copies.wires[1]!.cut();
    const { inode } = await session.create("f");
    copies.wires[1]!.mend();
    const xattrs = Dict.ofBytes({ "user.a": Buffer.from("b") });
    await runClock(copies, session.top.setxattr(session.call, { loc: { inode }, xattrs, flags: 0 }));
    await heal(copies, session.root);
    await heal(copies, inode);
    const found = await copies.brick(1).top.getxattr(session.call, { loc: { inode }, name: "user.a" });
    expect(found.xattrs.text("user.a")).toBe("b");
  });

  it("takes writes in directories that are new themselves", async () => {
    await using copies = await two();
    const { session } = copies;
    let inode = new Inode();
    await without(copies, 1, async () => {
      const outer = await session.mkdir("outer");
      const dir = await session.mkdir("d", { parent: outer });
      inode = await copies.file("f", "old", dir);
    });
    await writeTo(copies, inode);
    expect((await bytesOn(copies.brick(0), inode)).toString()).toBe("new");
  });

  it("takes writes when each copy has missed something of the other's, and both are merged", async () => {
    await using copies = await two();
    const { session } = copies;
    let first = new Inode();
    let second = new Inode();
    await without(copies, 1, async () => {
      first = await copies.file("first", "old");
    });
    copies.wires[0]!.cut();
    second = await copies.file("second", "old");
    copies.wires[0]!.mend();
    await writeTo(copies, first);
    await writeTo(copies, second);
    await heal(copies, session.root);
    for (const inode of [first, second]) {
      await heal(copies, inode);
      await expectHealed(copies, inode, "new");
    }
  });

  it("takes writes under one of its names when another was removed", async () => {
    await using copies = await two();
    const { session } = copies;
    const dir = await session.mkdir("d");
    const other = await session.mkdir("other");
    let inode = new Inode();
    await without(copies, 1, async () => {
      inode = await copies.file("f", "old", dir);
      await session.link(inode, "g", other);
    });
    // The directory of one name is behind where the file is.
    await copies.mark(1, other, 0, [0, 0, 1]);
    await copies.mark(0, other, 1, [0, 0, -1]);
    await writeTo(copies, inode);
    expect((await bytesOn(copies.brick(0), inode)).toString()).toBe("new");
  });
});

describe("a file without a name", () => {
  it("takes writes through the descriptor that keeps it, on the copy where that is open", async () => {
    await using copies = await two();
    const { session } = copies;
    const inode = await copies.file("f", "old");
    copies.wires[1]!.cut();
    const fd = await session.open(inode);
    copies.wires[1]!.mend();
    await session.unlink("f");
    await runClock(copies, session.write(fd, "new"));
    expect((await runClock(copies, session.read(fd, 0, 3))).toString()).toBe("new");
  });
});

describe("the question who is right", () => {
  it("is not asked where most copies have the object", async () => {
    await using copies = await startCopies({ count: 3 });
    const { session } = copies;
    copies.wires[2]!.cut();
    const fd = await session.create("f");
    copies.wires[2]!.mend();
    await session.lookup("f").catch(() => {});
    copies.clearCalls();
    await settle();
    await writeTo(copies, fd.inode);
    expect(copies.wires.map((wire) => wire.count("getxattr"))).toEqual([0, 0, 0]);
  });
});
