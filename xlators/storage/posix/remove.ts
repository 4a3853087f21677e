/**
 * Fops that take an entry away or move it: unlink, rmdir, rename (spec translators.md 2.5).
 *
 * The handle of a file goes before its last name. While the file is open the handle is parked in
 * `.glusterfs/unlink`, so that fops by gfid still find it; the last release takes it away. A directory's
 * handle goes after it.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Args, ParentPrePost, Reply } from "../../../src/core/fops.ts";
import { type Gfid, gfidEquals, gfidText, NULL_GFID, newGfid } from "../../../src/core/gfid.ts";
import { isDir, isRegular } from "../../../src/core/iatt.ts";
import type { Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { lstat, type OsStat, rename, rmdir, unlink } from "../../../src/os/files.ts";
import { iattsIn } from "./answers.ts";
import { iattOf, linksOf } from "./attributes.ts";
import type { Brick, Parent } from "./brick.ts";
import { gfid2path } from "./gfid2path.ts";
import { ifAbsent, ifThere, isCode } from "./handle.ts";
import type { InodeState } from "./inode-state.ts";
import { GET_LINK_COUNT, IATT_IN_XATTR, LINK_COUNT_REQUEST, LINK_COUNT_RESPONSE, LINKTO } from "./keys.ts";
import { getXattr, removeXattr, setXattr, XATTR_CREATE } from "./target.ts";

/** Mode of distribute's linkto files: no permissions but the sticky bit. */
const LINKTO_MODE = 0o1000;
const PERMISSIONS = 0o7777;

/** An entry on disk. */
interface Entry {
  readonly path: string;
  readonly stat: OsStat;
  readonly gfid: Gfid;
}

export async function unlinkFop(brick: Brick, call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
  const { loc, xdata } = args;
  brick.checkName(loc, "unlink", "EINVAL");
  return brick.inEntries([loc], async () => {
    const parent = await brick.parent(loc);
    const entry = await readEntry(brick, `${parent.path}/${loc.name}`);
    if (isDir(entry.stat)) throw brick.error("EISDIR", "unlink");
    const reply = await brick.withLinks(entry.gfid, async (state) => {
      const current = { ...entry, stat: await lstat(entry.path) };
      await mayUnlink(brick, current, state, xdata);
      await removeName(brick, current, state, parent, loc.name!);
      return unlinkAnswers(brick, call, current, state, xdata);
    });
    return { preParent: parent.pre, postParent: await brick.postParent(call, parent), xdata: reply };
  });
}

export async function rmdirFop(brick: Brick, call: Call, args: Args<"rmdir">): Promise<ParentPrePost> {
  const { loc } = args;
  brick.checkName(loc, "rmdir", "EINVAL");
  return brick.inEntries([loc], async () => {
    const parent = await brick.parent(loc);
    const entry = await readEntry(brick, `${parent.path}/${loc.name}`);
    if (!isDir(entry.stat)) throw brick.error("ENOTDIR", "rmdir");
    if (args.flags === 0) await rmdir(entry.path);
    else await discardTree(brick, entry);
    await dropDirectoryHandle(brick, entry.gfid, parent.gfid, loc.name!);
    return { preParent: parent.pre, postParent: await brick.postParent(call, parent) };
  });
}

export async function renameFop(brick: Brick, call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
  const { from, to, xdata } = args;
  brick.checkName(from, "rename", "EINVAL");
  brick.checkName(to, "rename", "EINVAL");
  return brick.inEntries([from, to], async () => {
    const oldParent = await brick.parent(from);
    const newParent = await brick.parent(to);
    const source = await readEntry(brick, `${oldParent.path}/${from.name}`);
    const path = `${newParent.path}/${to.name}`;
    const victim = await readEntryIfThere(brick, path);
    if (victim && isDir(victim.stat) && to.inode.linked && !gfidEquals(to.inode.gfid, victim.gfid))
      throw brick.error("EEXIST", "rename");
    const state = brick.states.hold(source.gfid);
    try {
      // Two names of one inode: rename(2) does nothing then, and so does the rest.
      const same = victim?.stat.ino === source.stat.ino;
      if (!same) await moveName(brick, { source, victim, oldParent, newParent, from, to, path });
      await brick.stamp(call, state, same ? source.path : path);
      const stat = await brick.iattNow({ target: path, state });
      const postOldParent = await brick.postParent(call, oldParent);
      const postNewParent = await brick.postParent(call, newParent);
      return {
        stat,
        preOldParent: oldParent.pre,
        postOldParent,
        preNewParent: newParent.pre,
        postNewParent,
        xdata: victim && renameAnswers(victim, xdata),
      };
    } finally {
      brick.states.letGo(state);
    }
  });
}

