/**
 * A volume used in-process, by path, like libgfapi: the same graph that a mount serves, without FUSE.
 *
 * Paths begin at the root of the volume, with or without a slash. Every method rejects with FopError (`code`
 * is the errno's name; EBADF once the volume is closed). Modes are given as they shall be on the volume: no
 * umask is applied. `await using volume = await openVolume(...)` closes it.
 */

import type { Call } from "../core/call.ts";
import { Dict } from "../core/dict.ts";
import { FopError } from "../core/errors.ts";
import type { DirentPlus, Statfs } from "../core/fops.ts";
import { newGfid } from "../core/gfid.ts";
import { type Iatt, isDir, S_IFDIR, S_IFLNK, S_IFMT, SETATTR, ZERO_IATT } from "../core/iatt.ts";
import { Fd, Inode, type Loc } from "../core/inode.ts";
import {
  O_ACCMODE,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_TRUNC,
} from "../core/open-flags.ts";
import type { Afterwork, XlatorBase } from "../core/xlator.ts";
import type { Graph } from "../graph/graph.ts";
import { File } from "./file.ts";
import { PathResolver } from "./path.ts";
import { Session } from "./session.ts";
import { type Times, timesChange } from "./times.ts";

/** Who the calls are made for; root by default. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly groups?: readonly number[];
}

export interface ReaddirOptions {
  /** Ends the iteration with the signal's reason. */
  readonly signal?: AbortSignal;
}

const ROOT: Identity = { uid: 0, gid: 0 };
const READDIR_BYTES = 128 * 1024;

export class Volume {
  readonly #session: Session;
  readonly #root: Inode;
  readonly #paths: PathResolver;
  readonly #call: Call;

  /** For a graph that is started; `openVolume` makes one from a SOURCE. */
  constructor(graph: Graph, identity?: Identity);
  /** A view of a volume that is open; use `as` and `at`. */
  constructor(session: Session, identity: Identity, root: Inode);
  constructor(of: Graph | Session, identity: Identity = ROOT, root?: Inode) {
    this.#session = of instanceof Session ? of : new Session(of);
    this.#root = root ?? this.#session.inodes.root;
    this.#paths = new PathResolver(this.#session.top, this.#session.inodes, this.#root);
    const { uid, gid, groups = [] } = identity;
    this.#call = { uid, gid, groups, pid: process.pid, lkOwner: Buffer.alloc(0) };
  }

  get graph(): Graph {
    return this.#session.graph;
  }

  /**
   * What this client still does in the background for calls that were answered: blocks of removed sharded
   * files. How many pieces it found since it was opened, and how many of them are done.
   */
  get afterwork(): { readonly found: number; readonly done: number } {
    let [found, done] = [0, 0];
    for (const one of this.#afterworks()) {
      found += one.found;
      done += one.done;
    }
    return { found, done };
  }

  /** Resolves when nothing of it is left. A volume that is closed before leaves it to its next client. */
  async afterworkDone(): Promise<void> {
    await Promise.all(this.#afterworks().map((one) => one.finished()));
  }

  #afterworks(): Afterwork[] {
    return this.graph.xlators.flatMap(({ afterwork }) => (afterwork === undefined ? [] : [afterwork]));
  }

