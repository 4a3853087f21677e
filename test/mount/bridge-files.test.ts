import { afterEach, describe, expect, it } from "vitest";
import { WRITE_CACHE } from "../../mount/dev-fuse/protocol.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";
import type { Lease } from "../../src/core/iovec.ts";
import { isAligned } from "../../src/os/memory.ts";
import { settle } from "../support/fake-env.ts";
import { u32, u64 } from "./fake-kernel.ts";
import { MountedGraph } from "./mounted-graph.ts";

const O_DIRECT = 0o40000;
const OFFSET_MAX = 2n ** 63n - 1n;
const OP = {
  FLUSH: 25,
  RELEASE: 18,
  SETATTR: 4,
  GETATTR: 3,
  FALLOCATE: 43,
  LSEEK: 46,
  FSYNC: 20,
  READ: 15,
} as const;
const RDLCK = 0;
const WRLCK = 1;
const UNLCK = 2;

const open: MountedGraph[] = [];
afterEach(async () => {
  for (const mount of open.splice(0)) {
    expect(mount.kernel.bugs).toEqual([]);
    expect(mount.kernel.unanswered).toBe(0);
    await mount[Symbol.asyncDispose]();
  }
});

async function mounted(...options: [string, string?][]): Promise<MountedGraph> {
  const mount = await MountedGraph.start(...options);
  open.push(mount);
  return mount;
}

describe("WRITE and READ", () => {
  it("carry bytes there and back", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    expect(await mount.write(node, fh, 3, Buffer.from("hello"))).toBe(5);
    expect(await mount.read(node, fh, 0, 100)).toEqual(Buffer.from("\0\0\0hello"));
    expect(await mount.read(node, fh, 5, 2)).toEqual(Buffer.from("ll"));
    expect(await mount.read(node, fh, 100, 2)).toHaveLength(0);
  });

  it("pass the payload on where the message put it, on a page, and give read memory back", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    let aligned = false;
    mount.spy.answer("writev", (_call, args, pass) => {
      aligned = args.data.length === 1 && isAligned(args.data[0]!, 4096);
      return pass();
    });
    await mount.write(node, fh, 0, Buffer.alloc(4096, 7));
    expect(aligned).toBe(true);
    const data = [Buffer.from("ab"), Buffer.from("cd")];
    mount.spy.answer("readv", async () => ({
      data,
      size: 4,
      stat: ZERO_IATT,
      eof: true,
      lease: { release: () => data.map((part) => part.fill(0)) },
    }));
    expect(await mount.read(node, fh, 0, 4)).toEqual(Buffer.from("abcd"));
    expect(mount.kernel.released).toBe(1);
    expect(data[0]).toEqual(Buffer.alloc(2));
  });

  it("tell the bricks the caller, the file's flags and the lock owner that the kernel names", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const head = [u64(fh, 0), u32(1, 2), u64(0x1122334455667788n), u32(0o100002, 0)];
    await mount.kernel.ok(16, node, [...head, Buffer.from("x")], { uid: 0, gid: 9, pid: 4711 });
    const { call, args } = mount.spy.last("writev");
    expect(call).toMatchObject({ uid: 0, gid: 9, pid: 4711, groups: [] });
    expect(call?.lkOwner).toEqual(Buffer.from("8877665544332211", "hex"));
    expect(args["flags"]).toBe(0o100002);
  });

  it("answer when the graph did, in the order of its replies", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const held: (() => void)[] = [];
    mount.spy.answer(
      "writev",
      (_call, _args, pass) => new Promise((resolve) => held.push(() => resolve(pass()))),
    );
    const order: number[] = [];
    const writes = [0, 1, 2].map((index) =>
      mount.write(node, fh, index, Buffer.from([65 + index])).then(() => order.push(index)),
    );
    await settle();
    expect([order, mount.kernel.unanswered]).toEqual([[], 3]);
    for (const index of [2, 0, 1]) {
      held[index]!();
      await settle();
    }
    await Promise.all(writes);
    expect(order).toEqual([2, 0, 1]);
    expect(await mount.read(node, fh, 0, 10)).toEqual(Buffer.from("ABC"));
  });

  it("fail for handles that are not open, lengths that lie, and offsets past 2^53", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    expect((await mount.kernel.send(16, node, [u64(99, 0), u32(0, 0), u64(0), u32(2, 0)])).code).toBe(
      "EBADF",
    );
    expect((await mount.kernel.send(16, node, [u64(fh, 0), u32(10, 0), u64(0), u32(2, 0)])).code).toBe(
      "EINVAL",
    );
    const far = [u64(fh, 2n ** 62n), u32(1, 0), u64(0), u32(2, 0), Buffer.from("x")];
    mount.spy.take();
    expect((await mount.kernel.send(16, node, far)).code).toBe("EFBIG");
    expect(await mount.read(node, fh, 2n ** 62n, 10)).toHaveLength(0);
    // An offset that a number cannot hold must not reach a layer, rounded.
    expect(mount.spy.take()).toEqual([]);
  });

  it("a fop's error is the answer's errno; ENOSYS becomes EOPNOTSUPP; a bug is EIO and told", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const read = () => mount.kernel.send(OP.READ, node, [u64(fh, 0), u32(1, 0), u64(0), u32(2, 0)]);
    for (const [error, code] of [
      [new FopError("ENOTCONN"), "ENOTCONN"],
      [new FopError("ENOSYS"), "EOPNOTSUPP"],
    ] as const) {
      mount.spy.answer("readv", () => Promise.reject(error));
      expect((await read()).code).toBe(code);
    }
    mount.spy.answer("readv", () => Promise.reject(new TypeError("x is undefined")));
    expect((await read()).code).toBe("EIO");
    expect(mount.kernel.takeBugs()).toEqual([new TypeError("x is undefined")]);
  });
});

