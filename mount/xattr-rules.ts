/**
 * Which extended attributes a mount lets through, with GlusterFS' rules (translators.md 10.3), for both
 * edges.
 *
 * Names that GlusterFS keeps its own records under are hidden from listings, so that `cp -a` and `rsync -X`
 * do not carry them to other files; asked for by name they are passed on.
 */

import { FopError } from "../src/core/errors.ts";

/** The options that decide. */
export interface XattrOptions {
  readonly acl: boolean;
  readonly selinux: boolean;
  readonly capability: boolean;
}

const PROTECTED = new Set(["trusted.gfid", "trusted.glusterfs.volume-id"]);
const ACL = new Set(["system.posix_acl_access", "system.posix_acl_default"]);
const NAMESPACES = ["user.", "trusted.", "security.", "system."];
const HIDDEN = ["trusted.glusterfs.", "trusted.gfid", "trusted.afr.", "trusted.pgfid."];

/** @throws FopError EPERM or EOPNOTSUPP for a name that may not be set or removed */
export function mayChangeXattr(options: XattrOptions, name: string): void {
  if (PROTECTED.has(name)) throw new FopError("EPERM", { fop: "setxattr" });
  if (ACL.has(name) && !options.acl) throw new FopError("EOPNOTSUPP", { fop: "setxattr" });
}

/**
 * Labels and file capabilities are asked for by the kernel itself, again and again; without their options the
 * answer is "none" and costs no trip to a brick.
 * @throws FopError EOPNOTSUPP or ENODATA for a name that is not asked for
 */
export function mayReadXattr({ acl, selinux, capability }: XattrOptions, name: string): void {
  if (ACL.has(name) && !acl) throw new FopError("EOPNOTSUPP", { fop: "getxattr" });
  if (name === "security.selinux" && !selinux) throw new FopError("ENODATA", { fop: "getxattr" });
  if (name === "security.capability" && !capability && !selinux)
    throw new FopError("ENODATA", { fop: "getxattr" });
}

/** Whether a listing shows the name to a user. */
export function isListedXattr(options: XattrOptions, name: string, uid: number): boolean {
  if (!NAMESPACES.some((space) => name.startsWith(space))) return false;
  if (HIDDEN.some((start) => name.startsWith(start))) return false;
  if (ACL.has(name) && !options.acl) return false;
  return uid === 0 || !name.startsWith("trusted.");
}
