/**
 * How far a copy or a measurement is, as one line of a terminal on standard error; nothing elsewhere.
 *
 * cli-progress draws it: bar, rate and time to go, in the width that there is.
 */

import progress from "cli-progress";
import { durationText, sizeText } from "../heal-progress.ts";

export interface ProgressOptions {
  /** False: nothing is drawn. */
  readonly enabled?: boolean;
  /** What there is to do; 0 while that is not known. */
  readonly total?: number;
  /** What is counted; bytes are shown with their rate. */
  readonly unit?: string;
}

const BYTES = "bytes";
const FPS = 5;
const BAR_WIDTH = 24;

export class ProgressBar {
  readonly #bar: progress.SingleBar | undefined;
  readonly #unit: string;
  readonly #startedMs = performance.now();
  #value = 0;
  #total: number;
  #text = "";

  constructor(out: NodeJS.WriteStream, { enabled = true, total = 0, unit = BYTES }: ProgressOptions) {
    this.#unit = unit;
    this.#total = total;
    if (!enabled || !out.isTTY) return;
    this.#bar = new progress.SingleBar({
      stream: out,
      fps: FPS,
      clearOnComplete: true,
      // The terminal's own wrapping would leave lines behind.
      linewrap: false,
      gracefulExit: false,
      barsize: BAR_WIDTH,
      format: (options, params) => this.#line(progress.Format.BarFormat(params.progress, options)),
    });
    this.#bar.start(this.#total, 0);
  }

  /** `text`: what is being done now. */
  add(count: number, text = this.#text): void {
    this.#value += count;
    this.#text = text;
    this.#bar?.update(this.#value);
  }

  /** More to do turned up. */
  expect(more: number): void {
    this.#total += more;
    this.#bar?.setTotal(this.#total);
  }

  /** Takes the line away. */
  end(): void {
    this.#bar?.stop();
  }

  #line(bar: string): string {
    const elapsedMs = performance.now() - this.#startedMs;
    const perMs = this.#value / elapsedMs;
    const isBytes = this.#unit === BYTES;
    const rate = isBytes && perMs > 0 ? `  ${sizeText(perMs * 1000)}/s` : "";
    if (this.#total === 0) return `${this.#shown(this.#value)}${rate}  ${this.#text}`;
    const percent = Math.floor((100 * this.#value) / this.#total);
    const left = perMs > 0 ? `  ${durationText((this.#total - this.#value) / perMs)} to go` : "";
    const of = `${this.#shown(this.#value)} of ${this.#shown(this.#total)}${isBytes ? "" : ` ${this.#unit}`}`;
    return `[${bar}] ${String(percent).padStart(3)}%  ${of}${rate}${left}  ${this.#text}`;
  }

  #shown(value: number): string {
    return this.#unit === BYTES ? sizeText(value) : String(value);
  }
}
