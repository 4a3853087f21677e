/**
 * Blame for operations on names, so that never all copies of a directory are blamed.
 *
 * A copy may be blamed only while another one of those that did the operation is blamed by nobody: that one
 * has seen everything, and a heal can believe it. GlusterFS asks this of data writes alone; its directories
 * get into split brain when copies fail in turn, and their heal brings removed names back. Operations on
 * several names run side by side, so clients that are about to blame a copy for the first time take turns, by
 * a lock of Mortar's own. A heal takes blame away under a lock of all names, so that whoever has locked one
 * only sees blame grow.
 */

import { internalCall } from "../../../src/core/call.ts";
import { S_IFDIR } from "../../../src/core/iatt.ts";
import { Inode } from "../../../src/core/inode.ts";
import type { ChangelogRow } from "./changelog.ts";
import { type ChildSet, childrenOf, hasChild, NO_CHILDREN, only } from "./child-set.ts";
import { type HeldLock, lockAll, wholeFile, withOwner } from "./heal/locks.ts";
import { look } from "./heal/look.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** Copies that one of these rows blames for missing an operation on names; its own word counts as well. */
export function blamedIn(rows: readonly (ChangelogRow | undefined)[]): ChildSet {
  let blamed = NO_CHILDREN;
  for (const row of rows)
    for (const [child, counts] of (row?.pending ?? []).entries())
      if (counts.entry !== 0) blamed |= only(child);
  return blamed;
}

/** Whether each of these copies blames all of `blamed` already. */
export function allBlame(
  rows: readonly (ChangelogRow | undefined)[],
  copies: ChildSet,
  blamed: ChildSet,
): boolean {
  return childrenOf(copies).every((copy) => (blamedIn([rows[copy]]) & blamed) === blamed);
}

/**
 * Runs `mark` while no other client of this make blames anybody for the names of these directories. `mark`
 * gets the copies among `good` that could be asked; none when no copy among them is blameless, and blame must
 * not be laid.
 */
export async function inTurn<R>(
  set: ReplicaSet,
  directories: readonly Inode[],
  good: ChildSet,
  mark: (copies: ChildSet) => Promise<R>,
): Promise<R> {
  const call = withOwner(set, internalCall());
  const locks: HeldLock[] = [];
  try {
    let able = good;
    for (const inode of inOrder(directories)) {
      const lock = await lockAll(set, call, wholeFile(inode, `${set.name}:blame`), "wait");
      locks.push(lock);
      able &= lock.children;
    }
    for (const { gfid } of directories) {
      const { rows, answered } = await look(
        set,
        call,
        { inode: new Inode(gfid, S_IFDIR) },
        { children: able },
      );
      const blamed = blamedIn(rows.filter((_, child) => hasChild(answered, child)));
      able &= answered;
      // An arbiter alone could tell a heal, but is never read.
      if ((able & ~blamed & set.dataChildren) === NO_CHILDREN) able = NO_CHILDREN;
    }
    return await mark(set.hasQuorum(able) ? able : NO_CHILDREN);
  } finally {
    await Promise.all(locks.map((lock) => lock.release()));
  }
}

/** Each once, in the order in which every client locks them. */
function inOrder(directories: readonly Inode[]): Inode[] {
  const sorted = [...directories].sort((a, b) => Buffer.compare(a.gfid, b.gfid));
  return sorted.filter((inode, index) => index === 0 || !sorted[index - 1]!.gfid.equals(inode.gfid));
}
