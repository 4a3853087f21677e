/**
 * Fops that make an entry: mknod, mkdir, symlink, create, link (spec translators.md 2.4, 2.5, wire.md 9.2).
 *
 * Order on disk: the entry, its owner, ACLs, gfid2path, xattrs from xdata, then gfid and handle: an entry
 * with a gfid is complete, one without was interrupted and is taken over by a lookup. A fop that fails
 * half-way takes back what it made.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Args, NewEntry, Reply } from "../../../src/core/fops.ts";
import { type Gfid, isNullGfid, NULL_GFID } from "../../../src/core/gfid.ts";
import { S_IFDIR, S_IFMT, S_IFREG } from "../../../src/core/iatt.ts";
import type { Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { encodeName } from "../../../src/core/name.ts";
import {
  O_ACCMODE,
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_DSYNC,
  O_EXCL,
  O_NOATIME,
  O_RDWR,
  O_SYNC,
  O_TRUNC,
} from "../../../src/core/open-flags.ts";
import {
  chmod,
  close,
  lchown,
  link,
  lstat,
  mkdir,
  mknod,
  type OsStat,
  open,
  rmdir,
  symlink,
  unlink,
} from "../../../src/os/files.ts";
import { linksOf } from "./attributes.ts";
import type { Brick, Parent } from "./brick.ts";
import { GFID2PATH_LINKS_MAX, gfid2path } from "./gfid2path.ts";
import { ifAbsent, isCode } from "./handle.ts";
import type { InodeState } from "./inode-state.ts";
import { ACL_ACCESS, ACL_DEFAULT, isIdentity, isXattrName } from "./keys.ts";
import { removeStaleLinkto } from "./remove.ts";
import { getXattr, setXattr, XATTR_CREATE } from "./target.ts";
import { setOne } from "./xattrs.ts";

const S_ISGID = 0o2000;
const SPECIAL_BITS = 0o6000;
/** Bytes of a symlink's target, PATH_MAX without the NUL. */
const TARGET_BYTES_MAX = 4095;
/** Open flags that reach the brick's file system; the rest means nothing there, or harm (O_TMPFILE). */
const OPEN_FLAGS = O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC | O_DIRECT | O_NOATIME;

export function osOpenFlags(brick: Brick, flags: number): number {
  return (flags & OPEN_FLAGS) | (brick.options["o-direct"] ? O_DIRECT : 0);
}

/** An entry that is being made. */
interface Making {
  readonly loc: Loc;
  readonly parent: Parent;
  readonly path: string;
  readonly gfid: Gfid;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly xdata: Dict;
  /** xdata keys that are not to be stored on the new object. */
  readonly skip: ReadonlySet<string>;
}

export async function mknodFop(brick: Brick, call: Call, args: Args<"mknod">): Promise<NewEntry> {
  const { loc, xdata } = args;
  const type = args.mode & S_IFMT;
  return brick.inEntries([loc], async () => {
    const making = await begin(brick, call, "mknod", args, args.mode | (type === 0 ? S_IFREG : 0));
    if (xdata?.has(KEY.INTERNAL_FOP) && (await relink(brick, making)))
      return finish(brick, call, making, false);
    const major = Math.floor(args.rdev / 2 ** 32);
    const minor = args.rdev % 2 ** 32;
    await replacing(brick, xdata, making.path, () => mknod(making.path, making.mode, major, minor));
    return finish(brick, call, making, true);
  });
}

export async function mkdirFop(brick: Brick, call: Call, args: Args<"mkdir">): Promise<NewEntry> {
  return brick.inEntries([args.loc], async () => {
    const making = await begin(brick, call, "mkdir", args, (args.mode & ~S_IFMT) | S_IFDIR);
    await mkdir(making.path, making.mode & ~S_IFMT);
    return finish(brick, call, making, true);
  });
}

export async function symlinkFop(brick: Brick, call: Call, args: Args<"symlink">): Promise<NewEntry> {
  const { target } = args;
  const bytes = encodeName(target);
  if (bytes.length === 0 || bytes.includes(0)) throw brick.error("EINVAL", "symlink");
  if (bytes.length > TARGET_BYTES_MAX) throw brick.error("ENAMETOOLONG", "symlink");
  return brick.inEntries([args.loc], async () => {
    const making = await begin(brick, call, "symlink", { ...args, umask: 0 }, 0o120777);
    await symlink(target, making.path);
    return finish(brick, call, making, true);
  });
}

