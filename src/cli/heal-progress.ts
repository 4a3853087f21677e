/**
 * How far a heal is, in one line: bytes, rate, time to go. Pure but for the terminal that it is drawn on.
 *
 * cli-progress, which draws copies, knows one sum that grows; here files are done beside each other, and what
 * is to do is found on the way.
 */

import type { WriteStream } from "node:tty";
import type { RunningHeal } from "../../xlators/cluster/replicate/crawl/heal-queue.ts";
import { shownName } from "../../xlators/cluster/replicate/crawl/names.ts";
import { gfidText } from "../core/gfid.ts";
import { columnsOf } from "./output.ts";

/** What is known of the work at a moment. */
export interface Progress {
  readonly objectsDone: number;
  readonly objectsTotal: number;
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** What is being healed, by name. */
  readonly names: readonly string[];
  /** Of those not done: objects that other processes heal. */
  readonly elsewhere: number;
}

/** Adds up what was listed, what runs and what is done. What was not listed counts once it begins. */
export class ProgressTable {
  readonly #expected = new Map<string, number>();
  readonly #done = new Map<string, number>();

  /** An object that is to be healed, and how many bytes that takes at most. */
  expect(gfid: string, bytes: number): void {
    this.#expected.set(gfid, bytes);
  }

  finish(gfid: string, bytes: number): void {
    this.#expected.set(gfid, bytes);
    this.#done.set(gfid, bytes);
  }

  /** Another process has healed it: nobody tells how many bytes that took. */
  finishElsewhere(gfid: string): void {
    this.#done.set(gfid, this.#expected.get(gfid) ?? 0);
  }

  at(running: readonly RunningHeal[], elsewhere = 0, nameOf = shownName): Progress {
    const totals = new Map(this.#expected);
    let bytesDone = 0;
    for (const bytes of this.#done.values()) bytesDone += bytes;
    for (const { gfid, progress } of running) {
      const key = gfidText(gfid);
      if (progress) totals.set(key, progress.total);
      else if (!totals.has(key)) totals.set(key, 0);
      bytesDone += progress?.done ?? 0;
    }
    const bytesTotal = [...totals.values()].reduce((sum, bytes) => sum + bytes, 0);
    const names = running.map(({ path, gfid }) => nameOf(path, gfid));
    const objectsDone = this.#done.size;
    return { objectsDone, objectsTotal: totals.size, bytesDone, bytesTotal, names, elsewhere };
  }
}

const BAR_WIDTH = 20;

/** `[####----------------]  20%  1.0 GiB of 5.0 GiB  200.0 MiB/s  20 s to go  3/10  /vm1.qcow2` */
export function progressText(progress: Progress, elapsedMs: number, width: number): string {
  const { bytesDone, bytesTotal, objectsDone, objectsTotal, names, elsewhere } = progress;
  const part = bytesTotal > 0 ? bytesDone / bytesTotal : objectsTotal > 0 ? objectsDone / objectsTotal : 0;
  const filled = Math.round(Math.min(1, part) * BAR_WIDTH);
  const bar = `[${"#".repeat(filled)}${"-".repeat(BAR_WIDTH - filled)}]`;
  const percent = `${String(Math.floor(Math.min(1, part) * 100)).padStart(3)}%`;
  const pieces = [`${bar} ${percent}`, `${sizeText(bytesDone)} of ${sizeText(bytesTotal)}`];
  const perMs = elapsedMs > 0 ? bytesDone / elapsedMs : 0;
  if (perMs > 0) {
    pieces.push(`${sizeText(perMs * 1000)}/s`);
    pieces.push(`${durationText((bytesTotal - bytesDone) / perMs)} to go`);
  }
  pieces.push(`${objectsDone}/${objectsTotal}`);
  if (names[0] !== undefined) pieces.push(names[0]);
  else if (elsewhere > 0) pieces.push(`another process heals ${elsewhere}`);
  return pieces.join("  ").slice(0, Math.max(0, width - 1));
}

/** Binary multiples, one digit behind the point. */
export function sizeText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Rounded up to what people care for. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const DRAW_EVERY_MS = 200;

/** The line on a terminal; on any other output nothing is drawn. */
export class ProgressLine {
  readonly #out: WriteStream;
  readonly #now: () => Progress;
  readonly #startedMs = performance.now();
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(out: WriteStream, now: () => Progress) {
    this.#out = out;
    this.#now = now;
    if (out.isTTY) this.#timer = setInterval(() => this.#draw(), DRAW_EVERY_MS);
  }

  /** Takes the line away, e.g. to print another; it comes back with the next drawing. */
  clear(): void {
    if (this.#out.isTTY) this.#out.write("\r\x1b[K");
  }

  end(): void {
    clearInterval(this.#timer);
    this.clear();
  }

  #draw(): void {
    const elapsedMs = performance.now() - this.#startedMs;
    this.#out.write(`\r\x1b[K${progressText(this.#now(), elapsedMs, columnsOf(this.#out))}`);
  }
}
