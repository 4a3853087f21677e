/** The simulation in short: seeds that found bugs, a handful of others, the same seed twice, some mutants. */

import { describe, expect, it } from "vitest";
import { MUTANTS } from "./mutants.ts";
import { planOf } from "./plan.ts";
import { runSeed } from "./run.ts";
import { keptSeeds } from "./seeds.ts";

/** As many as fit into half a minute. */
const HANDFUL = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
/** Mutants that are found soon; `npm run sim -- --mutants` tries all. */
const MUTANTS_TRIED: readonly string[] = [
  ...(["brick-drops-writes", "blame-nobody", "arbiter-is-data", "heal-from-sink"] as const),
  ...(["heal-keeps-removed-names", "shard-keeps-size", "shard-no-marker"] as const),
];
/** So many runs are enough to find those. */
const MUTANT_RUNS = 10;

describe("a simulated volume", () => {
  for (const { story, plan } of keptSeeds())
    it(`stands seed ${plan.seed}: ${story}`, async () => {
      expect((await runSeed(plan.seed, { plan })).violations).toEqual([]);
    });

  for (const seed of HANDFUL)
    it(`stands seed ${seed}`, async () => {
      expect((await runSeed(seed)).violations).toEqual([]);
    });

  it("does the same for the same seed, event by event", async () => {
    const first = await runSeed(11);
    const second = await runSeed(11);
    expect(second.digest).toBe(first.digest);
    expect(second.history).toEqual(first.history);
  });
});

describe("the simulation finds", () => {
  for (const mutant of MUTANTS.filter(({ name }) => MUTANTS_TRIED.includes(name)))
    it(`that ${mutant.about}`, async () => {
      for (let seed = 1; seed <= MUTANT_RUNS; seed++) {
        const plan = planOf(seed, mutant);
        const { violations } = await runSeed(seed, { plan, sabotage: mutant.sabotage() });
        if (violations.length > 0) return;
      }
      expect.fail(`not found in ${MUTANT_RUNS} runs`);
    });
});
