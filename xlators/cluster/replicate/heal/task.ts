/**
 * One heal of one inode: what its steps share, and how they stop.
 *
 * A heal goes on only while the children are those that it began with: a brick that was away, however short,
 * may have lost what the heal wrote and not synced.
 */

import type { Call } from "../../../../src/core/call.ts";
import { type FopError, toFopError } from "../../../../src/core/errors.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import type { Slot } from "../changelog.ts";
import { NO_CHILDREN } from "../child-set.ts";
import { type CopyStat, decide, marksOf, type Resolution, type Verdict } from "../decide.ts";
import { acknowledgersMin, quorumCount } from "../quorum.ts";
import type { ReplicaSet } from "../replica-set.ts";
import type { HeldLock } from "./locks.ts";
import { attributesOf, type Look } from "./look.ts";
import type { HealProgress, SlotOutcome, SlotReport } from "./report.ts";

export interface HealTask {
  readonly set: ReplicaSet;
  /** With an lk-owner of this heal and, perhaps, a signal. */
  readonly call: Call;
  readonly inode: Inode;
  /** `set.generation` at the beginning. */
  readonly generation: number;
  readonly resolution: Resolution | undefined;
  readonly dryRun: boolean;
  readonly onProgress: ((progress: HealProgress) => void) | undefined;
}

/** Ends a slot's heal early, with what is to be reported. Marks are as the last step left them. */
export class HealStop extends Error {
  readonly report: SlotReport;

  constructor(outcome: SlotOutcome, why: string, verdict?: Pick<Verdict, "source" | "sources" | "sinks">) {
    super(why);
    this.name = "HealStop";
    this.report = {
      outcome,
      source: verdict?.source ?? -1,
      sources: verdict?.sources ?? NO_CHILDREN,
      sinks: verdict?.sinks ?? NO_CHILDREN,
      healed: NO_CHILDREN,
      why,
    };
  }
}

/** Throws HealStop when the heal must not go on. */
export function checkStill({ set, call, generation }: HealTask): void {
  if (set.generation !== generation) throw new HealStop("unavailable", "a child came or went meanwhile");
  if (call.signal?.aborted) throw new HealStop("failed", "stopped by its caller");
}

/** Throws HealStop unless the lock is held on every child. */
export function requireAll(task: HealTask, lock: HeldLock): void {
  if (lock.onAll) return;
  if (lock.error?.code === "EAGAIN") throw new HealStop("busy", "somebody else heals it");
  throw new HealStop("unavailable", unlocked(task, lock));
}

function unlocked({ set }: HealTask, lock: HeldLock): string {
  const names = set.children
    .filter((_, child) => (lock.children & (1 << child)) === 0)
    .map(({ name }) => name);
  return `could not lock it on ${names.join(", ")}${lock.error ? `: ${lock.error.code}` : ""}`;
}

/** Throws HealStop unless every child answered. */
export function requireAnswers({ set }: HealTask, found: Look): void {
  if (found.answered === set.all) return;
  const silent = set.children.findIndex((_, child) => (found.answered & (1 << child)) === 0);
  const code = found.errors[silent]?.code ?? "ENOTCONN";
  throw new HealStop("unavailable", `no answer from ${set.children[silent]!.name}: ${code}`);
}

/** The verdict on what was seen under lock. Throws HealStop for every kind that is not to be healed. */
export function verdictOn(task: HealTask, slot: Slot, found: Look): Verdict {
  const { set } = task;
  const verdict = decide({
    slot,
    marks: marksOf(found.rows, slot),
    locked: found.answered,
    stats: found.stats satisfies readonly CopyStat[],
    ...(slot === "metadata"
      ? { attributes: set.children.map((_, child) => attributesOf(found, child)) }
      : {}),
    arbiter: set.arbiter,
    quorumCount: quorumCount(set.quorum),
    acknowledgers: acknowledgersMin(set.quorum),
    policy: set.options["favorite-child-policy"],
    resolution: task.resolution,
    forced: set.options["metadata-splitbrain-forced-heal"],
  });
  switch (verdict.kind) {
    case "heal":
    case "merge":
      if (task.dryRun) throw new HealStop("would-heal", "nothing was changed", verdict);
      return verdict;
    case "clean":
      throw new HealStop("clean", "all copies are equal", verdict);
    case "split-brain":
      throw new HealStop("split-brain", "every copy is blamed by another", verdict);
    case "arbiter-only":
      throw new HealStop("arbiter-only", "the only good copy is the arbiter's, which has no data", verdict);
    case "not-split-brain":
      throw new HealStop("not-split-brain", "it is in no split brain", verdict);
    default:
      throw new HealStop(verdict.kind, verdict.why ?? "not every child is there", verdict);
  }
}

/** Runs a slot's heal; a stop is its report, an error "unavailable" or "failed". */
export async function reportOf(task: HealTask, run: () => Promise<SlotReport>): Promise<SlotReport> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof HealStop) return error.report;
    const failure = toFopError(error);
    return new HealStop(failure.code === "ENOTCONN" ? "unavailable" : "failed", whyOf(task, failure)).report;
  }
}

function whyOf({ set }: HealTask, error: FopError): string {
  const where = error.xlator === "" ? set.name : error.xlator;
  const detail = error.message === error.code ? "" : ` (${error.message})`;
  return `${where}: ${error.fop || "heal"}: ${error.code}${detail}`;
}

/** The report of a heal that went through to its end. */
export function finished(verdict: Verdict, failed: number, why?: string): SlotReport {
  const healed = verdict.sinks & ~failed;
  return {
    outcome: failed === NO_CHILDREN ? "healed" : healed === NO_CHILDREN ? "failed" : "partial",
    source: verdict.source,
    sources: verdict.sources,
    sinks: verdict.sinks,
    healed,
    ...(why === undefined ? {} : { why }),
  };
}
