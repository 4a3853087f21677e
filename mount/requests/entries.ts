/**
 * Requests about names: LOOKUP, FORGET and everything that makes, moves or removes an entry.
 *
 * Each entry answered counts one kernel lookup, taken in the same turn as the answer is written. Modes arrive
 * without the umask applied (DONT_MASK); it is applied here, as GlusterFS does without ACLs.
 */

import type { Call } from "../../src/core/call.ts";
import { FopError } from "../../src/core/errors.ts";
import { isNullGfid } from "../../src/core/gfid.ts";
import { Fd, type Inode } from "../../src/core/inode.ts";
import { encodeName } from "../../src/core/name.ts";
import { O_CREAT, O_EXCL, O_TRUNC } from "../../src/core/open-flags.ts";
import {
  decodeRdev,
  ENTRY_OUT_BYTES,
  IN,
  OPEN_OUT_BYTES,
  putNegativeEntry,
  RENAME_NOREPLACE,
  u64,
} from "../dev-fuse/protocol.ts";
import { BODY, type KernelRequest } from "../dev-fuse/request.ts";
import { FileHandle } from "../handles.ts";
import type { Node } from "../nodes.ts";
import { isGone, type MountState, staleIfMissing } from "../state.ts";
import { openFlags, putOpened } from "./files.ts";

const NAME_BYTE = 40;
/** PATH_MAX: what a link target can be long. */
const TARGET_MAX = 4096;

export async function lookup(state: MountState, request: KernelRequest): Promise<number> {
  const parent = state.node(request);
  const name = state.name(request, NAME_BYTE);
  const call = state.call(request);
  try {
    const { inode, stat } = await lookUpName(state, call, parent, name);
    state.putEntry(request, parent, name, inode, stat);
  } catch (error) {
    if (!(error instanceof FopError) || error.code !== "ENOENT") throw error;
    state.nodes.forgetName(parent, name);
    if (state.negativeValidity === undefined) throw error;
    putNegativeEntry(request.outWords, BODY, state.negativeValidity);
  }
  return ENTRY_OUT_BYTES;
}

/**
 * Looks a known name up by its inode, so that translators can revalidate; when that fails, once more as a new
 * one.
 */
