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
