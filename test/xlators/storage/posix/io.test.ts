/**
 * Data fops of storage/posix: reads, writes, O_DIRECT, syncs, ranges, anonymous fds (translators.md 2.6,
 * qemu-fio-needs.md 2).
 */

// koffi is configured there, which must come before anything else is loaded through it.
import "../../../../src/os/libc.ts";
import { createHash } from "node:crypto";
import { fstatSync, openSync, readFileSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TIME_FLAGS } from "../../../../src/core/call.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { newGfid } from "../../../../src/core/gfid.ts";
import { Fd, Inode } from "../../../../src/core/inode.ts";
import {
  O_APPEND,
  O_DIRECT,
  O_DSYNC,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TRUNC,
  O_WRONLY,
} from "../../../../src/core/open-flags.ts";
import { alignedBuffer } from "../../../../src/os/memory.ts";
import { adler32From0 } from "../../../../xlators/storage/posix/adler32.ts";
import { getXattr } from "../../../support/libc.ts";
import { cachedBytes, whyCached } from "../../../support/page-cache.ts";
import { until } from "../../../support/wait.ts";
import { CALL, PosixFixture, stamped, withGfid } from "./brick-fixture.ts";

const ATOMIC = "glusterfs.write-update-atomic";
const APPEND = "glusterfs.write-is-append";

async function openFd(brick: PosixFixture, inode: Inode, flags: number): Promise<Fd> {
  const fd = new Fd(inode, flags);
  await brick.top.open(CALL, { loc: { inode }, fd, flags });
  return fd;
}

/** Seconds of mtime in the mdata xattr. */
function mtimeOnDisk(path: string): number {
  return Number(getXattr(path, "trusted.glusterfs.mdata").readBigUInt64BE(25));
}

describe("large buffered writes", () => {
  const reason = whyCached(tmpdir());
  const MIB = 1 << 20;

  it.skipIf(reason !== undefined).each([
    ["leave no pages in memory", {}, MIB, 0],
    ["leave them when they are smaller", {}, MIB - 4096, MIB - 4096],
    ["leave them when the option says so", { "uncached-write-min-size": "0" }, MIB, MIB],
    ["are as large as the option says", { "uncached-write-min-size": "64KB" }, 65536, 0],
  ] as const)(`%s${reason ? ` (skipped: ${reason})` : ""}`, async (_name, options, size, kept) => {
    await using brick = await PosixFixture.start(options);
    const { fd } = await brick.create("f");
    const data = [Buffer.alloc(size, "a")];
    expect(await brick.top.writev(CALL, { fd, data, offset: 0, flags: 0 })).toMatchObject({ size });
    await brick.top.fsync(CALL, { fd, datasync: false });
    await until("pages are as expected", () => cachedBytes(brick.path("f")) === kept);
    expect(readFileSync(brick.path("f")).equals(data[0]!)).toBe(true);
  });
});