describe("WRITE of cached pages (mmap, write-back)", () => {
  it("lends the payload of pages out, and of nothing else", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const leases: (Lease | undefined)[] = [];
    mount.spy.answer("writev", (_call, args) => {
      leases.push((args as Args<"writev">).cached?.lend());
      return Promise.resolve({ size: 4, pre: ZERO_IATT, post: ZERO_IATT });
    });
    await mount.write(node, fh, 0, Buffer.from("mine"));
    expect(leases).toEqual([undefined]);
    await mount.write(node, fh, 0, Buffer.from("page"), WRITE_CACHE);
    const kept = (mount.spy.last("writev").args as unknown as Args<"writev">).data;
    await mount.write(node, fh, 0, Buffer.from("next"), WRITE_CACHE);
    expect(Buffer.concat(kept).toString()).toBe("page");
    for (const lease of leases) lease?.release();
    expect(Buffer.concat(kept).toString()).not.toBe("page");
  });

  const CACHE = 1;

  it("does not use a descriptor opened with O_DIRECT: the last page has an odd length", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f", { flags: 2 | O_DIRECT });
    await mount.write(node, fh, 0, Buffer.alloc(501), CACHE);
    expect(mount.spy.last("writev").args["fd"]).toMatchObject({ anonymous: true });
    await mount.open(node, 0);
    const buffered = await mount.open(node, 1);
    await mount.write(node, fh, 0, Buffer.alloc(501), CACHE);
    expect(mount.spy.last("writev").args["fd"]).toBe(mount.state.handles.file(buffered.fh)?.fd);
    await mount.write(node, fh, 0, Buffer.alloc(512));
    expect(mount.spy.last("writev").args["fd"]).toBe(mount.state.handles.file(fh)?.fd);
  });
});

describe("set-id bits", () => {
  const KILL = 4;

  it("go with a write that says so, before it is answered", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f", { mode: 0o6755 });
    mount.spy.take();
    await mount.write(node, fh, 0, Buffer.from("x"), KILL);
    expect(mount.spy.take()).toEqual(["writev", "fsetattr"]);
    const attr = await mount.kernel.ok(OP.GETATTR, node, [u32(0, 0), u64(0)]);
    expect(attr.readUInt32LE(16 + 60)).toBe(0o100755);
  });

  it.each([
    ["without the flag", 0o6755, 0],
    ["with set-gid that marks no program", 0o2744, KILL],
    ["with none set", 0o755, KILL],
  ])("stay %s", async (_why, mode, flags) => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f", { mode });
    mount.spy.take();
    await mount.write(node, fh, 0, Buffer.from("x"), flags);
    expect(mount.spy.take()).toEqual(["writev"]);
  });

  it("are known also when the write was answered early, without attributes", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f", { mode: 0o4755 });
    mount.spy.answer(
      "writev",
      async (): Promise<Reply<"writev">> => ({ size: 1, pre: ZERO_IATT, post: ZERO_IATT }),
    );
    mount.spy.take();
    await mount.write(node, fh, 0, Buffer.from("x"), KILL);
    expect(mount.spy.take()).toEqual(["writev", "fsetattr"]);
  });
});

