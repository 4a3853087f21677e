/** A disk call that does not return holds up its own file and nothing else (translators.md 2.6). */

// koffi is configured there, which must come before anything else is loaded through it.
import "../../../../src/os/libc.ts";
import { rmSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Deferred } from "../../../../src/core/concurrency.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { nodeEnv } from "../../../../src/core/env-node.ts";
import { Fd, Inode, InodeTable } from "../../../../src/core/inode.ts";
import { SILENT } from "../../../../src/core/log.ts";
import { O_RDWR } from "../../../../src/core/open-flags.ts";
import { parseOptions } from "../../../../src/core/options.ts";
import { type DiskIo, openDiskIo } from "../../../../src/os/disk-io.ts";
import { close } from "../../../../src/os/files.ts";
import { Brick } from "../../../../xlators/storage/posix/brick.ts";
import { openBrickDirectory } from "../../../../xlators/storage/posix/brick-dir.ts";
import { createFop } from "../../../../xlators/storage/posix/create.ts";
import { readFop, writeFop } from "../../../../xlators/storage/posix/io.ts";
import { lookupFop } from "../../../../xlators/storage/posix/lookup.ts";
import { posixOptions } from "../../../../xlators/storage/posix/options.ts";
import { CALL, makeDirectory, withGfid } from "./brick-fixture.ts";

const ATOMIC = new Dict().setUint("glusterfs.write-update-atomic", 1);
const APPEND = new Dict().setUint("glusterfs.write-is-append", 4);

/** DiskIo whose writes to chosen OS fds wait until they are let go. */
class StallingIo implements DiskIo {
  readonly kind = "pool";
  readonly #io = openDiskIo("auto");
  readonly stalled = new Map<number, Deferred<void>>();

  readv(fd: number, data: readonly Buffer[], offset: number): Promise<number> {
    return this.#io.readv(fd, data, offset);
  }

  async writev(fd: number, data: readonly Buffer[], offset: number): Promise<number> {
    await this.stalled.get(fd)?.promise;
    return this.#io.writev(fd, data, offset);
  }

  fsync(fd: number, datasync: boolean): Promise<void> {
    return this.#io.fsync(fd, datasync);
  }
}

class Bench implements AsyncDisposable {
  readonly io = new StallingIo();
  readonly table = new InodeTable();
  readonly brick: Brick;
  readonly #lockFd: number;

  private constructor(base: string, lockFd: number) {
    const { values: options } = parseOptions(posixOptions, new Map(), { who: "test" });
    this.brick = new Brick({ name: "brick", base, env: nodeEnv(SILENT), log: SILENT, options, io: this.io });
    this.#lockFd = lockFd;
  }

  static async start(): Promise<Bench> {
    const { base, lockFd } = await openBrickDirectory(makeDirectory(), "", { uid: -1, gid: -1 });
    return new Bench(base, lockFd);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.brick.files.closeAll();
    await close(this.#lockFd);
    rmSync(this.brick.base, { recursive: true });
  }

  async create(name: string): Promise<Fd> {
    const fd = new Fd(new Inode(), O_RDWR);
    const loc = { inode: fd.inode, parent: this.table.root, name };
    const xdata = withGfid(new Dict());
    const args = { loc, fd, flags: O_RDWR, mode: 0o644, umask: 0, xdata };
    const { stat } = await createFop(this.brick, CALL, args);
    this.table.link(fd.inode, stat.gfid, stat.mode);
    return fd;
  }

  write(fd: Fd, text: string, xdata?: Dict) {
    return writeFop(this.brick, CALL, { fd, data: [Buffer.from(text)], offset: 0, flags: 0, xdata });
  }

  /** Makes writes to the file wait. */
  stall(fd: Fd): Deferred<void> {
    const gate = new Deferred<void>();
    this.io.stalled.set(this.brick.files.find(fd)!.osFd, gate);
    return gate;
  }

  /** Those that wait already go on waiting. */
  letOthersPass(fd: Fd): void {
    this.io.stalled.delete(this.brick.files.find(fd)!.osFd);
  }
}

describe("while a write does not return", () => {
  it("other files, new files, lookups and reads of the same file go on", async () => {
    await using bench = await Bench.start();
    const stuck = await bench.create("stuck");
    const free = await bench.create("free");
    const gate = bench.stall(stuck);
    const waiting = bench.write(stuck, "late", ATOMIC);
    await bench.write(free, "on time", ATOMIC);
    await bench.create("new");
    const loc = { inode: new Inode(), parent: bench.table.root, name: "stuck" };
    expect((await lookupFop(bench.brick, CALL, { loc })).stat.size).toBe(0);
    const { size } = await readFop(bench.brick, CALL, { fd: stuck, offset: 0, size: 10, flags: 0 });
    expect(size).toBe(0);
    gate.resolve();
    expect((await waiting).post.size).toBe(4);
  });

  it("writes that ask whether they append wait for it, in order", async () => {
    await using bench = await Bench.start();
    const fd = await bench.create("f");
    const gate = bench.stall(fd);
    const order: string[] = [];
    const writes = ["first", "second", "third!"].map((text) =>
      bench.write(fd, text, APPEND).then(({ pre, post }) => order.push(`${text} ${pre.size}-${post.size}`)),
    );
    gate.resolve();
    await Promise.all(writes);
    expect(order).toEqual(["first 0-5", "second 5-6", "third! 6-6"]);
  });

  it("atomic writes of the same file run beside each other, each with the size it saw before", async () => {
    await using bench = await Bench.start();
    const fd = await bench.create("f");
    await bench.write(fd, "12345");
    const gate = bench.stall(fd);
    const early = bench.write(fd, "1234567", ATOMIC);
    bench.letOthersPass(fd);
    const late = await bench.write(fd, "123456", ATOMIC);
    expect([late.pre.size, late.post.size]).toEqual([5, 6]);
    gate.resolve();
    const { pre, post } = await early;
    expect([pre.size, post.size]).toEqual([5, 7]);
  });

  it("a release does not close the file under it", async () => {
    await using bench = await Bench.start();
    const fd = await bench.create("f");
    const gate = bench.stall(fd);
    const waiting = bench.write(fd, "still lands");
    await bench.brick.files.release(fd);
    await expect(bench.write(fd, "x")).rejects.toMatchObject({ code: "EBADF" });
    gate.resolve();
    expect((await waiting).post.size).toBe(11);
  });
});
