/**
 * Which copies are good: sources, sinks and split brain from the pending matrix (spec translators.md 4.8;
 * GlusterFS xlators/cluster/afr/src/afr-self-heal-{common,data,metadata,entry}.c). Pure.
 *
 * `direction` is AFR's find_direction, `decide` adds the choice of the final source for each slot. It departs
 * from AFR where AFR would leave copies unequal and take their marks away, or leave marks for ever: sources
 * that blame each other (possible after the quorum fallback) are reduced to one, a copy that is blamed by a
 * bad copy only counts as a sink for entries too, and the arbiter is no candidate for data.
 */

import type { Counts, Slot } from "./changelog.ts";
import {
  allChildren,
  type ChildSet,
  childrenOf,
  childrenWhere,
  countChildren,
  firstChild,
  hasChild,
  NO_CHILDREN,
  only,
  withoutChild,
} from "./child-set.ts";

/** The marks of one slot: `pending[i][j]` is what child i says that child j missed. */
export interface Marks {
  readonly pending: readonly (readonly number[])[];
  readonly dirty: readonly number[];
}

/** One slot of every child's row. A child without an answer has a row of zeroes. */
export function marksOf(
  rows: readonly { readonly pending: readonly Counts[]; readonly dirty: Counts }[],
  slot: Slot,
): Marks {
  return {
    pending: rows.map((row) => row.pending.map((counts) => counts[slot])),
    dirty: rows.map((row) => row.dirty[slot]),
  };
}

export interface Direction {
  /** Copies that may be healed from; empty in a split brain. */
  readonly sources: ChildSet;
  /** Copies that a source blames; all of `locked` in a split brain. */
  readonly sinks: ChildSet;
  /** By child: operations that it has seen begin and not end; breaks ties. */
  readonly witness: readonly number[];
  /** `sources` are accused ones, of fewer than a quorum. */
  readonly fallback: boolean;
}

/**
 * A copy that blames itself (a FOOL) cannot accuse others. Nobody but the unaccused are sources; without any,
 * for data and metadata, those accused by fewer than `quorumCount`; without any of these it is a split brain.
 */
export function direction(marks: Marks, locked: ChildSet, slot: Slot, quorumCount: number): Direction {
  const { pending } = marks;
  const count = pending.length;
  const fools = foolsIn(marks);
  const unaccused = accusedByFewer(marks, 1) & locked;
  let sinks = NO_CHILDREN;
  for (const i of childrenOf(unaccused & ~fools)) sinks |= childrenWhere(count, (j) => pending[i]![j] !== 0);
  let sources = unaccused;
  if (sources === NO_CHILDREN && slot !== "entry") sources = accusedByFewer(marks, quorumCount) & locked;
  const fallback = unaccused === NO_CHILDREN && sources !== NO_CHILDREN;
  if (sources === NO_CHILDREN) sinks = locked;
  return { sources, sinks, witness: witnesses(marks, fools), fallback };
}

function foolsIn({ pending }: Marks): ChildSet {
  return childrenWhere(pending.length, (i) => pending[i]![i] !== 0);
}

/** Copies that fewer than `count` others accuse. */
function accusedByFewer(marks: Marks, count: number): ChildSet {
  const { pending } = marks;
  const fools = foolsIn(marks);
  const accusers = (j: number): number =>
    countChildren(childrenWhere(pending.length, (i) => !hasChild(fools, i) && pending[i]![j] !== 0));
  return childrenWhere(pending.length, (j) => accusers(j) < count);
}

function witnesses({ pending, dirty }: Marks, fools: ChildSet): number[] {
  const others = pending.map((row, i) => row.some((value, j) => j !== i && value !== 0));
  const nobodyBlamed = !others.includes(true);
  return pending.map((row, i) => {
    if (!hasChild(fools, i)) return dirty[i]!;
    const ofOthers = row.reduce((sum, value, j) => (j === i ? sum : sum + value), 0);
    return dirty[i]! + ofOthers + (others[i] || nobodyBlamed ? row[i]! : 0);
  });
}

/** What a copy looks like; as much of Iatt as decisions need. */
export interface CopyStat {
  readonly mode: number;
  readonly size: number;
  readonly mtime: number;
  readonly mtimeNsec: number;
  readonly ctime: number;
  readonly ctimeNsec: number;
}

/** favorite-child-policy. */
export type Policy = "none" | "size" | "ctime" | "mtime" | "majority";

/** How a person settles a split brain (spec 4.10). */
export type Resolution =
  | { readonly kind: "bigger-file" }
  | { readonly kind: "latest-mtime" }
  | { readonly kind: "majority" }
  /** Index of the child whose copy stays. */
  | { readonly kind: "source-brick"; readonly child: number };

