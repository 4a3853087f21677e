/**
 * The log of a process: pino below the core's Logger. One line an event: time, level, translator, constant
 * message, fields.
 *
 * On a terminal (and by default in files too) lines are for people; `format: "json"` gives one JSON object a
 * line. Writing is synchronous (log-sink.ts); nothing on the way of a fop logs at the default level.
 */

import { pino } from "pino";
import { prettyFactory } from "pino-pretty";
import { UserError } from "../core/errors.ts";
import type { LogFields, Logger, LogLevel } from "../core/log.ts";
import { appender, LogSink } from "./log-sink.ts";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "none"] as const;
export type LogThreshold = (typeof LOG_LEVELS)[number];

/** GlusterFS' words for the same (option log-level). */
const SYNONYMS: Readonly<Record<string, LogThreshold>> = {
  warning: "warn",
  critical: "error",
  fatal: "error",
  silent: "none",
  off: "none",
};

/** A level by its name here or in GlusterFS, in any case. Throws UserError. */
export function parseLogLevel(text: string): LogThreshold {
  const word = text.toLowerCase();
  const level = LOG_LEVELS.find((candidate) => candidate === word) ?? SYNONYMS[word];
  if (level === undefined)
    throw new UserError(`log level "${text}": is none of ${LOG_LEVELS.join(", ")} (or GlusterFS' names)`);
  return level;
}

export interface LoggingOptions {
  readonly level: LogThreshold;
  /** A path to append to; stderr when absent. */
  readonly file?: string;
  readonly format?: "text" | "json";
}

/** Opens the log. Throws UserError when the file cannot be written. */
export function openLog(options: LoggingOptions): Logger {
  const { file, format = "text" } = options;
  const level = options.level === "none" ? "silent" : options.level;
  try {
    const sink = new LogSink(appender(file), format === "json" ? asItIs : forPeople(file === undefined));
    return new PinoLogger(pino({ level, base: null, serializers: { error: errorFields } }, sink));
  } catch (error) {
    throw new UserError(`log file "${file}": ${error instanceof Error ? error.message : String(error)}`);
  }
}

function asItIs(line: string): string {
  return line;
}

function forPeople(onStderr: boolean): (line: string) => string {
  return prettyFactory({
    colorize: onStderr && process.stderr.isTTY === true,
    translateTime: "SYS:yyyy-mm-dd HH:MM:ss.l",
    ignore: "pid,hostname",
    singleLine: true,
    // Else an error is printed over many lines.
    errorLikeObjectKeys: [],
  });
}

type Levels = Record<LogLevel, (fields: object, message: string) => void> & {
  child(fields: object): Levels;
};

class PinoLogger implements Logger {
  readonly #pino: Levels;

  constructor(levels: Levels) {
    this.#pino = levels;
  }
  trace(message: string, fields: LogFields = {}): void {
    this.#pino.trace(printable(fields), message);
  }
  debug(message: string, fields: LogFields = {}): void {
    this.#pino.debug(printable(fields), message);
  }
  info(message: string, fields: LogFields = {}): void {
    this.#pino.info(printable(fields), message);
  }
  warn(message: string, fields: LogFields = {}): void {
    this.#pino.warn(printable(fields), message);
  }
  error(message: string, fields: LogFields = {}): void {
    this.#pino.error(printable(fields), message);
  }
  child(fields: LogFields): Logger {
    return new PinoLogger(this.#pino.child(printable(fields)));
  }
}

/** Buffers (gfids, lock owners) as hex, bigints as text: what JSON cannot say. */
function printable(fields: LogFields): object {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields)) {
    if (Buffer.isBuffer(value)) out[key] = value.toString("hex");
    else out[key] = typeof value === "bigint" ? value.toString() : value;
  }
  return out;
}

/**
 * An error as a message, its errno and its causes; the stack only when it is a bug (errors of fops carry
 * none).
 */
function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code, fop, xlator } = error as { code?: string; fop?: string; xlator?: string };
  const expected = code !== undefined || error instanceof UserError;
  return {
    message: error.message,
    ...(code ? { code } : {}),
    ...(fop ? { fop } : {}),
    ...(xlator ? { at: xlator } : {}),
    ...(expected ? {} : { stack: error.stack }),
    ...(error.cause === undefined ? {} : { cause: errorFields(error.cause) }),
  };
}
