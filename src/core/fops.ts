/**
 * The fop table: every file operation once, with what it takes and what it answers.
 *
 * Names are GlusterFS' internal ones (spec translators.md 1.3); order follows the wire's procedure numbers
 * (wire.md 2.5). Offsets and sizes are bytes and at most 2^53-1. Directory offsets are bigint, because all 64
 * bits carry meaning. A fop rejects with FopError; everything else it rejects with is a bug.
 */

import type { Call } from "./call.ts";
import type { Dict } from "./dict.ts";
import type { Gfid } from "./gfid.ts";
import type { Iatt } from "./iatt.ts";
import type { Fd, Inode, Loc } from "./inode.ts";
import type { IoVec, Lease, Lender } from "./iovec.ts";

/** Attributes before and after a modifying fop. */
export interface PrePost {
  readonly pre: Iatt;
  readonly post: Iatt;
}

/** The parent directory before and after an entry fop. */
export interface ParentPrePost {
  readonly preParent: Iatt;
  readonly postParent: Iatt;
}

/** A new entry: its attributes and its parent's. */
export interface NewEntry extends ParentPrePost {
  readonly stat: Iatt;
}

export interface Statfs {
  readonly bsize: number;
  readonly frsize: number;
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly files: number;
  readonly ffree: number;
  readonly favail: number;
  readonly fsid: number;
  readonly flag: number;
  readonly namemax: number;
}

export interface Dirent {
  readonly name: string;
  readonly ino: bigint;
  /** Offset to resume after this entry; never 0 and never all ones. */
  readonly offset: bigint;
  /** DT_*, 0 when unknown. */
  readonly type: number;
}

export interface DirentPlus extends Dirent {
  /** ZERO_IATT when the brick could not tell. */
  readonly stat: Iatt;
  readonly xattrs?: Dict;
}

export type LockType = "rdlck" | "wrlck" | "unlck";

/** A byte-range lock; `len` 0 reaches to the end of the file. The owner is in the Call. */
export interface Flock {
  readonly type: LockType;
  /** 0 SEEK_SET (what the edges send), 1, 2. */
  readonly whence: number;
  readonly start: bigint;
  readonly len: bigint;
  readonly pid: number;
  readonly lkOwner: Buffer;
}

export type LkCommand = "getlk" | "setlk" | "setlkw";
export type EntrylkCommand = "lock" | "unlock" | "lock-nb";

/** xattrop's operations (wire.md 7.4), by their wire number. */
export const XATTROP = {
  ADD_ARRAY: 0,
  ADD_ARRAY64: 1,
  OR_ARRAY: 2,
  AND_ARRAY: 3,
  GET_AND_SET: 4,
  ADD_ARRAY_WITH_DEFAULT: 5,
  ADD_ARRAY64_WITH_DEFAULT: 6,
} as const;

export interface LeaseRequest {
  /** 1 get, 2 set, 3 unlock. */
  readonly cmd: number;
  /** 0 none, 1 read, 2 read-write. */
  readonly type: number;
  readonly id: Buffer;
  readonly flags: number;
}

export interface ActiveLock {
  readonly flock: Flock;
  readonly clientUid: string;
  readonly flags: number;
}

/** xdata rides on every request and every reply. */
interface X {
  readonly xdata?: Dict | undefined;
}

type Fop<A, R> = { args: A & X; reply: R & X };
type None = Record<never, never>;
type InodelkArgs = { volume: string; cmd: LkCommand; flock: Flock };
type EntrylkArgs = { volume: string; name: string | undefined; cmd: EntrylkCommand; type: "rdlck" | "wrlck" };

