/**
 * Byte ranges with both ends included, for locks. Offsets are bigint, because lock ranges use all 63 bits:
 * "to the end of the file" ends at RANGE_END whatever the file's size. Pure.
 */

export interface ByteRange {
  readonly start: bigint;
  /** The last byte, not the one after it. */
  readonly end: bigint;
}

/** Last byte of a range without end. */
export const RANGE_END = 2n ** 63n - 1n;
/** Everything. */
export const WHOLE: ByteRange = { start: 0n, end: RANGE_END };

/**
 * fcntl's start and length as a range: length 0 reaches to the end, a negative one covers the bytes before
 * `start`. Both are taken as signed 64-bit numbers. Undefined when the range would begin below 0 or end
 * beyond RANGE_END.
 */
export function rangeOf(start: bigint, len: bigint): ByteRange | undefined {
  start = BigInt.asIntN(64, start);
  len = BigInt.asIntN(64, len);
  if (start < 0n) return undefined;
  if (len === 0n) return { start, end: RANGE_END };
  const range = len > 0n ? { start, end: start + len - 1n } : { start: start + len, end: start - 1n };
  return range.start < 0n || range.end > RANGE_END ? undefined : range;
}

/** The length that `rangeOf` would take for this range. */
export function lengthOf(range: ByteRange): bigint {
  return range.end === RANGE_END ? 0n : range.end - range.start + 1n;
}

export function overlaps(a: ByteRange, b: ByteRange): boolean {
  return a.start <= b.end && b.start <= a.end;
}

/** True when they overlap or one begins right after the other. */
export function touches(a: ByteRange, b: ByteRange): boolean {
  return a.start <= b.end + 1n && b.start <= a.end + 1n;
}

/** True when every byte of `inner` is in `outer`. */
export function covers(outer: ByteRange, inner: ByteRange): boolean {
  return outer.start <= inner.start && inner.end <= outer.end;
}

export function sameRange(a: ByteRange, b: ByteRange): boolean {
  return a.start === b.start && a.end === b.end;
}

/** The smallest range around both. */
export function union(a: ByteRange, b: ByteRange): ByteRange {
  const { start } = a.start <= b.start ? a : b;
  const { end } = a.end >= b.end ? a : b;
  return { start, end };
}

/** What is left of `range` without `cut`: none, one or two ranges. */
export function subtract(range: ByteRange, cut: ByteRange): ByteRange[] {
  if (!overlaps(range, cut)) return [range];
  const left: ByteRange[] = [];
  if (range.start < cut.start) left.push({ start: range.start, end: cut.start - 1n });
  if (cut.end < range.end) left.push({ start: cut.end + 1n, end: range.end });
  return left;
}
