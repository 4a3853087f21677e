/**
 * Where a sparse file has data on the source or on a sink. Everywhere else all of them read zeroes, so that a
 * heal need not look there: an image of which little is used heals in the time that this little takes.
 *
 * Needs no lock: what guests write meanwhile goes to all copies, and where none of them had data before they
 * are equal. Beyond GlusterFS, which reads every hole.
 */

import { FopError } from "../../../../src/core/errors.ts";
import type { Fd } from "../../../../src/core/inode.ts";
import type { HealTask } from "./task.ts";
import { PIECE_BYTES, type Span } from "./windows.ts";

/** Of a span with more extents than this the rest counts as data. */
const EXTENTS_MAX = 16_384;
/** To ask where data is takes as long as to compare this much. */
const WORTH_BYTES = 4 * 1024 * 1024;

/** What of `spans` (ascending and apart) is data on one of the children; all of it where one cannot tell. */
export async function dataIn(
  task: HealTask,
  fd: Fd,
  children: readonly number[],
  spans: readonly Span[],
): Promise<readonly Span[]> {
  const out: Span[] = [];
  for (const span of spans) {
    if (span.end - span.start < WORTH_BYTES) {
      out.push(span);
      continue;
    }
    const found = await Promise.all(children.map((child) => extentsOn(task, fd, child, span)));
    out.push(...union(found.flat()));
  }
  return out;
}

async function extentsOn({ set, call }: HealTask, fd: Fd, child: number, span: Span): Promise<Span[]> {
  const brick = set.children[child]!;
  const { end: size } = span;
  const seek = async (offset: number, what: "data" | "hole"): Promise<number> => {
    if (offset >= size) return size;
    try {
      return Math.min(size, (await brick.seek(call, { fd, offset, what })).offset);
    } catch (error) {
      // Nothing but a hole up to the end.
      if (error instanceof FopError && error.code === "ENXIO") return size;
      throw error;
    }
  };
  const spans: Span[] = [];
  try {
    for (let at = span.start; at < size; ) {
      const start = await seek(at, "data");
      if (start >= size) return spans;
      const end = spans.length === EXTENTS_MAX ? size : await seek(start, "hole");
      spans.push({ start, end });
      at = end;
    }
    return spans;
  } catch (error) {
    if (!(error instanceof FopError) || error.code === "ENOTCONN") throw error;
    return [span];
  }
}

/** Gaps smaller than a piece are not worth a window of their own. */
export function union(spans: readonly Span[]): Span[] {
  const out: { start: number; end: number }[] = [];
  for (const { start, end } of [...spans].sort((a, b) => a.start - b.start)) {
    const last = out.at(-1);
    if (last && start - last.end < PIECE_BYTES) last.end = Math.max(last.end, end);
    else out.push({ start, end });
  }
  return out;
}
