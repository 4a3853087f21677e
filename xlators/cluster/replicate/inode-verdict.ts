/**
 * What an operation on an inode came to, when not all copies did it: whether the caller may hear of success,
 * who is to be marked as missing it, and whether the copies are to stay dirty until a heal has compared them
 * (spec translators.md 4.4; GlusterFS afr-transaction.c, afr_changelog_post_op_do). Pure.
 */

import { type ChildSet, NO_CHILDREN } from "./child-set.ts";

export interface InodeOutcome {
  /** Children to which the operation was sent. */
  readonly asked: ChildSet;
  readonly succeeded: ChildSet;
  /** Copies that nobody blamed when the operation began; an arbiter is none. */
  readonly sources: ChildSet;
  /** All failed, all for the same reason, and the reason means that nothing was changed anywhere. */
  readonly refusedAlike: boolean;
  readonly hasQuorum: (children: ChildSet) => boolean;
}

export interface InodeVerdict {
  readonly kind:
    | /** On enough copies; `failed` are to be marked before the caller hears of it. */ "done"
    | /** Nothing happened anywhere, and there is nothing to mark. */ "refused"
    | /** Some copies may have it, too few to say so: no marks, all stay dirty. */ "no-quorum"
    | /** The last good copy failed, and the others are stale: no marks, all stay dirty. */ "last-source"
    | /** No copy did it, for different reasons: all stay dirty. */ "unknown";
  readonly failed: ChildSet;
}

/** The table of spec 4.4. To blame the many for what few did would be a split brain in the making. */
export function inodeVerdict(outcome: InodeOutcome): InodeVerdict {
  const { asked, succeeded, sources } = outcome;
  const failed = asked & ~succeeded;
  if (succeeded === NO_CHILDREN) return { kind: outcome.refusedAlike ? "refused" : "unknown", failed };
  if (!outcome.hasQuorum(succeeded)) return { kind: "no-quorum", failed };
  if ((sources & succeeded) === NO_CHILDREN) return { kind: "last-source", failed };
  return { kind: "done", failed };
}
