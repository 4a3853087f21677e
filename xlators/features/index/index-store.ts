/**
 * What an index is kept in (spec translators.md 3). Three directories: `xattrop` and `dirty` list gfids,
 * `entry-changes` has a directory for each listed gfid, which lists names. All calls reject with FopError.
 */

import { FopError } from "../../../src/core/errors.ts";
import { type Gfid, gfidText } from "../../../src/core/gfid.ts";
import type { Iatt } from "../../../src/core/iatt.ts";
import type { RecordStore } from "./record-store.ts";

/**
 * `xattrop`: this brick blames another copy of the object. `dirty`: an operation on it began here and has no
 * verdict. `entry-changes`: names to heal in the directory are recorded.
 */
export const INDEX_CLASSES = ["xattrop", "dirty", "entry-changes"] as const;
export type IndexClass = (typeof INDEX_CLASSES)[number];
/** The classes whose entries are single names. */
export type MarkClass = Exclude<IndexClass, "entry-changes">;

/** A directory of the index: that of a class, or with `of` the one of names of a listed directory. */
export interface Place {
  readonly class: IndexClass;
  /** Text of a gfid as it stands in `entry-changes`. */
  readonly of?: string;
}

export interface StoredEntry {
  readonly name: string;
  readonly isDirectory: boolean;
}

export interface IndexStore {
  /** Ready to be used; what was listed before is still listed. */
  open(): Promise<void>;
  /** Lists a gfid; one that is listed already is fine. */
  add(where: MarkClass, gfid: Gfid): Promise<void>;
  /** Takes a gfid out; one that is not listed is fine. */
  remove(where: MarkClass, gfid: Gfid): Promise<void>;
  /** Lists a name of a directory; one that is listed already is fine. */
  addName(directory: Gfid, name: string): Promise<void>;
  removeName(directory: string, name: string): Promise<void>;
  /**
   * Takes a directory out of `entry-changes`. If names are left it goes on under a random gfid, for a crawl
   * to find out that this is no object of the volume and to wipe it. One that is not listed is fine.
   */
  removeDirectory(directory: string): Promise<void>;
  /** Takes a directory out of `entry-changes` with all its names; one that is not listed is fine. */
  wipeDirectory(directory: string): Promise<void>;
  /** All entries in no order; ENOENT when the place is not there. */
  list(place: Place): Promise<readonly StoredEntry[]>;
  /** Attributes of a place or of an entry of it, without a gfid; ENOENT when it is not there. */
  stat(place: Place, name?: string): Promise<Iatt>;
  /** Entries of a class, kept count of. */
  count(where: MarkClass): number;
  /** Where records of changed ranges are kept; undefined when they cannot be kept safely here. */
  readonly records: RecordStore | undefined;
}

/** Refuses what cannot be one name in a directory. */
export function checkEntryName(name: string): void {
  if (name === "" || name === "." || name === ".." || name.includes("/"))
    throw new FopError("EINVAL", { message: `"${name}" cannot be listed in entry-changes` });
}

/** The name of an object in the index. */
export const indexName: (gfid: Gfid) => string = gfidText;
