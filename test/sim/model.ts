/**
 * What the files and names of a run must look like, as registers, and the verdicts: every read of the
 * workload is judged here when it is answered.
 *
 * Files are cells of CELL_BYTES, a sector, so that a failed write is torn between cells and never within one.
 * Each write fills its cells with its own number, which tells whose bytes a read found.
 */

import { type Change, Register } from "./register.ts";
import type { Trace } from "./trace.ts";

export const CELL_BYTES = 512;
/** What a cell reads as that was never written, truncated away or punched out. */
export const EMPTY = "-";
/** A name that leads nowhere. */
export const ABSENT = "absent";

export class FileModel {
  readonly name: string;
  readonly number: number;
  readonly mode: Register<string>;
  readonly xattr = new Register<string>(ABSENT);
  /** Data changes, for syncs and power losses. */
  readonly changes: Change[] = [];
  readonly #cells: Register<string>[];

  constructor(name: string, number: number, cellCount: number, mode: number) {
    this.name = name;
    this.number = number;
    this.mode = new Register(modeText(mode));
    this.#cells = Array.from({ length: cellCount }, () => new Register<string>(EMPTY));
  }

  get cellCount(): number {
    return this.#cells.length;
  }

  /** A data change of cells `from` to `to` (exclusive). */
  write(change: Change, from: number, to: number, value: string): void {
    this.changes.push(change);
    for (let i = from; i < to; i++) this.#cells[i]!.write(change, value);
  }

  cell(index: number): Register<string> {
    return this.#cells[index]!;
  }
}

export class Model {
  readonly files: FileModel[] = [];
  /** By `directory/name`. */
  readonly names = new Map<string, Register<string>>();
  /** What was wrong, in the order it was seen. */
  readonly violations: string[] = [];
  readonly #nowMs: () => number;
  readonly #trace: Trace;
  #ticks = 0;
  /** How many reads and lookups were judged. */
  checks = 0;

  constructor(nowMs: () => number, trace: Trace) {
    this.#nowMs = nowMs;
    this.#trace = trace;
  }

  tick(): number {
    return ++this.#ticks;
  }

  name(path: string): Register<string> {
    let register = this.names.get(path);
    if (register === undefined) {
      register = new Register<string>(ABSENT);
      this.names.set(path, register);
    }
    return register;
  }

  begin(client: string, what: string): Change {
    const now = this.#nowMs();
    return {
      client,
      what,
      startTick: this.tick(),
      startMs: now,
      endTick: undefined,
      endMs: now,
      outcome: "open",
      softUntilMs: 0,
      synced: false,
    };
  }

  end(change: Change, outcome: Change["outcome"]): void {
    change.endTick = this.tick();
    change.endMs = this.#nowMs();
    change.outcome = outcome;
  }

  /** Judges one value that a read, begun at `startTick`, found. */
  judge(what: string, register: Register<string>, value: string, startTick: number): boolean {
    this.checks++;
    if (register.allows(value, startTick, this.#nowMs())) return true;
    const allowed = register.allowed(startTick, this.#nowMs()).join(" or ");
    this.fail(`${what} is ${value}, may be ${allowed}`, register.history());
    return false;
  }

  /** Judges whether a listing, begun at `startTick`, may have or lack a name. */
  judgeListed(what: string, register: Register<string>, listed: boolean, startTick: number): void {
    this.checks++;
    const allowed = register.allowed(startTick, this.#nowMs());
    if (allowed.some((value) => (value !== ABSENT) === listed)) return;
    this.fail(`${what} is ${listed ? "" : "not "}listed, may be ${allowed.join(" or ")}`, register.history());
  }

  /** Judges the bytes that a read of a file found from a cell on; what is beyond them is empty. */
  judgeBytes(who: string, file: FileModel, from: number, to: number, bytes: Buffer, startTick: number): void {
    for (let cell = from; cell < to; cell++) {
      const at = (cell - from) * CELL_BYTES;
      const found = bytes.subarray(Math.min(at, bytes.length), at + CELL_BYTES);
      const value = contentOf(file.number, cell, found);
      const what = `${who}: cell ${cell} of ${file.name}`;
      if (!this.judge(what, file.cell(cell), value, startTick)) return;
    }
  }

  fail(what: string, details: readonly string[] = []): void {
    this.violations.push([what, ...details].join("\n    "));
    this.#trace.add("VIOLATION", what);
    for (const detail of details) this.#trace.add("", `  ${detail}`);
  }

  /** An acknowledged fsync that began at `startTick`: what was acknowledged before is on disk. */
  synced(file: FileModel, startTick: number): void {
    for (const change of file.changes)
      if (change.outcome === "ok" && change.endTick! < startTick) change.synced = true;
  }

  /** Power went: acknowledged and unsynced changes that `where` chooses may be gone until `untilMs`. */
  soften(untilMs: number, where: (change: Change) => boolean): void {
    for (const file of this.files)
      for (const change of file.changes)
        if (!change.synced && change.outcome !== "failed" && where(change))
          change.softUntilMs = Math.max(change.softUntilMs, untilMs);
  }
}

export function modeText(mode: number): string {
  return (mode & 0o7777).toString(8);
}

/** The bytes that write `number` puts into cells of a file. */
export function cellBytes(file: number, from: number, to: number, number: number): Buffer {
  const bytes = Buffer.alloc((to - from) * CELL_BYTES);
  for (let cell = from; cell < to; cell++) fillCell(bytes, (cell - from) * CELL_BYTES, file, cell, number);
  return bytes;
}

const ZEROS = Buffer.alloc(CELL_BYTES);

function fillCell(bytes: Buffer, at: number, file: number, cell: number, number: number): void {
  const stamp = Buffer.alloc(16);
  stamp.writeUInt32BE(0x4d6f7274, 0);
  stamp.writeUInt32BE(number, 4);
  stamp.writeUInt32BE(cell, 8);
  stamp.writeUInt32BE(file, 12);
  bytes.fill(stamp, at, at + CELL_BYTES);
}

/** Which write these bytes are from, as text; what is no whole write's bytes is told as such. */
export function contentOf(file: number, cell: number, found: Buffer): string {
  if (found.equals(ZEROS.subarray(0, found.length))) return EMPTY;
  if (found.length < CELL_BYTES) return `${found.length} bytes`;
  const number = found.readUInt32BE(4);
  const expected = Buffer.allocUnsafe(CELL_BYTES);
  fillCell(expected, 0, file, cell, number);
  if (expected.equals(found)) return writeName(number);
  return `garbage ${found.subarray(0, 16).toString("hex")}`;
}

export function writeName(number: number): string {
  return `w${number}`;
}
