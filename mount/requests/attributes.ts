/**
 * Requests about attributes: GETATTR, STATX, SETATTR, ACCESS, STATFS.
 *
 * An open file is asked through its handle first: it answers also when the last name is gone, and needs no
 * path. Changes go by gfid, and through a handle when there is no name any more.
 */

import type { Call } from "../../src/core/call.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { hasSetId, type Iatt, SETATTR, ZERO_IATT } from "../../src/core/iatt.ts";
import {
  FATTR,
  GETATTR_FH,
  HIGH,
  IN,
  i64,
  putStatxOut,
  STATFS_OUT_BYTES,
  STATX_OUT_BYTES,
  u64,
} from "../dev-fuse/protocol.ts";
import { BODY, type KernelRequest } from "../dev-fuse/request.ts";
import { type FileHandle, openHandle } from "../handles.ts";
import type { Node } from "../nodes.ts";
import { byLocOrHandle, isGone, type MountState, staleIfMissing } from "../state.ts";
import { safe, stripSetId } from "./files.ts";
import { isOfPages } from "./page-times.ts";

/** What a SETATTR asks for besides a size. */
type Change = Pick<Args<"setattr">, "stat" | "valid">;

export async function getattr(state: MountState, request: KernelRequest): Promise<number> {
  const node = state.node(request);
  const flagged = (request.words[IN.getattr.flags]! & GETATTR_FH) !== 0;
  const stat = await attributes(state, state.call(request), node, state.namedHandle(request, flagged));
  return state.putAttr(request, node, stat);
}

export async function statx(state: MountState, request: KernelRequest): Promise<number> {
  const node = state.node(request);
  const flagged = (request.words[IN.statx.flags]! & GETATTR_FH) !== 0;
  const stat = await attributes(state, state.call(request), node, state.namedHandle(request, flagged));
  node.mode = stat.mode;
  putStatxOut(request.outWords, BODY, stat, state.attrValidity, node === state.nodes.root);
  return STATX_OUT_BYTES;
}

