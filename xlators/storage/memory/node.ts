/**
 * One inode of the in-memory brick: what a disk inode is to storage/posix. Plain state with few rules of its
 * own; who may change it and when is decided in memory.ts, always within one turn of the event loop.
 */

import type { Mdata } from "../../../src/core/dict.ts";
import { type Gfid, gfidKey } from "../../../src/core/gfid.ts";
import { type Iatt, S_IFDIR, S_IFMT, S_IFREG } from "../../../src/core/iatt.ts";
import { PAGE_BYTES, SparseData } from "./sparse.ts";

/** A moment of the wall clock. */
export interface Moment {
  readonly sec: number;
  readonly nsec: number;
}

/** A name in a directory. `cookie` is its readdir offset, constant while the name stays. */
export interface Entry {
  readonly name: string;
  readonly node: MemNode;
  readonly cookie: number;
}

/** Offsets of "." and ".." and the first one for a name. */
export const DOT_COOKIE = 1;
export const DOTDOT_COOKIE = 2;
const FIRST_COOKIE = 3;

/** Preferred I/O size, as most disk file systems report it. */
const BLKSIZE = 4096;
/** st_dev of every in-memory brick; it only has to be constant. */
const DEV = 0x4d454d;

export class MemNode {
  readonly gfid: Gfid;
  readonly key: string;
  mode: number;
  uid: number;
  gid: number;
  readonly rdev: number;
  /** Names of a file; 2 and one for each subdirectory of a directory. 0: removed. */
  nlink: number;
  atime: Moment;
  mtime: Moment;
  ctime: Moment;
  readonly btime: Moment;
  readonly xattrs = new Map<string, Buffer>();
  /** Times that clients supplied; they win over the three above. */
  mdata: Mdata | undefined;
  /** Regular files only. */
  readonly data: SparseData | undefined;
  /** Symlinks only. */
  readonly target: string;
  /** Directories only, in the order of their cookies. */
  readonly entries: Map<string, Entry> | undefined;
  /** Directories only: where it is; the root is its own parent. */
  parent: MemNode | undefined;
  /** Fds opened and not released; a removed inode lives as long as this is not 0. */
  opens = 0;
  #nextCookie = FIRST_COOKIE;

  constructor(
    gfid: Gfid,
    mode: number,
    owner: { uid: number; gid: number },
    now: Moment,
    rdev = 0,
    target = "",
  ) {
    this.gfid = gfid;
    this.key = gfidKey(gfid);
    this.mode = mode;
    this.uid = owner.uid;
    this.gid = owner.gid;
    this.rdev = rdev;
    this.target = target;
    this.atime = now;
    this.mtime = now;
    this.ctime = now;
    this.btime = now;
    const type = mode & S_IFMT;
    this.data = type === S_IFREG ? new SparseData() : undefined;
    this.entries = type === S_IFDIR ? new Map() : undefined;
    this.nlink = type === S_IFDIR ? 2 : 0;
  }

  get isDir(): boolean {
    return this.entries !== undefined;
  }

  get size(): number {
    if (this.data) return this.data.size;
    if (this.isDir) return BLKSIZE;
    return Buffer.byteLength(this.target);
  }

  iatt(): Iatt {
    const { size, mdata } = this;
    const pages = this.data ? this.data.pageCount : this.isDir ? 1 : 0;
    return {
      gfid: this.gfid,
      mode: this.mode,
      nlink: this.nlink,
      uid: this.uid,
      gid: this.gid,
      size,
      blocks: Math.min((pages * PAGE_BYTES) / 512, Math.ceil(size / 512)),
      blksize: BLKSIZE,
      dev: DEV,
      rdev: this.rdev,
      atime: mdata?.atime ?? this.atime.sec,
      atimeNsec: mdata?.atimeNsec ?? this.atime.nsec,
      mtime: mdata?.mtime ?? this.mtime.sec,
      mtimeNsec: mdata?.mtimeNsec ?? this.mtime.nsec,
      ctime: mdata?.ctime ?? this.ctime.sec,
      ctimeNsec: mdata?.ctimeNsec ?? this.ctime.nsec,
      btime: this.btime.sec,
      btimeNsec: this.btime.nsec,
    };
  }

  /**
   * Enters a name; one that is there is replaced. Link counts of the child and, for directories, of both are
   * kept.
   */
  enter(name: string, child: MemNode): void {
    const entries = this.entries!;
    entries.delete(name);
    entries.set(name, { name, node: child, cookie: this.#nextCookie++ });
    if (child.isDir) {
      child.parent = this;
      this.nlink++;
    } else child.nlink++;
  }

  /** Takes a name away; the child loses a link (a directory loses its only one, when `gone`). */
  leave(name: string, gone = true): void {
    const child = this.entries!.get(name)!.node;
    this.entries!.delete(name);
    if (!child.isDir) child.nlink--;
    else {
      this.nlink--;
      if (gone) child.nlink = 0;
    }
  }
}
