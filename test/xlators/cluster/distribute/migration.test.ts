/** Files that the rebalance process of GlusterFS moves while they are in use (spec translators.md 6.7). */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { S_IFREG, SETATTR } from "../../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../../src/core/inode.ts";
import { O_RDWR } from "../../../../src/core/open-flags.ts";
import { outcome } from "../../../conformance/suite.ts";
import { LINKTO, Spread } from "./spread.ts";

/** The steps of a move from one brick to another, done on the bricks as GlusterFS does them. */
class Move {
  readonly #spread: Spread;
  readonly #inode: Inode;
  readonly #name: string;
  readonly #from: number;
  readonly #to: number;
  readonly #mode: number;

  constructor(spread: Spread, inode: Inode, name: string, from: number, to: number, mode = 0o644) {
    this.#spread = spread;
    this.#inode = inode;
    this.#name = name;
    this.#from = from;
    this.#to = to;
    this.#mode = mode;
  }

  get #source() {
    return this.#spread.brick(this.#from);
  }

  get #target() {
    return this.#spread.brick(this.#to);
  }

  #nameOf(child: number): string {
    return this.#spread.distribute.set.names[child]!;
  }

  /** The target is there and the source is marked: clients write to both. */
  async begin(): Promise<void> {
    const { gfid } = this.#inode;
    const xdata = new Dict().setGfid("gfid-req", gfid).setStr(LINKTO, this.#nameOf(this.#from));
    const target = this.#target;
    if ((await this.#spread.shownOn(this.#to, this.#name)) === undefined) {
      const args = { loc: target.at(this.#name), mode: S_IFREG | 0o1000, rdev: 0, umask: 0, xdata };
      await target.top.mknod(target.call, args);
    }
    await this.#source.setxattr(this.#inode, LINKTO, `${this.#nameOf(this.#to)}\0`);
    await this.#source.setattr(this.#inode, SETATTR.MODE, { mode: this.#mode | 0o3000 });
  }

  /** Copies what is there now. */
  async copy(): Promise<void> {
    const from = await this.#source.open(this.#inode);
    const data = await this.#source.read(from);
    const to = await this.#target.open(this.#inode);
    await this.#target.write(to, data);
  }

  /** The target has got everything, and the source is not given up yet: two files for a moment. */
  async almost(): Promise<void> {
    await this.#target.setattr(this.#inode, SETATTR.MODE, { mode: this.#mode });
    await this.#target.top.removexattr(this.#target.call, { loc: { inode: this.#inode }, name: LINKTO });
  }

  /** The target is the file; the source an empty linkto file. */
  async complete(): Promise<void> {
    await this.almost();
    await this.#source.setattr(this.#inode, SETATTR.MODE, { mode: 0o1000 });
    const fd = await this.#source.open(this.#inode);
    await this.#source.top.ftruncate(this.#source.call, { fd, offset: 0 });
    await this.#source.release(fd);
  }

  /** The old place is gone. */
  async remove(): Promise<void> {
    await this.#source.unlink(this.#name);
  }
}

async function moving(
  run: (spread: Spread, fd: Fd, move: Move, name: string) => Promise<void>,
): Promise<void> {
  await using spread = await Spread.start();
  const name = await spread.nameOn(1, "f");
  const inode = await spread.fileOn(0, name, "0123456789");
  const fd = await spread.session.open(inode);
  await run(spread, fd, new Move(spread, inode, name, 0, 1), name);
}

async function content(spread: Spread, child: number, inode: Inode): Promise<string> {
  const brick = spread.brick(child);
  return brick.text(await brick.open(inode));
}

describe("while a file is moved", () => {
  it("writes reach both places, and its marks are not shown", () =>
    moving(async (spread, fd, move, name) => {
      await move.begin();
      await move.copy();
      const reply = await spread.session.write(fd, "AB", 2);
      expect(reply.post.mode & 0o7777).toBe(0o644);
      expect(await content(spread, 0, fd.inode)).toBe("01AB456789");
      expect(await content(spread, 1, fd.inode)).toBe("01AB456789");
      expect((await spread.session.stat(name)).mode & 0o7777).toBe(0o644);
      expect((await spread.session.statInode(fd.inode)).mode & 0o7777).toBe(0o644);
      const { entries } = await spread.session.top.readdirp(spread.session.call, {
        fd: await spread.session.opendir(),
        size: 4096,
        offset: 0n,
      });
      const listed = entries.filter((entry) => entry.name === name);
      expect(listed.map(({ stat }) => stat.mode & 0o7777)).toEqual([0o644]);
    }));

  it("so do truncation, reservation, holes and attributes", () =>
    moving(async (spread, fd, move) => {
      await move.begin();
      await move.copy();
      const { top, call } = spread.session;
      await top.ftruncate(call, { fd, offset: 8 });
      await top.zerofill(call, { fd, offset: 0, size: 2 });
      await top.discard(call, { fd, offset: 2, size: 2 });
      await top.fallocate(call, { fd, keepSize: false, offset: 8, size: 4 });
      const expected = "\0\0\0\x00456\x37\0\0\0\0";
      expect(await content(spread, 0, fd.inode)).toBe(expected);
      expect(await content(spread, 1, fd.inode)).toBe(expected);
    }));

  it("a sync reaches both places", () =>
    moving(async (spread, fd, move) => {
      await move.begin();
      spread.clearCalls();
      await spread.session.top.fsync(spread.session.call, { fd, datasync: false });
      expect(spread.wires.map((wire) => wire.count("fsync"))).toEqual([1, 1, 0]);
    }));

  it("it is found by gfid even in the moment when it is in two places", () =>
    moving(async (spread, fd, move) => {
      await move.begin();
      await move.copy();
      await move.almost();
      const other = await spread.second();
      const { stat } = await other.top.lookup(other.call, { loc: { inode: new Inode(fd.inode.gfid) } });
      expect([stat.size, stat.mode & 0o7777]).toEqual([10, 0o644]);
      await other.end();
    }));

  it("a write whose repetition fails is a failed write", () =>
    moving(async (spread, fd, move) => {
      await move.begin();
      spread.errors[1]!.failNext("writev", "ENOSPC");
      expect(await outcome(spread.session.write(fd, "AB"))).toBe("ENOSPC");
    }));

  it("another name of it is refused: it would stay behind", () =>
    moving(async (spread, fd, move) => {
      await move.begin();
      expect(await outcome(spread.session.link(fd.inode, "second"))).toBe("EBUSY");
      expect(await spread.shown("second")).toEqual([undefined, undefined, undefined]);
    }));

  it("reads come from the old place", () =>
    moving(async (spread, fd, move) => {
      await move.begin();
      expect(await spread.session.text(fd)).toBe("0123456789");
    }));

  it("marks that are the user's own stay: no linkto xattr, no move", () =>
    moving(async (spread, fd) => {
      await spread.session.setattr(fd.inode, SETATTR.MODE, { mode: 0o1000 });
      await spread.session.write(fd, "x");
      expect(await spread.session.text(fd)).toBe("x123456789");
    }));
});

describe("after a file was moved", () => {
  it("open files go on at the new place: reads, writes, sync, attributes, locks", () =>
    moving(async (spread, fd, move) => {
      await spread.session.write(fd, "before", 0);
      await move.begin();
      await move.copy();
      await move.complete();
      const { session } = spread;
      expect(await session.text(fd)).toBe("before6789");
      await session.write(fd, "AFTER");
      expect(await content(spread, 1, fd.inode)).toBe("AFTERe6789");
      expect(await content(spread, 0, fd.inode)).toBe("");
      await session.top.fsync(session.call, { fd, datasync: false });
      expect(await session.size(fd)).toBe(10);
      expect((await session.lk(fd, "setlk", "wrlck", 0, 0)).flock.type).toBe("wrlck");
      await session.close(fd);
    }));

  it("a write that comes first finds it too, and none is lost in the old place", () =>
    moving(async (spread, fd, move) => {
      await move.begin();
      await move.copy();
      await move.complete();
      await spread.session.write(fd, "AB");
      expect(await content(spread, 1, fd.inode)).toBe("AB23456789");
    }));

  it("and the old place is gone", () =>
    moving(async (spread, fd, move, name) => {
      const anonymous = Fd.anonymous(fd.inode, O_RDWR);
      await move.begin();
      await move.copy();
      await move.complete();
      await move.remove();
      expect((await spread.session.read(anonymous)).toString()).toBe("0123456789");
      await spread.session.write(anonymous, "AB");
      expect((await spread.session.statInode(fd.inode)).size).toBe(10);
      expect(await spread.session.text(fd)).toBe("AB23456789");
      expect(await spread.shown(name)).toEqual([undefined, "data", undefined]);
    }));

  it("another name of it is made at its new place", () =>
    moving(async (spread, fd, move) => {
      await move.begin();
      await move.copy();
      await move.complete();
      await spread.session.link(fd.inode, "second");
      expect((await spread.shown("second"))[1]).toBe("data");
      expect((await spread.session.stat("second")).nlink).toBe(2);
    }));

  it("twice, to and fro, each time is followed", () =>
    moving(async (spread, fd, move, name) => {
      const back = new Move(spread, fd.inode, name, 1, 2);
      await move.begin();
      await move.copy();
      await move.complete();
      await move.remove();
      await spread.session.write(fd, "1", 1);
      await back.begin();
      await back.copy();
      await spread.session.write(fd, "2", 2);
      await back.complete();
      await spread.session.write(fd, "3", 3);
      expect(await content(spread, 2, fd.inode)).toBe("0123456789");
      expect(await spread.session.text(fd)).toBe("0123456789");
    }));

  it("unlink removes it at its new place", () =>
    moving(async (spread, fd, move, name) => {
      await move.begin();
      await move.copy();
      await move.complete();
      const { top, call, root } = spread.session;
      await top.unlink(call, { loc: { inode: fd.inode, parent: root, name }, flags: 0 });
      expect(await spread.shown(name)).toEqual([undefined, undefined, undefined]);
    }));
});
