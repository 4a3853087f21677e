/**
 * POSIX access control lists: the xattr's bytes and the decision (acl(5), section "access check algorithm").
 *
 * Pure. The xattr is `u32 version = 2`, then entries of `u16 tag, u16 perm, u32 id`, little-endian, in the
 * order of tags.
 */

import type { Call } from "../../../src/core/call.ts";

export const ACL_ACCESS = "system.posix_acl_access";
export const ACL_DEFAULT = "system.posix_acl_default";

export const READ = 4;
export const WRITE = 2;
export const EXECUTE = 1;

const TAG = { USER_OBJ: 1, USER: 2, GROUP_OBJ: 4, GROUP: 8, MASK: 0x10, OTHER: 0x20 } as const;
const VERSION = 2;

export interface Ace {
  readonly tag: number;
  readonly perm: number;
  readonly id: number;
}

/** Entries of an ACL xattr; undefined when the bytes are no such thing, or say no more than the mode does. */
export function parseAcl(bytes: Buffer): readonly Ace[] | undefined {
  if (bytes.length < 4 || (bytes.length - 4) % 8 !== 0 || bytes.readUInt32LE(0) !== VERSION) return undefined;
  const entries: Ace[] = [];
  for (let at = 4; at < bytes.length; at += 8)
    entries.push({
      tag: bytes.readUInt16LE(at),
      perm: bytes.readUInt16LE(at + 2),
      id: bytes.readUInt32LE(at + 4),
    });
  return entries.some((ace) => ace.tag === TAG.USER || ace.tag === TAG.GROUP || ace.tag === TAG.MASK)
    ? entries
    : undefined;
}

/**
 * Whether a caller that is not root may do all of `want` (READ | WRITE | EXECUTE). The most specific class
 * decides alone: an owner whom the owner's bits refuse is refused, whatever others may do.
 */
export function permits(
  call: Call,
  object: { uid: number; gid: number; mode: number; acl: readonly Ace[] | undefined },
  want: number,
): boolean {
  if (call.uid === object.uid) return covers((object.mode >> 6) & 7, want);
  return object.acl ? aclPermits(call, object, object.acl, want) : modePermits(call, object, want);
}

function modePermits(call: Call, object: { gid: number; mode: number }, want: number): boolean {
  const bits = inGroup(call, object.gid) ? object.mode >> 3 : object.mode;
  return covers(bits & 7, want);
}

function aclPermits(
  call: Call,
  object: { gid: number; mode: number },
  acl: readonly Ace[],
  want: number,
): boolean {
  const mask = acl.find((ace) => ace.tag === TAG.MASK)?.perm ?? 7;
  const user = acl.find((ace) => ace.tag === TAG.USER && ace.id === call.uid);
  if (user) return covers(user.perm & mask, want);
  const groups = acl.filter(
    (ace) =>
      (ace.tag === TAG.GROUP_OBJ && inGroup(call, object.gid)) ||
      (ace.tag === TAG.GROUP && inGroup(call, ace.id)),
  );
  if (groups.length > 0) return groups.some((ace) => covers(ace.perm & mask, want));
  return covers(object.mode & 7, want);
}

function inGroup(call: Call, gid: number): boolean {
  return call.gid === gid || call.groups.includes(gid);
}

function covers(has: number, want: number): boolean {
  return (has & want) === want;
}
