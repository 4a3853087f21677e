/** The end of `mortar mount --help`: the two tables of mount options as one list. */

import { MOUNT_OPTIONS } from "../../mount/options.ts";
import type { OptionSpec } from "../core/options.ts";
import { OTHER_OPTIONS } from "./mount-options.ts";

/** What `-o` takes, what it ignores and what it refuses. */
export function mountOptionsHelp(): string {
  const edge = Object.entries<OptionSpec<unknown>>(MOUNT_OPTIONS).map(
    ([key, { describe, default: usual }]) => [key, `${describe} (default ${showDefault(usual)})`] as const,
  );
  const rules = Object.entries(OTHER_OPTIONS);
  const applied = rules.flatMap(([key, rule]) =>
    rule.does === "apply" ? [[key, rule.describe] as const] : [],
  );
  const refused = rules.flatMap(([key, rule]) => (rule.does === "refuse" ? [[key, rule.why] as const] : []));
  const names = (does: string): string =>
    rules.flatMap(([key, rule]) => (rule.does === does ? [key] : [])).join(", ");
  return [
    "Options of -o (without a value an option is on; ro is read-only):\n",
    ...table([...edge, ...applied]),
    `\nKept by the kernel: ${names("kernel")}\n`,
    `\nIgnored with a warning: ${names("warn")}\n`,
    `\nIgnored, as they are for mount(8): ${names("quiet")}, x-*\n`,
    "\nRefused:\n",
    ...table(refused),
  ].join("");
}

function table(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([key]) => key.length));
  return rows.map(([key, text]) => `  ${key.padEnd(width)}  ${text}\n`);
}

function showDefault(value: unknown): string {
  return typeof value === "boolean" ? (value ? "on" : "off") : String(value);
}
