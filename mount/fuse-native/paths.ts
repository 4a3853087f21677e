/**
 * Paths to inodes: libfuse 2 names everything by path, the graph by inode, so this edge looks names up
 * itself.
 *
 * A cache entry is a directory entry (parent gfid and name), not a whole path: when a directory is renamed,
 * everything below it moves along and no entry has to be found and dropped. An entry counts as fresh for
 * `ttlMs`, as the kernel's own do, since other clients change the volume too. Inodes live in the edge's
 * InodeTable, which makes them unique.
 * Promises: `lookup` always asks the graph for the last name. Needs: absolute paths without "." or "..", as
 * libfuse sends.
 */

import { LRUCache } from "lru-cache";
import type { Call } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import type { Clock } from "../../src/core/env.ts";
import { FopError } from "../../src/core/errors.ts";
import { gfidKey, isNullGfid, newGfid } from "../../src/core/gfid.ts";
import { type Iatt, isDir } from "../../src/core/iatt.ts";
import { Inode, type InodeTable } from "../../src/core/inode.ts";
import type { XlatorBase } from "../../src/core/xlator.ts";

/** Entries remembered; one costs about 200 bytes. */
const ENTRIES_MAX = 65_536;

interface Entry {
  readonly inode: Inode;
  readonly freshUntilMs: number;
}

export interface Found {
  readonly inode: Inode;
  readonly stat: Iatt;
}

export interface Resolved {
  readonly inode: Inode;
  /** Some entry on the way came from the cache, so the answer may be outdated. */
  readonly cached: boolean;
}

/** Where a name is, or is to be. */
export interface Place {
  readonly parent: Inode;
  readonly name: string;
  readonly cached: boolean;
}

export interface PathsInit {
  readonly top: Pick<XlatorBase, "lookup">;
  readonly table: InodeTable;
  readonly clock: Clock;
  readonly ttlMs: number;
  readonly entriesMax?: number;
}

export class Paths {
  readonly #top: Pick<XlatorBase, "lookup">;
  readonly #table: InodeTable;
  readonly #clock: Clock;
  readonly #ttlMs: number;
  readonly #entries: LRUCache<string, Entry>;
  /** What "/" means: the volume's root, or a directory below it. */
  #root: Inode;

  constructor(init: PathsInit) {
    this.#top = init.top;
    this.#table = init.table;
    this.#clock = init.clock;
    this.#ttlMs = init.ttlMs;
    this.#entries = new LRUCache({ max: init.entriesMax ?? ENTRIES_MAX });
    this.#root = init.table.root;
  }

  /** Lets every path begin at a directory of the volume; `path` begins at the volume's root. */
  async useRoot(call: Call, path: string): Promise<void> {
    const { inode, stat } = await this.lookup(call, path);
    if (!isDir(stat)) throw new FopError("ENOTDIR", { fop: "lookup", xlator: "fuse-native" });
    this.#table.hold(inode);
    this.#root = inode;
  }

  /** The inode of a path, from fresh entries where there are any. */
  resolve(call: Call, path: string): Promise<Resolved> {
    return this.#walk(call, namesOf(path));
  }

  /** The directory and the name of a path that need not exist. */
  async place(call: Call, path: string): Promise<Place> {
    const names = namesOf(path);
    const name = names.pop();
    // The root has no place; every fop that asks for one (rmdir, rename ...) refuses the root like this.
    if (name === undefined) throw new FopError("EBUSY", { fop: "lookup", xlator: "fuse-native" });
    checkName(name);
    const { inode, cached } = await this.#walk(call, names);
    return { parent: inode, name, cached };
  }

  /** Attributes of a path, asked of the graph now. */
  async lookup(call: Call, path: string): Promise<Found> {
    if (path === "/") return this.#lookupRoot(call);
    try {
      const { parent, name } = await this.place(call, path);
      return await this.lookupAt(call, parent, name);
    } catch (error) {
      if (!isStale(error) || !this.forget(path)) throw error;
    }
    const { parent, name } = await this.place(call, path);
    return this.lookupAt(call, parent, name);
  }

  /**
   * Looks `name` up in `parent` now. An entry that turned into another inode is asked for again as a new one.
   */
  async lookupAt(call: Call, parent: Inode, name: string): Promise<Found> {
    const known = this.#entries.get(entryKey(parent, name))?.inode;
    if (known) {
      try {
        return await this.#ask(call, parent, name, known);
      } catch (error) {
        this.drop(parent, name);
        if (!isStale(error)) throw error;
      }
    }
    return this.#ask(call, parent, name, new Inode());
  }

  /** Enters what a reply told: `name` in `parent` is the inode with these attributes. */
  learn(parent: Inode, name: string, inode: Inode, stat: Iatt): Inode {
    if (isNullGfid(stat.gfid)) throw new FopError("EIO", { fop: "lookup", message: `no gfid for "${name}"` });
    const linked = this.#table.link(inode, stat.gfid, stat.mode);
    this.#entries.set(entryKey(parent, name), {
      inode: linked,
      freshUntilMs: this.#clock.nowMs() + this.#ttlMs,
    });
    return linked;
  }

  drop(parent: Inode, name: string): void {
    this.#entries.delete(entryKey(parent, name));
  }

  /** Drops every entry on a path, after one of them proved outdated; false when there was none. */
  forget(path: string): boolean {
    let inode: Inode | undefined = this.#root;
    let dropped = false;
    for (const name of namesOf(path)) {
      if (inode === undefined) break;
      const key = entryKey(inode, name);
      inode = this.#entries.get(key)?.inode;
      dropped = this.#entries.delete(key) || dropped;
    }
    return dropped;
  }

  async #walk(call: Call, names: readonly string[]): Promise<Resolved> {
    let inode = this.#root;
    let cached = false;
    for (const name of names) {
      const entry = this.#entries.get(entryKey(inode, name));
      if (entry !== undefined && this.#clock.nowMs() < entry.freshUntilMs) {
        inode = entry.inode;
        cached = true;
      } else {
        inode = (await this.lookupAt(call, inode, name)).inode;
      }
    }
    return { inode, cached };
  }

  async #lookupRoot(call: Call): Promise<Found> {
    const inode = this.#root;
    const { stat } = await this.#top.lookup(call, { loc: { inode } });
    return { inode, stat };
  }

  async #ask(call: Call, parent: Inode, name: string, inode: Inode): Promise<Found> {
    checkName(name);
    const args = inode.linked
      ? { loc: { inode, parent, name } }
      : { loc: { inode, parent, name }, xdata: new Dict().setGfid("gfid-req", newGfid()) };
    const { stat } = await this.#top.lookup(call, args);
    return { inode: this.learn(parent, name, inode, stat), stat };
  }
}

/**
 * The object behind a parent or an inode is gone (translators.md 3): the cache may be why, so ask again
 * without it.
 */
export function isStale(error: unknown): boolean {
  return error instanceof FopError && error.code === "ESTALE";
}

/**
 * fuse-native decodes names as UTF-8 and puts U+FFFD where that fails, so different names arrive as one. Such
 * a name is refused before it can touch, or become, another file.
 */
export function checkName(name: string): void {
  if (name.includes("\ufffd")) {
    throw new FopError("EINVAL", {
      fop: "lookup",
      xlator: "fuse-native",
      message: "name is not valid UTF-8",
    });
  }
}

function namesOf(path: string): string[] {
  return path === "/" ? [] : path.slice(1).split("/");
}

function entryKey(parent: Inode, name: string): string {
  return gfidKey(parent.gfid) + name;
}
