/**
 * A comparison from its first look at the volume to its results: space is checked before anything is written,
 * rows are measured in turns, round by round, so that noise of the machine hits all alike, and whatever
 * comes, everything that was made is taken away again: files, directories, mounts, processes.
 *
 * A volume whose bricks are in its graph is for one process at a time: its rows start and stop in every
 * round.
 */

import { mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Volume } from "../../api/volume.ts";
import { describeLoads, type Load, type Sample, type Scale, spaceFor } from "../../compare/loads.ts";
import { describeMachine, loadAverage } from "../../compare/machine.ts";
import { type Comparison, type OpenTimes, rowInfos } from "../../compare/results.ts";
import { median } from "../../compare/stats.ts";
import type { Env } from "../../core/env.ts";
import { UserError } from "../../core/errors.ts";
import type { Statfs } from "../../core/fops.ts";
import { newGfid } from "../../core/gfid.ts";
import { O_CREAT, O_RDWR } from "../../core/open-flags.ts";
import { statfs } from "../../os/files.ts";
import { removeTree } from "../files/rm-command.ts";
import { sizeText } from "../heal-progress.ts";
import { layOut, type Measuring, measure, measureByTools } from "./measure.ts";
import { baseRow, directRow, mountRow, type Row, type Station } from "./rows.ts";
import {
  directoryBeside,
  isExclusive,
  isSameDisk,
  makeDirectory,
  removeDirectory,
  Subject,
} from "./subject.ts";

export interface CompareOptions {
  readonly source: string;
  /** Directory to make the base row's in; a local brick's disk when absent. */
  readonly base: string | undefined;
  /** With fuse-native too. */
  readonly allEdges: boolean;
  readonly withFio: boolean;
  readonly scale: Scale;
  readonly rounds: number;
  readonly loads: readonly Load[];
  /** As the user typed it. */
  readonly command: string;
}

export interface CompareWatcher {
  /** So many measurements there will be. */
  expect(steps: number): void;
  /** What is being done now. */
  now(text: string): void;
  /** One measurement is done. */
  step(): void;
}

const IMAGE_OPENS = 9;

export class CompareRun {
  readonly #options: CompareOptions;
  readonly #env: Env;
  readonly #signal: AbortSignal;
  readonly #watcher: CompareWatcher;
  readonly #stations = new Map<Row, Station>();
  /** Whether the files of the volume (true) and of the base (false) are there. */
  readonly #laidOut = new Set<boolean>();
  readonly #undo: (() => Promise<void>)[] = [];
  readonly #notes: string[] = [];

  constructor(options: CompareOptions, env: Env, signal: AbortSignal, watcher: CompareWatcher) {
    this.#options = options;
    this.#env = env;
    this.#signal = signal;
    this.#watcher = watcher;
  }

  /** Rejects with UserError or FopError, or with the signal's reason; nothing is left behind in any case. */
  async run(): Promise<Comparison> {
    try {
      return await this.#run();
    } finally {
      await this.#cleanUp();
    }
  }

  async #run(): Promise<Comparison> {
    const { source, base, scale, command, loads, rounds, withFio } = this.#options;
    const startedAt = new Date().toISOString();
    const loadBefore = loadAverage();
    const scratch = await mkdtemp(join(tmpdir(), "mortar-compare-"));
    this.#undo.push(() => removeDirectory(scratch));
    const subject = await Subject.of(source, scratch);
    const seen = await this.#look(subject, base);
    const rows = await this.#rows(subject, seen, scratch);
    const machine = describeMachine(seen.base ?? scratch);
    const useFio = withFio && machine.fio !== undefined;
    if (withFio && !useFio) this.#notes.push("fio is not installed: no rows of it (apt-get install fio)");
    const samples = await this.#measureAll(rows, useFio, seen.exclusive);
    return {
      format: "mortar-compare-1",
      source: subject.title,
      command,
      startedAt,
      machine,
      loadBefore,
      graph: seen.graph,
      scale,
      rounds,
      openMs: seen.openMs,
      rows: rowInfos(rows, useFio),
      loads: loads.map(({ id, title, metric }) => ({ id, title, metric })),
      samples,
      notes: [...describeLoads(scale), ...this.#notes],
    };
  }

