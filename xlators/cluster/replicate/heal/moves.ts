/**
 * Which renames on copies bring an object back under the same names everywhere. Pure.
 *
 * A rename that was not finished leaves an object under one name here and another there, and no copy blamed.
 * GlusterFS 10.3 then gives every copy both names (afr-self-heal-entry.c, __afr_selfheal_merge_dirent): what
 * was renamed over an image stays a second name of it, and the heal of a directory fails for ever, or makes a
 * second one of the same gfid. Here one copy's names win, all of them: those that most believed copies have,
 * of equals those of the first copy, which breaks the ties of quorum as well. A believed copy has seen every
 * acknowledged operation, so its names are right, whatever else was not acknowledged. Where copies have
 * different numbers of names, a link or a heal was not finished: that is left to the merge.
 */

import { type Gfid, gfidText } from "../../../../src/core/gfid.ts";
import { type ChildSet, countChildren, hasChild, NO_CHILDREN, withChild } from "../child-set.ts";

/** A name of an object. */
export interface Place {
  readonly parent: Gfid;
  readonly name: string;
}

/** `child` is to rename the object. */
export interface Move {
  readonly child: number;
  readonly from: Place;
  readonly to: Place;
}

/** By child: its names of the object; none of a copy that has not got it. */
export type Places = readonly (readonly Place[])[];

/** Equal for equal places. */
export function placeKey({ parent, name }: Place): string {
  return `${gfidText(parent)}/${name}`;
}

/** Each of them once. */
export function allPlaces(places: Places): readonly Place[] {
  return [...new Map(places.flat().map((place) => [placeKey(place), place])).values()];
}

/** Whether all copies that have the object have as many names of it; none when no copy has it. */
function isMoved(places: Places): boolean {
  const counts = new Set(places.filter((names) => names.length > 0).map((names) => names.length));
  return counts.size === 1;
}

/** Empty when there is nothing to do, undefined when nothing decides. */
export function movesToAgree(places: Places, believed: ChildSet): readonly Move[] | undefined {
  if (!isMoved(places)) return undefined;
  const wanted = namesToKeep(places, believed);
  if (wanted === undefined) return undefined;
  const moves: Move[] = [];
  for (const [child, names] of places.entries()) {
    if (names.length === 0) continue;
    const to = without(wanted, names);
    for (const [at, from] of without(names, wanted).entries()) moves.push({ child, from, to: to[at]! });
  }
  return moves;
}

function namesToKeep(places: Places, believed: ChildSet): readonly Place[] | undefined {
  const sides = new Map<string, ChildSet>();
  for (const [child, names] of places.entries()) {
    if (names.length === 0 || !hasChild(believed, child)) continue;
    const key = names.map(placeKey).sort().join("\0");
    sides.set(key, withChild(sides.get(key) ?? NO_CHILDREN, child));
  }
  // The sort is stable, and the first copies came first.
  const [most] = [...sides.values()].sort((a, b) => countChildren(b) - countChildren(a));
  return most === undefined ? undefined : places.find((_, child) => hasChild(most, child));
}

/** Those that are not among `others`, in a fixed order. */
function without(names: readonly Place[], others: readonly Place[]): readonly Place[] {
  const known = new Set(others.map(placeKey));
  return names
    .filter((place) => !known.has(placeKey(place)))
    .sort((a, b) => (placeKey(a) < placeKey(b) ? -1 : 1));
}
