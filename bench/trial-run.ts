/**
 * Runs trials and tells what came of them: one table on the terminal, all values in trials.json.
 *
 * Rounds are interleaved: all trials once, then again. Trials that are one long run take part in the first
 * round only. Everything that was started is taken away at the end, also on Ctrl-C and failures.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describeMachine, loadAverage } from "../src/compare/machine.ts";
import { Lab, type Make } from "../test/support/peers.ts";
import { type BenchOptions, TRIALS_FILE } from "./arguments.ts";
import { type Figure, figureTable, gather } from "./figures.ts";

/** How a run speaks: a line that may be written over, its end, and what must be seen. */
export interface Voice {
  progress(text: string): void;
  progressEnd(): void;
  complain(text: string): void;
}

/** @returns the exit code: 130 after Ctrl-C */
export async function runTrials(options: BenchOptions, voice: Voice): Promise<number> {
  const { trials, trialScale: scale, peers, rounds } = options;
  if (options.directory !== undefined) mkdirSync(options.directory, { recursive: true });
  const lab = new Lab("trials", options.directory);
  let interrupted = false;
  function onSignal(): void {
    if (interrupted) return;
    interrupted = true;
    voice.complain("interrupted, cleaning up");
    void lab.processes.killAll();
  }
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  const figures: Figure[] = [];
  const loadBefore = loadAverage();
  try {
    const makes: readonly Make[] = peers ? ["mortar", "glusterfs"] : ["mortar"];
    for (let round = 1; round <= rounds; round++) {
      const progress = (text: string): void => voice.progress(`round ${round}/${rounds}  ${text}`);
      for (const trial of trials)
        if (round === 1 || !trial.once) figures.push(...(await trial.run({ lab, scale, makes, progress })));
    }
  } catch (error) {
    if (interrupted) return 130;
    throw error;
  } finally {
    voice.progressEnd();
    await lab.close();
  }
  const machine = describeMachine(options.directory ?? tmpdir());
  const measured = gather(figures);
  process.stdout.write(`${figureTable(measured)}\n`);
  process.stdout.write(
    `commit ${machine.commit}, ${machine.fileSystem}, load average before the first round ${loadBefore}\n`,
  );
  const output = resolve(options.output);
  mkdirSync(output, { recursive: true });
  const command = ["npm run bench --", ...process.argv.slice(2)].join(" ");
  const document = { machine, command, rounds, loadBefore, figures: measured };
  writeFileSync(join(output, TRIALS_FILE), `${JSON.stringify(document, null, 2)}\n`);
  process.stdout.write(`written to ${output}/${TRIALS_FILE}\n`);
  return 0;
}