  /**
   * Opens the volume once: what it is made of, how long that takes, whether there is room; makes directories.
   */
  async #look(subject: Subject, baseParent: string | undefined): Promise<Look> {
    const { clock } = this.#env;
    const startedMs = clock.nowMs();
    const volume = await subject.open(this.#signal);
    try {
      const openedMs = clock.nowMs() - startedMs;
      const exclusive = isExclusive(volume.graph);
      const bricks = subject.localBricks(volume.graph);
      checkSpace(`volume "${subject.title}"`, await volume.statfs(), this.#options.scale);
      const base = await this.#makeBase(baseParent, bricks);
      const directory = `/mortar-compare-${newGfid().toString("hex").slice(0, 12)}`;
      await volume.mkdir(directory, 0o700);
      this.#undo.push(() => this.#removeFromVolume(subject, directory));
      const imageMs = await this.#timeImages(volume, `${directory}/image`);
      const graph = volume.graph.xlators.map(({ name, type }) => `${name} ${type}`).reverse();
      const closingMs = clock.nowMs();
      await volume.close();
      const openMs = { volumeMs: openedMs + clock.nowMs() - closingMs, imageMs };
      return { base, directory, exclusive, graph, openMs };
    } finally {
      await volume.close();
    }
  }

  async #makeBase(parent: string | undefined, bricks: readonly string[]): Promise<string | undefined> {
    const [brick] = bricks;
    if (parent === undefined && brick === undefined) {
      this.#notes.push("no Base row: no brick is on this machine; --base DIR names a directory for it");
      return undefined;
    }
    const base = parent === undefined ? await directoryBeside(brick!) : await makeDirectory(parent);
    this.#undo.push(() => removeDirectory(base));
    // Bricks on the same disk take their part of it too.
    const users = 1 + bricks.filter((path) => isSameDisk(path, base)).length;
    checkSpace(`base "${parent ?? brick}"`, await statfs(base), this.#options.scale, users);
    this.#notes.push(`Base: a directory on the file system of ${parent ?? `brick ${brick}`}`);
    return base;
  }

  /** Opens and closes a file, as a VM's start and end would. */
  async #timeImages(volume: Volume, path: string): Promise<number> {
    const { clock } = this.#env;
    await (await volume.open(path, O_CREAT | O_RDWR, 0o600)).close();
    const tookMs: number[] = [];
    for (let turn = 0; turn < IMAGE_OPENS; turn++) {
      const startedMs = clock.nowMs();
      await (await volume.open(path, O_RDWR)).close();
      tookMs.push(clock.nowMs() - startedMs);
    }
    return median(tookMs);
  }

  async #rows(subject: Subject, { base, directory }: Look, scratch: string): Promise<Row[]> {
    const rows = base === undefined ? [] : [baseRow(base)];
    rows.push(directRow(subject, directory));
    for (const edge of this.#options.allEdges
      ? (["dev-fuse", "fuse-native"] as const)
      : (["dev-fuse"] as const)) {
      const mountpoint = join(scratch, edge);
      await mkdir(mountpoint);
      rows.push(mountRow(subject, directory, edge, { mountpoint, logFile: join(scratch, `${edge}.log`) }));
    }
    return rows;
  }

  async #measureAll(
    rows: readonly Row[],
    useFio: boolean,
    exclusive: boolean,
  ): Promise<Record<string, Record<string, Sample[]>>> {
    const { loads, rounds, scale } = this.#options;
    const measuring: Measuring = { scale, env: this.#env, signal: this.#signal };
    const samples: Record<string, Record<string, Sample[]>> = {};
    const keep = (row: string, load: string, sample: Sample): void => {
      samples[row] ??= {};
      samples[row][load] ??= [];
      samples[row][load].push(sample);
    };
    this.#watcher.expect(rows.length * loads.length * rounds);
    // A row that cannot be had is told about before time is spent on others.
    if (!exclusive) for (const row of rows) await this.#start(row, measuring);
    for (let round = 1; round <= rounds; round++) {
      for (const row of rows) {
        const station = await this.#start(row, measuring);
        for (const load of loads) {
          this.#watcher.now(`round ${round} of ${rounds}, ${row.title}, ${load.title}`);
          keep(row.id, load.id, await measure(station, load, measuring));
          if (useFio && station.directory !== undefined)
            keep(`${row.id}-fio`, load.id, await measureByTools(station.directory, load, measuring));
          this.#watcher.step();
        }
        if (exclusive) await this.#stop(row);
      }
    }
    return samples;
  }

  /** Starts a row unless it is up; the first of those that share files writes them. */
  async #start(row: Row, measuring: Measuring): Promise<Station> {
    const running = this.#stations.get(row);
    if (running) return running;
    this.#watcher.now(`starting ${row.title}`);
    const station = await row.start(this.#signal);
    this.#stations.set(row, station);
    if (!this.#laidOut.has(row.isVolume)) await layOut(station, measuring);
    this.#laidOut.add(row.isVolume);
    for (const load of this.#options.loads)
      await measure(station, load, { ...measuring, limitMs: this.#options.scale.warmUpMs });
    return station;
  }

  async #stop(row: Row): Promise<void> {
    const station = this.#stations.get(row);
    this.#stations.delete(row);
    await station?.stop();
  }

  async #removeFromVolume(subject: Subject, directory: string): Promise<void> {
    // Wanted also, and above all, after the user wanted an end.
    const { signal } = new AbortController();
    await using volume = await subject.open(signal);
    await removeTree(volume, directory, signal);
  }

  /** Every step is tried, whatever the ones before it did. */
  async #cleanUp(): Promise<void> {
    for (const row of [...this.#stations.keys()].reverse())
      await this.#stop(row).catch((error: Error) => complain(`${row.title}: ${error.message}`));
    for (const undo of this.#undo.reverse())
      await undo().catch((error: Error) => complain(`cleaning up: ${error.message}`));
  }
}

interface Look {
  readonly base: string | undefined;
  /** On the volume. */
  readonly directory: string;
  readonly exclusive: boolean;
  readonly graph: readonly string[];
  readonly openMs: OpenTimes;
}

/**
 * Throws UserError when the files would not fit, or fill more than anybody wants; `users` rows put them
 * there.
 */
function checkSpace(who: string, statfs: Statfs, scale: Scale, users = 1): void {
  const { fits, neededBytes, reserveBytes, freeBytes } = spaceFor(statfs, scale, users);
  if (fits) return;
  throw new UserError(
    `compare: ${who}: ${sizeText(neededBytes)} are needed and ${sizeText(reserveBytes)} must stay free, ` +
      `but only ${sizeText(freeBytes)} are free; make room, or try --quick`,
  );
}

function complain(text: string): void {
  process.stderr.write(`mortar: compare: ${text}\n`);
}
