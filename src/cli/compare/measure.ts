/**
 * One measurement: a load on a row by the generator, or by fio and dd where a row has a path. And the files
 * that the loads need, written in full before anything is measured.
 */

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  ddArguments,
  parseDd,
  parseFio,
  randomArguments,
  SEQUENTIAL_BYTES,
  SEQUENTIAL_FILES,
  sequentialArguments,
} from "../../compare/fio.ts";
import { type Job, type JobResult, runJobs, runSmallWrites } from "../../compare/generator.ts";
import {
  type Load,
  type Sample,
  type Scale,
  sampleOfDd,
  sampleOfFio,
  sampleOfJobs,
} from "../../compare/loads.ts";
import type { Env } from "../../core/env.ts";
import { UserError } from "../../core/errors.ts";
import { EVENT_LOOP } from "../../os/busy-poll.ts";
import { alignedBuffer } from "../../os/memory.ts";
import type { OpenLoadFile, Station } from "./rows.ts";

export interface Measuring {
  readonly scale: Scale;
  readonly env: Env;
  readonly signal: AbortSignal;
  /** Cuts every load short; for warming up. */
  readonly limitMs?: number;
}

const RANDOM_BYTES = 4096;
const DD_BYTES = 1024;
const DD_FILE = "dd.out";
/** A program on a mount that hangs ends here. */
const PROGRAM_MS = 300_000;
/** What a program that is told to end may take. */
const END_MS = 5000;
const OUTPUT_BYTES_MAX = 16 << 20;
const MIB = 2 ** 20;

/** Bytes that compress as badly as an image's and are the same for every row. */
function payload(size: number): Buffer {
  const data = alignedBuffer(size);
  let state = 0x9e3779b9;
  for (let at = 0; at < size; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data.writeUInt32LE(state, at);
  }
  return data;
}

const PAYLOAD = payload(SEQUENTIAL_BYTES);

/** Writes the files of all loads, in full, and syncs them. */
export async function layOut(station: Station, measuring: Measuring): Promise<void> {
  await withFiles(station, async (files) => {
    await runJobs(
      sequentialJobs(files, "write", { ...measuring, limitMs: undefined }),
      measuring.env,
      measuring.signal,
    );
    for (const file of files) await file.fsync();
  });
}

/** By the generator. */
export async function measure(station: Station, load: Load, measuring: Measuring): Promise<Sample> {
  EVENT_LOOP.enabled = !sleepsBetween(station, load);
  try {
    return await generate(station, load, measuring);
  } finally {
    EVENT_LOOP.enabled = true;
  }
}

/**
 * Whether the generator sleeps until requests are answered. It does, as fio does, where others answer them
 * and many are in flight: to look out for them would take the cores from who answers. One at a time it
 * polls, as QEMU does; and the library polls in any case, for its own sake.
 */
function sleepsBetween(station: Station, load: Load): boolean {
  return station.directory !== undefined && !(load.kind === "random" && load.depth === 1);
}

async function generate(station: Station, load: Load, measuring: Measuring): Promise<Sample> {
  const { env, signal } = measuring;
  switch (load.kind) {
    case "sequential":
      return withFiles(station, async (files) =>
        sampleOfJobs(await runJobs(sequentialJobs(files, load.rw, measuring), env, signal)),
      );
    case "random":
      return withFile(await station.open(SEQUENTIAL_FILES[0].name), async (file) =>
        sampleOfJobs(await runJobs([randomJob(file, load, measuring)], env, signal)),
      );
    case "small-writes":
      return smallWrites(station, measuring);
  }
}

function sequentialJobs(
  files: readonly OpenLoadFile[],
  rw: "read" | "write",
  { scale, limitMs }: { scale: Scale; limitMs?: number | undefined },
): Job[] {
  return files.map((file, index) => ({
    file,
    rw,
    order: "sequential",
    blockBytes: SEQUENTIAL_BYTES,
    fileBytes: scale.fileMiB * MIB,
    depth: SEQUENTIAL_FILES[index]!.iodepth,
    data: PAYLOAD,
    ...(limitMs === undefined ? {} : { limitMs }),
  }));
}

