/**
 * The loads: what is run on a row's directory and the one number that comes out.
 *
 * Files are laid out once before the first measurement, so that no load pays for allocating blocks. fio runs
 * with direct=1 and fallocate=none, since not every row can fallocate; an I/O error fails
 * the run.
 * Sources: the two sequential jobs are the project's first requirement (four files, 128k, iodepth 4/32/8/16).
 */

import { join } from "node:path";
import type { Processes } from "../test/support/processes.ts";

/** How much work one measurement is. */
export interface Scale {
  /** Size of each of the four files. */
  readonly fileMiB: number;
  /** Length of a measurement of 4k requests. */
  readonly randomSec: number;
  /** Blocks of 1024 bytes that dd writes. */
  readonly ddBlocks: number;
}

export const SCALES = {
  full: { fileMiB: 256, randomSec: 10, ddBlocks: 65536 },
  quick: { fileMiB: 64, randomSec: 2, ddBlocks: 16384 },
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
/** fio's own names of the files, and how deep each is queued. */
const FILES = [
  { name: "seq.0", iodepth: 4 },
  { name: "seq.1", iodepth: 32 },
  { name: "seq.2", iodepth: 8 },
  { name: "seq.3", iodepth: 16 },
] as const;
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
  await fio(bench, sequentialJobs("write", directory, bench.scale.fileMiB));
}

/** The load as text, for the report. */
export function describeLoads(scale: Scale): string[] {
  return [
    `seq write, seq read: fio libaio direct=1 bs=128k, 4 files of ${scale.fileMiB} MiB, iodepth 4/32/8/16, overwriting`,
    `4k read, 4k write: fio libaio direct=1 bs=4k iodepth=1, random in one ${scale.fileMiB} MiB file, ${scale.randomSec} s, mean latency`,
    `dd: dd if=/dev/zero bs=1024 count=${scale.ddBlocks} into a new file, no sync`,
  ];
}

function sequential(rw: "read" | "write"): Load {
  return {
    id: `seq-${rw}`,
    title: `seq ${rw}`,
    unit: "MB/s",
    lowerIsBetter: false,
    run: async (bench, directory) => {
      const jobs = await fio(bench, sequentialJobs(rw, directory, bench.scale.fileMiB));
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
      const { fileMiB, randomSec } = bench.scale;
      const [job] = await fio(bench, [
        ...["--ioengine=libaio", "--direct=1", "--fallocate=none", "--iodepth=1", "--bs=4k"],
        ...[
          `--size=${fileMiB}m`,
          "--time_based=1",
          `--runtime=${randomSec}`,
          "--randseed=1",
          "--norandommap",
        ],
        ...[`--name=random`, `--filename=${join(directory, FILES[0].name)}`, `--rw=rand${rw}`],
      ]);
      return job![rw].lat_ns.mean / 1000;
    },
  };
}

function sequentialJobs(rw: "read" | "write", directory: string, fileMiB: number): string[] {
  const common = ["--ioengine=libaio", "--direct=1", "--fallocate=none", "--bs=128k", `--size=${fileMiB}m`];
  const jobs = FILES.flatMap(({ name, iodepth }) => [
    `--name=${name}`,
    `--filename=${join(directory, name)}`,
    `--iodepth=${iodepth}`,
    `--rw=${rw}`,
  ]);
  return [...common, ...jobs];
}

/** The part of a job's JSON result that is used here; `runtime` is milliseconds. */
interface FioDirection {
  readonly io_bytes: number;
  readonly runtime: number;
  readonly lat_ns: { readonly mean: number };
}
interface FioJob {
  readonly error: number;
  readonly jobname: string;
  readonly read: FioDirection;
  readonly write: FioDirection;
}

async function fio(bench: Bench, args: readonly string[]): Promise<FioJob[]> {
  const output = await bench.processes.run("fio", ["--output-format=json", ...args], {
    timeoutMs: TIMEOUT_MS,
  });
  // Warnings may stand before the JSON.
  const { jobs } = JSON.parse(output.slice(output.indexOf("{"))) as { jobs: FioJob[] };
  const failed = jobs.find((job) => job.error !== 0);
  if (failed) throw new Error(`fio: job ${failed.jobname}: error ${failed.error}`);
  return jobs;
}

async function runDd(bench: Bench, directory: string): Promise<number> {
  const path = join(directory, "dd.out");
  const { stderr, code } = await bench.processes.tryRun(
    "dd",
    ["if=/dev/zero", `of=${path}`, "bs=1024", `count=${bench.scale.ddBlocks}`],
    { timeoutMs: TIMEOUT_MS, env: { LC_ALL: "C" } },
  );
  const rate = parseDd(stderr);
  if (code !== 0 || rate === undefined) throw new Error(`dd: exit ${code}: ${stderr.trim()}`);
  await bench.processes.run("rm", [path], { timeoutMs: TIMEOUT_MS });
  return rate;
}

/** MB/s out of dd's last line: `67108864 bytes (67 MB, 64 MiB) copied, 1.2 s, 55.9 MB/s`. */
export function parseDd(text: string): number | undefined {
  const match = /^(\d+) bytes .*copied, ([\d.e+-]+) s,/m.exec(text);
  return match ? Number(match[1]) / BYTES_PER_MB / Number(match[2]) : undefined;
}
