/**
 * A volume used in-process, by path, like libgfapi: the same graph that a mount serves, without FUSE.
 *
 * Paths begin at the root of the volume, with or without a slash. Every method rejects with FopError (`code`
 * is the errno's name). Modes are given as they shall be on the volume: no umask is applied.
 */

import type { Call } from "../core/call.ts";
import { Dict } from "../core/dict.ts";
import { FopError } from "../core/errors.ts";
import type { DirentPlus, Statfs } from "../core/fops.ts";
import { newGfid } from "../core/gfid.ts";
import { type Iatt, SETATTR, ZERO_IATT } from "../core/iatt.ts";
import { Fd, Inode, InodeTable, type Loc } from "../core/inode.ts";
import { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_TRUNC } from "../core/open-flags.ts";
import type { XlatorBase } from "../core/xlator.ts";
import type { Graph } from "../graph/graph.ts";
import { File } from "./file.ts";
import { PathResolver } from "./path.ts";

/** Who the calls are made for; root by default. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly groups?: readonly number[];
}

/** Times to set; an absent pair stays as it is. */
export interface Times {
  readonly atime?: { readonly sec: number; readonly nsec: number };
  readonly mtime?: { readonly sec: number; readonly nsec: number };
}

const READDIR_BYTES = 128 * 1024;

export class Volume {
  readonly graph: Graph;
  readonly #top: XlatorBase;
  readonly #inodes: InodeTable;
  readonly #paths: PathResolver;
  readonly #call: Call;

  /** For a graph that is started; `openVolume` makes one from a SOURCE. */
  constructor(graph: Graph, identity: Identity = { uid: 0, gid: 0 }) {
    this.graph = graph;
    this.#top = graph.top;
    this.#inodes = new InodeTable({ onForget: (inode) => graph.top.forget(inode) });
    this.#paths = new PathResolver(graph.top, this.#inodes);
    const { uid, gid, groups = [] } = identity;
    this.#call = { uid, gid, groups, pid: process.pid, lkOwner: Buffer.alloc(0) };
  }

