/** Xattrs that exist only in replies: where a file lies, and under which paths (spec wire.md 9.7). */

import { hostname } from "node:os";
import { gfidEquals, gfidText, parseGfid, ROOT_GFID } from "../../../src/core/gfid.ts";
import { isDir, S_IFLNK, S_IFMT } from "../../../src/core/iatt.ts";
import { KEY } from "../../../src/core/keys.ts";
import { encodeName } from "../../../src/core/name.ts";
import { readdir } from "../../../src/os/files.ts";
import { aclToText, modeToText } from "./acl-text.ts";
import type { Brick, Subject } from "./brick.ts";
import { isGfid2path, parseGfid2path } from "./gfid2path.ts";
import { ACL_ACCESS, ACL_ACCESS_TEXT, ACL_DEFAULT, ACL_DEFAULT_TEXT } from "./keys.ts";
import { getXattr, listXattrs } from "./target.ts";

const PATHINFO = ["trusted.glusterfs.pathinfo", "glusterfs.pathinfo"];
const REAL_FILENAME = "glusterfs.get_real_filename:";

/** Whether a name stands for pathinfo: any beginning of it does, as with GlusterFS. */
export function isPathinfo(name: string): boolean {
  // A bare namespace or less must not hide a real xattr.
  return name.length > "trusted.".length && PATHINFO.some((full) => full.startsWith(name));
}

/** The value of a virtual xattr; undefined when the name is none. ENODATA when it has no value here. */
export async function virtualXattr(
  brick: Brick,
  subject: Subject,
  name: string,
): Promise<{ text: string } | { bytes: Buffer } | { count: number } | undefined> {
  if (name === KEY.OPEN_FD_COUNT) return { count: subject.state.opens > 0 ? 1 : 0 };
  if (name === "trusted.glusterfs.node-uuid") return { text: nodeUuid(brick) };
  if (isPathinfo(name)) return { text: pathinfo(brick, subject) };
  if (name.startsWith(REAL_FILENAME)) return { text: await realName(brick, subject, name) };
  if (name === KEY.GFID_TO_PATH || name === "glusterfs.gfid2path") {
    if (!brick.options.gfid2path) throw brick.error("ENODATA", "getxattr");
    const text = (await paths(brick, subject)).join(brick.options["gfid2path-separator"]);
    // As GlusterFS has it: without a NUL, but for directories.
    return name === KEY.GFID_TO_PATH && !isDir(subject.stat) ? { bytes: encodeName(text) } : { text };
  }
  if (name === ACL_ACCESS_TEXT || name === ACL_DEFAULT_TEXT) {
    const text = await aclText(subject, name);
    if (text === undefined) throw brick.error("ENODATA", "getxattr");
    return { text };
  }
  if (name === "glusterfs.ancestry.path") {
    const path = await ancestry(brick, subject);
    if (path === undefined) throw brick.error("ENODATA", "getxattr");
    return { text: path };
  }
  return undefined;
}

/** An ACL as text; undefined for what has none: symlinks, and default ACLs of anything but directories. */
export async function aclText(subject: Subject, name: string): Promise<string | undefined> {
  const { stat, target } = subject;
  if ((stat.mode & S_IFMT) === S_IFLNK) return undefined;
  const isDefault = name === ACL_DEFAULT_TEXT;
  if (isDefault && !isDir(stat)) return undefined;
  const bytes = await getXattr(target, isDefault ? ACL_DEFAULT : ACL_ACCESS);
  if (bytes) return aclToText(bytes);
  return isDefault ? "" : modeToText(stat.mode);
}

function nodeUuid(brick: Brick): string {
  const uuid = parseGfid(brick.options["glusterd-uuid"]);
  if (!uuid) throw brick.error("ENODATA", "getxattr");
  return gfidText(uuid);
}

function pathinfo(brick: Brick, subject: Subject): string {
  const { options, base } = brick;
  const uuid = options["node-uuid-pathinfo"] ? parseGfid(options["glusterd-uuid"]) : undefined;
  const host = uuid ? gfidText(uuid) : options.hostname || hostname();
  return `<POSIX(${base}):${host}:${brick.handles.handle(subject.gfid)}>`;
}

/** The name in this directory that equals the asked one but for case. */
async function realName(brick: Brick, subject: Subject, key: string): Promise<string> {
  const wanted = key.slice(REAL_FILENAME.length).toLowerCase();
  if (typeof subject.target === "number") throw brick.error("EOPNOTSUPP", "getxattr");
  const found = (await readdir(subject.target)).find((entry) => entry.name.toLowerCase() === wanted);
  if (!found) throw brick.error("ENODATA", "getxattr");
  return found.name;
}

/** Every path of an object inside the volume. ENODATA when the brick has no record of them. */
async function paths(brick: Brick, subject: Subject): Promise<string[]> {
  if (isDir(subject.stat)) return [await volumePath(brick, subject.gfid, undefined)];
  const keys = (await listXattrs(subject.target)).filter(isGfid2path);
  const values = await Promise.all(keys.map((key) => getXattr(subject.target, key)));
  const out: string[] = [];
  for (const value of values) {
    const record = value && parseGfid2path(value);
    if (record) out.push(await volumePath(brick, record.parent, record.name));
  }
  if (out.length === 0) throw brick.error("ENODATA", "getxattr");
  return out;
}

/** One path of an object; undefined when none is known. */
export async function ancestry(brick: Brick, subject: Subject): Promise<string | undefined> {
  try {
    return (await paths(brick, subject))[0];
  } catch {
    return undefined;
  }
}

async function volumePath(
  brick: Brick,
  directory: Subject["gfid"],
  name: string | undefined,
): Promise<string> {
  const inside = gfidEquals(directory, ROOT_GFID)
    ? ""
    : (await brick.handles.expand(directory)).slice(brick.base.length);
  return name === undefined ? inside || "/" : `${inside}/${name}`;
}
