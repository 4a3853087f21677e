/**
 * What is to be marked after an operation on names, and what the caller is told: pure functions over who did
 * it and who did not (spec translators.md 4.4; GlusterFS afr-transaction.c, afr_changelog_post_op_do).
 */

import type { ErrnoName } from "../../../src/core/errors.ts";
import { S_IFDIR, S_IFMT, S_IFREG } from "../../../src/core/iatt.ts";
import type { Counts } from "./changelog.ts";
import { type ChildSet, NO_CHILDREN } from "./child-set.ts";

export interface EntryOutcome {
  readonly all: ChildSet;
  /** Children to which the operation was sent: locked, and their pre-op went well. */
  readonly asked: ChildSet;
  readonly succeeded: ChildSet;
  /** Of the children that were asked and failed. */
  readonly errors: ReadonlyMap<number, ErrnoName>;
  /** The pre-op raised dirty on `asked`. */
  readonly dirtied: boolean;
  /** A rule of quorum is in force; then a set of children may fall short of it. */
  readonly quorumRules: boolean;
  readonly hasQuorum: (children: ChildSet) => boolean;
}

export interface EntryVerdict {
  /** The caller hears of success. */
  readonly ok: boolean;
  /** Who failed for lack of quorum though some copies did it. */
  readonly lostQuorum: boolean;
  /** Where the post-op goes; none: there is no post-op. */
  readonly markOn: ChildSet;
  /** Whose pending entry count is raised there. */
  readonly blamed: ChildSet;
  /** What is added to dirty there. */
  readonly dirty: number;
}

/**
 * The table of spec 4.4. A copy that answers ENOTEMPTY did nothing wrong: it has names that the others have
 * not, which is for a heal of that directory to settle.
 */
export function entryVerdict(outcome: EntryOutcome): EntryVerdict {
  const { all, asked, succeeded, dirtied } = outcome;
  const undo: EntryVerdict = {
    ok: succeeded !== NO_CHILDREN,
    lostQuorum: false,
    markOn: dirtied ? asked : NO_CHILDREN,
    blamed: NO_CHILDREN,
    dirty: dirtied ? -1 : 0,
  };
  if (succeeded === NO_CHILDREN)
    // Refused by all for the same reason: nothing happened anywhere. Else a heal has to look.
    return sameRefusal(outcome.errors) ? undo : { ...undo, markOn: NO_CHILDREN, dirty: 0 };
  let good = succeeded;
  for (const [child, code] of outcome.errors) if (code === "ENOTEMPTY") good |= 1 << child;
  if (outcome.quorumRules && !outcome.hasQuorum(good)) {
    // To blame the many for what only few did would be a split brain in the making.
    const lost = { ...undo, ok: false, lostQuorum: true, blamed: NO_CHILDREN };
    return dirtied ? { ...lost, markOn: NO_CHILDREN, dirty: 0 } : { ...lost, markOn: good, dirty: 1 };
  }
  const blamed = all & ~good;
  if (blamed === NO_CHILDREN) return undo;
  return { ...undo, markOn: good, blamed };
}

/** ENOTCONN tells nothing: the operation may have happened. No error at all: it was never sent. */
function sameRefusal(errors: ReadonlyMap<number, ErrnoName>): boolean {
  const codes = new Set(errors.values());
  return codes.size === 0 || (codes.size === 1 && !codes.has("ENOTCONN"));
}

/**
 * What a new object is marked with on the copies that have it, for each child that has it not: all of it is
 * to be copied. The data count of a directory asks for a heal of all its names, not of recorded ones only.
 */
export function newEntryCounts(mode: number, granular: boolean): Counts {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return { data: 1, metadata: 1, entry: 0 };
    case S_IFDIR:
      return { data: granular ? 1 : 0, metadata: 1, entry: 1 };
    default:
      return { data: 0, metadata: 1, entry: 0 };
  }
}
