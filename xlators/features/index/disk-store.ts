/**
 * An index on disk, in GlusterFS' format (spec translators.md 3; GlusterFS features/index): below the base
 * directory `xattrop/GFID`, `dirty/GFID` and `entry-changes/GFID/NAME`, each a hard link to the empty file
 * `CLASS-UUID` of its class. The uuid is new at every start and whenever a file has as many links as the file
 * system allows. Base files of earlier starts stay while they have links.
 *
 * A brick may be served by glusterfsd before and after: each finds what the other listed.
 */

import { dirname } from "node:path";
import { type ErrnoName, FopError, UserError } from "../../../src/core/errors.ts";
import { type Gfid, gfidText, NULL_GFID, newGfid } from "../../../src/core/gfid.ts";
import { type Iatt, isDir } from "../../../src/core/iatt.ts";
import { O_CREAT, O_WRONLY } from "../../../src/core/open-flags.ts";
import {
  close,
  link,
  lstat,
  mkdir,
  type OsStat,
  open,
  readdir,
  rename,
  rmdir,
  unlink,
} from "../../../src/os/files.ts";
import { DiskRecordStore } from "./disk-records.ts";
import {
  checkEntryName,
  INDEX_CLASSES,
  type IndexClass,
  type IndexStore,
  indexName,
  type MarkClass,
  type Place,
  type StoredEntry,
} from "./index-store.ts";

const DT_DIR = 4;
/** Tries that a link is worth: once as it is, once after what was missing was made, once after EMLINK. */
const LINK_ATTEMPTS = 4;
/** A directory without the right to search is only of use to root. */
const DIRECTORY_MODE = process.geteuid?.() === 0 ? 0o600 : 0o700;

export class DiskIndexStore implements IndexStore {
  records: DiskRecordStore | undefined;
  readonly #base: string;
  #uuid = gfidText(newGfid());
  readonly #counts: Record<MarkClass, number> = { xattrop: 0, dirty: 0 };

  /** `base`: the option index-base; its parent is the brick's `.glusterfs`. */
  constructor(base: string) {
    this.#base = base;
  }

