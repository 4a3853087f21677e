/** inodelk: byte-range locks of translators on an inode, by domain (spec translators.md 9.2). */

import { FopError } from "../../../src/core/errors.ts";
import type { Flock } from "../../../src/core/fops.ts";
import {
  type ByteRange,
  lengthOf,
  overlaps,
  RANGE_END,
  rangeOf,
  sameRange,
} from "../../../src/core/ranges.ts";
import type { DomainLock, DomainRules } from "./domain.ts";
import type { LockOwner } from "./owner.ts";

export interface Inodelk extends DomainLock {
  readonly range: ByteRange;
  readonly type: "rdlck" | "wrlck";
}

export const INODELK_RULES: DomainRules<Inodelk> = {
  conflicts: (a, b) => (a.type === "wrlck" || b.type === "wrlck") && overlaps(a.range, b.range),
  matches: (held, request) => sameRange(held.range, request.range),
};

/** The range that stands for "metadata", which must never meet a data lock. */
const METADATA_START = RANGE_END - 1n;
const METADATA_SUFFIX = ":metadata";

/** The domain that a request really goes to. */
export function inodelkDomain(volume: string, flock: Flock): string {
  const forMetadata = BigInt.asIntN(64, flock.start) === METADATA_START && flock.len === 0n;
  return forMetadata && !volume.endsWith(METADATA_SUFFIX) ? volume + METADATA_SUFFIX : volume;
}

/** A lock as asked for; the type of an unlock does not matter. EINVAL for a range that cannot be. */
export function inodelkOf(owner: LockOwner, flock: Flock): Inodelk {
  const range = BigInt.asIntN(64, flock.len) < 0n ? undefined : rangeOf(flock.start, flock.len);
  if (!range || flock.whence !== 0) throw new FopError("EINVAL");
  const type = flock.type === "rdlck" ? "rdlck" : "wrlck";
  return { owner, range, type, grantedMs: 0, contendedMs: undefined };
}

/** A held lock as others are told about it. */
export function flockOf(lock: { owner: LockOwner; range: ByteRange; type: Flock["type"] }): Flock {
  const { owner, range, type } = lock;
  return {
    type,
    whence: 0,
    start: range.start,
    len: lengthOf(range),
    pid: owner.pid,
    lkOwner: owner.lkOwner,
  };
}
