/**
 * Which ranges of a file a heal has to look at: those that bricks remember to have changed while a sink was
 * away, when their records explain all marks (src/core/changed-ranges.ts), else all of it.
 */

import {
  type Blame,
  type ChangedRanges,
  decodeRecord,
  rangesToHeal,
} from "../../../../src/core/changed-ranges.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { CHANGED_RANGES_KEY } from "../../../../src/core/keys.ts";
import { type ChildSet, childrenOf, hasChild } from "../child-set.ts";
import type { Look } from "./look.ts";
import type { HealTask } from "./task.ts";
import type { Span } from "./windows.ts";

/**
 * The ranges that some sink lacks, ascending and apart, cut at the source's size; undefined when nothing less
 * than the whole file will do. `found`: as seen under the lock over the whole file, before any mark of this
 * heal.
 */
export async function changedSpans(
  task: HealTask,
  found: Look,
  source: number,
  sinks: ChildSet,
): Promise<readonly Span[] | undefined> {
  const { size } = found.stats[source]!;
  let all: ChangedRanges | undefined;
  for (const sink of childrenOf(sinks)) {
    const ranges = await rangesOf(task, found, source, sink);
    if (!ranges) return undefined;
    // A sink that is too short lacks its end, whatever anybody remembers.
    const { size: has } = found.stats[sink]!;
    if (has < size) ranges.add(has, size - has);
    if (all) all.addAll(ranges);
    else all = ranges;
  }
  return all?.spans(size);
}

async function rangesOf(
  task: HealTask,
  { rows }: Look,
  source: number,
  sink: number,
): Promise<ChangedRanges | undefined> {
  if (rows[sink]!.pending[sink]!.data !== 0 || rows[source]!.pending[source]!.data !== 0) return undefined;
  const others = childrenOf(task.set.all).filter((child) => child !== sink);
  const against = others.filter((child) => rows[child]!.pending[sink]!.data !== 0);
  const by = others.filter((child) => rows[sink]!.pending[child]!.data !== 0);
  // Without a record on the first of them the others need not be asked.
  const blame = async (brick: number, missing: number): Promise<Blame> => ({
    counter: rows[brick]!.pending[missing]!.data,
    record: await recordOn(task, brick, missing),
  });
  if (against.length === 0 || !hasChild(task.set.all, source)) return undefined;
  return rangesToHeal({
    against: await Promise.all(against.map((child) => blame(child, sink))),
    by: await Promise.all(by.map((child) => blame(sink, child))),
    sinkDirty: rows[sink]!.dirty.data,
    sourceDirty: rows[source]!.dirty.data,
  });
}

/** What a brick remembers of a copy; undefined when it has no record or cannot have one. */
async function recordOn(
  { set, call, inode }: HealTask,
  brick: number,
  missing: number,
): Promise<Blame["record"]> {
  const name = CHANGED_RANGES_KEY.RECORD_PREFIX + set.pendingKeys[missing]!;
  try {
    const { xattrs } = await set.children[brick]!.getxattr(call, { loc: { inode }, name });
    return decodeRecord(xattrs.bytes(name));
  } catch (error) {
    if (error instanceof FopError) return undefined;
    throw error;
  }
}