describe("OPEN", () => {
  const DIRECT = 1 | (1 << 6);
  const KEEP = 1 << 1;

  it.each([
    ["auto", 0, KEEP],
    ["auto", O_DIRECT, DIRECT],
    ["enable", 0, DIRECT],
    ["disable", O_DIRECT, KEEP],
  ])("with direct-io-mode %s and flags %o answers flags %d", async (mode, flags, expected) => {
    const mount = await mounted(["direct-io-mode", mode]);
    const { node, openFlags } = await mount.create("f", { flags: 2 | flags });
    expect(openFlags).toBe(expected);
    expect((await mount.open(node, 2 | flags)).openFlags).toBe(expected);
  });

  it("does not keep the cache when told not to", async () => {
    const mount = await mounted(["fopen-keep-cache", "no"]);
    expect((await mount.create("f")).openFlags).toBe(0);
  });

  it("says ESTALE when the brick lost the file, so that the kernel looks the name up again", async () => {
    const mount = await mounted();
    const { node } = await mount.create("f");
    mount.spy.answer("open", () => Promise.reject(new FopError("ENOENT")));
    expect((await mount.kernel.send(14, node, [u32(0, 0)])).code).toBe("ESTALE");
  });

  it("asks for what the kernel's write-back cache needs: reads of written files, no appending", async () => {
    const mount = await mounted(["kernel-writeback-cache"]);
    mount.state.writebackCache = true;
    const { node } = await mount.create("f");
    await mount.open(node, 1 | 0o2000);
    expect(mount.spy.last("open").args["flags"]).toBe(2);
    mount.state.writebackCache = false;
    await mount.open(node, 1 | 0o2000);
    expect(mount.spy.last("open").args["flags"]).toBe(1 | 0o2000);
  });
});

describe("FALLOCATE", () => {
  it.each([
    ["0", 0, ["fallocate"], { keepSize: false, offset: 100, size: 50 }],
    ["KEEP_SIZE", 1, ["fallocate"], { keepSize: true, offset: 100, size: 50 }],
    ["PUNCH_HOLE|KEEP_SIZE", 3, ["discard"], { offset: 100, size: 50 }],
    ["ZERO_RANGE", 0x10, ["zerofill"], { offset: 100, size: 50 }],
  ])("mode %s is %s", async (_name, mode, fops, args) => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    await mount.write(node, fh, 0, Buffer.alloc(120, 1));
    mount.spy.take();
    await mount.kernel.ok(OP.FALLOCATE, node, [u64(fh, 100, 50), u32(mode, 0)]);
    expect(mount.spy.seen.at(-1)?.args).toMatchObject(args);
    expect(mount.spy.take()).toEqual(fops);
  });

  it("ZERO_RANGE|KEEP_SIZE zeroes what is inside and does not grow the file", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    await mount.write(node, fh, 0, Buffer.alloc(120, 1));
    await mount.kernel.ok(OP.FALLOCATE, node, [u64(fh, 100, 50), u32(0x11, 0)]);
    const expected = Buffer.concat([Buffer.alloc(100, 1), Buffer.alloc(20)]);
    expect(await mount.read(node, fh, 0, 1000)).toEqual(expected);
    await mount.kernel.ok(OP.FALLOCATE, node, [u64(fh, 5000, 50), u32(0x11, 0)]);
    expect(await mount.read(node, fh, 0, 10000)).toEqual(expected);
  });

  it.each([
    ["PUNCH_HOLE alone", 2],
    ["COLLAPSE_RANGE", 8],
    ["INSERT_RANGE", 0x20],
    ["UNSHARE_RANGE", 0x40],
  ])("%s is EOPNOTSUPP", async (_name, mode) => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const answer = await mount.kernel.send(OP.FALLOCATE, node, [u64(fh, 0, 4096), u32(mode, 0)]);
    expect(answer.code).toBe("EOPNOTSUPP");
  });
});

