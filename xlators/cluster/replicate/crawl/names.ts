/**
 * From gfids to paths as users know them, and back.
 *
 * Bricks keep under which names a file is found (gfid2path) and answer `glusterfs.gfidtopath` from it:
 * one call, on bricks of either make, without the caches that GlusterFS' own heal info depends on.
 */

import type { Call } from "../../../../src/core/call.ts";
import { fanout, type Outcome } from "../../../../src/core/concurrency.ts";
import { FopError } from "../../../../src/core/errors.ts";
import type { Reply } from "../../../../src/core/fops.ts";
import { type Gfid, gfidEquals, gfidText, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { S_IFDIR, S_IFMT } from "../../../../src/core/iatt.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { KEY } from "../../../../src/core/keys.ts";
import type { XlatorBase } from "../../../../src/core/xlator.ts";
import { childrenOf } from "../child-set.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { isGone } from "./index-directory.ts";

/**
 * One path of an object on this brick; undefined when the brick has it and knows no path. Rejects with ENOENT
 * or ESTALE when it has no such object, ENOTCONN when it does not answer.
 */
export async function pathOn(child: XlatorBase, call: Call, gfid: Gfid): Promise<string | undefined> {
  const loc = { inode: new Inode(gfid) };
  try {
    const { xattrs } = await child.getxattr(call, { loc, name: KEY.GFID_TO_PATH });
    const text = xattrs.text(KEY.GFID_TO_PATH);
    return text?.startsWith("/") ? await firstPath(child, call, text, gfid) : undefined;
  } catch (error) {
    if (isGone(error) || (error instanceof FopError && error.code === "ENOTCONN")) throw error;
    // No record of the path: whether the object is there is still to be said.
    await child.lookup(call, { loc });
    return undefined;
  }
}

/**
 * Hard links give several paths in one text, with a colon between them that may as well belong to a name: the
 * shortest beginning that leads to the object is one of them.
 */
async function firstPath(child: XlatorBase, call: Call, text: string, gfid: Gfid): Promise<string> {
  for (let end = text.indexOf(":/"); end >= 0; end = text.indexOf(":/", end + 1)) {
    const path = text.slice(0, end);
    if (await leadsTo(child, call, path, gfid)) return path;
  }
  return text;
}

async function leadsTo(child: XlatorBase, call: Call, path: string, gfid: Gfid): Promise<boolean> {
  let at = new Inode(ROOT_GFID, S_IFDIR);
  try {
    for (const name of path.split("/").filter((part) => part !== "")) {
      const loc = { inode: new Inode(), parent: at, name };
      const { stat } = await child.lookup(call, { loc });
      at = new Inode(stat.gfid, stat.mode & S_IFMT);
    }
  } catch {
    return false;
  }
  return gfidEquals(at.gfid, gfid);
}

/** A path, or `<gfid:...>` as GlusterFS shows what has none. */
export function shownName(path: string | undefined, gfid: Gfid): string {
  return path ?? `<gfid:${gfidText(gfid)}>`;
}

/** Where a path leads on the copies of a set. */
export interface Found {
  readonly inode: Inode;
  /** Directory and name it was found by; absent for the root. */
  readonly entry?: { readonly parent: Inode; readonly name: string };
  /** The copies do not agree which object the name is. */
  readonly conflict: boolean;
}

/**
 * Follows an absolute path, name by name on all copies that are up; no symbolic link is followed. Undefined
 * when no copy has it. Rejects with ENOTCONN when none answers. The last name may be in conflict; one before
 * it rejects with EIO.
 */
export async function findPath(set: ReplicaSet, call: Call, path: string): Promise<Found | undefined> {
  const names = path.split("/").filter((part) => part !== "");
  let found: Found = { inode: new Inode(ROOT_GFID, S_IFDIR), conflict: false };
  for (const name of names) {
    if (found.conflict) throw new FopError("EIO", { message: "a directory of it is in split brain" });
    const next = await findEntry(set, call, found.inode, name);
    if (!next) return undefined;
    found = next;
  }
  return found;
}

async function findEntry(
  set: ReplicaSet,
  call: Call,
  parent: Inode,
  name: string,
): Promise<Found | undefined> {
  const outcomes: Outcome<Reply<"lookup">>[] = await fanout(childrenOf(set.up), (child) =>
    set.children[child]!.lookup(call, { loc: { inode: new Inode(), parent, name } }),
  );
  const stats = outcomes.flatMap((outcome) => (outcome.ok ? [outcome.reply.stat] : []));
  const [first, ...others] = stats;
  if (!first) {
    const trouble = outcomes.find((outcome) => !outcome.ok && !isAnswer(outcome.error));
    if (outcomes.length === 0) throw new FopError("ENOTCONN", { fop: "lookup", xlator: set.name });
    if (trouble && !trouble.ok) throw trouble.error;
    return undefined;
  }
  const conflict = others.some(
    (stat) => !gfidEquals(stat.gfid, first.gfid) || (stat.mode & S_IFMT) !== (first.mode & S_IFMT),
  );
  return { inode: new Inode(first.gfid, first.mode & S_IFMT), entry: { parent, name }, conflict };
}

/** Says that the name is not there, as opposed to saying nothing of it. */
function isAnswer(error: FopError): boolean {
  return isGone(error) || error.code === "ENOTDIR";
}
