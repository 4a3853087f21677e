/** Hard links, and files that are removed while they are open. */

import { expect } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { type Gfid, gfidEquals } from "../../src/core/gfid.ts";
import { Fd, Inode } from "../../src/core/inode.ts";
import { KEY } from "../../src/core/keys.ts";
import { O_RDWR } from "../../src/core/open-flags.ts";
import { outcome, type Subject } from "./suite.ts";

export const links: Subject = {
  name: "links",
  cases: [
    {
      name: "a second name leads to the same inode",
      async run({ a, b }) {
        const fd = await a.create("f");
        const dir = await a.mkdir("d");
        const reply = await a.link(await a.inode("f"), "g", dir);
        expect(reply.stat.nlink).toBe(2);
        await a.write(fd, "shared");
        const seen = await b.stat("g", await b.inode("d"));
        expect(gfidEquals(seen.gfid, reply.stat.gfid)).toBe(true);
        expect([seen.nlink, seen.size]).toEqual([2, 6]);
      },
    },
    {
      name: "contents live until the last name is gone",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "data");
        await a.close(fd);
        await a.link(await a.inode("f"), "g");
        await a.unlink("f");
        const again = await a.open(await a.inode("g"));
        expect(await a.text(again)).toBe("data");
        expect((await a.stat("g")).nlink).toBe(1);
      },
    },
    {
      name: "directories have no second name; symlinks and nodes may",
      async run({ a }) {
        const dir = await a.mkdir("d");
        const link = await a.symlink("l", "target");
        const fifo = await a.mknod("p", 0o010600);
        expect(await outcome(a.link(dir, "e"))).toBe("EPERM");
        await a.link(link, "m");
        await a.link(fifo, "q");
        expect((await a.stat("m")).nlink).toBe(2);
        expect((await a.stat("q")).nlink).toBe(2);
      },
    },
    {
      name: "a link or a removed name moves ctime",
      async run({ a }) {
        await a.create("f");
        const inode = await a.inode("f");
        await a.setattr(inode, 0x30, { atime: 1, mtime: 1 });
        await a.link(inode, "g");
        const { ctime, mtime } = await a.stat("f");
        expect(mtime).toBe(1);
        expect(ctime).toBeGreaterThan(1);
      },
    },
    {
      name: "unlink tells the number of links before, when asked",
      needs: ["brick"],
      async run({ a }) {
        await a.create("f");
        await a.link(await a.inode("f"), "g");
        const { xdata } = await a.unlink("f", a.root, new Dict().setInt("get-link-count", 1));
        expect(xdata!.number("get-link-count")).toBe(2);
      },
    },
    {
      name: "unlink and rename tell which file lost the name, when asked",
      needs: ["brick"],
      async run({ a }) {
        const xdata = new Dict().setInt(KEY.LOST_GFID, 1);
        for (const name of ["f", "g", "h"]) await a.close(await a.create(name));
        const [f, g] = [await a.inode("f"), await a.inode("g")];
        const renamed = async (from: string, to: string): Promise<Gfid | undefined> => {
          const reply = await a.top.rename(a.call, { from: a.at(from), to: a.at(to), xdata });
          return reply.xdata?.gfid(KEY.LOST_GFID);
        };
        expect(await renamed("h", "g")).toEqual(g.gfid);
        expect(await renamed("g", "new")).toBeUndefined();
        const told = await a.unlink("f", a.root, xdata);
        expect(told.xdata!.gfid(KEY.LOST_GFID)).toEqual(f.gfid);
        expect((await a.unlink("new")).xdata?.has(KEY.LOST_GFID) ?? false).toBe(false);
      },
    },
  ],
};

export const openUnlinked: Subject = {
  name: "open and unlinked",
  cases: [
    {
      name: "an open file lives on without a name, for every fop on the fd",
      async run({ a }) {
        const fd = await a.create("f");
        await a.write(fd, "before");
        await a.unlink("f");
        expect(await a.exists("f")).toBe(false);
        expect(await a.text(fd)).toBe("before");
        await a.write(fd, "after", 6);
        await a.top.ftruncate(a.call, { fd, offset: 8 });
        expect(await a.text(fd)).toBe("beforeaf");
        const { stat } = await a.top.fstat(a.call, { fd });
        expect([stat.nlink, stat.size]).toEqual([0, 8]);
        const value = Dict.ofBytes({ "user.x": Buffer.from("1") });
        await a.top.fsetxattr(a.call, { fd, xattrs: value, flags: 0 });
        await a.top.fsync(a.call, { fd, datasync: false });
        await a.close(fd);
      },
    },
    {
      name: "another client's removal leaves the fd as it is",
      async run({ a, b }) {
        const fd = await a.create("f");
        await a.write(fd, "mine");
        await b.unlink("f");
        expect(await a.text(fd)).toBe("mine");
        await a.write(fd, "still");
        expect(await a.text(fd)).toBe("still");
      },
    },
    {
      name: "a new file of the same name is another one",
      async run({ a }) {
        const old = await a.create("f");
        await a.write(old, "old");
        await a.unlink("f");
        const fresh = await a.create("f");
        await a.write(fresh, "new");
        expect([await a.text(old), await a.text(fresh)]).toEqual(["old", "new"]);
      },
    },
    {
      name: "a file that a rename replaced lives on for its fd",
      async run({ a }) {
        const victim = await a.create("victim");
        await a.write(victim, "victim");
        await a.create("f");
        await a.rename("f", "victim");
        expect(await a.text(victim)).toBe("victim");
        expect((await a.top.fstat(a.call, { fd: victim })).stat.nlink).toBe(0);
      },
    },
    {
      name: "an open directory can be removed; its listing is empty then",
      async run({ a }) {
        const dir = await a.mkdir("d");
        const fd = await a.opendir(dir);
        await a.rmdir("d");
        const work = a.top.readdir(a.call, { fd, size: 4096, offset: 0n });
        const entries = await work.then(
          (reply) => reply.entries.map(({ name }) => name),
          () => [],
        );
        expect(entries.filter((name) => name !== "." && name !== "..")).toEqual([]);
      },
    },
    {
      name: "an anonymous fd still reaches it while somebody has it open, and no longer afterwards",
      needs: ["anonymous-fds"],
      async run({ a, b }) {
        const fd = await a.create("f");
        await a.write(fd, "hidden");
        const { gfid } = await a.stat("f");
        await a.unlink("f");
        const anonymous = (): Fd => Fd.anonymous(new Inode(gfid, 0o100000), O_RDWR);
        expect(await b.text(anonymous())).toBe("hidden");
        await a.close(fd);
        expect(["ENOENT", "ESTALE"]).toContain(await outcome(b.text(anonymous())));
      },
    },
    {
      name: "unlink can be told to spare open files",
      needs: ["brick"],
      async run({ a }) {
        const fd = await a.create("f");
        const spare = new Dict().setInt("dont-unlink-for-open-fd", 1);
        expect(await outcome(a.unlink("f", a.root, spare))).toBe("EBUSY");
        await a.close(fd);
        await a.unlink("f", a.root, spare);
      },
    },
  ],
};
