/**
 * Where lines of a log go: a file or stderr, synchronously, so that the last line before a crash is there.
 *
 * A log never ends the process that writes it. What a full disk, a closed pipe or a lost terminal does not
 * take is dropped; with the next line that is taken one says how many are missing.
 */

import { mkdirSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const STDERR = 2;
/** pino's number of "warn". */
const WARN = 40;

export class LogSink {
  readonly #put: (text: string) => boolean;
  readonly #shown: (line: string) => string;
  #lost = 0;

  /** `put` says whether it took the text; `shown` makes of a line of JSON what is written. */
  constructor(put: (text: string) => boolean, shown: (line: string) => string) {
    this.#put = put;
    this.#shown = shown;
  }

  /** Takes a line of JSON with its newline, as pino gives it. */
  write(line: string): void {
    const text = this.#shown(line);
    if (this.#put(this.#lost === 0 ? text : this.#missing(line) + text)) this.#lost = 0;
    else this.#lost++;
  }

  /** Told as of the time of the line that was taken. */
  #missing(line: string): string {
    const { time } = JSON.parse(line) as { time: number };
    const fields = { level: WARN, time, lines: this.#lost, msg: "lines are missing here" };
    return this.#shown(`${JSON.stringify(fields)}\n`);
  }
}

/** For a LogSink: appends to a file, which is made if need be, or to stderr. Throws what open(2) does. */
export function appender(file: string | undefined): (text: string) => boolean {
  if (file !== undefined) mkdirSync(dirname(file), { recursive: true });
  const fd = file === undefined ? STDERR : openSync(file, "a");
  return (text) => {
    const bytes = Buffer.from(text, "utf8");
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
      return true;
    } catch {
      return false;
    }
  };
}
