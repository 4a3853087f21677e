/**
 * Runs that once found a bug: for each a file in seeds/ with one line of story and the whole plan, so that a
 * later change of plan.ts does not turn them into other runs. `npm test` runs them all.
 */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Plan } from "./plan.ts";

export interface KeptSeed {
  readonly story: string;
  readonly plan: Plan;
}

const DIRECTORY = new URL("./seeds/", import.meta.url);

export function keptSeeds(): KeptSeed[] {
  const files = readdirSync(DIRECTORY).filter((name) => name.endsWith(".json"));
  return files.sort().map((name) => JSON.parse(readFileSync(new URL(name, DIRECTORY), "utf8")) as KeptSeed);
}

/** Returns the path of the file. */
export function keepSeed({ story, plan }: KeptSeed): string {
  const file = new URL(`${plan.seed}.json`, DIRECTORY);
  writeFileSync(file, `${JSON.stringify({ story, plan }, undefined, 2)}\n`);
  return fileURLToPath(file);
}
