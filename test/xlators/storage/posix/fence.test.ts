/** Files that a mount which died left to writers are kept from whoever serves the brick next. */

import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { FopError } from "../../../../src/core/errors.ts";
import { Fd, type Inode } from "../../../../src/core/inode.ts";
import { WRITERS_XATTR } from "../../../../src/core/keys.ts";
import { SILENT } from "../../../../src/core/log.ts";
import { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC } from "../../../../src/core/open-flags.ts";
import { setXattrNow } from "../../../../src/os/files.ts";
import { Fence } from "../../../../xlators/storage/posix/fence.ts";
import { InodeState } from "../../../../xlators/storage/posix/inode-state.ts";
import { getXattr } from "../../../../xlators/storage/posix/target.ts";
import { CALL, PosixFixture, stamped } from "./brick-fixture.ts";

/** A brick with a file "f" of three bytes that nobody has open. */
async function brickWithFile(): Promise<{ brick: PosixFixture; inode: Inode }> {
  const brick = await PosixFixture.start();
  const { inode, fd } = await brick.create("f");
  await brick.write(fd, "old");
  await brick.top.release(fd);
  return { brick, inode };
}

async function open(brick: PosixFixture, inode: Inode, flags = O_RDWR): Promise<Fd> {
  const fd = new Fd(inode, flags);
  await brick.top.open(CALL, { loc: { inode }, fd, flags });
  return fd;
}

/** Lends the file, as to a kernel that is to write it, and ends the graph. */
async function lendAndRestart(brick: PosixFixture, inode: Inode): Promise<void> {
  const fd = await open(brick, inode);
  expect(brick.top.localFile(fd)).toBeTypeOf("number");
  await brick.restart();
}

/** What is left of a dead mount: somebody has a brick's file open for writing. */
function leftWriter(brick: PosixFixture): Disposable & { readonly osFd: number } {
  const osFd = openSync(brick.path("f"), "r+");
  return { osFd, [Symbol.dispose]: () => closeSync(osFd) };
}

describe("a file that was lent to writers by a process before", () => {
  it("is opened by nobody, in no way, until the last of them has closed it", async () => {
    const { brick, inode } = await brickWithFile();
    await using _end = brick;
    await lendAndRestart(brick, inode);
    {
      using writer = leftWriter(brick);
      for (const flags of [O_RDONLY, O_RDWR])
        await expect(open(brick, inode, flags)).rejects.toMatchObject({ code: "EBUSY", fop: "open" });
      await expect(brick.write(Fd.anonymous(inode, O_RDWR), "new")).rejects.toMatchObject({ code: "EBUSY" });
      await expect(brick.top.truncate(CALL, { loc: { inode }, offset: 0 })).rejects.toMatchObject({
        code: "EBUSY",
      });
      await expect(brick.create("f", { flags: O_RDWR | O_CREAT | O_TRUNC })).rejects.toMatchObject({
        code: "EBUSY",
      });
      writeSync(writer.osFd, "his", 0);
      expect((await brick.lookup("f")).stat.size).toBe(3);
    }
    expect(await brick.read(await open(brick, inode))).toBe("his");
    await brick.write(Fd.anonymous(inode, O_RDWR), "new");
    expect(readFileSync(brick.path("f"), "utf8")).toBe("new");
  });

  it("can be removed, and a new one takes its name", async () => {
    const { brick, inode } = await brickWithFile();
    await using _end = brick;
    await lendAndRestart(brick, inode);
    using _writer = leftWriter(brick);
    await brick.unlink("f", { inode });
    const { fd } = await brick.create("f");
    await brick.write(fd, "new");
    expect(await brick.read(fd)).toBe("new");
  });

  it("opens for all who come at the same time when nobody is left, and again beside them", async () => {
    const { brick, inode } = await brickWithFile();
    await using _end = brick;
    await lendAndRestart(brick, inode);
    await Promise.all([1, 2, 3].map(() => open(brick, inode)));
    await open(brick, inode);
    await brick.write(Fd.anonymous(inode, O_RDWR), "new");
  });

  it("is this process' to open while those that it lent it to write", async () => {
    const { brick, inode } = await brickWithFile();
    await using _end = brick;
    await lendAndRestart(brick, inode);
    const fence = new Fence(brick.directory, SILENT);
    await fence.start();
    const fd = await open(brick, inode);
    expect(fence.lend(new InodeState(inode.gfid), brick.top.localFile(fd)!)).toBe(true);
    using _mapping = leftWriter(brick);
    // The inode was forgotten meanwhile, and is met anew.
    expect(fence.pass(new InodeState(inode.gfid), brick.path("f"))).toBeUndefined();
    const other = new Fence(brick.directory, SILENT);
    await other.start();
    await expect(other.pass(new InodeState(inode.gfid), brick.path("f"))).rejects.toThrow(FopError);
  });
});

describe("a brick", () => {
  it("whose files were never lent in this boot asks nobody", async () => {
    const { brick, inode } = await brickWithFile();
    await using _end = brick;
    await brick.restart();
    using _writer = leftWriter(brick);
    await open(brick, inode);
    expect(await getXattr(brick.path(".glusterfs"), WRITERS_XATTR)).toBeUndefined();
    setXattrNow(brick.path(".glusterfs"), WRITERS_XATTR, Buffer.from("another boot"));
    await brick.restart();
    await open(brick, inode);
  });

  it("lends a file to readers alone when its times are in an xattr", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("stamped", { call: stamped(7, 1_700_000_000) });
    expect(brick.top.localFile(fd)).toBeUndefined();
    expect(brick.top.localFile(await open(brick, inode, O_RDONLY))).toBeTypeOf("number");
  });

  it("lends nothing that nobody opened", async () => {
    const { brick, inode } = await brickWithFile();
    await using _end = brick;
    await brick.write(Fd.anonymous(inode, O_RDWR), "new");
    expect(brick.top.localFile(Fd.anonymous(inode, O_RDWR))).toBeUndefined();
  });
});
