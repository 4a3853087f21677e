/**
 * Bricks of a process that is not root: `trusted.*` xattrs are for root only, so they are kept as
 * `user.trusted.*`.
 *
 * Symlinks, fifos and sockets cannot have `user.*` xattrs at all: theirs are those of a companion, an empty
 * file `.glusterfs/companions/<inode>-<birth time>`. A companion whose object is gone is removed at the next
 * start of the brick; birth times keep it from being taken for another's until then.
 *
 * Limit: only Mortar reads such a brick, glusterfsd does not.
 */

import { FopError } from "../../../src/core/errors.ts";
import { gfidOf, gfidText } from "../../../src/core/gfid.ts";
import { S_IFDIR, S_IFMT, S_IFREG } from "../../../src/core/iatt.ts";
import { KEY } from "../../../src/core/keys.ts";
import { O_CREAT, O_WRONLY } from "../../../src/core/open-flags.ts";
import { close, lgetxattr, lstat, mkdir, open, readdir, unlink } from "../../../src/os/files.ts";

const PREFIX = "user.";
const TRUSTED = "trusted.";
const COMPANIONS = ".glusterfs/companions";

/** Whether this process must keep `trusted.*` elsewhere. */
export const UNPRIVILEGED = process.geteuid?.() !== 0;

/** Directories of this process' bricks. */
const roots = new Set<string>();

/** The name that is on disk for a name of GlusterFS. */
export function diskName(name: string): string {
  return UNPRIVILEGED && name.startsWith(TRUSTED) ? PREFIX + name : name;
}

/** The names of GlusterFS for names that are on disk. */
export function plainNames(names: string[]): string[] {
  if (!UNPRIVILEGED) return names;
  return names.map((name) => (name.startsWith(PREFIX + TRUSTED) ? name.slice(PREFIX.length) : name));
}

/** What carries the xattrs of a path: itself, or its companion; undefined when that is not there yet. */
export async function xattrHolder(path: string, make = false): Promise<string | undefined> {
  const stat = await lstat(path);
  const type = stat.mode & S_IFMT;
  if (type === S_IFREG || type === S_IFDIR) return path;
  const root = [...roots].find((candidate) => path.startsWith(`${candidate}/`));
  if (root === undefined) throw new FopError("EPERM", { fop: "xattr", message: "outside of any brick" });
  const companion = `${root}/${COMPANIONS}/${stat.ino}-${stat.btime}.${stat.btimeNsec}`;
  if (make) await close(await open(companion, O_CREAT | O_WRONLY, 0o600));
  return make || (await exists(companion)) ? companion : undefined;
}

/** Makes the place for companions in a brick that is complete, and clears those whose object is gone. */
export async function openCompanions(base: string): Promise<void> {
  roots.add(base);
  const directory = `${base}/${COMPANIONS}`;
  if (!(await exists(directory))) await mkdir(directory, 0o700);
  for (const { name } of await readdir(directory)) {
    const gfid = await lgetxattr(`${directory}/${name}`, diskName(KEY.GFID));
    const text = gfid?.length === 16 ? gfidText(gfidOf(gfid)) : undefined;
    const handle = text && `${base}/.glusterfs/${text.slice(0, 2)}/${text.slice(2, 4)}/${text}`;
    if (handle === undefined || !(await exists(handle))) await unlink(`${directory}/${name}`);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (error instanceof FopError && error.code === "ENOENT") return false;
    throw error;
  }
}
