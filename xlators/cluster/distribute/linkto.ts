/**
 * Linkto files: empty files that say on which child the real one is (spec translators.md 6.2; GlusterFS
 * dht-linkfile.c). They are made and removed as root and belong to the same owner as the file.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import { type Gfid, gfidEquals } from "../../../src/core/gfid.ts";
import { type Iatt, S_IFREG, SETATTR } from "../../../src/core/iatt.ts";
import { Inode, type Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { LINKTO_MODE } from "./iatts.ts";
import { linktoTarget, lookupRequest } from "./look.ts";
import { asRoot, isMissing, type SubvolumeSet } from "./subvolume-set.ts";
import { UNLINK_ONLY_LINKTO, UNLINK_UNLESS_OPEN } from "./xattr-names.ts";

/** A name of a file, as linkto files need it. */
export interface NamedFile {
  readonly parent: Inode;
  readonly name: string;
  readonly gfid: Gfid;
}

function locOf({ parent, name }: { parent: Inode; name: string }): Loc {
  return { inode: new Inode(), parent, name };
}

/**
 * Makes a linkto file for `name` on `child`, naming `target`. One that is there already for the same file is
 * fine; anything else there is EEXIST. `replace`: a stale linkto file in the way goes.
 */
export async function makeLinkto(
  set: SubvolumeSet,
  call: Call,
  file: NamedFile,
  child: number,
  target: number,
  replace = false,
): Promise<void> {
  const xdata = new Dict()
    .setGfid(KEY.GFID_REQ, file.gfid)
    .setStr(KEY.INTERNAL_FOP, "yes")
    .setStr(set.xattrs.linkto, set.names[target]!);
  if (replace) xdata.setStr(KEY.FORCE_REPLACE, "yes");
  const args = { loc: locOf(file), mode: S_IFREG | LINKTO_MODE, rdev: 0, umask: 0, xdata };
  try {
    await set.children[child]!.mknod(asRoot(call), args);
  } catch (error) {
    if (!(error instanceof FopError) || error.code !== "EEXIST") throw error;
    await mustBeLinkto(set, call, file, child, target, error);
  }
}

async function mustBeLinkto(
  set: SubvolumeSet,
  call: Call,
  file: NamedFile,
  child: number,
  target: number,
  error: FopError,
): Promise<void> {
  const args = { loc: locOf(file), xdata: lookupRequest(set, undefined) };
  const reply = await set.children[child]!.lookup(asRoot(call), args);
  if (!gfidEquals(reply.stat.gfid, file.gfid) || linktoTarget(set, reply) !== target) throw error;
}

/** Gives a linkto file the owner of its file; it is root's until then. Failing does no harm. */
export async function ownLinkto(set: SubvolumeSet, call: Call, stat: Iatt, child: number): Promise<void> {
  if (stat.uid === 0 && stat.gid === 0) return;
  const loc = { inode: new Inode(stat.gfid, S_IFREG) };
  const xdata = new Dict().setStr(KEY.INTERNAL_FOP, "yes");
  const valid = SETATTR.UID | SETATTR.GID;
  await set.onEach([child], "setattr", asRoot(call), { loc, stat, valid, xdata });
}

/**
 * Removes a linkto file that leads nowhere, if it still is one and nobody has it open: true when it is gone.
 * Rejects with ENOTCONN only.
 */
export async function removeStaleLinkto(
  set: SubvolumeSet,
  call: Call,
  name: { parent: Inode; name: string },
  child: number,
): Promise<boolean> {
  const xdata = new Dict().setInt(UNLINK_ONLY_LINKTO, 1).setInt(UNLINK_UNLESS_OPEN, 1);
  try {
    await set.children[child]!.unlink(asRoot(call), { loc: locOf(name), flags: 0, xdata });
    return true;
  } catch (error) {
    if (!(error instanceof FopError) || error.code === "ENOTCONN") throw error;
    return isMissing(error);
  }
}
