/**
 * Logging as the code sees it: constant message, values as fields, one line an event.
 * `src/process/logging.ts` has the real one.
 */

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log with fields that every line carries, e.g. `{ xlator: "vol-client-0" }`. */
  child(fields: LogFields): Logger;
}

/** Drops everything. */
export const SILENT: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => SILENT,
};
