/**
 * Structs that several procedures share, and how they meet the values of core (wire.md section 5).
 *
 * Attributes lose what core does not keep: validity flags, the inode number (it follows from the gfid) and
 * statx attributes. Writing fills them in as a stock brick does. Everything read is copied out of the record.
 *
 * 64-bit fields whose upper bits mean nothing to us are not refused: statfs counters saturate at 2^53-1 and
 * its fsid keeps its low 53 bits.
 */

import type { ActiveLock, Dirent, Flock, LeaseRequest, Statfs } from "../core/fops.ts";
import { type Iatt, ZERO_IATT } from "../core/iatt.ts";
import { lockTypeNumber, lockTypeOf } from "./wire-values.ts";
import {
  copyOf,
  i64At,
  putI64,
  putU32,
  putU64,
  sharedGfidAt,
  u32At,
  u64At,
  XdrError,
  type XdrReader,
  type XdrType,
} from "./xdr.ts";

/**
 * Names, paths, link targets, xattr names, lock domains: what PATH_MAX allows. Whether 256 bytes are too long
 * is the brick's to say.
 */
export const TEXT_BYTES_MAX = 4096;
/** GlusterFS' own limit for lock owners. */
export const LK_OWNER_BYTES_MAX = 1024;

export const IATT_BYTES = 148;
/** TYPE to SIZE, BLOCKS and GFID, as stock bricks send it (wire.md 7.5). */
const IATT_FLAGS = 0x17ff;

/** gfx_iattx, 148 bytes (5.1); two of them are in every reply of a write, hence offsets instead of fields. */
export const iatt: XdrType<Iatt> = {
  read(r) {
    const at = r.skip(IATT_BYTES);
    const bytes = r.buffer;
    return {
      gfid: sharedGfidAt(bytes, at),
      mode: u32At(bytes, at + 144),
      nlink: u32At(bytes, at + 128),
      uid: u32At(bytes, at + 132),
      gid: u32At(bytes, at + 136),
      size: u64At(bytes, at + 48),
      blocks: u64At(bytes, at + 56),
      blksize: u32At(bytes, at + 140),
      dev: u64At(bytes, at + 32),
      rdev: u64At(bytes, at + 40),
      atime: i64At(bytes, at + 80),
      atimeNsec: u32At(bytes, at + 112),
      mtime: i64At(bytes, at + 88),
      mtimeNsec: u32At(bytes, at + 116),
      ctime: i64At(bytes, at + 96),
      ctimeNsec: u32At(bytes, at + 120),
      btime: i64At(bytes, at + 104),
      btimeNsec: u32At(bytes, at + 124),
    };
  },
  write(w, value) {
    const at = w.reserve(IATT_BYTES);
    const bytes = w.slab;
    const gfid = value.gfid;
    let any = 0;
    for (let i = 0; i < 16; i++) any |= bytes[at + i] = gfid[i]!;
    putU64(bytes, at + 16, any === 0 ? 0 : IATT_FLAGS);
    for (let i = 0; i < 8; i++) bytes[at + 24 + i] = gfid[8 + i]!;
    putU64(bytes, at + 32, value.dev);
    putU64(bytes, at + 40, value.rdev);
    putU64(bytes, at + 48, value.size);
    putU64(bytes, at + 56, value.blocks);
    putU64(bytes, at + 64, 0);
    putU64(bytes, at + 72, 0);
    putI64(bytes, at + 80, value.atime);
    putI64(bytes, at + 88, value.mtime);
    putI64(bytes, at + 96, value.ctime);
    putI64(bytes, at + 104, value.btime);
    putU32(bytes, at + 112, value.atimeNsec);
    putU32(bytes, at + 116, value.mtimeNsec);
    putU32(bytes, at + 120, value.ctimeNsec);
    putU32(bytes, at + 124, value.btimeNsec);
    putU32(bytes, at + 128, value.nlink);
    putU32(bytes, at + 132, value.uid);
    putU32(bytes, at + 136, value.gid);
    putU32(bytes, at + 140, value.blksize);
    putU32(bytes, at + 144, value.mode);
  },
};