describe("LSEEK, FSYNC, COPY_FILE_RANGE", () => {
  it("find data and holes; ENXIO at and past the end", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    await mount.write(node, fh, 1 << 20, Buffer.alloc(4096, 1));
    const seek = (offset: number | bigint, whence: number) =>
      mount.kernel.send(OP.LSEEK, node, [u64(fh, offset), u32(whence, 0)]);
    expect((await seek((1 << 20) + 5, 3)).body.readBigUInt64LE(0)).toBe(2n ** 20n + 5n);
    expect((await seek((1 << 20) + 5, 4)).body.readBigUInt64LE(0)).toBe(2n ** 20n + 4096n);
    expect((await seek((1 << 20) + 4096, 3)).code).toBe("ENXIO");
    expect((await seek(2n ** 60n, 4)).code).toBe("ENXIO");
    expect((await seek(0, 1)).code).toBe("EINVAL");
  });

  it("fsync passes the datasync bit on", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    await mount.kernel.ok(OP.FSYNC, node, [u64(fh), u32(1, 0)]);
    expect(mount.spy.last("fsync").args["datasync"]).toBe(true);
    await mount.kernel.ok(OP.FSYNC, node, [u64(fh), u32(0, 0)]);
    expect(mount.spy.last("fsync").args["datasync"]).toBe(false);
    expect((await mount.kernel.send(OP.FSYNC, node, [u64(42), u32(0, 0)])).code).toBe("EBADF");
  });

  it("copies inside the graph", async () => {
    const mount = await mounted();
    const from = await mount.create("a");
    const to = await mount.create("b");
    await mount.write(from.node, from.fh, 0, Buffer.from("0123456789"));
    const body = [u64(from.fh, 2, to.node, to.fh, 1, 5, 0)];
    expect((await mount.kernel.ok(47, from.node, body)).readUInt32LE(0)).toBe(5);
    expect(await mount.read(to.node, to.fh, 0, 100)).toEqual(Buffer.from("\x0023456"));
  });
});

describe("locks", () => {
  it("conflict between owners, and GETLK tells the one in the way", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const other = await mount.open(node, 2);
    await mount.kernel.ok(32, node, mount.lockBody(fh, 1n, 100n, 149n, WRLCK));
    expect((await mount.kernel.send(32, node, mount.lockBody(other.fh, 2n, 120n, 120n, RDLCK))).code).toBe(
      "EAGAIN",
    );
    const found = await mount.kernel.ok(31, node, mount.lockBody(other.fh, 2n, 120n, OFFSET_MAX, RDLCK));
    expect([found.readBigUInt64LE(0), found.readBigUInt64LE(8), found.readUInt32LE(16)]).toEqual([
      100n,
      149n,
      1,
    ]);
    const free = await mount.kernel.ok(31, node, mount.lockBody(other.fh, 2n, 150n, OFFSET_MAX, WRLCK));
    expect(free.readUInt32LE(16)).toBe(UNLCK);
  });

  it("reach to the end of every possible file when the kernel says so, both ways", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const other = await mount.open(node, 2);
    await mount.kernel.ok(32, node, mount.lockBody(fh, 1n, 5n, OFFSET_MAX, WRLCK));
    expect(mount.spy.last("lk").args["flock"]).toMatchObject({ start: 5n, len: 0n });
    const found = await mount.kernel.ok(31, node, mount.lockBody(other.fh, 2n, 0n, OFFSET_MAX, RDLCK));
    expect(found.readBigUInt64LE(8)).toBe(OFFSET_MAX);
  });

  it("an interrupted wait ends with EINTR, and others are not disturbed", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const other = await mount.open(node, 2);
    await mount.kernel.ok(32, node, mount.lockBody(fh, 1n, 0n, OFFSET_MAX, WRLCK));
    const uniques: bigint[] = [];
    const onSent = (unique: bigint) => uniques.push(unique);
    const first = mount.kernel.send(33, node, mount.lockBody(other.fh, 2n, 0n, 9n, WRLCK), { onSent });
    const second = mount.kernel.send(33, node, mount.lockBody(other.fh, 3n, 20n, 29n, WRLCK), { onSent });
    await settle();
    expect(mount.kernel.unanswered).toBe(2);
    expect((await mount.kernel.send(36, 0, [u64(uniques[0]!)])).code).toBe("none");
    expect((await first).code).toBe("EINTR");
    // An interrupt for something long answered means nothing.
    await mount.kernel.send(36, 0, [u64(12345)]);
    await mount.kernel.ok(32, node, mount.lockBody(fh, 1n, 0n, OFFSET_MAX, UNLCK));
    expect((await second).code).toBe("ok");
  });

  it("of an owner go at its FLUSH; of an owner that never flushes, before RELEASE is answered", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const other = await mount.open(node, 2);
    const canLock = async (start: bigint) => {
      const { code } = await mount.kernel.send(32, node, mount.lockBody(other.fh, 9n, start, start, WRLCK));
      if (code === "ok") await mount.kernel.ok(32, node, mount.lockBody(other.fh, 9n, start, start, UNLCK));
      return code;
    };
    await mount.kernel.ok(32, node, mount.lockBody(fh, 0x1000n, 1n, 1n, WRLCK)); // A process's POSIX lock.
    await mount.kernel.ok(32, node, mount.lockBody(fh, 0x2000n, 2n, 2n, WRLCK)); // An OFD lock.
    await mount.kernel.ok(OP.FLUSH, node, [u64(fh), u32(0, 0), u64(0x1000)]);
    expect([await canLock(1n), await canLock(2n)]).toEqual(["ok", "EAGAIN"]);
    mount.spy.take();
    await mount.kernel.ok(OP.RELEASE, node, [u64(fh), u32(2, 0), u64(0)]);
    expect(mount.spy.take()).toEqual(["lk", "release"]);
    expect(await canLock(2n)).toBe("ok");
  });

  it("cleared by a FLUSH through another handle are not cleared again by RELEASE", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const second = await mount.open(node, 2);
    const third = await mount.open(node, 2);
    const owner = 0x1000n;
    await mount.kernel.ok(32, node, mount.lockBody(fh, owner, 1n, 1n, WRLCK));
    await mount.kernel.ok(OP.FLUSH, node, [u64(second.fh), u32(0, 0), u64(owner)]);
    await mount.kernel.ok(32, node, mount.lockBody(second.fh, owner, 5n, 5n, WRLCK));
    await mount.kernel.ok(OP.RELEASE, node, [u64(fh), u32(2, 0), u64(0)]);
    expect((await mount.kernel.send(32, node, mount.lockBody(third.fh, 9n, 5n, 5n, WRLCK))).code).toBe(
      "EAGAIN",
    );
  });

  it.each([
    ["a type that is none", 0n, 1n, 3],
    ["an end before its start", 5n, 4n, 0],
  ])("with %s are EINVAL", async (_why, start, end, type) => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    expect((await mount.kernel.send(32, node, mount.lockBody(fh, 1n, start, end, type))).code).toBe("EINVAL");
  });
});

