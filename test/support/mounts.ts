/**
 * Mount points of end-to-end tests: who is mounted where, by the kernel's own table, and taking them away for
 * certain.
 *
 * Reads only /proc, which answers also when the server of a mount does not. `umount -l` ends every mount that
 * a test left, so that a failed test leaves no dead mount point on the machine.
 */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

export interface MountEntry {
  readonly mountpoint: string;
  readonly type: string;
  readonly source: string;
  /** Options of the mount and of its super block. */
  readonly options: readonly string[];
}

/** All mounts of this machine, in order of mounting. */
export function mountTable(): MountEntry[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    const [left = "", right = ""] = line.split(" - ");
    const [, , , , mountpoint = "", options = ""] = left.split(" ");
    const [type = "", source = "", superOptions = ""] = right.split(" ");
    return {
      mountpoint: unescapeOctal(mountpoint),
      type,
      source: unescapeOctal(source),
      options: [...options.split(","), ...superOptions.split(",")],
    };
  });
}

/** The topmost mount at a mount point, or undefined. */
export function mountAt(mountpoint: string): MountEntry | undefined {
  return mountTable().findLast((entry) => entry.mountpoint === mountpoint);
}

/** Ends every mount at or below a directory, also those whose server is dead or hangs. */
export function unmountBelow(directory: string): void {
  const below = mountTable().filter(
    ({ mountpoint }) => mountpoint === directory || mountpoint.startsWith(`${directory}/`),
  );
  for (const { mountpoint } of below.reverse()) {
    const result = spawnSync("umount", ["-l", mountpoint], { encoding: "utf8", timeout: 10_000 });
    if (result.status !== 0 && mountAt(mountpoint) !== undefined)
      throw new Error(`umount -l ${mountpoint}: ${result.stderr || result.error?.message}`);
  }
}

/** The kernel writes blanks and backslashes of paths as octal numbers. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
