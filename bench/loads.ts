/**
 * The loads: what is run on a row's directory and the one number that comes out.
 *
 * Files are laid out once before the first measurement, so that no load pays for allocating blocks. An I/O
 * error fails the run. What fio does exactly: src/compare/fio.ts.
 */

import { join } from "node:path";
import {
  ddArguments,
  type FioJob,
  parseDd,
  parseFio,
  randomArguments,
  sequentialArguments,
} from "../src/compare/fio.ts";
import type { Processes } from "../test/support/processes.ts";

/** How much work one measurement is. */
export interface Scale {
  /** Size of each of the four files. */
  readonly fileMiB: number;
  /** Length of a measurement: 4k requests go on for so long, other loads are repeated until it is over. */
  readonly seconds: number;
  /** Blocks of 1024 bytes that dd writes. */
  readonly ddBlocks: number;
}

/**
 * How long each load runs unmeasured, at least: a mount runs for months, and Mortar's is being compiled in
 * its first seconds.
 */
export const WARM_UP_SEC = 10;

export const SCALES = {
  full: { fileMiB: 256, seconds: 10, ddBlocks: 65536 },
  quick: { fileMiB: 64, seconds: 2, ddBlocks: 16384 },
} as const satisfies Record<string, Scale>;

export interface Load {
  readonly id: string;
  readonly title: string;
  readonly unit: "MB/s" | "us";
  /** Whether less is better. */
  readonly lowerIsBetter: boolean;
  run(bench: Bench, directory: string): Promise<number>;
}

/** What a load needs to run. */
export interface Bench {
  readonly processes: Processes;
  readonly scale: Scale;
}

/** A measurement of a mount that hangs ends here. */
const TIMEOUT_MS = 300_000;
const BYTES_PER_MB = 1e6;

export const LOADS: readonly Load[] = [
  sequential("write"),
  sequential("read"),
  random("read"),
  random("write"),
  {
    id: "dd",
    title: "dd bs=1024",
    unit: "MB/s",
    lowerIsBetter: false,
    run: runDd,
  },
];

/** Writes the files that the loads use, in full. */
export async function layOut(bench: Bench, directory: string): Promise<void> {
  await fio(bench, sequentialArguments("write", directory, bench.scale.fileMiB));
}

/** The load as text, for the report. */
export function describeLoads(scale: Scale): string[] {
  return [
    `seq write, seq read: fio libaio direct=1 bs=128k, 4 files of ${scale.fileMiB} MiB, iodepth 4/32/8/16, overwriting`,
    `4k read, 4k write: fio libaio direct=1 bs=4k iodepth=1, random in one ${scale.fileMiB} MiB file, ${scale.seconds} s, mean latency`,
    `dd: dd if=/dev/zero bs=1024 count=${scale.ddBlocks} into a new file, no sync`,
    `before the first round every load runs unmeasured for at least ${WARM_UP_SEC} s`,
    `sync -f before each measurement; what takes less than ${scale.seconds} s is repeated, the median counts`,
  ];
}

function sequential(rw: "read" | "write"): Load {
  return {
    id: `seq-${rw}`,
    title: `seq ${rw}`,
    unit: "MB/s",
    lowerIsBetter: false,
    run: async (bench, directory) => {
      const jobs = await fio(bench, sequentialArguments(rw, directory, bench.scale.fileMiB));
      const bytes = jobs.reduce((sum, job) => sum + job[rw].io_bytes, 0);
      const slowestMs = Math.max(...jobs.map((job) => job[rw].runtime));
      return bytes / BYTES_PER_MB / (slowestMs / 1000);
    },
  };
}

function random(rw: "read" | "write"): Load {
  return {
    id: `4k-${rw}`,
    title: `4k ${rw}`,
    unit: "us",
    lowerIsBetter: true,
    run: async (bench, directory) => {
      const { fileMiB, seconds } = bench.scale;
      const job = { rw, directory, fileMiB, seconds, iodepth: 1 };
      const [done] = await fio(bench, randomArguments(job));
      return done![rw].lat_ns.mean / 1000;
    },
  };
}

async function fio(bench: Bench, args: readonly string[]): Promise<FioJob[]> {
  return parseFio(await bench.processes.run("fio", args, { timeoutMs: TIMEOUT_MS }));
}

async function runDd(bench: Bench, directory: string): Promise<number> {
  const path = join(directory, "dd.out");
  const { stderr, code } = await bench.processes.tryRun("dd", ddArguments(path, bench.scale.ddBlocks), {
    timeoutMs: TIMEOUT_MS,
    env: { LC_ALL: "C" },
  });
  const bytesPerSecond = parseDd(stderr);
  if (code !== 0 || bytesPerSecond === undefined) throw new Error(`dd: exit ${code}: ${stderr.trim()}`);
  await bench.processes.run("rm", [path], { timeoutMs: TIMEOUT_MS });
  return bytesPerSecond / BYTES_PER_MB;
}