describe("SETATTR", () => {
  function setattr(valid: number, { fh = 0, size = 0, mtime = 0, mode = 0 } = {}): Buffer[] {
    return [u32(valid, 0), u64(fh, size, 0, 0, mtime, 0), u32(0, 5, 0, mode, 0, 0, 0, 0)];
  }

  it("truncates first and sets times afterwards, so that they stay", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    mount.spy.take();
    const out = await mount.kernel.ok(
      OP.SETATTR,
      node,
      setattr(8 | 0x20 | 0x40, { fh, size: 10, mtime: 1234 }),
    );
    expect(mount.spy.take()).toEqual(["ftruncate", "setattr"]);
    expect([out.readBigUInt64LE(16 + 8), out.readBigUInt64LE(16 + 32), out.readUInt32LE(16 + 52)]).toEqual([
      10n,
      1234n,
      5,
    ]);
  });

  it("works through an open file when the last name is gone", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    await mount.kernel.ok(10, 1, [Buffer.from("f\0")]);
    const out = await mount.kernel.ok(OP.SETATTR, node, setattr(1, { mode: 0o100600 }));
    expect(out.readUInt32LE(16 + 60) & 0o7777).toBe(0o600);
    await mount.kernel.ok(OP.SETATTR, node, setattr(8, { size: 77 }));
    const attr = await mount.kernel.ok(OP.GETATTR, node, [u32(1, 0), u64(fh)]);
    expect(attr.readBigUInt64LE(16 + 8)).toBe(77n);
  });

  describe("of times that the kernel keeps for its pages", () => {
    /** MTIME, CTIME and the handle it writes pages through: what no system call asks for. */
    const OF_PAGES = 0x20 | 0x400 | 0x40;

    async function withTimes(): Promise<{ mount: MountedGraph; node: number; fh: number }> {
      const mount = await mounted(["kernel-writeback-cache"]);
      mount.state.writebackCache = true;
      const { node, fh } = await mount.create("f");
      mount.spy.take();
      for (const mtime of [1000, 2000, 3000])
        await mount.kernel.ok(OP.SETATTR, node, setattr(OF_PAGES, { fh, mtime }));
      expect(mount.spy.take()).toEqual([]);
      return { mount, node, fh };
    }

    it.each([
      ["FLUSH", 25, (fh: number) => [u64(fh), u32(0, 0), u64(0)], "flush"],
      ["FSYNC", OP.FSYNC, (fh: number) => [u64(fh), u32(0, 0)], "fsync"],
      ["GETATTR", OP.GETATTR, (fh: number) => [u32(1, 0), u64(fh)], "fstat"],
      ["RELEASE", 18, (fh: number) => [u64(fh), u32(0, 0), u64(0)], "release"],
      ["another SETATTR", OP.SETATTR, (fh: number) => setattr(1, { fh, mode: 0o100600 }), "setattr"],
    ] as const)("tells the last ones before a %s is served", async (_name, opcode, body, fop) => {
      const { mount, node, fh } = await withTimes();
      await mount.kernel.ok(opcode, node, body(fh));
      expect(mount.spy.seen.map((seen) => seen.fop)).toEqual(["setattr", fop]);
      expect(mount.spy.seen[0]!.args).toMatchObject({ stat: { mtime: 3000, mtimeNsec: 5 } });
      await mount.env.clock.advance(10_000);
      expect(mount.spy.take()).toEqual(["setattr", fop]);
    });

    it("tells them after a second in any case, and says so when the volume refuses", async () => {
      const { mount, node, fh } = await withTimes();
      await mount.env.clock.advance(999);
      expect(mount.spy.take()).toEqual([]);
      await mount.env.clock.advance(1);
      expect(mount.spy.take()).toEqual(["setattr"]);
      await mount.kernel.ok(OP.SETATTR, node, setattr(OF_PAGES, { fh, mtime: 4000 }));
      mount.spy.answer("setattr", () => Promise.reject(new FopError("EROFS")));
      await mount.env.clock.advance(1000);
      expect(mount.env.log.lines.at(-1)).toMatchObject({ level: "warn" });
    });

    it("has a second FLUSH wait for the times that the first one is telling, and later times for earlier", async () => {
      const { mount, node, fh } = await withTimes();
      const told: (() => void)[] = [];
      mount.spy.answer("setattr", async (_call, _args, next) => {
        await new Promise<void>((resolve) => told.push(resolve));
        return next();
      });
      const flush = (): Promise<unknown> => mount.kernel.send(25, node, [u64(fh), u32(0, 0), u64(0)]);
      const flushes = [flush(), flush()];
      await settle();
      await mount.kernel.ok(OP.SETATTR, node, setattr(OF_PAGES, { fh, mtime: 4000 }));
      flushes.push(flush());
      await settle();
      expect(mount.spy.take()).toEqual(["setattr"]);
      told.shift()!();
      await Promise.all(flushes.slice(0, 2));
      expect(mount.spy.take().sort()).toEqual(["flush", "flush", "setattr"]);
      told.shift()!();
      await flushes[2];
      expect(mount.spy.take()).toEqual(["flush"]);
    });

    it("fails the FSYNC whose times the volume refuses", async () => {
      const { mount, node, fh } = await withTimes();
      mount.spy.answer("setattr", () => Promise.reject(new FopError("EIO")));
      expect((await mount.kernel.send(OP.FSYNC, node, [u64(fh), u32(0, 0)])).code).toBe("EIO");
    });

    it("does so only where the kernel keeps times, and for nobody else's", async () => {
      const mount = await mounted();
      const { node, fh } = await mount.create("f");
      mount.spy.take();
      await mount.kernel.ok(OP.SETATTR, node, setattr(OF_PAGES, { fh, mtime: 1 }));
      mount.state.writebackCache = true;
      await mount.kernel.ok(OP.SETATTR, node, setattr(0x20 | 0x400, { mtime: 2 }));
      expect(mount.spy.take()).toEqual(["setattr", "setattr"]);
    });
  });

  it("refuses a size past 2^53", async () => {
    const mount = await mounted();
    const { node, fh } = await mount.create("f");
    const body = [u32(8 | 0x40, 0), u64(fh, 2n ** 60n, 0, 0, 0, 0), u32(0, 0, 0, 0, 0, 0, 0, 0)];
    expect((await mount.kernel.send(OP.SETATTR, node, body)).code).toBe("EFBIG");
  });

  it("of something the kernel no longer holds is ESTALE", async () => {
    const mount = await mounted();
    expect((await mount.kernel.send(OP.GETATTR, 4711, [u32(0, 0), u64(0)])).code).toBe("ESTALE");
  });
});
