/**
 * What a name shall lead to when copies have different objects there, or some none (spec translators.md 4.9,
 * 4.10; GlusterFS afr_gfid_split_brain_source). Pure.
 *
 * `objectToKeep` takes names away that a merge of GlusterFS brings back. It relies on a rule of quorum: an
 * acknowledged creation is on every trusted copy, after an acknowledged removal fewer than a quorum have the
 * object, and what users saw was on a quorum. So what no trusted copy and no quorum has was never promised.
 */

import { type Gfid, gfidEquals } from "../../../../src/core/gfid.ts";
import {
  type ChildSet,
  childrenOf,
  countChildren,
  firstChild,
  hasChild,
  NO_CHILDREN,
  only,
} from "../child-set.ts";
import {
  type CopyStat,
  favoriteChild,
  mostEqual,
  type NameSides,
  onlyBest,
  type Policy,
  type Resolution,
} from "../decide.ts";

export interface NameCopies {
  /** Children that have the name, with a gfid. */
  readonly holders: ChildSet;
  /** By child; of others anything. */
  readonly stats: readonly (CopyStat & { readonly gfid: Gfid })[];
}

const S_IFMT = 0o170000;

/** The holders of the same object as `child`. */
export function twinsOf({ holders, stats }: NameCopies, child: number): ChildSet {
  const { gfid } = stats[child]!;
  return childrenOf(holders)
    .filter((other) => gfidEquals(stats[other]!.gfid, gfid))
    .reduce((set, other) => set | only(other), NO_CHILDREN);
}

/** Whether two of these children have different objects or different types there. */
export function differ(copies: NameCopies, among: ChildSet): "no" | "gfid" | "type" {
  const [first, ...others] = childrenOf(among & copies.holders);
  if (first === undefined) return "no";
  const { mode, gfid } = copies.stats[first]!;
  let found: "no" | "gfid" = "no";
  for (const other of others) {
    const stat = copies.stats[other]!;
    if ((stat.mode & S_IFMT) !== (mode & S_IFMT)) return "type";
    if (!gfidEquals(stat.gfid, gfid)) found = "gfid";
  }
  return found;
}

/**
 * The child whose object stays, or why none was chosen. Different types are no business of policies; only a
 * person who names a brick settles them.
 */
export function chooseObject(
  copies: NameCopies,
  kind: "gfid" | "type",
  policy: Policy,
  resolution: Resolution | undefined,
): number | string {
  const { holders, stats } = copies;
  if (resolution?.kind === "source-brick")
    return hasChild(holders, resolution.child)
      ? resolution.child
      : "the brick to heal from does not have this name, or is not up";
  if (kind === "type") return "the copies are of different types: only source-brick can settle that";
  const same = (a: number, b: number): boolean => gfidEquals(stats[a]!.gfid, stats[b]!.gfid);
  const byMajority = (): number => (stats.length === 2 ? -1 : mostEqual(holders, stats.length, same));
  switch (resolution?.kind) {
    case "bigger-file":
      return onlyBest(holders, (i) => stats[i]!.size) ?? "no bigger file: the largest size is not unique";
    case "latest-mtime":
      return (
        onlyBest(
          holders,
          (i) => stats[i]!.mtime,
          (i) => stats[i]!.mtimeNsec,
        ) ?? "no difference in mtime: the newest is not unique"
      );
    case "majority": {
      const chosen = byMajority();
      return chosen >= 0 ? chosen : "no majority: no more than half of the copies have the same object";
    }
  }
  const favorite = policy === "majority" ? byMajority() : favoriteChild(policy, stats, holders);
  return favorite >= 0 ? favorite : "the copies have different objects by this name (gfid split brain)";
}

/** What is said instead of a child: the name is to go, or nothing known decides. */
export const ABSENT = -2;
export const UNDECIDED = -3;

/** What one name is on all copies. */
export interface NameQuestion {
  readonly copies: NameCopies;
  readonly sides: NameSides;
  /** Holders whose object has nothing in it. */
  readonly empty: ChildSet;
  /** Undefined without a rule. */
  readonly hasQuorum: ((children: ChildSet) => boolean) | undefined;
}

/**
 * The child whose object all copies shall have, ABSENT or UNDECIDED. Of several objects on copies that are
 * believed in all but one have to be empty: such are what is left of creations that failed. An object that a
 * quorum has wins in any case while no copy is blamed, or when a believed copy has it: another one is what a
 * rename left that failed, or that its client did not live to finish, and nobody was told that it is done.
 * One without contents that no believed copy has gives way to one with contents: making it was told to have
 * failed, as the removal before.
 */
export function objectToKeep({ copies, sides, empty, hasQuorum }: NameQuestion): number {
  const { sources, trusted } = sides;
  const believed = sources === NO_CHILDREN ? trusted : sources;
  if (believed === NO_CHILDREN) return UNDECIDED;
  const objects = objectsOf(copies);
  const known = objects.filter((holders) => (holders & believed) !== NO_CHILDREN);
  // No copy is blamed: either nothing is marked, or that something was under way.
  const isBlameless = countChildren(believed) === copies.stats.length;
  // Where more than that must take part nobody may have seen either; then the many are as right as the few.
  const isMost = (holders: ChildSet): boolean =>
    isBlameless && countChildren(holders) * 2 > copies.stats.length;
  const ofQuorums =
    sources === NO_CHILDREN || isBlameless
      ? objects.filter((holders) => hasQuorum?.(holders) || isMost(holders))
      : [];
  const wide = ofQuorums.length === 1 ? ofQuorums[0] : undefined;
  if (known.length === 0 && wide === undefined) return ABSENT;
  const filled = known.filter((holders) => (holders & ~empty) !== NO_CHILDREN);
  const isIdle = wide !== undefined && (wide & ~empty) === NO_CHILDREN && !known.includes(wide);
  const chosen =
    (isIdle ? filled[0] : undefined) ??
    wide ??
    filled[0] ??
    known.reduce((a, b) => (countChildren(b) > countChildren(a) ? b : a));
  const isClear = known.every((holders) => holders === chosen);
  const isWide = wide !== undefined && (isBlameless || known.includes(wide));
  const mayDrop = isWide || filled.every((holders) => holders === chosen);
  if (!isClear && (hasQuorum === undefined || !mayDrop)) return UNDECIDED;
  return firstChild(chosen & believed || chosen);
}

/** The holders of each object. */
function objectsOf(copies: NameCopies): ChildSet[] {
  const objects: ChildSet[] = [];
  let left = copies.holders;
  while (left !== NO_CHILDREN) {
    const twins = twinsOf(copies, firstChild(left));
    objects.push(twins);
    left &= ~twins;
  }
  return objects;
}
