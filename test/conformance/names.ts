/** Names: what may be one, how entries are made and removed, what an entry looks like when it is new. */

import { expect } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { gfidEquals, NULL_GFID, newGfid } from "../../src/core/gfid.ts";
import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from "../../src/core/iatt.ts";
import { Inode } from "../../src/core/inode.ts";
import { decodeName } from "../../src/core/name.ts";
import { outcome, type Subject } from "./suite.ts";

const LONGEST = "n".repeat(255);
const TOO_LONG = "n".repeat(256);
/** 255 bytes, but fewer characters. */
const LONGEST_UTF8 = `${"é".repeat(127)}x`;

export const names: Subject = {
  name: "names",
  cases: [
    {
      name: "a created file is found under its name, by the other client too, with the same identity",
      async run({ a, b }) {
        const { reply } = await a.createFull("f", { mode: 0o640 });
        expect(reply.stat.mode).toBe(S_IFREG | 0o640);
        expect(reply.stat.size).toBe(0);
        expect(reply.stat.nlink).toBe(1);
        const seen = await b.stat("f");
        expect(gfidEquals(seen.gfid, reply.stat.gfid)).toBe(true);
        expect(seen.mode).toBe(S_IFREG | 0o640);
      },
    },
    {
      name: "a name that is not there is ENOENT for lookup, unlink, rmdir and rename",
      async run({ a }) {
        expect(await outcome(a.stat("x"))).toBe("ENOENT");
        expect(await outcome(a.unlink("x"))).toBe("ENOENT");
        expect(await outcome(a.rmdir("x"))).toBe("ENOENT");
        expect(await outcome(a.rename("x", "y"))).toBe("ENOENT");
      },
    },
    {
      name: "255 bytes are a name, 256 are ENAMETOOLONG; bytes count, not characters",
      async run({ a, b }) {
        await a.create(LONGEST);
        await a.mkdir(LONGEST_UTF8);
        expect((await b.list()).sort()).toEqual([LONGEST, LONGEST_UTF8].sort());
        expect(await outcome(a.create(TOO_LONG))).toBe("ENAMETOOLONG");
        expect(await outcome(a.mkdir(`${LONGEST_UTF8}é`))).toBe("ENAMETOOLONG");
        expect(await outcome(a.stat(TOO_LONG))).toBe("ENAMETOOLONG");
        expect(await outcome(a.symlink(TOO_LONG, "t"))).toBe("ENAMETOOLONG");
        expect(await outcome(a.rename(LONGEST, TOO_LONG))).toBe("ENAMETOOLONG");
        expect(await outcome(a.link(await a.inode(LONGEST), TOO_LONG))).toBe("ENAMETOOLONG");
        expect(await outcome(a.unlink(TOO_LONG))).toBe("ENAMETOOLONG");
      },
    },
    {
      name: "names are bytes: blanks, newlines, wildcards, both forms of é and bytes that are no UTF-8 stay as they are",
      async run({ a, b }) {
        const odd = [
          " ",
          "a b",
          "new\nline",
          "*?[]",
          "é",
          "e\u0301",
          "😀",
          '"\\',
          "...",
          decodeName(Buffer.from([0xff, 0xfe, 0x41])),
          decodeName(Buffer.from([0xc3])),
        ];
        for (const name of odd) await a.create(name);
        expect((await b.list()).sort()).toEqual([...odd].sort());
        for (const name of odd) await b.unlink(name);
        expect(await a.list()).toEqual([]);
      },
    },
    {
      name: "a new entry belongs to its caller and has the mode it was made with, less the umask",
      async run({ a }) {
        const user = a.as({ uid: 1234, gid: 4321 });
        await user.create("f", { mode: 0o666, umask: 0o027 });
        await user.mkdir("d", { mode: 0o777, umask: 0o022 });
        await user.symlink("l", "target");
        const [file, dir, link] = [await a.stat("f"), await a.stat("d"), await a.stat("l")];
        expect(file.mode).toBe(S_IFREG | 0o640);
        expect(dir.mode).toBe(S_IFDIR | 0o755);
        expect(link.mode).toBe(S_IFLNK | 0o777);
        for (const { uid, gid } of [file, dir, link]) expect([uid, gid]).toEqual([1234, 4321]);
      },
    },
    {
      name: "what is made in a set-gid directory has the directory's group, and directories the bit as well",
      async run({ a }) {
        const parent = await a.mkdir("d");
        await a.setattr(parent, 1 | 4, { mode: 0o2775, gid: 77 });
        const user = a.as({ uid: 1, gid: 1 });
        await user.create("f", { parent });
        await user.mkdir("sub", { parent });
        expect((await a.stat("f", parent)).gid).toBe(77);
        const sub = await a.stat("sub", parent);
        expect([sub.gid, sub.mode & 0o2000]).toEqual([77, 0o2000]);
      },
    },
    {
      name: "create opens a file that is there, but not with O_EXCL",
      async run({ a }) {
        const first = await a.create("f");
        await a.write(first, "data");
        const again = await a.create("f", { flags: 0o102 });
        expect(await a.text(again)).toBe("data");
        expect(await outcome(a.create("f", { flags: 0o302 }))).toBe("EEXIST");
        const truncated = await a.create("f", { flags: 0o1102 });
        expect(await a.text(truncated)).toBe("");
      },
    },
    {
      name: "create on a directory is EISDIR, on a symlink it is not followed",
      async run({ a }) {
        await a.mkdir("d");
        await a.symlink("l", "nowhere");
        expect(await outcome(a.create("d", { flags: 0o102 }))).toBe("EISDIR");
        expect(["ELOOP", "EEXIST"]).toContain(await outcome(a.create("l", { flags: 0o102 })));
        expect(await a.exists("nowhere")).toBe(false);
      },
    },
    {
      name: "mkdir, mknod, symlink and link on a name that is there are EEXIST, whatever it is",
      async run({ a }) {
        await a.create("f");
        await a.mkdir("d");
        await a.symlink("l", "nowhere");
        for (const name of ["f", "d", "l"]) {
          expect(await outcome(a.mkdir(name))).toBe("EEXIST");
          expect(await outcome(a.mknod(name, S_IFREG | 0o644))).toBe("EEXIST");
          expect(await outcome(a.symlink(name, "t"))).toBe("EEXIST");
          expect(await outcome(a.link(await a.inode("f"), name))).toBe("EEXIST");
        }
      },
    },
    {
      name: "mknod makes every kind of node, with device numbers",
      async run({ a, b }) {
        const kinds = { fifo: S_IFIFO, socket: S_IFSOCK, char: S_IFCHR, block: S_IFBLK, plain: S_IFREG };
        for (const [name, type] of Object.entries(kinds))
          await a.mknod(name, type | 0o600, { rdev: 7 * 2 ** 32 + 300 });
        for (const [name, type] of Object.entries(kinds)) {
          const { mode, rdev } = await b.stat(name);
          expect(mode & S_IFMT, name).toBe(type);
          expect(rdev, name).toBe(type === S_IFCHR || type === S_IFBLK ? 7 * 2 ** 32 + 300 : 0);
        }
      },
    },
    {
      name: "unlink takes files, symlinks and nodes but no directories; rmdir takes empty directories and nothing else",
      async run({ a }) {
        const dir = await a.mkdir("d");
        await a.create("f", { parent: dir });
        await a.symlink("l", "d");
        await a.mknod("p", S_IFIFO | 0o600);
        expect(await outcome(a.unlink("d"))).toBe("EISDIR");
        expect(await outcome(a.rmdir("d"))).toBe("ENOTEMPTY");
        expect(await outcome(a.rmdir("l"))).toBe("ENOTDIR");
        expect(await outcome(a.rmdir("f", dir))).toBe("ENOTDIR");
        await a.unlink("l");
        await a.unlink("p");
        await a.unlink("f", dir);
        await a.rmdir("d");
        expect(await a.list()).toEqual([]);
      },
    },
    {
      name: "a directory has a link for each subdirectory",
      async run({ a }) {
        const before = (await a.statInode(a.root)).nlink;
        await a.mkdir("d");
        await a.create("f");
        expect((await a.statInode(a.root)).nlink).toBe(before + 1);
        expect((await a.stat("d")).nlink).toBe(2);
        await a.rmdir("d");
        expect((await a.statInode(a.root)).nlink).toBe(before);
      },
    },
    {
      name: "an entry fop tells how the parent was before and after",
      async run({ a }) {
        const made = await a.createFull("f");
        const parent = await a.statInode(a.root);
        expect(made.reply.postParent).toEqual(parent);
        expect(gfidEquals(made.reply.preParent.gfid, parent.gfid)).toBe(true);
        const removed = await a.unlink("f");
        expect(removed.postParent).toEqual(await a.statInode(a.root));
      },
    },
    {
      name: "a symlink keeps its target byte for byte, up to 4095 bytes",
      async run({ a, b }) {
        const targets = ["t", "../a b/é", decodeName(Buffer.from([0xff, 0x2f, 0x80])), "x".repeat(4095)];
        for (const [index, target] of targets.entries()) {
          await a.symlink(`l${index}`, target);
          const inode = await b.inode(`l${index}`);
          const reply = await b.top.readlink(b.call, { loc: { inode }, size: 4096 });
          expect(reply.target).toBe(target);
        }
        expect(await outcome(a.symlink("long", "x".repeat(4096)))).toBe("ENAMETOOLONG");
        expect((await a.stat("l1")).size).toBe(Buffer.byteLength(targets[1]!));
      },
    },
    {
      name: "readlink on anything but a symlink is EINVAL",
      async run({ a }) {
        await a.create("f");
        const inode = await a.inode("f");
        expect(await outcome(a.top.readlink(a.call, { loc: { inode }, size: 100 }))).toBe("EINVAL");
      },
    },
    {
      name: "a name in something that is no directory is refused",
      async run({ a }) {
        await a.create("f");
        const parent = await a.inode("f");
        for (const work of [
          () => a.stat("x", parent),
          () => a.create("x", { parent }),
          () => a.mkdir("x", { parent }),
          () => a.unlink("x", parent),
        ])
          expect(["ENOTDIR", "EPERM"]).toContain(await outcome(work()));
      },
    },
    {
      name: "a name in a removed directory is refused",
      async run({ a }) {
        const parent = await a.mkdir("d");
        await a.rmdir("d");
        for (const work of [
          () => a.stat("x", parent),
          () => a.create("x", { parent }),
          () => a.mkdir("x", { parent }),
          () => a.unlink("x", parent),
        ])
          expect(["ESTALE", "ENOENT"]).toContain(await outcome(work()));
      },
    },
    {
      name: "a removed inode is stale",
      async run({ a }) {
        await a.release(await a.create("f"));
        const inode = await a.inode("f");
        await a.unlink("f");
        expect(["ESTALE", "ENOENT"]).toContain(await outcome(a.statInode(inode)));
        // An open may be answered early; then the first fop through it tells.
        expect(["ESTALE", "ENOENT"]).toContain(await outcome(a.open(inode).then((fd) => a.size(fd))));
      },
    },
    {
      name: "a slash is never part of a name",
      needs: ["brick"],
      async run({ a }) {
        await a.mkdir("d");
        expect(await outcome(a.create("d/f"))).toBe("EPERM");
        expect(await outcome(a.stat("d/.."))).toBe("EPERM");
      },
    },
    {
      name: '"." is the directory itself and ".." its parent',
      needs: ["brick"],
      async run({ a }) {
        const dir = await a.mkdir("d");
        expect(gfidEquals((await a.stat(".")).gfid, a.root.gfid)).toBe(true);
        expect(gfidEquals((await a.stat(".", dir)).gfid, dir.gfid)).toBe(true);
        expect(gfidEquals((await a.stat("..", dir)).gfid, a.root.gfid)).toBe(true);
        expect(await outcome(a.mkdir(".", { parent: dir }))).toBe("EEXIST");
      },
    },
    {
      name: ".glusterfs in the root is hidden and cannot be had",
      needs: ["brick"],
      async run({ a }) {
        const top = a.table.root;
        expect(await a.list(top)).not.toContain(".glusterfs");
        for (const work of [
          () => a.stat(".glusterfs", top),
          () => a.mkdir(".glusterfs", { parent: top }),
          () => a.rmdir(".glusterfs", top),
        ])
          expect(await outcome(work())).toBe("EPERM");
        const dir = await a.mkdir("d");
        await a.mkdir(".glusterfs", { parent: dir });
      },
    },
    {
      name: "what is made has the gfid of gfid-req; without one, or with a null one, it is EINVAL",
      needs: ["brick"],
      async run({ a }) {
        const gfid = newGfid();
        const xdata = new Dict().setGfid("gfid-req", gfid);
        const args = { mode: 0o755, umask: 0 };
        const { stat } = await a.top.mkdir(a.call, { loc: a.at("d"), ...args, xdata });
        expect(gfidEquals(stat.gfid, gfid)).toBe(true);
        const nullReq = new Dict().setGfid("gfid-req", NULL_GFID);
        expect(await outcome(a.top.mkdir(a.call, { loc: a.at("e"), ...args, xdata: nullReq }))).toBe(
          "EINVAL",
        );
        const raw = new Dict().setBytes("gfid-req", Buffer.from(newGfid()));
        await a.top.mkdir(a.call, { loc: a.at("g"), ...args, xdata: raw });
      },
    },
    {
      name: "an inode is found by its gfid alone, an unknown gfid is not",
      needs: ["brick"],
      async run({ a, b }) {
        await a.create("f");
        const { gfid } = await a.stat("f");
        const reply = await b.top.lookup(b.call, { loc: { inode: new Inode(gfid) } });
        expect(reply.stat.mode & S_IFMT).toBe(S_IFREG);
        const unknown = { loc: { inode: new Inode(newGfid()) } };
        expect(["ENOENT", "ESTALE"]).toContain(await outcome(b.top.lookup(b.call, unknown)));
        expect(["ENOENT", "ESTALE"]).toContain(await outcome(b.top.stat(b.call, unknown)));
        const inUnknown = { loc: { inode: new Inode(), parent: new Inode(newGfid()), name: "x" } };
        expect(await outcome(b.top.lookup(b.call, inUnknown))).toBe("ESTALE");
      },
    },
    {
      name: "rmdir with flags removes a directory with all that is in it",
      needs: ["brick"],
      async run({ a }) {
        const dir = await a.mkdir("d");
        const sub = await a.mkdir("sub", { parent: dir });
        await a.release(await a.create("f", { parent: sub }));
        await a.rmdir("d", a.root, 1);
        expect(await a.list()).toEqual([]);
      },
    },
    {
      name: "an internal mknod on a gfid that exists makes a hard link",
      needs: ["brick", "one-place"],
      async run({ a }) {
        await a.create("f");
        const { gfid } = await a.stat("f");
        const xdata = new Dict().setGfid("gfid-req", gfid).setStr("glusterfs-internal-fop", "yes");
        const loc = a.at("g");
        await a.top.mknod(a.call, { loc, mode: 0o1000, rdev: 0, umask: 0, xdata });
        const linked = await a.stat("g");
        expect(gfidEquals(linked.gfid, gfid)).toBe(true);
        expect(linked.nlink).toBe(2);
      },
    },
    {
      name: "mkdir and create make nothing when the parent's xattr is not what the caller thinks",
      needs: ["brick"],
      async run({ a }) {
        await a.setxattr(a.root, "trusted.layout", "now");
        const guard = (value: string): Dict =>
          new Dict()
            .setStr("glusterfs.preop.parent.key", "trusted.layout")
            .setBytes("trusted.layout", Buffer.from(value));
        const refused = a.mkdir("d", { xdata: guard("before") });
        await expect(refused).rejects.toMatchObject({ code: "EIO" });
        expect(await a.exists("d")).toBe(false);
        const dir = await a.mkdir("d", { xdata: guard("now") });
        expect(await a.listxattr(dir)).not.toContain("trusted.layout");
        await a.create("f", { xdata: guard("now") });
      },
    },
  ],
};