export interface Question {
  readonly slot: Slot;
  readonly marks: Marks;
  /** Children that are locked and answered; AFR heals only when these are all of them. */
  readonly locked: ChildSet;
  /** By child; of those not in `locked` any value. */
  readonly stats: readonly CopyStat[];
  /** By child: equal texts stand for equal type, mode, owner and xattrs. For metadata only. */
  readonly attributes?: readonly string[];
  /** Child without data, -1 for none. */
  readonly arbiter: number;
  readonly quorumCount: number;
  readonly policy: Policy;
  readonly resolution?: Resolution | undefined;
  /** metadata-splitbrain-forced-heal */
  readonly forced?: boolean;
  /** Copies that must have done an operation before it is acknowledged; 0 without a rule of quorum. */
  readonly acknowledgers?: number;
}

/**
 * - `clean`: all copies are as good as each other, no mark is left to take away.
 * - `heal`: make `sinks` like `source`.
 * - `merge`: entries only; `sinks` are all copies, and each gets the names of the others.
 * - `split-brain`: `why` says which rule could not choose.
 * - `arbiter-only`: the one good copy has no data.
 * - `not-split-brain`: a resolution was given, and there is nothing to resolve.
 * - `unresolved`: the resolution does not choose; `why`.
 * - `unavailable`: not every child is locked and answered.
 */
export type VerdictKind =
  | "clean"
  | "heal"
  | "merge"
  | "split-brain"
  | "arbiter-only"
  | "not-split-brain"
  | "unresolved"
  | "unavailable";

export interface Verdict {
  readonly kind: VerdictKind;
  /** The copy to heal from, -1 when there is none. */
  readonly source: number;
  readonly sources: ChildSet;
  /** Copies to heal. With `sources` all children when kind is heal. */
  readonly sinks: ChildSet;
  readonly witness: readonly number[];
  /** There was no source by marks alone: a rule, a policy or a person has chosen. */
  readonly wasSplit: boolean;
  /** Of a merge: copies that have seen every acknowledged operation; none when nobody can tell. */
  readonly trusted: ChildSet;
  readonly why?: string;
}

/** The verdict on one slot of an inode. */
export function decide(question: Question): Verdict {
  const { slot, marks, locked, quorumCount } = question;
  const found = direction(marks, locked, slot, quorumCount);
  const verdict = (kind: VerdictKind, source: number, sources: ChildSet, why?: string): Verdict => ({
    kind,
    source,
    sources,
    sinks: kind === "heal" ? locked & ~sources : kind === "merge" ? locked : NO_CHILDREN,
    witness: found.witness,
    wasSplit: found.sources === NO_CHILDREN,
    trusted: NO_CHILDREN,
    ...(why === undefined ? {} : { why }),
  });
  if (locked !== allChildren(marks.dirty.length)) return verdict("unavailable", -1, found.sources);
  if (slot === "entry") return decideEntry(question, found, verdict);
  if (found.sources === NO_CHILDREN) return settle(question, verdict);
  if (question.resolution) return verdict("not-split-brain", -1, found.sources);
  if (slot === "metadata") return decideMetadata(question, found, verdict);
  return decideData(question, found, verdict);
}

type MakeVerdict = (kind: VerdictKind, source: number, sources: ChildSet, why?: string) => Verdict;

/** Heals from `source`; copies in `sources` beside it are as good. */
function healOrClean(question: Question, verdict: MakeVerdict, source: number, sources: ChildSet): Verdict {
  return verdict(sources === question.locked ? "clean" : "heal", source, sources);
}

// Data

function decideData(question: Question, found: Direction, verdict: MakeVerdict): Verdict {
  const { stats, locked, arbiter, marks, quorumCount } = question;
  const unaccused = withoutArbiter(found.sources, arbiter);
  // Beside the arbiter a copy that too few blame is as good as it is where nobody is without blame.
  const fewer = withoutArbiter(accusedByFewer(marks, quorumCount) & locked, arbiter);
  const candidates = unaccused === NO_CHILDREN ? fewer : unaccused;
  if (candidates === NO_CHILDREN) {
    if (!allEmpty(stats, locked)) return verdict("arbiter-only", arbiter, found.sources);
    const first = firstChild(withoutArbiter(locked, arbiter));
    return verdict("heal", first, only(first));
  }
  if (unaccused === NO_CHILDREN) {
    const source = best(candidates, found.witness, stats);
    return verdict("heal", source, only(source));
  }
  const sizes = new Set(childrenOf(candidates).map((i) => stats[i]!.size));
  const witnessed = childrenOf(found.sources).some((i) => found.witness[i] !== 0);
  if (sizes.size <= 1 && !witnessed && !blameEachOther(question.marks, found.sources))
    return healOrClean(question, verdict, firstChild(candidates), found.sources);
  const source = best(candidates, found.witness, stats);
  return verdict("heal", source, only(source));
}

