/**
 * Who plays in a scenario of a replicated volume: the make of the client, of the bricks, and of the healer.
 *
 * `npm test` runs each scenario with Mortar alone, and some with more. MORTAR_TEST_CASTS=all runs all with
 * every mixture that Mortar takes part in, =mixed with Mortar's client before bricks and healer of
 * GlusterFS, =stock with GlusterFS alone, which shows that what a scenario expects is what GlusterFS does.
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

const ALONE = cast("mortar", "mortar", "mortar");
const MIXED = cast("mortar", "glusterfs", "glusterfs");
const STOCK = cast("glusterfs", "glusterfs", "glusterfs");
const ALL = MAKES.flatMap((client) =>
  MAKES.flatMap((bricks) => MAKES.map((healer) => cast(client, bricks, healer))),
);
export const EVERY_MIXTURE: readonly Cast[] = ALL.filter((one) => String(one) !== String(STOCK));

const chosen = process.env.MORTAR_TEST_CASTS ?? "";

/** The casts of a scenario; by default those it asks for. */
export function casts(wanted: readonly Cast[] = [ALONE]): readonly Cast[] {
  if (chosen === "stock") return [STOCK];
  if (chosen === "mixed") return [MIXED];
  return chosen === "all" ? EVERY_MIXTURE : wanted;
}
