/**
 * `mortar heal SOURCE ...`: what waits for healing, healing now, settling split brain.
 *
 * Opens the replica sets of the SOURCE beside whoever else uses the volume; nothing is mounted. Exit code 1
 * when something was asked for and is not so in the end: a file that is not healed, a split brain that is not
 * settled.
 */

import { keepAlive, nodeEnv } from "../core/env-node.ts";
import { UserError } from "../core/errors.ts";
import { SILENT } from "../core/log.ts";
import { openLog, parseLogLevel } from "../process/logging.ts";
import { type OpenSet, Replicas } from "../process/replicas.ts";
import { findFile, healFile, resolutionFor, settle } from "./heal-files.ts";
import { gatherInfo, renderInfo, renderInfoJson } from "./heal-info.ts";
import { ObjectNames } from "./heal-names.ts";
import { ProgressLine } from "./heal-progress.ts";
import {
  describeObject,
  describeTotals,
  type HealedObject,
  HealRun,
  isDone,
  requireAllBricks,
} from "./heal-run.ts";
import { watchInfo } from "./heal-watch.ts";
import { type HealRequest, type Policy, parseHealWords } from "./heal-words.ts";
import { onStopSignal } from "./signals.ts";

export interface HealFlags {
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly watch?: boolean;
  readonly logFile?: string;
  readonly logLevel?: string;
  readonly logFormat: "text" | "json";
}

/** Longer than a replica set waits for bricks that say nothing. */
const CONNECT_TIMEOUT_MS = 15_000;

export async function healCommand(source: string, words: readonly string[], flags: HealFlags): Promise<void> {
  const request = parseHealWords(words);
  if (flags.dryRun && request.kind !== "split-brain")
    throw new UserError("heal: --dry-run goes with split-brain only");
  if (flags.watch && (request.kind !== "info" || flags.json))
    throw new UserError("heal: --watch goes with info only, and not with --json");
  const log =
    flags.logFile === undefined && flags.logLevel === undefined
      ? SILENT
      : openLog({
          level: parseLogLevel(flags.logLevel ?? "info"),
          format: flags.logFormat,
          ...(flags.logFile === undefined ? {} : { file: flags.logFile }),
        });
  const release = keepAlive();
  const replicas = await Replicas.open(source, nodeEnv(log));
  try {
    await replicas.connect(CONNECT_TIMEOUT_MS);
    const well = await answer(replicas, request, flags);
    if (!well) process.exitCode = 1;
  } finally {
    await replicas.stop();
    release();
  }
}

/** Does what was asked; false when it did not come out as wanted, and that was told. */
async function answer(replicas: Replicas, request: HealRequest, flags: HealFlags): Promise<boolean> {
  const { sets } = replicas;
  switch (request.kind) {
    case "info": {
      if (flags.watch) return watch(sets);
      const bricks = await gatherInfo(sets);
      if (!flags.json) process.stdout.write(renderInfo(bricks, request.part));
      else {
        const names = new ObjectNames(sets);
        await names.learn(bricks.flatMap(({ objects }) => objects.map(({ path }) => path)));
        const imageOf = (path: string | undefined) => names.blockOf(path);
        process.stdout.write(renderInfoJson(replicas.source, bricks, request.part, imageOf));
      }
      return true;
    }
    case "index":
      return heal(sets, flags, (run) => run.index());
    case "full":
      return heal(sets, flags, (run) => run.full(() => {}));
    case "files":
      return healFiles(sets, request.files, flags);
    case "split-brain":
      return settleAll(sets, request.policy, request.files, flags);
  }
}

function watch(sets: readonly OpenSet[]): Promise<boolean> {
  const stop = new AbortController();
  onStopSignal(() => stop.abort());
  return watchInfo(() => gatherInfo(sets), process.stdout, {
    signal: stop.signal,
    names: new ObjectNames(sets),
  });
}

async function heal(
  sets: readonly OpenSet[],
  flags: HealFlags,
  work: (run: HealRun) => Promise<void>,
): Promise<boolean> {
  const run = new HealRun(sets, (object) => {
    if (flags.json) return;
    line.clear();
    process.stdout.write(`${describeObject(object)}\n`);
  });
  const line = new ProgressLine(process.stdout, () => run.progress);
  onStopSignal(() => void run.stop());
  try {
    await work(run);
  } finally {
    line.end();
  }
  return report(run.objects, flags);
}

function report(objects: readonly HealedObject[], flags: HealFlags): boolean {
  if (flags.json) process.stdout.write(`${JSON.stringify({ objects }, undefined, 2)}\n`);
  else process.stdout.write(`${describeTotals(objects)}\n`);
  return objects.every(({ outcome }) => isDone(outcome));
}

async function healFiles(
  sets: readonly OpenSet[],
  words: readonly string[],
  flags: HealFlags,
): Promise<boolean> {
  const files = [];
  for (const word of words) files.push(await findFile(sets, word));
  requireAllBricks(sets);
  const objects: HealedObject[] = [];
  for (const file of files) {
    const { outcome, bytesMoved, why } = await healFile(file);
    const gfid = file.inode.gfid.toString("hex");
    const object = { name: file.word, gfid, outcome, bytesMoved, why };
    objects.push(object);
    const text =
      outcome === "not-needed" || outcome === "clean" ? `${file.word}: nothing to heal` : undefined;
    if (!flags.json) process.stdout.write(`${text ?? describeObject(object)}\n`);
  }
  if (flags.json) report(objects, flags);
  return objects.every(({ outcome }) => isDone(outcome));
}

/** Goes on after a file that cannot be settled, unless it is the only one. */
async function settleAll(
  sets: readonly OpenSet[],
  policy: Policy,
  words: readonly string[],
  flags: HealFlags,
): Promise<boolean> {
  const resolve = resolutionFor(sets, policy);
  const all = words.length > 0 ? words : await splitBrainsOn(sets, policy);
  const results: { file: string; result?: string; error?: string }[] = [];
  for (const word of all) {
    try {
      const file = await findFile(sets, word);
      const { name, text } = await settle(file, resolve(file.set), flags.dryRun === true);
      results.push({ file: name, result: text });
      if (!flags.json) process.stdout.write(`${name}: ${text}\n`);
    } catch (error) {
      if (!(error instanceof UserError) || (all.length === 1 && !flags.json)) throw error;
      results.push({ file: word, error: error.message });
      if (!flags.json) process.stderr.write(`mortar: ${error.message}\n`);
    }
  }
  if (flags.json) process.stdout.write(`${JSON.stringify({ files: results }, undefined, 2)}\n`);
  else if (all.length === 0) process.stdout.write("nothing is in split brain there\n");
  return results.every(({ error }) => error === undefined);
}

/** All that the source brick lists as split brain, by gfid: names may be in conflict themselves. */
async function splitBrainsOn(sets: readonly OpenSet[], policy: Policy): Promise<string[]> {
  if (policy.kind !== "source-brick") return [];
  const bricks = await gatherInfo(sets);
  const info = bricks.find(({ brick, child }) => brick === policy.brick || child === policy.brick);
  if (!info?.connected) throw new UserError(`heal: brick "${policy.brick}": is not connected`);
  return info.objects
    .filter(({ inspection }) => inspection.status === "split-brain")
    .map(({ gfid }) => `gfid:${gfid.toString("hex")}`);
}
