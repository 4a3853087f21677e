/** How many files a brick keeps open for access without an open: bounded, and fewer when fds run short. */

import { describe, expect, it } from "vitest";
import { nodeEnv } from "../../../../src/core/env-node.ts";
import { Fd, type Inode } from "../../../../src/core/inode.ts";
import { SILENT } from "../../../../src/core/log.ts";
import { O_DIRECT, O_RDWR } from "../../../../src/core/open-flags.ts";
import { parseOptions } from "../../../../src/core/options.ts";
import { openDiskIo } from "../../../../src/os/disk-io.ts";
import { Brick } from "../../../../xlators/storage/posix/brick.ts";
import { OpenFiles, type Room, roomUnder } from "../../../../xlators/storage/posix/open-files.ts";
import { posixOptions } from "../../../../xlators/storage/posix/options.ts";
import { PosixFixture } from "./brick-fixture.ts";

function openFiles(fixture: PosixFixture, room: Room): OpenFiles {
  const { values: options } = parseOptions(posixOptions, new Map(), { who: "test" });
  const [env, io] = [nodeEnv(SILENT), openDiskIo("auto")];
  const brick = new Brick({ name: "brick", base: fixture.directory, env, log: SILENT, options, io });
  return new OpenFiles(brick.handles, brick.states, brick.mdata, brick.fence, room);
}

/** Asks for each file once, one after another; how many the brick has open after each. */
async function enterEach(inodes: readonly Inode[], fixture: PosixFixture, room: Room): Promise<number[]> {
  const files = openFiles(fixture, room);
  const open: number[] = [];
  for (const inode of inodes) {
    const file = await files.enterAnonymous(Fd.anonymous(inode, O_RDWR));
    files.leave(file);
    open.push(files.size);
  }
  files.closeAll();
  expect(files.size).toBe(0);
  return open;
}

async function fiveFiles(fixture: PosixFixture): Promise<Inode[]> {
  const inodes: Inode[] = [];
  for (const name of ["a", "b", "c", "d", "e"]) {
    const { inode, fd } = await fixture.create(name);
    await fixture.top.release(fd);
    inodes.push(inode);
  }
  return inodes;
}

describe("files open for access without an open", () => {
  it("are so many at most, and the last used stay", async () => {
    await using fixture = await PosixFixture.start();
    const inodes = await fiveFiles(fixture);
    const room = { files: 3, fdFull: Number.MAX_SAFE_INTEGER };
    expect(await enterEach(inodes, fixture, room)).toEqual([1, 2, 3, 3, 3]);
  });

  it("stay when they are used without being looked for", async () => {
    await using fixture = await PosixFixture.start();
    const inodes = await fiveFiles(fixture);
    const files = openFiles(fixture, { files: 3, fdFull: Number.MAX_SAFE_INTEGER });
    const [a, b, c, d] = inodes.map((inode) => Fd.anonymous(inode, O_RDWR));
    for (const fd of [a!, b!, c!]) files.leave(await files.enterAnonymous(fd));
    const used = files.enterKnown(a!)!;
    files.leave(used);
    files.leave(await files.enterAnonymous(d!));
    expect(files.enterKnown(a!)).toBe(used);
    files.leave(used);
    expect([b, c, d].map((fd) => files.enterKnown(fd!) !== undefined)).toEqual([false, true, true]);
  });

  it("are looked for again after the file is gone, and with other flags", async () => {
    await using fixture = await PosixFixture.start();
    const [inode] = await fiveFiles(fixture);
    const files = openFiles(fixture, { files: 3, fdFull: Number.MAX_SAFE_INTEGER });
    const fd = Fd.anonymous(inode!, O_RDWR);
    expect(files.enterKnown(fd)).toBeUndefined();
    const file = await files.enterAnonymous(fd);
    files.leave(file);
    expect(files.enterKnown(Fd.anonymous(inode!, O_RDWR | O_DIRECT))).toBeUndefined();
    files.dropAnonymous(file.state);
    expect(files.enterKnown(fd)).toBeUndefined();
    expect(files.size).toBe(0);
  });

  it("are one when the process has no fds to spare", async () => {
    await using fixture = await PosixFixture.start();
    const inodes = await fiveFiles(fixture);
    expect(await enterEach(inodes, fixture, { files: 100, fdFull: 0 })).toEqual([1, 1, 1, 1, 1]);
  });

  it.each([
    { fdsMax: 1024, fdFull: 512 },
    { fdsMax: 20_000, fdFull: 15_904 },
    { fdsMax: 1_048_576, fdFull: 1_044_480 },
  ])("leave fds to others under a limit of $fdsMax", ({ fdsMax, fdFull }) => {
    expect(roomUnder(fdsMax)).toEqual({ files: 16_384, fdFull });
  });
});
