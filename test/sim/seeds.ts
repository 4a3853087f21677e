/** Seeds that once found a bug, each with one line of story; `npm test` runs them all. */

export interface KeptSeed {
  readonly seed: number;
  readonly story: string;
}

export const KEPT_SEEDS: readonly KeptSeed[] = [];