  /** Throws UserError when there is no place for an index. */
  async open(): Promise<void> {
    const parent = dirname(this.#base);
    try {
      if (!isDir(await lstat(parent))) throw new FopError("ENOTDIR");
      await this.#makeDirectories();
      for (const which of INDEX_CLASSES) {
        const entries = await this.list({ class: which });
        if (which !== "entry-changes") this.#counts[which] = entries.length;
      }
    } catch (error) {
      const code = error instanceof FopError ? error.code : String(error);
      throw new UserError(`features/index: index-base "${this.#base}": cannot be used: ${code}`, {
        cause: error,
      });
    }
    this.records = await openRecords(parent);
  }

  async add(where: MarkClass, gfid: Gfid): Promise<void> {
    if (await this.#link(where, indexName(gfid))) this.#counts[where]++;
  }

  async remove(where: MarkClass, gfid: Gfid): Promise<void> {
    if (await ifThere(unlink(this.#path({ class: where }, indexName(gfid))))) this.#counts[where]--;
  }

  async addName(directory: Gfid, name: string): Promise<void> {
    checkEntryName(name);
    const of = indexName(directory);
    await this.#link("entry-changes", `${of}/${name}`, of);
  }

  async removeName(directory: string, name: string): Promise<void> {
    checkEntryName(name);
    await ifThere(unlink(this.#path({ class: "entry-changes", of: directory }, name)));
  }

  async removeDirectory(directory: string): Promise<void> {
    const path = this.#path({ class: "entry-changes", of: directory });
    try {
      await ifThere(rmdir(path));
    } catch (error) {
      if (!isCode(error, "ENOTEMPTY")) throw error;
      await ifThere(rename(path, this.#path({ class: "entry-changes", of: gfidText(newGfid()) })));
    }
  }

  async wipeDirectory(directory: string): Promise<void> {
    const path = this.#path({ class: "entry-changes", of: directory });
    try {
      for (const { name } of await readdir(path)) await ifThere(unlink(`${path}/${name}`));
      await rmdir(path);
    } catch (error) {
      if (!isCode(error, "ENOENT")) throw error;
    }
  }

  /** Base files are left out; those of earlier starts that nothing is linked to any more are removed. */
  async list(place: Place): Promise<readonly StoredEntry[]> {
    const path = this.#path(place);
    const found: StoredEntry[] = [];
    for (const { name, type } of await readdir(path)) {
      if (place.of !== undefined || !name.startsWith(`${place.class}-`))
        found.push({ name, isDirectory: type === DT_DIR });
      else if (name !== this.#baseName(place.class)) await removeUnlinked(`${path}/${name}`);
    }
    return found;
  }

  async stat(place: Place, name?: string): Promise<Iatt> {
    return iattOf(await lstat(this.#path(place, name)));
  }

  count(where: MarkClass): number {
    return this.#counts[where];
  }

  /**
   * Makes a link to the base file of a class, and what is missing for it: the base file, the directories,
   * `directory` below that of the class. Says whether the link is new.
   */
  async #link(which: IndexClass, name: string, directory?: string): Promise<boolean> {
    const path = this.#path({ class: which }, name);
    for (let attempt = 1; ; attempt++) {
      const uuid = this.#uuid;
      try {
        await link(this.#path({ class: which }, `${which}-${uuid}`), path);
        return true;
      } catch (error) {
        if (isCode(error, "EEXIST")) return false;
        const isFull = isCode(error, "EMLINK");
        if (attempt === LINK_ATTEMPTS || !(isFull || isCode(error, "ENOENT"))) throw error;
        if (isFull && uuid === this.#uuid) this.#uuid = gfidText(newGfid());
        await this.#makeDirectories();
        if (directory !== undefined)
          await unlessThere(mkdir(this.#path({ class: which }, directory), DIRECTORY_MODE));
        await this.#makeBase(which);
      }
    }
  }

  async #makeBase(which: IndexClass): Promise<void> {
    const path = this.#path({ class: which }, this.#baseName(which));
    try {
      await close(await open(path, O_CREAT | O_WRONLY, 0));
    } catch (error) {
      // A file of mode 000 that is there already is closed even to its owner, who is not root.
      if (!isCode(error, "EACCES") && !isCode(error, "EEXIST")) throw error;
    }
  }

  async #makeDirectories(): Promise<void> {
    await unlessThere(mkdir(this.#base, DIRECTORY_MODE));
    for (const which of INDEX_CLASSES) await unlessThere(mkdir(`${this.#base}/${which}`, DIRECTORY_MODE));
  }

  #baseName(which: IndexClass): string {
    return `${which}-${this.#uuid}`;
  }

  #path(place: Place, name?: string): string {
    const of = place.of === undefined ? "" : `/${place.of}`;
    return `${this.#base}/${place.class}${of}${name === undefined ? "" : `/${name}`}`;
  }
}

/** Without `unlink` beside it, or without room, a brick does without records. */
async function openRecords(hidden: string): Promise<DiskRecordStore | undefined> {
  try {
    if (!isDir(await lstat(`${hidden}/unlink`))) return undefined;
    const records = new DiskRecordStore(hidden);
    await records.open();
    return records;
  } catch (error) {
    if (error instanceof FopError) return undefined;
    throw error;
  }
}

async function removeUnlinked(path: string): Promise<void> {
  try {
    if ((await lstat(path)).nlink === 1) await unlink(path);
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
  }
}

function isCode(error: unknown, code: ErrnoName): boolean {
  return error instanceof FopError && error.code === code;
}

/** Runs what needs an object; false when there is none. */
async function ifThere(work: Promise<void>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (isCode(error, "ENOENT")) return false;
    throw error;
  }
}

/** Runs what makes an object; one that is there already is fine. */
async function unlessThere(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
  }
}

function iattOf(stat: OsStat): Iatt {
  const { mode, nlink, uid, gid, size, blocks, blksize, dev } = stat;
  const { atime, atimeNsec, mtime, mtimeNsec, ctime, ctimeNsec, btime, btimeNsec } = stat;
  const times = { atime, atimeNsec, mtime, mtimeNsec, ctime, ctimeNsec, btime, btimeNsec };
  return { gfid: NULL_GFID, mode, nlink, uid, gid, size, blocks, blksize, dev, rdev: 0, ...times };
}
