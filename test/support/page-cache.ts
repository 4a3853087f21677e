/** What the kernel keeps of files in memory. */

import { execFileSync } from "node:child_process";
import { statfsSync } from "node:fs";
import { release } from "node:os";
import { openDiskIo } from "../../src/os/disk-io.ts";

const TMPFS = 0x01021994;

/** Bytes of a file in the page cache. */
export function cachedBytes(path: string): number {
  return Number(execFileSync("fincore", ["--bytes", "--noheadings", "--output", "RES", path]));
}

/** Why writes in `directory` cannot leave the page cache out; undefined when they can. */
export function whyCached(directory: string): string | undefined {
  if (openDiskIo("auto").kind !== "io_uring") return "no io_uring here";
  const [major = 0, minor = 0] = release().split(".").map(Number);
  if (major < 6 || (major === 6 && minor < 18)) return `kernel ${release()} is older than 6.18`;
  return statfsSync(directory).type === TMPFS ? `${directory} is a tmpfs` : undefined;
}
