/** What the numbers were measured on: without it a table of speeds means nothing. */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { fileURLToPath } from "node:url";

export interface Machine {
  readonly commit: string;
  readonly cpu: string;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  /** Versions; undefined where a program is not installed. */
  readonly fio: string | undefined;
  readonly glusterfs: string | undefined;
  /** Type and device of the file system that all rows share. */
  readonly fileSystem: string;
}

export function describeMachine(directory: string): Machine {
  const [first] = cpus();
  return {
    commit: describeCommit(),
    cpu: `${cpus().length} x ${first?.model.trim() || "unknown"}`,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    fio: output("fio", ["--version"]),
    glusterfs: output("glusterfs", ["--version"])?.split("\n")[0],
    fileSystem: (output("df", ["--output=fstype,source", directory]) ?? "").split("\n").at(-1) ?? "",
  };
}

/** The commit, and whether the measured code differs from it. */
function describeCommit(): string {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const commit = output("git", ["-C", root, "rev-parse", "--short=12", "HEAD"]) ?? "unknown";
  const changed = output("git", ["-C", root, "status", "--porcelain", "--", "src", "mount", "xlators"]);
  return changed ? `${commit} with changes` : commit;
}

function output(command: string, args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync(command, args, { encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
}

/** Load average of the last minute: a busy machine measures itself. */
export function loadAverage(): number {
  return Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]);
}