export async function createFop(brick: Brick, call: Call, args: Args<"create">): Promise<Reply<"create">> {
  return brick.inEntries([args.loc], async () => {
    const making = await begin(brick, call, "create", args, (args.mode & ~S_IFMT) | S_IFREG);
    const wanted = args.flags === 0 ? O_RDWR | O_EXCL : args.flags;
    const flags = osOpenFlags(brick, wanted);
    const { osFd, before } = await openOrMake(brick, making, wanted, flags);
    let state: InodeState | undefined;
    try {
      const gfid = before ? await adopt(brick, making, before) : making.gfid;
      state = brick.states.hold(gfid);
      state.opens++;
      const reply = before
        ? await reuse(brick, call, making, state)
        : await finish(brick, call, making, true);
      await brick.mdata.load(state, osFd);
      brick.files.add(args.fd, osFd, flags, state);
      return reply;
    } catch (error) {
      await close(osFd);
      if (state) await brick.files.abandon(state);
      throw error;
    }
  });
}

/** A new file, or the one that is there (`before`) unless O_EXCL is wanted. */
async function openOrMake(
  brick: Brick,
  { path, mode }: Making,
  wanted: number,
  flags: number,
): Promise<{ osFd: number; before: OsStat | undefined }> {
  try {
    const osFd = await open(path, flags | O_CREAT | O_EXCL, mode & ~S_IFMT);
    return { osFd, before: undefined };
  } catch (error) {
    if (!isCode(error, "EEXIST") || (wanted & O_EXCL) !== 0) throw error;
  }
  const before = await lstat(path);
  if ((before.mode & S_IFMT) === S_IFDIR) throw brick.error("EISDIR", "create");
  if (brick.fence.isArmed && (before.mode & S_IFMT) === S_IFREG)
    await brick.fence.pass(brick.states.of(await brick.gfidOn(path)), path);
  return { osFd: await open(path, flags), before };
}

export async function linkFop(brick: Brick, call: Call, args: Args<"link">): Promise<NewEntry> {
  const { from, to, xdata } = args;
  brick.checkName(to, "link", "EEXIST");
  brick.checkSpace(call, xdata, "link");
  return brick.inEntries([to], async () => {
    const parent = await brick.parent(to);
    const path = `${parent.path}/${to.name}`;
    const stat = await brick.withLinks(from.inode.gfid, async (state) => {
      await addName(brick, args, parent, path, state);
      await brick.stamp(call, state, path);
      return brick.iattNow({ target: path, state });
    });
    return { stat, preParent: parent.pre, postParent: await brick.postParent(call, parent) };
  });
}

async function addName(
  brick: Brick,
  { from, to, xdata }: Args<"link">,
  parent: Parent,
  path: string,
  state: InodeState,
): Promise<void> {
  const subject = await brick.find(from.inode);
  if ((subject.stat.mode & S_IFMT) === S_IFDIR) throw brick.error("EPERM", "link");
  const max = brick.options["max-hardlinks"];
  const links = linksOf(subject.stat);
  if (max > 0 && links >= max) {
    throw brick.error("EMLINK", "link", {
      message: `link: the file has ${links} names (option max-hardlinks)`,
    });
  }
  await replacing(brick, xdata, path, () => link(subject.target as string, path));
  if (brick.options.gfid2path && links < GFID2PATH_LINKS_MAX) {
    const record = gfid2path(parent.gfid, to.name!);
    try {
      await ifAbsent(setXattr(path, record.key, record.value, XATTR_CREATE));
    } catch (error) {
      await unlink(path);
      throw error;
    }
  }
  if (state.parked) await restoreHandle(brick, state, path);
}

/** Checks what can be checked before anything is made, and finds the parent. */
async function begin(
  brick: Brick,
  call: Call,
  fop: string,
  args: { loc: Loc; umask: number; xdata?: Dict | undefined },
  mode: number,
): Promise<Making> {
  const { loc, umask } = args;
  const xdata = args.xdata ?? new Dict();
  brick.checkName(loc, fop, "EEXIST");
  const gfid = xdata.gfid(KEY.GFID_REQ);
  if (!gfid || isNullGfid(gfid))
    throw brick.error("EINVAL", fop, { message: `${fop}: xdata brings no ${KEY.GFID_REQ}` });
  brick.checkSpace(call, xdata, fop);
  const parent = await brick.parent(loc);
  const path = `${parent.path}/${loc.name}`;
  const skip = fop === "mkdir" || fop === "create" ? await preopGuard(brick, parent, path, xdata, fop) : [];
  const setgid = (parent.stat.mode & S_ISGID) !== 0;
  return {
    loc,
    parent,
    path,
    gfid,
    mode: await finalMode(brick, parent, mode, umask),
    uid: call.uid,
    gid: setgid ? parent.stat.gid : call.gid,
    xdata,
    skip: new Set(skip),
  };
}

