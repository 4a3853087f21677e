/**
 * The content of a file into a new one: holes are not read, zeroes are not written, pieces go side by side.
 *
 * The target must be empty and stays as long as what was written; `truncate` it to the size in the end. When
 * it rejects nothing is in flight any more.
 */

import type { IoVec } from "../../core/iovec.ts";
import type { SourceFile, TargetFile } from "./tree.ts";

export interface CopyOptions {
  /** Ends the copy with the signal's reason. */
  readonly signal: AbortSignal;
  /** Hears of bytes that are dealt with, holes included. */
  readonly onProgress: (bytes: number) => void;
}

/** What goes in one request. */
const PIECE_BYTES = 1 << 20;
const IN_FLIGHT = 8;
/** Zeroes of this length and at multiples of it become holes. */
const ZERO_BYTES = 64 * 1024;
const ZEROES = Buffer.alloc(ZERO_BYTES);

/** Copies everything that the source has now; returns its size. */
export async function copyData(from: SourceFile, to: TargetFile, options: CopyOptions): Promise<number> {
  const { signal, onProgress } = options;
  const pieces = new Pieces(IN_FLIGHT);
  let size = 0;
  try {
    for await (const extent of from.extents({ signal })) {
      size = extent.offset + extent.size;
      if (!extent.isData) {
        onProgress(extent.size);
        continue;
      }
      for (let offset = extent.offset; offset < size; offset += PIECE_BYTES) {
        signal.throwIfAborted();
        const length = Math.min(PIECE_BYTES, size - offset);
        await pieces.add(copyPiece(from, to, offset, length, onProgress));
      }
    }
  } finally {
    await pieces.end();
  }
  pieces.check();
  signal.throwIfAborted();
  return size;
}

/** Copies a stream to its end; returns how many bytes there were. */
export async function copyStream(
  from: AsyncIterable<Buffer>,
  to: TargetFile,
  options: CopyOptions,
): Promise<number> {
  const { signal, onProgress } = options;
  const pieces = new Pieces(IN_FLIGHT);
  let offset = 0;
  try {
    for await (const chunk of from) {
      signal.throwIfAborted();
      await pieces.add(writeData(to, offset, [chunk]));
      offset += chunk.length;
      onProgress(chunk.length);
    }
  } finally {
    await pieces.end();
  }
  pieces.check();
  signal.throwIfAborted();
  return offset;
}

async function copyPiece(
  from: SourceFile,
  to: TargetFile,
  offset: number,
  length: number,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const read = await from.readVector(offset, length);
  try {
    await writeData(to, offset, read.data);
  } finally {
    read.release();
  }
  onProgress(length);
}

/** Writes what is not zero; all of it in one request where nothing is. */
async function writeData(to: TargetFile, offset: number, data: IoVec): Promise<void> {
  const runs = dataRuns(offset, data);
  for (const run of runs) await to.write(run.offset, run.data);
}

/** Parts of a vector that have to be written, joined where they touch. */
export function dataRuns(offset: number, data: IoVec): { offset: number; data: Buffer[] }[] {
  const runs: { offset: number; data: Buffer[]; end: number }[] = [];
  let at = offset;
  for (const part of data) {
    for (let from = 0; from < part.length; ) {
      const to = Math.min(part.length, from + ZERO_BYTES - ((at + from) % ZERO_BYTES));
      if (!isZero(part, from, to)) addRun(runs, at, part, from, to);
      from = to;
    }
    at += part.length;
  }
  return runs.map(({ offset: start, data: parts }) => ({ offset: start, data: parts }));
}

function addRun(
  runs: { offset: number; data: Buffer[]; end: number }[],
  partAt: number,
  part: Buffer,
  from: number,
  to: number,
): void {
  const last = runs.at(-1);
  const tail = last?.data.at(-1);
  if (last?.end !== partAt + from) {
    runs.push({ offset: partAt + from, data: [part.subarray(from, to)], end: partAt + to });
    return;
  }
  // A run within one part stays one buffer.
  if (tail && tail.buffer === part.buffer && tail.byteOffset + tail.length === part.byteOffset + from)
    last.data[last.data.length - 1] = Buffer.from(tail.buffer, tail.byteOffset, tail.length + to - from);
  else last.data.push(part.subarray(from, to));
  last.end = partAt + to;
}

function isZero(part: Buffer, from: number, to: number): boolean {
  return part[from] === 0 && part[to - 1] === 0 && part.compare(ZEROES, 0, to - from, from, to) === 0;
}

/** Some promises at a time; the first failure ends what is added after it. */
class Pieces {
  readonly #limit: number;
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Resolves when there is room for another one. Rejects with the first failure of any. */
  async add(work: Promise<void>): Promise<void> {
    const piece = work
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#running.delete(piece));
    this.#running.add(piece);
    while (this.#running.size >= this.#limit) await Promise.race(this.#running);
    this.check();
  }

  /** Nothing runs any more. */
  async end(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** Throws the first failure. */
  check(): void {
    if (this.#failure) throw this.#failure.error;
  }
}
