/**
 * clear-locks: locks dropped by hand through the getxattr name `glusterfs.clrlk.t<type>.k<kind>[.<which>]`
 * (spec translators.md 9.3), and `glusterfs.intrlk.tposix.kblocked.<range>`, by which GlusterFS' FUSE client
 * interrupts its own waiting lk calls.
 */

import type { Call } from "../../../src/core/call.ts";
import { type ByteRange, rangeOf, sameRange } from "../../../src/core/ranges.ts";
import type { InodeLocks } from "./inode-locks.ts";
import { clientKey, type LockOwner } from "./owner.ts";

const CLEAR_PREFIX = "glusterfs.clrlk";
const INTERRUPT_PREFIX = "glusterfs.intrlk";

export interface ClearCommand {
  readonly type: "inode" | "entry" | "posix";
  readonly blocked: boolean;
  readonly granted: boolean;
  /** The caller's own requests only. */
  readonly ownOnly: boolean;
  /** Locks of exactly this range only. */
  readonly range: ByteRange | undefined;
  /** Entry locks of exactly this name only. */
  readonly name: string | undefined;
}

/** True for names that `parseClear` has to be asked about. */
export function isClearName(name: string): boolean {
  return name.startsWith(CLEAR_PREFIX) || name.startsWith(INTERRUPT_PREFIX);
}

/** Undefined when the command is not understood. */
export function parseClear(text: string): ClearCommand | undefined {
  const match =
    /^glusterfs\.(clrlk|intrlk)\.t(inode|entry|posix)\.k(blocked|granted|all)(?:\.([^/]+))?$/.exec(text);
  if (!match) return undefined;
  const [, verb, type, kind, which] = match;
  const ownOnly = verb === "intrlk";
  if (ownOnly && type !== "posix") return undefined;
  const ranged = type !== "entry" && which !== undefined;
  const range = ranged ? parseRange(which) : undefined;
  if (ranged && !range) return undefined;
  return {
    type: type as ClearCommand["type"],
    blocked: kind !== "granted",
    granted: kind !== "blocked",
    ownOnly,
    range,
    name: type === "entry" ? which : undefined,
  };
}

/** `whence,start-length`, as printed by GlusterFS. */
function parseRange(text: string): ByteRange | undefined {
  const match = /^0,(\d+)-(\d+)$/.exec(text);
  return match ? rangeOf(BigInt(match[1]!), BigInt(match[2]!)) : undefined;
}

/**
 * Drops the locks; the caller then lets others go on. Waiting lk calls end with EINTR, the others with
 * EAGAIN.
 */
export function clearLocks(
  inode: InodeLocks,
  command: ClearCommand,
  call: Call,
): { blocked: number; granted: number } {
  const inRange = (lock: { range: ByteRange }): boolean =>
    command.range === undefined || sameRange(lock.range, command.range);
  const ofName = (lock: { name: string | undefined }): boolean =>
    command.name === undefined || lock.name === command.name;
  const own = ({ owner }: { owner: LockOwner }): boolean =>
    !command.ownOnly || (owner.pid === call.pid && clientKey(owner.client) === clientKey(call.client));
  let blocked = 0;
  let granted = 0;
  switch (command.type) {
    case "posix":
      if (command.blocked)
        blocked = inode.posix.blocked.refuse((lock) => inRange(lock) && own(lock), "EINTR");
      if (command.granted) granted = inode.posix.drop((lock) => inRange(lock) && own(lock));
      break;
    case "inode":
      for (const domain of inode.inodelks.values()) {
        if (command.blocked) blocked += domain.blocked.refuse(inRange, "EAGAIN");
        if (command.granted) granted += domain.drop(inRange);
      }
      break;
    case "entry":
      for (const domain of inode.entrylks.values()) {
        if (command.blocked) blocked += domain.blocked.refuse(ofName, "EAGAIN");
        if (command.granted) granted += domain.drop(ofName);
      }
  }
  return { blocked, granted };
}

/** The text that clear-locks answers with. */
export function clearSummary(
  brick: string,
  type: string,
  cleared: { blocked: number; granted: number },
): string {
  if (cleared.blocked === 0 && cleared.granted === 0) return "No locks cleared.";
  return `${brick}: ${type} blocked locks=${cleared.blocked} granted locks=${cleared.granted}`;
}

/**
 * `host:/brick` from the brick's pathinfo, `<POSIX(/brick):host:/path>`; undefined when it looks otherwise.
 */
export function brickOfPathinfo(pathinfo: string): string | undefined {
  const match = /^<POSIX\((.+)\):([^:]+):/.exec(pathinfo);
  return match ? `${match[2]}:${match[1]}` : undefined;
}