async function lookUpName(state: MountState, call: Call, parent: Node, name: string) {
  const known = state.nodes.child(parent, name);
  if (known !== undefined) {
    try {
      const loc = { parent: parent.inode, name, inode: known.inode };
      const { stat } = await state.top.lookup(call, { loc, xdata: state.gfidRequest() });
      return { inode: known.inode, stat };
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
  const loc = state.newLoc(parent, name);
  const { stat } = await state.top.lookup(call, { loc, xdata: state.gfidRequest() });
  return { inode: loc.inode, stat };
}

export function forget(state: MountState, request: KernelRequest): void {
  state.nodes.forget(request.nodeid, u64(request.words, IN.forget.nlookup));
}

export function batchForget(state: MountState, request: KernelRequest): void {
  const count = request.words[IN.batchForget.count]!;
  const first = IN.batchForget.items * 4;
  for (let i = 0, at = first; i < count && at + 16 <= request.length; i++, at += 16)
    state.nodes.forget(request.u64At(at), request.u64At(at + 8));
}

export async function readlink(state: MountState, request: KernelRequest): Promise<Buffer> {
  const node = state.node(request);
  const loc = { inode: node.inode };
  try {
    const { target } = await state.top.readlink(state.call(request), { loc, size: TARGET_MAX });
    return encodeName(target);
  } catch (error) {
    throw staleIfMissing(error);
  }
}

export async function symlink(state: MountState, request: KernelRequest): Promise<number> {
  const parent = state.node(request);
  const name = state.name(request, NAME_BYTE);
  const target = request.name(request.endOfName(NAME_BYTE) + 1);
  const loc = state.newLoc(parent, name);
  const xdata = state.gfidRequest();
  const { stat } = await state.top.symlink(state.call(request), { loc, target, umask: 0, xdata });
  return state.madeEntry(request, parent, name, loc.inode, stat);
}

export async function mknod(state: MountState, request: KernelRequest): Promise<number> {
  const { words } = request;
  const parent = state.node(request);
  const name = state.name(request, IN.mknod.nameByte);
  const umask = words[IN.mknod.umask]!;
  const loc = state.newLoc(parent, name);
  const { stat } = await state.top.mknod(state.call(request), {
    loc,
    mode: words[IN.mknod.mode]! & ~umask,
    rdev: decodeRdev(words[IN.mknod.rdev]!),
    umask,
    xdata: state.gfidRequest(),
  });
  return state.madeEntry(request, parent, name, loc.inode, stat);
}

export async function mkdir(state: MountState, request: KernelRequest): Promise<number> {
  const { words } = request;
  const parent = state.node(request);
  const name = state.name(request, IN.mkdir.nameByte);
  const umask = words[IN.mkdir.umask]!;
  const mode = words[IN.mkdir.mode]! & ~umask;
  const loc = state.newLoc(parent, name);
  const xdata = state.gfidRequest();
  const { stat } = await state.top.mkdir(state.call(request), { loc, mode, umask, xdata });
  return state.madeEntry(request, parent, name, loc.inode, stat);
}

export async function unlink(state: MountState, request: KernelRequest): Promise<number> {
  const { call, parent, name, loc } = await existingEntry(state, request);
  await state.top.unlink(call, { loc, flags: 0 });
  removedEntry(state, parent, name);
  return 0;
}

export async function rmdir(state: MountState, request: KernelRequest): Promise<number> {
  const { call, parent, name, loc } = await existingEntry(state, request);
  await state.top.rmdir(call, { loc, flags: 0 });
  removedEntry(state, parent, name);
  return 0;
}

async function existingEntry(state: MountState, request: KernelRequest) {
  const parent = state.node(request);
  const name = state.name(request, NAME_BYTE);
  const call = state.call(request);
  return { call, parent, name, loc: await state.existing(call, parent, name) };
}

function removedEntry(state: MountState, parent: Node, name: string): void {
  parent.changes++;
  state.nodes.forgetName(parent, name);
}

export function rename(state: MountState, request: KernelRequest): Promise<number> {
  return renameWith(state, request, IN.rename.nameByte, 0);
}

/** RENAME with flags. EXCHANGE and WHITEOUT are EINVAL, as on any file system that lacks them. */
export function rename2(state: MountState, request: KernelRequest): Promise<number> {
  return renameWith(state, request, IN.rename2.nameByte, request.words[IN.rename2.flags]!);
}

async function renameWith(
  state: MountState,
  request: KernelRequest,
  nameByte: number,
  flags: number,
): Promise<number> {
  if ((flags & ~RENAME_NOREPLACE) !== 0) throw new FopError("EINVAL", { fop: "rename" });
  const call = state.call(request);
  const fromParent = state.node(request);
  const toParent = state.nodeById(u64(request.words, IN.rename.newdir));
  const fromName = state.name(request, nameByte);
  const toName = state.name(request, request.endOfName(nameByte) + 1);
  if ((flags & RENAME_NOREPLACE) !== 0) await mustNotExist(state, call, toParent, toName);
  const from = await state.existing(call, fromParent, fromName);
  const replaced = state.nodes.child(toParent, toName);
  const to = { ...state.newLoc(toParent, toName), ...(replaced ? { inode: replaced.inode } : {}) };
  await state.top.rename(call, { from, to });
  removedEntry(state, fromParent, fromName);
  removedEntry(state, toParent, toName);
  const moved = state.nodes.find(from.inode);
  if (moved !== undefined) state.nodes.remember(toParent, toName, moved);
  return 0;
}

/**
 * GlusterFS has no fop that renames without replacing: the name is looked up first. The kernel holds both
 * directories locked meanwhile, so only another client can still come between.
 */
async function mustNotExist(state: MountState, call: Call, parent: Node, name: string): Promise<void> {
  try {
    await state.top.lookup(call, { loc: state.newLoc(parent, name) });
  } catch (error) {
    if (error instanceof FopError && error.code === "ENOENT") return;
    throw error;
  }
  throw new FopError("EEXIST", { fop: "rename" });
}

export async function link(state: MountState, request: KernelRequest): Promise<number> {
  const parent = state.node(request);
  const name = state.name(request, IN.link.nameByte);
  const { inode } = state.nodeById(u64(request.words, IN.link.oldnodeid));
  const to = { parent: parent.inode, name, inode };
  const { stat } = await state.top.link(state.call(request), { from: { inode }, to });
  return state.madeEntry(request, parent, name, inode, stat);
}

export async function create(state: MountState, request: KernelRequest): Promise<number> {
  const { words } = request;
  const parent = state.node(request);
  const name = state.name(request, IN.create.nameByte);
  const call = state.call(request);
  const umask = words[IN.create.umask]!;
  const flags = openFlags(state, words[IN.create.flags]!);
  const loc = state.newLoc(parent, name);
  const fd = new Fd(loc.inode, flags, call.pid);
  const { stat } = await state.top.create(call, {
    loc,
    fd,
    flags,
    mode: words[IN.create.mode]! & ~umask,
    umask,
    xdata: state.gfidRequest(),
  });
  if (isNullGfid(stat.gfid)) throw new FopError("EIO", { fop: "create", message: "reply without a gfid" });
  const inode = state.inodes.link(loc.inode, stat.gfid, stat.mode);
  const usable = inode === loc.inode ? fd : await openAgain(state, call, inode, fd);
  state.madeEntry(request, parent, name, inode, stat);
  const node = state.nodes.find(inode)!;
  putOpened(state, request, BODY + ENTRY_OUT_BYTES / 4, new FileHandle(node, usable));
  return ENTRY_OUT_BYTES + OPEN_OUT_BYTES;
}

/**
 * A create without O_EXCL met a file that is known already: the fd must belong to the known inode, as
 * translators keep their state by it.
 */
async function openAgain(state: MountState, call: Call, inode: Inode, fd: Fd): Promise<Fd> {
  const again = new Fd(inode, fd.flags & ~(O_CREAT | O_EXCL | O_TRUNC), fd.pid);
  try {
    await state.top.open(call, { loc: { inode }, fd: again, flags: again.flags });
  } finally {
    await state.top.release(fd);
  }
  return again;
}
