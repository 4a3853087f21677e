/**
 * Heals the names of a directory (spec translators.md 4.9, "entry").
 *
 * One healer a directory, by a lock on all its names in the healers' domain. In the domain of I/O the whole
 * directory is locked to decide, for each batch of names, and to take the marks away; marks are read anew for
 * each batch. First names go that the sources lack, then come those that the sinks lack; without a source
 * every copy gets the names of the others, but for those that surely were removed (gfid-choice.ts).
 *
 * Which names: those that bricks have recorded (granular), or all, when a record is missing or a mark asks
 * for it. A name with different objects behind it, or of a directory that another heal has to let go first,
 * stops nothing but the taking away of marks.
 */

import { FopError, toFopError } from "../../../../src/core/errors.ts";
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

/** Names that could not be made equal, and why. */
interface Unhealed {
  readonly conflicts: Map<string, NameConflict>;
  readonly failed: Map<string, FopError>;
}

interface Plan {
  readonly verdict: Verdict;
  readonly found: Look;
  /** All names are looked at, not only recorded ones. */
  readonly full: boolean;
}

/** Throws HealStop or FopError; marks then say what is left to do. */
export async function healEntries(task: HealTask): Promise<SlotReport> {
  const { set, call, inode } = task;
  const healer = await lockAll(set, call, namesOf(inode, healDomain(set)), "majority");
  try {
    requireAll(task, healer);
    const plan = await prepare(task);
    const { conflicts, failed } = await healNames(task, plan);
    if (conflicts.size > 0) throw new HealStop("split-brain", tell(conflicts), plan.verdict);
    const waits = [...failed.values()].every((error) => error instanceof NotYet);
    if (failed.size > 0) throw new HealStop(waits ? "busy" : "failed", tell(failed), plan.verdict);
    return await finish(task, plan);
  } finally {
    await healer.release();
  }
}

function tell(names: ReadonlyMap<string, Error>): string {
  const told = [...names].slice(0, TOLD_MAX).map(([name, { message }]) => `"${name}": ${message}`);
  return names.size > TOLD_MAX ? `${told.join("; ")}; and ${names.size - TOLD_MAX} more` : told.join("; ");
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

/**
 * All names, whatever becomes of one. What failed is tried once more in the end: a directory that was moved
 * cannot be made in its new place while it is in the old one.
 */
async function healNames(task: HealTask, { verdict, full }: Plan): Promise<Unhealed> {
  const unhealed: Unhealed = { conflicts: new Map(), failed: new Map() };
  const { sources, sinks } = verdict;
  for (const child of [...childrenOf(sinks), ...childrenOf(sources & ~sinks)])
    await healNamesOf(task, child, full, unhealed);
  const again = [...unhealed.failed.keys()];
  unhealed.failed.clear();
  for (let at = 0; at < again.length; at += BATCH) {
    checkStill(task);
    await healBatch(task, again.slice(at, at + BATCH), undefined, unhealed);
  }
  return unhealed;
}

/** Heals the names that one copy lists. */
async function healNamesOf(task: HealTask, child: number, full: boolean, unhealed: Unhealed): Promise<void> {
  const { set, call, inode } = task;
  const list = full ? await allNames(task, child) : await recordedNames(task, child);
  if (!list) return;
  const atRoot = gfidEquals(inode.gfid, ROOT_GFID);
  try {
    for await (const page of list.pages(BATCH)) {
      checkStill(task);
      const names = page.filter((name) => !(atRoot && isPrivateName(set, name, call.pid)));
      if (names.length > 0) await healBatch(task, names, list, unhealed);
    }
  } finally {
    await list.close();
  }
}

async function healBatch(
  task: HealTask,
  names: readonly string[],
  list: NameList | undefined,
  unhealed: Unhealed,
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
        await entry.settle(await entry.chosen(verdict), verdict);
      } catch (error) {
        noteUnhealed(unhealed, entry, error);
        continue;
      }
      await list?.healed(entry.name);
    }
  } finally {
    await lock.release();
  }
}

/** Throws what is no matter of this name. */
function noteUnhealed({ conflicts, failed }: Unhealed, { name }: Dirent, error: unknown): void {
  if (error instanceof NameConflict) conflicts.set(name, error);
  else if (error instanceof FopError && error.code !== "ENOTCONN") failed.set(name, error);
  else throw error;
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
