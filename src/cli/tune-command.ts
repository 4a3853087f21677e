/**
 * `mortar set`, `mortar get` and `mortar statedump`: a running mount is told and asked, by its control
 * socket.
 */

import { profileNames } from "../control/profiles.ts";
import { ask } from "../control/socket.ts";
import { statedumpText } from "../control/statedump.ts";
import type { SetReport } from "../control/tuned-volume.ts";
import { UserError } from "../core/errors.ts";

export interface SetFlags {
  readonly reset?: boolean;
}

/** `KEY VALUE`, `group NAME`, or with `--reset` only `KEY`. */
export async function setCommand(
  mountpoint: string,
  key: string,
  value: string | undefined,
  flags: SetFlags,
): Promise<void> {
  if (flags.reset) {
    if (value !== undefined) throw new UserError("set: --reset takes a key and no value");
    report(await ask(mountpoint, "reset", { key }));
    return;
  }
  if (key === "group" && value === undefined)
    throw new UserError(`set: group: a NAME is missing: ${profileNames().join(" or ")}`);
  if (value === undefined || value.trim() === "")
    throw new UserError(
      `set: ${key}: a value is missing (\`mortar set MOUNTPOINT --reset KEY\` takes one back)`,
    );
  if (key === "group") report(await ask(mountpoint, "set-group", { name: value }));
  else report(await ask(mountpoint, "set", { key, value }));
}

const OUTCOME_TEXT = { set: "", unchanged: "was so", skipped: "skipped", unused: "no effect" } as const;

function report({ outcomes, describe, warnings, kept, notKept, switched }: SetReport): void {
  const width = Math.max(...outcomes.map(({ key }) => key.length));
  for (const { key, value, outcome, note } of outcomes) {
    const words = [OUTCOME_TEXT[outcome], note].filter((word) => word).join(": ");
    process.stdout.write(`${key.padEnd(width)}  ${value}${words ? `  (${words})` : ""}\n`);
  }
  if (describe !== undefined) process.stdout.write(`  ${describe}\n`);
  const how = switched ? "a new graph has taken over; " : "";
  const long = kept ? "kept for the next start too" : "until the volume is unmounted";
  process.stdout.write(`${how}${long}\n`);
  for (const warning of warnings) process.stderr.write(`mortar: warning: ${warning}\n`);
  if (notKept === undefined) return;
  process.stderr.write(`mortar: set, but not for the next start: ${notKept}\n`);
  process.exitCode = 1;
}

export interface GetFlags {
  readonly json?: boolean;
}

export async function getCommand(
  mountpoint: string,
  key: string | undefined,
  flags: GetFlags,
): Promise<void> {
  const one = key === undefined || key === "all" ? {} : { key };
  const { values, warnings } = await ask(mountpoint, "get", one);
  if (flags.json) {
    process.stdout.write(`${JSON.stringify(values, undefined, 2)}\n`);
    return;
  }
  const width = Math.max(...values.map((shown) => shown.key.length));
  for (const shown of values)
    process.stdout.write(`${shown.key.padEnd(width)}  ${shown.value}${shown.isSet ? "  (set here)" : ""}\n`);
  for (const warning of warnings) process.stderr.write(`mortar: warning: ${warning}\n`);
}

export async function statedumpCommand(mountpoint: string, flags: GetFlags): Promise<void> {
  const dump = await ask(mountpoint, "statedump", {});
  process.stdout.write(flags.json ? `${JSON.stringify(dump, undefined, 2)}\n` : statedumpText(dump));
}
