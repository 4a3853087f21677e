/**
 * `mortar compare SOURCE`: what a user's own volume gives through the mount, through the library, and what
 * its disk would give; as tables, as JSON and as an HTML page.
 */

import { mkdir, writeFile } from "node:fs/promises";
import { constants } from "node:os";
import { join, resolve } from "node:path";
import pc from "picocolors";
import { htmlPage } from "../../compare/html.ts";
import { COMPARE_LOADS, COMPARE_SCALES, type Load } from "../../compare/loads.ts";
import type { Comparison } from "../../compare/results.ts";
import { terminalTables } from "../../compare/table.ts";
import { keepAlive, nodeEnv } from "../../core/env-node.ts";
import { UserError } from "../../core/errors.ts";
import { SILENT } from "../../core/log.ts";
import { ProgressBar } from "../files/progress.ts";
import { checkOutputDirectory } from "../output-directory.ts";
import { onStopSignal } from "../signals.ts";
import { CompareRun } from "./compare-run.ts";

export interface CompareFlags {
  readonly base?: string;
  readonly allEdges?: boolean;
  readonly quick?: boolean;
  readonly rounds: string;
  readonly loads?: string;
  /** False after --no-fio. */
  readonly fio: boolean;
  readonly output: string;
}

const JSON_FILE = "compare.json";
const HTML_FILE = "compare.html";

/** A load average above this means that others used the machine. */
const BUSY_LOAD = 1;

export async function compareCommand(source: string, flags: CompareFlags): Promise<void> {
  const options = {
    source,
    base: flags.base,
    allEdges: flags.allEdges === true,
    withFio: flags.fio,
    scale: flags.quick ? COMPARE_SCALES.quick : COMPARE_SCALES.full,
    rounds: roundsOf(flags.rounds),
    loads: loadsOf(flags.loads),
    command: ["mortar", ...process.argv.slice(2)].join(" "),
  };
  checkOutputDirectory("compare: --output", flags.output, [JSON_FILE, HTML_FILE]);
  const output = resolve(flags.output);
  const stop = new AbortController();
  const release = keepAlive();
  let interrupted: number | undefined;
  onStopSignal((signal) => {
    interrupted = 128 + constants.signals[signal];
    process.stderr.write("mortar: compare: stopping and cleaning up\n");
    stop.abort();
  });
  const bar = new ProgressBar(process.stderr, { unit: "measurements" });
  try {
    const run = new CompareRun(options, nodeEnv(SILENT), stop.signal, {
      expect: (steps) => bar.expect(steps),
      now: (text) => bar.add(0, text),
      step: () => bar.add(1),
    });
    const comparison = await run.run();
    bar.end();
    await present(comparison, output);
  } catch (error) {
    if (interrupted === undefined) throw error;
    process.exitCode = interrupted;
  } finally {
    bar.end();
    release();
  }
}

function roundsOf(text: string): number {
  const rounds = Number(text);
  if (Number.isInteger(rounds) && rounds >= 1) return rounds;
  throw new UserError(`compare: --rounds "${text}": is no whole number from 1`);
}

/** What --loads names, in that order; all without it. Throws UserError. */
export function loadsOf(list: string | undefined): readonly Load[] {
  if (list === undefined) return COMPARE_LOADS;
  const names = list.split(",");
  return names.map((name, index) => {
    const load = COMPARE_LOADS.find(({ id }) => id === name);
    if (load === undefined) {
      const known = COMPARE_LOADS.map(({ id }) => id).join(", ");
      throw new UserError(`compare: --loads: "${name}" is none of ${known}`);
    }
    if (names.indexOf(name) === index) return load;
    throw new UserError(`compare: --loads: "${name}" is named twice; name each once`);
  });
}

async function present(comparison: Comparison, output: string): Promise<void> {
  process.stdout.write(`${terminalTables(comparison, pc)}\n\n${summary(comparison).join("\n")}\n`);
  const json = join(output, JSON_FILE);
  const html = join(output, HTML_FILE);
  try {
    await mkdir(output, { recursive: true });
    await writeFile(json, `${JSON.stringify(comparison, undefined, 2)}\n`);
    await writeFile(html, htmlPage(comparison));
  } catch (error) {
    throw new UserError(`compare: --output "${output}": ${(error as Error).message}`);
  }
  process.stdout.write(`\nwritten: ${json} and ${html}\n`);
}

function summary({ openMs, loadBefore, machine, rounds, notes }: Comparison): string[] {
  const { volumeMs, imageMs } = openMs;
  return [
    `opening and closing in-process: the volume ${volumeMs.toFixed(1)} ms, an image on it ${imageMs.toFixed(2)} ms`,
    `medians of ${rounds}; ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}`,
    ...notes,
    ...(loadBefore > BUSY_LOAD
      ? [`the machine was busy (load ${loadBefore}) before it began: do not quote this`]
      : []),
  ];
}
