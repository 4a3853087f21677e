/**
 * What the files and names of a run must look like, as registers, and the verdicts: every read of the
 * workload is judged here when it is answered.
 *
 * Files are cells of CELL_BYTES, a sector, so that a failed write is torn between cells and never within one.
 * Each write fills its cells with its own number, which tells whose bytes a read found.
 */

import { type Gfid, gfidText } from "../../src/core/gfid.ts";
import { type Change, type Reading, Register } from "./register.ts";
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
  /** No file is longer than that, in cells. */
  cellsMax = 0;
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

  /** A data change of these cells. */
  write(change: Change, span: Span, value: string): void {
    this.mayReach(span[1]);
    this.#enter(change, span, value);
  }

  /** The file is to end before that cell. */
  cut(change: Change, cell: number): void {
    this.mayReach(cell);
    this.#enter(change, [cell, this.cellCount], EMPTY);
  }

  /** Something was tried that may make the file so many cells long. */
  mayReach(cells: number): void {
    this.cellsMax = Math.max(this.cellsMax, cells);
  }

  cell(index: number): Register<string> {
    return this.#cells[index]!;
  }

  #enter(change: Change, [from, to]: Span, value: string): void {
    this.changes.push(change);
    for (let i = from; i < to; i++) this.#cells[i]!.write(change, value);
  }
}

/** A file whose contents are written once, right after it was made. */
export class ImageModel {
  /** As shortId has it. */
  readonly id: string;
  readonly number: number;
  readonly cells: number;
  /** All of it was written and synced. */
  isWhole = false;

  constructor(id: string, number: number, cells: number) {
    this.id = id;
    this.number = number;
    this.cells = cells;
  }

  get bytes(): Buffer {
    return cellBytes(IMAGE_FILE, 0, this.cells, this.number);
  }
}

/** Stands for the file's number in the stamps of images. */
const IMAGE_FILE = 0xffff;

/** Cells, the second one excluded. */
export type Span = readonly [from: number, to: number];

/** Who read, and when that began. */
export interface Reader {
  readonly startTick: number;
  readonly session?: number;
}

export class Model {
  readonly files: FileModel[] = [];
  /** Files with contents that were made under names, by shortId. */
  readonly images = new Map<string, ImageModel>();
  /** By `directory/name`. */
  readonly names = new Map<string, Register<string>>();
  /** What was wrong, in the order it was seen. */
  readonly violations: string[] = [];
  readonly #nowMs: () => number;
  readonly #trace: Trace;
  #ticks = 0;
  #sessions = 0;
  /** Changes that were promised, or were and came into doubt. */
  #promises: Change[] = [];
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

  /** A life of a client. */
  newSession(): number {
    return this.#sessions++;
  }

  begin(client: string, what: string, session: number): Change {
    const now = this.#nowMs();
    return {
      client,
      what,
      session,
      startTick: this.tick(),
      startMs: now,
      endTick: undefined,
      endMs: now,
      promisedTick: undefined,
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

  /** It was acknowledged by somebody who has yet to do it. */
  promise(change: Change): void {
    change.promisedTick = this.tick();
    change.endMs = this.#nowMs();
    change.outcome = "promised";
    this.#promises.push(change);
  }

  /** An fsync or a close succeeded: what was promised before is done. */
  settled(session: number, file: FileModel): void {
    this.#keep(session, file, (change) => {
      // What was in doubt is over as well, and may have been given up.
      this.end(change, change.outcome === "promised" ? "ok" : "failed");
      return false;
    });
  }

