/**
 * Blame for the time in which a heal puts the right object in the place of another one. A copy loses that
 * before it gets this, and may then have no room for it: the copies with the right one blame it meanwhile, so
 * that nobody misses the name there, and a heal of the directory takes up what this one did not end.
 */

import type { Call } from "../../../../src/core/call.ts";
import { fanout } from "../../../../src/core/concurrency.ts";
import { Dict } from "../../../../src/core/dict.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { INDEX_KEY } from "../../../../src/core/keys.ts";
import { countsOf, NO_COUNTS } from "../changelog.ts";
import { type ChildSet, childrenOf, hasChild, NO_CHILDREN, only } from "../child-set.ts";
import { inTurn } from "../entry-blame.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { addMarks } from "./marks.ts";

/** What is to be replaced, under a lock on the name. */
export interface Replacement {
  readonly set: ReplicaSet;
  readonly call: Call;
  readonly directory: Inode;
  readonly name: string;
  /** Copies with the right object, and those with another one that nobody blames. */
  readonly right: ChildSet;
  readonly replaced: ChildSet;
}

/** Does not begin where blame cannot be told. Nobody blames where that would leave no copy to believe. */
export async function replace(replacement: Replacement, work: () => Promise<void>): Promise<void> {
  const { set, directory, right, replaced } = replacement;
  if (replaced === NO_CHILDREN) return await work();
  const told = await inTurn(set, [directory], right, (able) => blame(replacement, able, 1));
  await work();
  await blame(replacement, told, -1);
}

/** Rejects when one of these copies cannot say so; then the others do not either. */
async function blame(replacement: Replacement, on: ChildSet, count: 1 | -1): Promise<ChildSet> {
  const { set, call, directory, name, replaced } = replacement;
  const counts = countsOf("entry", count);
  const pending = set.pendingKeys.map((_, child) => (hasChild(replaced, child) ? counts : NO_COUNTS));
  const key = count > 0 ? INDEX_KEY.ENTRY_CREATE : INDEX_KEY.ENTRY_DELETE;
  const xdata = set.options["granular-entry-heal"] ? new Dict().setStr(key, name) : undefined;
  const children = childrenOf(on);
  const outcomes = await fanout(children, (child) =>
    addMarks(set, call, directory, child, { pending, dirty: NO_COUNTS }, xdata),
  );
  const failed = outcomes.find((outcome) => !outcome.ok);
  if (!failed || failed.ok) return on;
  if (count < 0) throw failed.error;
  const told = children.filter((_, at) => outcomes[at]!.ok).reduce((all, child) => all | only(child), 0);
  await blame(replacement, told, -1);
  throw failed.error;
}
