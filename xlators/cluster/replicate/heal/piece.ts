/**
 * Copies one piece of a file from the source to its sinks (spec translators.md 4.9, step 3). The caller holds
 * the lock over the piece.
 *
 * Keeps files as sparse as the source: zeroes are not written where a sink reads zeroes anyway, unless the
 * source has no holes at all; then the sinks shall have none either.
 */

import type { Call } from "../../../../src/core/call.ts";
import { fanout } from "../../../../src/core/concurrency.ts";
import { Dict } from "../../../../src/core/dict.ts";
import type { Reply } from "../../../../src/core/fops.ts";
import type { Iatt } from "../../../../src/core/iatt.ts";
import type { Fd } from "../../../../src/core/inode.ts";
import { type IoVec, iovSize } from "../../../../src/core/iovec.ts";
import { type ChildSet, childrenOf, NO_CHILDREN, only } from "../child-set.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { PIECE_BYTES, type Span } from "./windows.ts";

const ZEROES = Buffer.alloc(PIECE_BYTES);
const CHECK_ZEROES = "check-zero-filled";
const HAS_ZEROES = "buf-has-zeroes";

export interface CopyPlan {
  readonly set: ReplicaSet;
  readonly call: Call;
  readonly fd: Fd;
  readonly source: number;
  /** Compare before copying. */
  readonly diff: boolean;
  /** As they were before the sinks were truncated. */
  readonly stats: readonly Iatt[];
}

export interface Copied {
  /** Sinks that have the source's bytes now. */
  readonly done: ChildSet;
  /** Bytes written, all sinks together. */
  readonly moved: number;
}

/** Whether blocks are missing from a file of this size. */
export function hasHoles({ blocks, size }: Iatt): boolean {
  return blocks * 512 < size;
}

/** Makes a piece of `sinks` like the source's. Rejects when the source cannot be read. */
export async function copyPiece(plan: CopyPlan, piece: Span, sinks: ChildSet): Promise<Copied> {
  const differing = plan.diff ? await differingSinks(plan, piece, sinks) : sinks;
  if (differing === NO_CHILDREN) return { done: sinks, moved: 0 };
  const { set, call, fd, source } = plan;
  const size = piece.end - piece.start;
  const reply = await set.children[source]!.readv(call, { fd, offset: piece.start, size, flags: 0 });
  try {
    // Nothing there: a guest has cut the file meanwhile, on the sinks too.
    if (reply.size === 0) return { done: sinks, moved: 0 };
    const written = await writePiece(plan, piece, reply.data, differing);
    return { done: (sinks & ~differing) | written.done, moved: written.moved };
  } finally {
    reply.lease?.release();
  }
}

async function writePiece(plan: CopyPlan, piece: Span, data: IoVec, sinks: ChildSet): Promise<Copied> {
  const { set, call, fd, source, stats } = plan;
  const size = iovSize(data);
  const spare = hasHoles(stats[source]!) && data.every(isZero);
  let moved = 0;
  const children = childrenOf(sinks);
  const outcomes = await fanout(children, async (child) => {
    if (spare && (await readsZero(plan, piece, child))) return;
    const reply = await set.children[child]!.writev(call, { fd, data, offset: piece.start, flags: 0 });
    if (reply.size !== size) throw new Error(`a write of ${size} bytes took ${reply.size}`);
    moved += size;
  });
  let done = NO_CHILDREN;
  for (const [at, outcome] of outcomes.entries()) {
    const child = children[at]!;
    if (outcome.ok) done |= only(child);
    else
      set.log.warn("a copy could not be written while healing it", {
        child: set.children[child]!.name,
        offset: piece.start,
        error: outcome.error,
      });
  }
  return { done, moved };
}

/** Zeroes need not be written to this sink. As in GlusterFS, the piece at the end of the file is. */
async function readsZero(plan: CopyPlan, piece: Span, child: number): Promise<boolean> {
  const { set, call, fd, source, stats } = plan;
  const before = stats[child]!.size;
  if (piece.start >= before) return piece.end < stats[source]!.size;
  if (plan.diff || piece.end > before) return false;
  const size = piece.end - piece.start;
  const reply = await set.children[child]!.readv(call, { fd, offset: piece.start, size, flags: 0 });
  try {
    return reply.data.every(isZero);
  } finally {
    reply.lease?.release();
  }
}

/**
 * The sinks to write. Where the checksums say nothing (an error, another kind of sum) the piece counts as
 * different. A sink that is equal is written nevertheless when the piece is zeroes, the source has no holes
 * and the sink may have one here.
 */
async function differingSinks(plan: CopyPlan, piece: Span, sinks: ChildSet): Promise<ChildSet> {
  const { set, call, fd, source, stats } = plan;
  const children = [source, ...childrenOf(sinks)];
  const xdata = new Dict().setInt(CHECK_ZEROES, 1);
  const args = { fd, offset: piece.start, size: piece.end - piece.start, xdata };
  const sums = await fanout(children, (child) => set.children[child]!.rchecksum(call, args));
  const [ofSource, ...ofSinks] = sums;
  if (!ofSource?.ok) return sinks;
  const zeroes = (ofSource.reply.xdata?.number(HAS_ZEROES) ?? 0) !== 0;
  const fill = zeroes && !hasHoles(stats[source]!);
  let differing = NO_CHILDREN;
  for (const [at, sum] of ofSinks.entries()) {
    const child = children[at + 1]!;
    const mayHaveHole = hasHoles(stats[child]!) || piece.end > stats[child]!.size;
    const equal = sum.ok && sameSum(sum.reply, ofSource.reply);
    if (!equal || (fill && mayHaveHole)) differing |= only(child);
  }
  return differing;
}

function sameSum(a: Reply<"rchecksum">, b: Reply<"rchecksum">): boolean {
  return a.weak === b.weak && a.strong.equals(b.strong);
}

function isZero(part: Buffer): boolean {
  for (let at = 0; at < part.length; at += ZEROES.length) {
    const size = Math.min(ZEROES.length, part.length - at);
    if (part.compare(ZEROES, 0, size, at, at + size) !== 0) return false;
  }
  return true;
}
