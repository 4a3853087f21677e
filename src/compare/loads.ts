/**
 * The loads of a comparison and what comes out of one measurement.
 *
 * Sequential: the project's first requirement, as fio ran it: four files, 128k, iodepth 4/32/8/16; aggrb is
 * all bytes by the time of the slowest file, minb and maxb are the slowest and the fastest file's own rates.
 * Random: 4k, one request at a time for the latency, many for the rate. dd: 1024 bytes at a time, buffered.
 */

import type { Statfs } from "../core/fops.ts";
import { type LatencySnapshot, latenciesTogether, NO_LATENCIES, percentileMs } from "../core/latency.ts";
import { type FioJob, SEQUENTIAL_FILES } from "./fio.ts";
import type { JobResult } from "./generator.ts";

/** How much work one measurement is. */
export interface Scale {
  /** Size of each of the four files. */
  readonly fileMiB: number;
  /** Length of a measurement of random requests. */
  readonly randomSec: number;
  /** Blocks of 1024 bytes that dd writes. */
  readonly ddBlocks: number;
  /** Unmeasured work of each load when a row has just started: code is compiled, connections are warm. */
  readonly warmUpMs: number;
}

export const COMPARE_SCALES = {
  full: { fileMiB: 256, randomSec: 5, ddBlocks: 32768, warmUpMs: 2000 },
  quick: { fileMiB: 16, randomSec: 1, ddBlocks: 4096, warmUpMs: 200 },
} as const satisfies Record<string, Scale>;

export type Load = {
  readonly id: string;
  readonly title: string;
  /** Which number counts. */
  readonly metric: "rate" | "latency";
} & (
  | { readonly kind: "sequential"; readonly rw: "read" | "write" }
  | { readonly kind: "random"; readonly rw: "read" | "write"; readonly depth: number }
  | { readonly kind: "small-writes" }
);

export const COMPARE_LOADS: readonly Load[] = [
  { id: "seq-write", title: "seq write 128k", metric: "rate", kind: "sequential", rw: "write" },
  { id: "seq-read", title: "seq read 128k", metric: "rate", kind: "sequential", rw: "read" },
  {
    id: "4k-write",
    title: "4k write, one at a time",
    metric: "latency",
    kind: "random",
    rw: "write",
    depth: 1,
  },
  { id: "4k-read", title: "4k read, one at a time", metric: "latency", kind: "random", rw: "read", depth: 1 },
  {
    id: "4k-write-32",
    title: "4k write, 32 in flight",
    metric: "rate",
    kind: "random",
    rw: "write",
    depth: 32,
  },
  { id: "4k-read-32", title: "4k read, 32 in flight", metric: "rate", kind: "random", rw: "read", depth: 32 },
  { id: "dd", title: "dd bs=1024", metric: "rate", kind: "small-writes" },
];

/** What one measurement gave. Rates in KB (1024 bytes) a second, as fio printed them then; times in us. */
export interface Sample {
  readonly aggrb: number;
  readonly minb: number;
  readonly maxb: number;
  readonly iops: number;
  readonly meanUs: number;
  readonly p99Us: number;
}

const KB = 1024;

/** Bytes that a row's files take. */
export function bytesNeeded(scale: Scale): number {
  return SEQUENTIAL_FILES.length * scale.fileMiB * 2 ** 20 + scale.ddBlocks * 1024;
}

/** Share of a file system that must stay free. */
const FREE_SHARE = 0.05;

/** Whether a file system has room for the files of `users` rows or bricks, and some to spare. */
export function spaceFor(
  { bavail, blocks, frsize }: Pick<Statfs, "bavail" | "blocks" | "frsize">,
  scale: Scale,
  users = 1,
): { fits: boolean; neededBytes: number; reserveBytes: number; freeBytes: number } {
  const neededBytes = users * bytesNeeded(scale);
  const freeBytes = bavail * frsize;
  const reserveBytes = blocks * frsize * FREE_SHARE;
  return { fits: freeBytes - neededBytes >= reserveBytes, neededBytes, reserveBytes, freeBytes };
}

export function sampleOfJobs(jobs: readonly JobResult[]): Sample {
  const bytes = jobs.reduce((sum, job) => sum + job.bytes, 0);
  const elapsedMs = Math.max(...jobs.map((job) => job.elapsedMs));
  const rates = jobs.map((job) => rateKb(job.bytes, job.elapsedMs));
  const all = jobs.reduce<LatencySnapshot>((sum, job) => latenciesTogether(sum, job.latencies), NO_LATENCIES);
  return {
    aggrb: rateKb(bytes, elapsedMs),
    minb: Math.min(...rates),
    maxb: Math.max(...rates),
    iops: (all.count / elapsedMs) * 1000,
    meanUs: (all.totalMs / all.count) * 1000,
    p99Us: percentileMs(all, 0.99) * 1000,
  };
}

/** `blockBytes`: of a request. */
export function sampleOfFio(jobs: readonly FioJob[], rw: "read" | "write", blockBytes: number): Sample {
  const sides = jobs.map((job) => job[rw]);
  const bytes = sides.reduce((sum, side) => sum + side.io_bytes, 0);
  const elapsedMs = Math.max(...sides.map((side) => side.runtime));
  const rates = sides.map((side) => rateKb(side.io_bytes, side.runtime));
  const p99Ns = Math.max(...sides.map((side) => side.clat_ns?.percentile?.["99.000000"] ?? Number.NaN));
  return {
    aggrb: rateKb(bytes, elapsedMs),
    minb: Math.min(...rates),
    maxb: Math.max(...rates),
    iops: (bytes / blockBytes / elapsedMs) * 1000,
    meanUs: sides.reduce((sum, side) => sum + side.lat_ns.mean, 0) / sides.length / 1000,
    p99Us: p99Ns / 1000,
  };
}

/** `blockBytes` a write, one after the other. */
export function sampleOfDd(bytesPerSecond: number, blockBytes = 1024): Sample {
  const kb = bytesPerSecond / KB;
  const iops = bytesPerSecond / blockBytes;
  return { aggrb: kb, minb: kb, maxb: kb, iops, meanUs: 1e6 / iops, p99Us: Number.NaN };
}

function rateKb(bytes: number, elapsedMs: number): number {
  return bytes / KB / (elapsedMs / 1000);
}

/** The loads in words, for the notes below a table. */
export function describeLoads(scale: Scale): string[] {
  const { fileMiB, randomSec, ddBlocks, warmUpMs } = scale;
  return [
    `seq: O_DIRECT, 4 files of ${fileMiB} MiB side by side, 128k, 4/32/8/16 in flight; aggrb all bytes by the ` +
      "slowest file's time, minb and maxb single files; KB is 1024 bytes",
    `4k: O_DIRECT, random in one of these files, ${randomSec} s`,
    `dd: ${ddBlocks} writes of 1024 bytes into a new file, buffered, each after the other, close included, no sync`,
    "the generator sleeps while many requests are in flight, as fio does, and polls for one at a time, as QEMU does",
    `a row that has just started runs each load for up to ${warmUpMs / 1000} s before it is measured`,
  ];
}
