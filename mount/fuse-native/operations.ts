/**
 * libfuse 2's operations, by path, as fops on the graph, by inode.
 *
 * Every call is made for the process's own user, because fuse-native does not say who asked; the edge
 * therefore never mounts with allow_other. A fop on a cached inode that turns out stale is tried once more
 * after a fresh lookup. Answers are promises; only they tell the kernel, nothing is acknowledged early.
 */

import type { FuseStat, FuseStatfs } from "fuse-native";
import type { Call } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import type { Clock } from "../../src/core/env.ts";
import { FopError, toFopError, UserError } from "../../src/core/errors.ts";
import { newGfid } from "../../src/core/gfid.ts";
import { S_IFDIR, SETATTR, ZERO_IATT } from "../../src/core/iatt.ts";
import { Fd, Inode, InodeTable, type Loc } from "../../src/core/inode.ts";
import { O_CREAT, O_DIRECTORY, O_EXCL, O_NOCTTY, O_RDONLY, O_TRUNC } from "../../src/core/open-flags.ts";
import type { XlatorBase } from "../../src/core/xlator.ts";
import { isListedXattr, mayChangeXattr, mayReadXattr, type XattrOptions } from "../xattr-rules.ts";
import { Handles } from "./handles.ts";
import { checkName, isStale, Paths, type Place } from "./paths.ts";
import { fromLinuxDev, fromMs, toFuseStat, toFuseStatfs } from "./values.ts";

/** chown's "leave it alone", as uint32. */
const KEEP_ID = 0xffff_ffff;
/** Flags that are done with once a file is open. */
const OPENING_FLAGS = O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY;
const READDIR_BYTES = 128 * 1024;
const LINK_TARGET_MAX = 4096;
/** limits.ts refuses a mount that wants one of these. */
const XATTRS: XattrOptions = { acl: false, selinux: false, capability: false };

export interface OperationsInit {
  readonly top: XlatorBase;
  readonly clock: Clock;
  /** How long a name found counts as known, as the kernel's entry timeout. */
  readonly entryTtlMs: number;
  readonly call: Call;
}

export interface DirectoryEntries {
  readonly names: string[];
  readonly stats: FuseStat[];
}

export class Operations {
  readonly #top: XlatorBase;
  readonly #call: Call;
  readonly #table: InodeTable;
  readonly #paths: Paths;
  readonly #handles = new Handles();

