/**
 * Flags of a cache-invalidation (GlusterFS libglusterfs/src/glusterfs/upcall-utils.h): what another client
 * changed. 0 comes from within a graph and means anything at all.
 */

import type { Upcall } from "./fops.ts";

/** `op` of the ipc fop that tells bricks of which xattrs a client wants to hear (GF_IPC_TARGET_UPCALL). */
export const IPC_UPCALL = 2;

export const UPCALL = {
  NLINK: 0x1,
  MODE: 0x2,
  OWNER: 0x4,
  SIZE: 0x8,
  TIMES: 0x10,
  ATIME: 0x20,
  PERMISSIONS: 0x40,
  RENAME: 0x80,
  FORGET: 0x100,
  PARENT_TIMES: 0x200,
  XATTR: 0x400,
  XATTR_REMOVED: 0x800,
  EXPLICIT_LOOKUP: 0x1000,
  ATTRIBUTES: 0x2000,
} as const;

/** Whether a cache must let go of what it knows. A brick that only counts who is reading says nothing new. */
export function invalidates(upcall: Upcall): upcall is Upcall & { readonly kind: "cache-invalidation" } {
  return upcall.kind === "cache-invalidation" && upcall.flags !== UPCALL.ATIME;
}
