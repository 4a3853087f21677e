/** truncate, fallocate, discard, zerofill, seek, statfs: how large a file is and where it has room. */

import { expect } from "vitest";
import type { Fd } from "../../src/core/inode.ts";
import type { Session } from "../support/session.ts";
import { outcome, type Subject } from "./suite.ts";

const MIB = 1024 * 1024;

async function blocks(session: Session, fd: Fd): Promise<number> {
  await session.top.fsync(session.call, { fd, datasync: false });
  return (await session.top.fstat(session.call, { fd })).stat.blocks;
}

function seek(session: Session, fd: Fd, offset: number, what: "data" | "hole"): Promise<number> {
  return session.top.seek(session.call, { fd, offset, what }).then((reply) => reply.offset);
}

export const sizes: Subject = {
  name: "sizes",
  cases: [
    {
      name: "truncate cuts, and what comes back when the file grows again is zeros",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "0123456789");
        const reply = await a.top.ftruncate(a.call, { fd, offset: 4 });
        expect([reply.pre.size, reply.post.size]).toEqual([10, 4]);
        expect(await a.text(fd)).toBe("0123");
        const inode = await a.inode("f");
        await a.top.truncate(a.call, { loc: { inode }, offset: 8 });
        expect(await a.text(fd)).toBe("0123\0\0\0\0");
      },
    },
    {
      name: "truncate makes a file of any size without taking room for it",
      async run({ a }) {
        const fd = await a.create("f");
        await a.top.ftruncate(a.call, { fd, offset: 2 ** 40 });
        expect(await a.size(fd)).toBe(2 ** 40);
        expect(await blocks(a, fd)).toBeLessThan(64);
        expect((await a.read(fd, 2 ** 40 - 10, 100)).length).toBe(10);
      },
    },
    {
      name: "truncate on a directory is EISDIR",
      async run({ a }) {
        const inode = await a.mkdir("d");
        expect(await outcome(a.top.truncate(a.call, { loc: { inode }, offset: 0 }))).toBe("EISDIR");
      },
    },
    {
      name: "fallocate makes room and the file as long as the range; keep-size leaves the length",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "data");
        await a.top.fallocate(a.call, { fd, keepSize: true, offset: 0, size: MIB });
        expect(await a.size(fd)).toBe(4);
        const { post } = await a.top.fallocate(a.call, { fd, keepSize: false, offset: MIB, size: MIB });
        expect(post.size).toBe(2 * MIB);
        expect(await blocks(a, fd)).toBeGreaterThanOrEqual(MIB / 512);
        expect((await a.read(fd, 0, 5)).toString()).toBe("data\0");
      },
    },
    {
      name: "room that fallocate made with keep-size counts once the file reaches so far",
      needs: ["counted-room"],
      async run({ a }) {
        const fd = await a.create("f");
        await a.top.fallocate(a.call, { fd, keepSize: true, offset: 0, size: MIB });
        await a.write(fd, "data", MIB);
        expect(await blocks(a, fd)).toBeGreaterThanOrEqual(MIB / 512);
      },
    },
    {
      name: "discard makes a hole that reads as zeros; the length stays",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, Buffer.alloc(MIB, "x"));
        const full = await blocks(a, fd);
        await a.top.discard(a.call, { fd, offset: 65536, size: 524288 });
        expect(await a.size(fd)).toBe(MIB);
        expect((await a.read(fd, 65536, 524288)).every((byte) => byte === 0)).toBe(true);
        expect((await a.read(fd, 65535, 1)).toString()).toBe("x");
        expect((await a.read(fd, 65536 + 524288, 1)).toString()).toBe("x");
        expect(await blocks(a, fd)).toBeLessThan(full);
      },
    },
    {
      name: "discard clears odd edges exactly, and beyond the end changes nothing",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, Buffer.alloc(10000, "x"));
        await a.top.discard(a.call, { fd, offset: 100, size: 5000 });
        const all = await a.read(fd, 0, 10000);
        expect(all.indexOf(0)).toBe(100);
        expect(all.lastIndexOf(0)).toBe(5099);
        await a.top.discard(a.call, { fd, offset: 9999, size: 5000 });
        expect(await a.size(fd)).toBe(10000);
      },
    },
    {
      name: "zerofill writes zeros, beyond the end too",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "xxxxxxxxxx");
        const { pre, post } = await a.top.zerofill(a.call, { fd, offset: 5, size: 20000 });
        expect([pre.size, post.size]).toEqual([10, 20005]);
        const all = await a.read(fd, 0, 20005);
        expect(all.toString("latin1", 0, 6)).toBe("xxxxx\0");
        expect(all.subarray(5).every((byte) => byte === 0)).toBe(true);
      },
    },
    {
      name: "an empty range is EINVAL for fallocate",
      async run({ a }) {
        const fd = await a.create("f");
        expect(await outcome(a.top.fallocate(a.call, { fd, keepSize: false, offset: 0, size: 0 }))).toBe(
          "EINVAL",
        );
      },
    },
    {
      name: "seek finds data and holes in turn, and the end of the file as a hole",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, Buffer.alloc(65536, "x"), MIB);
        await a.top.ftruncate(a.call, { fd, offset: 3 * MIB });
        await a.top.fsync(a.call, { fd, datasync: false });
        expect(await seek(a, fd, 0, "hole")).toBe(0);
        expect(await seek(a, fd, 0, "data")).toBe(MIB);
        expect(await seek(a, fd, MIB + 5, "data")).toBe(MIB + 5);
        expect(await seek(a, fd, MIB + 5, "hole")).toBe(MIB + 65536);
        expect(await outcome(seek(a, fd, MIB + 65536, "data"))).toBe("ENXIO");
        expect(await seek(a, fd, 2 * MIB, "hole")).toBe(2 * MIB);
      },
    },
    {
      name: "seek at and after the end is ENXIO",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "abc");
        expect(await seek(a, fd, 0, "hole")).toBe(3);
        for (const what of ["data", "hole"] as const)
          for (const offset of [3, 100])
            expect(await outcome(seek(a, fd, offset, what)), `${what} ${offset}`).toBe("ENXIO");
      },
    },
    {
      name: "a file never takes more blocks than its size needs",
      needs: ["brick"],
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "x");
        expect(await blocks(a, fd)).toBeLessThanOrEqual(1);
      },
    },
    {
      name: "statfs tells sizes that fit together",
      async run({ a }) {
        const { statfs } = await a.top.statfs(a.call, { loc: { inode: a.root } });
        expect(statfs.bsize).toBeGreaterThan(0);
        expect(statfs.blocks).toBeGreaterThan(0);
        expect(statfs.bfree).toBeLessThanOrEqual(statfs.blocks);
        expect(statfs.bavail).toBeLessThanOrEqual(statfs.bfree);
        expect(statfs.namemax).toBe(255);
      },
    },
  ],
};
