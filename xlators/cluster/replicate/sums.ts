/**
 * Sums that clients keep in xattrs by adding, as the size of a file in blocks. Pure.
 *
 * An addition that too few copies did is told to have failed. Whatever copies kept of it they would keep for
 * long: every later addition is acknowledged and leaves the difference, and readers are told now one sum, now
 * the other. So it is taken back where it was done. What that could not reach shows in the replies to the
 * next one, which bring the sums: a copy that is outvoted has missed something, or has too much, and is
 * blamed for it. GlusterFS does neither.
 */

import { Dict } from "../../../src/core/dict.ts";
import { type Args, type FopName, type Reply, XATTROP } from "../../../src/core/fops.ts";
import { type ChildSet, countChildren, hasChild, NO_CHILDREN, only } from "./child-set.ts";

const ADDITIONS: ReadonlySet<number> = new Set([XATTROP.ADD_ARRAY, XATTROP.ADD_ARRAY64]);

type Results = readonly PromiseSettledResult<object | undefined>[];

/** Of copies in `among` those with other sums than most of them; of equally many the first ones are right. */
export function outvoted(
  { fop, args }: { readonly fop: FopName; readonly args: object },
  results: Results,
  among: ChildSet,
): ChildSet {
  if (!isAddition(fop, args)) return NO_CHILDREN;
  const { xattrs } = args;
  const bySum = new Map<string, ChildSet>();
  for (const [child, result] of results.entries()) {
    if (!hasChild(among, child) || result.status === "rejected" || result.value === undefined) continue;
    const sums = sumsOf(xattrs, (result.value as Reply<"xattrop">).xattrs);
    bySum.set(sums, (bySum.get(sums) ?? NO_CHILDREN) | only(child));
  }
  if (bySum.size <= 1) return NO_CHILDREN;
  const groups = [...bySum.values()];
  const most = groups.reduce((a, b) => (countChildren(b) > countChildren(a) ? b : a));
  return groups.reduce((all, group) => all | group, NO_CHILDREN) & ~most;
}

export function isAddition(fop: FopName, args: object): args is Args<"xattrop"> {
  return (fop === "xattrop" || fop === "fxattrop") && ADDITIONS.has((args as Args<"xattrop">).op);
}

/** What takes an addition back. */
export function negated<A extends Args<"xattrop"> | Args<"fxattrop">>(args: A): A {
  const xattrs = new Dict();
  for (const key of args.xattrs.keys()) {
    const value = Buffer.from(args.xattrs.bytes(key)!);
    if (args.op === XATTROP.ADD_ARRAY)
      for (let at = 0; at < value.length; at += 4) value.writeInt32BE(-value.readInt32BE(at) | 0, at);
    else
      for (let at = 0; at < value.length; at += 8)
        value.writeBigInt64BE(BigInt.asIntN(64, -value.readBigInt64BE(at)), at);
    xattrs.setBytes(key, value);
  }
  return { ...args, xattrs };
}

function sumsOf(asked: Dict, answered: Dict): string {
  return [...asked.keys()].map((key) => answered.bytes(key)?.toString("hex") ?? "").join();
}
