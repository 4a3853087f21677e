/** Scenarios of shared/spec/scenarios.md that need no real process, by their names there. */

import { describe, expect, it } from "vitest";
import { FopError } from "../../../../src/core/errors.ts";
import type { Args } from "../../../../src/core/fops.ts";
import { type Gfid, gfidText } from "../../../../src/core/gfid.ts";
import { S_IFREG } from "../../../../src/core/iatt.ts";
import { KEY } from "../../../../src/core/keys.ts";
import { O_APPEND, O_DIRECT, O_RDONLY, O_RDWR, O_SYNC } from "../../../../src/core/open-flags.ts";
import { settle } from "../../../support/fake-env.ts";
import { Session } from "../../../support/session.ts";
import { BLOCK, bytes, type Client, Rig } from "./rig.ts";

const MIB = 2 ** 20;
const FOUR_MIB = 4 * MIB;
const PREFIX = "trusted.glusterfs.shard.";

function hex(rig: Rig, gfid: Gfid, key: string): string {
  return rig
    .node(gfid)!
    .xattrs.get(PREFIX + key)!
    .toString("hex");
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "ok";
  } catch (error) {
    if (error instanceof FopError) return error.code;
    throw error;
  }
}

async function filled(client: Client, name: string, size: number): Promise<Gfid> {
  const fd = await client.create(name);
  await client.write(fd, bytes(size));
  await client.close(fd);
  return fd.inode.gfid;
}

