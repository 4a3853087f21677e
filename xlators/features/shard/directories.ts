/**
 * The two hidden directories, `/.shard` and `/.shard/.remove_me`: their gfids are the same on every volume
 * (spec translators.md 5.1). Made when first needed, root's, mode 0755.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { PrePost } from "../../../src/core/fops.ts";
import { type Gfid, gfidEquals, parseGfid } from "../../../src/core/gfid.ts";
import { type Iatt, S_IFMT } from "../../../src/core/iatt.ts";
import { Inode, type InodeTable, type Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";

export const SHARD_DIR = ".shard";
export const SHARD_DIR_GFID: Gfid = parseGfid("be318638-e8a0-4c6d-977d-7a937aa84806")!;
const REMOVE_ME_DIR = ".remove_me";
const REMOVE_ME_GFID: Gfid = parseGfid("77dd5a45-dbf5-4592-b31b-b440382302e9")!;
const MODE = 0o755;

/** Our own; blocks belong to root whoever writes them. */
export const ROOT_CALL = internalCall();

/** The same caller with root's rights, for what users have no access to; times and pid stay. */
export function asRoot(call: Call): Call {
  return call.uid === 0 && call.gid === 0 ? call : { ...call, uid: 0, gid: 0, groups: [] };
}

/** Neither this name nor this gfid: what a brick says of an object that is gone. */
export function isGone(error: unknown): boolean {
  return error instanceof FopError && (error.code === "ENOENT" || error.code === "ESTALE");
}

/**
 * A block that another client took away lives on where somebody has it open: an answer that shows it without
 * a name is as good as none. Without a mode nothing is shown.
 */
export function isNameless({ mode, nlink }: Iatt): boolean {
  return nlink === 0 && (mode & S_IFMT) !== 0;
}

/** The reply of a change, unless the block was gone. */
export function ofNamed(changed: PrePost): PrePost {
  if (isNameless(changed.post)) throw new FopError("ENOENT", { message: "the block has no name any more" });
  return changed;
}

export class Directories {
  readonly #name: string;
  readonly #below: XlatorBase;
  readonly #inodes: InodeTable;
  readonly #known = new Map<string, Inode>();
  readonly #arriving = new Map<string, Promise<Inode | undefined>>();

  constructor(below: XlatorBase, inodes: InodeTable, name: string) {
    this.#name = name;
    this.#below = below;
    this.#inodes = inodes;
  }

  /** `/.shard`, when it was seen before. */
  get known(): Inode | undefined {
    return this.#known.get(SHARD_DIR);
  }

  /** `/.shard`; undefined when there is none and `make` is false. */
  shards(make: false): Promise<Inode | undefined>;
  shards(make: true): Promise<Inode>;
  async shards(make: boolean): Promise<Inode | undefined> {
    return this.#known.get(SHARD_DIR) ?? this.#arrive(this.#inodes.root, SHARD_DIR, SHARD_DIR_GFID, make);
  }

  /** `/.shard/.remove_me`, likewise. */
  removed(make: false): Promise<Inode | undefined>;
  removed(make: true): Promise<Inode>;
  async removed(make: boolean): Promise<Inode | undefined> {
    const known = this.#known.get(REMOVE_ME_DIR);
    if (known) return known;
    const parent = make ? await this.shards(true) : await this.shards(false);
    return parent && this.#arrive(parent, REMOVE_ME_DIR, REMOVE_ME_GFID, make);
  }

  /** They were found to be gone; a volume was wiped, or restored. */
  forget(): void {
    this.#known.clear();
  }

  async #arrive(parent: Inode, name: string, gfid: Gfid, make: boolean): Promise<Inode | undefined> {
    const key = make ? `make ${name}` : name;
    let arriving = this.#arriving.get(key);
    if (arriving === undefined) {
      arriving = this.#find(parent, name, gfid, make).finally(() => this.#arriving.delete(key));
      this.#arriving.set(key, arriving);
    }
    return arriving;
  }

  async #find(parent: Inode, name: string, gfid: Gfid, make: boolean): Promise<Inode | undefined> {
    const found = await this.#lookup(parent, name, gfid);
    if (found !== undefined || !make) return found;
    const xdata = new Dict().setGfid(KEY.GFID_REQ, gfid).setInt(KEY.INTERNAL_FOP, 1);
    const loc: Loc = { inode: new Inode(), parent, name };
    try {
      const { stat } = await this.#below.mkdir(ROOT_CALL, { loc, mode: MODE, umask: 0, xdata });
      return this.#take(loc, name, gfid, stat.gfid, stat.mode);
    } catch (error) {
      if (!(error instanceof FopError) || error.code !== "EEXIST") throw error;
      return this.#lookup(parent, name, gfid);
    }
  }

  async #lookup(parent: Inode, name: string, gfid: Gfid): Promise<Inode | undefined> {
    const loc: Loc = { inode: new Inode(), parent, name };
    const xdata = new Dict().setGfid(KEY.GFID_REQ, gfid);
    try {
      const { stat } = await this.#below.lookup(ROOT_CALL, { loc, xdata });
      return this.#take(loc, name, gfid, stat.gfid, stat.mode);
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  #take(loc: Loc, name: string, wanted: Gfid, gfid: Gfid, mode: number): Inode {
    if (!gfidEquals(gfid, wanted))
      throw new FopError("EIO", {
        xlator: this.#name,
        message: `${name} of this volume is not GlusterFS' directory of blocks`,
      });
    const inode = this.#inodes.link(loc.inode, gfid, mode);
    this.#inodes.hold(inode);
    this.#known.set(name, inode);
    return inode;
  }
}
