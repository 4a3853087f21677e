/**
 * Heals one name of a directory when somebody looks it up (spec translators.md 4.9, name heal): makes it
 * where it is missing, takes it where it should not be, gives it the gfid it lacks. Under the lock on that
 * name, so that it never meets an operation on it half-way.
 */

import type { Call } from "../../../../src/core/call.ts";
import { toFopError } from "../../../../src/core/errors.ts";
import type { Gfid } from "../../../../src/core/gfid.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { type ChildSet, childrenOf, NO_CHILDREN } from "../child-set.ts";
import { marksOf, nameSources } from "../decide.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { Dirent, NameConflict } from "./dirent.ts";
import { differ } from "./gfid-choice.ts";
import { lockAll, namesOf } from "./locks.ts";
import { look } from "./look.ts";
import type { NameHeal, NameHealOptions } from "./report.ts";

/** Never rejects. */
export async function healNameOf(
  set: ReplicaSet,
  call: Call,
  parent: Inode,
  name: string,
  options: NameHealOptions,
): Promise<NameHeal> {
  try {
    const before = await Dirent.at(set, call, parent, name);
    if (before.isEqual) return { outcome: "clean", changed: NO_CHILDREN };
    if (set.up !== set.all) return unavailable("a child is down");
    return await healLocked(set, call, parent, name, options);
  } catch (error) {
    if (error instanceof NameConflict)
      return { outcome: "split-brain", changed: NO_CHILDREN, why: error.message };
    const { code, message } = toFopError(error);
    if (code === "ENOTCONN") return unavailable(message);
    return { outcome: "failed", changed: NO_CHILDREN, why: message };
  }
}

function unavailable(why: string): NameHeal {
  return { outcome: "unavailable", changed: NO_CHILDREN, why };
}

async function healLocked(
  set: ReplicaSet,
  call: Call,
  parent: Inode,
  name: string,
  options: NameHealOptions,
): Promise<NameHeal> {
  const lock = await lockAll(set, call, namesOf(parent, set.name, name), "wait");
  try {
    if (!lock.onAll) return unavailable("not every child could be locked");
    const directory = await look(set, call, { inode: parent });
    if (directory.answered !== set.all) return unavailable("not every child has the directory");
    const sources = nameSources(marksOf(directory.rows, "entry"), set.all);
    const entry = await Dirent.at(set, call, parent, name);
    if (entry.isEqual) return { outcome: "clean", changed: NO_CHILDREN };
    const { resolution, dryRun = false } = options;
    const conflict = differ(entry.copies, sources === NO_CHILDREN ? set.all : sources);
    if (resolution && conflict === "no")
      return { outcome: "not-split-brain", changed: NO_CHILDREN, source: -1 };
    const source = entry.objectAmong(sources === NO_CHILDREN ? set.all : sources, resolution);
    if (dryRun) return { outcome: "would-heal", changed: NO_CHILDREN, source };
    await settle(entry, sources, source, options.gfid);
    return { outcome: "healed", changed: entry.changed, source };
  } finally {
    await lock.release();
  }
}

/** `source` -1: no source has an object by this name. */
async function settle(
  entry: Dirent,
  sources: ChildSet,
  source: number,
  proposed: Gfid | undefined,
): Promise<void> {
  const { set } = entry;
  if (sources !== NO_CHILDREN && (entry.present & sources) === NO_CHILDREN) {
    for (const child of childrenOf(entry.present)) await entry.remove(child);
    return;
  }
  if (source < 0) {
    // Entries without a gfid on all of them.
    if (!proposed) throw new NameConflict("no copy knows its gfid");
    await entry.assignGfid(proposed);
    source = childrenOf(entry.copies.holders)[0] ?? -1;
    if (source < 0) return;
  } else await entry.assignGfid(entry.copies.stats[source]!.gfid);
  await entry.makeOn(set.all, source);
}
