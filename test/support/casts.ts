/**
 * Who plays in a scenario of a replicated volume: the make of the client, of the bricks, and of the healer.
 *
 * `npm test` runs each scenario with Mortar alone and with Mortar's client before bricks and healer of GlusterFS.
 * MORTAR_TEST_CASTS=all runs every mixture that Mortar takes part in; =stock runs GlusterFS alone, which shows
 * that what a scenario expects is what GlusterFS does.
 */

import { MAKES, type Make } from "./peers.ts";

export interface Cast {
  readonly client: Make;
  readonly bricks: Make;
  readonly healer: Make;
  /** For titles. */
  readonly toString: () => string;
}

export function cast(client: Make, bricks: Make, healer: Make): Cast {
  return { client, bricks, healer, toString: () => `${client} client, ${bricks} bricks, ${healer} healer` };
}

const STOCK = cast("glusterfs", "glusterfs", "glusterfs");
const ALL = MAKES.flatMap((client) =>
  MAKES.flatMap((bricks) => MAKES.map((healer) => cast(client, bricks, healer))),
);
export const EVERY_MIXTURE: readonly Cast[] = ALL.filter((one) => String(one) !== String(STOCK));

const chosen = process.env.MORTAR_TEST_CASTS ?? "";

/** The casts of a scenario; those of a matrix that must be whole are given by `wanted`. */
export function casts(
  wanted: readonly Cast[] = [cast("mortar", "mortar", "mortar"), cast("mortar", "glusterfs", "glusterfs")],
): readonly Cast[] {
  if (chosen === "stock") return [STOCK];
  return chosen === "all" ? EVERY_MIXTURE : wanted;
}
