/** When times of reads and writes reach the disk (translators.md 2.3), and that all see them before. */

// First, as whatever uses libc is: koffi must be set up by it.
import "../../../../src/os/libc.ts";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Call, internalCall } from "../../../../src/core/call.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { Fd } from "../../../../src/core/inode.ts";
import { O_RDWR } from "../../../../src/core/open-flags.ts";
import { type FakeEnv, fakeEnv } from "../../../support/fake-env.ts";
import { getXattr } from "../../../support/libc.ts";
import { until } from "../../../support/wait.ts";
import { CALL, PosixFixture, stamped } from "./brick-fixture.ts";

const MDATA = "trusted.glusterfs.mdata";
const MTIME_AT = 25;
const OPENED_MS = 1000;
const UNOPENED_MS = 30_000;

interface Rig {
  readonly env: FakeEnv;
  readonly brick: PosixFixture;
  /** A client's open fd. */
  readonly opened: Fd;
  /** What reaches the file by its gfid, as a client does with a block of an image. */
  readonly unopened: Fd;
}

/** A file whose times are second 1. */
async function start(): Promise<Rig & AsyncDisposable> {
  const env = fakeEnv();
  const brick = await PosixFixture.start({}, env);
  const { fd, inode } = await brick.create("f", { call: stamped(7, 1) });
  const unopened = Fd.anonymous(inode, O_RDWR);
  return { env, brick, opened: fd, unopened, [Symbol.asyncDispose]: () => brick[Symbol.asyncDispose]() };
}

async function writeAt(sec: number, brick: PosixFixture, fd: Fd): Promise<void> {
  await brick.top.writev(stamped(3, sec), { fd, data: [Buffer.from(`${sec}`)], offset: 0, flags: 0 });
}

function onDisk(brick: PosixFixture, name = "f"): number {
  return Number(getXattr(brick.path(name), MDATA).readBigUInt64BE(MTIME_AT));
}

async function reachesDisk(brick: PosixFixture, sec: number): Promise<void> {
  await until(`second ${sec} is on disk`, () => onDisk(brick) === sec);
}

describe("times of a write", () => {
  it("are seen at once, in attributes and as an xattr, and are on disk later", async () => {
    await using rig = await start();
    const { env, brick, opened } = rig;
    await writeAt(2, brick, opened);
    const seen = await brick.lookup("f", { xdata: new Dict().setInt(MDATA, 0) });
    const call: Call = internalCall(-3);
    const { inode } = seen;
    const one = await brick.top.getxattr(call, { loc: { inode }, name: MDATA });
    const all = await brick.top.getxattr(call, { loc: { inode }, name: undefined });
    expect(seen.stat.mtime).toBe(2);
    for (const dict of [seen.xdata!, one.xattrs, all.xattrs])
      expect(Number(dict.bytes(MDATA)!.readBigUInt64BE(MTIME_AT))).toBe(2);
    await env.clock.advance(OPENED_MS - 1);
    expect(onDisk(brick)).toBe(1);
    await env.clock.advance(1);
    await reachesDisk(brick, 2);
  });

  it("are on disk with flush, fsync and release", async () => {
    await using rig = await start();
    const { brick, opened } = rig;
    await writeAt(3, brick, opened);
    await brick.top.flush(CALL, { fd: opened });
    expect(onDisk(brick)).toBe(3);
    await writeAt(4, brick, opened);
    await brick.top.fsync(CALL, { fd: opened, datasync: false });
    expect(onDisk(brick)).toBe(4);
    await writeAt(5, brick, opened);
    await brick.top.release(opened);
    expect(onDisk(brick)).toBe(5);
  });

  it("are not on disk with fdatasync, which the data is", async () => {
    await using rig = await start();
    const { brick, opened } = rig;
    await writeAt(3, brick, opened);
    await brick.top.fsync(CALL, { fd: opened, datasync: true });
    expect(onDisk(brick)).toBe(1);
    expect(readFileSync(brick.path("f"), "utf8")).toBe("3");
  });

  it("wait longer where no client has the file open, and share one xattr", async () => {
    await using rig = await start();
    const { env, brick, unopened } = rig;
    await writeAt(2, brick, unopened);
    await env.clock.advance(UNOPENED_MS / 2);
    await writeAt(3, brick, unopened);
    await env.clock.advance(UNOPENED_MS / 2 - 1);
    expect(onDisk(brick)).toBe(1);
    await env.clock.advance(1);
    await reachesDisk(brick, 3);
    await writeAt(4, brick, unopened);
    await brick.top.fsync(CALL, { fd: unopened, datasync: false });
    expect(onDisk(brick)).toBe(4);
  });

  it("wait no longer once a client writes by an fd of its own", async () => {
    await using rig = await start();
    const { env, brick, opened, unopened } = rig;
    await writeAt(2, brick, unopened);
    await writeAt(3, brick, opened);
    await env.clock.advance(OPENED_MS);
    await reachesDisk(brick, 3);
  });

  it("are on disk soon after a client has left", async () => {
    await using rig = await start();
    const { env, brick, opened, unopened } = rig;
    const other = await brick.create("g", { call: stamped(7, 1) });
    await writeAt(2, brick, unopened);
    await writeAt(2, brick, other.fd);
    brick.top.clientDisconnect({ id: "client", opVersion: 0 });
    await env.clock.advance(0);
    await reachesDisk(brick, 2);
    await until("the other's, too", () => onDisk(brick, "g") === 2);
    await writeAt(3, brick, opened);
    await env.clock.advance(OPENED_MS);
    await reachesDisk(brick, 3);
  });

  it("are on disk when the brick has stopped", async () => {
    await using rig = await start();
    const { env, brick, unopened } = rig;
    const other = await brick.create("g", { call: stamped(7, 1) });
    await writeAt(2, brick, unopened);
    await writeAt(3, brick, other.fd);
    await brick.restart();
    expect([onDisk(brick), onDisk(brick, "g")]).toEqual([2, 3]);
    expect(env.log.lines.filter(({ level }) => level === "warn")).toEqual([]);
  });

  it("keep no file that lost its last name from being closed", async () => {
    await using rig = await start();
    const { env, brick, opened, unopened } = rig;
    await brick.top.release(opened);
    const before = brick.top.dump()["openFiles"];
    await writeAt(2, brick, unopened);
    expect(brick.top.dump()).toMatchObject({ openFiles: Number(before) + 1, timesPending: 1 });
    await brick.unlink("f", { inode: unopened.inode });
    await until("it is closed", () => brick.top.dump()["openFiles"] === before);
    expect(brick.top.dump()).toMatchObject({ timesPending: 0 });
    expect(env.log.lines.filter(({ level }) => level === "warn")).toEqual([]);
  });
});
