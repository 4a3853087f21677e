/**
 * A lock on the brick's directory: two processes that serve one brick would destroy it. flock(2), gone with
 * the process.
 */

import { readFile, stat } from "node:fs/promises";
import { declare } from "../../../src/os/libc.ts";

const LOCK_EXCLUSIVE_NONBLOCKING = 2 | 4;
const flock = declare("int flock(int fd, int operation)");

/** False when another open file description holds the lock. */
export function lockDirectory(fd: number): boolean {
  return flock(fd, LOCK_EXCLUSIVE_NONBLOCKING) === 0;
}

/**
 * The process that holds the lock of a directory (proc_locks(5)); undefined when it lives in another pid
 * namespace, or has just ended.
 */
export async function lockHolder(path: string): Promise<number | undefined> {
  const { ino } = await stat(path, { bigint: true });
  const found = new RegExp(`FLOCK +ADVISORY +WRITE +(\\d+) \\S+:${ino} `).exec(await readLocks());
  const pid = Number(found?.[1] ?? 0);
  return pid > 0 ? pid : undefined;
}

async function readLocks(): Promise<string> {
  return readFile("/proc/locks", "latin1").catch(() => "");
}
