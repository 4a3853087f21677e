/**
 * Where a file has data and where holes, from SEEK_DATA and SEEK_HOLE as QEMU reads them (qemu-fio-needs.md
 * 2.6): ENXIO is a hole up to the end, and any other failure means that nothing is known, so all is data. A
 * hole that is taken for data costs time; data taken for a hole would be lost.
 */

import { FopError } from "../core/errors.ts";

export interface Extent {
  readonly offset: number;
  readonly size: number;
  /** False: a hole, reads as zeroes. */
  readonly isData: boolean;
}

/** What can be asked; local files and files of a volume alike. */
export interface Seekable {
  seek(offset: number, what: "data" | "hole"): Promise<number>;
  stat(): Promise<{ readonly size: number }>;
}

export interface ExtentOptions {
  readonly start?: number;
  /** The size of the file by default. */
  readonly end?: number;
  readonly signal?: AbortSignal;
}

/** From `start` to `end`, in order, without gaps and never two alike side by side. */
export async function* findExtents(file: Seekable, options: ExtentOptions = {}): AsyncGenerator<Extent> {
  const { start = 0, signal } = options;
  const end = options.end ?? (await file.stat()).size;
  for (let offset = start; offset < end; ) {
    signal?.throwIfAborted();
    const data = Math.min(await find(file, offset, "data", end), end);
    if (data > offset) yield { offset, size: data - offset, isData: false };
    if (data >= end) return;
    signal?.throwIfAborted();
    const hole = Math.min(await find(file, data, "hole", end), end);
    // A hole where data was just found: the file changes meanwhile. Data is the answer that loses nothing.
    const dataEnd = hole > data ? hole : end;
    yield { offset: data, size: dataEnd - data, isData: true };
    offset = dataEnd;
  }
}

async function find(file: Seekable, offset: number, what: "data" | "hole", end: number): Promise<number> {
  try {
    // An answer before the question is none.
    return Math.max(await file.seek(offset, what), offset);
  } catch (error) {
    if (!(error instanceof FopError)) throw error;
    // A file that cannot be read at all will say so when it is read.
    return error.code !== "ENXIO" && what === "data" ? offset : end;
  }
}