export interface FopTypes {
  stat: Fop<{ loc: Loc }, { stat: Iatt }>;
  readlink: Fop<{ loc: Loc; size: number }, { target: string; stat: Iatt }>;
  /** `rdev` is major * 2^32 + minor. */
  mknod: Fop<{ loc: Loc; mode: number; rdev: number; umask: number }, NewEntry>;
  mkdir: Fop<{ loc: Loc; mode: number; umask: number }, NewEntry>;
  unlink: Fop<{ loc: Loc; flags: number }, ParentPrePost>;
  /** `flags` not 0: with all that is in it (GlusterFS' recursive rmdir). */
  rmdir: Fop<{ loc: Loc; flags: number }, ParentPrePost>;
  symlink: Fop<{ loc: Loc; target: string; umask: number }, NewEntry>;
  rename: Fop<
    { from: Loc; to: Loc },
    { stat: Iatt; preOldParent: Iatt; postOldParent: Iatt; preNewParent: Iatt; postNewParent: Iatt }
  >;
  /** `from.inode` gets the new name `to`. */
  link: Fop<{ from: Loc; to: Loc }, NewEntry>;
  truncate: Fop<{ loc: Loc; offset: number }, PrePost>;
  /** The fd object is the caller's; a successful open makes it usable. */
  open: Fop<{ loc: Loc; fd: Fd; flags: number }, None>;
  /**
   * Up to `size` bytes; fewer only at the end of the file, then `eof` is true. `data` is `size` of the reply
   * long. `align` asks nothing of the caller; O_DIRECT rules are the brick's.
   */
  readv: Fop<
    { fd: Fd; offset: number; size: number; flags: number },
    { data: IoVec; size: number; stat: Iatt; eof: boolean; lease?: Lease | undefined }
  >;
  /**
   * `flags`: the open file's Linux flags; O_SYNC and O_DSYNC ask for a sync before the reply. `cached`: the
   * bytes come from the kernel's page cache, where a program wrote them and was told so; who wants to be sure
   * of them syncs. Their memory can be had for longer than the call.
   */
  writev: Fop<
    { fd: Fd; data: IoVec; offset: number; flags: number; cached?: Lender | undefined },
    PrePost & { size: number }
  >;
  statfs: Fop<{ loc: Loc }, { statfs: Statfs }>;
  flush: Fop<{ fd: Fd }, None>;
  fsync: Fop<{ fd: Fd; datasync: boolean }, PrePost>;
  /** `flags`: 0, 1 XATTR_CREATE, 2 XATTR_REPLACE. */
  setxattr: Fop<{ loc: Loc; xattrs: Dict; flags: number }, None>;
  /** `name` undefined: all of them. A missing name is ENODATA. */
  getxattr: Fop<{ loc: Loc; name: string | undefined }, { xattrs: Dict }>;
  removexattr: Fop<{ loc: Loc; name: string }, None>;
  opendir: Fop<{ loc: Loc; fd: Fd }, None>;
  fsyncdir: Fop<{ fd: Fd; datasync: boolean }, None>;
  access: Fop<{ loc: Loc; mask: number }, None>;
  /** `loc.inode` is fresh; xdata must bring `gfid-req`. */
  create: Fop<{ loc: Loc; fd: Fd; flags: number; mode: number; umask: number }, NewEntry>;
  ftruncate: Fop<{ fd: Fd; offset: number }, PrePost>;
  fstat: Fop<{ fd: Fd }, { stat: Iatt }>;
  lk: Fop<{ fd: Fd; cmd: LkCommand; flock: Flock }, { flock: Flock }>;
  lookup: Fop<{ loc: Loc }, { stat: Iatt; postParent: Iatt }>;
  /** `size`: bytes the caller has room for. `eof`: nothing follows the last entry. */
  readdir: Fop<{ fd: Fd; size: number; offset: bigint }, { entries: readonly Dirent[]; eof: boolean }>;
  inodelk: Fop<{ loc: Loc } & InodelkArgs, None>;
  finodelk: Fop<{ fd: Fd } & InodelkArgs, None>;
  entrylk: Fop<{ loc: Loc } & EntrylkArgs, None>;
  fentrylk: Fop<{ fd: Fd } & EntrylkArgs, None>;
  xattrop: Fop<{ loc: Loc; op: number; xattrs: Dict }, { xattrs: Dict }>;
  fxattrop: Fop<{ fd: Fd; op: number; xattrs: Dict }, { xattrs: Dict }>;
  fgetxattr: Fop<{ fd: Fd; name: string | undefined }, { xattrs: Dict }>;
  fsetxattr: Fop<{ fd: Fd; xattrs: Dict; flags: number }, None>;
  rchecksum: Fop<{ fd: Fd; offset: number; size: number }, { weak: number; strong: Buffer; flags: number }>;
  /** `valid`: SETATTR bits. `stat` holds the new values, the rest of it is ignored. */
  setattr: Fop<{ loc: Loc; stat: Iatt; valid: number }, PrePost>;
  fsetattr: Fop<{ fd: Fd; stat: Iatt; valid: number }, PrePost>;
  /** xdata keys are what is wanted of every entry. */
  readdirp: Fop<{ fd: Fd; size: number; offset: bigint }, { entries: readonly DirentPlus[]; eof: boolean }>;
  fremovexattr: Fop<{ fd: Fd; name: string }, None>;
  fallocate: Fop<{ fd: Fd; keepSize: boolean; offset: number; size: number }, PrePost>;
  discard: Fop<{ fd: Fd; offset: number; size: number }, PrePost>;
  zerofill: Fop<{ fd: Fd; offset: number; size: number }, PrePost>;
  ipc: Fop<{ op: number }, None>;
  /** ENXIO at and after the end. */
  seek: Fop<{ fd: Fd; offset: number; what: "data" | "hole" }, { offset: number }>;
  lease: Fop<{ loc: Loc; lease: LeaseRequest }, { lease: LeaseRequest }>;
  getactivelk: Fop<{ loc: Loc }, { locks: readonly ActiveLock[] }>;
  setactivelk: Fop<{ loc: Loc; locks: readonly ActiveLock[] }, None>;
  icreate: Fop<{ loc: Loc; mode: number }, { stat: Iatt }>;
  namelink: Fop<{ loc: Loc }, ParentPrePost>;
  put: Fop<
    { loc: Loc; mode: number; umask: number; flags: number; data: IoVec; offset: number; xattrs: Dict },
    NewEntry
  >;
  copy_file_range: Fop<
    { fdIn: Fd; offsetIn: number; fdOut: Fd; offsetOut: number; size: number; flags: number },
    { size: number; stat: Iatt } & PrePost
  >;
}

