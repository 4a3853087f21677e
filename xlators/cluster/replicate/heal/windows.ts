/**
 * How a data heal cuts its work: ranges to heal into windows, which are locked at a time, and those into
 * pieces, which are compared and copied at a time. Pure.
 *
 * A window holds at most `windowBytes` of work, and spans no more of the file than WINDOW_SPAN times that, so
 * that a lock of scattered changes keeps nobody from the rest of a large file.
 */

/** Bytes from `start` up to, not including, `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Window extends Span {
  readonly pieces: readonly Span[];
}

/** What GlusterFS reads, compares and writes at a time. */
export const PIECE_BYTES = 128 * 1024;
const WINDOW_SPAN = 16;

/** `spans` ascending and apart. */
export function* windowsOf(spans: Iterable<Span>, windowBytes: number): Generator<Window> {
  let pieces: Span[] = [];
  let bytes = 0;
  for (const piece of piecesOf(spans)) {
    const first = pieces[0];
    const size = piece.end - piece.start;
    const full = bytes + size > windowBytes;
    if (first && (full || piece.end - first.start > WINDOW_SPAN * windowBytes)) {
      yield { start: first.start, end: pieces.at(-1)!.end, pieces };
      pieces = [];
      bytes = 0;
    }
    pieces.push(piece);
    bytes += size;
  }
  if (pieces.length > 0) yield { start: pieces[0]!.start, end: pieces.at(-1)!.end, pieces };
}

/** Cut where multiples of PIECE_BYTES are, so that every heal cuts a file the same way. */
function* piecesOf(spans: Iterable<Span>): Generator<Span> {
  for (const { start, end } of spans) {
    for (let at = start; at < end; ) {
      const next = Math.min(end, (Math.floor(at / PIECE_BYTES) + 1) * PIECE_BYTES);
      yield { start: at, end: next };
      at = next;
    }
  }
}

export function bytesOf(spans: Iterable<Span>): number {
  let bytes = 0;
  for (const { start, end } of spans) bytes += end - start;
  return bytes;
}

/** Tasks that are begun one by one and go on side by side. */
export class SideBySide {
  readonly #running = new Set<Promise<void>>();
  readonly #errors: unknown[] = [];

  /** A task has failed: nothing more should be begun. */
  get hasFailed(): boolean {
    return this.#errors.length > 0;
  }

  begin(task: Promise<void>): void {
    const running = task
      .catch((error: unknown) => void this.#errors.push(error))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Resolves when no more than `count` run. */
  async until(count: number): Promise<void> {
    while (this.#running.size > count) await Promise.race(this.#running);
  }

  /** Throws the first error of a task. */
  check(): void {
    if (this.hasFailed) throw this.#errors[0];
  }
}

/** Runs `work` for all items, at most `limit` at a time. Rejects with the first error when all have ended. */
export async function forEachOf<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const tasks = new SideBySide();
  for (const item of items) {
    await tasks.until(limit - 1);
    if (tasks.hasFailed) break;
    tasks.begin(work(item));
  }
  await tasks.until(0);
  tasks.check();
}
