/**
 * What is known of one file that is cut into blocks, and the table of such files. All inode objects of one
 * gfid share one ShardFile.
 *
 * Attributes that are published are those of the base file with the size and the block count of the whole. A
 * write beyond block 0 moves times of that block's file only, so the latest of those are kept here and shown
 * where they are later than the base file's.
 */

import { LRUCache } from "lru-cache";
import type { Env } from "../../../src/core/env.ts";
import { type Gfid, gfidKey } from "../../../src/core/gfid.ts";
import { type Iatt, isRegular, S_IFMT, ZERO_IATT } from "../../../src/core/iatt.ts";
import { Inode } from "../../../src/core/inode.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import type { Extent } from "./attributes.ts";
import { FileSize, type Renewals } from "./file-size.ts";
import { Gate } from "./gate.ts";
import type { Target } from "./ownership.ts";
import type { Shard } from "./shards.ts";

/** Files without an open fd that are remembered. */
const IDLE_MAX = 4096;
/** Seconds of a time that is before all others. */
const NEVER = Number.NEGATIVE_INFINITY;

/** A file without the xattr: it was made while sharding was off, and is passed through. */
export const PLAIN = "plain";
export type Known = ShardFile | typeof PLAIN;

export interface FileInit {
  readonly below: XlatorBase;
  readonly env: Env;
  /** Instance name of features/shard. */
  readonly name: string;
  readonly renewals: Renewals;
}

export class ShardFile {
  readonly gfid: Gfid;
  readonly blockSize: number;
  readonly size: FileSize;
  readonly gate = new Gate();
  /** Blocks whose gfid is known. */
  readonly shards = new Map<number, Shard>();
  /** Blocks that are being looked for or made. */
  readonly arriving = new Map<number, Promise<Shard | undefined>>();
  /** Blocks that were written since they were last synced. */
  readonly dirty = new Set<Shard>();
  /** Syncs that run. */
  readonly syncs = new Set<Promise<void>>();
  /** Any inode object of this gfid that the layers below know. */
  inode: Inode;
  /** Made by this client, and no block was found that it did not make. */
  isNew: boolean;
  /** Fds of this client. */
  opens = 0;
  /** What a failed write left is being removed. */
  isTrimmed = false;
  /** Counted up when a change made the file of a block longer, or found it cut or gone. */
  growths = 0;
  /** It has no name any more, as this client knows, and a marker if it is to have one. */
  isUnlinked = false;
  /** This client made blocks of it, and has not looked since whether it has a name. */
  hasNewBlocks = false;
  /** As last seen; size and blocks in it are the base file's own. */
  #base: Iatt;
  /** Latest times of blocks, where they are later than the base file's. */
  #mtime = NEVER;
  #mtimeNsec = 0;
  #ctime = NEVER;
  #ctimeNsec = 0;
  #published: Iatt | undefined;

  constructor(
    init: FileInit,
    inode: Inode,
    { stat, blockSize, extent, isNew }: { stat: Iatt; blockSize: number; extent: Extent; isNew: boolean },
  ) {
    this.gfid = stat.gfid;
    this.inode = inode;
    this.blockSize = blockSize;
    this.isNew = isNew;
    this.#base = stat;
    this.size = new FileSize({ ...init, target: () => this.target() }, extent);
  }

  /** For what is done without an fd of the caller's. */
  target(): Target {
    return this.inode;
  }

  /** Permission bits that its blocks get. */
  get mode(): number {
    return this.#base.mode & 0o7777;
  }

  /** What the base file looks like now. */
  saw(stat: Iatt): void {
    if ((stat.mode & S_IFMT) === 0) return;
    this.#base = stat;
    this.#published = undefined;
  }

