/**
 * `npm run sim`: the simulation on the command line. One seed with its whole history, many seeds, seeds for
 * so many minutes, or the mutants and how soon each is found.
 */

import { spawnSync } from "node:child_process";
import Table from "cli-table3";
import { Command, InvalidArgumentError } from "commander";
import { OPERATIONS, StepRun } from "./crash-steps.ts";
import { MUTANTS, type Mutant } from "./mutants.ts";
import { planOf, SHAPES, type Shape, STACKS, type Stack } from "./plan.ts";
import { type RunResult, runSeed } from "./run.ts";
import { keepSeed } from "./seeds.ts";

/** A mutant that so many runs do not find is not found. */
const MUTANT_RUNS_MAX = 2000;
const HISTORY_LINES = 200;

interface Options {
  readonly seed?: number;
  readonly runs?: number;
  readonly minutes?: number;
  readonly from: number;
  readonly shape?: Shape;
  readonly stack?: Stack;
  readonly steps?: boolean;
  readonly mutants?: boolean;
  readonly mutant?: string;
  readonly history: boolean;
  readonly keep?: string;
}

const program = new Command("npm run sim --")
  .description("run the simulation of a replicated volume on virtual time")
  .option("--seed <number>", "run one seed and print its history", count)
  .option("--runs <number>", "run so many seeds", count)
  .option("--minutes <number>", "run seeds for so long", count)
  .option("--from <number>", "first seed of several", count, 1)
  .option("--shape <shape>", `only such clusters: ${[...new Set(SHAPES)].join(", ")}`, shape)
  .option("--stack <stack>", `only such clients: ${STACKS.join(", ")}`, stack)
  .option("--steps", "have the client and a brick die in every step of operations on a file in blocks")
  .option("--mutants", "run deliberate bugs until each is found, and print how soon that was")
  .option("--mutant <name>", "with --seed, --runs or --minutes: run with this bug; else search for it alone")
  .option("--no-history", "print verdicts only")
  .option("--keep <story>", "with --seed: keep its plan, for npm test, with one line about what it found")
  .action(main);

function count(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) throw new InvalidArgumentError("not a whole number");
  return number;
}

function shape(text: string): Shape {
  const found = SHAPES.find((known) => known === text);
  if (!found) throw new InvalidArgumentError(`one of ${[...new Set(SHAPES)].join(", ")}`);
  return found;
}

function stack(text: string): Stack {
  const found = STACKS.find((known) => known === text);
  if (!found) throw new InvalidArgumentError(`one of ${STACKS.join(", ")}`);
  return found;
}

async function main(options: Options): Promise<void> {
  const mutant = options.mutant === undefined ? undefined : mutantOf(options.mutant);
  if (options.seed !== undefined) await oneSeed(options.seed, options, mutant);
  else if (options.steps) await steps();
  else if (options.mutants) await mutants(MUTANTS, options);
  else if (mutant && options.runs === undefined && options.minutes === undefined)
    await mutants([mutant], options);
  else await manySeeds(options, mutant);
}

async function steps(): Promise<void> {
  for (const operation of OPERATIONS) {
    const cuts = await StepRun.cuts(operation);
    for (const cut of cuts) {
      progress(`${operation.name}: ${cut.who} ${cut.after}`);
      for (const fault of await StepRun.cut(operation, cut)) {
        process.exitCode = 1;
        out(fault);
      }
    }
    progress("");
    out(`${operation.name}: ${cuts.length} steps`);
  }
}

function mutantOf(name: string): Mutant {
  const found = MUTANTS.find((mutant) => mutant.name === name);
  return (
    found ??
    program.error(`--mutant: "${name}" is none of ${MUTANTS.map((mutant) => mutant.name).join(", ")}`)
  );
}

function run(
  seed: number,
  options: Options,
  mutant: Mutant | undefined,
  wholeTrace = false,
): Promise<RunResult> {
  const plan = planOf(seed, {
    shapes: options.shape ? [options.shape] : mutant?.shapes,
    stacks: options.stack ? [options.stack] : mutant?.stacks,
  });
  const sabotage = mutant?.sabotage();
  return runSeed(seed, { wholeTrace, plan, ...(sabotage ? { sabotage } : {}) });
}

