/**
 * Heals owner, mode, xattrs and times (spec translators.md 4.9, "metadata"), under the lock that metadata
 * operations take. Xattrs that belong to a copy or its brick stay (look.ts, isHealedXattr).
 */

import { fanout } from "../../../../src/core/concurrency.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { FopError, toFopError } from "../../../../src/core/errors.ts";
import { type Iatt, S_IFLNK, S_IFMT, SETATTR } from "../../../../src/core/iatt.ts";
import { KEY } from "../../../../src/core/keys.ts";
import { type ChildSet, childrenOf, NO_CHILDREN, only } from "../child-set.ts";
import { lockAll, metadataOf } from "./locks.ts";
import { isHealedXattr, look } from "./look.ts";
import { commit, undo } from "./marks.ts";
import type { SlotReport } from "./report.ts";
import { checkStill, finished, type HealTask, requireAll, requireAnswers, verdictOn } from "./task.ts";

const OWNER_AND_MODE = SETATTR.UID | SETATTR.GID | SETATTR.MODE;
const OWNER = SETATTR.UID | SETATTR.GID;
const TIMES = SETATTR.ATIME | SETATTR.MTIME | SETATTR.CTIME;

/** Throws HealStop or FopError; marks then say what is left to do. */
export async function healMetadata(task: HealTask): Promise<SlotReport> {
  const { set, call, inode } = task;
  const lock = await lockAll(set, call, metadataOf(inode, set.name), "wait");
  try {
    requireAll(task, lock);
    const seen = await look(set, call, { inode }, { attributes: true });
    requireAnswers(task, seen);
    const verdict = verdictOn(task, "metadata", seen);
    const rows = await commit(set, call, inode, seen.rows, verdict, "metadata");
    const { source } = verdict;
    const xattrs = await xattrsOf(task, source);
    const failed = await copyTo(task, verdict.sinks, seen.stats[source]!, xattrs);
    checkStill(task);
    const outcome = { sources: verdict.sources, healed: verdict.sinks & ~failed, failed };
    const error = await undo(set, call, inode, rows, outcome, ["metadata"]);
    if (error) throw error;
    return finished(verdict, failed, failed === NO_CHILDREN ? undefined : "see the log");
  } finally {
    await lock.release();
  }
}

/** Returns the sinks that failed. */
async function copyTo(task: HealTask, sinks: ChildSet, stat: Iatt, xattrs: Dict): Promise<ChildSet> {
  const { set } = task;
  const children = childrenOf(sinks);
  const outcomes = await fanout(children, (child) => copyToSink(task, child, stat, xattrs));
  let failed = NO_CHILDREN;
  for (const [at, outcome] of outcomes.entries()) {
    if (outcome.ok) continue;
    const child = children[at]!;
    failed |= only(child);
    const { name } = set.children[child]!;
    set.log.warn("a copy could not be healed", { child: name, step: "metadata", error: outcome.error });
  }
  return failed;
}

/** Times come last: what goes before changes them. */
async function copyToSink(task: HealTask, child: number, stat: Iatt, wanted: Dict): Promise<void> {
  const { set, call, inode } = task;
  const brick = set.children[child]!;
  const loc = { inode };
  // A symlink has no mode of its own.
  const valid = (stat.mode & S_IFMT) === S_IFLNK ? OWNER : OWNER_AND_MODE;
  await brick.setattr(call, { loc, stat, valid });
  const present = await xattrsOf(task, child);
  for (const name of present.keys())
    if (!wanted.has(name) && name !== KEY.MDATA) await removeXattr(task, child, name);
  const changed = new Dict();
  for (const [name, value] of wanted) if (!same(present, wanted, name)) changed.set(name, value);
  if (changed.size > 0) await brick.setxattr(call, { loc, xattrs: changed, flags: 0 });
  await brick.setattr(call, { loc, stat, valid: TIMES });
}

function same(a: Dict, b: Dict, name: string): boolean {
  const value = a.bytes(name);
  return value !== undefined && b.bytes(name)?.equals(value) === true;
}

async function removeXattr({ set, call, inode }: HealTask, child: number, name: string): Promise<void> {
  try {
    await set.children[child]!.removexattr(call, { loc: { inode }, name });
  } catch (error) {
    const { code } = toFopError(error);
    if (code !== "ENODATA") throw error;
  }
}

/** The xattrs of a copy that heal makes equal, the client's times included. */
async function xattrsOf({ set, call, inode }: HealTask, child: number): Promise<Dict> {
  const healed = new Dict();
  try {
    const { xattrs } = await set.children[child]!.getxattr(call, { loc: { inode }, name: undefined });
    for (const [name, value] of xattrs) if (isHealedXattr(name)) healed.set(name, value);
  } catch (error) {
    // A brick without any may say so with an error.
    if (!(error instanceof FopError && error.code === "ENODATA")) throw error;
  }
  return healed;
}
