/**
 * The doors to healing: an inode, a name, a look without healing (spec translators.md 4.8 to 4.11).
 *
 * Works on the children of a ReplicaSet directly, as the heal daemon's internal caller. Promises: a mark is
 * taken away only after every copy it speaks of is durable and equal, and by exactly the value that was read
 * under the lock; whatever interrupts a heal leaves marks that make the next one finish it.
 */

import { type Call, internalCall } from "../../../../src/core/call.ts";
import { FopError, isBug, toFopError } from "../../../../src/core/errors.ts";
import { gfidText } from "../../../../src/core/gfid.ts";
import { isRegular } from "../../../../src/core/iatt.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { SLOTS, type Slot } from "../changelog.ts";
import { hasChild, NO_CHILDREN } from "../child-set.ts";
import type { ReplicaSet } from "../replica-set.ts";
import type { Tally } from "./copy.ts";
import { healData } from "./data.ts";
import { healEntries } from "./entry.ts";
import { flaggedSlots, inspect } from "./inspect.ts";
import { withOwner } from "./locks.ts";
import { firstStat, isAbsent, isGone, look, sameType } from "./look.ts";
import { healMetadata } from "./metadata.ts";
import { healNameOf } from "./name.ts";
import type {
  HealOptions,
  HealOutcome,
  HealReport,
  Inspection,
  NameHeal,
  NameHealOptions,
  SlotReport,
} from "./report.ts";
import { type HealTask, reportOf } from "./task.ts";

const PID_SELF_HEAL = -6;

/** From harmless to grave; of several slots the gravest is the inode's. */
const GRAVITY: readonly HealOutcome[] = [
  "not-needed",
  "not-split-brain",
  "clean",
  "would-heal",
  "healed",
  "gone",
  "busy",
  "unavailable",
  "partial",
  "arbiter-only",
  "failed",
  "unresolved",
  "split-brain",
];

/**
 * Heals one inode: data, metadata, entry, in this order. Never rejects; a bug is logged and "failed". The
 * caller sees to it that this process heals an inode once at a time; other processes are told apart by locks.
 */
export async function healInode(
  set: ReplicaSet,
  inode: Inode,
  options: HealOptions = {},
): Promise<HealReport> {
  const tally: Tally = { moved: 0, total: 0 };
  try {
    return await heal(taskOf(set, inode, options), options, tally);
  } catch (error) {
    if (isBug(error)) set.log.error("a heal ended by a bug", { gfid: gfidText(inode.gfid), error });
    const { code, message } = toFopError(error);
    return {
      outcome: code === "ENOTCONN" ? "unavailable" : "failed",
      slots: {},
      bytesMoved: tally.moved,
      bytesTotal: tally.total,
      why: message,
    };
  }
}

/**
 * Looks without healing and without waiting for anybody's lock. Rejects with ENOTCONN when no child answers,
 * or only with errors that say nothing of the inode.
 */
export async function inspectInode(set: ReplicaSet, inode: Inode, call?: Call): Promise<Inspection> {
  return await inspect(set, internal(call), inode);
}

/**
 * Heals one name of a directory: makes it where it is missing, removes it where it should not be. Never
 * rejects. Needs all children; what it makes is marked for data and metadata heal.
 */
export async function healName(
  set: ReplicaSet,
  call: Call,
  parent: Inode,
  name: string,
  options: NameHealOptions = {},
): Promise<NameHeal> {
  return await healNameOf(set, withOwner(set, internal(call)), parent, name, options);
}

/** Heals run as root and internal, whoever causes them. */
function internal(call: Call | undefined): Call {
  if (call && call.pid < 0) return call;
  return { ...internalCall(PID_SELF_HEAL), ...(call?.signal ? { signal: call.signal } : {}) };
}

function taskOf(set: ReplicaSet, inode: Inode, options: HealOptions): HealTask {
  const { call, signal, resolution, dryRun = false, onProgress } = options;
  return {
    set,
    inode,
    call: withOwner(set, { ...internal(call), ...(signal ? { signal } : {}) }),
    generation: set.generation,
    resolution,
    dryRun,
    onProgress,
  };
}

async function heal(task: HealTask, options: HealOptions, tally: Tally): Promise<HealReport> {
  const { set, call, inode } = task;
  const none: HealReport = { outcome: "not-needed", slots: {}, bytesMoved: 0, bytesTotal: 0 };
  const seen = await look(set, call, { inode });
  if (isGone(set, seen)) return { ...none, outcome: "gone" };
  if (!sameType(seen)) return { ...none, outcome: "split-brain", why: "the copies are of different types" };
  const present = seen.answered;
  if (present === NO_CHILDREN)
    throw seen.errors.find(Boolean) ?? new FopError("ENOTCONN", { xlator: set.name });
  const slots = options.slots ?? flaggedSlots(set, seen);
  if (slots.length === 0) {
    const silent = set.children.findIndex(
      (_, child) => !hasChild(present, child) && !isAbsent(seen.errors[child]),
    );
    // A copy that lacks it altogether is the business of its directory.
    if (silent >= 0)
      return { ...none, outcome: "unavailable", why: `no answer from ${set.children[silent]!.name}` };
    return options.resolution ? { ...none, outcome: "not-split-brain" } : none;
  }
  const reports: Partial<Record<Slot, SlotReport>> = {};
  for (const slot of SLOTS) {
    if (!slots.includes(slot) || (slot === "data" && !isRegular(firstStat(seen)))) continue;
    reports[slot] = await reportOf(task, () => healSlot(task, slot, tally));
  }
  const report = summary(reports, tally);
  logged(task, report, options.path);
  return report;
}

function healSlot(task: HealTask, slot: Slot, tally: Tally): Promise<SlotReport> {
  switch (slot) {
    case "data":
      return healData(task, tally);
    case "metadata":
      return healMetadata(task);
    case "entry":
      return healEntries(task);
  }
}

function summary(slots: Partial<Record<Slot, SlotReport>>, tally: Tally): HealReport {
  let outcome: HealOutcome = "not-needed";
  let why: string | undefined;
  for (const slot of SLOTS) {
    const report = slots[slot];
    if (!report || GRAVITY.indexOf(report.outcome) < GRAVITY.indexOf(outcome)) continue;
    outcome = report.outcome;
    why = report.why === undefined ? undefined : `${slot}: ${report.why}`;
  }
  const bytes = { bytesMoved: tally.moved, bytesTotal: tally.total };
  return { outcome, slots, ...bytes, ...(why === undefined ? {} : { why }) };
}

function logged({ set, inode }: HealTask, report: HealReport, path: string | undefined): void {
  const fields = { gfid: gfidText(inode.gfid), ...(path === undefined ? {} : { path }), ...report };
  if (report.outcome === "healed") set.log.info("healed", fields);
  else if (report.outcome === "split-brain") set.log.warn("in split brain", fields);
  else if (report.outcome === "partial" || report.outcome === "failed") set.log.warn("not healed", fields);
  else set.log.debug("heal ended", fields);
}
