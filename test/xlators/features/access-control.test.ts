/**
 * features/access-control: who may do what, by owner, mode, groups and ACL; and that it never judges by what
 * is no more.
 */

import { describe, expect, it } from "vitest";
import { type Call, internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, FopName } from "../../../src/core/fops.ts";
import { newGfid } from "../../../src/core/gfid.ts";
import { type Iatt, SETATTR, ZERO_IATT } from "../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../src/core/inode.ts";
import { O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from "../../../src/core/open-flags.ts";
import { accessControl } from "../../../xlators/features/access-control/access-control.ts";
import { parseAcl, permits } from "../../../xlators/features/access-control/acl.ts";
import { above } from "./fake-child.ts";

const OWNER = 1000;
const GROUP = 100;

function caller(uid: number, ...groups: number[]): Call {
  return { ...internalCall(), uid, gid: uid, groups, pid: 50 };
}

type Entry = readonly [tag: number, perm: number, id?: number];

/** ACL xattr bytes. */
function acl(...entries: Entry[]): Buffer {
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(2, 0);
  entries.forEach(([tag, perm, id = 0xffffffff], index) => {
    bytes.writeUInt16LE(tag, 4 + 8 * index);
    bytes.writeUInt16LE(perm, 6 + 8 * index);
    bytes.writeUInt32LE(id, 8 + 8 * index);
  });
  return bytes;
}

/** Objects with attributes, served by the fake child's stat, getxattr and lookup. */
function world() {
  const filtered = above(accessControl);
  const objects = new Map<Inode, { stat: Iatt; acl?: Buffer }>();
  const { answers, asked } = filtered;
  answers.set("stat", ({ args }) => ({ stat: objects.get((args as Args<"stat">).loc.inode)!.stat }));
  answers.set("getxattr", ({ args }) => {
    const { loc, name } = args as Args<"getxattr">;
    const bytes = objects.get(loc.inode)?.acl;
    if (!bytes || name !== "system.posix_acl_access") throw new FopError("ENODATA");
    return { xattrs: Dict.ofBytes({ [name]: bytes }) };
  });
  const add = (mode: number, uid = OWNER, gid = GROUP, bytes?: Buffer): Inode => {
    const inode = new Inode(newGfid(), mode & 0o170000);
    objects.set(inode, { stat: { ...ZERO_IATT, mode, uid, gid }, ...(bytes ? { acl: bytes } : {}) });
    return inode;
  };
  /** The fops of the caller that reached the child. */
  const reached = (call: Call): FopName[] => asked.filter((one) => one.call === call).map((one) => one.fop);
  return { ...filtered, objects, add, reached };
}

const owner = caller(OWNER);
const member = caller(2000, 5, GROUP);
const other = caller(3000);

describe("the access check", () => {
  const object = (mode: number, ...entries: Entry[]) => ({
    uid: OWNER,
    gid: GROUP,
    mode,
    acl: entries.length > 0 ? parseAcl(acl(...entries)) : undefined,
  });

  it("lets the most specific class decide alone", () => {
    expect(permits(owner, object(0o077), 4)).toBe(false);
    expect(permits(member, object(0o707), 4)).toBe(false);
    expect(permits(other, object(0o770), 1)).toBe(false);
    expect(permits(owner, object(0o600), 6)).toBe(true);
    expect(permits(member, object(0o060), 6)).toBe(true);
    expect(permits(other, object(0o006), 6)).toBe(true);
    expect(permits(other, object(0o004), 6)).toBe(false);
  });

  it("follows named users and groups of an ACL, within its mask", () => {
    const entries = [
      [1, 7],
      [2, 6, 3000],
      [4, 0],
      [8, 7, 77],
      [16, 4],
      [32, 7],
    ] as const;
    const subject = object(0o747, ...entries);
    expect(permits(other, subject, 4)).toBe(true);
    expect(permits(other, subject, 2)).toBe(false);
    expect(permits(member, subject, 4)).toBe(false);
    expect(permits(caller(9, 77), subject, 4)).toBe(true);
    expect(permits(caller(9, 77), subject, 1)).toBe(false);
    expect(permits(caller(9, 77, GROUP), subject, 4)).toBe(true);
    expect(permits(caller(9), subject, 7)).toBe(true);
    expect(permits(owner, subject, 7)).toBe(true);
  });

  it("takes bytes that are no ACL, or say what the mode says, for none", () => {
    expect(parseAcl(Buffer.alloc(0))).toBeUndefined();
    expect(parseAcl(Buffer.alloc(12))).toBeUndefined();
    expect(parseAcl(acl([1, 7], [4, 5], [32, 0]))).toBeUndefined();
    expect(parseAcl(acl([1, 7], [4, 5], [16, 5], [32, 0]))).toHaveLength(4);
  });
});

describe("features/access-control", () => {
  it("asks nothing about calls of root and of internal callers", async () => {
    const { top, asked, add } = world();
    const inode = add(0o100000, 1, 1);
    for (const call of [internalCall(), { ...caller(5), pid: -1 }]) {
      await top.open(call, { loc: { inode }, fd: new Fd(inode, O_RDWR), flags: O_RDWR });
      await top.unlink(call, { loc: { inode, parent: inode, name: "a" }, flags: 0 });
    }
    expect(asked.map((one) => one.fop)).toEqual(["open", "unlink", "open", "unlink"]);
  });

  it("checks open by what its flags want", async () => {
    const { top, add } = world();
    const inode = add(0o100464);
    const open = (call: Call, flags: number) =>
      top.open(call, { loc: { inode }, fd: new Fd(inode, flags), flags });
    await open(owner, O_RDONLY);
    await expect(open(owner, O_WRONLY)).rejects.toMatchObject({ code: "EACCES", xlator: "top" });
    await open(member, O_RDWR);
    await expect(open(other, O_RDONLY | O_TRUNC)).rejects.toMatchObject({ code: "EACCES" });
  });

  it("does not check reads and writes of an open file again", async () => {
    const { top, add, asked } = world();
    const fd = new Fd(add(0o100000), O_RDWR);
    await top.readv(other, { fd, offset: 0, size: 1, flags: 0 });
    await top.writev(other, { fd, data: [], offset: 0, flags: 0 });
    expect(asked.map((one) => one.fop)).toEqual(["readv", "writev"]);
  });

  it("wants search permission of the directory for a lookup by name", async () => {
    const { top, add, reached } = world();
    const parent = add(0o040710);
    const loc = { inode: new Inode(), parent, name: "a" };
    await top.lookup(member, { loc });
    await expect(top.lookup(other, { loc })).rejects.toMatchObject({ code: "EACCES" });
    await top.lookup(other, { loc: { inode: add(0o100000) } });
    expect(reached(other)).toEqual(["lookup"]);
  });

  it.each(["mknod", "mkdir", "symlink", "create", "put"] as const)(
    "wants a writable directory for %s",
    async (fop) => {
      const { top, add, reached } = world();
      const loc = { inode: new Inode(), parent: add(0o040755), name: "a" };
      await top[fop](owner, { loc } as never);
      await expect(top[fop](other, { loc } as never)).rejects.toMatchObject({ code: "EACCES" });
      expect(reached(other)).toEqual([]);
    },
  );

  it("lets only owners remove from a sticky directory", async () => {
    const { top, add, answers } = world();
    const parent = add(0o041777, 1, 1);
    const mine = { inode: add(0o100600, 3000), parent, name: "mine" };
    const theirs = { inode: add(0o100666), parent, name: "theirs" };
    await top.unlink(other, { loc: mine, flags: 0 });
    await expect(top.unlink(other, { loc: theirs, flags: 0 })).rejects.toMatchObject({ code: "EACCES" });
    await expect(top.rename(other, { from: mine, to: theirs })).rejects.toMatchObject({ code: "EACCES" });
    const free = { inode: new Inode(), parent, name: "free" };
    answers.set("lookup", () => Promise.reject(new FopError("ENOENT")));
    await top.rename(other, { from: mine, to: free });
    answers.set("lookup", () => ({ stat: { ...ZERO_IATT, uid: OWNER } }));
    await expect(top.rename(other, { from: mine, to: free })).rejects.toMatchObject({ code: "EACCES" });
  });

  it("decides on setattr by what is set", async () => {
    const { top, add } = world();
    const inode = add(0o100664);
    const set = (call: Call, valid: number, stat: Partial<Iatt> = {}) =>
      top.setattr(call, { loc: { inode }, stat: { ...ZERO_IATT, ...stat }, valid });
    await set(owner, SETATTR.MODE);
    await expect(set(member, SETATTR.MODE)).rejects.toMatchObject({ code: "EPERM" });
    await set(member, SETATTR.MTIME | SETATTR.MTIME_NOW);
    await expect(set(other, SETATTR.MTIME)).rejects.toMatchObject({ code: "EACCES" });
    await set(owner, SETATTR.UID, { uid: OWNER });
    await expect(set(owner, SETATTR.UID, { uid: 1 })).rejects.toMatchObject({ code: "EPERM" });
    await set(caller(OWNER, 42), SETATTR.GID, { gid: 42 });
    await expect(set(owner, SETATTR.GID, { gid: 42 })).rejects.toMatchObject({ code: "EPERM" });
    await set(member, SETATTR.SIZE);
    await expect(set(other, SETATTR.SIZE)).rejects.toMatchObject({ code: "EACCES" });
  });

  it("lets only the owner set an ACL, and writers set other xattrs", async () => {
    const { top, add } = world();
    const inode = add(0o100664);
    const set = (call: Call, name: string) =>
      top.setxattr(call, { loc: { inode }, xattrs: Dict.ofBytes({ [name]: Buffer.alloc(1) }), flags: 0 });
    await set(owner, "system.posix_acl_access");
    await expect(set(member, "system.posix_acl_access")).rejects.toMatchObject({ code: "EPERM" });
    await set(member, "user.a");
    await expect(set(other, "user.a")).rejects.toMatchObject({ code: "EACCES" });
    await expect(top.removexattr(other, { loc: { inode }, name: "user.a" })).rejects.toMatchObject({
      code: "EACCES",
    });
  });

  it("answers access by the mask", async () => {
    const { top, add } = world();
    const loc = { inode: add(0o100640) };
    await top.access(member, { loc, mask: 4 });
    await expect(top.access(member, { loc, mask: 2 })).rejects.toMatchObject({ code: "EACCES" });
    await top.access(other, { loc, mask: 0 });
  });

  it("fetches attributes once, and again after a change through it", async () => {
    const { top, add, asked, objects } = world();
    const inode = add(0o100600);
    const open = () => top.open(other, { loc: { inode }, fd: new Fd(inode, 0), flags: O_RDONLY });
    await expect(open()).rejects.toMatchObject({ code: "EACCES" });
    await expect(open()).rejects.toMatchObject({ code: "EACCES" });
    expect(asked.filter((one) => one.fop === "stat")).toHaveLength(1);
    objects.set(inode, { stat: { ...ZERO_IATT, mode: 0o100644, uid: OWNER, gid: GROUP } });
    await top.setattr(owner, { loc: { inode }, stat: ZERO_IATT, valid: SETATTR.MODE });
    await open();
    objects.set(inode, { stat: { ...ZERO_IATT, mode: 0o100644 }, acl: acl([2, 0, 3000], [16, 7], [32, 4]) });
    await top.setxattr(internalCall(), { loc: { inode }, xattrs: new Dict(), flags: 0 });
    await expect(open()).rejects.toMatchObject({ code: "EACCES" });
  });

  it("does not keep a failure to fetch", async () => {
    const { top, add, answers, objects } = world();
    const inode = add(0o100644);
    const open = () => top.open(other, { loc: { inode }, fd: new Fd(inode, 0), flags: O_RDONLY });
    answers.set("stat", () => Promise.reject(new FopError("EIO")));
    await expect(open()).rejects.toMatchObject({ code: "EIO" });
    answers.set("stat", () => ({ stat: objects.get(inode)!.stat }));
    await open();
  });
});
