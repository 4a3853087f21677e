/**
 * The bytes of one file in memory: sparse, in pages, with the memory of a disk that loses what was not
 * synced.
 *
 * Pages are never changed in place: a write puts a new one. So what a page was at the last sync is kept by
 * reference only, and `crash` can put it back. A page that is not there is a hole; RESERVED is allocated but
 * never written and reads as zeros. Offsets and sizes are bytes; callers have checked them.
 */

import type { IoVec } from "../../../src/core/iovec.ts";

/** Granularity of holes, of allocation and of what a crash loses. */
export const PAGE_BYTES = 4096;
/** What a disk writes at once or not at all, also when its power goes. */
const SECTOR_BYTES = 512;

const RESERVED = Buffer.alloc(PAGE_BYTES);

type Page = Buffer | undefined;

export class SparseData {
  #size = 0;
  #syncedSize = 0;
  readonly #pages = new Map<number, Buffer>();
  /** For each page changed since the last sync: what it was then. */
  readonly #synced = new Map<number, Page>();

  get size(): number {
    return this.#size;
  }

  /** Pages that take room, reserved ones included. */
  get pageCount(): number {
    return this.#pages.size;
  }

  /** Pages that a write or an allocation of this range would have to add. */
  missing(offset: number, size: number): number {
    let count = 0;
    for (let i = first(offset); i <= last(offset, size); i++) if (!this.#pages.has(i)) count++;
    return count;
  }

  /** Up to `size` bytes in a buffer of their own; fewer only at the end of the file. */
  read(offset: number, size: number): Buffer {
    const length = Math.max(0, Math.min(size, this.#size - offset));
    const out = Buffer.alloc(length);
    for (let at = 0; at < length; ) {
      const within = (offset + at) % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - within, length - at);
      this.#pages.get(first(offset + at))?.copy(out, at, within, within + count);
      at += count;
    }
    return out;
  }

  write(data: IoVec, offset: number): void {
    let at = offset;
    for (const part of data) {
      for (let from = 0; from < part.length; ) {
        const within = at % PAGE_BYTES;
        const count = Math.min(PAGE_BYTES - within, part.length - from);
        const page = count === PAGE_BYTES ? Buffer.allocUnsafe(PAGE_BYTES) : this.#copyOf(first(at));
        part.copy(page, within, from, from + count);
        this.#put(first(at), page);
        from += count;
        at += count;
      }
    }
    this.#size = Math.max(this.#size, at);
  }

  truncate(size: number): void {
    if (size < this.#size) this.#drop(size, Number.POSITIVE_INFINITY);
    this.#size = size;
  }

  /** Makes room for a range; what is written stays. */
  reserve(offset: number, size: number, keepSize: boolean): void {
    for (let i = first(offset); i <= last(offset, size); i++) if (!this.#pages.has(i)) this.#put(i, RESERVED);
    if (!keepSize) this.#size = Math.max(this.#size, offset + size);
  }

  /** Makes a range a hole; the size stays. */
  punch(offset: number, size: number): void {
    this.#drop(offset, offset + size);
  }

  /** Makes a range read as zeros and keeps (or gives) it room. */
  zero(offset: number, size: number): void {
    this.#drop(offset, offset + size);
    this.reserve(offset, size, false);
  }

  /**
   * Offset of the first byte at or after `offset` that is in a written page; undefined when there is none.
   */
  nextData(offset: number): number | undefined {
    let found = Number.POSITIVE_INFINITY;
    for (const [index, page] of this.#pages)
      if (page !== RESERVED && index >= first(offset) && index < found) found = index;
    const at = Math.max(offset, found * PAGE_BYTES);
    return at < this.#size ? at : undefined;
  }

  /** Offset of the first hole at or after `offset`; the end of the file counts as one. */
  nextHole(offset: number): number {
    let index = first(offset);
    while (isData(this.#pages.get(index))) index++;
    return Math.min(this.#size, Math.max(offset, index * PAGE_BYTES));
  }

  /** From here on a crash keeps what the file is now. */
  sync(): void {
    this.#synced.clear();
    this.#syncedSize = this.#size;
  }

  /** A synchronous write: its pages and the size are safe, other changes are not. */
  syncRange(offset: number, size: number): void {
    for (let i = first(offset); i <= last(offset, size); i++) this.#synced.delete(i);
    this.#syncedSize = this.#size;
  }

  /**
   * The disk takes some of what was not synced by itself: the pages (by index) and the size that are chosen.
   */
  writeBack(choose: (what: number | "size") => boolean): void {
    for (const index of [...this.#synced.keys()]) if (choose(index)) this.#synced.delete(index);
    if (this.#size !== this.#syncedSize && choose("size"))
      this.#syncedSize = this.#sizeWithout(this.#synced.keys());
  }

  /**
   * Puts back what was not synced, but for the pages (by index) and the size ("size") that `keep` says were
   * written in time. For a page torn by the crash it tells the sectors that were: bit i is sector i.
   */
  crash(keep: (what: number | "size") => boolean | number): void {
    const lost: number[] = [];
    for (const [index, page] of this.#synced) {
      const kept = keep(index);
      if (kept === true) continue;
      lost.push(index);
      const left = kept === false ? page : torn(page, this.#pages.get(index), kept);
      if (left === undefined) this.#pages.delete(index);
      else this.#pages.set(index, left);
    }
    const isKept = this.#size === this.#syncedSize || keep("size");
    const size = isKept ? this.#sizeWithout(lost) : this.#syncedSize;
    // Pages that were put back may lie behind an end that is on disk: no file system shows those again.
    if (size !== this.#size || lost.some((index) => (index + 1) * PAGE_BYTES > size))
      this.#drop(size, Number.POSITIVE_INFINITY);
    this.#size = size;
    this.sync();
  }

  /**
   * The largest size that the disk can have while it lacks these changed pages: file systems write what was
   * appended before they write the size.
   */
  #sizeWithout(pages: Iterable<number>): number {
    let size = this.#size;
    for (const index of pages)
      if ((index + 1) * PAGE_BYTES > this.#syncedSize)
        size = Math.min(size, Math.max(this.#syncedSize, index * PAGE_BYTES));
    return size;
  }

  /** Zeroes `from` to `to`: whole pages go, the rest is overwritten. */
  #drop(from: number, to: number): void {
    if (to === Number.POSITIVE_INFINITY) {
      for (const index of [...this.#pages.keys()])
        if (index * PAGE_BYTES >= from) this.#put(index, undefined);
      this.#clearWithin(first(from), from % PAGE_BYTES, PAGE_BYTES);
      return;
    }
    for (let i = first(from); i <= last(from, to - from); i++) {
      const start = Math.max(from - i * PAGE_BYTES, 0);
      const end = Math.min(to - i * PAGE_BYTES, PAGE_BYTES);
      if (start === 0 && end === PAGE_BYTES) this.#put(i, undefined);
      else this.#clearWithin(i, start, end);
    }
  }

  #clearWithin(index: number, start: number, end: number): void {
    if (!isData(this.#pages.get(index))) return;
    this.#put(index, this.#copyOf(index).fill(0, start, end));
  }

  #copyOf(index: number): Buffer {
    const page = this.#pages.get(index);
    return page ? Buffer.from(page) : Buffer.alloc(PAGE_BYTES);
  }

  #put(index: number, page: Page): void {
    if (!this.#synced.has(index)) this.#synced.set(index, this.#pages.get(index));
    if (page === undefined) this.#pages.delete(index);
    else this.#pages.set(index, page);
  }
}

/** The old page with the chosen sectors of the new one. */
function torn(before: Page, after: Page, sectors: number): Buffer {
  const out = before ? Buffer.from(before) : Buffer.alloc(PAGE_BYTES);
  for (let i = 0; i < PAGE_BYTES / SECTOR_BYTES; i++) {
    if ((sectors & (1 << i)) === 0) continue;
    const from = i * SECTOR_BYTES;
    if (after) after.copy(out, from, from, from + SECTOR_BYTES);
    else out.fill(0, from, from + SECTOR_BYTES);
  }
  return out;
}

function isData(page: Page): boolean {
  return page !== undefined && page !== RESERVED;
}

function first(offset: number): number {
  return Math.floor(offset / PAGE_BYTES);
}

/** The last page of a range; before the first one when the range is empty. */
function last(offset: number, size: number): number {
  return size > 0 ? Math.floor((offset + size - 1) / PAGE_BYTES) : first(offset) - 1;
}