export type FopName = keyof FopTypes;
/** Arguments that name files or inodes, of whatever fop. */
export interface Naming {
  readonly fd?: Fd;
  readonly fdIn?: Fd;
  readonly fdOut?: Fd;
  readonly loc?: Loc;
  readonly from?: Loc;
  readonly to?: Loc;
}

export type Args<F extends FopName> = Readonly<FopTypes[F]["args"]>;
export type Reply<F extends FopName> = Readonly<FopTypes[F]["reply"]>;
export type FopFunction<F extends FopName> = (call: Call, args: Args<F>) => Promise<Reply<F>>;
export type Fops = { [F in FopName]: FopFunction<F> };

const NAMES: Record<FopName, true> = {
  stat: true,
  readlink: true,
  mknod: true,
  mkdir: true,
  unlink: true,
  rmdir: true,
  symlink: true,
  rename: true,
  link: true,
  truncate: true,
  open: true,
  readv: true,
  writev: true,
  statfs: true,
  flush: true,
  fsync: true,
  setxattr: true,
  getxattr: true,
  removexattr: true,
  opendir: true,
  fsyncdir: true,
  access: true,
  create: true,
  ftruncate: true,
  fstat: true,
  lk: true,
  lookup: true,
  readdir: true,
  inodelk: true,
  finodelk: true,
  entrylk: true,
  fentrylk: true,
  xattrop: true,
  fxattrop: true,
  fgetxattr: true,
  fsetxattr: true,
  rchecksum: true,
  setattr: true,
  fsetattr: true,
  readdirp: true,
  fremovexattr: true,
  fallocate: true,
  discard: true,
  zerofill: true,
  ipc: true,
  seek: true,
  lease: true,
  getactivelk: true,
  setactivelk: true,
  icreate: true,
  namelink: true,
  put: true,
  copy_file_range: true,
};

/** Every fop name, in protocol order. */
export const FOP_NAMES = Object.keys(NAMES) as readonly FopName[];

/** What travels up with an `upcall` event. */
export type Upcall =
  | {
      readonly kind: "cache-invalidation";
      readonly gfid: Gfid;
      readonly flags: number;
      readonly expireSec: number;
      /** Directories whose entries changed with it. */
      readonly parents?: readonly Gfid[];
    }
  | {
      readonly kind: "inodelk-contention";
      readonly gfid: Gfid;
      readonly domain: string;
      readonly flock: Flock;
    }
  | {
      readonly kind: "entrylk-contention";
      readonly gfid: Gfid;
      readonly domain: string;
      readonly name: string;
    }
  | { readonly kind: "recall-lease"; readonly gfid: Gfid };

/** Hooks that are no fops: an object left the edge's table. They must not reject. */
export interface Hooks {
  /** The last reference to an open file went: locks of this fd are dropped before the promise settles. */
  release(fd: Fd): Promise<void>;
  releasedir(fd: Fd): Promise<void>;
  /** The edge forgot the inode. */
  forget(inode: Inode): void;
  /** A layer above saw that another client changed the inode: caches let go of it. */
  invalidate(gfid: Gfid): void;
  /** A client's connection ended: its locks go, its fds were released by the server before. */
  clientDisconnect(client: NonNullable<Call["client"]>): void;
}
