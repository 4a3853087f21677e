/**
 * What happened in a simulated run, in order: the history that a failure prints, and a hash of it that tells
 * whether two runs were the same.
 */

import type { LogFields, LogLevel } from "../../src/core/log.ts";

/** Lines kept when the whole history is not asked for. */
const TAIL_LINES = 400;

/** A bug that the code reported of itself: unexpected exceptions are logged with the error. */
export interface LoggedError {
  readonly message: string;
  readonly fields: LogFields;
}

export class Trace {
  readonly #nowMs: () => number;
  readonly #whole: boolean;
  readonly #lines: string[] = [];
  #hash = 0x811c9dc5;
  #count = 0;
  /** Lines of level "error". */
  readonly errors: LoggedError[] = [];

  /** `whole`: keep every line, not only the last few hundred. */
  constructor(nowMs: () => number, whole: boolean) {
    this.#nowMs = nowMs;
    this.#whole = whole;
  }

  /** Equal for equal histories. */
  get digest(): string {
    return `${this.#count}:${this.#hash.toString(16)}`;
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  add(who: string, what: string): void {
    const line = `${this.#nowMs().toFixed(3).padStart(12)} ${who.padEnd(10)} ${what}`;
    this.#count++;
    this.#mix(line);
    this.#lines.push(line);
    if (!this.#whole && this.#lines.length > 2 * TAIL_LINES) this.#lines.splice(0, TAIL_LINES);
  }

  /** A line of the whole history only; not part of the digest. */
  detail(who: string, what: () => string): void {
    if (this.#whole)
      this.#lines.push(`${this.#nowMs().toFixed(3).padStart(12)} ${who.padEnd(10)}   ${what()}`);
  }

  /** Something too small for a line: part of the digest only. */
  tick(value: number): void {
    this.#count++;
    this.#hash = Math.imul(this.#hash ^ value, 0x01000193) >>> 0;
  }

  log(level: LogLevel, message: string, fields: LogFields): void {
    if (level === "error") this.errors.push({ message, fields });
    const { node, ...rest } = fields;
    const shown = Object.entries(rest)
      .map(([key, value]) => `${key}=${text(value)}`)
      .join(" ");
    this.add(String(node), `${level}: ${message} ${shown}`.trimEnd());
  }

  #mix(line: string): void {
    let hash = this.#hash;
    for (let i = 0; i < line.length; i++) hash = Math.imul(hash ^ line.charCodeAt(i), 0x01000193);
    this.#hash = hash >>> 0;
  }
}

/** Clients tell bricks the process and host that they run in, which is all that differs between two runs. */
const WHERE = /-PID:\d+-HOST:.*?-PC_NAME/g;

function text(value: unknown): string {
  if (value instanceof Error) return `${value.name}(${value.message})`;
  if (typeof value === "string") return value.replace(WHERE, "-PC_NAME");
  return JSON.stringify(value, bigintAsText) ?? "undefined";
}

function bigintAsText(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}
