/** stat, setattr, readlink, access and open: fops on what an inode is, not on what it holds. */

import type { Call } from "../../../src/core/call.ts";
import type { Dict } from "../../../src/core/dict.ts";
import type { Args, PrePost, Reply } from "../../../src/core/fops.ts";
import {
  type Iatt,
  isDir,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  SETATTR,
} from "../../../src/core/iatt.ts";
import { decodeName } from "../../../src/core/name.ts";
import { O_ACCMODE, O_DIRECTORY } from "../../../src/core/open-flags.ts";
import { access, close, type NewTimes, open, readlink } from "../../../src/os/files.ts";
import { answer } from "./answers.ts";
import type { Brick, Subject } from "./brick.ts";
import { osOpenFlags } from "./create.ts";
import { chmodTarget, chownTarget, statTarget, utimensTarget } from "./target.ts";

const ALL_MODE_BITS = 0o7777;

export async function statOf(
  brick: Brick,
  subject: Subject,
  xdata: Dict | undefined,
): Promise<Reply<"stat">> {
  const stat = await brick.iatt(subject.stat, subject.state, subject.target);
  return { stat, xdata: await answer(brick, subject, xdata) };
}

export async function readlinkFop(brick: Brick, args: Args<"readlink">): Promise<Reply<"readlink">> {
  return brick.withLoc(args.loc, async (subject) => {
    if ((subject.stat.mode & S_IFMT) !== S_IFLNK) throw brick.error("EINVAL", "readlink");
    const target = await readlink(subject.target as string);
    const stat = await brick.iatt(subject.stat, subject.state, subject.target);
    return { target: decodeName(target.subarray(0, args.size)), stat };
  });
}

export async function accessFop(brick: Brick, args: Args<"access">): Promise<Reply<"access">> {
  return brick.withLoc(args.loc, async (subject) => {
    // access(2) would follow a symlink out of the brick; a symlink itself allows everything.
    if ((subject.stat.mode & S_IFMT) !== S_IFLNK) await access(subject.target as string, args.mask & 7);
    return {};
  });
}

export async function openFop(brick: Brick, call: Call, args: Args<"open">): Promise<Reply<"open">> {
  const { loc, fd } = args;
  const { inode } = loc;
  const flags = osOpenFlags(brick, args.flags);
  const state = brick.states.hold(inode.gfid);
  // Counted before the file is looked up: an unlink that comes meanwhile must park the handle, not remove it.
  state.opens++;
  try {
    const subject = await brick.find(inode);
    const type = subject.stat.mode & S_IFMT;
    if (type === S_IFLNK) throw brick.error("ELOOP", "open");
    if (type === S_IFBLK || type === S_IFCHR) throw brick.error("EINVAL", "open");
    if (type === S_IFDIR && (flags & O_ACCMODE) !== 0) throw brick.error("EISDIR", "open");
    // Opening a fifo would wait for its other end; clients keep fifos to themselves.
    if (type !== S_IFREG && type !== S_IFDIR) throw brick.error("ENXIO", "open");
    const path = subject.target as string;
    if (type === S_IFREG) await brick.fence.pass(state, path);
    const osFd = await open(path, flags);
    try {
      await brick.mdata.load(state, osFd);
      await brick.stamp(call, state, osFd);
    } catch (error) {
      await close(osFd);
      throw error;
    }
    brick.files.add(fd, osFd, flags, state);
    return {};
  } catch (error) {
    await brick.files.abandon(state);
    throw error;
  }
}

export async function opendirFop(brick: Brick, args: Args<"opendir">): Promise<Reply<"opendir">> {
  const { loc, fd } = args;
  const subject = await brick.find(loc.inode);
  if (!isDir(subject.stat)) throw brick.error("ENOTDIR", "opendir");
  const osFd = await open(subject.target as string, O_DIRECTORY);
  const state = brick.states.hold(subject.gfid);
  state.opens++;
  await brick.mdata.load(state, osFd);
  brick.files.add(fd, osFd, O_DIRECTORY, state);
  return {};
}

/** `valid` may have bits that mean nothing here (SIZE; distribute sets all of them). */
export async function setAttributes(
  brick: Brick,
  call: Call,
  subject: Subject,
  args: { stat: Iatt; valid: number; xdata?: Dict | undefined },
): Promise<PrePost & { xdata?: Dict | undefined }> {
  const { target, state } = subject;
  const { stat, valid } = args;
  const pre = await brick.iatt(subject.stat, state, target);
  if ((valid & (SETATTR.UID | SETATTR.GID)) !== 0 || valid === 0) {
    const uid = (valid & SETATTR.UID) !== 0 ? stat.uid : -1;
    const gid = (valid & SETATTR.GID) !== 0 ? stat.gid : -1;
    await chownTarget(target, uid, gid);
  }
  if ((valid & SETATTR.MODE) !== 0) {
    await chmodTarget(target, subject.stat, permissions(brick, stat.mode, isDir(subject.stat)));
  }
  await setTimes(brick, call, subject, stat, valid);
  await brick.stamp(call, state, target);
  const postStat = await statTarget(target);
  const post = await brick.iatt(postStat, state, target);
  return { pre, post, xdata: await answer(brick, { ...subject, stat: postStat }, args.xdata) };
}

function permissions(brick: Brick, mode: number, isDirectory: boolean): number {
  const { options } = brick;
  const mask = isDirectory ? options["create-directory-mask"] : options["create-mask"];
  const force = isDirectory ? options["force-directory-mode"] : options["force-create-mode"];
  return (mode & ALL_MODE_BITS & ~0o777) | (mode & 0o777 & mask) | force;
}

/** Explicit times, in the file system and, exactly, in mdata. */
async function setTimes(
  brick: Brick,
  call: Call,
  subject: Subject,
  stat: Iatt,
  valid: number,
): Promise<void> {
  const { target, state } = subject;
  const now = call.time ?? brick.env.clock.wall();
  const times: { -readonly [K in keyof NewTimes]?: number } = {};
  if ((valid & SETATTR.ATIME) !== 0) {
    // An edge that asks for "now" need not say what time it is.
    const isNow = (valid & SETATTR.ATIME_NOW) !== 0 && stat.atime === 0;
    times.atime = isNow ? now.sec : stat.atime;
    times.atimeNsec = isNow ? now.nsec : stat.atimeNsec;
  }
  if ((valid & SETATTR.MTIME) !== 0) {
    const isNow = (valid & SETATTR.MTIME_NOW) !== 0 && stat.mtime === 0;
    times.mtime = isNow ? now.sec : stat.mtime;
    times.mtimeNsec = isNow ? now.nsec : stat.mtimeNsec;
  }
  if (times.atime !== undefined || times.mtime !== undefined) {
    await utimensTarget(target, times);
    if (brick.options.ctime) await brick.mdata.setTimes(state, target, times, call);
  }
  if ((valid & SETATTR.CTIME) !== 0 && brick.options.ctime) {
    await brick.mdata.raiseCtime(state, target, { sec: stat.ctime, nsec: stat.ctimeNsec });
  }
}
