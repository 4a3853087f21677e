/**
 * Names of the in-memory brick: from a Loc to inodes, and the rules for making, removing and renaming entries
 * (spec wire.md 8, translators.md 2.4, 2.5; POSIX for the rest). Throws FopError; changes happen only after
 * every check has passed.
 */

import type { Dict } from "../../../src/core/dict.ts";
import { Dict as NewDict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import { type Gfid, isNullGfid, ROOT_GFID } from "../../../src/core/gfid.ts";
import type { Inode, Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { nameBytes } from "../../../src/core/name.ts";
import type { MemoryDisk } from "./disk.ts";
import type { MemNode } from "./node.ts";

const NAME_BYTES_MAX = 255;
/** Where a brick on a disk keeps its own files; nobody may have it. */
const HIDDEN_NAME = ".glusterfs";

/** A place for a name. */
export interface Slot {
  readonly dir: MemNode;
  readonly name: string;
  /** What the name leads to now; "." and ".." included. */
  readonly node: MemNode | undefined;
}

export class Namespace {
  readonly #disk: MemoryDisk;

  constructor(disk: MemoryDisk) {
    this.#disk = disk;
  }

  /** An inode by gfid; one without a name left is stale. */
  byGfid(inode: Inode): MemNode {
    const node = this.#disk.find(inode.gfid);
    if (!node || node.nlink === 0) throw new FopError("ESTALE");
    return node;
  }

  /** A place by parent and name, whether or not something is there. */
  slot(loc: Loc): Slot {
    const { parent, name } = loc;
    if (!parent || name === undefined || name === "") throw new FopError("EINVAL");
    const dir = this.#disk.find(parent.gfid);
    if (!dir || dir.nlink === 0) throw new FopError("ESTALE");
    if (!dir.isDir) throw new FopError("ENOTDIR");
    if (name.includes("/")) throw new FopError("EPERM");
    if (nameBytes(name) > NAME_BYTES_MAX) throw new FopError("ENAMETOOLONG");
    if (name === HIDDEN_NAME && dir.gfid.equals(ROOT_GFID)) throw new FopError("EPERM");
    if (name === ".") return { dir, name, node: dir };
    if (name === "..") return { dir, name, node: dir.parent };
    return { dir, name, node: dir.entries!.get(name)?.node };
  }

  /** What a loc leads to; ENOENT for a name without an entry. */
  at(loc: Loc): MemNode {
    if (loc.name === undefined) return this.byGfid(loc.inode);
    const { node } = this.slot(loc);
    if (!node) throw new FopError("ENOENT");
    return node;
  }

  /** The gfid that a create-type call brings. */
  newGfid(xdata: Dict | undefined): Gfid {
    const gfid = xdata?.gfid(KEY.GFID_REQ);
    if (!gfid || isNullGfid(gfid)) throw new FopError("EINVAL", { message: "no gfid-req in xdata" });
    return gfid;
  }

  /** Refuses a create-type call when the parent is not what the caller thinks, or the gfid is taken. */
  checkNew(slot: Slot, gfid: Gfid, xdata: Dict | undefined): void {
    const key = xdata?.text(KEY.PREOP_PARENT);
    if (key !== undefined) {
      const expected = xdata!.bytes(key) ?? Buffer.alloc(0);
      if (!slot.dir.xattrs.get(key)?.equals(expected))
        throw new FopError("EIO", { xdata: new NewDict().setInt(KEY.PREOP_FAILED, 1) });
    }
    if (this.#disk.find(gfid)) throw new FopError("EEXIST", { message: "the gfid is in use" });
  }

  /** Takes a file's name away. */
  unlink(slot: Slot): MemNode {
    const { dir, name, node } = slot;
    if (!node) throw new FopError("ENOENT");
    if (node.isDir) throw new FopError("EISDIR");
    dir.leave(name);
    this.#disk.reap(node);
    return node;
  }

  /** Takes a directory's name away; `recursive` with all that is below. */
  rmdir(slot: Slot, recursive: boolean): MemNode {
    const { dir, name, node } = slot;
    if (!node) throw new FopError("ENOENT");
    if (name === ".") throw new FopError("EINVAL");
    if (name === "..") throw new FopError("ENOTEMPTY");
    if (!node.isDir) throw new FopError("ENOTDIR");
    if (node.entries!.size > 0 && !recursive) throw new FopError("ENOTEMPTY");
    this.#empty(node);
    dir.leave(name);
    this.#disk.reap(node);
    return node;
  }

  #empty(dir: MemNode): void {
    for (const { name, node } of [...dir.entries!.values()]) {
      if (node.isDir) this.#empty(node);
      dir.leave(name);
      this.#disk.reap(node);
    }
  }

  /** Moves a name; says whether anything changed (two names of one inode stay as they are). */
  rename(from: Slot, to: Slot): boolean {
    const moved = from.node;
    if (!moved) throw new FopError("ENOENT");
    if (isDot(from.name) || isDot(to.name)) throw new FopError("EBUSY");
    if (moved === to.node) return false;
    if (moved.isDir && isBelow(to.dir, moved)) throw new FopError("EINVAL");
    if (to.node) {
      // What is above the moved entry is not empty, whatever else is wrong with it.
      if (to.node.isDir && isBelow(from.dir, to.node)) throw new FopError("ENOTEMPTY");
      if (moved.isDir && !to.node.isDir) throw new FopError("ENOTDIR");
      if (!moved.isDir && to.node.isDir) throw new FopError("EISDIR");
      if (to.node.isDir && to.node.entries!.size > 0) throw new FopError("ENOTEMPTY");
      to.dir.leave(to.name);
      this.#disk.reap(to.node);
    }
    // A file must not lose its last link in between, so its new name comes first.
    if (moved.isDir) from.dir.leave(from.name, false);
    to.dir.enter(to.name, moved);
    if (!moved.isDir) from.dir.leave(from.name);
    return true;
  }
}

function isDot(name: string): boolean {
  return name === "." || name === "..";
}

/** True when `dir` is `top` or somewhere below it. */
function isBelow(dir: MemNode, top: MemNode): boolean {
  for (let at = dir; ; at = at.parent!) {
    if (at === top) return true;
    if (at.parent === at || !at.parent) return false;
  }
}
