/** Seeds that once found a bug, each with one line of story; `npm test` runs them all. */

import type { Shape } from "./plan.ts";

export interface KeptSeed {
  readonly seed: number;
  readonly shape: Shape;
  readonly story: string;
}

export const KEPT_SEEDS: readonly KeptSeed[] = [
  {
    seed: 199,
    shape: "replica 2",
    story:
      "a heal of dirty copies blamed one that a client, cut off from the other, went on writing to alone",
  },
];
