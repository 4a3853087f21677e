/**
 * Whether this machine's cores are scarce for this process: how long its main thread waited for a core of the
 * time in which it wanted one, as the scheduler counts it (/proc/PID/task/TID/schedstat: nanoseconds run,
 * nanoseconds waited). A kernel without these counts has cores enough, as far as anybody can tell.
 */

import { openSync, readSync } from "node:fs";

/** The counts are looked at so often, at most: a look takes a few microseconds. */
const LOOK_MS = 50;
/**
 * Share of the time from which cores count as scarce. Seen on two cores under writes, bench/RESULTS.md: mount
 * and three bricks 0.26 to 0.42, mount and one process of bricks 0.18 to 0.28.
 */
const SCARCE = 0.3;

/** Requests of this size are bulk: to be woken for the answer takes a tenth of such a one at most. */
const BULK_BYTES = 512 * 1024;
/** Bulk comes in a stream: so long after one of its requests began, the next is expected. */
const BULK_MS = 5;

/** The scheduler's line: "RUN WAITED SLICES". */
export type ReadCounts = () => string;

export class CoreWait {
  readonly #read: ReadCounts;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #ran = 0;
  #waited = 0;
  #scarce = false;

  constructor(read: ReadCounts) {
    this.#read = read;
  }

  /** As of the last 50 ms, or the last time that anybody asked. */
  isScarce(nowMs = performance.now()): boolean {
    if (nowMs - this.#lookedMs < LOOK_MS) return this.#scarce;
    this.#lookedMs = nowMs;
    const [ran = 0, waited = 0] = this.#read().split(" ").map(Number);
    const wanted = ran - this.#ran + waited - this.#waited;
    this.#scarce = wanted > 0 && (waited - this.#waited) / wanted > SCARCE;
    this.#ran = ran;
    this.#waited = waited;
    return this.#scarce;
  }
}

/**
 * What is under way in a queue, and whether the event loop had better sleep until it is answered. For a few
 * requests it polls: their answers would wait for a core to wake up. Many keep the cores busy, and where
 * there are few of them who polls takes them from who works; a stream of large ones needs all of them, and
 * does not notice a wake-up.
 */
export class Crowd {
  readonly #few: number;
  readonly #cores: CoreWait;
  readonly #nowMs: () => number;
  #count = 0;
  #bulkMs = Number.NEGATIVE_INFINITY;

  /** Up to `few` requests are no crowd. */
  constructor(few: number, cores = new CoreWait(ownCounts()), nowMs = () => performance.now()) {
    this.#few = few;
    this.#cores = cores;
    this.#nowMs = nowMs;
  }

  /** A request of so many bytes begins. */
  join(bytes: number): void {
    this.#count++;
    if (bytes >= BULK_BYTES && this.#count > this.#few) this.#bulkMs = this.#nowMs();
  }

  /** One ended. */
  leave(): void {
    this.#count--;
  }

  /** Requests under way. */
  get count(): number {
    return this.#count;
  }

  get isCrowded(): boolean {
    const nowMs = this.#nowMs();
    if (nowMs - this.#bulkMs < BULK_MS) return true;
    return this.#count > this.#few && this.#cores.isScarce(nowMs);
  }
}

/** Of this process' main thread, whose id is the process'. */
export function ownCounts(): ReadCounts {
  const line = Buffer.alloc(128);
  let fd: number;
  try {
    fd = openSync(`/proc/self/task/${process.pid}/schedstat`, "r");
  } catch {
    return () => "0 0 0";
  }
  return () => line.toString("latin1", 0, readSync(fd, line, 0, line.length, 0));
}
