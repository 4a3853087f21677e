/**
 * What files a process has open and how, by its /proc entry: the proof that O_DIRECT came through to a brick.
 */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { allPids } from "./processes.ts";

const O_DIRECT = 0o40000;

/** Where the descriptors of a process lead. */
export function openPaths(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
}

/** Processes that have files open below a directory. The paths of a mount's files come without asking it. */
export function holdersOf(directory: string): number[] {
  return allPids()
    .map(Number)
    .filter((pid) => {
      try {
        return openPaths(pid).some((path) => path.startsWith(`${directory}/`));
      } catch {
        // It has ended meanwhile, or closed a file.
        return false;
      }
    });
}

/** How many open files of a process below a directory have O_DIRECT. */
export function directFilesBelow(pid: number, directory: string): number {
  let count = 0;
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      if (!readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(`${directory}/`)) continue;
      const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8"))?.[1];
      if (flags !== undefined && Number.parseInt(flags, 8) & O_DIRECT) count++;
    } catch (error) {
      // Descriptors come and go while they are listed.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return count;
}
