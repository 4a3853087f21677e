/**
 * The load generator: the same for a directory, a mount and the library, so that what differs between two
 * rows is the way to the data and nothing else. One process, one thread, as many requests in flight as asked
 * for.
 *
 * A job is one open file; `runJobs` runs several side by side. When it rejects nothing is in flight any more.
 */

import type { Env } from "../core/env.ts";
import type { Lease } from "../core/iovec.ts";
import { LatencyHistogram, type LatencySnapshot } from "../core/latency.ts";

/** An open file of a row. */
export interface LoadFile {
  readVector(offset: number, size: number): Promise<Lease & { readonly size: number }>;
  write(offset: number, data: Buffer): Promise<number>;
  /** Where there is it, what a program with blocking calls does. */
  writeSync?(offset: number, data: Buffer): void;
}

export interface Job {
  readonly file: LoadFile;
  readonly rw: "read" | "write";
  readonly order: "sequential" | "random";
  /** Of one request. */
  readonly blockBytes: number;
  /** Bytes of the file that are used; a multiple of `blockBytes`. */
  readonly fileBytes: number;
  /** Requests in flight. */
  readonly depth: number;
  /** What is written: `blockBytes` of it; lent to all requests at once. */
  readonly data: Buffer;
  /** Ends the job before all of the file was used; a random job needs it. */
  readonly limitMs?: number;
}

export interface JobResult {
  readonly bytes: number;
  readonly elapsedMs: number;
  readonly latencies: LatencySnapshot;
}

type Clock = Pick<Env, "clock" | "random">;

/** All jobs at once; results in their order. */
export async function runJobs(jobs: readonly Job[], env: Clock, signal: AbortSignal): Promise<JobResult[]> {
  const results = await Promise.allSettled(jobs.map((job) => runJob(job, env, signal)));
  return results.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}

async function runJob(job: Job, env: Clock, signal: AbortSignal): Promise<JobResult> {
  const run = new JobRun(job, env, signal);
  const ends = await Promise.allSettled(Array.from({ length: job.depth }, () => run.work()));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
  return run.result();
}

/** A job while it runs; `work` is one of the requests that are in flight, again and again. */
class JobRun {
  readonly #job: Job;
  readonly #env: Clock;
  readonly #signal: AbortSignal;
  readonly #latencies = new LatencyHistogram();
  readonly #startedMs: number;
  readonly #blocks: number;
  #next = 0;
  #bytes = 0;
  #failed = false;

  constructor(job: Job, env: Clock, signal: AbortSignal) {
    this.#job = job;
    this.#env = env;
    this.#signal = signal;
    this.#blocks = Math.floor(job.fileBytes / job.blockBytes);
    this.#startedMs = env.clock.nowMs();
  }

  async work(): Promise<void> {
    const { file, rw, blockBytes, data } = this.#job;
    const { clock } = this.#env;
    try {
      for (let offset = this.#take(); offset !== undefined; offset = this.#take()) {
        const before = clock.nowMs();
        if (rw === "write") await file.write(offset, data);
        else {
          const read = await file.readVector(offset, blockBytes);
          read.release();
          if (read.size < blockBytes) throw new Error(`short read of ${read.size} bytes at ${offset}`);
        }
        this.#latencies.record(clock.nowMs() - before);
        this.#bytes += blockBytes;
      }
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }

  result(): JobResult {
    const elapsedMs = this.#env.clock.nowMs() - this.#startedMs;
    return { bytes: this.#bytes, elapsedMs, latencies: this.#latencies.snapshot() };
  }

  /** Where the next request goes; undefined at the end. */
  #take(): number | undefined {
    this.#signal.throwIfAborted();
    const { order, blockBytes, limitMs } = this.#job;
    if (this.#failed) return undefined;
    if (limitMs !== undefined && this.#env.clock.nowMs() - this.#startedMs >= limitMs) return undefined;
    if (order === "random") return Math.floor(this.#env.random.float() * this.#blocks) * blockBytes;
    return this.#next < this.#blocks ? this.#next++ * blockBytes : undefined;
  }
}

/** How long a blocking writer may keep the event loop, and with it Ctrl-C, to itself. */
const TURN_MS = 20;

/**
 * What `dd bs=1024` does: one small buffered write after the other, each done before the next. Blocking where
 * the file can do that, as dd does.
 */
export async function runSmallWrites(
  file: LoadFile,
  { blocks, data, limitMs }: { blocks: number; data: Buffer; limitMs?: number },
  env: Clock,
  signal: AbortSignal,
): Promise<JobResult> {
  const { clock } = env;
  const latencies = new LatencyHistogram();
  const startedMs = clock.nowMs();
  let turnMs = startedMs;
  let block = 0;
  let before = startedMs;
  for (; block < blocks && !(limitMs !== undefined && before - startedMs >= limitMs); block++) {
    if (file.writeSync) file.writeSync(block * data.length, data);
    else await file.write(block * data.length, data);
    const now = clock.nowMs();
    latencies.record(now - before);
    before = now;
    if (now - turnMs < TURN_MS) continue;
    signal.throwIfAborted();
    await new Promise(setImmediate);
    turnMs = clock.nowMs();
    before = turnMs;
  }
  return {
    bytes: block * data.length,
    elapsedMs: clock.nowMs() - startedMs,
    latencies: latencies.snapshot(),
  };
}
