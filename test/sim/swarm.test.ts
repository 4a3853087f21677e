/** The simulation in short: seeds that found bugs, a handful of others, the same seed twice, some mutants. */

import { describe, expect, it } from "vitest";
import { MUTANTS } from "./mutants.ts";
import { planOf } from "./plan.ts";
import { runSeed } from "./run.ts";
import { KEPT_SEEDS } from "./seeds.ts";

/** As many as fit into half a minute. */
const HANDFUL = [1, 2, 3, 4, 5, 6, 7, 8];
/** So many runs are enough to find the mutants that are tried here. */
const MUTANT_RUNS = 60;

describe("a simulated volume", () => {
  for (const { seed, shape, story } of KEPT_SEEDS)
    it(`stands seed ${seed} of ${shape}: ${story}`, async () => {
      expect((await runSeed(seed, { plan: planOf(seed, [shape]) })).violations).toEqual([]);
    });

  for (const seed of HANDFUL)
    it(`stands seed ${seed}`, async () => {
      expect((await runSeed(seed, { plan: planOf(seed, ["one brick"]) })).violations).toEqual([]);
    });

  it("does the same for the same seed, event by event", async () => {
    const first = await runSeed(11, { plan: planOf(11, ["one brick"]) });
    const second = await runSeed(11, { plan: planOf(11, ["one brick"]) });
    expect(second.digest).toBe(first.digest);
    expect(second.history).toEqual(first.history);
  });
});

describe("the simulation finds", () => {
  for (const mutant of MUTANTS.filter(({ shapes }) => shapes.includes("one brick")))
    it(mutant.about, async () => {
      for (let seed = 1; seed <= MUTANT_RUNS; seed++) {
        const plan = planOf(seed, mutant.shapes);
        const { violations } = await runSeed(seed, { plan, sabotage: mutant.sabotage() });
        if (violations.length > 0) return;
      }
      expect.fail(`not found in ${MUTANT_RUNS} runs`);
    });
});
