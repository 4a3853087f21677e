/**
 * Profiles: named lists of options that are set together, as GlusterFS' groups (`volume set VOL group NAME`).
 * Each is a file of KEY=VALUE lines in `profiles/`; `#` begins a comment.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { distance } from "fastest-levenshtein";
import { UserError } from "../core/errors.ts";

const DIRECTORY = join(import.meta.dirname, "profiles");
const SUFFIX = ".txt";

export type Setting = readonly [key: string, value: string];

/** Names of the profiles there are, sorted. */
export function profileNames(): string[] {
  return readdirSync(DIRECTORY)
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length))
    .sort();
}

/** The settings of a profile, in order. Throws UserError. */
export function readProfile(name: string): Setting[] {
  const names = profileNames();
  if (!names.includes(name)) {
    const near = names.find((known) => distance(known, name) <= 2);
    const hint = near ? `did you mean "${near}"?` : `there are ${names.join(", ")}`;
    throw new UserError(`profile "${name}": unknown; ${hint}`);
  }
  return parseProfile(readFileSync(join(DIRECTORY, name + SUFFIX), "utf8"), name);
}

/** KEY=VALUE lines; a key that is given again counts in its last place. Throws UserError. */
export function parseProfile(text: string, name: string): Setting[] {
  const settings = new Map<string, string>();
  for (const [index, line] of text.split("\n").entries()) {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const match = /^([^=\s]+)\s*=\s*(\S.*)$/.exec(trimmed);
    if (!match) throw new UserError(`profile "${name}": line ${index + 1}: "${trimmed}" is not KEY=VALUE`);
    settings.delete(match[1]!);
    settings.set(match[1]!, match[2]!);
  }
  return [...settings];
}
