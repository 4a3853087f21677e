/**
 * gfid handles: the second name of every object, `.glusterfs/aa/bb/<gfid>`, by which it is found without
 * walking its path (spec translators.md 2.1). A hard link for a non-directory; for a directory a symlink
 * `../../pp/qq/<parent gfid>/<name>`.
 *
 * A directory is reached through its handle, so a path here is a handle and at most one name. The kernel
 * follows at most 40 symlinks; below deeper directories the handles are expanded by hand. What a directory
 * handle leads to is checked against the gfid on it, so that a stale handle can never lead out of the brick.
 */

import { FopError } from "../../../src/core/errors.ts";
import { type Gfid, gfidEquals, gfidText, parseGfid, ROOT_GFID } from "../../../src/core/gfid.ts";
import { S_IFDIR, S_IFLNK, S_IFMT } from "../../../src/core/iatt.ts";
import { KEY } from "../../../src/core/keys.ts";
import { decodeName } from "../../../src/core/name.ts";
import { link, lstat, mkdir, type OsStat, readlink, rename, symlink, unlink } from "../../../src/os/files.ts";
import type { InodeStates } from "./inode-state.ts";
import { getXattr } from "./target.ts";

export const HIDDEN = ".glusterfs";
/** Directories that one path may be deep before a loop is assumed. */
const DEPTH_MAX = 2048;
const RETRIES_MAX = 16;
const HASH_DIRECTORY_MODE = 0o700;

/**
 * An object found: where its metadata calls go, and what lstat said. A directory's path leads through its
 * handle.
 */
export interface Found {
  readonly path: string;
  readonly stat: OsStat;
}

export class Handles {
  readonly base: string;
  readonly #hidden: string;
  readonly #states: InodeStates;
  /**
   * Directory renames that are under way, and how many there were: a handle dangles while its directory
   * moves.
   */
  readonly #moving = new Set<Promise<unknown>>();
  #moves = 0;
  /** 1 for every hash directory that is known to exist, by the first two bytes of a gfid. */
  readonly #rooms = new Uint8Array(65536);
  #temporary = 0;

  constructor(base: string, states: InodeStates) {
    this.base = base;
    this.#hidden = `${base}/${HIDDEN}`;
    this.#states = states;
  }

  /** The handle itself: for a directory, the symlink. */
  handle(gfid: Gfid): string {
    const text = gfidText(gfid);
    return `${this.#hidden}/${text.slice(0, 2)}/${text.slice(2, 4)}/${text}`;
  }

  /** Where the handle of a removed but open file is kept. */
  parked(gfid: Gfid): string {
    return `${this.#hidden}/unlink/${gfidText(gfid)}`;
  }

  /** Where a directory goes that is removed with its contents. */
  landfill(gfid: Gfid): string {
    return `${this.#hidden}/landfill/${gfidText(gfid)}`;
  }

  /** Where a directory is most likely found; `findDirectory` knows. */
  directoryPath(gfid: Gfid): string {
    // The dot makes the kernel go through the symlink also where a call acts on the last component itself.
    return gfidEquals(gfid, ROOT_GFID) ? this.base : `${this.handle(gfid)}/.`;
  }

  /** A directory by its gfid. ENOENT when there is none, or when its handle leads to something else. */
  async findDirectory(gfid: Gfid): Promise<Found> {
    return this.steady(async () => {
      const found = await this.#reach(gfid);
      const state = this.#states.of(gfid);
      if (state.dirIno !== found.stat.ino) {
        const actual = await getXattr(found.path, KEY.GFID);
        if (!actual?.equals(gfid)) throw new FopError("ENOENT", { fop: "handle" });
        state.dirIno = found.stat.ino;
      }
      return found;
    });
  }

  /**
   * Any object by its gfid. ENOENT when there is none. `type` (S_IF*) saves a look when it is known, else 0.
   */
  async find(gfid: Gfid, type: number): Promise<Found> {
    if (type === S_IFDIR || gfidEquals(gfid, ROOT_GFID)) return this.findDirectory(gfid);
    const found = await this.#lstatOrParked(gfid);
    if (type !== S_IFLNK && (await this.#isDirectoryHandle(found))) return this.findDirectory(gfid);
    return found;
  }

  async #lstatOrParked(gfid: Gfid): Promise<Found> {
    const path = this.handle(gfid);
    try {
      return { path, stat: await lstat(path) };
    } catch (error) {
      if (!isCode(error, "ENOENT") || !this.#states.of(gfid).parked) throw error;
    }
    const parked = this.parked(gfid);
    return { path: parked, stat: await lstat(parked) };
  }

  /** A symlink's handle is a hard link to it, so it has two links at least; a directory's handle has one. */
  async #isDirectoryHandle({ path, stat }: Found): Promise<boolean> {
    if ((stat.mode & S_IFMT) !== S_IFLNK || stat.nlink !== 1) return false;
    return parseTarget(decodeName(await readlink(path))) !== undefined;
  }

  async #reach(gfid: Gfid): Promise<Found> {
    const path = this.directoryPath(gfid);
    try {
      return { path, stat: await lstat(path) };
    } catch (error) {
      if (!isCode(error, "ELOOP")) throw error;
    }
    const expanded = await this.expand(gfid);
    return { path: expanded, stat: await lstat(expanded) };
  }

