/**
 * Iatt: what GlusterFS knows of an inode (spec wire.md 5.1, 148 bytes on the wire). A plain immutable record.
 *
 * Times are whole seconds (may be negative) plus nanoseconds. Sizes are bytes, blocks are 512-byte units.
 * `mode` is the full st_mode, type bits included. The inode number is not a field: it follows from the gfid
 * (`inoOf`).
 */

import { type Gfid, NULL_GFID } from "./gfid.ts";

export interface Iatt {
  readonly gfid: Gfid;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly blocks: number;
  readonly blksize: number;
  /** Raw st_dev of the brick. */
  readonly dev: number;
  /** major * 2^32 + minor, as the wire has it; 0 for anything but device nodes. */
  readonly rdev: number;
  readonly atime: number;
  readonly atimeNsec: number;
  readonly mtime: number;
  readonly mtimeNsec: number;
  readonly ctime: number;
  readonly ctimeNsec: number;
  readonly btime: number;
  readonly btimeNsec: number;
}

/** File type bits of st_mode. */
export const S_IFMT = 0o170000;
export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;
export const S_IFLNK = 0o120000;
export const S_IFBLK = 0o060000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;
export const S_IFSOCK = 0o140000;

const S_ISUID = 0o4000;
const S_ISGID = 0o2000;
const S_IXGRP = 0o010;

/**
 * Whether a write by an ordinary user must take set-id bits: set-gid without group execution marks nothing to
 * run.
 */
export function hasSetId(mode: number): boolean {
  return (mode & S_ISUID) !== 0 || (mode & (S_ISGID | S_IXGRP)) === (S_ISGID | S_IXGRP);
}

/** The mode that such a write leaves. */
export function withoutSetId(mode: number): number {
  return mode & ~(S_ISUID | ((mode & S_IXGRP) !== 0 ? S_ISGID : 0));
}

/** What a failed reply or an early acknowledgement carries: everything zero. */
export const ZERO_IATT: Iatt = Object.freeze({
  gfid: NULL_GFID,
  mode: 0,
  nlink: 0,
  uid: 0,
  gid: 0,
  size: 0,
  blocks: 0,
  blksize: 0,
  dev: 0,
  rdev: 0,
  atime: 0,
  atimeNsec: 0,
  mtime: 0,
  mtimeNsec: 0,
  ctime: 0,
  ctimeNsec: 0,
  btime: 0,
  btimeNsec: 0,
});

export function isDir(iatt: { mode: number }): boolean {
  return (iatt.mode & S_IFMT) === S_IFDIR;
}

export function isRegular(iatt: { mode: number }): boolean {
  return (iatt.mode & S_IFMT) === S_IFREG;
}

/** DT_* of a mode, as readdir replies carry it. */
export function direntType(mode: number): number {
  return (mode & S_IFMT) >>> 12;
}

/** Bits of setattr's `valid` (spec wire.md 7.6). */
export const SETATTR = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ATIME: 0x10,
  MTIME: 0x20,
  CTIME: 0x40,
  ATIME_NOW: 0x80,
  MTIME_NOW: 0x100,
} as const;