/** The option masks and the umask; a default ACL on the parent takes the umask's place. */
async function finalMode(brick: Brick, parent: Parent, mode: number, umask: number): Promise<number> {
  const { options } = brick;
  const isDirectory = (mode & S_IFMT) === S_IFDIR;
  const mask = isDirectory ? options["create-directory-mask"] : options["create-mask"];
  const force = isDirectory ? options["force-directory-mode"] : options["force-create-mode"];
  let bits = mode & 0o777;
  if ((bits & umask) !== 0 && !(await hasDefaultAcl(parent))) bits &= ~umask;
  const setgid = isDirectory ? parent.stat.mode & S_ISGID : 0;
  return (mode & ~0o777) | (bits & mask) | force | setgid;
}

async function hasDefaultAcl(parent: Parent): Promise<boolean> {
  try {
    return (await getXattr(parent.path, ACL_DEFAULT)) !== undefined;
  } catch (error) {
    if (isCode(error, "EOPNOTSUPP")) return false;
    throw error;
  }
}

/**
 * Distribute names an xattr of the parent (its layout) and the value that it believes in; when the parent has
 * another one the fop must fail. Answers the keys that are not to be stored.
 */
async function preopGuard(
  brick: Brick,
  parent: Parent,
  path: string,
  xdata: Dict,
  fop: string,
): Promise<string[]> {
  const key = xdata.text(KEY.PREOP_PARENT);
  if (key === undefined) return [];
  const expected = xdata.bytes(key);
  if (expected === undefined) return [KEY.PREOP_PARENT];
  const isOpenOfExisting = fop === "create" && (await brick.lstatIfThere(path)) !== undefined;
  const actual = isOpenOfExisting ? expected : await getXattr(parent.path, key);
  if (actual?.equals(expected)) return [KEY.PREOP_PARENT, key];
  const failed = new Dict().setInt(KEY.PREOP_FAILED, 1);
  throw brick.error("EIO", fop, { message: `${fop}: the parent's ${key} is another one`, xdata: failed });
}

/**
 * Runs what makes a name; when it exists and the caller allows it, a stale linkto file of distribute gives
 * way.
 */
async function replacing(
  brick: Brick,
  xdata: Dict | undefined,
  path: string,
  make: () => Promise<void>,
): Promise<void> {
  try {
    await make();
  } catch (error) {
    if (!isCode(error, "EEXIST") || !xdata?.has(KEY.FORCE_REPLACE)) throw error;
    if (!(await removeStaleLinkto(brick, path))) throw error;
    await make();
  }
}

/**
 * An internal mknod of a gfid that exists gives that inode one more name; also brings back a removed but open
 * one.
 */
async function relink(brick: Brick, making: Making): Promise<boolean> {
  try {
    const found = await brick.handles.find(making.gfid, 0);
    await link(found.path, making.path);
  } catch (error) {
    if (isCode(error, "ENOENT")) return false;
    throw error;
  }
  const state = brick.states.of(making.gfid);
  if (state.parked) await restoreHandle(brick, state, making.path);
  return true;
}

/** A removed but open file has a name again. */
async function restoreHandle(brick: Brick, state: InodeState, path: string): Promise<void> {
  await brick.handles.link(path, state.gfid);
  state.removed = false;
  await brick.handles.unpark(state.gfid);
}

/** Completes a new entry; takes it back when that fails. */
async function finish(brick: Brick, call: Call, making: Making, fresh: boolean): Promise<NewEntry> {
  const state = brick.states.hold(making.gfid);
  try {
    await dress(brick, making, state, fresh);
    const [postParent] = await Promise.all([
      brick.postParent(call, making.parent),
      brick.stamp(call, state, making.path),
    ]);
    const stat = await brick.iattNow({ target: making.path, state });
    return { stat, preParent: making.parent.pre, postParent };
  } catch (error) {
    await undo(brick, making, fresh);
    throw error;
  } finally {
    brick.states.letGo(state);
  }
}

