/**
 * Under which names each copy has an object, from what bricks keep for `glusterfs.gfidtopath`: of files one
 * record for each name, of a directory where it is. Every answer is verified on its copy, as a record may be
 * behind or a name look like two.
 */

import type { Call } from "../../../../src/core/call.ts";
import { fanout } from "../../../../src/core/concurrency.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { type Gfid, gfidEquals, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { type Iatt, isDir, S_IFDIR } from "../../../../src/core/iatt.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { KEY } from "../../../../src/core/keys.ts";
import { type ChildSet, hasChild } from "../child-set.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { isAbsent } from "./look.ts";
import type { Place, Places } from "./moves.ts";

/** What a brick puts between two paths, unless it was told otherwise. */
const SEPARATOR = ":";

/**
 * Undefined when no copy but `holders` has the object, when copies have different numbers of names, or when a
 * brick does not know all of them. Rejects when a copy does not say whether it has the object.
 */
export async function placesOf(
  set: ReplicaSet,
  call: Call,
  gfid: Gfid,
  holders: ChildSet,
): Promise<Places | undefined> {
  const loc = { inode: new Inode(gfid) };
  const outcomes = await fanout(set.children, (child) => child.lookup(call, { loc }));
  const stats = outcomes.map((outcome) => {
    if (outcome.ok) return outcome.reply.stat;
    if (isAbsent(outcome.error)) return undefined;
    throw outcome.error;
  });
  if (stats.every((stat, child) => stat === undefined || hasChild(holders, child))) return undefined;
  if (new Set(stats.flatMap((stat) => (stat ? [linksOf(stat)] : []))).size > 1) return undefined;
  const found = await Promise.all(
    stats.map((stat, child) => (stat ? placesOn(set, call, child, stat) : Promise.resolve([]))),
  );
  return found.every((places) => places !== undefined) ? found : undefined;
}

function linksOf(stat: Iatt): number {
  return isDir(stat) ? 1 : stat.nlink;
}

/** Under which names one copy has the object with this `stat`; undefined when it cannot tell all of them. */
export async function placesOn(
  set: ReplicaSet,
  call: Call,
  child: number,
  stat: Iatt,
): Promise<readonly Place[] | undefined> {
  const { gfid } = stat;
  const paths = await pathsOn(set, call, child, stat);
  if (paths?.length !== linksOf(stat)) return undefined;
  const places: Place[] = [];
  for (const path of paths) {
    const place = await placeOf(set, call, child, path, gfid);
    if (place === undefined) return undefined;
    places.push(place);
  }
  return places;
}

async function pathsOn(
  set: ReplicaSet,
  call: Call,
  child: number,
  stat: Iatt,
): Promise<readonly string[] | undefined> {
  try {
    const args = { loc: { inode: new Inode(stat.gfid) }, name: KEY.GFID_TO_PATH };
    const { xattrs } = await set.children[child]!.getxattr(call, args);
    const text = xattrs.text(KEY.GFID_TO_PATH);
    if (!text?.startsWith("/")) return undefined;
    if (linksOf(stat) === 1) return [text];
    return text.split(`${SEPARATOR}/`).map((path, at) => (at === 0 ? path : `/${path}`));
  } catch (error) {
    if (error instanceof FopError && error.code !== "ENOTCONN") return undefined;
    throw error;
  }
}

/** Undefined when the path does not lead to the object. */
async function placeOf(
  set: ReplicaSet,
  call: Call,
  child: number,
  path: string,
  gfid: Gfid,
): Promise<Place | undefined> {
  const names = path.split("/").filter((part) => part !== "");
  const name = names.pop();
  if (name === undefined) return undefined;
  let parent = ROOT_GFID;
  for (const part of names) {
    const found = await gfidAt(set, call, child, { parent, name: part });
    if (!found) return undefined;
    parent = found;
  }
  const found = await gfidAt(set, call, child, { parent, name });
  return found && gfidEquals(found, gfid) ? { parent, name } : undefined;
}

/** What a copy has at a place; undefined when it has nothing there. */
export async function gfidAt(
  set: ReplicaSet,
  call: Call,
  child: number,
  { parent, name }: Place,
): Promise<Gfid | undefined> {
  try {
    const loc = { inode: new Inode(), parent: new Inode(parent, S_IFDIR), name };
    const { stat } = await set.children[child]!.lookup(call, { loc });
    return stat.gfid;
  } catch (error) {
    if (error instanceof FopError && isAbsent(error)) return undefined;
    throw error;
  }
}