function randomJob(
  file: OpenLoadFile,
  { rw, depth }: Extract<Load, { kind: "random" }>,
  { scale, limitMs = scale.randomSec * 1000 }: Measuring,
): Job {
  return {
    file,
    rw,
    order: "random",
    blockBytes: RANDOM_BYTES,
    fileBytes: scale.fileMiB * MIB,
    depth,
    data: PAYLOAD.subarray(0, RANDOM_BYTES),
    limitMs,
  };
}

/** With what dd's own time has in it: open, writes, close. */
async function smallWrites(station: Station, { scale, env, signal, limitMs }: Measuring): Promise<Sample> {
  const data = PAYLOAD.subarray(0, DD_BYTES);
  const job = { blocks: scale.ddBlocks, data, ...(limitMs === undefined ? {} : { limitMs }) };
  const startedMs = env.clock.nowMs();
  try {
    const result = await withFile(await station.create(DD_FILE), (file) =>
      runSmallWrites(file, job, env, signal),
    );
    const whole: JobResult = { ...result, elapsedMs: env.clock.nowMs() - startedMs };
    return sampleOfJobs([whole]);
  } finally {
    await station.remove(DD_FILE).catch(() => {});
  }
}

/** By fio, and by dd for what dd is named after. */
export async function measureByTools(
  directory: string,
  load: Load,
  { scale, signal }: Measuring,
): Promise<Sample> {
  const { fileMiB, randomSec, ddBlocks } = scale;
  switch (load.kind) {
    case "sequential": {
      const { stdout } = await run("fio", sequentialArguments(load.rw, directory, fileMiB), signal);
      return sampleOfFio(parseFio(stdout), load.rw, SEQUENTIAL_BYTES);
    }
    case "random": {
      const job = { rw: load.rw, directory, fileMiB, seconds: randomSec, iodepth: load.depth };
      const { stdout } = await run("fio", randomArguments(job), signal);
      return sampleOfFio(parseFio(stdout), load.rw, RANDOM_BYTES);
    }
    case "small-writes": {
      const path = join(directory, DD_FILE);
      try {
        const { stderr } = await run("dd", ddArguments(path, ddBlocks), signal);
        const rate = parseDd(stderr);
        if (rate === undefined) throw new UserError(`compare: dd: ${stderr.trim()}`);
        return sampleOfDd(rate);
      } finally {
        await run("rm", ["-f", path], signal).catch(() => {});
      }
    }
  }
}

async function run(
  command: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<{ stdout: string; stderr: string }> {
  signal.throwIfAborted();
  const running = promisify(execFile)(command, args, {
    killSignal: "SIGKILL",
    timeout: PROGRAM_MS,
    maxBuffer: OUTPUT_BYTES_MAX,
    env: { ...process.env, LC_ALL: "C" },
  });
  // fio's jobs are processes in sessions of their own, which only fio itself ends: killed, it leaves them.
  let impatient: NodeJS.Timeout | undefined;
  const end = (): void => {
    running.child.kill("SIGTERM");
    impatient = setTimeout(() => running.child.kill("SIGKILL"), END_MS);
  };
  signal.addEventListener("abort", end, { once: true });
  try {
    return await running;
  } catch (error) {
    signal.throwIfAborted();
    const said = (error as { stderr?: string }).stderr?.trim().split("\n").at(-1);
    throw new UserError(`compare: ${command}: ${said || (error as Error).message}`);
  } finally {
    clearTimeout(impatient);
    signal.removeEventListener("abort", end);
  }
}

async function withFiles<R>(station: Station, work: (files: OpenLoadFile[]) => Promise<R>): Promise<R> {
  const files: OpenLoadFile[] = [];
  try {
    for (const { name } of SEQUENTIAL_FILES) files.push(await station.open(name));
    return await work(files);
  } finally {
    for (const file of files) await file.close();
  }
}

async function withFile<R>(file: OpenLoadFile, work: (file: OpenLoadFile) => Promise<R>): Promise<R> {
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}
