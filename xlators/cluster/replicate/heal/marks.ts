/**
 * How a heal changes marks (spec translators.md 4.8, 4.9). They change by xattrop alone, by what was read
 * under the lock, so that increments of others are never lost.
 *
 * `commit` writes the verdict down before a sink is touched: every source blames every sink, and no sink a
 * source. A heal that ends half-way, by whatever accident, is therefore taken up again in the same direction;
 * AFR decides anew from copies that the first heal has changed. `undo` takes away what was read, first on
 * the sinks: as long as a source blames a copy, that copy is no source.
 */

import type { Call } from "../../../../src/core/call.ts";
import { fanout } from "../../../../src/core/concurrency.ts";
import { Dict } from "../../../../src/core/dict.ts";
import type { FopError } from "../../../../src/core/errors.ts";
import { XATTROP } from "../../../../src/core/fops.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { INDEX_KEY } from "../../../../src/core/keys.ts";
import {
  addCounts,
  type ChangelogRow,
  type Counts,
  countsOf,
  isClean,
  NO_COUNTS,
  rowIncrements,
  type Slot,
} from "../changelog.ts";
import { type ChildSet, childrenOf, hasChild, NO_CHILDREN, only } from "../child-set.ts";
import type { ReplicaSet } from "../replica-set.ts";

/** Increments of one child's row; negative ones take away. */
export interface Increments {
  readonly pending: readonly Counts[];
  readonly dirty: Counts;
}

export const NO_INCREMENTS: Increments = { pending: [], dirty: NO_COUNTS };

function isNothing({ pending, dirty }: Increments): boolean {
  return isClean(dirty) && pending.every(isClean);
}

/** One xattrop to a child. Rejects with what the child answers. */
export async function addMarks(
  set: ReplicaSet,
  call: Call,
  inode: Inode,
  child: number,
  { pending, dirty }: Increments,
  xdata?: Dict,
): Promise<void> {
  const xattrs = rowIncrements(set.pendingKeys, (blamed) => pending[blamed], dirty);
  await set.children[child]!.xattrop(call, { loc: { inode }, op: XATTROP.ADD_ARRAY, xattrs, xdata });
}

/** Who is healed from whom. */
export interface Sides {
  readonly sources: ChildSet;
  readonly sinks: ChildSet;
}

/**
 * What `commit` adds to each row. A source that blames itself stops doing so, as its blame of others would
 * not count.
 */
export function commitment(rows: readonly ChangelogRow[], sides: Sides, slot: Slot): Increments[] {
  const { sources, sinks } = sides;
  return rows.map((row, i) => {
    const pending = row.pending.map((counts, j): Counts => {
      const value = counts[slot];
      if (hasChild(sources, i)) {
        if (i === j) return countsOf(slot, -value);
        return hasChild(sinks, j) && value === 0 ? countsOf(slot, 1) : NO_COUNTS;
      }
      return hasChild(sinks, i) && hasChild(sources, j) ? countsOf(slot, -value) : NO_COUNTS;
    });
    return { pending, dirty: NO_COUNTS };
  });
}

/**
 * Makes the verdict durable: on sources first, then on sinks. Returns the rows as they are now. Rejects when
 * a source does not take it; nothing was changed then that would turn the direction.
 *
 * Where nobody is blamed all copies have what was acknowledged, and any of them may be the source next time.
 * Blame would even do harm: a client that reaches the sinks alone does not see it, and what it writes there
 * would stand against the source's word. If there is no mark at all, as of copies that only look different,
 * the sources get a dirty mark: a heal that ends half-way has made them look alike.
 */
export async function commit(
  set: ReplicaSet,
  call: Call,
  inode: Inode,
  rows: readonly ChangelogRow[],
  sides: Sides,
  slot: Slot,
): Promise<readonly ChangelogRow[]> {
  const blameless = isBlameless(rows, [slot]);
  if (blameless && rows.some(({ dirty }) => dirty[slot] !== 0)) return rows;
  const increments = blameless ? dirtyMarks(rows, sides, slot) : commitment(rows, sides, slot);
  for (const side of [sides.sources, sides.sinks]) {
    const children = childrenOf(side).filter((child) => !isNothing(increments[child]!));
    const outcomes = await fanout(children, (child) => addMarks(set, call, inode, child, increments[child]!));
    const failed = outcomes.find((outcome) => !outcome.ok);
    if (failed && !failed.ok) throw failed.error;
  }
  return rows.map((row, child) => added(row, increments[child]!));
}

