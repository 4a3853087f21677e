/**
 * Owner, mode and times of an in-memory inode: how setattr changes them and how fops stamp them (spec
 * translators.md 2.3).
 */

import type { Call } from "../../../src/core/call.ts";
import { type Iatt, S_IFMT, SETATTR } from "../../../src/core/iatt.ts";
import { mdataAt, raiseMdata, type TimeMask } from "../../../src/core/mdata.ts";
import type { MemNode, Moment } from "./node.ts";

const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
const S_IXGRP = 0o010;

/**
 * Sets the brick's own times; raises the client's ones by `mask` when the call brings any and the brick keeps
 * them.
 */
export function stamp(
  node: MemNode,
  now: Moment,
  times: TimeMask,
  client: Call["time"],
  mask: TimeMask | undefined,
): void {
  if (times.mtime) node.mtime = now;
  if (times.ctime) node.ctime = now;
  if (client && mask) node.mdata = node.mdata ? raiseMdata(node.mdata, client, mask) : mdataAt(client);
}

/**
 * setattr without the ctime stamp, which is the caller's. Times set by hand go into mdata only when there is
 * one already.
 */
export function applySetattr(node: MemNode, stat: Iatt, valid: number, now: Moment): void {
  if (valid & (SETATTR.UID | SETATTR.GID)) {
    if (valid & SETATTR.UID) node.uid = stat.uid;
    if (valid & SETATTR.GID) node.gid = stat.gid;
    // As Linux does: a new owner does not inherit set-id bits.
    if (!node.isDir) node.mode &= ~(S_ISUID | (node.mode & S_IXGRP ? S_ISGID : 0));
  }
  if (valid & SETATTR.MODE) node.mode = (node.mode & S_IFMT) | (stat.mode & 0o7777);
  if (valid & (SETATTR.ATIME | SETATTR.ATIME_NOW)) {
    node.atime = valid & SETATTR.ATIME_NOW ? now : { sec: stat.atime, nsec: stat.atimeNsec };
    if (node.mdata) node.mdata = { ...node.mdata, atime: node.atime.sec, atimeNsec: node.atime.nsec };
  }
  if (valid & (SETATTR.MTIME | SETATTR.MTIME_NOW)) {
    node.mtime = valid & SETATTR.MTIME_NOW ? now : { sec: stat.mtime, nsec: stat.mtimeNsec };
    if (node.mdata) node.mdata = { ...node.mdata, mtime: node.mtime.sec, mtimeNsec: node.mtime.nsec };
  }
}
