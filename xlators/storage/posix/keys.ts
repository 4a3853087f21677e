/** xdata and xattr names that the brick gives a meaning to (spec wire.md 9, translators.md 2.3). */

import { fnmatch } from "../../../src/core/fnmatch.ts";
import { KEY, XATTR_NAMESPACES } from "../../../src/core/keys.ts";
import { isGfid2path } from "./gfid2path.ts";

export const LINKTO = "trusted.glusterfs.dht.linkto";
export const ACL_ACCESS = "system.posix_acl_access";
export const ACL_DEFAULT = "system.posix_acl_default";
/** Virtual: the same as text. */
export const ACL_ACCESS_TEXT = "glusterfs.posix.acl";
export const ACL_DEFAULT_TEXT = "glusterfs.posix.default_acl";
export const PROTECT_WRITES = "trusted.glusterfs.protect.writes";
export const LINK_COUNT_REQUEST = "gf_request_link_count";
export const LINK_COUNT_RESPONSE = "gf_response_link_count";
export const GET_LINK_COUNT = "get-link-count";
export const IATT_IN_XATTR = "dht-get-iatt-in-xattr";
export const PRE_STAT = "virt-gf-prestat";
export const POST_STAT = "virt-gf-poststat";

/** Whether a key is the name of an xattr at all. */
export function isXattrName(key: string): boolean {
  return XATTR_NAMESPACES.some((namespace) => key.startsWith(namespace));
}

/** The brick's own xattrs that nobody may set, remove or see in a list. */
export function isIdentity(key: string): boolean {
  return key === KEY.GFID || key === KEY.VOLUME_ID;
}

const GEO_REPLICATION = [
  "*.glusterfs.*.stime",
  "*.glusterfs.*.xtime",
  "*.glusterfs.lockinfo",
  "*.glusterfs.*.entry_stime",
  "*.glusterfs.volume-mark.*",
];
const MARKER = ["trusted.glusterfs.quota.*", "trusted.glusterfs.*.xtime"];

/** Geo-replication's book-keeping; only gsyncd (pid -1) sees it. */
export function isGeoReplication(key: string): boolean {
  return GEO_REPLICATION.some((pattern) => fnmatch(pattern, key));
}

/** What `list-xattr` leaves out: what belongs to this one brick and must not be carried to another. */
export function isUnlisted(key: string): boolean {
  return (
    isIdentity(key) ||
    key === "security.selinux" ||
    isGfid2path(key) ||
    MARKER.some((pattern) => fnmatch(pattern, key)) ||
    isGeoReplication(key)
  );
}
