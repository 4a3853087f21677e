/**
 * Extended attributes: SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR, with GlusterFS' rules on names
 * (translators.md 10.3).
 *
 * Names that GlusterFS keeps its own records under are hidden from listings, so that `cp -a` and `rsync -X`
 * do not carry them to other files; asked for by name they are passed on.
 */

import { Dict } from "../../src/core/dict.ts";
import { FopError } from "../../src/core/errors.ts";
import { encodeName } from "../../src/core/name.ts";
import { IN } from "../dev-fuse/protocol.ts";
import { BODY, type KernelRequest } from "../dev-fuse/request.ts";
import { byLocOrHandle, type MountState } from "../state.ts";

const REMOVE_NAME_BYTE = 40;
/** The kernel's XATTR_SIZE_MAX and XATTR_LIST_MAX. */
const VALUE_MAX = 65536;
const PROTECTED = new Set(["trusted.gfid", "trusted.glusterfs.volume-id"]);
const ACL = new Set(["system.posix_acl_access", "system.posix_acl_default"]);
const NAMESPACES = ["user.", "trusted.", "security.", "system."];
const HIDDEN = ["trusted.glusterfs.", "trusted.gfid", "trusted.afr.", "trusted.pgfid."];

export async function setxattr(state: MountState, request: KernelRequest): Promise<number> {
  const { words } = request;
  const node = state.node(request);
  const name = request.name(IN.setxattr.nameByte);
  mayChange(state, name);
  const from = request.endOfName(IN.setxattr.nameByte) + 1;
  const to = from + words[IN.setxattr.size]!;
  if (to > request.length) throw new FopError("EINVAL", { fop: "setxattr" });
  // The value may outlive the request's buffer in a layer that keeps it, and it is small: it is copied.
  const xattrs = new Dict().setBytes(name, Buffer.from(request.buffer.subarray(from, to)));
  const flags = words[IN.setxattr.flags]!;
  const call = state.call(request);
  await byLocOrHandle(
    node,
    (loc) => state.top.setxattr(call, { loc, xattrs, flags }),
    ({ fd }) => state.top.fsetxattr(call, { fd, xattrs, flags }),
  );
  return 0;
}

export async function removexattr(state: MountState, request: KernelRequest): Promise<number> {
  const node = state.node(request);
  const name = request.name(REMOVE_NAME_BYTE);
  mayChange(state, name);
  const call = state.call(request);
  await byLocOrHandle(
    node,
    (loc) => state.top.removexattr(call, { loc, name }),
    ({ fd }) => state.top.fremovexattr(call, { fd, name }),
  );
  return 0;
}

/** Answers with the value, or with its size when the caller gave no room. */
export async function getxattr(state: MountState, request: KernelRequest): Promise<number | Buffer> {
  const room = request.words[IN.getxattr.size]!;
  const node = state.node(request);
  const name = request.name(IN.getxattr.nameByte);
  mayRead(state, name);
  const xattrs = await fetch(state, request, node, name);
  const value = xattrs.bytes(name);
  if (value === undefined) throw new FopError("ENODATA", { fop: "getxattr" });
  return fitted(request, value, room);
}

export async function listxattr(state: MountState, request: KernelRequest): Promise<number | Buffer> {
  const room = request.words[IN.getxattr.size]!;
  const xattrs = await fetch(state, request, state.node(request), undefined);
  const names: Buffer[] = [];
  for (const name of xattrs.keys())
    if (isListed(state, name, request.uid)) names.push(encodeName(name), Buffer.from([0]));
  return fitted(request, Buffer.concat(names), room);
}

function fetch(
  state: MountState,
  request: KernelRequest,
  node: Parameters<typeof byLocOrHandle>[0],
  name: string | undefined,
): Promise<Dict> {
  const call = state.call(request);
  return byLocOrHandle(
    node,
    async (loc) => (await state.top.getxattr(call, { loc, name })).xattrs,
    async ({ fd }) => (await state.top.fgetxattr(call, { fd, name })).xattrs,
  );
}

function fitted(request: KernelRequest, bytes: Buffer, room: number): number | Buffer {
  if (room === 0) {
    request.outWords[BODY] = bytes.length;
    request.outWords[BODY + 1] = 0;
    return 8;
  }
  if (bytes.length > room) throw new FopError("ERANGE", { fop: "getxattr" });
  if (bytes.length > VALUE_MAX) throw new FopError("E2BIG", { fop: "getxattr" });
  return bytes;
}

function mayChange(state: MountState, name: string): void {
  if (PROTECTED.has(name)) throw new FopError("EPERM", { fop: "setxattr" });
  if (ACL.has(name) && !state.options.acl) throw new FopError("EOPNOTSUPP", { fop: "setxattr" });
}

/**
 * Labels and file capabilities are asked for by the kernel itself, again and again; without their options the
 * answer is "none" and costs no trip to a brick.
 */
function mayRead(state: MountState, name: string): void {
  const { acl, selinux, capability } = state.options;
  if (ACL.has(name) && !acl) throw new FopError("EOPNOTSUPP", { fop: "getxattr" });
  if (name === "security.selinux" && !selinux) throw new FopError("ENODATA", { fop: "getxattr" });
  if (name === "security.capability" && !capability && !selinux)
    throw new FopError("ENODATA", { fop: "getxattr" });
}

function isListed(state: MountState, name: string, uid: number): boolean {
  if (!NAMESPACES.some((space) => name.startsWith(space))) return false;
  if (HIDDEN.some((start) => name.startsWith(start))) return false;
  if (ACL.has(name) && !state.options.acl) return false;
  return uid === 0 || !name.startsWith("trusted.");
}
