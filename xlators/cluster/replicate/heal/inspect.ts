/**
 * Looks at an inode without healing it and without waiting for anybody's lock: what `heal info` lists and
 * what a heal begins with (spec translators.md 4.11; GlusterFS afr_lockless_inspect).
 *
 * Marks come and go with ordinary writes. A dirty mark alone is listed only when nobody holds a lock for I/O,
 * or when it is above one, which no single operation explains.
 */

import type { Call } from "../../../../src/core/call.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { isDir, isRegular } from "../../../../src/core/iatt.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { SLOTS, type Slot } from "../changelog.ts";
import { type ChildSet, childrenOf, childrenWhere, NO_CHILDREN } from "../child-set.ts";
import { direction, marksOf } from "../decide.ts";
import { quorumCount } from "../quorum.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { firstStat, healDomain, isAbsent, isGone, type Look, lockCount, look, sameType } from "./look.ts";
import type { Inspection } from "./report.ts";

/**
 * Slots that a heal should look at: with a mark, or with copies that look different. The data slot of a
 * directory is no slot of its own. Empty when fewer than two copies answered, and for different types.
 */
export function flaggedSlots(set: ReplicaSet, found: Look): readonly Slot[] {
  const answered = childrenOf(found.answered);
  const [first] = answered;
  if (first === undefined) return [];
  const flagged = new Set<Slot>();
  const directory = isDir(found.stats[first]!);
  for (const child of answered) {
    const { pending, dirty } = found.rows[child]!;
    for (const slot of SLOTS) {
      if (slot === "data" && directory) continue;
      if (dirty[slot] !== 0 || pending.some((counts) => counts[slot] !== 0)) flagged.add(slot);
    }
    const [a, b] = [found.stats[first]!, found.stats[child]!];
    if (a.uid !== b.uid || a.gid !== b.gid || a.mode !== b.mode) flagged.add("metadata");
  }
  const sizes = answered.filter((child) => !set.isArbiter(child)).map((child) => found.stats[child]!.size);
  if (isRegular(found.stats[first]!) && new Set(sizes).size > 1) flagged.add("data");
  return SLOTS.filter((slot) => flagged.has(slot));
}

/** Rejects when no child says anything of the inode. */
export async function inspect(set: ReplicaSet, call: Call, inode: Inode): Promise<Inspection> {
  const found = await look(set, call, { inode }, { locks: true });
  const silent = found.errors.find((error) => error && !isAbsent(error));
  if (found.answered === NO_CHILDREN && !isGone(set, found))
    throw silent ?? new FopError("ENOTCONN", { fop: "lookup", xlator: set.name });
  return judge(set, found);
}

/** The verdict on what an unlocked look with lock counts saw. */
export function judge(set: ReplicaSet, found: Look): Inspection {
  const { mode, size } = firstStat(found);
  const nothing: Inspection = {
    exists: found.answered !== NO_CHILDREN,
    mode,
    slots: [],
    splitBrain: [],
    possiblyHealing: false,
    status: "no-heal",
    pending: false,
    behind: NO_CHILDREN,
    bytesToHeal: 0,
  };
  if (!nothing.exists) return nothing;
  if (!sameType(found))
    return { ...nothing, status: "split-brain", splitBrain: ["type"], behind: found.answered };
  const slots = flaggedSlots(set, found);
  if (slots.length === 0) return nothing;
  const pending = found.rows.some((row) =>
    row.pending.some((counts) => slots.some((slot) => counts[slot] !== 0)),
  );
  const behind = behindIn(set, found, slots);
  const splitBrain = slots.filter((slot) => isSplit(set, found, slot));
  const healing = lockCount(found, healDomain(set)) > 0;
  const listed = { ...nothing, slots, splitBrain, pending, behind };
  const bytesToHeal = slots.includes("data") ? bytesBehind(set, found, behind, size) : 0;
  if (splitBrain.length > 0) return { ...listed, status: "split-brain", bytesToHeal };
  // Marks of fewer than all copies cannot be told apart from a heal that is due.
  if (found.answered !== set.all) return { ...listed, status: "heal", bytesToHeal };
  if (pending)
    return {
      ...listed,
      possiblyHealing: healing,
      status: healing ? "possibly-healing" : "heal",
      bytesToHeal,
    };
  const busy = lockCount(found, set.name) > 0;
  if (busy && !dirtyTwice(found, mode)) return { ...nothing, possiblyHealing: healing };
  return { ...listed, possiblyHealing: healing, status: "heal", bytesToHeal };
}

/** Without all answers nobody can tell; AFR does not say split brain then either. */
function isSplit(set: ReplicaSet, found: Look, slot: Slot): boolean {
  if (found.answered !== set.all) return false;
  const marks = marksOf(found.rows, slot);
  return direction(marks, found.answered, slot, quorumCount(set.quorum)).sources === NO_CHILDREN;
}

function dirtyTwice(found: Look, mode: number): boolean {
  const slots: readonly Slot[] = isDir({ mode })
    ? ["metadata", "entry"]
    : isRegular({ mode })
      ? ["data", "metadata"]
      : ["metadata"];
  return found.rows.some(({ dirty }) => slots.some((slot) => dirty[slot] > 1));
}

/** Copies that others blame, or that are smaller than the largest. */
function behindIn(set: ReplicaSet, found: Look, slots: readonly Slot[]): ChildSet {
  const blamed = childrenWhere(set.count, (j) =>
    found.rows.some((row, i) => i !== j && slots.some((slot) => row.pending[j]![slot] !== 0)),
  );
  if (!slots.includes("data")) return blamed;
  const data = childrenOf(found.answered & set.dataChildren);
  const largest = Math.max(...data.map((child) => found.stats[child]!.size));
  return (
    blamed | childrenWhere(set.count, (child) => data.includes(child) && found.stats[child]!.size < largest)
  );
}

function bytesBehind(set: ReplicaSet, found: Look, behind: ChildSet, size: number): number {
  const data = childrenOf(found.answered & set.dataChildren).map((child) => found.stats[child]!.size);
  return childrenOf(behind & set.dataChildren).length * Math.max(size, ...data);
}