async function oneSeed(seed: number, options: Options, mutant: Mutant | undefined): Promise<void> {
  const result = await run(seed, options, mutant, true);
  out(JSON.stringify(result.plan, undefined, 2));
  if (options.history) for (const line of result.history) out(line);
  verdict(result);
  if (options.keep !== undefined) out(`kept as ${keepSeed({ story: options.keep, plan: result.plan })}`);
}

async function manySeeds(options: Options, mutant: Mutant | undefined): Promise<void> {
  const started = Date.now();
  const endMs = options.minutes === undefined ? Number.POSITIVE_INFINITY : started + options.minutes * 60_000;
  const runs = options.runs ?? (options.minutes === undefined ? 100 : Number.POSITIVE_INFINITY);
  let done = 0;
  let virtualMs = 0;
  for (let seed = options.from; done < runs && Date.now() < endMs; seed++) {
    const result = await run(seed, options, mutant);
    done++;
    virtualMs += result.virtualMs;
    if (result.violations.length > 0) {
      progress("");
      if (options.history) for (const line of result.history.slice(-HISTORY_LINES)) out(line);
      verdict(result);
    } else progress(`${done} runs, seed ${seed}, ${speed(virtualMs, started)}`);
  }
  progress("");
  out(
    `${done} runs, ${(virtualMs / 3_600_000).toFixed(1)} hours of virtual time, ${speed(virtualMs, started)}`,
  );
}

function speed(virtualMs: number, startedMs: number): string {
  return `${Math.round(virtualMs / Math.max(1, Date.now() - startedMs))} times as fast as life`;
}

async function mutants(which: readonly Mutant[], options: Options): Promise<void> {
  const table = new Table({ head: ["mutant", "what is wrong", "runs until found", "seed", "seen as"] });
  for (const mutant of which) {
    const found = await search(mutant, options);
    if (found === undefined) process.exitCode = 1;
    const seen = found?.violations[0]?.split("\n")[0]?.slice(0, 60) ?? "";
    const runs = found ? found.seed - options.from + 1 : `not in ${MUTANT_RUNS_MAX}`;
    table.push([mutant.name, mutant.about, String(runs), String(found?.seed ?? ""), seen]);
    progress("");
    out(`${mutant.name}: ${found ? `seed ${found.seed}` : "NOT FOUND"} ${seen}`);
  }
  out(table.toString());
}

async function search(mutant: Mutant, options: Options): Promise<RunResult | undefined> {
  for (let seed = options.from; seed < options.from + MUTANT_RUNS_MAX; seed++) {
    progress(`${mutant.name}: seed ${seed}`);
    const result = await run(seed, options, mutant);
    if (result.violations.length > 0) return result;
  }
  return undefined;
}

function verdict(result: RunResult): void {
  const { seed, violations, digest, virtualMs, events, checks } = result;
  const extent = `${(virtualMs / 1000).toFixed(0)} s of virtual time, ${events} events, ${checks} checks`;
  out(`seed ${seed} at commit ${commit()}: ${extent}, digest ${digest}`);
  for (const violation of violations.slice(0, 10)) out(`VIOLATION ${violation}`);
  if (violations.length > 10) out(`and ${violations.length - 10} more`);
  if (violations.length === 0) return;
  process.exitCode = 1;
  out(`again, with all that happened: npm run sim -- --seed ${seed}`);
}

function commit(): string {
  const { stdout } = spawnSync("git", ["rev-parse", "--short=12", "HEAD"], { encoding: "utf8" });
  const changes = spawnSync("git", ["status", "--porcelain", "--", "src", "xlators", "test"], {
    encoding: "utf8",
  });
  return `${stdout?.trim() || "unknown"}${changes.stdout ? " with changes" : ""}`;
}

function out(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The last line of a terminal. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

await program.parseAsync();
