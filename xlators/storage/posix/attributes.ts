/**
 * From the file system's attributes to GlusterFS' (spec translators.md 2.2): the link count without the
 * brick's own handle, blocks no more than the size needs, times from mdata when there are any.
 */

import type { Mdata } from "../../../src/core/dict.ts";
import type { Gfid } from "../../../src/core/gfid.ts";
import { type Iatt, S_IFDIR, S_IFMT } from "../../../src/core/iatt.ts";
import type { OsStat } from "../../../src/os/files.ts";

/** `mdata` null or undefined: the file has none, or the ctime feature is off. */
export function iattOf(stat: OsStat, gfid: Gfid, mdata: Mdata | null | undefined): Iatt {
  const times = mdata ?? stat;
  return {
    gfid,
    mode: stat.mode,
    nlink: linksOf(stat),
    uid: stat.uid,
    gid: stat.gid,
    size: stat.size,
    blocks: Math.min(stat.blocks, Math.ceil(stat.size / 512)),
    blksize: stat.blksize,
    dev: stat.dev,
    rdev: stat.rdevMajor * 2 ** 32 + stat.rdevMinor,
    atime: times.atime,
    atimeNsec: times.atimeNsec,
    mtime: times.mtime,
    mtimeNsec: times.mtimeNsec,
    ctime: times.ctime,
    ctimeNsec: times.ctimeNsec,
    btime: stat.btime,
    btimeNsec: stat.btimeNsec,
  };
}

/** Names that users see: the handle in `.glusterfs` is one link of every non-directory. */
export function linksOf(stat: OsStat): number {
  if ((stat.mode & S_IFMT) === S_IFDIR || stat.nlink === 0) return stat.nlink;
  return stat.nlink - 1;
}
