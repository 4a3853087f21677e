/**
 * Whether an object that some copies have and others have not is new, or was removed behind the back of those
 * that have it: what the copies of its directory say of each other tells (spec translators.md 4.6, 4.9).
 *
 * A copy that was away returns with what was removed meanwhile. An entry heal takes it away, and with it all
 * that was written there: whoever finds it there alone must not believe it. A rule of quorum sees to that by
 * counts; without one (or with one that half of the copies meet) the directory is asked, which takes a few
 * calls and only happens while copies differ. GlusterFS does not ask.
 * Limits: copies that cannot say count as if they were away, and so does a file of which a brick keeps no
 * names (storage.gfid2path off).
 */

import { internalCall } from "../../../src/core/call.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { FopName } from "../../../src/core/fops.ts";
import type { Gfid } from "../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../src/core/iatt.ts";
import { Inode } from "../../../src/core/inode.ts";
import { type ChildSet, childrenOf, childrenWhere, NO_CHILDREN } from "./child-set.ts";
import { direction, marksOf } from "./decide.ts";
import { isAbsent, type Look, look } from "./heal/look.ts";
import { placesOn } from "./heal/object-places.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** An object is there on `found`; `missing` say that there is no such thing. */
export interface Disagreement {
  readonly found: ChildSet;
  readonly missing: ChildSet;
}

/** By counts alone: whether the copies without it were enough to have it removed. */
export function mayBeRemoved(set: ReplicaSet, { found, missing }: Disagreement): boolean {
  return found !== NO_CHILDREN && missing !== NO_CHILDREN && set.hasQuorum(set.all & ~found);
}

/**
 * By every name that it has, provided that it is not there by gfid either. False of an object without a name:
 * it lives as long as it is open.
 */
export async function isObjectRemoved(
  set: ReplicaSet,
  gfid: Gfid,
  { found, missing }: Disagreement,
): Promise<boolean> {
  const call = internalCall();
  const loc = { inode: new Inode(gfid) };
  const seen = await look(set, call, loc, { children: found | missing });
  const copies = { found: seen.answered & found, missing: absentIn(seen) & missing };
  if (!mayBeRemoved(set, copies)) return false;
  const parents = new Map<string, Gfid>();
  for (const child of childrenOf(copies.found)) {
    const places = await placesOn(set, call, child, seen.stats[child]!).catch(() => undefined);
    if (places === undefined || places.length === 0) return false;
    for (const { parent } of places) parents.set(parent.toString("hex"), parent);
  }
  for (const parent of parents.values())
    if (!(await isNameRemoved(set, new Inode(parent, S_IFDIR), copies))) return false;
  return true;
}

function absentIn({ errors }: Look): ChildSet {
  return childrenWhere(errors.length, (child) => isAbsent(errors[child]));
}

/** By the directory that the name is, or is not, in. */
export async function isNameRemoved(
  set: ReplicaSet,
  directory: Inode,
  { found, missing }: Disagreement,
): Promise<boolean> {
  const seen = await look(set, internalCall(), { inode: directory }, { children: found | missing });
  // Copies without the directory say nothing of its names: then it is the one that is new, or was removed.
  if ((seen.answered & missing) === NO_CHILDREN)
    return isObjectRemoved(set, directory.gfid, { found: seen.answered, missing: absentIn(seen) & missing });
  const { sources } = direction(marksOf(seen.rows, "entry"), seen.answered, "entry", 0);
  return (sources & missing) !== NO_CHILDREN && (sources & found) === NO_CHILDREN;
}

/** What a call hears that came for a removed object by gfid. */
export function removedError(set: ReplicaSet, fop: FopName): FopError {
  const message = "ESTALE: it was removed on copies that know better than those that have it still";
  return new FopError("ESTALE", { fop, xlator: set.name, message });
}
