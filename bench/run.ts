/**
 * `npm run bench`: measures every row with every load in one run, and prints one table; or runs trials.
 *
 * Rounds are interleaved (a load on row A, then B, then C, then the next load, and again from the start), so
 * that noise of the machine hits all rows alike. Before the first round each row runs each load for a while,
 * unmeasured: files are laid out, code is warm. Processes, mounts, volumes and files are taken away at the
 * end, also on Ctrl-C and failures.
 */

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describeMachine, loadAverage } from "../src/compare/machine.ts";
import { median, shortNumber } from "../src/compare/stats.ts";
import { UserError } from "../src/core/errors.ts";
import { unmountBelow } from "../test/support/mounts.ts";
import { Processes } from "../test/support/processes.ts";
import { type BenchOptions, checkDirectories, parseArguments, RESULT_FILES, USAGE } from "./arguments.ts";
import { type Bench, type Load, layOut, SCALES, WARM_UP_SEC } from "./loads.ts";
import { Peer } from "./peer.ts";
import { goalLines, markdown, notes, type Results, terminalTable } from "./report.ts";
import { isDirectAtBrick, type PeerKind, type Row, type Site, type Station } from "./rows.ts";
import { runTrials } from "./trial-run.ts";

/** Everything that has to be taken away again. */
class Stage {
  /** Bricks and mounts. */
  readonly servers = new Processes();
  /** fio and dd; killed on Ctrl-C, which fails the step that waits for them and so unwinds the run. */
  readonly workers = new Processes();
  readonly directory: string;
  readonly stations = new Map<string, Station>();
  readonly #peers: Peer[] = [];
  #struck: Promise<void> | undefined;

  constructor(parent: string) {
    mkdirSync(parent, { recursive: true });
    this.directory = mkdtempSync(join(parent, "mortar-bench-"));
  }

  async addPeer(kind: PeerKind): Promise<Peer> {
    const name = `mortar-bench-${kind}-${process.pid}`;
    const bricks = kind === "single" ? [0] : [0, 1, 2];
    const peer = new Peer(this.servers, {
      name,
      brickDirectories: bricks.map((brick) => join(this.directory, `peer-${kind}-brick-${brick}`)),
      group: kind.startsWith("virt") ? "virt" : undefined,
      together: kind.endsWith("-one"),
    });
    this.#peers.push(peer);
    await peer.start();
    return peer;
  }

  /** Idempotent; every step is tried, whatever the ones before it did. */
  strike(): Promise<void> {
    this.#struck ??= this.#strike();
    return this.#struck;
  }