/** Whether no copy blames any for one of these slots. */
function isBlameless(rows: readonly ChangelogRow[], slots: readonly Slot[]): boolean {
  return rows.every(({ pending }) => pending.every((counts) => slots.every((slot) => counts[slot] === 0)));
}

function dirtyMarks(rows: readonly ChangelogRow[], { sources }: Sides, slot: Slot): Increments[] {
  return rows.map((row, i) => ({
    pending: row.pending.map(() => NO_COUNTS),
    dirty: hasChild(sources, i) ? countsOf(slot, 1) : NO_COUNTS,
  }));
}

function added(row: ChangelogRow, { pending, dirty }: Increments): ChangelogRow {
  return {
    pending: row.pending.map((counts, child) => addCounts(counts, pending[child]!)),
    dirty: addCounts(row.dirty, dirty),
  };
}

export interface Outcome {
  readonly sources: ChildSet;
  /** Sinks that are as good as the sources now. */
  readonly healed: ChildSet;
  /** Sinks that are not; good copies go on blaming them, by one more. */
  readonly failed: ChildSet;
}

/**
 * What `undo` adds to each row: the observed marks of all good copies go. A failed sink keeps its dirty mark,
 * loses its blame of good copies, and is blamed once more by each of them.
 */
export function withdrawal(
  rows: readonly ChangelogRow[],
  { sources, healed, failed }: Outcome,
  slots: readonly Slot[],
): Increments[] {
  const good = sources | healed;
  const take = (counts: Counts): Counts => inSlots(slots, (slot) => 0 - counts[slot]);
  return rows.map((row, i) => ({
    pending: row.pending.map((counts, j): Counts => {
      if (hasChild(good, j)) return take(counts);
      if (hasChild(failed, j) && hasChild(good, i)) return inSlots(slots, () => 1);
      return NO_COUNTS;
    }),
    dirty: hasChild(good, i) ? take(row.dirty) : NO_COUNTS,
  }));
}

function inSlots(slots: readonly Slot[], count: (slot: Slot) => number): Counts {
  const of = (slot: Slot): number => (slots.includes(slot) ? count(slot) : 0);
  return { data: of("data"), metadata: of("metadata"), entry: of("entry") };
}

/**
 * Takes observed marks away: failed sinks (as far as they can), healed sinks, sources. Returns the first
 * error of a good copy; its marks are left for the next heal then, and with it those of the sources.
 *
 * Copies that are no quorum do not begin to blame those that failed, which may be the quorum that goes on
 * without them: all marks stay then, as of a heal that was interrupted. GlusterFS blames
 * (afr_selfheal_undo_pending).
 */
export async function undo(
  set: ReplicaSet,
  call: Call,
  inode: Inode,
  rows: readonly ChangelogRow[],
  outcome: Outcome,
  slots: readonly Slot[],
): Promise<FopError | undefined> {
  if (outcome.failed !== NO_CHILDREN && isBlameless(rows, slots)) {
    if (!set.hasQuorum(outcome.sources | outcome.healed)) return undefined;
  }
  const increments = withdrawal(rows, outcome, slots);
  const purges = slots.includes("entry") && set.options["granular-entry-heal"];
  const xdata = purges ? new Dict().setInt(INDEX_KEY.PURGE, 1) : undefined;
  for (const side of [outcome.failed, outcome.healed, outcome.sources]) {
    const outcomes = await fanout(childrenOf(side), (child) =>
      addMarks(set, call, inode, child, increments[child]!, xdata),
    );
    const bad = outcomes.find((one) => !one.ok);
    if (bad && !bad.ok && side !== outcome.failed) return bad.error;
  }
  return undefined;
}

/** Whether a child is blamed by others more than it was: it failed an operation meanwhile. */
export function blameGrew(
  before: readonly ChangelogRow[],
  now: readonly ChangelogRow[],
  children: ChildSet,
  slot: Slot,
): ChildSet {
  let grown = NO_CHILDREN;
  for (const j of childrenOf(children))
    if (now.some((row, i) => row.pending[j]![slot] !== before[i]!.pending[j]![slot])) grown |= only(j);
  return grown;
}
