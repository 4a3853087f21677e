/** Attributes of files in the words of ls(1) and stat(1). */

import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from "../../core/iatt.ts";

const TYPES: ReadonlyMap<number, readonly [letter: string, name: string]> = new Map([
  [S_IFREG, ["-", "regular file"]],
  [S_IFDIR, ["d", "directory"]],
  [S_IFLNK, ["l", "symbolic link"]],
  [S_IFBLK, ["b", "block special file"]],
  [S_IFCHR, ["c", "character special file"]],
  [S_IFIFO, ["p", "fifo"]],
  [S_IFSOCK, ["s", "socket"]],
]);

/** `regular file`, `directory` ... */
export function typeName(mode: number): string {
  return TYPES.get(mode & S_IFMT)?.[1] ?? "unknown";
}

/** `drwxr-xr-x`, with s, S, t and T where they belong. */
export function modeText(mode: number): string {
  const bits = [...Array(9).keys()].map((bit) => ((mode >> (8 - bit)) & 1 ? "rwx"[bit % 3]! : "-"));
  for (const [bit, at, letter] of [
    [0o4000, 2, "s"],
    [0o2000, 5, "s"],
    [0o1000, 8, "t"],
  ] as const)
    if (mode & bit) bits[at] = bits[at] === "x" ? letter : letter.toUpperCase();
  return (TYPES.get(mode & S_IFMT)?.[0] ?? "?") + bits.join("");
}

/** `2026-11-21 19:45`, in the zone of this machine. */
export function timeText(seconds: number): string {
  return isoText(seconds).slice(0, 16);
}

/** `2026-11-21 19:45:09.000000001 +0100`, as stat(1). */
export function fullTimeText(seconds: number, nanoseconds: number): string {
  const text = isoText(seconds);
  const minutes = -new Date(seconds * 1000).getTimezoneOffset();
  const zone = `${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}${two(Math.abs(minutes) % 60)}`;
  return `${text}.${String(nanoseconds).padStart(9, "0")} ${zone}`;
}

function isoText(seconds: number): string {
  const date = new Date(seconds * 1000);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

function two(value: number): string {
  return String(Math.trunc(value)).padStart(2, "0");
}
