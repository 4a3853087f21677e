/**
 * fio and dd as the loads use them: their arguments, and the numbers that they print. Running them is the
 * caller's.
 *
 * fio runs with direct=1 and fallocate=none, since not every row can fallocate. The two sequential jobs are
 * the project's first requirement: four files, 128k, iodepth 4, 32, 8 and 16.
 */

import { join } from "node:path";

/** The files of the sequential loads, and how deep each is queued. */
export const SEQUENTIAL_FILES = [
  { name: "seq.0", iodepth: 4 },
  { name: "seq.1", iodepth: 32 },
  { name: "seq.2", iodepth: 8 },
  { name: "seq.3", iodepth: 16 },
] as const;

/** Bytes of a request of the sequential loads. */
export const SEQUENTIAL_BYTES = 128 * 1024;

const COMMON = ["--output-format=json", "--ioengine=libaio", "--direct=1", "--fallocate=none"];

export function sequentialArguments(rw: "read" | "write", directory: string, fileMiB: number): string[] {
  const jobs = SEQUENTIAL_FILES.flatMap(({ name, iodepth }) => [
    `--name=${name}`,
    `--filename=${join(directory, name)}`,
    `--iodepth=${iodepth}`,
    `--rw=${rw}`,
  ]);
  return [...COMMON, "--bs=128k", `--size=${fileMiB}m`, ...jobs];
}

export interface RandomJob {
  readonly rw: "read" | "write";
  readonly directory: string;
  readonly fileMiB: number;
  readonly seconds: number;
  readonly iodepth: number;
}

/** 4k requests all over the first of the sequential files. */
export function randomArguments({ rw, directory, fileMiB, seconds, iodepth }: RandomJob): string[] {
  return [
    ...COMMON,
    ...[`--iodepth=${iodepth}`, "--bs=4k", `--size=${fileMiB}m`, "--time_based=1", `--runtime=${seconds}`],
    ...["--randseed=1", "--norandommap", "--name=random"],
    ...[`--filename=${join(directory, SEQUENTIAL_FILES[0].name)}`, `--rw=rand${rw}`],
  ];
}

/** `blocks` of 1024 zeroes into a file. */
export function ddArguments(path: string, blocks: number): string[] {
  return ["if=/dev/zero", `of=${path}`, "bs=1024", `count=${blocks}`];
}

/** The part of a job's JSON result that is used; `runtime` is milliseconds. */
export interface FioDirection {
  readonly io_bytes: number;
  readonly runtime: number;
  readonly lat_ns: { readonly mean: number };
  readonly clat_ns?: { readonly percentile?: Readonly<Record<string, number>> };
}
export interface FioJob {
  readonly error: number;
  readonly jobname: string;
  readonly read: FioDirection;
  readonly write: FioDirection;
}

/** The jobs of fio's output. Throws when one of them failed. */
export function parseFio(output: string): FioJob[] {
  // Warnings may stand before the JSON.
  const { jobs } = JSON.parse(output.slice(output.indexOf("{"))) as { jobs: FioJob[] };
  const failed = jobs.find((job) => job.error !== 0);
  if (failed) throw new Error(`fio: job ${failed.jobname}: error ${failed.error}`);
  return jobs;
}

/** Bytes per second of dd's last line: `67108864 bytes (67 MB, 64 MiB) copied, 1.2 s, 55.9 MB/s`. */
export function parseDd(text: string): number | undefined {
  const match = /^(\d+) bytes .*copied, ([\d.e+-]+) s,/m.exec(text);
  return match ? Number(match[1]) / Number(match[2]) : undefined;
}