describe("scenarios", () => {
  it("SHD-01: block size and size are big-endian words, the count of blocks is the third", async () => {
    await using rig = await Rig.start({ blockSize: FOUR_MIB });
    const fd = await rig.a.create("f");
    const { gfid } = fd.inode;
    const words = (size: string, blocks: string): string =>
      `${size}${"0".repeat(16)}${blocks}${"0".repeat(16)}`;
    expect(hex(rig, gfid, "block-size")).toBe("0000000000400000");
    expect(hex(rig, gfid, "file-size")).toBe("0".repeat(64));
    await rig.a.write(fd, "four");
    await rig.a.top.fsync(rig.a.call, { fd, datasync: false });
    const blocks = rig.room(gfid).toString(16).padStart(16, "0");
    expect(hex(rig, gfid, "file-size")).toBe(words("0000000000000004", blocks));
    await rig.a.write(fd, "more", 0, O_APPEND);
    expect(hex(rig, gfid, "file-size")).toBe(words("0000000000000008", blocks));
    expect(await rig.a.text(fd)).toBe("fourmore");
  });

  it("SHD-03: blocks are root's whoever writes, and stay when an operation on the file is refused", async () => {
    await using rig = await Rig.start();
    const user = rig.a.as({ uid: 1000, gid: 1000 });
    const fd = await user.create("mine");
    const { gfid } = fd.inode;
    await user.write(fd, bytes(3 * BLOCK));
    expect([rig.node(gfid)!.uid, rig.node(gfid)!.gid]).toEqual([1000, 1000]);
    const directory = rig.disk.root.entries!.get(".shard")!.node;
    expect([directory.uid, directory.gid, directory.mode & 0o7777]).toEqual([0, 0, 0o755]);
    for (const block of [1, 2]) {
      const node = directory.entries!.get(`${gfidText(gfid)}.${block}`)!.node;
      expect([node.uid, node.gid, node.mode & 0o7777]).toEqual([0, 0, 0o644]);
      expect(node.xattrs.size).toBe(0);
    }
    await user.end();
    rig.a.wire.before = ({ fop, args }) => {
      const isBase = "loc" in args && args.loc.name === "mine";
      if ((fop === "unlink" && isBase) || fop === "rename" || fop === "access")
        throw new FopError("EACCES", { fop, xlator: "test" });
    };
    const other = rig.a.as({ uid: 1001, gid: 1001 });
    expect(await codeOf(other.unlink("mine"))).toBe("EACCES");
    const spare = await rig.a.create("spare");
    await rig.a.close(spare);
    expect(await codeOf(other.rename("spare", "mine"))).toBe("EACCES");
    const loc = { inode: await rig.a.inode("mine") };
    expect(await codeOf(other.top.truncate(other.call, { loc, offset: 0 }))).toBe("EACCES");
    await rig.pass();
    expect(rig.hidden()).toEqual([`${gfidText(gfid)}.1`, `${gfidText(gfid)}.2`]);
  });

  it("SHD-07: the xattrs of blocks cannot be seen, set or removed, and the directory cannot be entered", async () => {
    await using rig = await Rig.start();
    await filled(rig.a, "f", 2 * BLOCK);
    const inode = await rig.a.inode("f");
    for (const key of [`${PREFIX}file-size`, `${PREFIX}block-size`]) {
      expect(await codeOf(rig.a.getxattr(inode, key))).toBe("ENODATA");
      expect(await codeOf(rig.a.setxattr(inode, key, "x"))).toBe("EPERM");
      expect(await codeOf(rig.a.top.removexattr(rig.a.call, { loc: { inode }, name: key }))).toBe("EPERM");
    }
    expect(await rig.a.listxattr(inode)).toEqual([]);
    expect(await rig.a.list()).toEqual(["f"]);
    expect(await rig.a.list(rig.a.root, 64)).toEqual(["f"]);
    for (const tried of [
      rig.a.lookup(".shard"),
      rig.a.mkdir(".shard"),
      rig.a.rmdir(".shard"),
      rig.a.create(".shard"),
    ])
      expect(await codeOf(tried)).toBe("EPERM");
    expect(await codeOf(rig.a.rename("f", ".shard"))).toBe("EPERM");
    expect(await codeOf(rig.a.rename(".shard", "g"))).toBe("EPERM");
  });

  it("SHD-09: a read with O_DIRECT beyond the end of a small file gives what there is", async () => {
    await using rig = await Rig.start();
    for (const size of [2, 501, BLOCK + 501]) {
      const fd = await rig.a.create(`f${size}`);
      await rig.a.write(fd, bytes(size));
      await rig.a.close(fd);
      const direct = await rig.a.open(fd.inode, O_RDONLY | O_DIRECT);
      const at = size > BLOCK ? BLOCK : 0;
      expect((await rig.a.read(direct, at, 4096)).equals(bytes(size).subarray(at))).toBe(true);
    }
  });

  it("SHD-10: fsync reaches the base file and every block that was written, once", async () => {
    for (const uid of [0, 1000]) {
      await using rig = await Rig.start();
      const user = rig.a.as({ uid, gid: uid });
      const fd = await user.create("f");
      for (let at = 0; at < 7; at++) await user.write(fd, bytes(BLOCK), at * BLOCK);
      rig.a.wire.take();
      await user.top.fsync(user.call, { fd, datasync: false });
      expect(rig.a.wire.count("fsync")).toBe(7);
      expect(rig.blocksOf(fd.inode.gfid)).toEqual([1, 2, 3, 4, 5, 6]);
      await user.write(fd, "x", 3 * BLOCK);
      rig.a.wire.take();
      await user.top.fsync(user.call, { fd, datasync: false });
      expect(rig.a.wire.count("fsync")).toBe(2);
      await user.end();
    }
  });

  it("SHD-10: a block whose fsync failed is synced by the next one", async () => {
    await using rig = await Rig.start();
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(3 * BLOCK));
    let failures = 1;
    rig.a.wire.before = ({ fop, args }) => {
      if (fop === "fsync" && "fd" in args && args.fd !== fd && failures-- > 0)
        throw new FopError("EIO", { fop, xlator: "test" });
    };
    expect(await codeOf(rig.a.top.fsync(rig.a.call, { fd, datasync: true }))).toBe("EIO");
    rig.a.wire.take();
    await rig.a.top.fsync(rig.a.call, { fd, datasync: true });
    expect(rig.a.wire.count("fsync")).toBe(3);
  });

  it("SHD-14: no more blocks are remembered than the limit, also when one call needs more", async () => {
    await using rig = await Rig.start({ clients: 2, options: { "shard-lru-limit": "25" } });
    const fd = await rig.a.create("f");
    for (let at = 0; at < 100; at++) {
      await rig.a.write(fd, bytes(BLOCK, at), at * BLOCK);
      expect(rig.a.shard.shardCount).toBeLessThanOrEqual(25);
    }
    rig.a.wire.take();
    await rig.a.top.fsync(rig.a.call, { fd, datasync: true });
    // What was crowded out was synced when it was.
    expect(rig.a.wire.count("fsync")).toBe(26);
    const other = await rig.b.open(await rig.b.inode("f"));
    for (let at = 0; at < 100; at++)
      expect((await rig.b.read(other, at * BLOCK, BLOCK)).equals(bytes(BLOCK, at))).toBe(true);
    expect(rig.b.shard.shardCount).toBeLessThanOrEqual(25);
    await rig.a.top.fallocate(rig.a.call, { fd, keepSize: false, offset: 0, size: 300 * BLOCK });
    expect(await rig.a.size(fd)).toBe(300 * BLOCK);
    const whole = await rig.a.read(fd, 0, 300 * BLOCK);
    expect(whole.subarray(99 * BLOCK, 100 * BLOCK).equals(bytes(BLOCK, 99))).toBe(true);
    expect(rig.a.shard.shardCount).toBeLessThanOrEqual(25);
    await rig.b.release(other);
    await rig.a.close(fd);
    const before = rig.disk.inodeCount;
    await rig.a.unlink("f");
    await rig.pass();
    expect(rig.hidden()).toEqual([]);
    expect(rig.disk.inodeCount).toBe(before - 300 + (rig.disk.root.entries!.has(".shard") ? 1 : 0));
    expect(await codeOf(rig.b.stat("f"))).toBe("ENOENT");
  });

  it("SHD-15: room is counted exactly through fallocate and truncate", async () => {
    await using rig = await Rig.start({ blockSize: FOUR_MIB });
    const fd = await rig.a.create("f");
    const { top, call } = rig.a;
    const room = async (): Promise<number> => (await top.fstat(call, { fd })).stat.blocks;
    await top.fallocate(call, { fd, keepSize: false, offset: 0, size: 200 * MIB });
    expect(await room()).toBe(409600);
    await top.ftruncate(call, { fd, offset: 0 });
    expect(await room()).toBe(0);
    await top.fallocate(call, { fd, keepSize: false, offset: 0, size: 100 * MIB });
    expect(await room()).toBe(204800);
    expect(rig.extent(fd.inode.gfid)).toEqual({ size: 100 * MIB, blocks: 204800 });
  });

  it("SHD-17: zerofill makes a file of zeros, and appending goes on behind it", async () => {
    await using rig = await Rig.start({ blockSize: FOUR_MIB });
    const fd = await rig.a.create("f");
    const { gfid } = fd.inode;
    await rig.a.top.zerofill(rig.a.call, { fd, offset: 0, size: 10 * MIB });
    expect(await rig.a.size(fd)).toBe(10 * MIB);
    const sizes = rig.blocksOf(gfid).map((block) => [block, blockSize(rig, gfid, block)]);
    expect(sizes).toEqual([
      [1, FOUR_MIB],
      [2, 2 * MIB],
    ]);
    expect((await rig.a.read(fd, 0, 10 * MIB)).every((byte) => byte === 0)).toBe(true);
    const appender = await rig.a.open(fd.inode, O_RDWR | O_APPEND);
    await rig.a.write(appender, "abc");
    expect((await rig.a.read(fd, 10 * MIB - 1, 10)).toString()).toBe("\0abc");
  });

  it("SHD-19: an open file without a name is written on; its blocks go after the last close", async () => {
    for (const size of [10, 5 * BLOCK]) {
      await using rig = await Rig.start({ clients: 2 });
      const fd = await rig.a.create("f");
      const { gfid } = fd.inode;
      await rig.a.write(fd, bytes(size));
      await rig.b.inode("f");
      await rig.a.unlink("f");
      await rig.pass();
      expect(rig.hidden()).toContain(`.remove_me/${gfidText(gfid)}`);
      await rig.a.write(fd, bytes(6 * BLOCK, 3), BLOCK);
      expect((await rig.a.read(fd, BLOCK, 6 * BLOCK)).equals(bytes(6 * BLOCK, 3))).toBe(true);
      await rig.a.top.ftruncate(rig.a.call, { fd, offset: 6 * BLOCK });
      expect(await rig.a.size(fd)).toBe(6 * BLOCK);
      expect(rig.blocksOf(gfid)).toEqual([1, 2, 3, 4, 5]);
      await filled(rig.b, "g", 3 * BLOCK);
      await rig.b.unlink("g");
      await rig.pass();
      expect(rig.blocksOf(gfid)).toEqual([1, 2, 3, 4, 5]);
      await rig.a.close(fd);
      await rig.pass();
      expect(rig.hidden()).toEqual([]);
    }
  });

  it("SHD-21: a fresh volume gets its directories when they are needed, and markers come and go", async () => {
    await using rig = await Rig.start();
    const root = (): string[] => [...rig.disk.root.entries!.keys()].sort();
    await filled(rig.a, "small", 100);
    const sparse = await rig.a.create("sparse");
    await rig.a.top.ftruncate(rig.a.call, { fd: sparse, offset: 9 * BLOCK });
    await rig.a.close(sparse);
    await rig.a.unlink("small");
    expect(root()).toEqual(["sparse"]);
    await rig.a.unlink("sparse");
    await rig.pass();
    expect(rig.hidden()).toEqual([]);

    const gfid = await filled(rig.a, "linked", 3 * BLOCK);
    await rig.a.link(await rig.a.inode("linked"), "name2");
    await rig.a.unlink("linked");
    await rig.pass();
    expect(rig.blocksOf(gfid)).toEqual([1, 2]);
    const fd = await rig.a.open(await rig.a.inode("name2"));
    expect((await rig.a.read(fd, 0, 4 * BLOCK)).equals(bytes(3 * BLOCK))).toBe(true);
    await rig.a.close(fd);

    const source = await filled(rig.a, "source", 2 * BLOCK);
    const { stat } = await rig.a.rename("source", "name2");
    expect(stat.size).toBe(2 * BLOCK);
    await rig.pass();
    expect(rig.hidden()).toEqual([`${gfidText(source)}.1`]);
    expect((await rig.a.stat("name2")).size).toBe(2 * BLOCK);

    // Two names of one file: rename does nothing.
    await rig.a.link(await rig.a.inode("name2"), "twin");
    await rig.a.rename("twin", "name2");
    await rig.pass();
    expect(rig.blocksOf(source)).toEqual([1]);
  });

  it("a block that few copies have is waited for until a heal has spread it, or taken it away", async () => {
    await using rig = await Rig.start();
    await filled(rig.a, "other", 2 * BLOCK);
    const gfid = await filled(rig.a, "f", 100);
    const brick = new Session(rig.graph.top);
    await brick.mknod(`${gfidText(gfid)}.1`, S_IFREG | 0o644, { parent: await brick.inode(".shard") });
    // As replicate answers when one copy of three has it.
    rig.a.wire.before = ({ fop, args }) => {
      if (fop !== "lookup" || !(args as Args<"lookup">).loc.name?.endsWith(`${gfidText(gfid)}.1`)) return;
      throw new FopError(args.xdata?.has(KEY.GONE_EVERYWHERE) ? "EAGAIN" : "ENOENT", { fop });
    };
    await rig.a.unlink("f");
    await rig.pass();
    expect(rig.hidden()).toContain(`.remove_me/${gfidText(gfid)}`);
    expect(rig.blocksOf(gfid)).toEqual([1]);
    rig.a.wire.before = undefined;
    await rig.pass(700_000);
    expect(rig.hidden().filter((name) => name.includes(gfidText(gfid)))).toEqual([]);
  });

  it("API-10: zerofill that does not fit fails, and what it left gives way to later writes", async () => {
    await using rig = await Rig.start({ blockSize: FOUR_MIB, brick: { capacity: "20MB" } });
    const fd = await rig.a.create("f");
    await rig.a.write(fd, bytes(100));
    expect(await codeOf(rig.a.top.zerofill(rig.a.call, { fd, offset: 0, size: 100 * MIB }))).toBe("ENOSPC");
    expect(await rig.a.size(fd)).toBe(100);
    for (let turns = 0; turns < 50; turns++) await settle();
    await rig.a.write(fd, bytes(MIB, 2), 0);
    await rig.a.write(fd, bytes(MIB, 2), 9 * MIB);
    expect((await rig.a.read(fd, 9 * MIB, MIB)).equals(bytes(MIB, 2))).toBe(true);
    expect((await rig.a.read(fd, 2 * MIB, 6 * MIB)).every((byte) => byte === 0)).toBe(true);
  });
});

