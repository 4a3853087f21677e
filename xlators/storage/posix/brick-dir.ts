/**
 * The brick's directory: refuses what is no brick of this volume with one clear line, and completes what a
 * brick needs (spec translators.md 2.1): `.glusterfs` with its 256 hash directories, the root's handle,
 * `unlink` (emptied) and `landfill`.
 *
 * Without root the brick is one for Mortar alone (see unprivileged.ts).
 */

import { realpath } from "node:fs/promises";
import { type ErrnoName, toFopError, UserError } from "../../../src/core/errors.ts";
import { type Gfid, gfidText, newGfid, parseGfid, ROOT_GFID } from "../../../src/core/gfid.ts";
import { isDir } from "../../../src/core/iatt.ts";
import { BRICK_TOKEN, KEY } from "../../../src/core/keys.ts";
import { O_DIRECTORY } from "../../../src/core/open-flags.ts";
import {
  close,
  lchown,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rmdir,
  symlink,
  unlink,
} from "../../../src/os/files.ts";
import { HIDDEN, ifAbsent, isCode } from "./handle.ts";
import { lockDirectory, lockHolder } from "./lock.ts";
import { readPlace } from "./place.ts";
import { getXattr, setXattr, XATTR_CREATE } from "./target.ts";
import { openCompanions, UNPRIVILEGED } from "./unprivileged.ts";

const HIDDEN_MODE = 0o700;
const UNLINK_MODE = UNPRIVILEGED ? 0o700 : 0o600;
const LANDFILL_MODE = 0o755;
/** Mode that glusterd gives `.glusterfs` when it makes a volume. */
const GLUSTERD_HIDDEN_MODE = UNPRIVILEGED ? HIDDEN_MODE : 0o600;

export interface BrickDirectory {
  /** Absolute, without symlinks. */
  readonly base: string;
  /** Kept open while the brick runs: holds the lock and keeps the file system mounted. */
  readonly lockFd: number;
  /** Which copy of a replicated volume it is; empty when nobody has said so. */
  readonly place: string;
}

/** What people are told for an errno that a brick's directory may give. */
const WHY: Partial<Record<ErrnoName, string>> = {
  ENOENT: "does not exist; create it first (is its file system mounted?)",
  ENOTDIR: "is not a directory",
  EROFS: "is on a read-only file system; a brick must be writable",
  ENOSPC: "has no space left for the brick's own files; free some",
  EDQUOT: "is over its quota",
  EOPNOTSUPP: "is on a file system without extended attributes; a brick needs ext4, XFS or the like",
  EPERM: "does not let this process set trusted.* attributes; run the brick as root",
  EACCES: "is not accessible for this process; run the brick as root",
};

async function served(directory: string, base: string): Promise<UserError> {
  const pid = await lockHolder(base);
  if (pid === process.pid)
    return new UserError(`brick "${directory}": is served by this process already: name it once`);
  const who = pid === undefined ? "another process" : `process ${pid}`;
  return new UserError(`brick "${directory}": is served by ${who}: use its mount, or stop it first`);
}

/**
 * Checks and completes a brick's directory. Throws UserError. `volumeId` empty: whatever volume it belongs
 * to.
 */
export async function openBrickDirectory(
  directory: string,
  volumeId: string,
  owner: { uid: number; gid: number },
): Promise<BrickDirectory> {
  if (directory === "") throw new UserError("storage/posix: option directory is missing");
  const base = await explained(directory, () => existing(directory));
  await explained(directory, () => checkXattrs(base));
  await explained(directory, () => checkVolume(directory, base, volumeId));
  const lockFd = await explained(directory, () => open(base, O_DIRECTORY));
  try {
    if (!lockDirectory(lockFd)) throw await served(directory, base);
    await explained(directory, () => claimRoot(directory, base));
    await explained(directory, () => completeTree(directory, base));
    if (UNPRIVILEGED) await explained(directory, () => openCompanions(base));
    if (owner.uid !== -1 || owner.gid !== -1)
      await explained(directory, () => lchown(base, owner.uid, owner.gid));
    const place = (await explained(directory, () => readPlace(base))) ?? "";
    return { base, lockFd, place };
  } catch (error) {
    await close(lockFd);
    throw error;
  }
}

/**
 * Makes a directory a brick of a new volume, as glusterd does when it creates one. A directory that belongs
 * to the same volume already is left as it is. Throws UserError.
 */
export async function createBrickDirectory(directory: string, volumeId: Gfid): Promise<void> {
  const base = await explained(directory, () => existing(directory));
  await explained(directory, async () => {
    await checkXattrs(base);
    const present = await getXattr(base, KEY.VOLUME_ID);
    if (present === undefined) await setXattr(base, KEY.VOLUME_ID, volumeId, XATTR_CREATE);
    await checkVolume(directory, base, gfidText(volumeId));
    await ifAbsent(mkdir(`${base}/${HIDDEN}`, GLUSTERD_HIDDEN_MODE));
  });
}

