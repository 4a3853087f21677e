/**
 * Options of translators, declared once in a typed table (design shape.md 5; kinds and rules: spec
 * translators.md 1.6).
 *
 * From an OptionTable come the type of `this.options`, validation of volfiles, `mortar graph`'s non-default
 * list and live reconfiguration. Keys are spelled as GlusterFS spells them.
 */

import { UserError } from "./errors.ts";
import { type Priority, parsePriorities } from "./priorities.ts";

/** Text to value. `parse` returns the value, or a string inside `Bad` that says what is wrong. */
export interface OptionSpec<T> {
  readonly kind: string;
  readonly default: T;
  readonly describe: string;
  /** `volume set` key, when glusterd has one. */
  readonly volumeKey?: string;
  /** Other volfile spellings of the same option. */
  readonly aliases?: readonly string[];
  /** May change on a running graph. */
  readonly live: boolean;
  /** Why no value of it changes anything; for people. */
  readonly unused?: string;
  readonly parse: (text: string) => T | Bad;
}

/** A refused value: why, for a message that already names who and what. */
export class Bad {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

export type OptionTable = Readonly<Record<string, OptionSpec<unknown>>>;
export type OptionValues<T extends OptionTable> = { readonly [K in keyof T]: T[K]["default"] };

interface Common<T> {
  default: T;
  describe: string;
  volumeKey?: string;
  aliases?: readonly string[];
  live?: boolean;
  unused?: string;
}

function spec<T>(kind: string, common: Common<T>, parse: (text: string) => T | Bad): OptionSpec<T> {
  return {
    kind,
    default: common.default,
    describe: common.describe,
    live: common.live ?? false,
    parse,
    ...(common.volumeKey ? { volumeKey: common.volumeKey } : {}),
    ...(common.aliases ? { aliases: common.aliases } : {}),
    ...(common.unused ? { unused: common.unused } : {}),
  };
}

const TRUE = new Set(["1", "on", "yes", "true", "enable"]);
const FALSE = new Set(["0", "off", "no", "false", "disable"]);

export function bool(common: Common<boolean>): OptionSpec<boolean> {
  return spec("bool", common, (text) => {
    const word = text.toLowerCase();
    if (TRUE.has(word)) return true;
    if (FALSE.has(word)) return false;
    return new Bad("is neither on (1, yes, true, enable) nor off (0, no, false, disable)");
  });
}

interface Range {
  min?: number;
  max?: number;
}

function inRange(value: number, range: Range, show: (value: number) => string = String): number | Bad {
  if (range.min !== undefined && value < range.min) return new Bad(`is below the minimum ${show(range.min)}`);
  if (range.max !== undefined && value > range.max) return new Bad(`is above the maximum ${show(range.max)}`);
  return value;
}

/** Decimal, octal with a 0 before it, or hexadecimal with 0x. */
function parseWhole(text: string): number | Bad {
  if (!/^-?(0[xX][0-9a-fA-F]+|\d+)$/.test(text)) return new Bad("is not a whole number");
  const negative = text.startsWith("-");
  const digits = negative ? text.slice(1) : text;
  const octal = /^0\d+$/.test(digits);
  if (octal && /[89]/.test(digits)) return new Bad("is not a whole number: with a 0 before it, it is octal");
  const value = octal ? Number.parseInt(digits, 8) : Number(digits);
  if (!Number.isSafeInteger(value)) return new Bad("is not a whole number in range");
  return negative ? -value : value;
}

export function int(common: Common<number> & Range): OptionSpec<number> {
  return spec("int", common, (text) => {
    const value = parseWhole(text);
    return value instanceof Bad ? value : inRange(value, common);
  });
}

const PERMISSIONS = { min: 0, max: 0o777 };

/** Permission bits as people write them: 420 is `0644`. */
export function formatMode(bits: number): string {
  return bits.toString(8).padStart(4, "0");
}

/** Permission bits. Without a 0 before it a number is decimal, as GlusterFS has it. */
export function mode(common: Common<number>): OptionSpec<number> {
  return spec("mode", common, (text) => {
    const whole = parseWhole(text);
    const value = whole instanceof Bad ? whole : inRange(whole, PERMISSIONS, formatMode);
    if (value instanceof Bad && /^[1-7][0-7]{2}$/.test(text))
      return new Bad(`${value.why}; octal numbers begin with 0: 0${text}`);
    return value;
  });
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 2 ** 10,
  mb: 2 ** 20,
  gb: 2 ** 30,
  tb: 2 ** 40,
  pb: 2 ** 50,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/** `64MB` and the like to bytes, binary multiples; Bad when it is none. */
export function parseSize(text: string): number | Bad {
  const match = /^(\d+(?:\.\d+)?)\s*([a-zA-Z]{0,2})$/.exec(text.trim());
  const unit = match ? UNITS[match[2]!.toLowerCase()] : undefined;
  if (!match || unit === undefined) return new Bad("is not a size like 64MB");
  const bytes = Math.floor(Number(match[1]) * unit);
  return Number.isSafeInteger(bytes) ? bytes : new Bad("is too large");
}

/** Bytes as people write them: 65536 is `64KB`. */
export function formatSize(bytes: number): string {
  for (const [unit, name] of [
    [2 ** 40, "TB"],
    [2 ** 30, "GB"],
    [2 ** 20, "MB"],
    [2 ** 10, "KB"],
  ] as const) {
    if (bytes >= unit && bytes % unit === 0) return `${bytes / unit}${name}`;
  }
  return `${bytes}`;
}

export function size(common: Common<number> & Range): OptionSpec<number> {
  return spec("size", common, (text) => {
    const bytes = parseSize(text);
    return bytes instanceof Bad ? bytes : inRange(bytes, common, formatSize);
  });
}

const SECONDS: Readonly<Record<string, number>> = {
  "": 1,
  s: 1,
  sec: 1,
  m: 60,
  min: 60,
  h: 3600,
  hr: 3600,
  d: 86400,
  days: 86400,
  w: 604800,
};

/** Seconds, with the units GlusterFS takes. */
export function time(common: Common<number> & Range): OptionSpec<number> {
  return spec("time", common, (text) => {
    const match = /^(\d+)\s*([a-z]*)$/.exec(text.trim().toLowerCase());
    const unit = match ? SECONDS[match[2]!] : undefined;
    if (!match || unit === undefined) return new Bad("is not a time like 30, 30s or 5min");
    return inRange(Number(match[1]) * unit, common);
  });
}

export function percent(common: Common<number>): OptionSpec<number> {
  return spec("percent", common, (text) => {
    const match = /^(\d+(?:\.\d+)?)\s*%?$/.exec(text.trim());
    return match ? inRange(Number(match[1]), { min: 0, max: 100 }) : new Bad("is not a percentage");
  });
}

/** A share of the disk or a number of bytes. */
export type PercentOrSize = { readonly percent: number } | { readonly bytes: number };

export function percentOrSize(common: Common<PercentOrSize>): OptionSpec<PercentOrSize> {
  return spec("percent-or-size", common, (text) => {
    const match = /^(\d+(?:\.\d+)?)\s*%$/.exec(text.trim());
    if (match) {
      const value = inRange(Number(match[1]), { min: 0, max: 100 });
      return value instanceof Bad ? value : { percent: value };
    }
    const bytes = parseSize(text);
    if (bytes instanceof Bad) return bytes;
    return bytes < 100 ? { percent: bytes } : { bytes };
  });
}

/** One of a list of words; case does not matter. */
export function choice<const C extends string>(
  choices: readonly C[],
  common: Omit<Common<C>, "default"> & { default: NoInfer<C> },
): OptionSpec<C> {
  return spec<C>("choice", common, (text) => {
    const word = choices.find((candidate) => candidate === text.toLowerCase());
    return word ?? new Bad(`is none of ${choices.join(", ")}`);
  });
}

/** An absolute path without `..`. */
export function path(common: Common<string>): OptionSpec<string> {
  return spec("path", common, (text) => {
    if (!text.startsWith("/")) return new Bad("is not an absolute path");
    return text.split("/").includes("..") ? new Bad("has '..' in it") : text;
  });
}

/** Any text that is not blank. */
export function string(common: Common<string>): OptionSpec<string> {
  return spec("string", common, (text) => (text.trim() === "" ? new Bad("is blank") : text));
}

/** A comma-separated list of addresses, host names, networks or patterns. */
export function addresses(common: Common<readonly string[]>): OptionSpec<readonly string[]> {
  return spec("addresses", common, (text) => {
    const list = text
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item !== "");
    return list.length > 0 ? list : new Bad("is an empty list");
  });
}

/** A list `PATTERN:PRIORITY,...` of file names and how long they stay in a cache. */
export function priorities(common: Common<readonly Priority[]>): OptionSpec<readonly Priority[]> {
  return spec("priorities", common, (text) => {
    if (text.trim() === "") return [];
    return parsePriorities(text) ?? new Bad("is not a list like *.conf:2,*.log:1");
  });
}

/** Where options come from, for messages: `x.vol:7: volume "vol-client-0"`. */
export interface OptionOrigin {
  readonly who: string;
  /** The same with the line of one option, when that is known. */
  whoOf?(key: string): string;
}

/**
 * Parses a translator's option text by its table. Throws UserError on the first bad value. Unknown keys are
 * not errors (GlusterFS ignores them too): they come back for the log.
 */
export function parseOptions<T extends OptionTable>(
  table: T,
  given: ReadonlyMap<string, string>,
  origin: OptionOrigin,
): { values: OptionValues<T>; unknown: string[] } {
  const values: Record<string, unknown> = {};
  for (const key of Object.keys(table)) values[key] = table[key]!.default;
  const unknown: string[] = [];
  for (const [key, text] of given) {
    const known = optionKey(table, key);
    if (known === undefined) {
      unknown.push(key);
      continue;
    }
    const value = table[known]!.parse(text);
    if (value instanceof Bad) {
      throw new UserError(`${origin.whoOf?.(key) ?? origin.who}: option ${key}: "${text}" ${value.why}`);
    }
    values[known] = value;
  }
  return { values: values as OptionValues<T>, unknown };
}

/** The table's key for a volfile key (itself or an alias). */
export function optionKey(table: OptionTable, key: string): string | undefined {
  if (Object.hasOwn(table, key)) return key;
  return Object.keys(table).find((candidate) => table[candidate]!.aliases?.includes(key));
}