async function attributes(
  state: MountState,
  call: Call,
  node: Node,
  named: FileHandle | undefined,
): Promise<Iatt> {
  await state.pageTimes.settle(node);
  const handle = named ?? openHandle(node);
  if (handle !== undefined) {
    try {
      return (await state.top.fstat(call, { fd: handle.fd })).stat;
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
  try {
    return (await state.top.stat(call, { loc: { inode: node.inode } })).stat;
  } catch (error) {
    throw staleIfMissing(error);
  }
}

/**
 * Size first, then the rest: times that were set explicitly must survive the truncation. The bits of `valid`
 * are the fop's own but for FATTR_SIZE and what lies above FATTR_MTIME.
 */
export async function setattr(state: MountState, request: KernelRequest): Promise<number> {
  const node = state.node(request);
  const call = state.call(request);
  const valid = request.words[IN.setattr.valid]!;
  if (state.writebackCache && isOfPages(valid)) {
    const times = wantedChange(request, valid);
    state.pageTimes.keep(node, () => change(state, call, node, times));
    // The kernel does not look at the attributes of this answer.
    return state.putAttr(request, node, { ...ZERO_IATT, gfid: node.inode.gfid, mode: node.mode });
  }
  await state.pageTimes.settle(node);
  const handle = state.namedHandle(request, (valid & FATTR.FH) !== 0);
  let stat: Iatt | undefined;
  if ((valid & FATTR.SIZE) !== 0) {
    stat = await resize(state, request, call, node, handle);
    if ((valid & FATTR.KILL_SUIDGID) !== 0 && hasSetId(stat.mode))
      stat = await stripSetId(state, call, node, handle?.fd, stat.mode);
  }
  const wanted = wantedChange(request, valid);
  if (wanted.valid !== 0) stat = (await change(state, call, node, wanted)).post;
  stat ??= await attributes(state, call, node, handle);
  return state.putAttr(request, node, stat);
}

function change(state: MountState, call: Call, node: Node, wanted: Change): Promise<Reply<"setattr">> {
  return byLocOrHandle(
    node,
    (loc) => state.top.setattr(call, { loc, ...wanted }),
    ({ fd }) => state.top.fsetattr(call, { fd, ...wanted }),
  );
}

async function resize(
  state: MountState,
  request: KernelRequest,
  call: Call,
  node: Node,
  named: FileHandle | undefined,
): Promise<Iatt> {
  const { words } = request;
  const offset = safe(u64(words, IN.setattr.size), "EFBIG");
  const owned =
    (words[IN.setattr.valid]! & FATTR.LOCKOWNER) === 0
      ? call
      : state.callWithOwner(request, IN.setattr.lockOwner);
  if (named !== undefined && !named.isReader)
    return (await state.top.ftruncate(owned, { fd: named.fd, offset })).post;
  try {
    return (await state.top.truncate(owned, { loc: { inode: node.inode }, offset })).post;
  } catch (error) {
    const handle = isGone(error) ? openHandle(node, true) : undefined;
    if (handle === undefined) throw staleIfMissing(error);
    return (await state.top.ftruncate(owned, { fd: handle.fd, offset })).post;
  }
}

function wantedChange(request: KernelRequest, asked: number): Change {
  const { words } = request;
  const at = IN.setattr;
  let valid = 0;
  if ((asked & FATTR.MODE) !== 0) valid |= SETATTR.MODE;
  if ((asked & FATTR.UID) !== 0) valid |= SETATTR.UID;
  if ((asked & FATTR.GID) !== 0) valid |= SETATTR.GID;
  if ((asked & FATTR.ATIME) !== 0) valid |= SETATTR.ATIME;
  if ((asked & FATTR.MTIME) !== 0) valid |= SETATTR.MTIME;
  if ((asked & FATTR.ATIME_NOW) !== 0) valid |= SETATTR.ATIME_NOW;
  if ((asked & FATTR.MTIME_NOW) !== 0) valid |= SETATTR.MTIME_NOW;
  if ((asked & FATTR.CTIME) !== 0) valid |= SETATTR.CTIME;
  const stat: Iatt = {
    ...ZERO_IATT,
    mode: words[at.mode]!,
    uid: words[at.uid]!,
    gid: words[at.gid]!,
    atime: i64(words, at.atime),
    atimeNsec: words[at.atimeNsec]!,
    mtime: i64(words, at.mtime),
    mtimeNsec: words[at.mtimeNsec]!,
    ctime: i64(words, at.ctime),
    ctimeNsec: words[at.ctimeNsec]!,
  };
  return { stat, valid };
}

/** Sent only without default-permissions: then the bricks decide. */
export async function access(state: MountState, request: KernelRequest): Promise<number> {
  const { inode } = state.node(request);
  const mask = request.words[IN.access.mask]!;
  try {
    await state.top.access(state.call(request), { loc: { inode }, mask });
  } catch (error) {
    throw staleIfMissing(error);
  }
  return 0;
}

export async function statfs(state: MountState, request: KernelRequest): Promise<number> {
  const node = state.nodes.get(request.nodeid) ?? state.nodes.root;
  const { statfs: fs } = await state.top.statfs(state.call(request), { loc: { inode: node.inode } });
  const { outWords } = request;
  outWords.fill(0, BODY, BODY + STATFS_OUT_BYTES / 4);
  let at = BODY;
  for (const value of [fs.blocks, fs.bfree, fs.bavail, fs.files, fs.ffree]) {
    outWords[at] = value % HIGH;
    outWords[at + 1] = Math.floor(value / HIGH);
    at += 2;
  }
  outWords[at] = fs.bsize;
  outWords[at + 1] = fs.namemax;
  outWords[at + 2] = fs.frsize;
  return STATFS_OUT_BYTES;
}
