/**
 * Heals one name of a directory when somebody looks it up (spec translators.md 4.9, name heal): makes it
 * where it is missing, takes it where it should not be, gives it the gfid it lacks. Under the lock on that
 * name, so that it never meets an operation on it half-way.
 */

import type { Call } from "../../../../src/core/call.ts";
import { toFopError } from "../../../../src/core/errors.ts";
import type { Gfid } from "../../../../src/core/gfid.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { childrenOf, NO_CHILDREN } from "../child-set.ts";
import { marksOf, type NameSides, nameSides, type Resolution } from "../decide.ts";
import { acknowledgersMin } from "../quorum.ts";
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
    const sides = nameSides(marksOf(directory.rows, "entry"), set.all, acknowledgersMin(set.quorum));
    const entry = await Dirent.at(set, call, parent, name);
    if (entry.isEqual) return { outcome: "clean", changed: NO_CHILDREN };
    const { resolution, dryRun = false } = options;
    if (resolution) return await resolve(entry, sides, resolution, dryRun);
    const chosen = await entry.chosen(sides);
    if (dryRun) return { outcome: "would-heal", changed: NO_CHILDREN, source: Math.max(-1, chosen) };
    if (chosen === -1) await nameAll(entry, options.gfid);
    else await entry.settle(chosen, sides);
    return { outcome: "healed", changed: entry.changed, source: Math.max(-1, chosen) };
  } finally {
    await lock.release();
  }
}

/** As a person wants it. */
async function resolve(
  entry: Dirent,
  { sources }: NameSides,
  resolution: Resolution,
  dryRun: boolean,
): Promise<NameHeal> {
  const { set } = entry;
  const among = sources === NO_CHILDREN ? set.all : sources;
  if (differ(entry.copies, among) === "no")
    return { outcome: "not-split-brain", changed: NO_CHILDREN, source: -1 };
  const source = entry.objectAmong(among, resolution);
  if (dryRun) return { outcome: "would-heal", changed: NO_CHILDREN, source };
  await entry.assignGfid(entry.copies.stats[source]!.gfid);
  await entry.makeOn(set.all, source);
  return { outcome: "healed", changed: entry.changed, source };
}

/** No copy knows its gfid: all get the proposed one. */
async function nameAll(entry: Dirent, proposed: Gfid | undefined): Promise<void> {
  if (!proposed) throw new NameConflict("no copy knows its gfid");
  await entry.assignGfid(proposed);
  const source = childrenOf(entry.copies.holders)[0];
  if (source !== undefined) await entry.makeOn(entry.set.all, source);
}