describe("readv and writev", () => {
  it("keep a model file's contents under random reads, writes and truncates", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    const step = fc.record({
      kind: fc.constantFrom("write", "read", "truncate", "discard", "zerofill"),
      offset: fc.nat(20_000),
      size: fc.integer({ min: 1, max: 9000 }),
      byte: fc.integer({ min: 1, max: 255 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        await brick.top.ftruncate(CALL, { fd, offset: 0 });
        let model = Buffer.alloc(0);
        const grow = (size: number): void => {
          if (size > model.length) model = Buffer.concat([model, Buffer.alloc(size - model.length)]);
        };
        for (const { kind, offset, size, byte } of steps) {
          if (kind === "write") {
            const half = size >>> 1;
            const data = [Buffer.alloc(half, byte), Buffer.alloc(size - half, byte)];
            const reply = await brick.top.writev(CALL, { fd, data, offset, flags: 0 });
            expect(reply.size).toBe(size);
            expect(reply.pre.size).toBe(model.length);
            grow(offset + size);
            model.fill(byte, offset, offset + size);
            expect(reply.post.size).toBe(model.length);
          } else if (kind === "truncate") {
            await brick.top.ftruncate(CALL, { fd, offset });
            grow(offset);
            model = model.subarray(0, offset);
          } else if (kind === "discard") {
            await brick.top.discard(CALL, { fd, offset, size });
            model.fill(0, Math.min(offset, model.length), Math.min(offset + size, model.length));
          } else if (kind === "zerofill") {
            await brick.top.zerofill(CALL, { fd, offset, size });
            grow(offset + size);
            model.fill(0, offset, offset + size);
          }
          const { data, size: got, eof } = await brick.top.readv(CALL, { fd, offset, size, flags: 0 });
          expect(Buffer.concat(data as Buffer[])).toEqual(model.subarray(offset, offset + size));
          expect(eof).toBe(offset + got >= model.length);
        }
      }),
      { numRuns: 25 },
    );
  });

  it("give memory that the caller may keep until it releases it", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    await brick.write(fd, Buffer.concat([Buffer.alloc(4096, "a"), Buffer.alloc(4096, "b")]));
    const first = await brick.top.readv(CALL, { fd, offset: 0, size: 4096, flags: 0 });
    const second = await brick.top.readv(CALL, { fd, offset: 4096, size: 4096, flags: 0 });
    expect(first.data[0]!.every((byte) => byte === 97)).toBe(true);
    expect(second.data[0]!.every((byte) => byte === 98)).toBe(true);
    first.lease!.release();
    second.lease!.release();
  });

  it("read the rest of a file when more is asked for, and nothing after its end", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    await brick.write(fd, "short");
    const all = await brick.top.readv(CALL, { fd, offset: 0, size: 8 << 20, flags: 0 });
    expect(all).toMatchObject({ size: 5, eof: true });
    const beyond = await brick.top.readv(CALL, { fd, offset: 100, size: 10, flags: 0 });
    expect(beyond).toMatchObject({ size: 0, eof: true });
    const part = await brick.top.readv(CALL, { fd, offset: 0, size: 4, flags: 0 });
    expect(part).toMatchObject({ size: 4, eof: false });
  });

  it("work at offsets beyond 2^32, and fail beyond the file system's limit", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    const offset = 2 ** 40 + 7;
    await brick.write(fd, "far", offset);
    expect(await brick.read(fd, 10, offset)).toBe("far");
    await expect(brick.write(fd, "x", 2 ** 52)).rejects.toMatchObject({
      code: expect.stringMatching(/EFBIG|EINVAL/),
    });
  });

  it("answer attributes with the fd's gfid and mdata times without asking the disk for them", async () => {
    await using brick = await PosixFixture.start();
    const made = stamped(7, 1000, 1);
    const { fd, inode } = await brick.create("f", { call: made });
    const plain = await brick.write(fd, "x");
    expect(plain.post).toMatchObject({ gfid: inode.gfid, mtime: 1000, mtimeNsec: 1, size: 1 });
    const later = stamped(TIME_FLAGS.MTIME | TIME_FLAGS.CTIME, 2000, 2);
    const args = { fd, data: [Buffer.from("y")], offset: 0, flags: 0 };
    const stampedReply = await brick.top.writev(later, args);
    expect(stampedReply.post).toMatchObject({ mtime: 2000, mtimeNsec: 2, ctime: 2000, atime: 1000 });
    const earlier = await brick.top.writev(stamped(3, 1500), args);
    expect(earlier.post).toMatchObject({ mtime: 2000, mtimeNsec: 2 });
    await brick.top.flush(CALL, { fd });
    expect(mtimeOnDisk(brick.path("f"))).toBe(2000);
  });

  it("many stamped writes at once leave the latest time on disk", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f", { call: stamped(7, 1) });
    const write = (sec: number) =>
      brick.top.writev(stamped(3, sec), { fd, data: [Buffer.from("x")], offset: 0, flags: 0 });
    await Promise.all(Array.from({ length: 50 }, (_, i) => write(100 + ((i * 37) % 50))));
    await brick.top.flush(CALL, { fd });
    expect(mtimeOnDisk(brick.path("f"))).toBe(149);
  });

  it("tell whether a write appended, each exactly once among many", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    const xdata = new Dict().setUint(APPEND, 0);
    const write = async (offset: number) => {
      const reply = await brick.top.writev(CALL, { fd, data: [Buffer.alloc(10)], offset, flags: 0, xdata });
      return reply.xdata!.number(APPEND);
    };
    expect(await write(0)).toBe(1);
    expect(await write(5)).toBe(0);
    expect(await write(20)).toBe(0);
    const answers = await Promise.all(Array.from({ length: 8 }, () => write(30)));
    expect(answers.filter((answer) => answer === 1)).toHaveLength(1);
    const appending = await openFd(brick, fd.inode, O_RDWR | O_APPEND);
    const reply = await brick.top.writev(CALL, {
      fd: appending,
      data: [Buffer.alloc(1)],
      offset: 0,
      flags: 0,
      xdata,
    });
    expect(reply.xdata!.number(APPEND)).toBe(1);
  });

  it("with write-update-atomic give blocks whose differences add up", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    const xdata = new Dict().setUint(ATOMIC, 1);
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        brick.top.writev(CALL, { fd, data: [Buffer.alloc(4096, 1)], offset: i * 4096, flags: 0, xdata }),
      ),
    );
    const more = replies.reduce((sum, { pre, post }) => sum + post.blocks - pre.blocks, 0);
    expect(more).toBe(Math.max(...replies.map(({ post }) => post.blocks)));
    expect(more).toBeGreaterThanOrEqual((20 * 4096) / 512);
    expect(replies[0]!.xdata?.has(ATOMIC)).toBe(false);
  });

  it.each([O_SYNC, O_DSYNC])("with sync flag %i per call are on disk before the reply", async (flags) => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    const reply = await brick.top.writev(CALL, { fd, data: [Buffer.from("safe")], offset: 0, flags });
    expect(reply.size).toBe(4);
  });

  it("refuse fds that are not open, read-only ones for writing, and files that are gone", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    await expect(brick.read(new Fd(inode, O_RDWR))).rejects.toMatchObject({ code: "EBADF" });
    const readOnly = await openFd(brick, inode, O_RDONLY);
    await expect(brick.write(readOnly, "x")).rejects.toMatchObject({ code: "EBADF" });
    const writeOnly = await openFd(brick, inode, O_WRONLY);
    await expect(brick.read(writeOnly)).rejects.toMatchObject({ code: "EBADF" });
    const gone = new Inode(newGfid(), 0o100000);
    await expect(brick.read(Fd.anonymous(gone, O_RDWR))).rejects.toMatchObject({ code: "ENOENT" });
    await expect(openFd(brick, gone, O_RDWR)).rejects.toMatchObject({ code: "ESTALE" });
  });

  it("guard rebalance's copy against a client's write", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    const args = { fd, data: [Buffer.from("x")], offset: 0, flags: 0 };
    const mover = new Dict().setInt("glusterfs.avoid.overwrite", 1);
    await brick.top.writev(CALL, { ...args, xdata: mover });
    const client = new Dict().setBytes("trusted.glusterfs.protect.writes", Buffer.from("1"));
    await brick.top.writev(CALL, { ...args, xdata: client });
    await expect(brick.top.writev(CALL, { ...args, xdata: mover })).rejects.toMatchObject({ code: "EBUSY" });
    await brick.lookup("f", { xdata: new Dict().setInt("glusterfs.clean.writexattr", 1) });
    await brick.top.writev(CALL, { ...args, xdata: mover });
  });
});

