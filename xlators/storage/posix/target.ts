/**
 * Metadata calls on an open file or on a path, by one set of functions. A path that names a symlink is never
 * followed.
 */

import { FopError } from "../../../src/core/errors.ts";
import { S_IFLNK, S_IFMT } from "../../../src/core/iatt.ts";
import {
  chmod,
  fchmod,
  fchown,
  fgetxattr,
  flistxattr,
  fremovexattr,
  fsetxattr,
  fstat,
  futimens,
  lchown,
  lgetxattr,
  llistxattr,
  lremovexattr,
  lsetxattr,
  lstat,
  type NewTimes,
  type OsStat,
  utimens,
} from "../../../src/os/files.ts";
import { diskName, plainNames, UNPRIVILEGED, xattrHolder } from "./unprivileged.ts";

/** An OS fd, or a path. */
export type Target = number | string;

/** XATTR_CREATE: fail with EEXIST when it exists. */
export const XATTR_CREATE = 1;

export async function statTarget(target: Target): Promise<OsStat> {
  return typeof target === "number" ? fstat(target) : lstat(target);
}

/** The value of an xattr; undefined when there is none. */
export function getXattr(target: Target, name: string): Promise<Buffer | undefined> {
  if (typeof target === "number") return fgetxattr(target, diskName(name));
  return UNPRIVILEGED ? getUnprivileged(target, name) : lgetxattr(target, name);
}

export function listXattrs(target: Target): Promise<string[]> {
  if (UNPRIVILEGED) return listUnprivileged(target);
  return typeof target === "number" ? flistxattr(target) : llistxattr(target);
}

export function setXattr(target: Target, name: string, value: Buffer, flags = 0): Promise<void> {
  if (typeof target === "number") return fsetxattr(target, diskName(name), value, flags);
  return UNPRIVILEGED ? setUnprivileged(target, name, value, flags) : lsetxattr(target, name, value, flags);
}

/** ENODATA when there is none. */
export function removeXattr(target: Target, name: string): Promise<void> {
  if (typeof target === "number") return fremovexattr(target, diskName(name));
  return UNPRIVILEGED ? removeUnprivileged(target, name) : lremovexattr(target, name);
}

async function getUnprivileged(path: string, name: string): Promise<Buffer | undefined> {
  const holder = await xattrHolder(path);
  return holder === undefined ? undefined : lgetxattr(holder, diskName(name));
}

async function listUnprivileged(target: Target): Promise<string[]> {
  if (typeof target === "number") return plainNames(await flistxattr(target));
  const holder = await xattrHolder(target);
  return holder === undefined ? [] : plainNames(await llistxattr(holder));
}

async function setUnprivileged(path: string, name: string, value: Buffer, flags: number): Promise<void> {
  const holder = await xattrHolder(path, true);
  await lsetxattr(holder!, diskName(name), value, flags);
}

async function removeUnprivileged(path: string, name: string): Promise<void> {
  const holder = await xattrHolder(path);
  if (holder === undefined) throw new FopError("ENODATA");
  await lremovexattr(holder, diskName(name));
}

/** -1 leaves a field. */
export function chownTarget(target: Target, uid: number, gid: number): Promise<void> {
  return typeof target === "number" ? fchown(target, uid, gid) : lchown(target, uid, gid);
}

/** `stat` is the target's: Linux has no modes of symlinks, and chmod would follow one. */
export async function chmodTarget(target: Target, stat: OsStat, mode: number): Promise<void> {
  if ((stat.mode & S_IFMT) === S_IFLNK) return;
  await (typeof target === "number" ? fchmod(target, mode) : chmod(target, mode));
}

export function utimensTarget(target: Target, times: NewTimes): Promise<void> {
  return typeof target === "number" ? futimens(target, times) : utimens(target, times);
}
