/**
 * A directory of the local file system behind the fop interface, with as little of its own as possible:
 * whatever POSIX cases of the suite expect, the kernel has to do here. Not a brick: gfids live in memory, and
 * there is neither xdata nor a lock.
 *
 * Inodes are found by path, so the directory must not be changed from outside. Needs root, for owners and
 * trusted xattrs.
 */

import * as fs from "node:fs";
import type { Call } from "../../src/core/call.ts";
import { KeyedQueue } from "../../src/core/concurrency.ts";
import { Dict } from "../../src/core/dict.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Args, Dirent, FopName, Reply } from "../../src/core/fops.ts";
import { type Gfid, gfidKey, inoOf, newGfid, ROOT_GFID } from "../../src/core/gfid.ts";
import { type Iatt, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, SETATTR } from "../../src/core/iatt.ts";
import type { Fd, Inode, Loc } from "../../src/core/inode.ts";
import { iovJoin } from "../../src/core/iovec.ts";
import { decodeName, encodeName } from "../../src/core/name.ts";
import { O_APPEND, O_CREAT, O_DSYNC, O_EXCL, O_NOFOLLOW, O_NONBLOCK } from "../../src/core/open-flags.ts";
import { string } from "../../src/core/options.ts";
import { defineXlator, exactly, type ParentEvent, Xlator } from "../../src/core/xlator.ts";
import * as files from "../../src/os/files.ts";

const options = { directory: string({ default: "", describe: "What is served." }) };
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;
const FALLOC_ZERO_RANGE = 16;
const S_ISGID = 0o2000;
const SLASH = Buffer.from("/");

export const plainDirectory = defineXlator({
  type: "test/plain-directory",
  children: exactly(0),
  options,
  create: (init) => new PlainDirectory(init),
});

interface Open {
  /** OS descriptor of a file; -1 for a directory. */
  readonly os: number;
  readonly path: Buffer;
  entries: Dirent[];
}

/** Fops that no case for it needs are missing: they would go to a child that is not there. */
class PlainDirectory extends Xlator<typeof options> {
  readonly #paths = new Map<string, string[]>();
  readonly #gfids = new Map<bigint, Gfid>();
  readonly #opens = new Map<Fd, Open>();
  readonly #order = new KeyedQueue<string>();

  override async init(): Promise<void> {
    const root = await files.lstat(this.options.directory);
    this.#gfids.set(root.ino, ROOT_GFID);
    this.#paths.set(gfidKey(ROOT_GFID), [""]);
  }

  override async fini(): Promise<void> {
    for (const fd of [...this.#opens.keys()]) await this.release(fd);
  }

  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-up") this.notifyParents({ type: "child-up" });
  }

  override async release(fd: Fd): Promise<void> {
    const open = this.#opens.get(fd);
    this.#opens.delete(fd);
    if (open && open.os >= 0) await files.close(open.os);
  }
  override releasedir(fd: Fd): Promise<void> {
    return this.release(fd);
  }

  override stat(_call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    return this.#do("stat", async () => ({ stat: await this.#stat(this.#path(args.loc)) }));
  }

  override readlink(_call: Call, args: Args<"readlink">): Promise<Reply<"readlink">> {
    return this.#do("readlink", async () => {
      const path = this.#path(args.loc);
      return { target: decodeName(await files.readlink(path)), stat: await this.#stat(path) };
    });
  }