/** Largest size, then largest witness, then newest ctime in seconds; of equals the last. */
function best(candidates: ChildSet, witness: readonly number[], stats: readonly CopyStat[]): number {
  let chosen = -1;
  for (const i of childrenOf(candidates)) {
    if (chosen < 0) {
      chosen = i;
      continue;
    }
    const order =
      stats[i]!.size - stats[chosen]!.size ||
      witness[i]! - witness[chosen]! ||
      stats[i]!.ctime - stats[chosen]!.ctime;
    if (order >= 0) chosen = i;
  }
  return chosen;
}

/** Sources by fallback may accuse each other; then they are not equal, whatever their sizes say. */
function blameEachOther({ pending }: Marks, sources: ChildSet): boolean {
  return childrenOf(sources).some((i) => childrenOf(sources).some((j) => pending[i]![j] !== 0));
}

function allEmpty(stats: readonly CopyStat[], children: ChildSet): boolean {
  return childrenOf(children).every((i) => stats[i]!.size === 0);
}

function withoutArbiter(children: ChildSet, arbiter: number): ChildSet {
  return arbiter < 0 ? children : withoutChild(children, arbiter);
}

// Metadata

/** The first source with a witness, else the first one; sources that differ from it become sinks. */
function decideMetadata(question: Question, found: Direction, verdict: MakeVerdict): Verdict {
  const witness = childrenOf(found.sources).find((i) => found.witness[i] !== 0);
  if (witness !== undefined) return healOrClean(question, verdict, witness, only(witness));
  const source = firstChild(found.sources);
  const equal = childrenOf(found.sources).filter((i) => sameAttributes(question, i, source));
  const sources = equal.reduce((set, i) => set | only(i), NO_CHILDREN);
  // Marks of sources that blame each other, yet are equal, have to go too: heal the others from the first.
  if (found.fallback && sources === question.locked) return verdict("heal", source, only(source));
  return healOrClean(question, verdict, source, sources);
}

function sameAttributes({ attributes }: Question, a: number, b: number): boolean {
  return attributes !== undefined && attributes[a] === attributes[b];
}

// Entry

/**
 * Only a source without a witness anywhere that blames somebody says which names have to go; otherwise each
 * copy gets the names of the others, but for what trusted copies know better (gfid-choice.ts).
 */
function decideEntry(question: Question, found: Direction, verdict: MakeVerdict): Verdict {
  if (question.resolution) return verdict("not-split-brain", -1, found.sources);
  const { marks, locked, acknowledgers = 0 } = question;
  const witnessed = found.witness.some((count) => count !== 0);
  if (!witnessed && found.sources !== NO_CHILDREN && (found.sinks & locked) !== NO_CHILDREN)
    return verdict("heal", firstChild(found.sources), found.sources);
  return { ...verdict("merge", -1, NO_CHILDREN), trusted: trusted(marks, locked, acknowledgers) };
}

/**
 * Copies that have seen every acknowledged operation on names: those that nobody blames or, when all are
 * blamed, those that too few blame to have missed one. With a rule of quorum an operation is acknowledged
 * only when so many copies blame whoever missed it.
 */
function trusted(marks: Marks, locked: ChildSet, acknowledgers: number): ChildSet {
  return acknowledgers === 0 ? NO_CHILDREN : direction(marks, locked, "data", acknowledgers).sources;
}

/** Whom to believe about a name of a directory. */
export interface NameSides {
  /** The directory's sources; none when each copy may be right (an unfinished operation, or no source). */
  readonly sources: ChildSet;
  /** Then: as in Verdict. */
  readonly trusted: ChildSet;
}

export function nameSides(marks: Marks, locked: ChildSet, acknowledgers: number): NameSides {
  const found = direction(marks, locked, "entry", 0);
  if (found.witness.every((count) => count === 0) && found.sources !== NO_CHILDREN)
    return { sources: found.sources, trusted: NO_CHILDREN };
  return { sources: NO_CHILDREN, trusted: trusted(marks, locked, acknowledgers) };
}

// Split brain

