/**
 * Turns fop values into what fuse-native can carry, and back: struct stat, struct statvfs, device numbers,
 * times.
 *
 * The package moves most fields as 32 bits and times as whole milliseconds. So inode numbers are folded from
 * 64 bits, block counts of file systems past 2^32 blocks are given in larger blocks, sub-millisecond digits
 * and years before 1970 are lost on the way to the kernel. Nothing here does I/O.
 */

import type { FuseStat, FuseStatfs } from "fuse-native";
import type { Statfs } from "../../src/core/fops.ts";
import { type Gfid, gfidEquals, ROOT_GFID } from "../../src/core/gfid.ts";
import type { Iatt } from "../../src/core/iatt.ts";

const UINT32_MAX = 0xffff_ffff;
/** Number of the root; no other inode gets it. */
const ROOT_INO = 1;

export function toFuseStat(iatt: Iatt): FuseStat {
  return {
    mode: iatt.mode,
    uid: iatt.uid,
    gid: iatt.gid,
    size: iatt.size,
    dev: 0,
    nlink: iatt.nlink,
    ino: shortIno(iatt.gfid),
    rdev: toLinuxDev(iatt.rdev),
    blksize: iatt.blksize,
    blocks: iatt.blocks,
    atime: toMs(iatt.atime, iatt.atimeNsec),
    mtime: toMs(iatt.mtime, iatt.mtimeNsec),
    ctime: toMs(iatt.ctime, iatt.ctimeNsec),
  };
}

/**
 * A 32-bit inode number: the two halves of the 64-bit one (`inoOf`), folded. Hard links share it. Two files
 * of a volume may share it as well; with n files the odds are about n^2 / 2^33.
 */
export function shortIno(gfid: Gfid): number {
  if (gfidEquals(gfid, ROOT_GFID)) return ROOT_INO;
  const folded = (gfid.readUInt32BE(8) ^ gfid.readUInt32BE(12)) >>> 0;
  return folded > ROOT_INO ? folded : UINT32_MAX - folded;
}

/** A statvfs whose block counts fit 32 bits: `frsize` grows by powers of two until they do. */
export function toFuseStatfs(statfs: Statfs): FuseStatfs {
  let shift = 0;
  while (statfs.blocks / 2 ** shift > UINT32_MAX) shift++;
  const scale = 2 ** shift;
  return {
    bsize: Math.min(statfs.bsize, UINT32_MAX),
    frsize: Math.min(statfs.frsize * scale, UINT32_MAX),
    blocks: Math.floor(statfs.blocks / scale),
    bfree: Math.floor(statfs.bfree / scale),
    bavail: Math.floor(statfs.bavail / scale),
    files: Math.min(statfs.files, UINT32_MAX),
    ffree: Math.min(statfs.ffree, UINT32_MAX),
    favail: Math.min(statfs.favail, UINT32_MAX),
    fsid: statfs.fsid % (UINT32_MAX + 1),
    flag: statfs.flag,
    namemax: statfs.namemax,
  };
}

/** Milliseconds since 1970; 0 for times before it, which the package would turn into the far future. */
export function toMs(sec: number, nsec: number): number {
  return Math.max(0, sec * 1000 + Math.floor(nsec / 1_000_000));
}

/** Seconds and nanoseconds of a time in milliseconds, also before 1970. */
export function fromMs(ms: number): { sec: number; nsec: number } {
  const sec = Math.floor(ms / 1000);
  return { sec, nsec: (ms - sec * 1000) * 1_000_000 };
}

/** A device number as a fop carries it (major * 2^32 + minor) to Linux' 32-bit form. */
export function toLinuxDev(rdev: number): number {
  const major = Math.floor(rdev / 2 ** 32);
  const minor = rdev % 2 ** 32;
  return (((minor & 0xfff00) << 12) | ((major & 0xfff) << 8) | (minor & 0xff)) >>> 0;
}

/** The inverse of `toLinuxDev`. */
export function fromLinuxDev(dev: number): number {
  const major = (dev >>> 8) & 0xfff;
  const minor = ((dev >>> 12) & 0xfff00) | (dev & 0xff);
  return major * 2 ** 32 + minor;
}
