/**
 * Heals the bytes of a file (spec translators.md 4.9, "data").
 *
 * One healer a file, by a lock over all of it in the healers' domain. In the domain of I/O all of it is
 * locked twice for a moment: at first to decide, to write the verdict down and to cut the sinks to size; in
 * the end to see that nothing has changed sides and to take the marks away. In between only the windows
 * at work are locked (copy.ts), so that guests go on writing everywhere else, to all copies.
 *
 * Promises: no byte of a sink is overwritten while another copy blames the source for anything new; sinks are
 * synced before their marks go; the arbiter never gets data.
 */

import { fanout } from "../../../../src/core/concurrency.ts";
import { SETATTR } from "../../../../src/core/iatt.ts";
import { Fd } from "../../../../src/core/inode.ts";
import { O_RDWR } from "../../../../src/core/open-flags.ts";
import { childrenOf, hasChild, NO_CHILDREN, only, withoutChild } from "../child-set.ts";
import { checkSource, copySpans, fail, syncSinks, type Tally, type Work } from "./copy.ts";
import { dataIn } from "./extents.ts";
import { type HeldLock, lockAll, wholeFile } from "./locks.ts";
import { healDomain, look } from "./look.ts";
import { commit, undo } from "./marks.ts";
import { hasHoles } from "./piece.ts";
import { changedSpans } from "./records.ts";
import type { SlotReport } from "./report.ts";
import { checkStill, finished, type HealTask, requireAll, requireAnswers, verdictOn } from "./task.ts";
import { bytesOf } from "./windows.ts";

const TIMES = SETATTR.ATIME | SETATTR.MTIME | SETATTR.CTIME;

/** Throws HealStop or FopError; marks then say what is left to do. */
export async function healData(task: HealTask, tally: Tally): Promise<SlotReport> {
  const { set, call, inode } = task;
  const healer = await lockAll(set, call, wholeFile(inode, healDomain(set)), "majority");
  try {
    requireAll(task, healer);
    const fd = new Fd(inode, O_RDWR, call.pid);
    const opened = await fanout(set.children, (child) =>
      child.open(call, { loc: { inode }, fd, flags: O_RDWR }),
    );
    try {
      for (const outcome of opened) if (!outcome.ok) throw outcome.error;
      const work = await narrowed(await prepare(task, fd));
      tally.total = bytesOf(work.spans);
      await copySpans(work, tally);
      await syncSinks(work);
      return await finish(work);
    } finally {
      await Promise.all(set.children.map((child, i) => (opened[i]!.ok ? child.release(fd) : undefined)));
    }
  } finally {
    await healer.release();
  }
}

/** Decides under the lock, writes the verdict down, cuts sinks to the source's size. */
async function prepare(task: HealTask, fd: Fd): Promise<Work> {
  const { set, call, inode } = task;
  const lock = await lockAll(set, call, wholeFile(inode, set.name), "wait");
  try {
    requireAll(task, lock);
    const seen = await look(set, call, { inode });
    requireAnswers(task, seen);
    const verdict = verdictOn(task, "data", seen);
    const { source } = verdict;
    const sinks = set.arbiter < 0 ? verdict.sinks : withoutChild(verdict.sinks, set.arbiter);
    const changed = await changedSpans(task, seen, source, sinks);
    checkStill(task);
    const rows = await commit(set, call, inode, seen.rows, verdict, "data");
    const found = { ...seen, rows };
    const { size } = seen.stats[source]!;
    const work = { task, fd, verdict, found, sinks, failed: NO_CHILDREN };
    await truncateSinks(work, size);
    const whole = size > 0 && sinks !== NO_CHILDREN ? [{ start: 0, end: size }] : [];
    return { ...work, spans: changed ?? whole, diff: changed === undefined && isDiff(work) };
  } finally {
    await lock.release();
  }
}

/** Of a sparse file only what is data somewhere. */
async function narrowed(work: Work): Promise<Work> {
  const { task, fd, verdict, found, sinks, spans } = work;
  if (!hasHoles(found.stats[verdict.source]!)) return work;
  return { ...work, spans: await dataIn(task, fd, [verdict.source, ...childrenOf(sinks)], spans) };
}

/** Copies that are compared first; with nothing in any sink there is nothing to compare. */
function isDiff({ task, found, sinks }: Pick<Work, "task" | "found" | "sinks">): boolean {
  const algorithm = task.set.options["data-self-heal-algorithm"];
  if (algorithm !== "dynamic") return algorithm === "diff";
  return childrenOf(sinks).some((child) => found.stats[child]!.size > 0);
}

/** The arbiter is told too: its layers may keep account of it. */
async function truncateSinks(work: Omit<Work, "spans" | "diff">, size: number): Promise<void> {
  const { task, fd, verdict, found } = work;
  const { set, call } = task;
  const wrong = childrenOf(verdict.sinks).filter(
    (child) => set.isArbiter(child) || found.stats[child]!.size !== size,
  );
  const outcomes = await fanout(wrong, (child) => set.children[child]!.ftruncate(call, { fd, offset: size }));
  for (const [at, outcome] of outcomes.entries())
    if (!outcome.ok) fail(work, only(wrong[at]!), "ftruncate", outcome.error);
}

/** Sees that all is well, restores times, takes the marks away. */
async function finish(work: Work): Promise<SlotReport> {
  const { task, verdict, found } = work;
  const { set, call, inode } = task;
  const lock: HeldLock = await lockAll(set, call, wholeFile(inode, set.name), "wait");
  try {
    requireAll(task, lock);
    const now = await checkSource(work);
    const stat = now.stats[verdict.source]!;
    for (const child of childrenOf(work.sinks))
      if (now.stats[child]!.size !== stat.size) fail(work, only(child), "compare sizes");
    const arbiter =
      set.arbiter >= 0 && hasChild(verdict.sinks & ~work.failed, set.arbiter) ? only(set.arbiter) : 0;
    const healed = work.sinks | arbiter;
    const args = { loc: { inode }, stat, valid: TIMES };
    await fanout(childrenOf(work.sinks), (child) => set.children[child]!.setattr(call, args));
    const outcome = { sources: verdict.sources, healed, failed: verdict.sinks & ~healed };
    const error = await undo(set, call, inode, found.rows, outcome, ["data"]);
    if (error) throw error;
    return finished(verdict, outcome.failed, outcome.failed === NO_CHILDREN ? undefined : "see the log");
  } finally {
    await lock.release();
  }
}
