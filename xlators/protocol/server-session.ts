/**
 * What a brick keeps for one connection: who the client is, its open files, and how its gfids become inodes
 * (wire.md 8, 10.1).
 *
 * A file that the client releases, or leaves open when it goes, is released below when no fop uses it any
 * more: a descriptor must not be closed, and its number given to another file, under a write.
 */

import { type Call, type ClientIdentity, internalCall } from "../../src/core/call.ts";
import { Deferred } from "../../src/core/concurrency.ts";
import { type ErrnoName, FopError } from "../../src/core/errors.ts";
import { type Gfid, gfidEquals, isNullGfid, ROOT_GFID } from "../../src/core/gfid.ts";
import { type Iatt, S_IFDIR } from "../../src/core/iatt.ts";
import { Fd, Inode, InodeTable, type Loc } from "../../src/core/inode.ts";
import { O_DIRECT, O_LARGEFILE, O_RDWR } from "../../src/core/open-flags.ts";
import type { XlatorBase } from "../../src/core/xlator.ts";

const NO_FD = -1;
const ANONYMOUS = -2;
/** Open files of one client; more means that it never releases any. */
const FDS_MAX = 65_536;

/** One brick that a server offers: a child and the inodes that its clients use. */
export class Brick {
  readonly name: string;
  readonly top: XlatorBase;
  readonly inodes: InodeTable;
  /** It has said that it can serve. */
  up = false;
  /** Which copy of a replicated volume it says it is; undefined when it does not say. */
  place: string | undefined;

  constructor(top: XlatorBase, inodesMax: number) {
    this.name = top.name;
    this.top = top;
    this.inodes = new InodeTable({ idleMax: inodesMax, onForget: (inode) => top.forget(inode) });
  }
}

/** A file that a client has open. */
interface OpenFd {
  readonly fd: Fd;
  readonly directory: boolean;
  /** Fops that use it now. */
  busy: number;
  released: boolean;
}

export class ServerSession {
  readonly client: ClientIdentity;
  readonly brick: Brick;
  /** The client proved who it is by name and password. */
  readonly trusted: boolean;
  /** The directory that this client takes for the root. */
  readonly root: Gfid;
  /** The connection is gone: nothing new may begin. */
  closed = false;
  readonly #wholeVolume: boolean;
  readonly #fds: (OpenFd | undefined)[] = [];
  readonly #freeNumbers: number[] = [];
  #running = 0;
  #idle: Deferred<void> | undefined;
  /** Releases below that nobody waits for but `close`. */
  readonly #releases = new Set<Promise<void>>();

  constructor(init: { client: ClientIdentity; brick: Brick; trusted: boolean; root: Gfid }) {
    this.client = init.client;
    this.brick = init.brick;
    this.trusted = init.trusted;
    this.root = init.root;
    this.#wholeVolume = gfidEquals(init.root, ROOT_GFID);
  }

  /** The client's root is a directory of the volume: its gfid is another one there. */
  inward(gfid: Gfid): Gfid {
    return !this.#wholeVolume && gfidEquals(gfid, ROOT_GFID) ? this.root : gfid;
  }

  /** Attributes of the client's root say that it is the root. */
  outward(stat: Iatt): Iatt {
    return !this.#wholeVolume && gfidEquals(stat.gfid, this.root) ? { ...stat, gfid: ROOT_GFID } : stat;
  }

  /**
   * The inode of a gfid. One that nobody has asked for since it was last used is looked up below; `missing`
   * is what its absence means to the caller (wire.md 8).
   */
  inode(wireGfid: Gfid, missing: ErrnoName = "ESTALE"): Inode | Promise<Inode> {
    const gfid = this.inward(wireGfid);
    if (isNullGfid(gfid)) throw new FopError("EINVAL", { message: "a request without a gfid" });
    const known = this.brick.inodes.find(gfid);
    return known !== undefined && known.type !== 0 ? known : this.#lookup(gfid, missing);
  }

