/**
 * Mandatory locks: which reads and writes somebody's lock forbids (spec translators.md 9.3). Pure; who waits
 * and who is refused is decided in locks.ts.
 */

import { type ByteRange, covers, overlaps } from "../../../src/core/ranges.ts";
import type { LockOwner } from "./owner.ts";
import type { PosixLock, PosixLocks } from "./posix-lk.ts";

/**
 * "file": locks of files with set-gid and without group-execute are mandatory; "forced": all are; "optimal":
 * those that were asked for as mandatory.
 */
export type MandatoryMode = "off" | "file" | "forced" | "optimal";

export interface IoRequest {
  readonly owner: LockOwner;
  readonly kind: "read" | "write";
  readonly range: ByteRange;
}

interface Locked {
  readonly posix: PosixLocks;
  readonly markedMandatory: boolean;
}

/** True when no lock of another owner forbids the I/O. */
export function ioAllowed(inode: Locked, request: IoRequest, mode: MandatoryMode): boolean {
  return !inode.posix.granted.some(
    (held) =>
      isMandatory(inode, held, mode) &&
      held.owner.key !== request.owner.key &&
      (request.kind === "write" || held.type === "wrlck") &&
      overlaps(held.range, request.range),
  );
}

/**
 * With enforcement: true when a lock of the caller's own covers the whole range and nobody else's touches it.
 */
export function enforcedIoAllowed(posix: PosixLocks | undefined, request: IoRequest): boolean {
  const touching = posix?.granted.filter((held) => overlaps(held.range, request.range)) ?? [];
  const own = touching.filter((held) => held.owner.key === request.owner.key);
  return own.length === touching.length && own.some((held) => covers(held.range, request.range));
}

/** True when an open with O_TRUNC has to be refused. */
export function forbidsTruncatingOpen(inode: Locked, mode: MandatoryMode): boolean {
  const held = [...inode.posix.granted, ...inode.posix.blocked.requests];
  return held.some((lock) => isMandatory(inode, lock, mode));
}

function isMandatory(inode: Locked, lock: PosixLock, mode: MandatoryMode): boolean {
  switch (mode) {
    case "off":
      return false;
    case "file":
      return inode.markedMandatory;
    case "forced":
      return true;
    case "optimal":
      return lock.mandatory;
  }
}
