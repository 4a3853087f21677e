/**
 * What every child says of one object: attributes, marks, xattrs, locks (spec translators.md 4.6). One lookup
 * to each, all at once; what it means is decided elsewhere.
 */

import type { Call } from "../../../../src/core/call.ts";
import { fanout, type Outcome } from "../../../../src/core/concurrency.ts";
import { Dict } from "../../../../src/core/dict.ts";
import type { ErrnoName, FopError } from "../../../../src/core/errors.ts";
import { type Gfid, isNullGfid } from "../../../../src/core/gfid.ts";
import { type Iatt, S_IFMT, ZERO_IATT } from "../../../../src/core/iatt.ts";
import type { Loc } from "../../../../src/core/inode.ts";
import { KEY, LOCK_KEY, XATTR_NAMESPACES } from "../../../../src/core/keys.ts";
import { AFR_PREFIX, type ChangelogRow, decodeRow, NO_COUNTS, requestRow } from "../changelog.ts";
import { type ChildSet, childrenOf, NO_CHILDREN, withChild } from "../child-set.ts";
import type { Outcomes } from "../fan-out.ts";
import type { CopyReply } from "../readable.ts";
import type { ReplicaSet } from "../replica-set.ts";

/** Asks a lookup for all xattrs of a listing. */
const LIST_XATTR = "list-xattr";
/** Lets a lookup by name answer for an entry that has no gfid yet. */
const GFIDLESS_LOOKUP = "gfidless-lookup";
/** xattrs that belong to a copy or to the brick, not to the object; heal neither compares nor copies them. */
const OWN_XATTRS: ReadonlySet<string> = new Set([
  KEY.GFID,
  KEY.VOLUME_ID,
  "security.selinux",
  "trusted.glusterfs.quota.size",
]);
const OWN_PREFIXES = [AFR_PREFIX, "trusted.gfid2path.", "trusted.pgfid.", "trusted.mortar."] as const;

/** By child; of a child that did not answer rows and stats are zeroes. */
export interface Look {
  readonly answered: ChildSet;
  readonly rows: readonly ChangelogRow[];
  readonly stats: readonly Iatt[];
  readonly xattrs: readonly (Dict | undefined)[];
  /** Undefined of children that answered or were not asked. */
  readonly errors: readonly (FopError | undefined)[];
}

export interface LookWish {
  /** Children to ask; those that are up when absent. */
  readonly children?: ChildSet;
  /** xattrs for `attributesOf`. */
  readonly attributes?: boolean;
  /** Lock counts of both domains for `lockCount`. */
  readonly locks?: boolean;
}

/** Never rejects. */
export async function look(set: ReplicaSet, call: Call, loc: Loc, wish: LookWish = {}): Promise<Look> {
  const children = childrenOf(wish.children ?? set.up);
  const xdata = requestRow(set.pendingKeys);
  if (loc.name !== undefined) xdata.setInt(GFIDLESS_LOOKUP, 1);
  if (wish.attributes) xdata.setInt(LIST_XATTR, 1);
  if (wish.locks) {
    xdata.setUint(LOCK_KEY.MULTI_DOM_REQUEST, 1);
    for (const domain of [set.name, healDomain(set)]) xdata.setUint(LOCK_KEY.INODELK_DOM_PREFIX + domain, 1);
  }
  const outcomes = await fanout(children, (child) => set.children[child]!.lookup(call, { loc, xdata }));
  const byChild = set.children.map((): Outcome<CopyReply> | undefined => undefined);
  for (const [at, outcome] of outcomes.entries()) byChild[children[at]!] = outcome;
  return lookOf(set, byChild);
}

/** The same from replies that somebody else asked for; they must have been asked for the marks. */
export function lookOf(set: ReplicaSet, outcomes: Outcomes<CopyReply>): Look {
  let answered = NO_CHILDREN;
  const noRow: ChangelogRow = { pending: set.pendingKeys.map(() => NO_COUNTS), dirty: NO_COUNTS };
  const rows = set.children.map(() => noRow);
  const stats = set.children.map(() => ZERO_IATT);
  const xattrs: (Dict | undefined)[] = set.children.map(() => undefined);
  const errors: (FopError | undefined)[] = set.children.map(() => undefined);
  for (const [child, outcome] of outcomes.entries()) {
    if (outcome === undefined) continue;
    if (!outcome.ok) {
      errors[child] = outcome.error;
      continue;
    }
    answered = withChild(answered, child);
    rows[child] = decodeRow(outcome.reply.xdata, set.pendingKeys);
    stats[child] = outcome.reply.stat;
    xattrs[child] = outcome.reply.xdata ?? new Dict();
  }
  return { answered, rows, stats, xattrs, errors };
}

/** Domain in which whoever heals an inode excludes other healers (spec 4.9). */
export function healDomain(set: ReplicaSet): string {
  return `${set.name}:self-heal`;
}

/** Whether an error says that the object is not there. */
export function isAbsent(error: { readonly code: ErrnoName } | undefined): boolean {
  return error?.code === "ENOENT" || error?.code === "ESTALE";
}

/** Every child was asked and none has the object. */
export function isGone(set: ReplicaSet, found: Look): boolean {
  return set.children.every((_, child) => isAbsent(found.errors[child]));
}

/** Locks held or waited for in a domain, as the first child that tells says; needs `locks`. */
export function lockCount(found: Look, domain: string): number {
  for (const xattrs of found.xattrs) {
    const count = xattrs?.number(LOCK_KEY.INODELK_DOM_PREFIX + domain) ?? 0;
    if (count > 0) return count;
  }
  return 0;
}

/** Whether heal is to make this xattr equal on all copies. */
export function isHealedXattr(name: string): boolean {
  if (!XATTR_NAMESPACES.some((prefix) => name.startsWith(prefix))) return false;
  return !OWN_XATTRS.has(name) && !OWN_PREFIXES.some((prefix) => name.startsWith(prefix));
}

/** A text that is equal for copies with equal type, mode, owner and xattrs; times count for nothing. */
export function attributesOf(found: Look, child: number): string {
  const { mode, uid, gid } = found.stats[child]!;
  const xattrs: string[] = [];
  const dict = found.xattrs[child];
  for (const name of dict?.keys() ?? []) {
    if (!isHealedXattr(name) || name === KEY.MDATA) continue;
    xattrs.push(`${name}=${dict!.bytes(name)?.toString("hex") ?? ""}`);
  }
  return [mode, uid, gid, ...xattrs.sort()].join(" ");
}

/** Whether all that answered are of one type. */
export function sameType(found: Look): boolean {
  const types = childrenOf(found.answered).map((child) => found.stats[child]!.mode & S_IFMT);
  return new Set(types).size <= 1;
}

/** The first answer's attributes; ZERO_IATT when there is none. */
export function firstStat(found: Look): Iatt {
  const [first] = childrenOf(found.answered);
  return first === undefined ? ZERO_IATT : found.stats[first]!;
}

/** The gfid of a copy, undefined when it has none or did not answer. */
export function gfidOn(found: Look, child: number): Gfid | undefined {
  const { gfid } = found.stats[child]!;
  return isNullGfid(gfid) ? undefined : gfid;
}