  override mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    return this.#do("mknod", () =>
      this.#make(call, args, (path) =>
        files.mknod(path, args.mode & ~args.umask, Math.floor(args.rdev / 2 ** 32), args.rdev % 2 ** 32),
      ),
    );
  }

  override mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    return this.#do("mkdir", () =>
      this.#make(call, args, (path) => files.mkdir(path, args.mode & ~args.umask)),
    );
  }

  override unlink(_call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    return this.#do("unlink", () => this.#remove(args.loc, files.unlink));
  }

  override rmdir(_call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    return this.#do("rmdir", () => this.#remove(args.loc, files.rmdir));
  }

  override symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    const target = encodeName(args.target);
    return this.#do("symlink", () =>
      this.#make(call, { ...args, mode: S_IFLNK | 0o777 }, (path) => files.symlink(target, path)),
    );
  }

  override rename(_call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    return this.#do("rename", async () => {
      const [from, to] = [this.#path(args.from), this.#path(args.to)];
      const parents = [this.#parent(args.from), this.#parent(args.to)] as const;
      const [preOldParent, preNewParent] = [await this.#stat(parents[0]), await this.#stat(parents[1])];
      const moved = await this.#stat(from);
      const replaced = await this.#stat(to).catch(() => undefined);
      await files.rename(from, to);
      if (!replaced?.gfid.equals(moved.gfid)) {
        if (replaced) this.#forgetPath(replaced.gfid, to);
        this.#movePaths(from.toString("latin1"), to.toString("latin1"));
      }
      const [postOldParent, postNewParent] = [await this.#stat(parents[0]), await this.#stat(parents[1])];
      return { stat: await this.#stat(to), preOldParent, postOldParent, preNewParent, postNewParent };
    });
  }

  override link(_call: Call, args: Args<"link">): Promise<Reply<"link">> {
    return this.#do("link", async () => {
      const to = this.#path(args.to);
      const parent = this.#parent(args.to);
      const preParent = await this.#stat(parent);
      await files.link(this.#path(args.from), to);
      this.#paths.get(gfidKey(args.from.inode.gfid))!.push(this.#relative(to));
      return { stat: await this.#stat(to), preParent, postParent: await this.#stat(parent) };
    });
  }

  override truncate(_call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    return this.#do("truncate", () => {
      const path = this.#path(args.loc);
      return this.#changing(path, () => files.truncate(path, args.offset));
    });
  }

  override open(_call: Call, args: Args<"open">): Promise<Reply<"open">> {
    return this.#do("open", async () => {
      const path = this.#path(args.loc);
      const stat = await files.lstat(path);
      // GlusterFS opens directories by opendir only.
      if ((stat.mode & S_IFMT) === S_IFDIR) throw new FopError("EISDIR");
      const os = await files.open(path, args.flags | O_NOFOLLOW | O_NONBLOCK);
      this.#opens.set(args.fd, { os, path, entries: [] });
      return {};
    });
  }

  override readv(_call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    return this.#do("readv", async () => {
      const { os } = this.#opens.get(args.fd)!;
      const data = Buffer.alloc(args.size);
      const size = fs.readSync(os, data, 0, args.size, args.offset);
      const stat = this.#iatt(files.fstat(os));
      return { data: [data.subarray(0, size)], size, stat, eof: args.offset + size >= stat.size };
    });
  }

  override writev(_call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    return this.#do("writev", async () => {
      const { os } = this.#opens.get(args.fd)!;
      const pre = this.#iatt(files.fstat(os));
      const position = args.fd.flags & O_APPEND ? null : args.offset;
      const size = fs.writevSync(os, [iovJoin(args.data)], position ?? undefined);
      if (args.flags & O_DSYNC) fs.fdatasyncSync(os);
      return { size, pre, post: this.#iatt(files.fstat(os)) };
    });
  }

  override statfs(_call: Call, args: Args<"statfs">): Promise<Reply<"statfs">> {
    return this.#do("statfs", async () => ({ statfs: await files.statfs(this.#path(args.loc)) }));
  }

  override flush(): Promise<Reply<"flush">> {
    return this.#do("flush", async () => ({}));
  }

  override fsync(_call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    return this.#do("fsync", () => this.#changingFd(args.fd, async (os) => fs.fsyncSync(os)));
  }

  override setxattr(_call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    return this.#do("setxattr", async () => {
      const path = this.#path(args.loc);
      for (const name of args.xattrs.keys())
        await files.lsetxattr(path, name, args.xattrs.bytes(name)!, args.flags);
      return {};
    });
  }

  override getxattr(_call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    return this.#do("getxattr", async () => {
      const path = this.#path(args.loc);
      const names = args.name === undefined ? await files.llistxattr(path) : [args.name];
      return { xattrs: await collect(names, (name) => files.lgetxattr(path, name)) };
    });
  }

  override removexattr(_call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    return this.#do("removexattr", async () => {
      await files.lremovexattr(this.#path(args.loc), args.name);
      return {};
    });
  }

  override opendir(_call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.#do("opendir", async () => {
      const path = this.#path(args.loc);
      const stat = await files.lstat(path);
      if ((stat.mode & S_IFMT) !== S_IFDIR) throw new FopError("ENOTDIR");
      this.#opens.set(args.fd, { os: -1, path, entries: [] });
      return {};
    });
  }

  override fsyncdir(): Promise<Reply<"fsyncdir">> {
    return this.#do("fsyncdir", async () => ({}));
  }

  override access(_call: Call, args: Args<"access">): Promise<Reply<"access">> {
    return this.#do("access", async () => {
      await files.access(this.#path(args.loc), args.mask);
      return {};
    });
  }

  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.#do("create", async () => {
      const path = this.#path(args.loc);
      const flags = args.flags | O_CREAT | O_NOFOLLOW;
      const exists = await files.lstat(path).catch(() => undefined);
      let os = -1;
      const open = async (): Promise<void> => {
        os = await files.open(path, exists ? flags : flags | O_EXCL, args.mode & ~args.umask & 0o7777);
      };
      const reply = exists
        ? await this.#unchanged(path, this.#parent(args.loc), open)
        : await this.#make(call, { ...args, mode: S_IFREG | (args.mode & 0o7777) }, open);
      this.#opens.set(args.fd, { os, path, entries: [] });
      return reply;
    });
  }

  override ftruncate(_call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.#do("ftruncate", () => this.#changingFd(args.fd, (os) => files.ftruncate(os, args.offset)));
  }

  override fstat(_call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    return this.#do("fstat", async () => ({ stat: this.#iatt(files.fstat(this.#opens.get(args.fd)!.os)) }));
  }

  override lookup(_call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    return this.#do("lookup", async () => {
      const stat = await this.#stat(this.#path(args.loc));
      return { stat, postParent: await this.#stat(this.#parent(args.loc)) };
    });
  }

  override readdir(_call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    return this.#do("readdir", async () => {
      const open = this.#opens.get(args.fd)!;
      if (args.offset === 0n || open.entries.length === 0) open.entries = await this.#entries(open.path);
      const from = Number(args.offset);
      const count = Math.max(1, Math.floor(args.size / 64));
      const entries = open.entries.slice(from, from + count);
      return { entries, eof: from + count >= open.entries.length };
    });
  }

  override fgetxattr(_call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    return this.#do("fgetxattr", async () => {
      const { os } = this.#opens.get(args.fd)!;
      const names = args.name === undefined ? await files.flistxattr(os) : [args.name];
      return { xattrs: await collect(names, (name) => files.fgetxattr(os, name)) };
    });
  }

  override fsetxattr(_call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    return this.#do("fsetxattr", async () => {
      const { os } = this.#opens.get(args.fd)!;
      for (const name of args.xattrs.keys())
        await files.fsetxattr(os, name, args.xattrs.bytes(name)!, args.flags);
      return {};
    });
  }

  override setattr(_call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    return this.#do("setattr", () => {
      const path = this.#path(args.loc);
      return this.#changing(path, () => setattr(path, args.stat, args.valid));
    });
  }

  override fsetattr(_call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    return this.#do("fsetattr", () =>
      this.#changingFd(args.fd, (os) =>
        setattr(Buffer.from(`/proc/self/fd/${os}`), args.stat, args.valid, os),
      ),
    );
  }

  override fremovexattr(_call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    return this.#do("fremovexattr", async () => {
      await files.fremovexattr(this.#opens.get(args.fd)!.os, args.name);
      return {};
    });
  }

  override fallocate(_call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.#range("fallocate", args, args.keepSize ? FALLOC_KEEP_SIZE : 0);
  }
  override discard(_call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.#range("discard", args, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE);
  }
  override zerofill(_call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.#range("zerofill", args, FALLOC_ZERO_RANGE);
  }

  override seek(_call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    return this.#do("seek", async () => {
      return { offset: await files.seek(this.#opens.get(args.fd)!.os, args.offset, args.what) };
    });
  }

  /** One fop at a time: the kernel needs no order, but the names that are kept here do. */
  async #do<F extends FopName>(fop: F, body: () => Promise<Reply<F>>): Promise<Reply<F>> {
    try {
      return await this.#order.run("all", body);
    } catch (error) {
      const code = (error as { code?: FopError["code"] }).code;
      if (code === undefined) throw error;
      throw new FopError(code, { fop, xlator: this.name, cause: error });
    }
  }

  #range(
    fop: "fallocate" | "discard" | "zerofill",
    args: { fd: Fd; offset: number; size: number },
    mode: number,
  ): Promise<Reply<"fallocate">> {
    return this.#do(fop, () =>
      this.#changingFd(args.fd, (os) => files.fallocate(os, mode, args.offset, args.size)),
    );
  }

  /** Paths are kept relative to the directory, as latin1 text of their bytes. */
  #absolute(relative: string): Buffer {
    return Buffer.from(`${Buffer.from(this.options.directory).toString("latin1")}${relative}`, "latin1");
  }
  #relative(absolute: Buffer): string {
    return absolute.toString("latin1").slice(Buffer.from(this.options.directory).toString("latin1").length);
  }

  #inodePath(inode: Inode): string {
    const path = this.#paths.get(gfidKey(inode.gfid))?.[0];
    if (path === undefined) throw new FopError("ESTALE");
    return path;
  }

  #path(loc: Loc): Buffer {
    if (loc.name === undefined) return this.#absolute(this.#inodePath(loc.inode));
    const name = encodeName(loc.name).toString("latin1");
    return this.#absolute(`${this.#inodePath(loc.parent!)}/${name}`);
  }

  #parent(loc: Loc): Buffer {
    return this.#absolute(loc.parent ? this.#inodePath(loc.parent) : "");
  }

  async #stat(path: Buffer): Promise<Iatt> {
    const stat = await files.lstat(path);
    if (!this.#gfids.has(stat.ino)) throw new FopError("EIO", { message: "an inode that was not made here" });
    return this.#iatt(stat);
  }

  #iatt(stat: files.OsStat): Iatt {
    const { rdevMajor, rdevMinor, ino, ...rest } = stat;
    return { ...rest, gfid: this.#gfids.get(ino)!, rdev: rdevMajor * 2 ** 32 + rdevMinor };
  }

  /** Makes an entry as root, then gives it to its caller with exactly the mode that was asked for. */
  async #make(
    call: Call,
    args: { loc: Loc; umask: number; mode: number; xdata?: Dict | undefined },
    make: (path: Buffer) => Promise<void>,
  ): Promise<Reply<"mknod">> {
    const path = this.#path(args.loc);
    const parentPath = this.#parent(args.loc);
    const preParent = await this.#stat(parentPath);
    await make(path);
    const made = await files.lstat(path);
    const gfid = args.xdata?.gfid("gfid-req") ?? newGfid();
    this.#gfids.set(made.ino, gfid);
    this.#paths.set(gfidKey(gfid), [this.#relative(path)]);
    await files.lchown(path, call.uid, preParent.mode & S_ISGID ? made.gid : call.gid);
    if ((made.mode & S_IFMT) !== S_IFLNK)
      await files.chmod(path, (args.mode & ~args.umask & 0o7777) | (made.mode & S_ISGID));
    return { stat: await this.#stat(path), preParent, postParent: await this.#stat(parentPath) };
  }

  async #unchanged(path: Buffer, parentPath: Buffer, work: () => Promise<void>): Promise<Reply<"create">> {
    await work();
    const parent = await this.#stat(parentPath);
    return { stat: await this.#stat(path), preParent: parent, postParent: parent };
  }

  async #remove(loc: Loc, remove: (path: Buffer) => Promise<void>): Promise<Reply<"unlink">> {
    const path = this.#path(loc);
    const parentPath = this.#parent(loc);
    const preParent = await this.#stat(parentPath);
    const victim = await files.lstat(path);
    await remove(path);
    this.#forgetPath(this.#gfids.get(victim.ino)!, path);
    return { preParent, postParent: await this.#stat(parentPath) };
  }

  #forgetPath(gfid: Gfid, path: Buffer): void {
    const key = gfidKey(gfid);
    const left = this.#paths.get(key)!.filter((other) => other !== this.#relative(path));
    if (left.length > 0) this.#paths.set(key, left);
    else this.#paths.delete(key);
  }

  #movePaths(fromAbsolute: string, toAbsolute: string): void {
    const from = this.#relative(Buffer.from(fromAbsolute, "latin1"));
    const to = this.#relative(Buffer.from(toAbsolute, "latin1"));
    for (const [key, paths] of this.#paths) {
      const moved = paths.map((path) =>
        path === from || path.startsWith(`${from}/`) ? to + path.slice(from.length) : path,
      );
      this.#paths.set(key, moved);
    }
  }

  async #changing(path: Buffer, change: () => Promise<void>): Promise<Reply<"setattr">> {
    const pre = await this.#stat(path);
    await change();
    return { pre, post: await this.#stat(path) };
  }

  async #changingFd(fd: Fd, change: (os: number) => Promise<void>): Promise<Reply<"ftruncate">> {
    const { os } = this.#opens.get(fd)!;
    const pre = this.#iatt(files.fstat(os));
    await change(os);
    return { pre, post: this.#iatt(files.fstat(os)) };
  }

  async #entries(path: Buffer): Promise<Dirent[]> {
    const listed = await files.readdir(path);
    return Promise.all(
      listed.map(async ({ name, type }, index): Promise<Dirent> => {
        const { ino } = await files.lstat(Buffer.concat([path, SLASH, encodeName(name)]));
        const gfid = this.#gfids.get(ino);
        return { name, ino: gfid ? inoOf(gfid) : ino, offset: BigInt(index + 1), type };
      }),
    );
  }
}