describe("flags of a file", () => {
  it.each([
    ["O_DIRECT of its fd", O_DIRECT, 0, O_DIRECT],
    ["O_SYNC of its fd", O_SYNC, 0, O_SYNC],
    ["O_DIRECT of a write", 0, O_DIRECT, O_DIRECT],
    ["O_SYNC of a write", 0, O_SYNC, O_SYNC],
    ["none", 0, 0, 0],
  ])("reach blocks 1 and up: %s", async (_what, ofFile, ofWrite, wanted) => {
    await using rig = await Rig.start();
    const { inode } = await rig.a.create("f");
    const fd = await rig.a.open(inode, O_RDWR | ofFile);
    // Blocks that are made by it, and blocks that are there.
    for (const _round of [1, 2]) {
      rig.a.wire.take();
      const seen: [block: number, ofFd: number, ofWrite: number][] = [];
      rig.a.wire.before = ({ fop, args }) => {
        if (fop !== "writev") return;
        const write = args as Args<"writev">;
        const block = write.fd.inode.gfid === inode.gfid ? 0 : 1;
        seen.push([block, write.fd.flags & O_DIRECT, write.flags & (O_DIRECT | O_SYNC)]);
      };
      await rig.a.write(fd, bytes(3 * BLOCK), 0, ofWrite);
      const others = seen.filter(([block]) => block > 0);
      expect(others).toEqual([1, 2].map(() => [1, wanted & O_DIRECT, wanted]));
    }
    rig.a.wire.before = undefined;
  });

  it("reach reads too: O_DIRECT, and only where the file has it", async () => {
    await using rig = await Rig.start();
    const gfid = await filled(rig.a, "f", 3 * BLOCK);
    const inode = await rig.a.inode("f");
    for (const wanted of [O_DIRECT, 0]) {
      const fd = await rig.a.open(inode, O_RDONLY | wanted);
      const seen: number[] = [];
      rig.a.wire.before = ({ fop, args }) => {
        if (fop !== "readv") return;
        const { fd: read } = args as Args<"readv">;
        if (read.inode.gfid !== gfid) seen.push(read.flags & O_DIRECT);
      };
      await rig.a.read(fd, 0, 3 * BLOCK);
      expect(seen).toEqual([wanted, wanted]);
      rig.a.wire.before = undefined;
    }
  });
});

