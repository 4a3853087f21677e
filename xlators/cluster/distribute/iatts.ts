/**
 * Attributes of an object that is on several children, and marks in a mode that are not the user's (GlusterFS
 * dht-helper.c, dht-common.h).
 */

import { type Iatt, isDir, isRegular, ZERO_IATT } from "../../../src/core/iatt.ts";

/** What every directory is said to be large, as its parts on the children say nothing. */
const DIRECTORY_SIZE = 4096;
const DIRECTORY_BLOCKS = 8;

const PERMISSIONS = 0o7777;
const STICKY = 0o1000;
const SET_GID = 0o2000;
/** Mode of a linkto file, and of a file that has been moved away. */
export const LINKTO_MODE = STICKY;
const MOVING = STICKY | SET_GID;

/** A file that is being moved: the other child has it too. */
export function isMoving(stat: Iatt): boolean {
  return (stat.mode & MOVING) === MOVING && isRegular(stat);
}

/** No file of a user's, most probably: a linkto file, or what a move has left. */
export function hasLinktoMode(stat: Iatt): boolean {
  return (stat.mode & PERMISSIONS) === LINKTO_MODE && isRegular(stat);
}

/** Without the marks of a move. */
export function shown(stat: Iatt): Iatt {
  return isMoving(stat) ? { ...stat, mode: stat.mode & ~MOVING } : stat;
}

/** A directory as users see it. */
export function shownDirectory(stat: Iatt): Iatt {
  if (stat === ZERO_IATT || !isDir(stat)) return stat;
  if (stat.size === DIRECTORY_SIZE && stat.blocks === DIRECTORY_BLOCKS) return stat;
  return { ...stat, size: DIRECTORY_SIZE, blocks: DIRECTORY_BLOCKS };
}

/** A directory out of its parts: owner and mode of `from`, the latest of each time. */
export function mergedDirectory(parts: readonly Iatt[], from: Iatt = parts.at(-1)!): Iatt {
  return shownDirectory(parts.reduce((merged, part) => withTimesOf(merged, part), from));
}

/** The latest of each time of both, and when the older part was made; everything else of the first. */
export function withTimesOf(stat: Iatt, other: Iatt): Iatt {
  if (stat === other || (!isLater(other, stat) && !wasMadeBefore(other, stat))) return stat;
  const atime = after(other.atime, other.atimeNsec, stat.atime, stat.atimeNsec) ? other : stat;
  const mtime = after(other.mtime, other.mtimeNsec, stat.mtime, stat.mtimeNsec) ? other : stat;
  const ctime = after(other.ctime, other.ctimeNsec, stat.ctime, stat.ctimeNsec) ? other : stat;
  const btime = wasMadeBefore(other, stat) ? other : stat;
  return {
    ...stat,
    atime: atime.atime,
    atimeNsec: atime.atimeNsec,
    mtime: mtime.mtime,
    mtimeNsec: mtime.mtimeNsec,
    ctime: ctime.ctime,
    ctimeNsec: ctime.ctimeNsec,
    btime: btime.btime,
    btimeNsec: btime.btimeNsec,
  };
}

function isLater(a: Iatt, b: Iatt): boolean {
  return (
    after(a.atime, a.atimeNsec, b.atime, b.atimeNsec) ||
    after(a.mtime, a.mtimeNsec, b.mtime, b.mtimeNsec) ||
    after(a.ctime, a.ctimeNsec, b.ctime, b.ctimeNsec)
  );
}

function wasMadeBefore(a: Iatt, b: Iatt): boolean {
  return after(b.btime, b.btimeNsec, a.btime, a.btimeNsec);
}

/** Changed after the other, by ctime. */
export function changedLater(a: Iatt, b: Iatt): boolean {
  return after(a.ctime, a.ctimeNsec, b.ctime, b.ctimeNsec);
}

/** Same owner and permissions. */
export function sameAccess(a: Iatt, b: Iatt): boolean {
  return a.uid === b.uid && a.gid === b.gid && (a.mode & PERMISSIONS) === (b.mode & PERMISSIONS);
}

function after(sec: number, nsec: number, otherSec: number, otherNsec: number): boolean {
  return sec > otherSec || (sec === otherSec && nsec > otherNsec);
}
