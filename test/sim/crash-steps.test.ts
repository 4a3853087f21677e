/**
 * Operations on a file in blocks over three bricks, and the client or a brick dies in a step
 * (crash-steps.ts). Some steps of each are tried here, among them those that found something;
 * `npm run sim -- --steps` tries all.
 */

import { describe, expect, it } from "vitest";
import { type Cut, OPERATIONS, StepRun } from "./crash-steps.ts";

/** Every so many steps one is tried; the bricks that have a call already differ from one to the next. */
const EVERY = 19;
/** A base file that was unlinked on two of three bricks, one that was renamed over on one or two. */
const FOUND = new Set(["unlink 38", "unlink of an open file 41", "rename over it 49", "rename over it 50"]);

function isTried(name: string, { who, after }: Cut): boolean {
  return after % EVERY === 5 || (who === "client" && FOUND.has(`${name} ${after}`));
}

describe("whoever dies in the middle of", () => {
  it.each(OPERATIONS)("$name leaves nothing that another client does not put right", async (operation) => {
    const cuts = (await StepRun.cuts(operation)).filter((cut) => isTried(operation.name, cut));
    expect(cuts.length).toBeGreaterThan(2);
    const faults: string[] = [];
    for (const cut of cuts) faults.push(...(await StepRun.cut(operation, cut)));
    expect(faults).toEqual([]);
  });
});