  /** The same volume for somebody else. Views share one connection: closing any of them closes all. */
  as(identity: Identity): Volume {
    return new Volume(this.#session, identity, this.#root);
  }

  /** A view whose root is a directory of this one; nothing above it can be named. ENOTDIR for a file. */
  async at(directory: string): Promise<Volume> {
    const { inode, stat } = await this.#paths.resolve(this.#who(), directory);
    if (!isDir(stat)) throw new FopError("ENOTDIR", { message: `"${directory}": is no directory` });
    this.#session.inodes.hold(inode);
    return new Volume(this.#session, this.#call, inode);
  }

  /** Opens a file; `flags` are Linux open flags, `mode` counts with O_CREAT. EISDIR for a directory. */
  async open(path: string, flags: number = O_RDONLY, mode = 0o644): Promise<File> {
    if (flags & O_CREAT) {
      const made = await this.#create(path, flags, mode);
      if (made) return made;
    }
    const { inode, stat } = await this.#paths.resolve(this.#who(), path, (flags & O_NOFOLLOW) === 0);
    if ((stat.mode & S_IFMT) === S_IFLNK) throw new FopError("ELOOP", { fop: "open" });
    if ((stat.mode & S_IFMT) === S_IFDIR) throw new FopError("EISDIR", { fop: "open" });
    const fd = new Fd(inode, flags & ~(O_CREAT | O_EXCL | O_TRUNC), process.pid);
    await this.#top.open(this.#who(), { loc: { inode }, fd, flags: fd.flags });
    const file = new File(this.#session, fd, this.#call);
    if ((flags & O_TRUNC) === 0 || (flags & O_ACCMODE) === O_RDONLY) return file;
    try {
      await file.truncate(0);
      return file;
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
  }

  /** Attributes; of what a symlink leads to. */
  async stat(path: string): Promise<Iatt> {
    return (await this.#paths.resolve(this.#who(), path)).stat;
  }

  /** Attributes; of a symlink itself. */
  async lstat(path: string): Promise<Iatt> {
    return (await this.#paths.resolve(this.#who(), path, false)).stat;
  }

  async access(path: string, mask: number): Promise<void> {
    await this.#top.access(this.#who(), { loc: await this.#at(path), mask });
  }

  async readlink(path: string): Promise<string> {
    const loc = await this.#at(path, false);
    return (await this.#top.readlink(this.#who(), { loc, size: 4096 })).target;
  }

  async mkdir(path: string, mode = 0o755): Promise<Iatt> {
    const loc = await this.#entry(path);
    return (await this.#top.mkdir(this.#who(), { loc, mode, umask: 0, xdata: gfidRequest() })).stat;
  }

  /** `mode` with its type bits; `rdev` is major * 2^32 + minor. */
  async mknod(path: string, mode: number, rdev = 0): Promise<Iatt> {
    const loc = await this.#entry(path);
    return (await this.#top.mknod(this.#who(), { loc, mode, rdev, umask: 0, xdata: gfidRequest() })).stat;
  }

  async symlink(target: string, path: string): Promise<Iatt> {
    const loc = await this.#entry(path);
    return (await this.#top.symlink(this.#who(), { loc, target, umask: 0, xdata: gfidRequest() })).stat;
  }

  /** A hard link `path` to the object at `existing`. */
  async link(existing: string, path: string): Promise<void> {
    const from = await this.#at(existing, false);
    const entry = await this.#entry(path);
    await this.#top.link(this.#who(), { from, to: { ...entry, inode: from.inode } });
  }

  async unlink(path: string): Promise<void> {
    await this.#top.unlink(this.#who(), { loc: await this.#existing(path), flags: 0 });
  }

  async rmdir(path: string): Promise<void> {
    await this.#top.rmdir(this.#who(), { loc: await this.#existing(path), flags: 0 });
  }

  /** What `to` was before is gone, unless somebody has it open. */
  async rename(from: string, to: string): Promise<void> {
    const source = await this.#existing(from);
    const target = await this.#paths.parent(this.#who(), to);
    const replaced = await this.#paths.find(this.#who(), target);
    const inode = replaced?.inode ?? new Inode();
    await this.#top.rename(this.#who(), { from: source, to: { ...target, inode } });
  }

  async truncate(path: string, size: number): Promise<void> {
    await this.#top.truncate(this.#who(), { loc: await this.#at(path), offset: size });
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
    const { stat, valid } = timesChange(times);
    return this.#setattr(path, false, stat, valid);
  }

  /** The value of an xattr; ENODATA when there is none. */
  async getxattr(path: string, name: string): Promise<Buffer> {
    const { xattrs } = await this.#top.getxattr(this.#who(), { loc: await this.#at(path), name });
    const value = xattrs.bytes(name);
    if (!value) throw new FopError("ENODATA", { fop: "getxattr" });
    return value;
  }

  async listxattr(path: string): Promise<string[]> {
    const { xattrs } = await this.#top.getxattr(this.#who(), { loc: await this.#at(path), name: undefined });
    return [...xattrs.keys()];
  }

  /** `flags`: 0, 1 XATTR_CREATE, 2 XATTR_REPLACE. */
  async setxattr(path: string, name: string, value: Buffer, flags = 0): Promise<void> {
    const xattrs = Dict.ofBytes({ [name]: value });
    await this.#top.setxattr(this.#who(), { loc: await this.#at(path), xattrs, flags });
  }

  async removexattr(path: string, name: string): Promise<void> {
    await this.#top.removexattr(this.#who(), { loc: await this.#at(path), name });
  }

  /**
   * Entries of a directory with their attributes, `.` and `..` left out. The directory is released when the
   * iteration ends, early or not.
   */
  async *readdir(path: string, { signal }: ReaddirOptions = {}): AsyncGenerator<DirentPlus> {
    const { inode, stat } = await this.#paths.resolve(this.#who(), path);
    if (!isDir(stat)) throw new FopError("ENOTDIR", { fop: "opendir" });
    const fd = await this.#opendir(inode);
    try {
      for (let offset = 0n, eof = false; !eof; ) {
        signal?.throwIfAborted();
        const reply = await this.#top.readdirp(this.#who(), { fd, size: READDIR_BYTES, offset });
        yield* reply.entries.filter(({ name }) => name !== "." && name !== "..");
        eof = reply.eof || reply.entries.length === 0;
        offset = reply.entries.at(-1)?.offset ?? offset;
      }
    } finally {
      await this.#top.releasedir(fd);
    }
  }

  /** Names made, removed or renamed in the directory are durable when it resolves. */
  async fsyncDirectory(path: string): Promise<void> {
    const fd = await this.#opendir((await this.#paths.resolve(this.#who(), path)).inode);
    try {
      await this.#top.fsyncdir(this.#who(), { fd, datasync: false });
    } finally {
      await this.#top.releasedir(fd);
    }
  }

  async statfs(): Promise<Statfs> {
    return (await this.#top.statfs(this.#who(), { loc: { inode: this.#root } })).statfs;
  }

  /**
   * Closes files that are still open and leaves the volume; all views of it end. Rejects with the first thing
   * a file's close would have reported, after everything is closed. Closing again does nothing.
   */
  close(): Promise<void> {
    return this.#session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #top(): XlatorBase {
    return this.#session.top;
  }

  #who(): Call {
    this.#session.check();
    return this.#call;
  }

  async #opendir(inode: Inode): Promise<Fd> {
    const fd = new Fd(inode, O_RDONLY | O_DIRECTORY, process.pid);
    await this.#top.opendir(this.#who(), { loc: { inode }, fd });
    return fd;
  }

  /** Creates the file, or returns undefined when it exists and may be opened instead. */
  async #create(path: string, flags: number, mode: number): Promise<File | undefined> {
    const entry = await this.#paths.parent(this.#who(), path);
    const fresh = new Inode();
    const fd = new Fd(fresh, flags & ~(O_CREAT | O_EXCL | O_TRUNC), process.pid);
    try {
      const args = { loc: { ...entry, inode: fresh }, fd, flags: flags | O_EXCL, mode, umask: 0 };
      const { stat } = await this.#top.create(this.#who(), { ...args, xdata: gfidRequest() });
      this.#session.inodes.link(fresh, stat.gfid, stat.mode);
    } catch (error) {
      if (error instanceof FopError && error.code === "EEXIST" && (flags & O_EXCL) === 0) return undefined;
      throw error;
    }
    return new File(this.#session, fd, this.#call);
  }

  async #setattr(path: string, follow: boolean, stat: Iatt, valid: number): Promise<Iatt> {
    const loc = await this.#at(path, follow);
    return (await this.#top.setattr(this.#who(), { loc, stat, valid })).post;
  }

  /** The object at a path, as fops by gfid want it. */
  async #at(path: string, follow = true): Promise<Loc> {
    return { inode: (await this.#paths.resolve(this.#who(), path, follow)).inode };
  }

  /** A name to be made. */
  async #entry(path: string): Promise<Loc> {
    return { ...(await this.#paths.parent(this.#who(), path)), inode: new Inode() };
  }

  /** A name that is there, with its inode. */
  async #existing(path: string): Promise<Loc> {
    const entry = await this.#paths.parent(this.#who(), path);
    const { inode } = await this.#paths.lookup(this.#who(), entry.parent, entry.name);
    return { ...entry, inode };
  }
}

/** A new object's gfid is chosen by the client (spec wire.md 9.2). */
function gfidRequest(): Dict {
  return new Dict().setGfid("gfid-req", newGfid());
}
