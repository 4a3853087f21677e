/**
 * Copies what a data heal has found to be missing, window by window (spec translators.md 4.9, step 3).
 *
 * Each window has a lock of its own, with an owner of its own: bricks would let an owner that holds one lock
 * overtake whoever waits for another, and a guest that wants the whole file would wait for the end of the
 * heal. Locks are taken one after the other, in the order of the file; while nobody else wants them several
 * windows are copied side by side, otherwise one at a time, with rests (pace.ts).
 */

import { fanout } from "../../../../src/core/concurrency.ts";
import type { Fd } from "../../../../src/core/inode.ts";
import { type ChildSet, childrenOf, NO_CHILDREN, only } from "../child-set.ts";
import type { Verdict } from "../decide.ts";
import { byteRange, type HeldLock, lockAll, withOwner } from "./locks.ts";
import { type Look, look } from "./look.ts";
import { blameGrew } from "./marks.ts";
import { Pace } from "./pace.ts";
import { copyPiece } from "./piece.ts";
import { checkStill, HealStop, type HealTask, requireAll, requireAnswers } from "./task.ts";
import { bytesOf, forEachOf, PIECE_BYTES, SideBySide, type Span, type Window, windowsOf } from "./windows.ts";

/** Pieces of a window that are copied at the same time. */
const IN_FLIGHT_MAX = 16;

/** What a data heal has found out and how far it is. */
export interface Work {
  readonly task: HealTask;
  readonly fd: Fd;
  readonly verdict: Verdict;
  /** As seen under the lock; `rows` as `commit` left them. */
  readonly found: Look;
  readonly spans: readonly Span[];
  /** Compare before copying. */
  readonly diff: boolean;
  /** Sinks with data that have not failed so far. */
  sinks: ChildSet;
  failed: ChildSet;
}

/** How much was moved, also when the heal stops half-way; bytes. */
export interface Tally {
  moved: number;
  total: number;
}

/** Copies all spans of the work. Rejects with HealStop or FopError, when all that was begun has ended. */
export async function copySpans(work: Work, tally: Tally): Promise<void> {
  const { task, spans } = work;
  const { set } = task;
  const pace = new Pace(set.env);
  const copying = new SideBySide();
  let done = 0;
  const tell = (): void => task.onProgress?.({ done, total: tally.total, moved: tally.moved });
  const copy = async (window: Window, lock: HeldLock): Promise<void> => {
    pace.ended(await copyWindow(work, window, lock, tally));
    done += bytesOf(window.pieces);
    tell();
  };
  tell();
  try {
    for (const window of windowsOf(spans, PIECE_BYTES * set.options["data-self-heal-window-size"])) {
      await copying.until(pace.othersMax);
      await pace.rest();
      checkStill(task);
      if (work.sinks === NO_CHILDREN || copying.hasFailed) break;
      const lock = await lockWindow(task, window);
      pace.began(lock.contended);
      copying.begin(copy(window, lock));
    }
  } finally {
    await copying.until(0);
  }
  copying.check();
}

function lockWindow({ set, call, inode }: HealTask, { start, end }: Window): Promise<HeldLock> {
  return lockAll(set, withOwner(set, call), byteRange(inode, set.name, start, end - start), "wait");
}

/** Copies a window and gives its lock back. Returns for how long it was held, in milliseconds. */
async function copyWindow(work: Work, window: Window, lock: HeldLock, tally: Tally): Promise<number> {
  const { task, fd, verdict, found, diff } = work;
  const { set, call } = task;
  const sinceMs = set.env.clock.nowMs();
  try {
    requireAll(task, lock);
    await checkSource(work);
    const plan = { set, call, fd, source: verdict.source, diff, stats: found.stats };
    await forEachOf(window.pieces, IN_FLIGHT_MAX, async (piece) => {
      if (work.sinks === NO_CHILDREN) return;
      const asked = work.sinks;
      const { done, moved } = await copyPiece(plan, piece, asked);
      tally.moved += moved;
      if (done !== asked) fail(work, asked & ~done & work.sinks, "writev");
    });
  } finally {
    await lock.release();
  }
  return set.env.clock.nowMs() - sinceMs;
}

/**
 * A source that failed a write of a guest since is good no longer, and may lack what the sinks have: copying
 * from it would undo what a guest was promised. Marks change under locks only, so that what is seen under
 * this one holds for the window.
 */
export async function checkSource({ task, verdict, found }: Work): Promise<Look> {
  const now = await look(task.set, task.call, { inode: task.inode });
  checkStill(task);
  requireAnswers(task, now);
  if (blameGrew(found.rows, now.rows, only(verdict.source), "data") !== NO_CHILDREN)
    throw new HealStop("failed", "the source failed an operation meanwhile", verdict);
  return now;
}

/** A sink that cannot be synced has failed. Never rejects. */
export async function syncSinks(work: Work): Promise<void> {
  const { task, fd } = work;
  const { set, call } = task;
  if (!set.options["ensure-durability"]) return;
  const sinks = childrenOf(work.sinks);
  const outcomes = await fanout(sinks, (child) => set.children[child]!.fsync(call, { fd, datasync: false }));
  for (const [at, outcome] of outcomes.entries())
    if (!outcome.ok) fail(work, only(sinks[at]!), "fsync", outcome.error);
}

/** Leaves sinks out from now on; they stay marked. */
export function fail(
  work: Pick<Work, "task" | "sinks" | "failed">,
  children: ChildSet,
  step: string,
  error?: unknown,
): void {
  const { set } = work.task;
  work.sinks &= ~children;
  work.failed |= children;
  for (const child of childrenOf(children))
    set.log.warn("a copy could not be healed", { child: set.children[child]!.name, step, error });
}
