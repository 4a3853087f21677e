/**
 * A lock on the brick's directory: two processes that serve one brick would destroy it. flock(2), gone with
 * the process.
 */

import { declare } from "../../../src/os/libc.ts";

const LOCK_EXCLUSIVE_NONBLOCKING = 2 | 4;
const flock = declare("int flock(int fd, int operation)");

/** False when another open file description holds the lock. */
export function lockDirectory(fd: number): boolean {
  return flock(fd, LOCK_EXCLUSIVE_NONBLOCKING) === 0;
}
