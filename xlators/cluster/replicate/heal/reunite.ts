/**
 * Renames an object on copies that have it under other names than the rest (moves.ts says which names win),
 * where a rule of quorum is in force. Nothing is removed and made anew: what a copy alone knows of the
 * object, and all that is in a directory, stays.
 *
 * The caller holds the lock on one of the names. The others are locked without waiting, as a client that
 * holds one may wait for the caller's; what the copies have is read again under the locks.
 */

import type { Call } from "../../../../src/core/call.ts";
import { type Gfid, gfidText } from "../../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../../src/core/iatt.ts";
import { Inode, type Loc } from "../../../../src/core/inode.ts";
import { type ChildSet, childrenWhere, NO_CHILDREN } from "../child-set.ts";
import { marksOf, nameSides } from "../decide.ts";
import { acknowledgersMin } from "../quorum.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { type HeldLock, lockAll, namesOf } from "./locks.ts";
import { look } from "./look.ts";
import { allPlaces, type Move, movesToAgree, type Place, type Places, placeKey } from "./moves.ts";
import { gfidAt, placesOf } from "./object-places.ts";
import { isParking } from "./parking.ts";

/**
 * - `agreed`: all copies that have the object have it under the same names, perhaps only now.
 * - `differ`: nothing was done; the names are no matter of a rename, or nothing decides.
 * - `busy`: nothing was done; somebody works on one of the names, or the heal of one has to free it first.
 */
export type Reunion = "agreed" | "differ" | "busy";

export interface Reuniting {
  readonly set: ReplicaSet;
  readonly call: Call;
  readonly gfid: Gfid;
  /** The name that is locked. */
  readonly mine: Place;
  /** Copies that have the object there; without any other nothing is asked any further. */
  readonly holders: ChildSet;
  /**
   * Takes another object away from `mine` on a copy. Without it the object is to leave `mine`: no copy gets
   * it there, it goes where copies without it there have it, and where another object is in its way nothing
   * is waited for, as that may want its place.
   */
  readonly vacate?: (child: number) => Promise<void>;
}

export async function reunite(task: Reuniting): Promise<Reunion> {
  const { set, call, gfid, mine, holders } = task;
  if (set.quorum.type === "none") return "differ";
  const places = await placesOf(set, call, gfid, holders);
  const moves = places && movesToAgree(places, set.all);
  if (places === undefined || moves === undefined || isParked(set, places)) return "differ";
  if (moves.length === 0) return "agreed";
  const others = allPlaces(places).filter((place) => placeKey(place) !== placeKey(mine));
  const locks: HeldLock[] = [];
  try {
    for (const { parent, name } of others) {
      const lock = await lockAll(set, call, namesOf(new Inode(parent, S_IFDIR), set.name, name), "try");
      locks.push(lock);
      if (!lock.onAll) return "busy";
    }
    return await reuniteLocked(task, places);
  } finally {
    for (const lock of locks) await lock.release();
  }
}

async function reuniteLocked(task: Reuniting, seen: Places): Promise<Reunion> {
  const { set, call, gfid, mine, holders, vacate } = task;
  const places = await placesOf(set, call, gfid, holders);
  if (!places || keysOf(places) !== keysOf(seen)) return "busy";
  const atMine = (place: Place): boolean => placeKey(place) === placeKey(mine);
  const believed = await believedIn(set, call, places);
  const staying = vacate ? NO_CHILDREN : childrenWhere(places.length, (child) => places[child]!.some(atMine));
  const moves = movesToAgree(places, believed & ~staying);
  if (!moves) return "differ";
  if (!vacate && moves.some(({ to }) => atMine(to))) return "differ";
  for (const { child, to } of moves)
    if (!atMine(to) && (await gfidAt(set, call, child, to)) !== undefined) return vacate ? "busy" : "differ";
  for (const move of moves) {
    if (atMine(move.to)) await vacate?.(move.child);
    await rename(task, move);
  }
  return "agreed";
}

async function rename({ set, call, gfid }: Reuniting, { child, from, to }: Move): Promise<void> {
  const brick = set.children[child]!;
  set.log.info("an object gets the name that the other copies have", {
    child: brick.name,
    gfid: gfidText(gfid),
    from: placeKey(from),
    to: placeKey(to),
  });
  await brick.rename(call, { from: locOf(from, new Inode(gfid)), to: locOf(to, new Inode()) });
}

function locOf({ parent, name }: Place, inode: Inode): Loc {
  return { inode, parent: new Inode(parent, S_IFDIR), name };
}

/** Copies that nobody blames for names of any of these directories; none when a copy lacks one of them. */
async function believedIn(set: ReplicaSet, call: Call, places: Places): Promise<ChildSet> {
  let believed = set.all;
  const parents = new Map(allPlaces(places).map(({ parent }) => [gfidText(parent), parent]));
  for (const parent of parents.values()) {
    const found = await look(set, call, { inode: new Inode(parent, S_IFDIR) });
    if (found.answered !== set.all) return NO_CHILDREN;
    const sides = nameSides(marksOf(found.rows, "entry"), set.all, acknowledgersMin(set.quorum));
    believed &= sides.sources | sides.trusted;
  }
  return believed;
}

/** Put aside on some copy: how it comes back from there is known (parking.ts). */
function isParked(set: ReplicaSet, places: Places): boolean {
  return allPlaces(places).some(({ parent }) => isParking(set, parent));
}

function keysOf(places: Places): string {
  return JSON.stringify(places.map((names) => names.map(placeKey).sort()));
}
