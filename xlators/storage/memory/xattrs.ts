/**
 * Extended attributes of the in-memory brick: Linux' rules for names and sizes, GlusterFS' rules for its own
 * names (spec translators.md 2.3, wire.md 9.2 and 9.7), and which of them a caller may see.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import { S_IFDIR, S_IFMT, S_IFREG } from "../../../src/core/iatt.ts";
import { KEY, XATTR_NAMESPACES } from "../../../src/core/keys.ts";
import { decodeMdata, encodeMdata, mergeMdata } from "../../../src/core/mdata.ts";
import { nameBytes } from "../../../src/core/name.ts";
import { combineXattr } from "../../../src/core/xattrop.ts";
import type { MemNode } from "./node.ts";

const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;
/** Linux' XATTR_NAME_MAX and XATTR_SIZE_MAX. */
const NAME_BYTES_MAX = 255;
const VALUE_BYTES_MAX = 65536;
const GFID2PATH_PREFIX = "trusted.gfid2path.";

function inNamespace(name: string): boolean {
  return XATTR_NAMESPACES.some((prefix) => name.startsWith(prefix) && name.length > prefix.length);
}

function checkName(node: MemNode, name: string): void {
  if (nameBytes(name) > NAME_BYTES_MAX) throw new FopError("ERANGE");
  if (!inNamespace(name)) throw new FopError("EOPNOTSUPP");
  const type = node.mode & S_IFMT;
  if (name.startsWith("user.") && type !== S_IFREG && type !== S_IFDIR) throw new FopError("EPERM");
}

/** Names that xattr calls leave alone, as a stock brick does. */
function isProtected(name: string): boolean {
  return name === KEY.GFID || name === KEY.VOLUME_ID;
}

export function setXattrs(node: MemNode, xattrs: Dict, flags: number): void {
  for (const [name, entry] of xattrs) {
    if (name === KEY.SET_MDATA || name === KEY.MDATA) {
      const given = entry.type === "mdata" ? entry.value : decodeMdata(xattrs.bytes(name) ?? Buffer.alloc(0));
      if (!given) throw new FopError("EINVAL");
      node.mdata = node.mdata ? mergeMdata(node.mdata, given) : given;
      continue;
    }
    if (isProtected(name)) continue;
    if (name.startsWith(GFID2PATH_PREFIX)) throw new FopError("EOPNOTSUPP");
    checkName(node, name);
    const value = xattrs.bytes(name) ?? Buffer.from(xattrs.text(name) ?? "");
    if (value.length > VALUE_BYTES_MAX) throw new FopError("E2BIG");
    if (flags === XATTR_CREATE && node.xattrs.has(name)) throw new FopError("EEXIST");
    if (flags === XATTR_REPLACE && !node.xattrs.has(name)) throw new FopError("ENODATA");
    node.xattrs.set(name, Buffer.from(value));
  }
}

export function removeXattr(node: MemNode, name: string): void {
  if (isProtected(name)) throw new FopError("EPERM");
  if (name === KEY.MDATA) {
    if (!node.mdata) throw new FopError("ENODATA");
    node.mdata = undefined;
    return;
  }
  checkName(node, name);
  if (!node.xattrs.delete(name)) throw new FopError("ENODATA");
}

/** One value as fops by name see it; undefined when there is none. */
export function xattrValue(node: MemNode, name: string): Buffer | undefined {
  if (name === KEY.GFID) return node.gfid;
  if (name === KEY.MDATA) return node.mdata && encodeMdata(node.mdata);
  return node.xattrs.get(name);
}

/** Every name that patterns of a lookup match against. */
export function xattrNames(node: MemNode): string[] {
  return [KEY.GFID, ...(node.mdata ? [KEY.MDATA] : []), ...node.xattrs.keys()];
}

/** getxattr: one name, or all that a listing shows. */
export function getXattrs(node: MemNode, name: string | undefined, call: Call): Dict {
  if (name !== undefined) {
    const hidden = name === KEY.MDATA && call.pid >= 0;
    const value = hidden ? undefined : xattrValue(node, name);
    if (value) return Dict.ofBytes({ [name]: value });
    throw new FopError(hidden || inNamespace(name) ? "ENODATA" : "EOPNOTSUPP");
  }
  const all = Dict.ofBytes(Object.fromEntries(node.xattrs));
  if (node.mdata && call.pid < 0) all.setBytes(KEY.MDATA, encodeMdata(node.mdata));
  return all;
}

/** xattrop: every key combined with its request; all or nothing. */
export function combineXattrs(node: MemNode, op: number, request: Dict): Dict {
  const reply = new Dict();
  const stores: [string, Buffer][] = [];
  for (const name of request.keys()) {
    const { store, reply: value } = combineXattr(op, node.xattrs.get(name), request.bytes(name)!);
    if (store) stores.push([name, store]);
    if (value) reply.setBytes(name, value);
  }
  for (const [name, value] of stores) {
    checkName(node, name);
    node.xattrs.set(name, Buffer.from(value));
  }
  return reply;
}

/**
 * The xattrs that a create-type fop brings in its xdata: what is in a namespace and is neither protected nor
 * a guard.
 */
export function initialXattrs(xdata: Dict | undefined): [string, Buffer][] {
  if (!xdata) return [];
  const guard = xdata.text(KEY.PREOP_PARENT);
  const found: [string, Buffer][] = [];
  for (const name of xdata.keys()) {
    if (!inNamespace(name) || isProtected(name) || name === KEY.MDATA || name === guard) continue;
    const value = xdata.bytes(name);
    if (value) found.push([name, Buffer.from(value)]);
  }
  return found;
}
