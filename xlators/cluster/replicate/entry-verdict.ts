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
  /** Children that took part: locked, and their pre-op went well. Those that were not sent it did nothing. */
  readonly asked: ChildSet;
  readonly succeeded: ChildSet;
  /** `succeeded`, when all of them turned out to be behind copies that refused it; none otherwise. */
  readonly overruled: ChildSet;
  /** Of the children that were sent it and failed. */
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
  /** Neither did enough copies do it nor did enough refuse it: a heal has to look. */
  readonly lostQuorum: boolean;
  /** Not ok, and not refused by a quorum either: it may come to be as if it had been done. */
  readonly inDoubt: boolean;
  /** Where the post-op goes; none: there is no post-op. */
  readonly markOn: ChildSet;
  /** Whose pending entry count is raised there. */
  readonly blamed: ChildSet;
  /** What is added to dirty there. */
  readonly dirty: number;
}

/** Errors of copies that may have done it all the same. */
const UNCERTAIN: ReadonlySet<ErrnoName> = new Set(["ENOTCONN", "EIO", "ETIMEDOUT", "EINTR"]);

/**
 * The table of spec 4.4, with what it leaves open: when a quorum refuses, nothing happened, and a copy that
 * did it nevertheless is blamed, so that its heal undoes it; GlusterFS leaves such a copy dirty, and its heal
 * then spreads what the caller was told to have failed. So it is, with or without a rule of quorum, when all
 * that did it had missed what others refuse it for.
 *
 * A copy that answers ENOTEMPTY has names that the others have not. With a rule of quorum none of these names
 * can ever have been acknowledged, and the copy is blamed as any other; without one it did nothing wrong.
 */
export function entryVerdict(outcome: EntryOutcome): EntryVerdict {
  const { all, asked, succeeded, overruled, dirtied, quorumRules } = outcome;
  const enough = (children: ChildSet): boolean =>
    quorumRules ? outcome.hasQuorum(children) : children !== NO_CHILDREN;
  const uncertain = failedWith(outcome, (code) => UNCERTAIN.has(code));
  const undo: EntryVerdict = {
    ok: false,
    lostQuorum: false,
    inDoubt: false,
    markOn: dirtied ? asked : NO_CHILDREN,
    blamed: NO_CHILDREN,
    dirty: dirtied ? -1 : 0,
  };
  const refused = asked & ~succeeded & ~uncertain;
  if (overruled !== NO_CHILDREN) return { ...undo, markOn: refused, blamed: succeeded | uncertain };
  if (enough(succeeded)) {
    const spared = quorumRules ? NO_CHILDREN : failedWith(outcome, (code) => code === "ENOTEMPTY");
    const good = succeeded | spared;
    const blamed = all & ~good;
    return blamed === NO_CHILDREN ? { ...undo, ok: true } : { ...undo, ok: true, markOn: good, blamed };
  }
  if (refused === asked) return undo;
  if (quorumRules && enough(refused)) return { ...undo, markOn: refused, blamed: succeeded | uncertain };
  // To blame the many for what only few did would be a split brain in the making.
  const lostQuorum = succeeded !== NO_CHILDREN;
  const lost = { ...undo, lostQuorum, inDoubt: true, markOn: NO_CHILDREN, dirty: 0 };
  return dirtied || succeeded === NO_CHILDREN ? lost : { ...lost, markOn: succeeded, dirty: 1 };
}

function failedWith({ errors }: EntryOutcome, matches: (code: ErrnoName) => boolean): ChildSet {
  let children = NO_CHILDREN;
  for (const [child, code] of errors) if (matches(code)) children |= 1 << child;
  return children;
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