/** gf_iatt, 100 bytes, of cache invalidations (5.2): seconds are unsigned, there is no birth time. */
export const legacyIatt: XdrType<Iatt> = {
  read(r) {
    const gfid = r.gfid();
    r.skip(8);
    const dev = r.u64();
    const mode = r.u32();
    const nlink = r.u32();
    const uid = r.u32();
    const gid = r.u32();
    const rdev = r.u64();
    const size = r.u64();
    const blksize = r.u32();
    const blocks = r.u64();
    const [atime, atimeNsec] = [r.u32(), r.u32()];
    const [mtime, mtimeNsec] = [r.u32(), r.u32()];
    const [ctime, ctimeNsec] = [r.u32(), r.u32()];
    const times = { atime, atimeNsec, mtime, mtimeNsec, ctime, ctimeNsec, btime: 0, btimeNsec: 0 };
    return { gfid, mode, nlink, uid, gid, size, blocks, blksize, dev, rdev, ...times };
  },
  write(w, value) {
    w.gfid(value.gfid);
    w.u64n(value.gfid.readBigUInt64BE(8));
    w.u64(value.dev);
    w.u32(value.mode);
    w.u32(value.nlink);
    w.u32(value.uid);
    w.u32(value.gid);
    w.u64(value.rdev);
    w.u64(value.size);
    w.u32(value.blksize);
    w.u64(value.blocks);
    w.u32(value.atime >>> 0);
    w.u32(value.atimeNsec);
    w.u32(value.mtime >>> 0);
    w.u32(value.mtimeNsec);
    w.u32(value.ctime >>> 0);
    w.u32(value.ctimeNsec);
  },
};

/** Eleven counters (5.3). Network file systems report "unlimited" as all ones, hence saturation. */
export const statfs: XdrType<Statfs> = {
  read(r) {
    return {
      bsize: saturated(r),
      frsize: saturated(r),
      blocks: saturated(r),
      bfree: saturated(r),
      bavail: saturated(r),
      files: saturated(r),
      ffree: saturated(r),
      favail: saturated(r),
      fsid: (r.u32() & 0x1fffff) * 2 ** 32 + r.u32(),
      flag: saturated(r),
      namemax: saturated(r),
    };
  },
  write(w, value) {
    w.u64(value.bsize);
    w.u64(value.frsize);
    w.u64(value.blocks);
    w.u64(value.bfree);
    w.u64(value.bavail);
    w.u64(value.files);
    w.u64(value.ffree);
    w.u64(value.favail);
    w.u64(value.fsid);
    w.u64(value.flag);
    w.u64(value.namemax);
  },
};

function saturated(r: XdrReader): number {
  const value = r.u32() * 2 ** 32 + r.u32();
  return Math.min(value, Number.MAX_SAFE_INTEGER);
}

/** gf_proto_flock (5.4). Start and length are signed in meaning. */
export const flock: XdrType<Flock> = {
  read(r) {
    const number = r.u32();
    const type = lockTypeOf(number);
    if (type === undefined) throw new XdrError(`flock: unknown lock type ${number}`);
    const whence = r.u32();
    const start = r.i64n();
    const len = r.i64n();
    const pid = r.i32();
    const lkOwner = r.opaqueCopy(LK_OWNER_BYTES_MAX);
    return { type, whence, start, len, pid, lkOwner };
  },
  write(w, value) {
    w.u32(lockTypeNumber(value.type));
    w.u32(value.whence);
    w.i64n(value.start);
    w.i64n(value.len);
    w.i32(value.pid);
    w.opaque(value.lkOwner);
  },
};

/** gf_proto_lease, 28 bytes (5.5). */
export const lease: XdrType<LeaseRequest> = {
  read(r) {
    const cmd = r.u32();
    const type = r.u32();
    const id = copyOf(r.buffer, r.skip(16), 16);
    const flags = r.u32();
    return { cmd, type, id, flags };
  },
  write(w, value) {
    if (value.id.length !== 16) throw new XdrError(`lease: id of ${value.id.length} bytes instead of 16`);
    w.u32(value.cmd);
    w.u32(value.type);
    w.fixed(value.id);
    w.u32(value.flags);
  },
};

/** One lock of GETACTIVELK and SETACTIVELK (5.6). */
export const activeLock: XdrType<ActiveLock> = {
  read: (r) => ({ flock: flock.read(r), clientUid: r.string(TEXT_BYTES_MAX), flags: r.u32() }),
  write(w, value) {
    flock.write(w, value.flock);
    w.string(value.clientUid);
    w.u32(value.flags);
  },
};

/** An entry of READDIR (5.6). */
export const dirent: XdrType<Dirent> = {
  read(r) {
    const ino = r.u64n();
    const offset = r.u64n();
    r.skip(4);
    const type = r.u32();
    const name = r.string(TEXT_BYTES_MAX);
    return { name, ino, offset, type };
  },
  write(w, value) {
    w.u64n(value.ino);
    w.u64n(value.offset);
    const lengthAt = w.length;
    w.u32(0);
    w.u32(value.type);
    w.patchU32(lengthAt, w.string(value.name));
  },
};

/**
 * Attributes of an entry of READDIRP. One file too large for us must not hide the whole directory: its
 * attributes count as unknown.
 */
export function readEntryIatt(r: XdrReader): Iatt {
  const start = r.offset;
  try {
    return iatt.read(r);
  } catch (error) {
    if (!(error instanceof XdrError) || error.code !== "EOVERFLOW") throw error;
    r.offset = start;
    r.skip(IATT_BYTES);
    return ZERO_IATT;
  }
}