  async #strike(): Promise<void> {
    for (const [row, station] of [...this.stations].reverse()) {
      await station.stop().catch((error) => complain(`${row}: ${error.message}`));
    }
    try {
      unmountBelow(this.directory);
    } catch (error) {
      complain(String(error));
    }
    for (const peer of this.#peers.reverse())
      await peer.stop().catch((error) => complain(`peer: ${error.message}`));
    await this.servers.killAll();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

async function main(): Promise<number> {
  try {
    const options = parseArguments(process.argv.slice(2));
    if (options === undefined) {
      process.stdout.write(USAGE);
      return 0;
    }
    checkDirectories(options);
    if (options.trials.length > 0) return await runTrials(options, VOICE);
    return await runOn(new Stage(options.directory ?? tmpdir()), options);
  } catch (error) {
    if (error instanceof UserError) process.stderr.write(`${error.message}\n`);
    else complain(String((error as Error).stack ?? error));
    return 1;
  }
}

/** @returns the exit code: 130 after Ctrl-C */
async function runOn(stage: Stage, options: BenchOptions): Promise<number> {
  let interrupted = false;
  function onSignal(): void {
    if (interrupted) return;
    interrupted = true;
    complain("interrupted, cleaning up");
    void stage.workers.killAll();
  }
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  try {
    const results = await measure(stage, options, () => interrupted);
    progressEnd();
    present(results, options);
    return 0;
  } catch (error) {
    if (interrupted) return 130;
    throw error;
  } finally {
    progressEnd();
    await stage.strike();
  }
}

async function measure(stage: Stage, options: BenchOptions, stop: () => boolean): Promise<Results> {
  const { rows, loads, rounds } = options;
  const scale = options.quick ? SCALES.quick : SCALES.full;
  const machine = describeMachine(stage.directory);
  if (machine.fio === undefined) throw new UserError("bench: fio is missing: apt-get install fio");
  const loadBefore = loadAverage();
  const startedAt = new Date().toISOString();
  const peers: Partial<Record<PeerKind, Peer>> = {};
  for (const { needsPeer } of rows)
    if (needsPeer !== undefined) peers[needsPeer] ??= await stage.addPeer(needsPeer);
  const site: Site = {
    processes: stage.servers,
    directory: stage.directory,
    mortarEnv: options.profile ? profilerEnv(stage, options.profile) : {},
    peers,
  };
  const direct: Record<string, boolean | undefined> = {};
  for (const row of rows) {
    if (stop()) throw new Error("interrupted");
    progress(`starting ${row.title}`);
    const station = await row.start(site);
    stage.stations.set(row.id, station);
    direct[row.id] = await isDirectAtBrick(site, station);
    const warmUp = { processes: stage.workers, scale: { ...scale, seconds: WARM_UP_SEC } };
    await layOut(warmUp, station.directory);
    for (const load of loads) await runFor(WARM_UP_SEC, load, warmUp, station.directory);
  }
  const values: Record<string, Record<string, number[]>> = {};
  for (const { id } of rows) values[id] = Object.fromEntries(loads.map((load) => [load.id, []]));
  const bench = { processes: stage.workers, scale };
  for (let round = 1; round <= rounds; round++) {
    for (const load of loads) {
      for (const row of rows) {
        if (stop()) throw new Error("interrupted");
        const value = await measureOne(bench, stage, row, load);
        values[row.id]![load.id]!.push(value);
        progress(`round ${round}/${rounds}  ${load.title}  ${row.title}: ${shortNumber(value)} ${load.unit}`);
      }
    }
  }
  return {
    machine,
    command: ["npm run bench --", ...process.argv.slice(2)].join(" "),
    scale,
    rounds,
    startedAt,
    loadBefore,
    peerOptions: (await Object.values(peers)[0]?.options()) ?? [],
    rows: rows.map(({ id, title, peer }) => ({ id, title, peer })),
    loads: loads.map(({ id, title, unit, lowerIsBetter }) => ({ id, title, unit, lowerIsBetter })),
    values,
    direct,
  };
}

/** Once at least; short loads again and again, until they had as long as the others. A number each. */
async function runFor(seconds: number, load: Load, bench: Bench, directory: string): Promise<number[]> {
  const numbers: number[] = [];
  const startedMs = performance.now();
  do numbers.push(await load.run(bench, directory));
  while (performance.now() - startedMs < seconds * 1000);
  return numbers;
}

/**
 * One number. What earlier loads left to be written back must not be written on this one's time. The first
 * moments after a change of rows are not typical: the row before still removes its files, and this one's
 * memory has gone to others; so the median of ten seconds counts, not one run of a tenth of a second.
 */
async function measureOne(bench: Bench, stage: Stage, row: Row, load: Load): Promise<number> {
  await stage.workers.run("sync", ["-f", stage.directory]);
  const { directory } = stage.stations.get(row.id)!;
  return median(await runFor(bench.scale.seconds, load, bench, directory));
}

function present(results: Results, options: BenchOptions): void {
  const lines = [terminalTable(results), "", ...notes(results), "", ...goalLines(results), ""];
  process.stdout.write(`${lines.join("\n")}\n`);
  const output = resolve(options.output);
  mkdirSync(output, { recursive: true });
  writeFileSync(join(output, RESULT_FILES.json), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(output, RESULT_FILES.markdown), markdown(results));
  process.stdout.write(`written to ${output}/results.json and results.md\n`);
}

/**
 * Makes every Node process of Mortar write a CPU profile into a directory when it ends. The command line
 * starts what MORTAR_NODE names; NODE_OPTIONS takes no profiler.
 */
function profilerEnv(stage: Stage, directory: string): Record<string, string> {
  mkdirSync(directory, { recursive: true });
  const path = join(stage.directory, "profiled-node");
  const node = `"${process.execPath}" --cpu-prof --cpu-prof-dir="${resolve(directory)}"`;
  writeFileSync(path, `#!/bin/sh\nexec ${node} "$@"\n`);
  chmodSync(path, 0o755);
  return { MORTAR_NODE: path };
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text.slice(0, process.stderr.columns - 1)}`);
  else process.stderr.write(`${text}\n`);
}

function progressEnd(): void {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
}

function complain(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

const VOICE = { progress, progressEnd, complain };

process.exitCode = await main();
