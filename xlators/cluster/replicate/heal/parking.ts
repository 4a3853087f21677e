/**
 * Where entries wait that a heal removes from a directory (spec translators.md 4.9, use-anonymous-inode): a
 * move is a removal in one directory and a creation in another, healed apart; what is parked in between can
 * be put in its new place with all that is in it. The heal daemon empties it (crawl/anonymous.ts).
 */

import type { Call } from "../../../../src/core/call.ts";
import { fanout } from "../../../../src/core/concurrency.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { type Gfid, gfidEquals, gfidOf, gfidText, parseGfid, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../../src/core/iatt.ts";
import { Inode, type Loc } from "../../../../src/core/inode.ts";
import { KEY } from "../../../../src/core/keys.ts";
import { childrenOf } from "../child-set.ts";
import { anonymousDirectory } from "../private-names.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { isAbsent } from "./look.ts";

const MODE = 0o755;

/** Whether removed entries are to be parked here; needs the volume's id. */
export function parks(set: ReplicaSet): boolean {
  return set.options["use-anonymous-inode"] && parseGfid(set.options["volume-id"]) !== undefined;
}

/** Whether a directory is the hidden one. */
export function isParking(set: ReplicaSet, directory: Gfid): boolean {
  return parseGfid(set.options["volume-id"]) !== undefined && gfidEquals(directory, parkingGfid(set));
}

/** Gfid of the hidden directory: the volume's id with one bit changed, so that they are never equal. */
function parkingGfid(set: ReplicaSet): Gfid {
  const gfid = Buffer.from(parseGfid(set.options["volume-id"])!);
  gfid[0]! ^= 1;
  return gfidOf(gfid);
}

/** The place of an object in the hidden directory of a child, which is made where it is missing. */
async function parkingPlace(set: ReplicaSet, call: Call, child: number, gfid: Gfid): Promise<Loc> {
  const parking = parkingGfid(set);
  const name = anonymousDirectory(set.options["volume-id"]);
  const parent = new Inode(ROOT_GFID, S_IFDIR);
  const xdata = new Dict().setGfid(KEY.GFID_REQ, parking);
  const brick = set.children[child]!;
  try {
    await brick.mkdir(call, { loc: { inode: new Inode(), parent, name }, mode: MODE, umask: 0, xdata });
  } catch (error) {
    if (!(error instanceof FopError && error.code === "EEXIST")) throw error;
    const { stat } = await brick.lookup(call, { loc: { inode: new Inode(), parent, name } });
    if (!gfidEquals(stat.gfid, parking))
      throw new FopError("EIO", {
        fop: "mkdir",
        xlator: brick.name,
        message: `"/${name}" has gfid ${gfidText(stat.gfid)} instead of ${gfidText(parking)}`,
      });
  }
  return { inode: new Inode(gfid), parent: new Inode(parking, S_IFDIR), name: gfidText(gfid) };
}

/**
 * Whether an object should be parked when it loses a name: directories always, as they may be needed whole;
 * others when enough copies have them still.
 */
export async function isWanted(
  set: ReplicaSet,
  call: Call,
  gfid: Gfid,
  directory: boolean,
): Promise<boolean> {
  if (directory) return true;
  const children = childrenOf(set.up);
  const loc = { inode: new Inode(gfid) };
  const outcomes = await fanout(children, (child) => set.children[child]!.lookup(call, { loc }));
  const having = children.filter((_, at) => outcomes[at]!.ok);
  const enough =
    set.quorum.type === "none"
      ? having.length > 1
      : set.hasQuorum(having.reduce((all, child) => all | (1 << child), 0));
  if (enough) return true;
  for (const outcome of outcomes) if (!outcome.ok && !isAbsent(outcome.error)) throw outcome.error;
  return false;
}

/** Moves a name of a child into the hidden directory. False when the object is there already. */
export async function park(
  set: ReplicaSet,
  call: Call,
  child: number,
  from: Loc,
  gfid: Gfid,
): Promise<boolean> {
  const to = await parkingPlace(set, call, child, gfid);
  const brick = set.children[child]!;
  // A rename onto another name of the same file would leave both.
  if (await isThere(set, call, child, { ...to, inode: new Inode() })) return false;
  await brick.rename(call, { from: { ...from, inode: new Inode(gfid) }, to: { ...to, inode: new Inode() } });
  return true;
}

/** Moves an object out of the hidden directory of a child to its place. False when it is not there. */
export async function unpark(
  set: ReplicaSet,
  call: Call,
  child: number,
  gfid: Gfid,
  to: Loc,
): Promise<boolean> {
  const from = await parkingPlace(set, call, child, gfid);
  try {
    await set.children[child]!.rename(call, { from, to: { ...to, inode: new Inode() } });
    return true;
  } catch (error) {
    if (error instanceof FopError && isAbsent(error)) return false;
    throw error;
  }
}

async function isThere(set: ReplicaSet, call: Call, child: number, loc: Loc): Promise<boolean> {
  try {
    await set.children[child]!.lookup(call, { loc });
    return true;
  } catch (error) {
    if (error instanceof FopError && isAbsent(error)) return false;
    throw error;
  }
}