async function explained<R>(directory: string, work: () => Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UserError) throw error;
    const { code } = toFopError(error);
    throw new UserError(`brick "${directory}": ${WHY[code] ?? `cannot be used: ${code}`}`, { cause: error });
  }
}

async function existing(directory: string): Promise<string> {
  const base = await realpath(directory);
  if (!isDir(await lstat(base))) throw new UserError(`brick "${directory}": is not a directory`);
  return base;
}

async function checkXattrs(base: string): Promise<void> {
  await getXattr(base, "user.x");
}

async function checkVolume(directory: string, base: string, volumeId: string): Promise<void> {
  if (volumeId === "") return;
  const wanted = parseGfid(volumeId);
  if (!wanted) throw new UserError(`brick "${directory}": option volume-id: "${volumeId}" is no uuid`);
  const present = await getXattr(base, KEY.VOLUME_ID);
  if (present === undefined) {
    throw new UserError(
      `brick "${directory}": belongs to no volume (no ${KEY.VOLUME_ID}); is its file system mounted?`,
    );
  }
  if (present.equals(wanted)) return;
  const other = present.length === 16 ? gfidText(present as Gfid) : present.toString("hex");
  throw new UserError(`brick "${directory}": belongs to volume "${other}", not to "${gfidText(wanted)}"`);
}

async function claimRoot(directory: string, base: string): Promise<void> {
  const present = await getXattr(base, KEY.GFID);
  if (present === undefined) await setXattr(base, KEY.GFID, ROOT_GFID, XATTR_CREATE);
  else if (!present.equals(ROOT_GFID))
    throw new UserError(
      `brick "${directory}": is a directory inside another brick (${KEY.GFID} is not the root's)`,
    );
}

async function completeTree(directory: string, base: string): Promise<void> {
  const hidden = `${base}/${HIDDEN}`;
  await ifAbsent(mkdir(hidden, HIDDEN_MODE));
  if (!isDir(await lstat(hidden)))
    throw new UserError(`brick "${directory}": "${HIDDEN}" is not a directory`);
  const present = new Set((await readdir(hidden)).map((entry) => entry.name));
  for (let first = 0; first < 256; first++) {
    const name = first.toString(16).padStart(2, "0");
    if (!present.has(name)) await ifAbsent(mkdir(`${hidden}/${name}`, HIDDEN_MODE));
  }
  await checkRootHandle(directory, base);
  await ifAbsent(mkdir(`${hidden}/landfill`, LANDFILL_MODE));
  await moveOldLandfill(base);
  await ifAbsent(mkdir(`${hidden}/unlink`, UNLINK_MODE));
  await emptyUnlink(`${hidden}/unlink`);
}

/** All but tokens that are seen for the first time. */
async function emptyUnlink(path: string): Promise<void> {
  const { PREFIX, SEEN } = BRICK_TOKEN;
  const isSeen = (name: string): boolean => name.startsWith(PREFIX) && name.endsWith(SEEN);
  await emptyDirectory(path, (name) => name.startsWith(PREFIX) && !isSeen(name));
  for (const { name } of await readdir(path)) await rename(`${path}/${name}`, `${path}/${name}${SEEN}`);
}

/** The root's handle: a symlink three levels up. */
async function checkRootHandle(directory: string, base: string): Promise<void> {
  const parent = `${base}/${HIDDEN}/00/00`;
  await ifAbsent(mkdir(parent, HIDDEN_MODE));
  const handle = `${parent}/${gfidText(ROOT_GFID)}`;
  await ifAbsent(symlink("../../..", handle));
  const [root, reached] = await Promise.all([lstat(base), lstat(`${handle}/.`)]);
  if (root.ino !== reached.ino || root.dev !== reached.dev)
    throw new UserError(`brick "${directory}": "${handle}" does not lead to the brick; remove it`);
}

/** Old releases kept the landfill beside the files. */
async function moveOldLandfill(base: string): Promise<void> {
  try {
    await rename(`${base}/.landfill`, `${base}/${HIDDEN}/landfill/${gfidText(newGfid())}`);
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
  }
}

/** Removes all that is in a directory, but what `spare` names. */
export async function emptyDirectory(path: string, spare?: (name: string) => boolean): Promise<void> {
  for (const entry of await readdir(path)) {
    if (spare?.(entry.name)) continue;
    const inside = `${path}/${entry.name}`;
    if (!isDir(await lstat(inside))) await unlink(inside);
    else {
      await emptyDirectory(inside);
      await rmdir(inside);
    }
  }
}