  constructor(init: OperationsInit) {
    this.#top = init.top;
    this.#call = init.call;
    this.#table = new InodeTable({ onForget: (inode) => init.top.forget(inode) });
    this.#paths = new Paths({
      top: init.top,
      table: this.#table,
      clock: init.clock,
      ttlMs: init.entryTtlMs,
    });
  }

  /** Shows a directory of the volume as the root; UserError when it cannot be. */
  async useRoot(path: string): Promise<void> {
    try {
      await this.#paths.useRoot(this.#call, path);
    } catch (error) {
      const { code } = toFopError(error);
      throw new UserError(`mount: the volume's directory "${path}": ${code}`, { cause: error });
    }
  }

  /** Open files, for tests and the end of a mount. */
  get openFiles(): number {
    return this.#handles.size;
  }

  async getattr(path: string): Promise<FuseStat> {
    return toFuseStat((await this.#paths.lookup(this.#call, path)).stat);
  }

  async fgetattr(handle: number): Promise<FuseStat> {
    const { stat } = await this.#top.fstat(this.#call, { fd: this.#handles.get(handle) });
    return toFuseStat(stat);
  }

  readlink(path: string): Promise<string> {
    return this.#at(path, async (loc) => {
      const { target } = await this.#top.readlink(this.#call, { loc, size: LINK_TARGET_MAX });
      return target;
    });
  }

  /** `mode` brings the type; the kernel has applied the umask. */
  mknod(path: string, mode: number, linuxDev: number): Promise<void> {
    const rdev = fromLinuxDev(linuxDev);
    return this.#make(path, (loc, xdata) =>
      this.#top.mknod(this.#call, { loc, mode, rdev, umask: 0, xdata }),
    );
  }

  mkdir(path: string, mode: number): Promise<void> {
    return this.#make(path, (loc, xdata) => this.#top.mkdir(this.#call, { loc, mode, umask: 0, xdata }));
  }

  async symlink(target: string, path: string): Promise<void> {
    checkName(target);
    await this.#make(path, (loc, xdata) => this.#top.symlink(this.#call, { loc, target, umask: 0, xdata }));
  }

  unlink(path: string): Promise<void> {
    return this.#remove(path, (loc) => this.#top.unlink(this.#call, { loc, flags: 0 }));
  }

  rmdir(path: string): Promise<void> {
    return this.#remove(path, (loc) => this.#top.rmdir(this.#call, { loc, flags: 0 }));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#in(from, async (source) => {
      const target = await this.#paths.place(this.#call, to);
      const moved = await this.#paths.lookupAt(this.#call, source.parent, source.name);
      const { stat } = await this.#top.rename(this.#call, {
        from: { parent: source.parent, name: source.name, inode: moved.inode },
        to: { parent: target.parent, name: target.name, inode: await this.#inodeAt(target) },
      });
      this.#paths.drop(source.parent, source.name);
      this.#paths.learn(target.parent, target.name, moved.inode, stat);
    });
  }

  link(from: string, to: string): Promise<void> {
    return this.#in(to, async ({ parent, name }) => {
      const { inode } = await this.#paths.lookup(this.#call, from);
      const { stat } = await this.#top.link(this.#call, { from: { inode }, to: { parent, name, inode } });
      this.#paths.learn(parent, name, inode, stat);
    });
  }

  chmod(path: string, mode: number): Promise<void> {
    return this.#setattr(path, { mode }, SETATTR.MODE);
  }

  chown(path: string, uid: number, gid: number): Promise<void> {
    const valid = (uid === KEEP_ID ? 0 : SETATTR.UID) | (gid === KEEP_ID ? 0 : SETATTR.GID);
    return this.#setattr(path, { uid, gid }, valid);
  }

  utimens(path: string, atimeMs: number, mtimeMs: number): Promise<void> {
    const atime = fromMs(atimeMs);
    const mtime = fromMs(mtimeMs);
    const times = { atime: atime.sec, atimeNsec: atime.nsec, mtime: mtime.sec, mtimeNsec: mtime.nsec };
    return this.#setattr(path, times, SETATTR.ATIME | SETATTR.MTIME);
  }

  async truncate(path: string, size: number): Promise<void> {
    checkOffset(size);
    await this.#at(path, (loc) => this.#top.truncate(this.#call, { loc, offset: size }));
  }

  async ftruncate(handle: number, size: number): Promise<void> {
    checkOffset(size);
    await this.#top.ftruncate(this.#call, { fd: this.#handles.get(handle), offset: size });
  }

  open(path: string, flags: number): Promise<number> {
    return this.#at(path, (loc) => this.#open(loc.inode, flags & ~OPENING_FLAGS));
  }

  create(path: string, mode: number, flags: number): Promise<number> {
    return this.#in(path, async ({ parent, name }) => {
      const fresh = new Inode();
      const fd = new Fd(fresh, flags & ~OPENING_FLAGS, this.#call.pid);
      const loc = { parent, name, inode: fresh };
      const { stat } = await this.#top.create(this.#call, {
        loc,
        fd,
        flags: flags | O_CREAT,
        mode,
        umask: 0,
        xdata: gfidRequest(),
      });
      const inode = this.#paths.learn(parent, name, fresh, stat);
      if (inode === fresh) return this.#enter(fd);
      // Another client made it first and it is known here: an Fd must point to the table's own inode.
      await this.#top.release(fd);
      return this.#open(inode, fd.flags);
    });
  }

  /** Fills `into` from its start; bytes read, fewer than asked for only at the end of the file. */
  async read(handle: number, into: Buffer, size: number, offset: number): Promise<number> {
    checkOffset(offset + size);
    const fd = this.#handles.get(handle);
    const reply = await this.#top.readv(this.#call, { fd, offset, size, flags: fd.flags });
    let at = 0;
    for (const part of reply.data) at += part.copy(into, at);
    reply.lease?.release();
    return at;
  }

  /** Bytes written. `from` is libfuse's memory: it is read until the promise settles and never after. */
  async write(handle: number, from: Buffer, offset: number): Promise<number> {
    checkOffset(offset + from.length);
    const fd = this.#handles.get(handle);
    const reply = await this.#top.writev(this.#call, { fd, data: [from], offset, flags: fd.flags });
    return reply.size;
  }

  statfs(path: string): Promise<FuseStatfs> {
    return this.#at(path, async (loc) => toFuseStatfs((await this.#top.statfs(this.#call, { loc })).statfs));
  }

  async flush(handle: number): Promise<void> {
    await this.#top.flush(this.#call, { fd: this.#handles.get(handle) });
  }

  async fsync(handle: number, datasync: boolean): Promise<void> {
    await this.#top.fsync(this.#call, { fd: this.#handles.get(handle), datasync });
  }

  async release(handle: number): Promise<void> {
    await this.#close(this.#handles.remove(handle));
  }

  fsyncdir(path: string, datasync: boolean): Promise<void> {
    return this.#withDirectory(path, async (fd) => {
      await this.#top.fsyncdir(this.#call, { fd, datasync });
    });
  }

  /** The whole directory at once: fuse-native passes neither an offset nor the handle. */
  readdir(path: string): Promise<DirectoryEntries> {
    return this.#withDirectory(path, async (fd) => {
      const names = [".", ".."];
      const stats = [directoryStat(fd.inode), directoryStat(undefined)];
      let offset = 0n;
      for (;;) {
        const reply = await this.#top.readdirp(this.#call, { fd, size: READDIR_BYTES, offset });
        for (const entry of reply.entries) {
          offset = entry.offset;
          if (entry.name === "." || entry.name === "..") continue;
          names.push(entry.name);
          stats.push(toFuseStat(entry.stat.mode ? entry.stat : { ...ZERO_IATT, mode: entry.type << 12 }));
        }
        if (reply.eof || reply.entries.length === 0) return { names, stats };
      }
    });
  }

  async setxattr(path: string, name: string, value: Buffer, flags: number): Promise<void> {
    mayChangeXattr(XATTRS, name);
    // The value is the package's memory and small; a layer below may keep what it is given with a name.
    const xattrs = Dict.ofBytes({ [name]: Buffer.from(value) });
    await this.#at(path, (loc) => this.#top.setxattr(this.#call, { loc, xattrs, flags }));
  }

  async getxattr(path: string, name: string): Promise<Buffer> {
    mayReadXattr(XATTRS, name);
    return this.#at(path, async (loc) => {
      const { xattrs } = await this.#top.getxattr(this.#call, { loc, name });
      const value = xattrs.bytes(name);
      if (value === undefined) throw new FopError("ENODATA", { fop: "getxattr", xlator: "fuse-native" });
      return value;
    });
  }

  listxattr(path: string): Promise<string[]> {
    return this.#at(path, async (loc) => {
      const { xattrs } = await this.#top.getxattr(this.#call, { loc, name: undefined });
      return [...xattrs.keys()].filter((key) => isListedXattr(XATTRS, key, this.#call.uid));
    });
  }

  async removexattr(path: string, name: string): Promise<void> {
    mayChangeXattr(XATTRS, name);
    await this.#at(path, (loc) => this.#top.removexattr(this.#call, { loc, name }));
  }

  /** Closes what the kernel left open, after an unmount. */
  async closeAll(): Promise<void> {
    for (const fd of this.#handles.takeAll()) await this.#close(fd);
  }

  async #open(inode: Inode, flags: number): Promise<number> {
    const fd = new Fd(inode, flags, this.#call.pid);
    await this.#top.open(this.#call, { loc: { inode }, fd, flags });
    return this.#enter(fd);
  }

  #enter(fd: Fd): number {
    this.#table.hold(fd.inode);
    return this.#handles.add(fd);
  }

  async #close(fd: Fd): Promise<void> {
    await this.#top.release(fd);
    this.#table.letGo(fd.inode);
  }

  async #withDirectory<T>(path: string, use: (fd: Fd) => Promise<T>): Promise<T> {
    const fd = await this.#at(path, async ({ inode }) => {
      const opened = new Fd(inode, O_RDONLY | O_DIRECTORY, this.#call.pid);
      await this.#top.opendir(this.#call, { loc: { inode }, fd: opened });
      return opened;
    });
    this.#table.hold(fd.inode);
    try {
      return await use(fd);
    } finally {
      await this.#top.releasedir(fd);
      this.#table.letGo(fd.inode);
    }
  }

  async #setattr(path: string, values: Partial<typeof ZERO_IATT>, valid: number): Promise<void> {
    if (valid === 0) return;
    const stat = { ...ZERO_IATT, ...values };
    await this.#at(path, (loc) => this.#top.setattr(this.#call, { loc, stat, valid }));
  }

  async #make(
    path: string,
    make: (loc: Loc, xdata: Dict) => Promise<{ stat: typeof ZERO_IATT }>,
  ): Promise<void> {
    await this.#in(path, async ({ parent, name }) => {
      const inode = new Inode();
      const { stat } = await make({ parent, name, inode }, gfidRequest());
      this.#paths.learn(parent, name, inode, stat);
    });
  }

  async #remove(path: string, remove: (loc: Loc) => Promise<unknown>): Promise<void> {
    await this.#in(path, async ({ parent, name }) => {
      const { inode } = await this.#paths.lookupAt(this.#call, parent, name);
      await remove({ parent, name, inode });
      this.#paths.drop(parent, name);
    });
  }

  /** The inode that a rename would replace, or a fresh one. */
  async #inodeAt({ parent, name }: Place): Promise<Inode> {
    try {
      return (await this.#paths.lookupAt(this.#call, parent, name)).inode;
    } catch (error) {
      if (error instanceof FopError && error.code === "ENOENT") return new Inode();
      throw error;
    }
  }

  /** Runs a fop on a path's inode; once more after a fresh lookup when a cached one proved gone. */
  async #at<T>(path: string, run: (loc: Loc) => Promise<T>): Promise<T> {
    const { inode, cached } = await this.#paths.resolve(this.#call, path);
    try {
      return await run({ inode });
    } catch (error) {
      if (!cached || !isGone(error)) throw error;
    }
    this.#paths.forget(path);
    return run({ inode: (await this.#paths.lookup(this.#call, path)).inode });
  }

  /** Runs a fop on a name in a directory; once more when the directory, out of the cache, proved gone. */
  async #in<T>(path: string, run: (place: Place) => Promise<T>): Promise<T> {
    const place = await this.#paths.place(this.#call, path);
    try {
      return await run(place);
    } catch (error) {
      if (!place.cached || !isStale(error)) throw error;
    }
    this.#paths.forget(path);
    return run(await this.#paths.place(this.#call, path));
  }
}

function gfidRequest(): Dict {
  return new Dict().setGfid("gfid-req", newGfid());
}

function isGone(error: unknown): boolean {
  return isStale(error) || (error instanceof FopError && error.code === "ENOENT");
}

/** fuse-native hands 64-bit offsets on as doubles, so that anything past 2^53 has lost its low bits. */
function checkOffset(end: number): void {
  if (!Number.isSafeInteger(end) || end < 0) throw new FopError("EFBIG", { xlator: "fuse-native" });
}

/** readdir needs only the inode number and the type of "." and "..". */
function directoryStat(inode: Inode | undefined): FuseStat {
  const gfid = inode?.gfid ?? ZERO_IATT.gfid;
  return toFuseStat({ ...ZERO_IATT, gfid, mode: S_IFDIR });
}
