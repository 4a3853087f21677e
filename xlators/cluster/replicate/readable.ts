/**
 * Which copies of an inode may be read, judged by what the bricks say of it (spec translators.md 4.5). Pure.
 *
 * A copy is good in a slot when its brick answered, is no arbiter, and no answer blames it in that slot;
 * directories are judged by the entry slot where files are by data. Of a file that nobody is writing, a
 * copy that is smaller than another counts as blamed too. The dirty mark makes nothing unreadable.
 */

import type { Dict } from "../../../src/core/dict.ts";
import { type Iatt, isDir } from "../../../src/core/iatt.ts";
import { LOCK_KEY } from "../../../src/core/keys.ts";
import { type Counts, decodeCounts, decodeRow, type Slot } from "./changelog.ts";
import { type ChildSet, hasChild, NO_CHILDREN, withChild, withoutChild } from "./child-set.ts";
import { direction, marksOf } from "./decide.ts";
import { type Outcomes, successes } from "./fan-out.ts";
import { quorumCount } from "./quorum.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** Reply: the brick knows this copy to be damaged (GlusterFS' bitrot-stub). */
const BAD_INODE = "glusterfs.bad-inode";

/** What a lookup or fstat of one copy told. */
export interface CopyReply {
  readonly stat: Iatt;
  readonly xdata?: Dict | undefined;
}

export interface Readable {
  /** Copies that answered. */
  readonly answered: ChildSet;
  readonly data: ChildSet;
  readonly metadata: ChildSet;
  /** Copies that another (or their own) mark blames, or that are too small. */
  readonly accusedData: ChildSet;
  readonly accusedMetadata: ChildSet;
}

/** The replies are of one object: their gfids are equal. */
export function readableOf(set: ReplicaSet, outcomes: Outcomes<CopyReply>): Readable {
  let answered = NO_CHILDREN;
  let sound = NO_CHILDREN;
  let accusedData = NO_CHILDREN;
  let accusedMetadata = NO_CHILDREN;
  let directory = false;
  for (const [child, outcome] of outcomes.entries()) {
    if (!outcome?.ok) continue;
    const { stat, xdata } = outcome.reply;
    answered = withChild(answered, child);
    if (xdata?.has(BAD_INODE)) continue;
    sound = withChild(sound, child);
    directory = isDir(stat);
    accusedData |= accused(set, xdata, (counts) => (directory ? counts.entry : counts.data));
    accusedMetadata |= accused(set, xdata, (counts) => counts.metadata);
  }
  if (!directory && !beingWritten(outcomes)) accusedData |= tooSmall(set, outcomes, sound & ~accusedData);
  const eligible = sound & set.dataChildren;
  return {
    answered,
    data: eligible & ~accusedData,
    metadata: eligible & ~accusedMetadata,
    accusedData,
    accusedMetadata,
  };
}

/**
 * Copies that a heal would take for good where none may be read: an arbiter that nobody blames, or those that
 * too few blame to have missed what was acknowledged. None in a split brain.
 */
export function healedFrom(set: ReplicaSet, outcomes: Outcomes<CopyReply>, slot: Slot): ChildSet {
  const rows = outcomes.map((outcome) =>
    decodeRow(outcome?.ok ? outcome.reply.xdata : undefined, set.pendingKeys),
  );
  return direction(marksOf(rows, slot), successes(outcomes), slot, quorumCount(set.quorum)).sources;
}

/** Whether an answer counts locks on the inode: a transaction may be under way. */
export function beingWritten(outcomes: Outcomes<CopyReply>): boolean {
  return outcomes.some((outcome) => outcome?.ok && count(outcome.reply.xdata, LOCK_KEY.INODELK_COUNT) > 0);
}

/** Whether an answer says that the name that was looked up is locked in its directory. */
export function nameLocked(outcomes: Outcomes<CopyReply>): boolean {
  return outcomes.some((outcome) => {
    const xdata = outcome?.ok ? outcome.reply.xdata : outcome?.error.xdata;
    return count(xdata, LOCK_KEY.PARENT_ENTRYLK) > 0;
  });
}

function count(xdata: Dict | undefined, key: string): number {
  return xdata?.number(key) ?? 0;
}

function accused(set: ReplicaSet, xdata: Dict | undefined, slot: (counts: Counts) => number): ChildSet {
  let accusations = NO_CHILDREN;
  for (const [child, key] of set.pendingKeys.entries()) {
    const bytes = xdata?.bytes(key);
    if (bytes && slot(decodeCounts(bytes)) !== 0) accusations = withChild(accusations, child);
  }
  return accusations;
}

/** Of these copies the ones that are smaller than the largest of them; an arbiter has no size to compare. */
function tooSmall(set: ReplicaSet, outcomes: Outcomes<CopyReply>, among: ChildSet): ChildSet {
  const copies = set.arbiter < 0 ? among : withoutChild(among, set.arbiter);
  const sizeOf = (child: number): number => {
    const outcome = outcomes[child];
    return outcome?.ok && hasChild(copies, child) ? outcome.reply.stat.size : -1;
  };
  const largest = outcomes.reduce((size, _, child) => Math.max(size, sizeOf(child)), 0);
  let small = NO_CHILDREN;
  for (let child = 0; child < set.count; child++)
    if (hasChild(copies, child) && sizeOf(child) < largest) small = withChild(small, child);
  return small;
}
