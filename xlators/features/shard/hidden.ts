/**
 * What users must not see of blocks: the directory `/.shard` with all that is in it, and the xattrs of base
 * files (spec translators.md 5.4; GlusterFS shard.h, SHARD_ENTRY_FOP_CHECK).
 */

import type { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { FopName } from "../../../src/core/fops.ts";
import { gfidEquals, ROOT_GFID } from "../../../src/core/gfid.ts";
import type { Inode, Loc } from "../../../src/core/inode.ts";
import { SHARD_PREFIX } from "./attributes.ts";
import { SHARD_DIR, SHARD_DIR_GFID } from "./directories.ts";

export function isHidden(inode: Inode): boolean {
  return gfidEquals(inode.gfid, SHARD_DIR_GFID);
}

export function hiddenFrom(xlator: string, fop: FopName): FopError {
  const message = `/${SHARD_DIR} holds blocks of files and is not for users`;
  return new FopError("EPERM", { fop, xlator, message });
}

/** EPERM for the hidden directory and what is in it. */
export function checkName(xlator: string, fop: FopName, { parent, name, inode }: Loc): void {
  const isTheDirectory = name === SHARD_DIR && parent !== undefined && gfidEquals(parent.gfid, ROOT_GFID);
  const isInside = parent !== undefined && isHidden(parent);
  if (isTheDirectory || isInside || isHidden(inode)) throw hiddenFrom(xlator, fop);
}

export function isOwnKey(name: string | undefined): boolean {
  return name?.startsWith(SHARD_PREFIX) === true;
}

/** EPERM for xattrs that only this layer may change. */
export function checkKeys(xlator: string, fop: FopName, names: Iterable<string>): void {
  for (const name of names) if (isOwnKey(name)) throw new FopError("EPERM", { fop, xlator });
}

export function withoutOwnKeys<R extends { readonly xattrs: Dict }>(reply: R): R {
  const own = [...reply.xattrs.keys()].filter(isOwnKey);
  return own.length === 0 ? reply : { ...reply, xattrs: reply.xattrs.clone(own) };
}
