/**
 * The kernel's mount table, /proc/self/mountinfo: who is mounted where. Reading it waits for no file system,
 * which a stat of a mount point may.
 */

import { readFileSync } from "node:fs";

export interface MountEntry {
  /** The mount's id; used again by the kernel after the mount is gone. */
  readonly id: string;
  /** major:minor. */
  readonly device: string;
  /** As mountinfo spells it: blanks and backslashes in octal. */
  readonly escapedPoint: string;
  readonly point: string;
  readonly type: string;
  readonly source: string;
}

/** Parses mountinfo(5) text, oldest mount first. */
export function parseMountTable(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split("\n")) {
    const fields = line.split(" ");
    const dash = fields.indexOf("-", 6);
    if (dash < 0) continue;
    const escapedPoint = fields[4]!;
    entries.push({
      id: fields[0]!,
      device: fields[2]!,
      escapedPoint,
      point: octalToText(escapedPoint),
      type: fields[dash + 1] ?? "",
      source: octalToText(fields[dash + 2] ?? ""),
    });
  }
  return entries;
}

/** The uppermost mount on a path, if the path is a mount point. */
export function mountAt(point: string): MountEntry | undefined {
  const table = parseMountTable(readFileSync("/proc/self/mountinfo", "utf8"));
  return table.findLast((entry) => entry.point === point);
}

function octalToText(text: string): string {
  if (!text.includes("\\")) return text;
  const bytes = Buffer.from(text, "utf8").toString("latin1");
  const plain = bytes.replace(/\\([0-7]{3})/g, (_all, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return Buffer.from(plain, "latin1").toString("utf8");
}
