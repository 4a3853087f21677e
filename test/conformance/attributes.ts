/** Attributes: modes, owners, times, and how they move by themselves. */

import { expect } from "vitest";
import { S_IFDIR, S_IFREG, SETATTR, ZERO_IATT } from "../../src/core/iatt.ts";
import { outcome, type Subject } from "./suite.ts";

const PAST = { atime: 1_000_000_001, atimeNsec: 123_456_789, mtime: 1_000_000_002, mtimeNsec: 987_654_321 };
const TIMES = SETATTR.ATIME | SETATTR.MTIME;

export const attributes: Subject = {
  name: "attributes",
  cases: [
    {
      name: "setattr sets what is asked for and nothing else",
      async run({ a, b }) {
        await a.create("f", { mode: 0o600 });
        const inode = await a.inode("f");
        const { pre, post } = await a.setattr(inode, SETATTR.MODE, { mode: 0o4711, uid: 5, gid: 6 });
        expect([pre.mode, post.mode]).toEqual([S_IFREG | 0o600, S_IFREG | 0o4711]);
        expect([post.uid, post.gid]).toEqual([0, 0]);
        await a.setattr(inode, SETATTR.UID, { uid: 1000, gid: 7 });
        const after = await b.stat("f");
        expect([after.uid, after.gid]).toEqual([1000, 0]);
      },
    },
    {
      name: "a new owner does not get set-id bits",
      async run({ a }) {
        await a.create("f");
        const inode = await a.inode("f");
        await a.setattr(inode, SETATTR.MODE, { mode: 0o6755 });
        await a.setattr(inode, SETATTR.UID | SETATTR.GID, { uid: 1000, gid: 1000 });
        expect((await a.stat("f")).mode).toBe(S_IFREG | 0o755);
      },
    },
    {
      name: "times are kept to the nanosecond, of files, directories and symlinks, by fd too",
      async run({ a, b }) {
        const fd = await a.create("f");
        await a.mkdir("d");
        await a.symlink("l", "nowhere");
        for (const name of ["f", "d", "l"]) {
          await a.setattr(await a.inode(name), TIMES, PAST);
          expect(await b.stat(name), name).toMatchObject(PAST);
        }
        const future = { atime: 4_000_000_000, atimeNsec: 1, mtime: 4_000_000_001, mtimeNsec: 999_999_999 };
        await a.top.fsetattr(a.call, { fd, stat: { ...ZERO_IATT, ...future }, valid: TIMES });
        expect(await b.stat("f")).toMatchObject(future);
      },
    },
    {
      name: "one time can be set alone, and times before 1970",
      async run({ a }) {
        await a.create("f");
        const inode = await a.inode("f");
        await a.setattr(inode, TIMES, PAST);
        await a.setattr(inode, SETATTR.MTIME, { mtime: -100, mtimeNsec: 5 });
        expect(await a.stat("f")).toMatchObject({ ...PAST, mtime: -100, mtimeNsec: 5 });
      },
    },
    {
      name: "a write moves mtime and ctime, a read neither",
      async run({ a }) {
        const fd = await a.create("f");
        await a.setattr(await a.inode("f"), TIMES, PAST);
        const before = await a.stat("f");
        await a.read(fd);
        expect(await a.stat("f")).toMatchObject({ mtime: PAST.mtime, ctime: before.ctime });
        await a.write(fd, "x");
        const post = await a.stat("f");
        expect(post.mtime).toBeGreaterThan(PAST.mtime);
        expect(post.ctime).toBeGreaterThanOrEqual(before.ctime);
      },
    },
    {
      name: "truncate moves mtime, chmod only ctime",
      async run({ a }) {
        const fd = await a.create("f");
        const inode = await a.inode("f");
        await a.setattr(inode, TIMES, PAST);
        await a.setattr(inode, SETATTR.MODE, { mode: 0o600 });
        expect((await a.stat("f")).mtime).toBe(PAST.mtime);
        await a.top.ftruncate(a.call, { fd, offset: 0 });
        expect((await a.stat("f")).mtime).toBeGreaterThan(PAST.mtime);
      },
    },
    {
      name: "a directory's mtime moves with its entries",
      async run({ a }) {
        const dir = await a.mkdir("d");
        const steps = [
          () => a.create("f", { parent: dir }),
          () => a.rename("f", "g", dir),
          () => a.mkdir("s", { parent: dir }),
          () => a.rmdir("s", dir),
          () => a.unlink("g", dir),
        ];
        for (const step of steps) {
          await a.setattr(dir, TIMES, PAST);
          await step();
          expect((await a.stat("d")).mtime).toBeGreaterThan(PAST.mtime);
        }
      },
    },
    {
      name: "stat and fstat tell what lookup tells",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "x");
        const inode = await a.inode("f");
        const seen = await a.stat("f");
        expect(await a.statInode(inode)).toEqual(seen);
        expect((await a.top.fstat(a.call, { fd })).stat).toEqual(seen);
        expect((await a.statInode(a.root)).mode & 0o170000).toBe(S_IFDIR);
      },
    },
    {
      name: "access of root fails only for executing what nobody may",
      async run({ a }) {
        await a.create("plain", { mode: 0o000 });
        await a.create("program", { mode: 0o100 });
        const access = async (name: string, mask: number): Promise<string> =>
          outcome(a.top.access(a.call, { loc: { inode: await a.inode(name) }, mask }));
        expect(await access("plain", 6)).toBe("ok");
        expect(await access("plain", 1)).toBe("EACCES");
        expect(await access("program", 7)).toBe("ok");
      },
    },
    {
      name: "with a client's time in the call the brick keeps that time, and only moves it forward",
      needs: ["brick"],
      async run({ a, b }) {
        const stamped = (sec: number, flags: number) => a.as({ time: { sec, nsec: 7, flags } });
        const all = 1 | 2 | 4 | 8 | 0x10;
        const fd = await stamped(1_600_000_000, all).create("f");
        expect(await b.stat("f")).toMatchObject({ mtime: 1_600_000_000, mtimeNsec: 7, ctime: 1_600_000_000 });
        await stamped(1_600_000_100, 1 | 2).write(fd, "x");
        expect(await b.stat("f")).toMatchObject({ mtime: 1_600_000_100, atime: 1_600_000_000 });
        await stamped(1_500_000_000, 1 | 2).write(fd, "x");
        expect(await b.stat("f")).toMatchObject({ mtime: 1_600_000_100, ctime: 1_600_000_100 });
        await a.setattr(await a.inode("f"), SETATTR.MTIME, { mtime: 5, mtimeNsec: 6 });
        expect(await b.stat("f")).toMatchObject({ mtime: 5, mtimeNsec: 6 });
      },
    },
  ],
};