  /** One block was changed; its attributes afterwards. */
  touched({ mtime, mtimeNsec, ctime, ctimeNsec }: Iatt): void {
    if (isLater(mtime, mtimeNsec, this.#mtime, this.#mtimeNsec)) {
      this.#mtime = mtime;
      this.#mtimeNsec = mtimeNsec;
    }
    if (isLater(ctime, ctimeNsec, this.#ctime, this.#ctimeNsec)) {
      this.#ctime = ctime;
      this.#ctimeNsec = ctimeNsec;
    }
    this.#published = undefined;
  }

  /**
   * The latest time of a block, when the base file on the disk has an earlier one: other clients see only
   * that.
   */
  get owedMtime(): { readonly mtime: number; readonly mtimeNsec: number } | undefined {
    const { mtime, mtimeNsec } = this.#base;
    if (!isLater(this.#mtime, this.#mtimeNsec, mtime, mtimeNsec)) return undefined;
    return { mtime: this.#mtime, mtimeNsec: this.#mtimeNsec };
  }

  /** Somebody set the times: what the blocks say does not count any more. */
  timesWereSet(): void {
    this.#mtime = this.#ctime = NEVER;
    this.#published = undefined;
  }

  /** What a reply may publish that did not ask for the size: nothing, when what is known of it may be old. */
  get lately(): Iatt {
    return this.size.isFresh ? this.attributes() : ZERO_IATT;
  }

  /** Attributes of the whole file, as they are known. */
  attributes(): Iatt {
    const last = this.#published;
    const { size, blocks } = this.size;
    if (last !== undefined && last.size === size && last.blocks === blocks) return last;
    const base = this.#base;
    const mtimeIsLater = isLater(this.#mtime, this.#mtimeNsec, base.mtime, base.mtimeNsec);
    const ctimeIsLater = isLater(this.#ctime, this.#ctimeNsec, base.ctime, base.ctimeNsec);
    const published: Iatt = {
      gfid: base.gfid,
      mode: base.mode,
      nlink: base.nlink,
      uid: base.uid,
      gid: base.gid,
      size,
      blocks,
      blksize: base.blksize,
      dev: base.dev,
      rdev: base.rdev,
      atime: base.atime,
      atimeNsec: base.atimeNsec,
      mtime: mtimeIsLater ? this.#mtime : base.mtime,
      mtimeNsec: mtimeIsLater ? this.#mtimeNsec : base.mtimeNsec,
      ctime: ctimeIsLater ? this.#ctime : base.ctime,
      ctimeNsec: ctimeIsLater ? this.#ctimeNsec : base.ctimeNsec,
      btime: base.btime,
      btimeNsec: base.btimeNsec,
    };
    this.#published = published;
    return published;
  }
}

function isLater(sec: number, nsec: number, thanSec: number, thanNsec: number): boolean {
  return sec > thanSec || (sec === thanSec && nsec > thanNsec);
}

export class Files {
  readonly #init: FileInit;
  readonly #byInode = new WeakMap<Inode, Known>();
  readonly #open = new Map<string, ShardFile>();
  readonly #idle = new LRUCache<string, ShardFile>({ max: IDLE_MAX });

  constructor(init: FileInit) {
    this.#init = init;
  }

  /** Undefined when nothing is known; directories and the like are plain. */
  of(inode: Inode): Known | undefined {
    return this.#byInode.get(inode) ?? this.#find(inode);
  }

  find(gfid: Gfid): ShardFile | undefined {
    const key = gfidKey(gfid);
    return this.#open.get(key) ?? this.#idle.get(key);
  }

  /** What a lookup found, or a fop that made a file. */
  learn(
    inode: Inode,
    found: { stat: Iatt; blockSize: number | undefined; extent: Extent; isNew?: boolean },
  ): Known {
    const { stat, blockSize, extent, isNew = false } = found;
    if (blockSize === undefined || !isRegular(stat)) {
      this.#byInode.set(inode, PLAIN);
      return PLAIN;
    }
    let file = this.find(stat.gfid);
    if (file === undefined) {
      const own = inode.linked ? inode : linked(stat);
      file = new ShardFile(this.#init, own, { stat, blockSize, extent, isNew });
      this.#idle.set(gfidKey(stat.gfid), file);
    }
    this.#byInode.set(inode, file);
    return file;
  }

  opened(file: ShardFile): void {
    if (file.opens++ > 0) return;
    const key = gfidKey(file.gfid);
    this.#idle.delete(key);
    this.#open.set(key, file);
  }

  closed(file: ShardFile): void {
    if (--file.opens > 0) return;
    const key = gfidKey(file.gfid);
    this.#open.delete(key);
    this.#idle.set(key, file);
  }

  /** The sizes of some files may have been owned over a connection that is gone. */
  doubtOwnerships(): void {
    for (const files of [this.#open.values(), this.#idle.values()])
      for (const { size } of files) size.ownership.doubt();
  }

  /** Files with something on the way to the disk, for the end of the graph. */
  all(): ShardFile[] {
    return [...this.#open.values(), ...this.#idle.values()];
  }

  #find(inode: Inode): Known | undefined {
    if (!inode.linked) return undefined;
    const file = this.find(inode.gfid);
    if (file === undefined) return undefined;
    file.inode = inode;
    this.#byInode.set(inode, file);
    return file;
  }
}

/** An inode object of our own, while the caller's has no gfid yet. */
function linked(stat: Iatt): Inode {
  return new Inode(stat.gfid, stat.mode & S_IFMT);
}