/**
 * Removes a file that only points to where distribute keeps the real one; false when the entry is no such
 * file.
 */
export async function removeStaleLinkto(brick: Brick, path: string): Promise<boolean> {
  const entry = await readEntryIfThere(brick, path);
  if (!entry) return true;
  if (!isLinktoMode(entry.stat)) return false;
  await brick.withLinks(entry.gfid, async (state) => {
    if (linksOf(await lstat(path)) <= 1) await retireHandle(brick, state);
    await unlink(path);
  });
  return true;
}

async function readEntry(brick: Brick, path: string): Promise<Entry> {
  const stat = await lstat(path);
  return { path, stat, gfid: await brick.gfidOn(path) };
}

async function readEntryIfThere(brick: Brick, path: string): Promise<Entry | undefined> {
  const stat = await brick.lstatIfThere(path);
  return stat && { path, stat, gfid: await brick.gfidOn(path) };
}

function isLinktoMode(stat: OsStat): boolean {
  return isRegular(stat) && (stat.mode & PERMISSIONS) === LINKTO_MODE;
}

/** Conditions that distribute puts on an unlink. EBUSY when one is not met. */
async function mayUnlink(
  brick: Brick,
  entry: Entry,
  state: InodeState,
  xdata: Dict | undefined,
): Promise<void> {
  if (xdata?.number("dont-unlink-for-open-fd") && state.opens > 0) throw brick.error("EBUSY", "unlink");
  if (!xdata?.number("unlink-only-if-dht-linkto-file")) return;
  const linkto = isLinktoMode(entry.stat) ? await getXattr(entry.path, LINKTO) : undefined;
  if (!linkto || linkto.length === 0) throw brick.error("EBUSY", "unlink");
}

/** The name, and with the last one the handle. A name that cannot be removed gets everything back. */
async function removeName(
  brick: Brick,
  entry: Entry,
  state: InodeState,
  parent: Parent,
  name: string,
): Promise<void> {
  const isLast = linksOf(entry.stat) <= 1;
  const record = gfid2path(parent.gfid, name);
  if (isLast) await retireHandle(brick, state);
  else if (brick.options.gfid2path) await ifNoData(removeXattr(entry.path, record.key));
  try {
    await unlink(entry.path);
  } catch (error) {
    if (isLast) {
      await brick.handles.link(entry.path, entry.gfid);
      state.removed = false;
      await brick.handles.unpark(entry.gfid);
    } else if (brick.options.gfid2path) {
      await ifAbsent(setXattr(entry.path, record.key, record.value, XATTR_CREATE));
    }
    throw error;
  }
}

/** Parks the handle of an open file, removes any other. */
async function retireHandle(brick: Brick, state: InodeState): Promise<void> {
  if (gfidEquals(state.gfid, NULL_GFID)) return;
  if (state.opens > 0) await brick.handles.park(state.gfid);
  else await brick.handles.unlink(state.gfid);
  state.removed = true;
  brick.files.dropAnonymous(state);
}

/** What the caller wants to know of the file whose name went. */
async function unlinkAnswers(
  brick: Brick,
  call: Call,
  entry: Entry,
  state: InodeState,
  xdata: Dict | undefined,
): Promise<Dict | undefined> {
  const links = linksOf(entry.stat);
  if (links > 1) await brick.stamp(call, state, brick.handles.handle(entry.gfid));
  if (!xdata) return undefined;
  const reply = new Dict();
  const pre = iattOf(entry.stat, entry.gfid, state.mdata);
  if (xdata.has(KEY.BLOCK_COUNT)) reply.setUint(KEY.BLOCK_COUNT, pre.blocks);
  if (xdata.has(GET_LINK_COUNT)) reply.setUint(GET_LINK_COUNT, links);
  if (xdata.has(LINK_COUNT_REQUEST)) reply.setUint(LINK_COUNT_RESPONSE, links);
  addLost(reply, xdata, entry);
  if (xdata.has(IATT_IN_XATTR) && isRegular(entry.stat)) {
    const post =
      links > 1
        ? await brick.iattNow({ target: brick.handles.handle(entry.gfid), state })
        : { ...pre, nlink: 0 };
    iattsIn(reply, undefined, post);
  }
  return reply;
}