/** ENODATA for a name without a value. */
async function collect(
  names: readonly string[],
  read: (name: string) => Promise<Buffer | undefined>,
): Promise<Dict> {
  const out = new Dict();
  for (const name of names) {
    const value = await read(name);
    if (value === undefined) throw new FopError("ENODATA");
    out.setBytes(name, value);
  }
  return out;
}

async function setattr(path: Buffer, stat: Iatt, valid: number, os?: number): Promise<void> {
  if (valid & (SETATTR.UID | SETATTR.GID)) {
    const uid = valid & SETATTR.UID ? stat.uid : 0xffffffff;
    const gid = valid & SETATTR.GID ? stat.gid : 0xffffffff;
    await (os === undefined ? files.lchown(path, uid, gid) : files.fchown(os, uid, gid));
  }
  if (valid & SETATTR.MODE) await files.chmod(path, stat.mode & 0o7777);
  if (!(valid & (SETATTR.ATIME | SETATTR.MTIME))) return;
  const times: files.NewTimes = {
    ...(valid & SETATTR.ATIME ? { atime: stat.atime, atimeNsec: stat.atimeNsec } : {}),
    ...(valid & SETATTR.MTIME ? { mtime: stat.mtime, mtimeNsec: stat.mtimeNsec } : {}),
  };
  await (os === undefined ? files.utimens(path, times) : files.futimens(os, times));
}