  /** An fsync failed: what was promised is tried again, or given up. */
  doubted(session: number, file: FileModel): void {
    this.#keep(session, file, (change) => {
      change.promisedTick = undefined;
      change.outcome = "open";
      return true;
    });
  }

  /** A close failed: what was promised is written or given up. */
  givenUp(session: number, file: FileModel): void {
    this.doubted(session, file);
    this.#keep(session, file, (change) => {
      this.end(change, "failed");
      return false;
    });
  }

  /** A client died: what it had promised to its programs may be gone. */
  sessionLost(session: number): void {
    this.#promises = this.#promises.filter((change) => {
      if (change.session !== session) return true;
      this.end(change, "lost");
      return false;
    });
  }

  #keep(session: number, file: FileModel, keep: (change: Change) => boolean): void {
    this.#promises = this.#promises.filter(
      (change) => change.session !== session || !file.changes.includes(change) || keep(change),
    );
  }

  #reading(startTick: number, session?: number): Reading {
    return { startTick, nowMs: this.#nowMs(), session };
  }

  /** Judges one value that a read, begun at `startTick`, found. */
  judge(
    what: string,
    register: Register<string>,
    value: string,
    startTick: number,
    session?: number,
  ): boolean {
    this.checks++;
    const reading = this.#reading(startTick, session);
    if (register.allows(value, reading)) return true;
    const allowed = register.allowed(reading).join(" or ");
    this.fail(`${what} is ${value}, may be ${allowed}`, register.history());
    return false;
  }

  /** Judges whether a listing, begun at `startTick`, may have or lack a name. */
  judgeListed(what: string, register: Register<string>, listed: boolean, startTick: number): void {
    this.checks++;
    const allowed = register.allowed(this.#reading(startTick));
    if (allowed.some((value) => (value !== ABSENT) === listed)) return;
    this.fail(`${what} is ${listed ? "" : "not "}listed, may be ${allowed.join(" or ")}`, register.history());
  }

  /** Judges the bytes that a read of a file found from a cell on; what is beyond them is empty. */
  judgeBytes(who: string, file: FileModel, [from, to]: Span, bytes: Buffer, reader: Reader): void {
    for (let cell = from; cell < to; cell++) {
      const at = (cell - from) * CELL_BYTES;
      const found = bytes.subarray(Math.min(at, bytes.length), at + CELL_BYTES);
      const value = contentOf(file.number, cell, found);
      const what = `${who}: cell ${cell} of ${file.name}`;
      if (!this.judge(what, file.cell(cell), value, reader.startTick, reader.session)) return;
    }
  }

  /** Judges what was read of an image from its start on. `mustBeWhole`: nothing of it may be missing. */
  judgeImage(what: string, image: ImageModel, bytes: Buffer, mustBeWhole: boolean): void {
    this.checks++;
    const wanted = writeName(image.number);
    for (let cell = 0; cell * CELL_BYTES < Math.max(bytes.length, image.cells * CELL_BYTES); cell++) {
      const at = cell * CELL_BYTES;
      const found = bytes.subarray(Math.min(at, bytes.length), at + CELL_BYTES);
      const value = contentOf(IMAGE_FILE, cell, found);
      if (value === wanted || (value === EMPTY && !mustBeWhole)) continue;
      this.fail(`${what}: cell ${cell} of image ${image.id} is ${value}, was written as ${wanted}`);
      return;
    }
    if (bytes.length > image.cells * CELL_BYTES)
      this.fail(`${what}: ${bytes.length} bytes of image ${image.id}`);
  }

  fail(what: string, details: readonly string[] = []): void {
    this.violations.push([what, ...details].join("\n    "));
    this.#trace.add("VIOLATION", what);
    for (const detail of details) this.#trace.add("", `  ${detail}`);
  }

  /**
   * An acknowledged fsync that began at `startTick`: what was acknowledged before is on disk; with `session`,
   * what was acknowledged to that one.
   */
  synced(file: FileModel, startTick: number, session?: number): void {
    for (const change of file.changes)
      if (change.outcome === "ok" && (change.promisedTick ?? change.endTick!) < startTick)
        if (session === undefined || change.session === session) change.synced = true;
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

/** Enough of a gfid to know it by. */
export function shortId(gfid: Gfid): string {
  return gfidText(gfid).slice(0, 8);
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