function renameAnswers(victim: Entry, xdata: Dict | undefined): Dict | undefined {
  if (!xdata) return undefined;
  const reply = new Dict();
  const links = linksOf(victim.stat);
  if (xdata.has(GET_LINK_COUNT)) reply.setUint(GET_LINK_COUNT, links);
  if (xdata.has(LINK_COUNT_REQUEST)) reply.setUint(LINK_COUNT_RESPONSE, links);
  addLost(reply, xdata, victim);
  return reply;
}

function addLost(reply: Dict, xdata: Dict, { stat, gfid }: Entry): void {
  if (xdata.has(KEY.LOST_GFID) && isRegular(stat)) reply.setGfid(KEY.LOST_GFID, gfid);
}

/** Removes a directory with all that is in it: it goes to the landfill, and the janitor empties that. */
async function discardTree(brick: Brick, entry: Entry): Promise<void> {
  try {
    await rename(entry.path, brick.handles.landfill(entry.gfid));
  } catch (error) {
    if (!isCode(error, "ENOTEMPTY") && !isCode(error, "EEXIST")) throw error;
    await rename(entry.path, brick.handles.landfill(newGfid()));
  }
}

async function dropDirectoryHandle(brick: Brick, gfid: Gfid, parent: Gfid, name: string): Promise<void> {
  if (await brick.handles.leadsTo(gfid, parent, name)) await brick.handles.unlink(gfid);
  brick.states.of(gfid).dirIno = undefined;
  brick.states.drop(gfid);
}

interface Move {
  readonly source: Entry;
  readonly victim: Entry | undefined;
  readonly oldParent: Parent;
  readonly newParent: Parent;
  readonly from: Loc;
  readonly to: Loc;
  /** The new path. */
  readonly path: string;
}

async function moveName(brick: Brick, move: Move): Promise<void> {
  const { victim } = move;
  if (!victim) return moveOnly(brick, move);
  await brick.withLinks(victim.gfid, async (state) => {
    const links = linksOf(await lstat(move.path));
    await moveOnly(brick, move);
    const { newParent, to } = move;
    if (isDir(victim.stat)) await dropDirectoryHandle(brick, victim.gfid, newParent.gfid, to.name!);
    else if (links <= 1) await retireHandle(brick, state);
    else if (brick.options.gfid2path) await forgetName(brick, victim, newParent, to.name!);
  });
}

async function moveOnly(brick: Brick, move: Move): Promise<void> {
  const { source, newParent, to, path } = move;
  if (!isDir(source.stat)) {
    await rename(source.path, path);
    if (brick.options.gfid2path) await moveGfid2path(brick, move);
    return;
  }
  await brick.handles.move(async () => {
    await rename(source.path, path);
    await brick.handles.linkDirectory(source.gfid, newParent.gfid, to.name!);
  });
}

async function moveGfid2path(
  brick: Brick,
  { source, oldParent, newParent, from, to, path }: Move,
): Promise<void> {
  const old = gfid2path(oldParent.gfid, from.name!);
  const now = gfid2path(newParent.gfid, to.name!);
  try {
    await ifNoData(removeXattr(path, old.key));
    await ifAbsent(setXattr(path, now.key, now.value, XATTR_CREATE));
  } catch (error) {
    // The rename is done; a missing record of the name is no reason to call it failed.
    brick.log.warn("gfid2path not moved", { gfid: gfidText(source.gfid), error: String(error) });
  }
}

/** A file that lost one of several names to a rename keeps no record of it. */
async function forgetName(brick: Brick, victim: Entry, parent: Parent, name: string): Promise<void> {
  await ifThere(ifNoData(removeXattr(brick.handles.handle(victim.gfid), gfid2path(parent.gfid, name).key)));
}

async function ifNoData(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isCode(error, "ENODATA")) throw error;
  }
}
