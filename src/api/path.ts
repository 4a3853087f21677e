/**
 * Paths on a volume to inodes: one lookup a component, symbolic links followed as the kernel does.
 *
 * Nothing is cached but that the root is there: another client may rename at any time. Errors are those of
 * path_resolution(7): ENOENT, ENOTDIR, ELOOP after forty links, ENAMETOOLONG for a component over 255 bytes
 * or a path over 4095.
 */

import type { Call } from "../core/call.ts";
import { FopError } from "../core/errors.ts";
import { type Iatt, isDir, S_IFLNK, S_IFMT } from "../core/iatt.ts";
import { Inode, type InodeTable } from "../core/inode.ts";
import { nameBytes } from "../core/name.ts";
import type { XlatorBase } from "../core/xlator.ts";

const LINKS_MAX = 40;
const NAME_BYTES_MAX = 255;
const PATH_BYTES_MAX = 4095;

/** What a path led to. */
export interface Resolved {
  readonly inode: Inode;
  readonly stat: Iatt;
}

/** Where an entry is or would be. */
export interface Entry {
  readonly parent: Inode;
  readonly name: string;
}

export class PathResolver {
  readonly #top: XlatorBase;
  readonly #inodes: InodeTable;
  readonly #rootInode: Inode;
  /** The root as it was looked up first; that it is a directory is all that stays true. */
  #root: Resolved | undefined;

  /** `root`: where paths begin; nothing above it can be named. It must be held in `inodes`. */
  constructor(top: XlatorBase, inodes: InodeTable, root: Inode = inodes.root) {
    this.#top = top;
    this.#inodes = inodes;
    this.#rootInode = root;
  }

  /** The object at `path`; with `follow` false a symlink at the end is the object. */
  async resolve(call: Call, path: string, follow = true): Promise<Resolved> {
    return this.#walk(call, split(path), follow);
  }

  /**
   * The directory and the name that `path` ends in; the entry itself need not exist. EBUSY for the root,
   * EINVAL for `.` and `..`.
   */
  async parent(call: Call, path: string): Promise<Entry> {
    const parts = split(path);
    const name = parts.pop();
    if (name === undefined) throw new FopError("EBUSY", { message: `"${path}" is the root of the volume` });
    if (name === "." || name === "..")
      throw new FopError("EINVAL", { message: `"${path}" does not end in a name` });
    const { inode, stat } =
      parts.length > 0 ? await this.#walk(call, parts, true) : await this.#knownRoot(call);
    if (!isDir(stat)) throw new FopError("ENOTDIR", { message: `"${path}": not below a directory` });
    return { parent: inode, name };
  }

  /** One step: the entry `name` of a directory. */
  async lookup(call: Call, parent: Inode, name: string): Promise<Resolved> {
    const reply = await this.#top.lookup(call, { loc: { inode: new Inode(), parent, name } });
    return { inode: this.#inodes.link(new Inode(), reply.stat.gfid, reply.stat.mode), stat: reply.stat };
  }

  /** As `lookup`; undefined when there is no such entry. */
  async find(call: Call, { parent, name }: Entry): Promise<Resolved | undefined> {
    try {
      return await this.lookup(call, parent, name);
    } catch (error) {
      if (error instanceof FopError && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  async #walk(call: Call, parts: string[], follow: boolean): Promise<Resolved> {
    if (parts.length === 0) return this.#lookupRoot(call);
    const trail: Resolved[] = [await this.#knownRoot(call)];
    let links = 0;
    for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
      const here = trail.at(-1)!;
      if (!isDir(here.stat)) throw new FopError("ENOTDIR");
      if (part === ".") continue;
      if (part === "..") {
        if (trail.length > 1) trail.pop();
        continue;
      }
      const next = await this.lookup(call, here.inode, part);
      if ((next.stat.mode & S_IFMT) !== S_IFLNK || (parts.length === 0 && !follow)) {
        trail.push(next);
        continue;
      }
      if (++links > LINKS_MAX) throw new FopError("ELOOP");
      const { target } = await this.#top.readlink(call, { loc: { inode: next.inode }, size: PATH_BYTES_MAX });
      if (target.startsWith("/")) trail.length = 1;
      parts.unshift(...split(target));
    }
    return trail.length > 1 ? trail.at(-1)! : this.#lookupRoot(call);
  }

  /** Attributes may be old. */
  async #knownRoot(call: Call): Promise<Resolved> {
    this.#root ??= await this.#lookupRoot(call);
    return this.#root;
  }

  async #lookupRoot(call: Call): Promise<Resolved> {
    const inode = this.#rootInode;
    const { stat } = await this.#top.lookup(call, { loc: { inode } });
    return { inode, stat };
  }
}

function split(path: string): string[] {
  if (path.includes("\0")) throw new FopError("EINVAL", { message: "a path cannot contain a NUL" });
  if (nameBytes(path) > PATH_BYTES_MAX) throw new FopError("ENAMETOOLONG");
  const parts = path.split("/").filter((part) => part !== "");
  if (parts.some((part) => nameBytes(part) > NAME_BYTES_MAX)) throw new FopError("ENAMETOOLONG");
  return parts;
}
