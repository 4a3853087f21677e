/**
 * A fop on several children at once, and one answer out of their answers (spec translators.md 4.3).
 */

import type { Call } from "../../../src/core/call.ts";
import type { Outcome } from "../../../src/core/concurrency.ts";
import { type ErrnoName, FopError, toFopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import { gfidText } from "../../../src/core/gfid.ts";
import type { Inode } from "../../../src/core/inode.ts";
import { wind } from "../../../src/core/xlator.ts";
import { type ChildSet, countChildren, hasChild, NO_CHILDREN, withChild } from "./child-set.ts";
import { isAbsent } from "./heal/look.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** By child; undefined where nothing was sent. */
export type Outcomes<R> = readonly (Outcome<R> | undefined)[];

/** Of several errors the one that tells most; any other is outranked by the one that came last. */
const ERRNO_PRIORITY: readonly ErrnoName[] = ["ENODATA", "ENOENT", "ESTALE", "ENOSPC"];

/** Sends to all of `children` at the same time and waits for all; never rejects. */
export function fanoutTo<F extends FopName>(
  set: ReplicaSet,
  children: ChildSet,
  fop: F,
  call: Call,
  args: Args<F>,
): Promise<Outcomes<Reply<F>>> {
  return Promise.all(
    set.children.map(async (child, index): Promise<Outcome<Reply<F>> | undefined> => {
      if (!hasChild(children, index)) return undefined;
      try {
        return { ok: true, reply: await wind(child, fop, call, args) };
      } catch (error) {
        return { ok: false, error: toFopError(error, { fop, xlator: child.name }) };
      }
    }),
  );
}

/** The children that succeeded. */
export function successes(outcomes: Outcomes<unknown>): ChildSet {
  let set = NO_CHILDREN;
  for (const [index, outcome] of outcomes.entries()) if (outcome?.ok) set = withChild(set, index);
  return set;
}

/** The children that answered with an error. */
export function failures(outcomes: Outcomes<unknown>): ChildSet {
  let set = NO_CHILDREN;
  for (const [index, outcome] of outcomes.entries()) if (outcome?.ok === false) set = withChild(set, index);
  return set;
}

/** The children that answered that there is no such thing, or no such open file. */
export function absences(outcomes: Outcomes<unknown>): ChildSet {
  let set = NO_CHILDREN;
  for (const [index, outcome] of outcomes.entries())
    if (outcome?.ok === false && saysAbsent(outcome.error)) set = withChild(set, index);
  return set;
}

/** A removed file cannot be opened again after a connection broke: EBADFD to those who had it open. */
export function saysAbsent(error: FopError): boolean {
  return isAbsent(error) || error.code === "EBADFD" || error.code === "EBADF";
}

/** The error to answer with; undefined when no child answered with one. */
export function mergedError(outcomes: Outcomes<unknown>): FopError | undefined {
  let best: FopError | undefined;
  for (const outcome of outcomes) {
    if (outcome === undefined || outcome.ok) continue;
    if (best === undefined || errorRank(outcome.error) >= errorRank(best)) best = outcome.error;
  }
  return best;
}

/** The higher one is the better answer of two; of equal ones the later. */
export function errorRank({ code }: FopError): number {
  if (code === "ENOTCONN") return -1;
  const place = ERRNO_PRIORITY.indexOf(code);
  return place < 0 ? 0 : ERRNO_PRIORITY.length - place;
}

/** What a set without quorum answers. */
export function noQuorum(set: ReplicaSet, fop: FopName): FopError {
  const message = `no quorum: ${countChildren(set.up)} of ${set.children.length} copies up`;
  return new FopError("ENOTCONN", { fop, xlator: set.name, message });
}

/** What is answered where each copy is blamed by another. */
export function noGoodCopy(set: ReplicaSet, fop: FopName, { gfid }: Inode): FopError {
  const message = `no copy of ${gfidText(gfid)} counts as good; "mortar heal SOURCE info" tells of each`;
  return new FopError("EIO", { fop, xlator: set.name, message });
}

/** On all up children: the first good reply, when those that gave one are a quorum; else the merged error. */
export async function onAll<F extends FopName>(
  set: ReplicaSet,
  fop: F,
  call: Call,
  args: Args<F>,
): Promise<Reply<F>> {
  if (!set.hasQuorum()) throw noQuorum(set, fop);
  const outcomes = await fanoutTo(set, set.up, fop, call, args);
  if (!set.hasQuorum(successes(outcomes))) throw mergedError(outcomes) ?? noQuorum(set, fop);
  for (const outcome of outcomes) if (outcome?.ok) return outcome.reply;
  throw noQuorum(set, fop);
}

/** On all up children: the first good reply, if there is any; else the merged error. */
export async function onAny<F extends FopName>(
  set: ReplicaSet,
  fop: F,
  call: Call,
  args: Args<F>,
): Promise<Reply<F>> {
  const outcomes = await fanoutTo(set, set.up, fop, call, args);
  for (const outcome of outcomes) if (outcome?.ok) return outcome.reply;
  throw mergedError(outcomes) ?? noQuorum(set, fop);
}
