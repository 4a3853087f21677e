/**
 * Named values of fops and their wire numbers: lock types, lock commands, seek, open flags (wire.md 7.2, 7.3,
 * 6.2).
 *
 * Functions from the wire give undefined for a number that has no meaning; what to answer is the caller's
 * business.
 */

import type { EntrylkCommand, LkCommand, LockType } from "../core/fops.ts";
import { O_SYNC } from "../core/open-flags.ts";

const LOCK_TYPES: readonly LockType[] = ["rdlck", "wrlck", "unlck"];
const LK_COMMANDS: readonly LkCommand[] = ["getlk", "setlk", "setlkw"];
const ENTRYLK_COMMANDS: readonly EntrylkCommand[] = ["lock", "unlock", "lock-nb"];
const SEEK_WHATS = ["data", "hole"] as const;

export function lockTypeNumber(type: LockType): number {
  return LOCK_TYPES.indexOf(type);
}

export function lockTypeOf(number: number): LockType | undefined {
  return LOCK_TYPES[number];
}

/** Of LK, INODELK and FINODELK. */
export function lkCommandNumber(cmd: LkCommand): number {
  return LK_COMMANDS.indexOf(cmd);
}

/** The RESLK and GETLK_FD commands have no caller in 10.3 and are undefined here. */
export function lkCommandOf(number: number): LkCommand | undefined {
  return LK_COMMANDS[number];
}

export function entrylkCommandNumber(cmd: EntrylkCommand): number {
  return ENTRYLK_COMMANDS.indexOf(cmd);
}

export function entrylkCommandOf(number: number): EntrylkCommand | undefined {
  return ENTRYLK_COMMANDS[number];
}

export function seekWhatNumber(what: "data" | "hole"): number {
  return SEEK_WHATS.indexOf(what);
}

export function seekWhatOf(number: number): "data" | "hole" | undefined {
  return SEEK_WHATS[number];
}

/**
 * Bits that mean the same on the wire and in x86-64 Linux: access mode, FMODE_EXEC, and CREAT to CLOEXEC
 * without the sync bits.
 */
const SHARED_FLAGS = 0o3 | 0o40 | (0o3777700 & ~O_SYNC);
const WIRE_SYNC = 0o10000;

/**
 * Open flags as OPEN, CREATE and PUT carry them. O_SYNC and O_DSYNC share one bit, O_PATH and O_TMPFILE have
 * none.
 */
export function toWireFlags(flags: number): number {
  return (flags & SHARED_FLAGS) | ((flags & O_SYNC) === 0 ? 0 : WIRE_SYNC);
}

/** Open flags of Linux for those of the wire; its sync bit is the stronger one, O_SYNC. */
export function fromWireFlags(flags: number): number {
  return (flags & SHARED_FLAGS) | ((flags & WIRE_SYNC) === 0 ? 0 : O_SYNC);
}
