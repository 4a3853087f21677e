/**
 * Blocks 1 and up of all files: finding them by name under `/.shard`, making them, and remembering the gfids
 * of those that were used last (spec translators.md 5.1, 5.3, 5.4).
 *
 * Promises: at most `shard-lru-limit` are remembered; a call that needs more than that at once holds its own.
 * A block with unsynced data that is crowded out is synced in the background and counts as dirty until then.
 * That a block does not exist is never remembered: another client may make it at any time.
 */

import { LRUCache } from "lru-cache";
import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import { type Gfid, newGfid } from "../../../src/core/gfid.ts";
import { S_IFREG } from "../../../src/core/iatt.ts";
import { Fd, Inode, InodeTable, type Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import type { Logger } from "../../../src/core/log.ts";
import { O_DIRECT, O_LARGEFILE, O_RDWR } from "../../../src/core/open-flags.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import { asRoot, Directories, isGone, ROOT_CALL } from "./directories.ts";
import type { ShardFile } from "./file.ts";
import { PROBED_BEYOND, shardName } from "./geometry.ts";

/** Of a lookup: a block that few copies have is not gone, as a heal may spread it. */
const GONE_EVERYWHERE = new Dict().setUint(KEY.GONE_EVERYWHERE, 1);
/** Asks an unlink for the room of what it removed. */
const COUNTING = new Dict().setUint(KEY.BLOCK_COUNT, 1);

/** One block that exists. */
export class Shard {
  readonly file: ShardFile;
  readonly block: number;
  readonly inode: Inode;
  /** Made when they are asked for: most images are used in one way, and have many blocks. */
  #fd: Fd | undefined;
  #directFd: Fd | undefined;

  constructor(file: ShardFile, block: number, inode: Inode) {
    this.file = file;
    this.block = block;
    this.inode = inode;
  }

  get fd(): Fd {
    this.#fd ??= Fd.anonymous(this.inode, O_RDWR | O_LARGEFILE);
    return this.#fd;
  }

  /** What it is reached by, for a caller whose fd has these flags. */
  fdFor(flags: number): Fd {
    if ((flags & O_DIRECT) === 0) return this.fd;
    this.#directFd ??= Fd.anonymous(this.inode, O_RDWR | O_LARGEFILE | O_DIRECT);
    return this.#directFd;
  }

  /** By which it was last reached, so that a brick need not open it in another way for a sync. */
  get syncFd(): Fd {
    return this.#directFd ?? this.fd;
  }
}

export interface ShardsInit {
  readonly below: XlatorBase;
  readonly log: Logger;
  /** Instance name of features/shard. */
  readonly name: string;
}

export class Shards {
  readonly directories: Directories;
  readonly #name: string;
  readonly #below: XlatorBase;
  readonly #log: Logger;
  readonly #inodes: InodeTable;
  #recent: LRUCache<Shard, Shard>;

  constructor({ below, log, name }: ShardsInit, limit: number) {
    this.#name = name;
    this.#below = below;
    this.#log = log;
    this.#inodes = new InodeTable({ idleMax: 1, onForget: (inode) => below.forget(inode) });
    this.directories = new Directories(below, this.#inodes, name);
    this.#recent = this.#remembering(limit);
  }

  /** Blocks that are remembered. */
  get count(): number {
    return this.#recent.size;
  }

  /** Another limit, from now on. The most recent stay. */
  limit(max: number): void {
    if (max === this.#recent.max) return;
    const before = this.#recent;
    this.#recent = this.#remembering(max);
    for (const shard of [...before.keys()].reverse()) this.#recent.set(shard, shard);
  }

  /** A block that is remembered; nothing is asked. */
  known(file: ShardFile, block: number): Shard | undefined {
    const shard = file.shards.get(block);
    if (shard !== undefined) this.#recent.get(shard);
    return shard;
  }

  /** A block, looked up if need be; undefined when it does not exist. */
  find(file: ShardFile, block: number, call: Call): Promise<Shard | undefined> | Shard {
    return this.known(file, block) ?? this.#arrive(file, block, () => this.#lookup(file, block, call));
  }

  /** A block, made if need be. */
  async obtain(file: ShardFile, block: number, call: Call): Promise<Shard> {
    for (;;) {
      const known = this.known(file, block);
      if (known !== undefined) return known;
      // Whoever was on the way may only have looked for it.
      const arriving = file.arriving.get(block);
      const shard = await (arriving ?? this.#arrive(file, block, () => this.#make(file, block, call)));
      if (shard !== undefined) return shard;
    }
  }

  /**
   * Runs `work` on a block; undefined when it does not exist. One that another client took away is looked for
   * once more, as it may have been made anew.
   */
  async reach<R>(
    file: ShardFile,
    block: number,
    call: Call,
    work: (shard: Shard) => Promise<R>,
  ): Promise<R | undefined> {
    for (let tries = 0; tries < 2; tries++) {
      const shard = await this.find(file, block, call);
      if (shard === undefined) return undefined;
      try {
        return await work(shard);
      } catch (error) {
        if (!isGone(error)) throw error;
        this.forget(shard);
      }
    }
    return undefined;
  }

  /** It is gone, or about to be. */
  forget(shard: Shard): void {
    shard.file.dirty.delete(shard);
    if (shard.file.shards.get(shard.block) === shard) this.#recent.delete(shard);
  }

  /** All of a file that is gone. */
  forgetAll(file: ShardFile): void {
    for (const shard of [...file.shards.values()]) this.forget(shard);
  }

  /**
   * Removes a block by name; undefined when there is none, else the 512-byte blocks that it had. For good:
   * fails when a heal might bring it back, as nobody will look again.
   */
  async remove(base: Gfid, block: number, call: Call, forGood = false): Promise<number | undefined> {
    const parent = await this.directories.shards(false);
    if (parent === undefined) return undefined;
    const loc: Loc = { inode: new Inode(), parent, name: shardName(base, block) };
    try {
      const asked = { loc, ...(forGood ? { xdata: GONE_EVERYWHERE } : {}) };
      const { stat } = await this.#below.lookup(asRoot(call), asked);
      const inode = this.#inodes.link(loc.inode, stat.gfid, stat.mode);
      const args = { loc: { ...loc, inode }, flags: 0, xdata: COUNTING };
      const { xdata } = await this.#below.unlink(asRoot(call), args);
      this.#inodes.drop(inode);
      // Others may have written since the lookup.
      return xdata?.number(KEY.BLOCK_COUNT) ?? stat.blocks;
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  /**
   * Whether a file that ends in block 0 has blocks all the same: of a client that died before it said so, or
   * that few copies made.
   */
  async hasStray(base: Gfid): Promise<boolean> {
    const parent = await this.directories.shards(false);
    if (parent === undefined) return false;
    const strays = Array.from({ length: PROBED_BEYOND }, (_, index) => {
      const loc: Loc = { inode: new Inode(), parent, name: shardName(base, index + 1) };
      return this.#below.lookup(ROOT_CALL, { loc, xdata: GONE_EVERYWHERE }).then(always, unlessGone);
    });
    return (await Promise.all(strays)).includes(true);
  }

  #remembering(max: number): LRUCache<Shard, Shard> {
    return new LRUCache({ max, dispose: (shard, _key, why) => why !== "set" && this.#left(shard) });
  }

  /** It is not remembered any more. */
  #left(shard: Shard): void {
    const { file, block, inode } = shard;
    if (file.shards.get(block) === shard) file.shards.delete(block);
    this.#inodes.letGo(inode);
    if (file.dirty.has(shard)) this.#syncEvicted(shard);
  }

  #syncEvicted(shard: Shard): void {
    const { file } = shard;
    const sync = this.#below.fsync(ROOT_CALL, { fd: shard.syncFd, datasync: true }).then(
      () => void file.dirty.delete(shard),
      (error) => {
        if (isGone(error)) file.dirty.delete(shard);
        else this.#log.warn("a block could not be synced; the next fsync tries again", { error });
      },
    );
    file.syncs.add(sync);
    void sync.finally(() => file.syncs.delete(sync));
  }

  #arrive(file: ShardFile, block: number, how: () => Promise<Shard | undefined>): Promise<Shard | undefined> {
    const before = file.arriving.get(block);
    if (before !== undefined) return before;
    const arriving = how().finally(() => file.arriving.delete(block));
    file.arriving.set(block, arriving);
    return arriving;
  }

  async #lookup(file: ShardFile, block: number, call: Call): Promise<Shard | undefined> {
    const parent = this.directories.known ?? (await this.directories.shards(false));
    if (parent === undefined) return undefined;
    const loc: Loc = { inode: new Inode(), parent, name: shardName(file.gfid, block) };
    try {
      const { stat } = await this.#below.lookup(asRoot(call), { loc });
      return this.#entered(file, block, loc.inode, stat);
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  /** A file that this client made has no blocks but those it makes; others are looked for first. */
  async #make(file: ShardFile, block: number, call: Call): Promise<Shard> {
    if (!file.isNew) {
      const found = await this.#lookup(file, block, call);
      if (found !== undefined) return found;
    }
    const made = await this.#mknod(file, block, call);
    if (made !== undefined) return made;
    file.isNew = false;
    const found = await this.#lookup(file, block, call);
    if (found !== undefined) return found;
    throw new FopError("EIO", {
      xlator: this.#name,
      message: `${shardName(file.gfid, block)} can neither be made nor found`,
    });
  }

  /** Undefined when it exists. */
  async #mknod(file: ShardFile, block: number, call: Call, isAgain = false): Promise<Shard | undefined> {
    const parent = this.directories.known ?? (await this.directories.shards(true));
    const loc: Loc = { inode: new Inode(), parent, name: shardName(file.gfid, block) };
    const xdata = new Dict().setGfid(KEY.GFID_REQ, newGfid());
    const args = { loc, mode: S_IFREG | file.mode, rdev: 0, umask: 0, xdata };
    try {
      const { stat } = await this.#below.mknod(asRoot(call), args);
      file.hasNewBlocks = true;
      return this.#entered(file, block, loc.inode, stat);
    } catch (error) {
      if (error instanceof FopError && error.code === "EEXIST") return undefined;
      if (!isGone(error) || isAgain) throw error;
      this.directories.forget();
      return this.#mknod(file, block, call, true);
    }
  }

  #entered(file: ShardFile, block: number, fresh: Inode, stat: { gfid: Gfid; mode: number }): Shard {
    const inode = this.#inodes.link(fresh, stat.gfid, stat.mode);
    const known = file.shards.get(block);
    if (known?.inode === inode) return known;
    if (known !== undefined) this.forget(known);
    this.#inodes.hold(inode);
    const shard = new Shard(file, block, inode);
    file.shards.set(block, shard);
    this.#recent.set(shard, shard);
    return shard;
  }
}

function always(): true {
  return true;
}

/** What cannot be told counts as there. */
function unlessGone(error: unknown): boolean {
  return !isGone(error);
}
