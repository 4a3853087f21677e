/**
 * Which bytes of a file changed while a copy was away: how replicate tells it to a brick, how a brick answers
 * it to a heal, and the rule by which a heal may rely on it. Mortar's own; GlusterFS ignores all of it.
 *
 * With every increment of a pending data counter replicate sends a Change: all ranges written since the
 * pre-op of that batch, and with the batch's post-op all of them again, if there are any by then.
 * features/index keeps one record for each file and missing copy, and answers it as a ChangeRecord. Ranges
 * are whole blocks of 4 KiB and only ever grow: when they get too many, the smallest gaps between them are
 * filled, so that no changed byte is ever missed and ENCODED_BYTES_MAX never passed.
 */

/** Ranges are multiples of this. */
export const BLOCK_BYTES = 4096;
/** No encoded set of ranges is larger: enough for 128 MiB of random 4 KiB writes in 1 GiB, exactly. */
export const ENCODED_BYTES_MAX = 65536;

/** Bricks keep no record for smaller files unless told: all of such a file is copied as fast. */
export const RECORDED_FILE_BYTES_MIN = 256 * 1024;

const VERSION = 1;
/** Ranges that are added before they are merged into the sorted list: more, the longer that is. */
const FRESH_MIN = 64;
const FRESH_MAX = 4096;
/** So many ranges fit in ENCODED_BYTES_MAX whatever their numbers are: two of at most six bytes each. */
const COUNT_ALWAYS_FITS = Math.floor(ENCODED_BYTES_MAX / 12) - 1;
/** How full a coarsened list is, so that it is not coarsened again at once. */
const COARSENED_FILL = 0.75;
/** A brick id in a Change. */
const KEY_BYTES_MAX = 1024;
const SINKS_MAX = 64;

/** Bytes from `start` up to, not including, `end`; `end` is Infinity for "to the end of the file". */
export interface Span {
  readonly start: number;
  readonly end: number;
}

const NONE = new Float64Array(0);

/** A growing set of byte ranges, cheap to add to and bounded. Never holds less than what was added. */
export class ChangedRanges {
  /** Pairs of block numbers (start, end), ascending, with gaps between them. */
  #bounds = NONE;
  #count = 0;
  #spare = NONE;
  /** Pairs as they came. */
  #fresh = NONE;
  #freshCount = 0;

  static of(spans: Iterable<Span>): ChangedRanges {
    const ranges = new ChangedRanges();
    for (const { start, end } of spans) ranges.add(start, end - start);
    return ranges;
  }

