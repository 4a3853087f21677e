/**
 * Sets of children as bit masks: bit i is child i. At most 16 children, as GlusterFS has it (spec
 * translators.md 4.1), so that a set is a small integer and costs nothing on the way of a write.
 */

/** Bit i stands for child i. */
export type ChildSet = number;

export const NO_CHILDREN: ChildSet = 0;
export const CHILDREN_MAX = 16;

/** All of `count` children. */
export function allChildren(count: number): ChildSet {
  return (1 << count) - 1;
}

export function only(child: number): ChildSet {
  return 1 << child;
}

export function hasChild(set: ChildSet, child: number): boolean {
  return (set & (1 << child)) !== 0;
}

export function withChild(set: ChildSet, child: number): ChildSet {
  return set | (1 << child);
}

export function withoutChild(set: ChildSet, child: number): ChildSet {
  return set & ~(1 << child);
}

/** How many children are in it. */
export function countChildren(set: ChildSet): number {
  let count = 0;
  for (let rest = set; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/** The lowest child in it, -1 for none. */
export function firstChild(set: ChildSet): number {
  return set === 0 ? -1 : 31 - Math.clz32(set & -set);
}

/** Indexes in ascending order. */
export function childrenOf(set: ChildSet): number[] {
  const indexes: number[] = [];
  for (let rest = set; rest !== 0; rest &= rest - 1) indexes.push(firstChild(rest));
  return indexes;
}

/** The children whose predicate holds, of `count`. */
export function childrenWhere(count: number, holds: (child: number) => boolean): ChildSet {
  let set = NO_CHILDREN;
  for (let child = 0; child < count; child++) if (holds(child)) set |= 1 << child;
  return set;
}
