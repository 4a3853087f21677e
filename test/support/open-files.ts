/**
 * What files a process has open and how, by its /proc entry: the proof that O_DIRECT came through to a brick.
 */

import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { libc } from "./libc.ts";
import { allPids } from "./processes.ts";

export const O_DIRECT = 0o40000;
/** A number of its own on every machine that is newer than the call. */
const SYS_CACHESTAT = 451;

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

/** The flags of each descriptor that a process has of one file, by whatever name it opened it. */
export function flagsAt(pid: number, path: string): number[] {
  const { dev, ino } = statSync(path);
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const file = statSync(`/proc/${pid}/fd/${fd}`);
      if (file.dev !== dev || file.ino !== ino) return [];
      const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8"))?.[1];
      return flags === undefined ? [] : [Number.parseInt(flags, 8)];
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return [];
    }
  });
}

/** Bytes of a file that are not on the disk yet; undefined where the kernel cannot tell (before 6.5). */
export function dirtyBytes(path: string): number | undefined {
  const fd = openSync(path, "r");
  try {
    // From 0 to the end, then pages: cached, dirty, under writeback, two more.
    const counts = Buffer.alloc(40);
    libc("syscall", SYS_CACHESTAT, fd, Buffer.alloc(16), counts, 0);
    return Number(counts.readBigUInt64LE(8) + counts.readBigUInt64LE(16)) * 4096;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOSYS") return undefined;
    throw error;
  } finally {
    closeSync(fd);
  }
}