  /** Opens a file; `flags` are Linux open flags, `mode` counts with O_CREAT. EISDIR for a directory. */
  async open(path: string, flags: number = O_RDONLY, mode = 0o644): Promise<File> {
    if (flags & O_CREAT) {
      const made = await this.#create(path, flags, mode);
      if (made) return made;
    }
    const { inode, stat } = await this.#paths.resolve(this.#call, path, (flags & O_NOFOLLOW) === 0);
    if ((stat.mode & 0o170000) === 0o120000) throw new FopError("ELOOP", { fop: "open" });
    if ((stat.mode & 0o170000) === 0o040000) throw new FopError("EISDIR", { fop: "open" });
    const fd = new Fd(inode, flags & ~(O_CREAT | O_EXCL | O_TRUNC), process.pid);
    await this.#top.open(this.#call, { loc: { inode }, fd, flags: fd.flags });
    const file = new File(this.#top, this.#inodes, fd, this.#call);
    if (flags & O_TRUNC) await file.truncate(0);
    return file;
  }

  /** Attributes; of what a symlink leads to. */
  async stat(path: string): Promise<Iatt> {
    return (await this.#paths.resolve(this.#call, path)).stat;
  }

  /** Attributes; of a symlink itself. */
  async lstat(path: string): Promise<Iatt> {
    return (await this.#paths.resolve(this.#call, path, false)).stat;
  }

  async access(path: string, mask: number): Promise<void> {
    await this.#top.access(this.#call, { loc: await this.#at(path), mask });
  }

  async readlink(path: string): Promise<string> {
    const loc = await this.#at(path, false);
    return (await this.#top.readlink(this.#call, { loc, size: 4096 })).target;
  }

  async mkdir(path: string, mode = 0o755): Promise<Iatt> {
    const loc = await this.#entry(path);
    return (await this.#top.mkdir(this.#call, { loc, mode, umask: 0, xdata: gfidRequest() })).stat;
  }

  /** `mode` with its type bits; `rdev` is major * 2^32 + minor. */
  async mknod(path: string, mode: number, rdev = 0): Promise<Iatt> {
    const loc = await this.#entry(path);
    return (await this.#top.mknod(this.#call, { loc, mode, rdev, umask: 0, xdata: gfidRequest() })).stat;
  }

  async symlink(target: string, path: string): Promise<Iatt> {
    const loc = await this.#entry(path);
    return (await this.#top.symlink(this.#call, { loc, target, umask: 0, xdata: gfidRequest() })).stat;
  }

  /** A hard link `path` to the object at `existing`. */
  async link(existing: string, path: string): Promise<void> {
    const from = await this.#at(existing, false);
    const entry = await this.#entry(path);
    await this.#top.link(this.#call, { from, to: { ...entry, inode: from.inode } });
  }

  async unlink(path: string): Promise<void> {
    await this.#top.unlink(this.#call, { loc: await this.#existing(path), flags: 0 });
  }

  async rmdir(path: string): Promise<void> {
    await this.#top.rmdir(this.#call, { loc: await this.#existing(path), flags: 0 });
  }

  async rename(from: string, to: string): Promise<void> {
    const source = await this.#existing(from);
    const target = await this.#paths.parent(this.#call, to);
    await this.#top.rename(this.#call, { from: source, to: { ...target, inode: source.inode } });
  }

  async truncate(path: string, size: number): Promise<void> {
    await this.#top.truncate(this.#call, { loc: await this.#at(path), offset: size });
  }

  async chmod(path: string, mode: number): Promise<Iatt> {
    return this.#setattr(path, true, { ...ZERO_IATT, mode }, SETATTR.MODE);
  }

  /** Of a symlink itself. */
  async lchown(path: string, uid: number, gid: number): Promise<Iatt> {
    return this.#setattr(path, false, { ...ZERO_IATT, uid, gid }, SETATTR.UID | SETATTR.GID);
  }

  /** Of a symlink itself. */
  async lutimes(path: string, times: Times): Promise<Iatt> {
    const { atime, mtime } = times;
    const stat: Iatt = {
      ...ZERO_IATT,
      ...(atime ? { atime: atime.sec, atimeNsec: atime.nsec } : {}),
      ...(mtime ? { mtime: mtime.sec, mtimeNsec: mtime.nsec } : {}),
    };
    return this.#setattr(path, false, stat, (atime ? SETATTR.ATIME : 0) | (mtime ? SETATTR.MTIME : 0));
  }

  /** The value of an xattr; ENODATA when there is none. */
  async getxattr(path: string, name: string): Promise<Buffer> {
    const { xattrs } = await this.#top.getxattr(this.#call, { loc: await this.#at(path), name });
    const value = xattrs.bytes(name);
    if (!value) throw new FopError("ENODATA", { fop: "getxattr" });
    return value;
  }

  async listxattr(path: string): Promise<string[]> {
    const { xattrs } = await this.#top.getxattr(this.#call, { loc: await this.#at(path), name: undefined });
    return [...xattrs.keys()];
  }

  /** `flags`: 0, 1 XATTR_CREATE, 2 XATTR_REPLACE. */
  async setxattr(path: string, name: string, value: Buffer, flags = 0): Promise<void> {
    const xattrs = Dict.ofBytes({ [name]: value });
    await this.#top.setxattr(this.#call, { loc: await this.#at(path), xattrs, flags });
  }

  async removexattr(path: string, name: string): Promise<void> {
    await this.#top.removexattr(this.#call, { loc: await this.#at(path), name });
  }

  /** Entries of a directory with their attributes, `.` and `..` left out. */
  async *readdir(path: string): AsyncGenerator<DirentPlus> {
    const { inode } = await this.#paths.resolve(this.#call, path);
    const fd = new Fd(inode, O_RDONLY | O_DIRECTORY, process.pid);
    await this.#top.opendir(this.#call, { loc: { inode }, fd });
    try {
      for (let offset = 0n, eof = false; !eof; ) {
        const reply = await this.#top.readdirp(this.#call, { fd, size: READDIR_BYTES, offset });
        yield* reply.entries.filter(({ name }) => name !== "." && name !== "..");
        eof = reply.eof || reply.entries.length === 0;
        offset = reply.entries.at(-1)?.offset ?? offset;
      }
    } finally {
      await this.#top.releasedir(fd);
    }
  }

  async statfs(): Promise<Statfs> {
    return (await this.#top.statfs(this.#call, { loc: { inode: this.#inodes.root } })).statfs;
  }

  /** Stops the graph; files still open are gone with it. */
  async close(): Promise<void> {
    await this.graph.stop();
  }

  /** Creates the file, or returns undefined when it exists and may be opened instead. */
  async #create(path: string, flags: number, mode: number): Promise<File | undefined> {
    const entry = await this.#paths.parent(this.#call, path);
    const fresh = new Inode();
    const fd = new Fd(fresh, flags & ~(O_CREAT | O_EXCL | O_TRUNC), process.pid);
    try {
      const args = { loc: { ...entry, inode: fresh }, fd, flags: flags | O_EXCL, mode, umask: 0 };
      const { stat } = await this.#top.create(this.#call, { ...args, xdata: gfidRequest() });
      this.#inodes.link(fresh, stat.gfid, stat.mode);
    } catch (error) {
      if (error instanceof FopError && error.code === "EEXIST" && (flags & O_EXCL) === 0) return undefined;
      throw error;
    }
    return new File(this.#top, this.#inodes, fd, this.#call);
  }

  async #setattr(path: string, follow: boolean, stat: Iatt, valid: number): Promise<Iatt> {
    const loc = await this.#at(path, follow);
    return (await this.#top.setattr(this.#call, { loc, stat, valid })).post;
  }

  /** The object at a path, as fops by gfid want it. */
  async #at(path: string, follow = true): Promise<Loc> {
    return { inode: (await this.#paths.resolve(this.#call, path, follow)).inode };
  }

  /** A name to be made. */
  async #entry(path: string): Promise<Loc> {
    return { ...(await this.#paths.parent(this.#call, path)), inode: new Inode() };
  }

  /** A name that is there, with its inode. */
  async #existing(path: string): Promise<Loc> {
    const entry = await this.#paths.parent(this.#call, path);
    const { inode } = await this.#paths.lookup(this.#call, entry.parent, entry.name);
    return { ...entry, inode };
  }
}

/** A new object's gfid is chosen by the client (spec wire.md 9.2). */
function gfidRequest(): Dict {
  return new Dict().setGfid("gfid-req", newGfid());
}