  async #lookup(gfid: Gfid, missing: ErrnoName): Promise<Inode> {
    const { top, inodes } = this.brick;
    const inode = inodes.find(gfid) ?? new Inode(gfid);
    try {
      const { stat } = await top.lookup(internalCall(0, this.client), { loc: { inode } });
      return inodes.link(inode, stat.gfid, stat.mode);
    } catch (error) {
      const code = (error as FopError).code;
      if (code === "ENOENT" || code === "ESTALE")
        throw new FopError(missing, { fop: "resolve", cause: error });
      throw error;
    }
  }

  /** A name in a directory, with a fresh inode for what is there or is to be made. */
  async entry(parentGfid: Gfid, name: string): Promise<Required<Loc>> {
    if (name === "" || name.includes("/")) throw new FopError("EPERM", { message: "a name that is no name" });
    const parent = await this.inode(parentGfid);
    if (parent.type !== S_IFDIR) throw new FopError("EPERM", { message: "an entry of what is no directory" });
    return { inode: new Inode(), parent, name };
  }

  /** The same, and the inode is the one that is there. Rejects with ENOENT when there is none. */
  async existing(call: Call, parentGfid: Gfid, name: string): Promise<Required<Loc>> {
    const loc = await this.entry(parentGfid, name);
    const { stat } = await this.brick.top.lookup(call, { loc });
    return { ...loc, inode: this.link(loc.inode, stat) };
  }

  /** The same, and a fresh inode when there is none. */
  async existingOrNew(call: Call, parentGfid: Gfid, name: string): Promise<Required<Loc>> {
    try {
      return await this.existing(call, parentGfid, name);
    } catch (error) {
      if ((error as FopError).code === "ENOENT") return this.entry(parentGfid, name);
      throw error;
    }
  }

  /** A name to look up. Above the client's root there is nothing. */
  lookupEntry(parentGfid: Gfid, name: string): Promise<Required<Loc>> {
    const above = name === ".." && gfidEquals(this.inward(parentGfid), this.root);
    return this.entry(parentGfid, above ? "." : name);
  }

  /** The inode of a gfid without asking whether it exists, for those who ask just that. */
  knownOrNew(wireGfid: Gfid): Inode {
    const gfid = this.inward(wireGfid);
    if (isNullGfid(gfid)) throw new FopError("EINVAL", { message: "a lookup without gfid and name" });
    return this.brick.inodes.find(gfid) ?? new Inode(gfid);
  }

  /** Gives a fresh inode its identity, from a reply; or gives the inode that has it already. */
  link(inode: Inode, stat: Iatt): Inode {
    return isNullGfid(stat.gfid) ? inode : this.brick.inodes.link(inode, stat.gfid, stat.mode);
  }

  /** The open file of a number. Throws EBADF. */
  open(number: number): OpenFd {
    const open = this.#fds[number];
    if (open === undefined || open.released)
      throw new FopError("EBADF", { message: `fd ${number} is not open` });
    return open;
  }

  /** The fd of a request: open, or anonymous by gfid. */
  fd(number: number, gfid: Gfid, flags = 0): Fd | Promise<Fd> {
    if (number !== ANONYMOUS) {
      if (number === NO_FD) throw new FopError("EBADF", { message: "a request without an fd" });
      return this.open(number).fd;
    }
    const anonymousFlags = O_RDWR | O_LARGEFILE | (flags & O_DIRECT);
    const inode = this.inode(gfid, "ENOENT");
    if (inode instanceof Promise) return inode.then((found) => Fd.anonymous(found, anonymousFlags));
    return Fd.anonymous(inode, anonymousFlags);
  }

  /** Gives an opened file a number, the one freed last if any. */
  install(fd: Fd, directory: boolean): number {
    const number = this.#freeNumbers.pop() ?? this.#fds.length;
    this.#fds[number] = { fd, directory, busy: 0, released: false };
    this.brick.inodes.hold(fd.inode);
    return number;
  }

  /** Throws EMFILE when the client has too many files open. */
  checkRoom(): void {
    if (this.#fds.length - this.#freeNumbers.length >= FDS_MAX)
      throw new FopError("EMFILE", { message: `more than ${FDS_MAX} open files` });
  }

  /** A fop uses the file of a number from now until `unuse`; undefined for anonymous ones. */
  use(number: number): OpenFd | undefined {
    if (number < 0) return undefined;
    const open = this.open(number);
    open.busy++;
    return open;
  }

  unuse(open: OpenFd | undefined): void {
    if (open === undefined) return;
    open.busy--;
    if (open.busy === 0 && open.released) this.#startRelease(open);
  }

  /** The client is done with a file. */
  async release(number: number): Promise<void> {
    const open = this.open(number);
    open.released = true;
    this.#fds[number] = undefined;
    this.#freeNumbers.push(number);
    if (open.busy === 0) await this.#releaseBelow(open);
  }

  /** A fop begins that will end by itself, as opposed to one that waits for others. */
  begin(): void {
    this.#running++;
  }

  end(): void {
    this.#running--;
    if (this.#running === 0) this.#idle?.resolve();
  }

  /**
   * The client is gone: nothing new begins, files in use are released by the last fop that uses them, the
   * rest now.
   * Settles when nothing of this client is left below.
   */
  async close(): Promise<void> {
    this.closed = true;
    for (const open of this.#fds.splice(0)) {
      if (open === undefined) continue;
      open.released = true;
      if (open.busy === 0) this.#startRelease(open);
    }
    this.#freeNumbers.length = 0;
    if (this.#running > 0) {
      this.#idle = new Deferred<void>();
      await this.#idle.promise;
    }
    await Promise.all(this.#releases);
  }

  #startRelease(open: OpenFd): void {
    const release: Promise<void> = this.#releaseBelow(open).finally(() => this.#releases.delete(release));
    this.#releases.add(release);
  }

  async #releaseBelow({ fd, directory }: OpenFd): Promise<void> {
    const { top, inodes } = this.brick;
    await (directory ? top.releasedir(fd) : top.release(fd));
    inodes.letGo(fd.inode);
  }
}
