/** Extended attributes: values, flags, limits, what is hidden. */

import { expect } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { outcome, type Subject } from "./suite.ts";

const CREATE = 1;
const REPLACE = 2;

export const xattrs: Subject = {
  name: "xattrs",
  cases: [
    {
      name: "a value is what was set, bytes and all, for files, directories and by fd",
      async run({ a, b }) {
        const fd = await a.create("f");
        const dir = await a.mkdir("d");
        const bytes = Buffer.from([0, 1, 0xff, 0, 10]);
        await a.setxattr(await a.inode("f"), "user.bytes", bytes);
        await a.setxattr(dir, "user.empty", "");
        expect((await b.getxattr(await b.inode("f"), "user.bytes")).equals(bytes)).toBe(true);
        expect((await b.getxattr(await b.inode("d"), "user.empty")).length).toBe(0);
        await a.top.fsetxattr(a.call, {
          fd,
          xattrs: Dict.ofBytes({ "user.fd": Buffer.from("x") }),
          flags: 0,
        });
        const { xattrs: got } = await a.top.fgetxattr(a.call, { fd, name: "user.fd" });
        expect(got.bytes("user.fd")!.toString()).toBe("x");
      },
    },
    {
      name: "several are set by one call, and all of them are listed",
      async run({ a }) {
        const fd = await a.create("f");
        const inode = await a.inode("f");
        const many = Dict.ofBytes({ "user.a": Buffer.from("1"), "trusted.b": Buffer.from("2") });
        await a.top.setxattr(a.call, { loc: { inode }, xattrs: many, flags: 0 });
        const listed = (await a.listxattr(inode)).filter((name) => !name.startsWith("security."));
        expect(listed).toEqual(["trusted.b", "user.a"]);
        const { xattrs: all } = await a.top.fgetxattr(a.call, { fd, name: undefined });
        expect(all.bytes("trusted.b")!.toString()).toBe("2");
      },
    },
    {
      name: "what is not there is ENODATA to get and to remove",
      async run({ a }) {
        const dir = await a.mkdir("d");
        expect(await outcome(a.getxattr(dir, "user.none"))).toBe("ENODATA");
        const loc = { inode: dir };
        expect(await outcome(a.top.removexattr(a.call, { loc, name: "user.none" }))).toBe("ENODATA");
        await a.setxattr(dir, "user.some", "x");
        await a.top.removexattr(a.call, { loc, name: "user.some" });
        expect(await outcome(a.getxattr(dir, "user.some"))).toBe("ENODATA");
        const fd = await a.create("f");
        expect(await outcome(a.top.fremovexattr(a.call, { fd, name: "user.none" }))).toBe("ENODATA");
      },
    },
    {
      name: "XATTR_CREATE makes only what is new, XATTR_REPLACE only what is old",
      async run({ a }) {
        const dir = await a.mkdir("d");
        expect(await outcome(a.setxattr(dir, "user.x", "1", REPLACE))).toBe("ENODATA");
        await a.setxattr(dir, "user.x", "1", CREATE);
        expect(await outcome(a.setxattr(dir, "user.x", "2", CREATE))).toBe("EEXIST");
        await a.setxattr(dir, "user.x", "3", REPLACE);
        expect((await a.getxattr(dir, "user.x")).toString()).toBe("3");
      },
    },
    {
      name: "names outside the known namespaces are refused",
      async run({ a }) {
        const dir = await a.mkdir("d");
        for (const name of ["nothing", "other.x", "user."])
          expect(["EOPNOTSUPP", "EINVAL"]).toContain(await outcome(a.setxattr(dir, name, "x")));
      },
    },
    {
      name: "user xattrs are for files and directories only",
      async run({ a }) {
        const link = await a.symlink("l", "t");
        expect(await outcome(a.setxattr(link, "user.x", "1"))).toBe("EPERM");
        await a.setxattr(link, "trusted.x", "1");
        expect((await a.getxattr(link, "trusted.x")).toString()).toBe("1");
      },
    },
    {
      name: "xattrs stay with the inode when its names change",
      async run({ a }) {
        await a.create("f");
        const inode = await a.inode("f");
        await a.setxattr(inode, "user.x", "stays");
        await a.link(inode, "g");
        await a.rename("f", "h");
        expect((await a.getxattr(await a.inode("g"), "user.x")).toString()).toBe("stays");
      },
    },
    {
      name: "setting one moves ctime and not mtime",
      async run({ a }) {
        const dir = await a.mkdir("d");
        await a.setattr(dir, 0x30, { atime: 1, mtime: 1 });
        await a.setxattr(dir, "user.x", "1");
        const stat = await a.stat("d");
        expect(stat.mtime).toBe(1);
        expect(stat.ctime).toBeGreaterThan(1);
      },
    },
    {
      name: "the brick's own xattrs are not listed, and setting them is passed over in silence",
      needs: ["brick"],
      async run({ a }) {
        const { reply } = await a.createFull("f");
        const inode = await a.inode("f");
        const other = Buffer.alloc(16, 7);
        await a.setxattr(inode, "trusted.gfid", other);
        await a.setxattr(inode, "trusted.glusterfs.volume-id", other);
        expect((await a.stat("f")).gfid.equals(reply.stat.gfid)).toBe(true);
        expect((await a.listxattr(inode)).filter((name) => name.startsWith("trusted."))).toEqual([]);
      },
    },
    {
      name: "xattrs in the xdata of a create-type fop are there from the beginning; control keys are not stored",
      needs: ["brick"],
      async run({ a }) {
        const xdata = new Dict()
          .setBytes("trusted.test.block-size", Buffer.from("0000000004000000", "hex"))
          .setBytes("user.note", Buffer.from("x"))
          .setUint("glusterfs.content", 0)
          .setStr("glusterfs-internal-fop", "yes");
        await a.create("f", { xdata });
        await a.mkdir("d", { xdata });
        await a.mknod("n", 0o100644, { xdata });
        for (const name of ["f", "d", "n"]) {
          const listed = await a.listxattr(await a.inode(name));
          expect(
            listed.filter((key) => !key.startsWith("security.")),
            name,
          ).toEqual(["trusted.test.block-size", "user.note"]);
        }
      },
    },
  ],
};