  /** `size` Infinity: to the end of the file (truncate). Nothing for a size of 0. */
  add(offset: number, size: number): void {
    if (!(size > 0)) return;
    const start = Math.floor(offset / BLOCK_BYTES);
    const end = Math.ceil((offset + size) / BLOCK_BYTES);
    const fresh = this.#fresh;
    const last = 2 * this.#freshCount - 2;
    if (last >= 0 && start <= fresh[last + 1]! && end >= fresh[last]!) {
      if (start < fresh[last]!) fresh[last] = start;
      if (end > fresh[last + 1]!) fresh[last + 1] = end;
    } else if (!this.#holds(start, end)) this.#push(start, end);
  }

  addAll(other: ChangedRanges): void {
    for (const { start, end } of other.spans()) this.add(start, end - start);
  }

  clear(): void {
    this.#count = 0;
    this.#freshCount = 0;
    this.#fresh = this.#bounds = this.#spare = NONE;
  }

  get isEmpty(): boolean {
    return this.#count === 0 && this.#freshCount === 0;
  }

  /** Number of separate ranges. */
  get count(): number {
    this.#settle();
    return this.#count;
  }

  /** The ranges in ascending order, cut at `fileBytes` when it is given. */
  spans(fileBytes = Number.POSITIVE_INFINITY): Span[] {
    this.#settle();
    const spans: Span[] = [];
    for (let at = 0; at < 2 * this.#count; at += 2) {
      const start = this.#bounds[at]! * BLOCK_BYTES;
      if (start >= fileBytes) break;
      spans.push({ start, end: Math.min(this.#bounds[at + 1]! * BLOCK_BYTES, fileBytes) });
    }
    return spans;
  }

  /** How many bytes of a file of this size the ranges cover. */
  bytes(fileBytes: number): number {
    return this.spans(fileBytes).reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** Bytes that `encodeSpans` gives; at most ENCODED_BYTES_MAX. */
  encode(): Buffer {
    this.#settle();
    const out = Buffer.allocUnsafe(6 + 12 * this.#count);
    let at = putNumber(out, 0, this.#count);
    let before = 0;
    for (let i = 0; i < 2 * this.#count; i += 2) {
      const start = this.#bounds[i]!;
      const end = this.#bounds[i + 1]!;
      at = putNumber(out, at, start - before);
      at = putNumber(out, at, end === Number.POSITIVE_INFINITY ? 0 : end - start);
      before = end;
    }
    return out.subarray(0, at);
  }

  /** Whether the sorted list has all of it. */
  #holds(start: number, end: number): boolean {
    const bounds = this.#bounds;
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (bounds[2 * middle]! <= start) low = middle + 1;
      else high = middle;
    }
    return low > 0 && end <= bounds[2 * low - 1]!;
  }

  #push(start: number, end: number): void {
    if (2 * this.#freshCount === this.#fresh.length) {
      this.#settle();
      const room = Math.min(Math.max(this.#count >> 2, FRESH_MIN), FRESH_MAX);
      if (this.#fresh.length < 2 * room) this.#fresh = new Float64Array(2 * room);
    }
    this.#fresh[2 * this.#freshCount] = start;
    this.#fresh[2 * this.#freshCount + 1] = end;
    this.#freshCount++;
  }

  /** Merges what was added since into the sorted list and keeps that within its bound. */
  #settle(): void {
    if (this.#freshCount === 0) return;
    const fresh = sortedPairs(this.#fresh, this.#freshCount);
    this.#freshCount = 0;
    const old = this.#bounds;
    const oldEnd = 2 * this.#count;
    const merged = this.#spare.length < oldEnd + fresh.length ? roomFor(oldEnd + fresh.length) : this.#spare;
    let size = 0;
    for (let i = 0, j = 0; i < oldEnd || j < fresh.length; ) {
      const takeOld = j >= fresh.length || (i < oldEnd && old[i]! <= fresh[j]!);
      const start = takeOld ? old[i]! : fresh[j]!;
      const end = takeOld ? old[i + 1]! : fresh[j + 1]!;
      if (takeOld) i += 2;
      else j += 2;
      if (size > 0 && start <= merged[size - 1]!) {
        if (end > merged[size - 1]!) merged[size - 1] = end;
      } else {
        merged[size++] = start;
        merged[size++] = end;
      }
    }
    this.#bounds = merged;
    this.#spare = old;
    this.#count = size / 2;
    while (this.#count > COUNT_ALWAYS_FITS) {
      const bytes = this.#encodedBytes();
      if (bytes <= ENCODED_BYTES_MAX) break;
      this.#coarsen(Math.floor((this.#count * ENCODED_BYTES_MAX * COARSENED_FILL) / bytes));
    }
  }

  /** Fills the smallest gaps until `keep` ranges are left. */
  #coarsen(keep: number): void {
    const bounds = this.#bounds;
    const gaps = new Float64Array(this.#count - 1);
    for (let i = 0; i < gaps.length; i++) gaps[i] = bounds[2 * i + 2]! - bounds[2 * i + 1]!;
    const sorted = gaps.slice().sort();
    const fill = this.#count - keep;
    const limit = sorted[fill - 1]!;
    // Of the gaps that are exactly as wide as the limit only so many are filled as are needed.
    let atLimit = fill - lowerBound(sorted, limit);
    let size = 2;
    for (let i = 0; i < gaps.length; i++) {
      const gap = gaps[i]!;
      if (gap < limit || (gap === limit && atLimit-- > 0)) bounds[size - 1] = bounds[2 * i + 3]!;
      else {
        bounds[size++] = bounds[2 * i + 2]!;
        bounds[size++] = bounds[2 * i + 3]!;
      }
    }
    this.#count = size / 2;
  }

  #encodedBytes(): number {
    let bytes = numberBytes(this.#count);
    let before = 0;
    for (let i = 0; i < 2 * this.#count; i += 2) {
      const start = this.#bounds[i]!;
      const end = this.#bounds[i + 1]!;
      bytes +=
        numberBytes(start - before) + (end === Number.POSITIVE_INFINITY ? 1 : numberBytes(end - start));
      before = end;
    }
    return bytes;
  }
}

/**
 * What replicate sends with an increment of pending data counters, in xdata under CHANGED_RANGES_KEY. When it
 * goes on writing after that, it sends a Change with the xattrop that lowers the dirty count, too; until then
 * no brick relies on the record.
 */
export interface Change {
  /** Everything written since the pre-op of the batch: a copy that fails may lack all of it. */
  readonly ranges: ChangedRanges;
  /**
   * Pending keys of the copies whose own pre-op of this batch is known to have succeeded and which will keep
   * its dirty count, because they get no post-op. A copy of which that is not certain is left out. Counts
   * only together with an increment of that copy's pending counter.
   */
  readonly dirtyLeft: readonly string[];
}

/** A brick's answer: what changed since the pending counter of one copy was zero. */
export interface ChangeRecord {
  /** Value of the pending data counter that the ranges explain; with any other value they mean nothing. */
  readonly counter: number;
  /** How many dirty counts on the missing copy belong to batches that the ranges include. */
  readonly dirtyLeft: number;
  readonly ranges: ChangedRanges;
}

export function encodeChange(change: Change): Buffer {
  const parts = [Buffer.from([VERSION, change.dirtyLeft.length])];
  for (const key of change.dirtyLeft) {
    const bytes = Buffer.from(key, "utf8");
    const size = Buffer.allocUnsafe(2);
    size.writeUInt16BE(bytes.length);
    parts.push(size, bytes);
  }
  return Buffer.concat([...parts, change.ranges.encode()]);
}

/** Undefined for anything but a well-formed Change: the ranges are unknown then. */
export function decodeChange(bytes: Buffer | undefined): Change | undefined {
  if (bytes === undefined || bytes.length < 2 || bytes[0] !== VERSION || bytes[1]! > SINKS_MAX)
    return undefined;
  const dirtyLeft: string[] = [];
  let at = 2;
  for (let sink = bytes[1]!; sink > 0; sink--) {
    if (at + 2 > bytes.length) return undefined;
    const size = bytes.readUInt16BE(at);
    if (size > KEY_BYTES_MAX || at + 2 + size > bytes.length) return undefined;
    dirtyLeft.push(bytes.toString("utf8", at + 2, at + 2 + size));
    at += 2 + size;
  }
  const ranges = decodeRanges(bytes.subarray(at));
  return ranges && { ranges, dirtyLeft };
}

export function encodeRecord(record: ChangeRecord): Buffer {
  const head = Buffer.alloc(9);
  head[0] = VERSION;
  head.writeInt32BE(record.counter, 1);
  head.writeUInt32BE(record.dirtyLeft, 5);
  return Buffer.concat([head, record.ranges.encode()]);
}

/** Undefined for anything but a well-formed record. */
export function decodeRecord(bytes: Buffer | undefined): ChangeRecord | undefined {
  if (bytes === undefined || bytes.length < 9 || bytes[0] !== VERSION) return undefined;
  const ranges = decodeRanges(bytes.subarray(9));
  return ranges && { counter: bytes.readInt32BE(1), dirtyLeft: bytes.readUInt32BE(5), ranges };
}

/** The inverse of `ChangedRanges.encode`; undefined for anything else. */
export function decodeRanges(bytes: Buffer): ChangedRanges | undefined {
  if (bytes.length > ENCODED_BYTES_MAX) return undefined;
  const at = { offset: 0 };
  const count = takeNumber(bytes, at);
  if (count === undefined || count > bytes.length) return undefined;
  const ranges = new ChangedRanges();
  let block = 0;
  for (let left = count; left > 0; left--) {
    const gap = takeNumber(bytes, at);
    const size = takeNumber(bytes, at);
    if (gap === undefined || size === undefined) return undefined;
    const start = (block + gap) * BLOCK_BYTES;
    block += gap + size;
    if (!Number.isSafeInteger(block * BLOCK_BYTES) || (size === 0 && left > 1)) return undefined;
    ranges.add(start, size === 0 ? Number.POSITIVE_INFINITY : size * BLOCK_BYTES);
  }
  return at.offset === bytes.length ? ranges : undefined;
}

/** What a heal knows of one cell of the pending matrix (brick i blames brick j) that involves the sink. */
export interface Blame {
  /** The data counter as read under the lock; not 0. */
  readonly counter: number;
  /** What brick i answered when asked for its record of brick j; undefined when it has none. */
  readonly record: ChangeRecord | undefined;
}

/**
 * The ranges that a sink may lack, or undefined when nothing less than the whole file will do.
 *
 * `against`: a Blame for every other brick whose data counter of the sink is not 0 (at least one). `by`: one
 * for every other brick that the sink itself blames: what it wrote alone must be overwritten too. All of them
 * need a record that explains exactly the counter that was read (a brick that is dirty in data answers
 * none). The source must not be dirty in data, as a batch without a verdict is in no record, and the sink
 * only by batches that are in one: a copy that died in mid-batch keeps that batch's dirty count. Neither may
 * blame itself. All counters are read under the lock over the whole file, in the I/O domain.
 */
export function rangesToHeal(sink: {
  readonly against: readonly Blame[];
  readonly by: readonly Blame[];
  readonly sinkDirty: number;
  readonly sourceDirty: number;
}): ChangedRanges | undefined {
  if (sink.against.length === 0 || sink.sourceDirty !== 0 || sink.sinkDirty < 0) return undefined;
  const all = new ChangedRanges();
  let dirtyLeft = 0;
  for (const { counter, record } of [...sink.against, ...sink.by]) {
    if (record === undefined || record.counter !== counter) return undefined;
    all.addAll(record.ranges);
  }
  for (const { record } of sink.against) dirtyLeft = Math.max(dirtyLeft, record!.dirtyLeft);
  return sink.sinkDirty <= dirtyLeft ? all : undefined;
}

/** The first `count` pairs by ascending start. A start and its place fit together into one number. */
function sortedPairs(pairs: Float64Array, count: number): Float64Array {
  const keys = new Float64Array(count);
  for (let i = 0; i < count; i++) keys[i] = pairs[2 * i]! * FRESH_MAX + i;
  keys.sort();
  const sorted = new Float64Array(2 * count);
  for (let i = 0; i < count; i++) {
    const at = 2 * (keys[i]! % FRESH_MAX);
    sorted[2 * i] = pairs[at]!;
    sorted[2 * i + 1] = pairs[at + 1]!;
  }
  return sorted;
}

/** With a quarter to spare, so that a growing list is not copied each time. */
function roomFor(size: number): Float64Array<ArrayBuffer> {
  return new Float64Array(size + (size >> 2));
}

/** How many of the ascending numbers are below `limit`. */
function lowerBound(sorted: Float64Array, limit: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Numbers are written seven bits a byte, the lowest first; they are below 2^42. */
function putNumber(out: Buffer, at: number, value: number): number {
  while (value >= 128) {
    out[at++] = (value % 128) + 128;
    value = Math.floor(value / 128);
  }
  out[at++] = value;
  return at;
}

function numberBytes(value: number): number {
  let bytes = 1;
  for (; value >= 128; value = Math.floor(value / 128)) bytes++;
  return bytes;
}

function takeNumber(bytes: Buffer, at: { offset: number }): number | undefined {
  let value = 0;
  for (let scale = 1; scale < 2 ** 42; scale *= 128) {
    const byte = bytes[at.offset++];
    if (byte === undefined) return undefined;
    value += (byte & 127) * scale;
    if (byte < 128) return value;
  }
  return undefined;
}
