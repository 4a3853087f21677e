/**
 * Client quorum: how many copies must take part for an operation to count (spec translators.md 4.3).
 */

import { allChildren, type ChildSet, countChildren, hasChild } from "./child-set.ts";

export type QuorumType = "none" | "auto" | "fixed";

export interface QuorumRule {
  readonly type: QuorumType;
  /** Of "fixed" only. */
  readonly count: number;
  readonly childCount: number;
}

/** The rule that options mean: without a quorum-type more than two children have "auto", others none. */
export function quorumRule(
  given: { readonly type: QuorumType | undefined; readonly count: number },
  childCount: number,
): QuorumRule {
  const type = given.type ?? (childCount > 2 ? "auto" : "none");
  return { type, count: given.count, childCount };
}

/**
 * Whether these children are enough. Exactly half of them are enough for "auto" when child 0 is among them:
 * it breaks ties for every even count, so that at most one half of a split volume goes on.
 */
export function hasQuorum(rule: QuorumRule, children: ChildSet): boolean {
  const present = countChildren(children & allChildren(rule.childCount));
  switch (rule.type) {
    case "none":
      return present > 0;
    case "fixed":
      return present >= rule.count;
    case "auto":
      return present * 2 > rule.childCount || (present * 2 === rule.childCount && hasChild(children, 0));
  }
}

/** Copies that a decision needs behind it: what heal asks of accusers (spec 4.8). 0 without a rule. */
export function quorumCount(rule: QuorumRule): number {
  switch (rule.type) {
    case "none":
      return 0;
    case "fixed":
      return rule.count;
    case "auto":
      return Math.floor(rule.childCount / 2) + 1;
  }
}

/**
 * How many copies do an operation, and blame those that missed it, before it is acknowledged; 0 without a
 * rule. Exactly half of them when child 0 breaks the tie.
 */
export function acknowledgersMin(rule: QuorumRule): number {
  return rule.type === "auto" ? Math.ceil(rule.childCount / 2) : quorumCount(rule);
}