describe("block sizes", () => {
  it("stay with a file when the option changes", async () => {
    await using rig = await Rig.start();
    await filled(rig.a, "old", 3 * BLOCK);
    rig.a.shard.reconfigure({
      shard: true,
      "shard-block-size": 2 * BLOCK,
      "shard-deletion-rate": 100,
      "shard-lru-limit": 100,
    });
    const fresh = await filled(rig.a, "new", 3 * BLOCK);
    expect(rig.blocksOf(fresh)).toEqual([1]);
    const fd = await rig.a.open(await rig.a.inode("old"));
    await rig.a.write(fd, bytes(BLOCK, 2), 3 * BLOCK);
    expect(rig.blocksOf(fd.inode.gfid)).toEqual([1, 2, 3]);
  });

  it("are not there for files that were made while sharding was off", async () => {
    await using rig = await Rig.start();
    const { graph, a } = rig;
    const brick = new Session(graph.top);
    const made = await brick.create("plain", { flags: O_RDWR });
    await brick.write(made, bytes(3 * BLOCK));
    await brick.release(made);
    const fd = await a.open(await a.inode("plain"), O_RDWR | O_APPEND);
    await a.write(fd, "end");
    expect(await a.size(fd)).toBe(3 * BLOCK + 3);
    expect((await a.read(fd, 3 * BLOCK, 10)).toString()).toBe("end");
    await a.top.ftruncate(a.call, { fd, offset: BLOCK });
    expect((await a.read(fd, 0, 4 * BLOCK)).equals(bytes(3 * BLOCK).subarray(0, BLOCK))).toBe(true);
    await a.unlink("plain");
    expect(rig.hidden()).toEqual([]);
  });
});

function blockSize(rig: Rig, gfid: Gfid, block: number): number {
  const entries = rig.disk.root.entries!.get(".shard")!.node.entries!;
  return entries.get(`${gfidText(gfid)}.${block}`)!.node.size;
}
