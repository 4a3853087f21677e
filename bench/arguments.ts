/** The command line of `npm run bench`. */

import { parseArgs } from "node:util";
import { checkOutputDirectory } from "../src/cli/output-directory.ts";
import { UserError } from "../src/core/errors.ts";
import { LOADS, type Load } from "./loads.ts";
import { ROWS, type Row } from "./rows.ts";
import { TRIAL_SCALES, TRIALS, type Trial, type TrialScale } from "./trials.ts";

export interface BenchOptions {
  readonly rows: readonly Row[];
  readonly loads: readonly Load[];
  /** When there are any, they run instead of the loads on the rows. */
  readonly trials: readonly Trial[];
  readonly trialScale: TrialScale;
  /** With what needs GlusterFS on this machine. */
  readonly peers: boolean;
  readonly rounds: number;
  readonly quick: boolean;
  /** Where bricks and mounts live; the system's directory for temporary files when absent. */
  readonly directory: string | undefined;
  /** Where the results go: RESULT_FILES or TRIALS_FILE. */
  readonly output: string;
  readonly profile: string | undefined;
}

export const RESULT_FILES = { json: "results.json", markdown: "results.md" };
export const TRIALS_FILE = "trials.json";

export const USAGE = `npm run bench -- [options]
  --peers          with the rows that need GlusterFS on this machine (root, glusterd)
  --rounds N       measurements of each cell or trial, the median counts (default 3)
  --only A,B       only these rows: ${ROWS.map(({ id }) => id).join(", ")}
  --loads A,B      only these loads: ${LOADS.map(({ id }) => id).join(", ")}
  --trials A,B     instead of loads: what happens when bricks die and return, graphs change, images are many:
                   ${TRIALS.map(({ id }) => id).join(", ")}; with --peers GlusterFS does the same
  --sizes K=N,...  of trials, where they differ from those of this scale: ${sizes(TRIAL_SCALES.full)}
  --quick          small files and short runs: to see that it works, not to quote
  --dir DIR        measure on this file system (default: the directory for temporary files)
  --output DIR     where results.json and results.md, or trials.json, go (default: var/bench)
  --profile DIR    CPU profiles of Mortar's processes go there; slows them down
`;

/** Undefined when help was asked for. @throws UserError */
export function parseArguments(args: readonly string[]): BenchOptions | undefined {
  const { values } = parse(args);
  if (values.help) return undefined;
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new UserError(`bench: --rounds: "${values.rounds}" is not a number from 1`);
  const asked = pick("--only", values.only, ROWS);
  // A row that was named is wanted, with or without --peers.
  const rows =
    values.only === undefined ? asked.filter((row) => values.peers || row.needsPeer === undefined) : asked;
  return {
    rows,
    loads: pick("--loads", values.loads, LOADS),
    trials: values.trials === undefined ? [] : pick("--trials", values.trials, TRIALS),
    trialScale: resized(values.quick ? TRIAL_SCALES.quick : TRIAL_SCALES.full, values.sizes),
    peers: values.peers,
    rounds,
    quick: values.quick,
    directory: values.dir,
    output: values.output,
    profile: values.profile,
  };
}

/** Before anything is started: that all directories can be written. @throws UserError */
export function checkDirectories({ directory, output, profile, trials }: BenchOptions): void {
  const files = trials.length > 0 ? [TRIALS_FILE] : Object.values(RESULT_FILES);
  checkOutputDirectory("bench: --output", output, files);
  if (profile !== undefined) checkOutputDirectory("bench: --profile", profile, []);
  if (directory !== undefined) checkOutputDirectory("bench: --dir", directory, []);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        peers: { type: "boolean", default: false },
        rounds: { type: "string", default: "3" },
        only: { type: "string" },
        loads: { type: "string" },
        trials: { type: "string" },
        sizes: { type: "string" },
        quick: { type: "boolean", default: false },
        dir: { type: "string" },
        output: { type: "string", default: "var/bench" },
        profile: { type: "string" },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new UserError(`bench: ${(error as Error).message}`);
  }
}

/** The things named in a list, in their own order; all without a list. @throws UserError */
function pick<T extends { readonly id: string }>(
  option: string,
  list: string | undefined,
  all: readonly T[],
): T[] {
  if (list === undefined) return [...all];
  const named = list.split(",");
  refuseTwice(option, named);
  const names = new Set(named);
  const found = all.filter(({ id }) => names.delete(id));
  const [unknown] = names;
  if (unknown !== undefined)
    throw new UserError(`bench: ${option}: "${unknown}" is none of ${all.map(({ id }) => id).join(", ")}`);
  return found;
}

function refuseTwice(option: string, names: readonly string[]): void {
  const twice = names.find((name, at) => names.indexOf(name) < at);
  if (twice !== undefined) throw new UserError(`bench: ${option}: "${twice}" is named twice; name each once`);
}

/** As --sizes takes them. */
function sizes(scale: TrialScale): string {
  return Object.entries(scale)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}

/** @throws UserError */
function resized(scale: TrialScale, list: string | undefined): TrialScale {
  const changed: Record<string, number> = {};
  for (const item of list === undefined ? [] : list.split(",")) {
    const [, key, value] = /^(\w+)=([1-9]\d*)$/.exec(item) ?? [];
    if (key === undefined || !Object.hasOwn(scale, key))
      throw new UserError(
        `bench: --sizes: "${item}" is no KEY=NUMBER; keys: ${Object.keys(scale).join(", ")}`,
      );
    if (Object.hasOwn(changed, key))
      throw new UserError(`bench: --sizes: "${key}" is named twice; name each key once`);
    changed[key] = Number(value);
  }
  return { ...scale, ...changed };
}
