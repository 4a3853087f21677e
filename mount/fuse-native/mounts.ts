/** The kernel's table of mounts (/proc/self/mountinfo, proc(5)), as far as an edge needs it to find its own. */

import { readFile } from "node:fs/promises";

/** Mount ids with their mount points, in the order of mounting. */
export async function readMounts(): Promise<Map<number, string>> {
  return parseMounts(await readFile("/proc/self/mountinfo", "latin1"));
}

/** The id of what was mounted last on a path; undefined when nothing is. */
export async function newestMountAt(mountpoint: string): Promise<number | undefined> {
  const wanted = Buffer.from(mountpoint).toString("latin1");
  let newest: number | undefined;
  for (const [id, path] of await readMounts()) if (path === wanted) newest = id;
  return newest;
}

/** Paths come out as latin1 text: one character a byte. */
export function parseMounts(text: string): Map<number, string> {
  const mounts = new Map<number, string>();
  for (const line of text.split("\n")) {
    const [id, , , , path] = line.split(" ");
    if (path !== undefined) mounts.set(Number(id), plainPath(path));
  }
  return mounts;
}

/** Blanks, tabs, newlines and backslashes are written as three octal digits. */
function plainPath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