/** Without a source: nothing to lose, a person's word, the policy; in this order. */
function settle(question: Question, verdict: MakeVerdict): Verdict {
  const { slot, locked, stats, arbiter } = question;
  const harmless =
    slot === "data"
      ? allEmpty(stats, locked)
      : childrenOf(locked).every((i) => sameAttributes(question, i, firstChild(locked)));
  if (harmless) {
    const first = firstChild(slot === "data" ? withoutArbiter(locked, arbiter) : locked);
    return verdict("heal", first, only(first));
  }
  if (question.resolution) {
    const chosen = resolve(question, question.resolution);
    if (typeof chosen === "string") return verdict("unresolved", -1, NO_CHILDREN, chosen);
    return verdict("heal", chosen, only(chosen));
  }
  const favorite = favoriteChild(question.policy, stats, candidatesOf(question));
  if (favorite >= 0) return verdict("heal", favorite, only(favorite));
  if (slot === "metadata" && question.forced) {
    const first = firstChild(locked);
    return verdict("heal", first, only(first));
  }
  return verdict("split-brain", -1, NO_CHILDREN);
}

function candidatesOf({ slot, locked, arbiter }: Question): ChildSet {
  return slot === "data" ? withoutArbiter(locked, arbiter) : locked;
}

/** A child, or why there is none. */
function resolve(question: Question, resolution: Resolution): number | string {
  const { slot, stats } = question;
  const candidates = candidatesOf(question);
  switch (resolution.kind) {
    case "source-brick":
      if (hasChild(candidates, resolution.child)) return resolution.child;
      return resolution.child === question.arbiter
        ? "the arbiter has no data to heal from"
        : "no such brick, or it is not up";
    case "majority":
      return majority(question, candidates);
    case "bigger-file":
      if (slot === "metadata") return "metadata has no size: use source-brick";
      return onlyBest(candidates, (i) => stats[i]!.size) ?? "no bigger file: the largest size is not unique";
    case "latest-mtime":
      if (slot === "metadata") return "mtime says nothing about metadata: use source-brick";
      return (
        onlyBest(
          candidates,
          (i) => stats[i]!.mtime,
          (i) => stats[i]!.mtimeNsec,
        ) ?? "no difference in mtime: the newest is not unique"
      );
  }
}

function majority(question: Question, candidates: ChildSet): number | string {
  const { slot, stats } = question;
  const same = (a: number, b: number): boolean =>
    slot === "metadata" ? sameAttributes(question, a, b) : sameMtimeAndSize(stats[a]!, stats[b]!);
  const chosen = mostEqual(candidates, stats.length, same);
  if (chosen >= 0) return chosen;
  return slot === "metadata"
    ? "no majority: no more than half of the copies have the same metadata"
    : "no majority: no more than half of the copies have the same mtime and size";
}

/** The child with the greatest value (then second value), undefined when it is not the only one. */
export function onlyBest(
  candidates: ChildSet,
  value: (child: number) => number,
  second: (child: number) => number = () => 0,
): number | undefined {
  let chosen = -1;
  let unique = false;
  for (const i of childrenOf(candidates)) {
    const order = chosen < 0 ? 1 : value(i) - value(chosen) || second(i) - second(chosen);
    if (order > 0) {
      chosen = i;
      unique = true;
    } else if (order === 0) unique = false;
  }
  return unique ? chosen : undefined;
}

/** The first child that is equal to more than half of all `count` children, -1 for none. */
export function mostEqual(
  candidates: ChildSet,
  count: number,
  same: (a: number, b: number) => boolean,
): number {
  const members = childrenOf(candidates);
  return members.find((i) => members.filter((k) => same(i, k)).length * 2 > count) ?? -1;
}

function sameMtimeAndSize(a: CopyStat, b: CopyStat): boolean {
  return a.mtime === b.mtime && a.size === b.size;
}

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

/** The copy that favorite-child-policy prefers, -1 for none. Newest: the first of equals. */
export function favoriteChild(policy: Policy, stats: readonly CopyStat[], candidates: ChildSet): number {
  const newest = (value: (i: number) => number, nsec: (i: number) => number): number => {
    let chosen = -1;
    for (const i of childrenOf(candidates))
      if (chosen < 0 || (value(i) - value(chosen) || nsec(i) - nsec(chosen)) > 0) chosen = i;
    return chosen;
  };
  switch (policy) {
    case "none":
      return -1;
    case "size":
      if (childrenOf(candidates).some((i) => (stats[i]!.mode & S_IFMT) === S_IFDIR)) return -1;
      return onlyBest(candidates, (i) => stats[i]!.size) ?? -1;
    case "mtime":
      return newest(
        (i) => stats[i]!.mtime,
        (i) => stats[i]!.mtimeNsec,
      );
    case "ctime":
      return newest(
        (i) => stats[i]!.ctime,
        (i) => stats[i]!.ctimeNsec,
      );
    case "majority":
      return mostEqual(candidates, stats.length, (a, b) => sameMtimeAndSize(stats[a]!, stats[b]!));
  }
}
