/**
 * mdata: the client's times of a file in `trusted.glusterfs.mdata`, and the rules by which they move (spec
 * translators.md 2.3).
 *
 * 57 bytes: version u8 = 1, flags u64 = 0, then ctime, mtime and atime, each as seconds and nanoseconds,
 * big-endian 64 bits. Times only move forward, except by an explicit utimes. All functions here are pure;
 * storage/posix keeps them on disk.
 */

import { type Call, TIME_FLAGS } from "./call.ts";
import type { Mdata } from "./dict.ts";

export const MDATA_BYTES = 57;

/** Which of the three times a call is about. */
export interface TimeMask {
  readonly ctime: boolean;
  readonly mtime: boolean;
  readonly atime: boolean;
}

export interface Moment {
  readonly sec: number;
  readonly nsec: number;
}

/** The value as it lies on disk. */
export function encodeMdata(mdata: Mdata): Buffer {
  const out = Buffer.alloc(MDATA_BYTES);
  out[0] = 1;
  const words = [mdata.ctime, mdata.ctimeNsec, mdata.mtime, mdata.mtimeNsec, mdata.atime, mdata.atimeNsec];
  for (let i = 0; i < words.length; i++) out.writeBigInt64BE(BigInt(words[i]!), 9 + i * 8);
  return out;
}

/** The value read back; undefined when its size or version is another. */
export function decodeMdata(bytes: Buffer): Mdata | undefined {
  if (bytes.length !== MDATA_BYTES || bytes[0] !== 1) return undefined;
  return {
    ctime: word(bytes, 0),
    ctimeNsec: word(bytes, 1),
    mtime: word(bytes, 2),
    mtimeNsec: word(bytes, 3),
    atime: word(bytes, 4),
    atimeNsec: word(bytes, 5),
  };
}

function word(bytes: Buffer, index: number): number {
  return Number(bytes.readBigInt64BE(9 + index * 8));
}

/** All three times at one moment, as a file gets them with its first stamped call. */
export function mdataAt(time: Moment): Mdata {
  return {
    ctime: time.sec,
    ctimeNsec: time.nsec,
    mtime: time.sec,
    mtimeNsec: time.nsec,
    atime: time.sec,
    atimeNsec: time.nsec,
  };
}

function isLater(sec: number, nsec: number, thanSec: number, thanNsec: number): boolean {
  return sec > thanSec || (sec === thanSec && nsec > thanNsec);
}

/** Moves the masked times up to `time`; the same object when all of them are there already. */
export function raiseMdata(mdata: Mdata, time: Moment, mask: TimeMask): Mdata {
  const { sec, nsec } = time;
  const ctime = mask.ctime && isLater(sec, nsec, mdata.ctime, mdata.ctimeNsec);
  const mtime = mask.mtime && isLater(sec, nsec, mdata.mtime, mdata.mtimeNsec);
  const atime = mask.atime && isLater(sec, nsec, mdata.atime, mdata.atimeNsec);
  if (!ctime && !mtime && !atime) return mdata;
  return {
    ctime: ctime ? sec : mdata.ctime,
    ctimeNsec: ctime ? nsec : mdata.ctimeNsec,
    mtime: mtime ? sec : mdata.mtime,
    mtimeNsec: mtime ? nsec : mdata.mtimeNsec,
    atime: atime ? sec : mdata.atime,
    atimeNsec: atime ? nsec : mdata.atimeNsec,
  };
}

/** The later of each time: what healing and a second client's lookup bring together. */
export function mergeMdata(a: Mdata, b: Mdata): Mdata {
  let merged = raiseMdata(
    a,
    { sec: b.ctime, nsec: b.ctimeNsec },
    { ctime: true, mtime: false, atime: false },
  );
  merged = raiseMdata(
    merged,
    { sec: b.mtime, nsec: b.mtimeNsec },
    { ctime: false, mtime: true, atime: false },
  );
  return raiseMdata(merged, { sec: b.atime, nsec: b.atimeNsec }, { ctime: false, mtime: false, atime: true });
}

/** The times that a call's flags ask for on the object itself; undefined when none. */
export function ownMask(call: Call): TimeMask | undefined {
  return maskOf(call.time?.flags ?? 0);
}

/** The times that a call's flags ask for on the parent directory; undefined when none. */
export function parentMask(call: Call): TimeMask | undefined {
  return maskOf((call.time?.flags ?? 0) >> PARENT_SHIFT);
}

/** PARENT_CTIME is CTIME shifted by this, likewise the other two. */
const PARENT_SHIFT = 3;
const ANY_TIME = TIME_FLAGS.CTIME | TIME_FLAGS.MTIME | TIME_FLAGS.ATIME;

function maskOf(flags: number): TimeMask | undefined {
  if ((flags & ANY_TIME) === 0) return undefined;
  return {
    ctime: (flags & TIME_FLAGS.CTIME) !== 0,
    mtime: (flags & TIME_FLAGS.MTIME) !== 0,
    atime: (flags & TIME_FLAGS.ATIME) !== 0,
  };
}