describe("O_DIRECT", () => {
  it("takes payloads at any address, and refuses odd offsets and lengths as the kernel does", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    const fd = await openFd(brick, inode, O_RDWR | O_DIRECT);
    const aligned = alignedBuffer(8192).fill("a");
    const odd = alignedBuffer(8192 + 80)
      .subarray(80)
      .fill("b");
    const pieces = [odd.subarray(0, 100), odd.subarray(100, 4096)];
    await brick.top.writev(CALL, { fd, data: [aligned], offset: 0, flags: 0 });
    await brick.top.writev(CALL, { fd, data: [odd], offset: 8192, flags: 0 });
    await brick.top.writev(CALL, { fd, data: pieces, offset: 16384, flags: 0 });
    expect(readFileSync(brick.path("f"), "latin1")).toBe("a".repeat(8192) + "b".repeat(8192 + 4096));
    const write = (offset: number, size: number) =>
      brick.top.writev(CALL, { fd, data: [aligned.subarray(0, size)], offset, flags: 0 });
    await expect(write(1, 512)).rejects.toMatchObject({ code: "EINVAL" });
    await expect(write(0, 100)).rejects.toMatchObject({ code: "EINVAL" });
    const read = (offset: number, size: number) => brick.top.readv(CALL, { fd, offset, size, flags: 0 });
    await expect(read(0, 1)).rejects.toMatchObject({ code: "EINVAL" });
    await expect(read(3, 512)).rejects.toMatchObject({ code: "EINVAL" });
    expect((await read(512, 512)).size).toBe(512);
  });

  it("reads across the end of a file give the short count", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd: buffered } = await brick.create("f");
    await brick.write(buffered, Buffer.alloc(501, "x"));
    const fd = await openFd(brick, inode, O_RDONLY | O_DIRECT);
    expect(await brick.top.readv(CALL, { fd, offset: 0, size: 4096, flags: 0 })).toMatchObject({
      size: 501,
      eof: true,
    });
    const large = await brick.top.readv(CALL, { fd, offset: 0, size: 4 << 20, flags: 0 });
    expect(large).toMatchObject({ size: 501, eof: true });
  });

  it("is forced on every file by the option o-direct", async () => {
    await using brick = await PosixFixture.start({ "o-direct": "on" });
    const { fd } = await brick.create("f");
    await expect(brick.write(fd, "x")).rejects.toMatchObject({ code: "EINVAL" });
    expect((await brick.write(fd, Buffer.alloc(512))).size).toBe(512);
  });

  it("anonymous fds with and without it are two files", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.create("f");
    await brick.write(Fd.anonymous(inode, O_RDWR), "odd size");
    const direct = Fd.anonymous(inode, O_RDWR | O_DIRECT);
    await expect(brick.write(direct, "odd")).rejects.toMatchObject({ code: "EINVAL" });
    expect(await brick.read(direct, 512)).toBe("odd size");
  });
});

