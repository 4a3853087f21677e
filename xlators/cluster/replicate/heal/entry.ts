/**
 * Heals the names of a directory (spec translators.md 4.9, "entry").
 *
 * One healer a directory, by a lock on all its names in the healers' domain. In the domain of I/O the whole
 * directory is locked to decide, for each batch of names, and to take the marks away; marks are read anew for
 * each batch. First names go that the sources lack, then come those that the sinks lack; without a source
 * every copy gets the names of all others.
 *
 * Which names: those that bricks have recorded (granular), or all, when a record is missing or a mark asks
 * for it. A name with different objects behind it, or of a directory that another heal has to let go first,
 * stops nothing but the taking away of marks.
 */

import { toFopError } from "../../../../src/core/errors.ts";
import { gfidEquals, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import type { Slot } from "../changelog.ts";
import { type ChildSet, childrenOf, NO_CHILDREN } from "../child-set.ts";
import type { Verdict } from "../decide.ts";
import { isPrivateName } from "../private-names.ts";
import { Dirent, NameConflict, NotYet } from "./dirent.ts";
import { lockAll, namesOf } from "./locks.ts";
import { healDomain, type Look, look } from "./look.ts";
import { commit, undo } from "./marks.ts";
import { allNames, type NameList, recordedNames } from "./name-lists.ts";
import type { SlotReport } from "./report.ts";
import {
  checkStill,
  finished,
  HealStop,
  type HealTask,
  requireAll,
  requireAnswers,
  verdictOn,
} from "./task.ts";

/** Names that are healed under one lock. */
const BATCH = 32;
/** Names that a message mentions. */
const TOLD_MAX = 5;
const TIMES = SETATTR.ATIME | SETATTR.MTIME | SETATTR.CTIME;

interface Plan {
  readonly verdict: Verdict;
  readonly found: Look;
  /** All names are looked at, not only recorded ones. */
  readonly full: boolean;
}

/** Names that this heal leaves as they are, each with the reason. */
interface OpenNames {
  readonly conflicts: string[];
  readonly waiting: string[];
}

/** Throws HealStop or FopError; marks then say what is left to do. */
export async function healEntries(task: HealTask): Promise<SlotReport> {
  const { set, call, inode } = task;
  const healer = await lockAll(set, call, namesOf(inode, healDomain(set)), "majority");
  try {
    requireAll(task, healer);
    const plan = await prepare(task);
    const open: OpenNames = { conflicts: [], waiting: [] };
    const { sources, sinks } = plan.verdict;
    for (const child of [...childrenOf(sinks), ...childrenOf(sources & ~sinks)])
      await healNamesOf(task, child, plan.full, open);
    if (open.conflicts.length > 0) throw new HealStop("split-brain", tell(open.conflicts), plan.verdict);
    if (open.waiting.length > 0) throw new HealStop("busy", tell(open.waiting), plan.verdict);
    return await finish(task, plan);
  } finally {
    await healer.release();
  }
}

function tell(conflicts: readonly string[]): string {
  const told = conflicts.slice(0, TOLD_MAX).join("; ");
  return conflicts.length > TOLD_MAX ? `${told}; and ${conflicts.length - TOLD_MAX} more` : told;
}

async function prepare(task: HealTask): Promise<Plan> {
  const { set, call, inode } = task;
  const lock = await lockAll(set, call, namesOf(inode, set.name), "wait");
  try {
    requireAll(task, lock);
    const seen = await look(set, call, { inode });
    requireAnswers(task, seen);
    const verdict = verdictOn(task, "entry", seen);
    const full =
      !set.options["granular-entry-heal"] || asksForAll(seen, verdict) || !(await isRecorded(task, seen));
    const rows =
      verdict.kind === "merge" ? seen.rows : await commit(set, call, inode, seen.rows, verdict, "entry");
    return { verdict, found: { ...seen, rows }, full };
  } finally {
    await lock.release();
  }
}

/** The data slot of a directory on a copy that takes part. */
function asksForAll({ rows }: Look, { sources, sinks }: Verdict): boolean {
  return childrenOf(sources | sinks).some((child) => rows[child]!.pending.some(({ data }) => data !== 0));
}

/** Every copy with a mark has a record of the names that it is about. */
async function isRecorded(task: HealTask, { rows }: Look): Promise<boolean> {
  for (const [child, { pending, dirty }] of rows.entries()) {
    if (dirty.entry === 0 && pending.every(({ entry }) => entry === 0)) continue;
    const list = await recordedNames(task, child);
    if (!list) return false;
    await list.close();
  }
  return true;
}

/** Heals the names that one copy lists. */
async function healNamesOf(task: HealTask, child: number, full: boolean, open: OpenNames): Promise<void> {
  const { set, call, inode } = task;
  const list = full ? await allNames(task, child) : await recordedNames(task, child);
  if (!list) return;
  const atRoot = gfidEquals(inode.gfid, ROOT_GFID);
  try {
    for await (const page of list.pages(BATCH)) {
      checkStill(task);
      const names = page.filter((name) => !(atRoot && isPrivateName(set, name, call.pid)));
      if (names.length > 0) await healBatch(task, names, list, open);
    }
  } finally {
    await list.close();
  }
}

async function healBatch(
  task: HealTask,
  names: readonly string[],
  list: NameList,
  open: OpenNames,
): Promise<void> {
  const { set, call, inode } = task;
  const lock = await lockAll(set, call, namesOf(inode, set.name), "wait");
  try {
    requireAll(task, lock);
    const found = await look(set, call, { inode });
    requireAnswers(task, found);
    checkStill(task);
    const verdict = verdictOn(task, "entry", found);
    const entries = await Promise.all(names.map((name) => Dirent.at(set, call, inode, name)));
    for (const entry of entries) {
      try {
        await (verdict.kind === "merge" ? merge(entry) : follow(entry, verdict));
      } catch (error) {
        if (!(error instanceof NameConflict || error instanceof NotYet)) throw error;
        const why = error instanceof NotYet ? open.waiting : open.conflicts;
        if (!why.includes(error.message)) why.push(error.message);
        continue;
      }
      await list.healed(entry.name);
    }
  } finally {
    await lock.release();
  }
}

/** Sinks get what the source has, or lose what it has not. */
async function follow(entry: Dirent, { source, sinks }: Verdict): Promise<void> {
  const { copies } = entry;
  if ((entry.present & (1 << source)) === 0) {
    for (const child of childrenOf(sinks)) await entry.remove(child);
    return;
  }
  await entry.assignGfid(copies.stats[source]!.gfid);
  await entry.makeOn(sinks, source);
}

/** Every copy gets the name that some copy has. */
async function merge(entry: Dirent): Promise<void> {
  const first = childrenOf(entry.copies.holders)[0];
  if (first === undefined) return;
  await entry.assignGfid(entry.copies.stats[first]!.gfid);
  const chosen = entry.objectAmong(entry.set.all, undefined);
  if (chosen >= 0) await entry.makeOn(entry.set.all, chosen);
}

async function finish(task: HealTask, { verdict, found, full }: Plan): Promise<SlotReport> {
  const { set, call, inode } = task;
  const lock = await lockAll(set, call, namesOf(inode, set.name), "wait");
  try {
    requireAll(task, lock);
    const now = await look(set, call, { inode });
    checkStill(task);
    requireAnswers(task, now);
    if (verdict.source >= 0) await restoreTimes(task, verdict.sinks, now, verdict.source);
    const slots: readonly Slot[] = full ? ["entry", "data"] : ["entry"];
    const outcome = { sources: verdict.sources, healed: verdict.sinks, failed: NO_CHILDREN };
    const error = await undo(set, call, inode, found.rows, outcome, slots);
    if (error) throw error;
    return finished(verdict, NO_CHILDREN);
  } finally {
    await lock.release();
  }
}

async function restoreTimes(task: HealTask, sinks: ChildSet, now: Look, source: number): Promise<void> {
  const { set, call, inode } = task;
  const args = { loc: { inode }, stat: now.stats[source]!, valid: TIMES };
  for (const child of childrenOf(sinks)) {
    try {
      await set.children[child]!.setattr(call, args);
    } catch (error) {
      const { name } = set.children[child]!;
      set.log.warn("times of a healed directory were not restored", {
        child: name,
        error: toFopError(error),
      });
    }
  }
}
