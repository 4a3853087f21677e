/**
 * lookup: by parent and name, or by gfid alone (spec translators.md 2.8, wire.md 8). Puts right what an
 * interrupted create or a crash left: an entry without gfid, a gfid without handle.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Dict } from "../../../src/core/dict.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { type Gfid, gfidEquals, gfidText, isNullGfid, NULL_GFID, ROOT_GFID } from "../../../src/core/gfid.ts";
import { isDir, ZERO_IATT } from "../../../src/core/iatt.ts";
import type { Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { lstat } from "../../../src/os/files.ts";
import { answer } from "./answers.ts";
import type { Brick, Parent, Subject } from "./brick.ts";
import { entryKey } from "./brick.ts";
import { ifAbsent, isCode } from "./handle.ts";
import { removeXattr, setXattr, XATTR_CREATE } from "./target.ts";

/** An entry without a gfid that is younger is still being made. */
const FRESH_MS = 1000;

export async function lookupFop(brick: Brick, _call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
  const { loc, xdata } = args;
  if (loc.name === undefined || !loc.parent) return nameless(brick, loc, xdata);
  brick.checkName(loc, "lookup", "allowed");
  if (!loc.parent.linked) throw brick.error("ESTALE", "lookup");
  return brick.handles.steady(async () => {
    const { subject, parent } = await named(brick, loc, xdata);
    return reply(brick, subject, xdata, parent);
  });
}

async function reply(
  brick: Brick,
  subject: Subject,
  xdata: Dict | undefined,
  parent: Parent | undefined,
): Promise<Reply<"lookup">> {
  const [stat, answers] = await Promise.all([
    brick.iatt(subject.stat, subject.state, subject.target),
    answer(brick, subject, xdata),
    xdata?.has("glusterfs.clean.writexattr") ? clearWriteProtection(subject) : undefined,
  ]);
  return { stat, postParent: parent?.pre ?? ZERO_IATT, xdata: answers };
}

async function nameless(brick: Brick, loc: Loc, xdata: Dict | undefined): Promise<Reply<"lookup">> {
  try {
    const subject = await brick.find(loc.inode, "ENOENT");
    const isParked = subject.state.parked;
    if (isParked && !xdata?.number("unlinked-lookup")) throw brick.error("ENOENT", "lookup");
    return await reply(brick, subject, xdata, undefined);
  } catch (error) {
    if (isCode(error, "ENOENT")) await dropStaleHandle(brick, loc.inode.gfid);
    throw error;
  }
}

/** A directory's handle that leads nowhere is removed. */
async function dropStaleHandle(brick: Brick, gfid: Gfid): Promise<void> {
  if (gfidEquals(gfid, ROOT_GFID) || !(await brick.handles.parentOf(gfid))) return;
  await brick.handles.unlink(gfid);
  brick.log.warn("stale handle removed", { gfid: gfidText(gfid) });
}

/** What a name stands for. Parent and entry are looked at side by side; a parent that fails decides. */
async function named(
  brick: Brick,
  loc: Loc,
  xdata: Dict | undefined,
): Promise<{ subject: Subject; parent: Parent }> {
  const name = loc.name!;
  if (name === "." || name === "..") {
    const parent = await brick.parent(loc);
    return {
      parent,
      subject: name === "." ? { ...parent, target: parent.path } : await above(brick, parent),
    };
  }
  const guess = `${brick.handles.directoryPath(loc.parent!.gfid)}/${name}`;
  const [found, there, tagged] = await Promise.allSettled([
    brick.parent(loc),
    lstat(guess),
    brick.gfidOn(guess),
  ]);
  if (found.status === "rejected") throw found.reason;
  const parent = found.value;
  const path = `${parent.path}/${name}`;
  // Below a very deep directory the guess is not the way; then both are read again.
  const stat = there.status === "fulfilled" ? there.value : await lstat(path);
  let gfid = tagged.status === "fulfilled" ? tagged.value : await brick.gfidOn(path);
  if (gfid === NULL_GFID) gfid = await adoptEntry(brick, loc, path, xdata);
  const state = brick.states.of(gfid);
  const looksLost = isDir(stat) ? state.dirIno === undefined : stat.nlink === 1;
  if (!looksLost || isNullGfid(gfid)) return { parent, subject: { target: path, gfid, state, stat } };
  await checkHandle(brick, loc, parent, path, gfid);
  return { parent, subject: { target: path, gfid, state, stat: await lstat(path) } };
}

async function above(brick: Brick, parent: Parent): Promise<Subject> {
  const up = await brick.handles.parentOf(parent.gfid);
  const gfid = gfidEquals(parent.gfid, ROOT_GFID) || !up ? ROOT_GFID : up.parent;
  const { path, stat } = await brick.handles.findDirectory(gfid);
  return { target: path, gfid, state: brick.states.of(gfid), stat };
}

/**
 * An entry without gfid gets the one that the client proposes, unless it is being made at this moment. ENOENT
 * while it is; ENODATA when nobody proposes one.
 */
async function adoptEntry(brick: Brick, loc: Loc, path: string, xdata: Dict | undefined): Promise<Gfid> {
  // A create of this name holds the queue until the gfid is there.
  return brick.entries.run(entryKey(loc), async () => {
    const present = await brick.gfidOn(path);
    if (present !== NULL_GFID) return present;
    const { sec, nsec } = brick.env.clock.wall();
    const stat = await lstat(path);
    const ageMs = (sec - stat.ctime) * 1000 + (nsec - stat.ctimeNsec) / 1e6;
    if (ageMs < FRESH_MS) throw brick.error("ENOENT", "lookup");
    const proposed = xdata?.gfid(KEY.GFID_REQ);
    if (proposed && !isNullGfid(proposed)) {
      await ifAbsent(setXattr(path, KEY.GFID, proposed, XATTR_CREATE));
      return brick.gfidOn(path);
    }
    if (xdata?.number("gfidless-lookup")) return NULL_GFID;
    throw brick.error("ENODATA", "lookup", { message: `lookup: "${loc.name}" has no gfid` });
  });
}

/**
 * Gives an object the handle that it has lost. Alone on the name and with a fresh look: a file that is being
 * unlinked has no handle for a moment, and must not get it back.
 */
async function checkHandle(brick: Brick, loc: Loc, parent: Parent, path: string, gfid: Gfid): Promise<void> {
  try {
    await brick.entries.run(entryKey(loc), async () => {
      const stat = await brick.lstatIfThere(path);
      if (!stat) return;
      if (!isDir(stat)) {
        if (stat.nlink === 1) await brick.handles.link(path, gfid);
        return;
      }
      if (!(await brick.handles.parentOf(gfid)))
        await brick.handles.linkDirectory(gfid, parent.gfid, loc.name!);
      brick.states.of(gfid).dirIno = stat.ino;
    });
  } catch (error) {
    // The entry is there all the same; what goes by gfid will fail by itself.
    brick.log.warn("handle not restored", { gfid: gfidText(gfid), error: String(error) });
  }
}

async function clearWriteProtection(subject: Subject): Promise<void> {
  try {
    await removeXattr(subject.target, "trusted.glusterfs.protect.writes");
  } catch (error) {
    if (!isCode(error, "ENODATA")) throw error;
  }
}