  /** The directory's real path, by reading one handle after the other up to the root. */
  async expand(gfid: Gfid): Promise<string> {
    const names: string[] = [];
    for (let at = gfid; !gfidEquals(at, ROOT_GFID); ) {
      const up = await this.parentOf(at);
      if (!up || names.length >= DEPTH_MAX) throw new FopError("ESTALE", { fop: "handle" });
      names.unshift(up.name);
      at = up.parent;
    }
    return [this.base, ...names].join("/");
  }

  /** Parent and name of a directory, from its handle; undefined when it has none (or is not a directory). */
  async parentOf(gfid: Gfid): Promise<{ parent: Gfid; name: string } | undefined> {
    try {
      return parseTarget(decodeName(await readlink(this.handle(gfid))));
    } catch (error) {
      if (isCode(error, "ENOENT") || isCode(error, "EINVAL")) return undefined;
      throw error;
    }
  }

  /**
   * Gives a non-directory its handle; an existing one of the same inode is fine. EEXIST when another inode
   * has the gfid.
   */
  async link(path: string, gfid: Gfid): Promise<void> {
    const handle = this.handle(gfid);
    try {
      await this.#inRoom(gfid, () => link(path, handle));
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error;
      const [mine, other] = await Promise.all([lstat(path), lstat(handle)]);
      if (mine.ino !== other.ino || mine.dev !== other.dev) throw error;
    }
  }

  /**
   * Gives a directory its handle, or leads the one that exists to its new place. The old one stays valid
   * until then.
   */
  async linkDirectory(gfid: Gfid, parent: Gfid, name: string): Promise<void> {
    const text = gfidText(parent);
    const target = `../../${text.slice(0, 2)}/${text.slice(2, 4)}/${text}/${name}`;
    const handle = this.handle(gfid);
    try {
      await this.#inRoom(gfid, () => symlink(target, handle));
      return;
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error;
    }
    // In `unlink`, which is emptied at start, a crash leaves nothing behind.
    const fresh = `${this.parked(gfid)}.${++this.#temporary}`;
    await symlink(target, fresh);
    await rename(fresh, handle);
  }

  /** Whether the directory's handle leads to this parent and name. */
  async leadsTo(gfid: Gfid, parent: Gfid, name: string): Promise<boolean> {
    const up = await this.parentOf(gfid);
    return up !== undefined && up.name === name && gfidEquals(up.parent, parent);
  }

  /** Removes a handle; a missing one is fine. */
  async unlink(gfid: Gfid): Promise<void> {
    await ifThere(unlink(this.handle(gfid)));
  }

  /** Keeps a removed file findable by its gfid while fds of it are open. */
  async park(gfid: Gfid): Promise<void> {
    await ifThere(rename(this.handle(gfid), this.parked(gfid)));
    this.#states.of(gfid).parked = true;
  }

  async unpark(gfid: Gfid): Promise<void> {
    const state = this.#states.of(gfid);
    if (!state.parked) return;
    state.parked = false;
    await ifThere(unlink(this.parked(gfid)));
  }

  /** Runs a rename of a directory together with the move of its handle. */
  async move<R>(work: () => Promise<R>): Promise<R> {
    const moving = work().finally(() => {
      this.#moving.delete(moving);
      this.#moves++;
    });
    this.#moving.add(moving);
    return moving;
  }

  /**
   * Runs work that finds its way through directory handles; once more when it found nothing while a directory
   * was being renamed. The work must change nothing before it has found its way.
   */
  async steady<R>(work: () => Promise<R>): Promise<R> {
    for (let attempt = 0; ; attempt++) {
      const moves = this.#moves;
      try {
        return await work();
      } catch (error) {
        if (!isCode(error, "ENOENT") && !isCode(error, "ESTALE")) throw error;
        const quiet = moves === this.#moves && this.#moving.size === 0;
        if (quiet || attempt === RETRIES_MAX) throw error;
        await Promise.allSettled(this.#moving);
      }
    }
  }

  /** Makes the directory that a handle lies in, two levels deep, unless it was seen before. */
  async makeRoom(gfid: Gfid): Promise<void> {
    const index = gfid.readUInt16BE(0);
    if (this.#rooms[index] === 1) return;
    const handle = this.handle(gfid);
    await ifAbsent(mkdir(handle.slice(0, handle.lastIndexOf("/")), HASH_DIRECTORY_MODE));
    this.#rooms[index] = 1;
  }

  async #inRoom(gfid: Gfid, work: () => Promise<void>): Promise<void> {
    await this.makeRoom(gfid);
    try {
      await work();
    } catch (error) {
      // Somebody tidied up behind the brick's back, or the object itself is gone: then this fails again.
      if (!isCode(error, "ENOENT")) throw error;
      this.#rooms[gfid.readUInt16BE(0)] = 0;
      await this.makeRoom(gfid);
      await work();
    }
  }
}

/** The target of a directory's handle: `../../pp/qq/<parent gfid>/<name>`. */
function parseTarget(target: string): { parent: Gfid; name: string } | undefined {
  const match = /^\.\.\/\.\.\/[0-9a-f]{2}\/[0-9a-f]{2}\/([0-9a-f-]{36})\/([^/]+)$/s.exec(target);
  const parent = match ? parseGfid(match[1]!) : undefined;
  return parent && { parent, name: match![2]! };
}

export function isCode(error: unknown, code: FopError["code"]): boolean {
  return error instanceof FopError && error.code === code;
}

/** Swallows ENOENT. */
export async function ifThere(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
  }
}

/** Swallows EEXIST. */
export async function ifAbsent(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
  }
}
