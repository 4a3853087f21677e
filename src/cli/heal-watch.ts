/**
 * `mortar heal SOURCE info --watch`: what is left to heal, whoever heals it, looked at again and again until
 * nothing is left: objects, bytes, rate, time to go.
 *
 * Other processes tell nothing of their heals, so that the bricks' lists are the measure: a file counts with
 * all its bytes until it is healed. On a terminal one line is written over; elsewhere each change is a line.
 */

import type { WriteStream } from "node:tty";
import { shownName } from "../../xlators/cluster/replicate/crawl/names.ts";
import { gfidText } from "../core/gfid.ts";
import { type BrickInfo, bytesToHeal } from "./heal-info.ts";
import type { ObjectNames } from "./heal-names.ts";
import { durationText, sizeText } from "./heal-progress.ts";
import { columnsOf } from "./output.ts";

const LOOK_EVERY_MS = 1000;
/** The rate is that of the last while: load and kinds of files change. */
const RATE_OVER_MS = 30_000;

/** What waits at a moment, each object once. */
export interface Pending {
  readonly objects: number;
  readonly bytes: number;
  /** In split brain, which no heal ends; not among `objects`. */
  readonly splitBrain: number;
  /** Bricks that do not answer: what they list is unknown, and nothing can be healed. */
  readonly away: number;
  /** Of an object that is being healed, or else of one that waits. */
  readonly name: string | undefined;
}

export function pendingOf(bricks: readonly BrickInfo[], nameOf = shownName): Pending {
  const listed = new Map(
    bricks.flatMap(({ objects }) => objects.map((object) => [gfidText(object.gfid), object] as const)),
  );
  const all = [...listed.values()];
  const waiting = all.filter(({ inspection }) => inspection.status !== "split-brain");
  const shown = waiting.find(({ inspection }) => inspection.possiblyHealing) ?? waiting[0];
  return {
    objects: waiting.length,
    bytes: bytesToHeal([{ objects: waiting }]),
    splitBrain: all.length - waiting.length,
    away: bricks.filter(({ connected }) => !connected).length,
    name: shown && nameOf(shown.path, shown.gfid),
  };
}

/** How fast what is left grows less. */
export class Pace {
  readonly #seen: { readonly atMs: number; readonly pending: Pending }[] = [];

  note(pending: Pending, atMs: number): void {
    const last = this.#seen.at(-1)?.pending;
    // More than before: something new waits, and the rate so far says nothing of it.
    if (last && (pending.bytes > last.bytes || pending.objects > last.objects)) this.#seen.length = 0;
    this.#seen.push({ atMs, pending });
    while (this.#seen.length > 2 && this.#seen[1]!.atMs <= atMs - RATE_OVER_MS) this.#seen.shift();
  }

  get bytesPerMs(): number {
    return this.#rate(({ bytes }) => bytes);
  }

  get objectsPerMs(): number {
    return this.#rate(({ objects }) => objects);
  }

  #rate(what: (pending: Pending) => number): number {
    const [first, last] = [this.#seen[0], this.#seen.at(-1)];
    if (!first || !last || last.atMs <= first.atMs) return 0;
    return (what(first.pending) - what(last.pending)) / (last.atMs - first.atMs);
  }
}

/** `12 to heal, 3.4 GiB to go, 120.0 MiB/s, 29 s to go, /vm1.qcow2; 1 in split brain; 1 brick is away` */
export function watchText(pending: Pending, pace: Pace): string {
  const { objects, bytes, splitBrain, away, name } = pending;
  const pieces = [objects === 0 ? "nothing to heal" : `${objects} to heal`];
  if (bytes > 0) pieces.push(`${sizeText(bytes)} to go`);
  const { bytesPerMs, objectsPerMs } = pace;
  if (bytes > 0 && bytesPerMs > 0)
    pieces.push(`${sizeText(bytesPerMs * 1000)}/s`, `${durationText(bytes / bytesPerMs)} to go`);
  else if (bytes === 0 && objects > 0 && objectsPerMs > 0)
    pieces.push(`${durationText(objects / objectsPerMs)} to go`);
  if (name !== undefined) pieces.push(name);
  const notes = [
    ...(splitBrain > 0 ? [`${splitBrain} in split brain`] : []),
    ...(away > 0 ? [`${away} ${away === 1 ? "brick is" : "bricks are"} away`] : []),
  ];
  return [pieces.join(", "), ...notes].join("; ");
}

export interface WatchOptions {
  readonly signal: AbortSignal;
  readonly everyMs?: number;
  /** Knows blocks by their images. */
  readonly names?: ObjectNames;
}

/**
 * Looks until nothing is left that a heal could end and every brick answers, or `signal` aborts. False when
 * something is left then: split brain, or all that was not waited for.
 */
export async function watchInfo(
  gather: () => Promise<readonly BrickInfo[]>,
  out: Pick<WriteStream, "write"> & { readonly isTTY?: boolean; readonly columns?: number },
  { signal, everyMs = LOOK_EVERY_MS, names }: WatchOptions,
): Promise<boolean> {
  const pace = new Pace();
  for (let before = ""; ; ) {
    const bricks = await gather();
    await names?.learn(bricks.flatMap(({ objects }) => objects.map(({ path }) => path)));
    const pending = pendingOf(bricks, names?.of);
    pace.note(pending, performance.now());
    const text = watchText(pending, pace);
    if (out.isTTY) out.write(`\r\x1b[K${text.slice(0, columnsOf(out) - 1)}`);
    else if (text !== before) out.write(`${text}\n`);
    before = text;
    const isOver = pending.objects === 0 && pending.away === 0;
    if (isOver || signal.aborted) {
      if (out.isTTY) out.write("\n");
      return isOver && pending.splitBrain === 0;
    }
    await pause(everyMs, signal);
  }
}

/** Resolves early when `signal` aborts. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}