describe("anonymous fds", () => {
  it("read, write, sync, stat and count without an open", async () => {
    await using brick = await PosixFixture.start();
    const xdata = withGfid(new Dict());
    const made = await brick.top.mknod(CALL, {
      loc: brick.entry("shard"),
      mode: 0o100000,
      rdev: 0,
      umask: 0,
      xdata,
    });
    const inode = brick.table.link(new Inode(), made.stat.gfid, made.stat.mode);
    const fd = Fd.anonymous(inode, O_RDWR);
    await Promise.all([brick.write(fd, "ab"), brick.write(Fd.anonymous(inode, O_RDWR), "cd", 2)]);
    await brick.top.fsync(CALL, { fd, datasync: true });
    expect(await brick.read(fd)).toBe("abcd");
    expect((await brick.top.fstat(CALL, { fd })).stat).toMatchObject({ size: 4, gfid: inode.gfid });
    const delta = new Dict().setBytes("trusted.afr.dirty", Buffer.from("000000010000000000000000", "hex"));
    const { xattrs } = await brick.top.fxattrop(CALL, { fd, op: 0, xattrs: delta });
    expect(xattrs.bytes("trusted.afr.dirty")!.toString("hex")).toBe("000000010000000000000000");
    await brick.top.fallocate(CALL, { fd, keepSize: false, offset: 0, size: 4096 });
    await brick.top.discard(CALL, { fd, offset: 0, size: 2 });
    expect(await brick.read(fd, 4)).toBe("\0\0cd");
  });

  it("do not keep the blocks of a removed file", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    await brick.write(Fd.anonymous(inode, O_RDWR), "x");
    const watcher = openSync(brick.path("f"), "r");
    await brick.top.release(fd);
    await brick.unlink("f", { inode });
    expect(fstatSync(watcher).nlink).toBe(0);
    await expect(brick.read(Fd.anonymous(inode, O_RDWR))).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("open", () => {
  it("truncates with O_TRUNC, ignores O_CREAT and O_EXCL, and refuses what cannot be opened", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    await brick.write(fd, "contents");
    await openFd(brick, inode, O_RDWR | 0o300);
    expect(statSync(brick.path("f")).size).toBe(8);
    await openFd(brick, inode, O_RDWR | O_TRUNC);
    expect(statSync(brick.path("f")).size).toBe(0);
    const { inode: directory } = await brick.mkdir("d");
    await expect(openFd(brick, directory, O_RDWR)).rejects.toMatchObject({ code: "EISDIR" });
    const link = await brick.symlink("l", "f");
    await expect(openFd(brick, link, O_RDONLY)).rejects.toMatchObject({ code: "ELOOP" });
    const xdata = withGfid(new Dict());
    const fifo = await brick.top.mknod(CALL, {
      loc: brick.entry("p"),
      mode: 0o010600,
      rdev: 0,
      umask: 0,
      xdata,
    });
    await expect(openFd(brick, new Inode(fifo.stat.gfid), O_RDONLY)).rejects.toMatchObject({ code: "ENXIO" });
  });
});

describe("fsync", () => {
  it.each(["none", "syncfs", "syncfs-single-fsync", "syncfs-reverse-fsync", "reverse-fsync"])(
    "answers every caller of a batch (mode %s)",
    async (mode) => {
      await using brick = await PosixFixture.start({ "batch-fsync-mode": mode });
      const files = await Promise.all(["a", "b", "c"].map((name) => brick.create(name)));
      const xdata = new Dict().setInt("batch-fsync", 1);
      const calls = [...files, ...files].map(({ fd }) =>
        brick.top.fsync(CALL, { fd, datasync: true, xdata }),
      );
      expect(await Promise.all(calls)).toHaveLength(6);
    },
  );

  it("of a directory fd works", async () => {
    await using brick = await PosixFixture.start();
    const { inode } = await brick.mkdir("d");
    const fd = new Fd(inode, O_RDONLY);
    await brick.top.opendir(CALL, { loc: { inode }, fd });
    await brick.top.fsyncdir(CALL, { fd, datasync: false });
    await brick.top.releasedir(fd);
  });
});

describe("ranges", () => {
  it("fallocate grows unless it keeps the size; zerofill grows; discard never does", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    const size = async () => (await brick.top.fstat(CALL, { fd })).stat.size;
    await brick.top.fallocate(CALL, { fd, keepSize: true, offset: 0, size: 8192 });
    expect(await size()).toBe(0);
    const { pre, post } = await brick.top.fallocate(CALL, { fd, keepSize: false, offset: 0, size: 8192 });
    expect([pre.size, post.size]).toEqual([0, 8192]);
    await brick.top.zerofill(CALL, { fd, offset: 10_000, size: 300_000 });
    expect(await size()).toBe(310_000);
    await brick.top.discard(CALL, { fd, offset: 309_000, size: 100_000 });
    expect(await size()).toBe(310_000);
    await expect(
      brick.top.fallocate(CALL, { fd, keepSize: false, offset: 0, size: 0 }),
    ).rejects.toMatchObject({
      code: "EINVAL",
    });
  });

  it("discard gives blocks back; st_blocks is no more than the size needs", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    await brick.write(fd, Buffer.alloc(1 << 20, 1));
    const { pre, post } = await brick.top.discard(CALL, { fd, offset: 0, size: 1 << 19 });
    expect(post.blocks).toBeLessThan(pre.blocks);
    const { fd: tiny } = await brick.create("tiny");
    expect((await brick.write(tiny, "x")).post.blocks).toBe(1);
    expect(statSync(brick.path("tiny")).blocks).toBeGreaterThan(1);
  });

  it("seek finds data and holes, and is ENXIO at and after the end", async () => {
    await using brick = await PosixFixture.start();
    const { fd } = await brick.create("f");
    await brick.write(fd, Buffer.alloc(4096, 1), 1 << 20);
    truncateSync(brick.path("f"), 2 << 20);
    const seek = async (offset: number, what: "data" | "hole") =>
      (await brick.top.seek(CALL, { fd, offset, what })).offset;
    expect(await seek(0, "data")).toBe(1 << 20);
    expect(await seek(0, "hole")).toBe(0);
    expect(await seek(1 << 20, "hole")).toBe((1 << 20) + 4096);
    await expect(seek((1 << 20) + 4096, "data")).rejects.toMatchObject({ code: "ENXIO" });
    await expect(seek(2 << 20, "hole")).rejects.toMatchObject({ code: "ENXIO" });
  });

  it("truncate needs a regular file", async () => {
    await using brick = await PosixFixture.start();
    const { inode, fd } = await brick.create("f");
    await brick.write(fd, "12345678");
    const { pre, post } = await brick.top.truncate(CALL, { loc: { inode }, offset: 3 });
    expect([pre.size, post.size]).toEqual([8, 3]);
    const { inode: directory } = await brick.mkdir("d");
    const refused = brick.top.truncate(CALL, { loc: { inode: directory }, offset: 0 });
    await expect(refused).rejects.toMatchObject({ code: "EISDIR" });
  });

  it.each([
    ["off", "md5", 16, 0],
    ["on", "sha256", 32, 1],
  ])("rchecksum with fips-mode-rchecksum %s is %s", async (option, algorithm, bytes, flags) => {
    await using brick = await PosixFixture.start({ "fips-mode-rchecksum": option });
    const { fd } = await brick.create("f");
    const contents = Buffer.from(Array.from({ length: 3000 }, (_, i) => (i * 31) & 0xff));
    await brick.write(fd, contents);
    const xdata = new Dict().setInt("check-zero-filled", 1);
    const reply = await brick.top.rchecksum(CALL, { fd, offset: 1000, size: 131072, xdata });
    const read = contents.subarray(1000);
    expect(reply.weak).toBe(adler32From0(read));
    expect(reply.strong.subarray(0, bytes)).toEqual(createHash(algorithm).update(read).digest());
    // As GlusterFS sends it: an MD5 is followed by zeroes.
    expect(reply.strong.subarray(bytes)).toEqual(Buffer.alloc(32 - bytes));
    expect(reply.flags).toBe(flags);
    expect(reply.xdata!.number("buf-has-zeroes")).toBe(0);
    expect(reply.xdata!.number("fips-mode-rchecksum")).toBe(flags === 1 ? 1 : undefined);
    await brick.top.discard(CALL, { fd, offset: 0, size: 3000 });
    const zeros = await brick.top.rchecksum(CALL, { fd, offset: 0, size: 3000, xdata });
    expect(zeros.xdata!.number("buf-has-zeroes")).toBe(1);
  });

  it("copy_file_range copies up to the end of the source and refuses overlaps", async () => {
    await using brick = await PosixFixture.start();
    const source = await brick.create("a");
    const target = await brick.create("b");
    const contents = Buffer.alloc(3 << 20, "copy me ");
    await brick.write(source.fd, contents);
    const args = { fdIn: source.fd, offsetIn: 1000, fdOut: target.fd, offsetOut: 5, size: 8 << 20, flags: 0 };
    const reply = await brick.top.copy_file_range(CALL, args);
    expect(reply.size).toBe(contents.length - 1000);
    expect(reply.post.size).toBe(contents.length - 995);
    expect(readFileSync(brick.path("b")).subarray(5).equals(contents.subarray(1000))).toBe(true);
    const same = { ...args, fdOut: source.fd, offsetOut: 1001, size: 100 };
    await expect(brick.top.copy_file_range(CALL, same)).rejects.toMatchObject({ code: "EINVAL" });
  });

  it("put makes a whole file or none", async () => {
    await using brick = await PosixFixture.start();
    const args = { mode: 0o600, umask: 0, flags: O_RDWR, data: [Buffer.from("whole")], offset: 0 };
    const xattrs = new Dict().setBytes("user.a", Buffer.from("1"));
    const reply = await brick.top.put(CALL, {
      ...args,
      loc: brick.entry("f"),
      xattrs,
      xdata: withGfid(new Dict()),
    });
    expect(reply.stat.size).toBe(5);
    expect(readFileSync(brick.path("f"), "utf8")).toBe("whole");
    const bad = new Dict().setBytes("nonsense", Buffer.from("1"));
    const failing = { ...args, loc: brick.entry("g"), xattrs: bad, xdata: withGfid(new Dict()) };
    await expect(brick.top.put(CALL, failing)).rejects.toMatchObject({ code: "EOPNOTSUPP" });
    await expect(brick.lookup("g")).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("when only the reserve is left", () => {
  it("clients may overwrite and free, but not grow; internal calls may", async () => {
    await using brick = await PosixFixture.start({ reserve: "100%" });
    const internal = new Dict().setStr("glusterfs-internal-fop", "yes");
    await expect(brick.create("f")).rejects.toMatchObject({ code: "ENOSPC" });
    await expect(brick.mkdir("d")).rejects.toMatchObject({ code: "ENOSPC" });
    const { fd } = await brick.create("f", { xdata: internal.clone() });
    await expect(brick.write(fd, "x")).rejects.toMatchObject({ code: "ENOSPC" });
    const data = [Buffer.alloc(4096, 1)];
    await brick.top.writev(CALL, { fd, data, offset: 0, flags: 0, xdata: internal });
    await brick.top.writev({ ...CALL, pid: -6 }, { fd, data, offset: 4096, flags: 0 });
    await brick.write(fd, "overwritten", 100);
    await expect(brick.write(fd, "x", 8192)).rejects.toMatchObject({ code: "ENOSPC" });
    const grow = brick.top.fallocate(CALL, { fd, keepSize: false, offset: 0, size: 1 << 20 });
    await expect(grow).rejects.toMatchObject({ code: "ENOSPC" });
    await brick.top.discard(CALL, { fd, offset: 0, size: 4096 });
    await brick.unlink("f");
    const { statfs } = await brick.top.statfs(CALL, { loc: { inode: brick.root } });
    expect(statfs).toMatchObject({ bfree: 0, bavail: 0 });
  });
});

it("fops refused by a brick without layers above say which one is missing", async () => {
  await using brick = await PosixFixture.start();
  const { fd, inode } = await brick.create("f");
  const flock = { type: "wrlck", whence: 0, start: 0n, len: 0n, pid: 0, lkOwner: Buffer.alloc(8) } as const;
  await expect(brick.top.lk(CALL, { fd, cmd: "setlk", flock })).rejects.toMatchObject({
    code: "ENOSYS",
    message: expect.stringContaining("features/locks"),
  });
  await expect(brick.top.ipc(CALL, { op: 2 })).rejects.toMatchObject({ code: "EOPNOTSUPP" });
  await expect(brick.top.icreate(CALL, { loc: { inode }, mode: 0 })).rejects.toMatchObject({
    code: "EOPNOTSUPP",
  });
});