async function dress(brick: Brick, making: Making, state: InodeState, fresh: boolean): Promise<void> {
  const { path, mode, parent, loc, gfid } = making;
  const isDirectory = (mode & S_IFMT) === S_IFDIR;
  if (fresh) {
    await giveAway(making);
    state.mdata = null;
    state.removed = false;
  }
  const work = attach(brick, making, state);
  if (fresh) work.push(brick.handles.makeRoom(gfid));
  await Promise.all(work);
  if (!fresh) return;
  await setXattr(path, KEY.GFID, gfid, XATTR_CREATE);
  if (isDirectory) await brick.handles.linkDirectory(gfid, parent.gfid, loc.name!);
  else await brick.handles.link(path, gfid);
}

/** ACLs, the record of the name, and the xattrs that xdata brings. */
function attach(brick: Brick, making: Making, state: InodeState): Promise<void>[] {
  const { path, mode, xdata, parent, loc } = making;
  const work: Promise<void>[] = [];
  for (const key of [ACL_ACCESS, ACL_DEFAULT]) {
    const acl = xdata.bytes(key);
    if (acl) work.push(logged(brick, making, key, setXattr(path, key, acl)));
  }
  if ((mode & S_IFMT) !== S_IFDIR && brick.options.gfid2path) {
    const record = gfid2path(parent.gfid, loc.name!);
    work.push(logged(brick, making, record.key, setXattr(path, record.key, record.value, XATTR_CREATE)));
  }
  for (const [key, value] of xdata) {
    const stored = isXattrName(key) && !isIdentity(key) && !making.skip.has(key);
    if (!stored || key === ACL_ACCESS || key === ACL_DEFAULT) continue;
    const setting = setOne(brick, { target: path, state }, key, value, XATTR_CREATE);
    work.push(logged(brick, making, key, setting));
  }
  return work;
}

/** The owner. A change of owner takes set-uid and set-gid from a file, so those are set again. */
async function giveAway({ path, uid, gid, mode, parent }: Making): Promise<void> {
  // Root's entry in a directory of group root is root's already, whatever rule for groups is mounted.
  if (uid === 0 && gid === 0 && parent.stat.gid === 0) return;
  await lchown(path, uid, gid);
  if ((mode & SPECIAL_BITS) !== 0 && (mode & S_IFMT) !== S_IFDIR) await chmod(path, mode & ~S_IFMT);
}

/** An xattr that cannot be set does not fail the fop, as in GlusterFS; the log tells. */
async function logged(brick: Brick, making: Making, key: string, work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (isCode(error, "ENOSPC") || isCode(error, "EDQUOT")) throw error;
    const code = error instanceof Error && "code" in error ? error.code : String(error);
    brick.log.warn("xattr of a new entry not set", { path: making.path, key, code });
  }
}

/**
 * Takes an entry back. A handle goes with it only if it is this entry's, not that of another object with the
 * same gfid.
 */
async function undo(brick: Brick, making: Making, fresh: boolean): Promise<void> {
  const { path, gfid, parent, loc } = making;
  const isDirectory = (making.mode & S_IFMT) === S_IFDIR;
  try {
    const owns = isDirectory
      ? await brick.handles.leadsTo(gfid, parent.gfid, loc.name!)
      : (await brick.lstatIfThere(brick.handles.handle(gfid)))?.ino === (await brick.lstatIfThere(path))?.ino;
    await (isDirectory ? rmdir(path) : unlink(path));
    if (fresh && owns) await brick.handles.unlink(gfid);
  } catch (error) {
    brick.log.warn("entry not taken back", { path, error: String(error) });
  }
  brick.states.drop(gfid);
}

/** The gfid of a file that was there before create; given now when an interrupted create left it without. */
async function adopt(brick: Brick, making: Making, before: OsStat): Promise<Gfid> {
  const gfid = await brick.gfidOn(making.path);
  if (gfid !== NULL_GFID && before.nlink > 1) return gfid;
  if (gfid === NULL_GFID) await setXattr(making.path, KEY.GFID, making.gfid, XATTR_CREATE);
  const adopted = gfid === NULL_GFID ? making.gfid : gfid;
  await brick.handles.link(making.path, adopted);
  return adopted;
}

async function reuse(brick: Brick, call: Call, making: Making, state: InodeState): Promise<NewEntry> {
  await brick.stamp(call, state, making.path);
  const stat = await brick.iattNow({ target: making.path, state });
  return { stat, preParent: making.parent.pre, postParent: await brick.postParent(call, making.parent) };
}
