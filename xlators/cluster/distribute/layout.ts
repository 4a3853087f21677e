/**
 * The layout of a directory: which child holds the names of which hashes (spec translators.md 6.2, 6.4;
 * GlusterFS dht-layout.c, dht-selfheal.c). Pure.
 *
 * On disk each child keeps its own piece in an xattr: four big-endian words, commit hash, type, first and
 * last hash. A piece from 0 to 0 is no share. A layout without holes and overlaps gives every name one child.
 */

import type { ErrnoName } from "../../../src/core/errors.ts";

/** What a directory made while hashes may be incomplete carries; old releases kept a count of 1 here. */
export const NO_COMMIT_HASH = 1;
const HASH_MAX = 0xffffffff;
const DISK_BYTES = 16;
const TYPE_HASHED = 0;
const TYPE_SET_BY_USER = 1;

/** One child's share. `error` says why it could not tell; such a share counts as none. */
export interface Piece {
  readonly start: number;
  /** Inclusive. */
  readonly stop: number;
  readonly commitHash: number;
  /** The directory is there without the xattr. */
  readonly unset?: boolean;
  readonly error?: ErrnoName;
}

export interface Anomalies {
  readonly holes: number;
  readonly overlaps: number;
  /** Children without the directory. */
  readonly missing: number;
  /** Children that are away. */
  readonly down: number;
  /** Children that failed in another way. */
  readonly failed: number;
}

/** By child. */
export class Layout {
  readonly pieces: readonly Piece[];
  /** Set by an administrator, never to be computed anew. */
  readonly byUser: boolean;
  /** Of the pieces when they agree, else NO_COMMIT_HASH. */
  readonly commitHash: number;
  readonly anomalies: Anomalies;

  constructor(pieces: readonly Piece[], byUser = false) {
    this.pieces = pieces;
    this.byUser = byUser;
    const told = pieces.filter((piece) => piece.error === undefined && piece.unset !== true);
    const [first] = told;
    const agree = told.every(({ commitHash }) => commitHash === first!.commitHash);
    this.commitHash = agree ? (first?.commitHash ?? 0) : NO_COMMIT_HASH;
    this.anomalies = this.#examine();
  }

  /** The child for a hash, -1 in a hole. */
  childFor(hash: number): number {
    const { pieces } = this;
    for (let child = 0; child < pieces.length; child++) {
      const piece = pieces[child]!;
      if (piece.start <= hash && hash <= piece.stop && piece.error === undefined && hasShare(piece))
        return child;
    }
    return -1;
  }

  /** What that child has on its disk. */
  diskPiece(child: number): Buffer {
    return encodePiece(this.pieces[child]!, this.byUser);
  }

  #examine(): Anomalies {
    let missing = 0;
    let down = 0;
    let failed = 0;
    for (const { error } of this.pieces) {
      if (error === "ENOENT" || error === "ESTALE") missing++;
      else if (error === "ENOTCONN") down++;
      else if (error !== undefined && error !== "ENOSPC") failed++;
    }
    let holes = 0;
    let overlaps = 0;
    let next = 0;
    for (const { start, stop } of this.#shares()) {
      if (start > next) holes++;
      if (start < next) overlaps++;
      next = stop + 1;
    }
    if (next !== HASH_MAX + 1) holes++;
    return { holes, overlaps, missing, down, failed };
  }

  /** Every hash has exactly one child. */
  get isWhole(): boolean {
    return this.anomalies.holes === 0 && this.anomalies.overlaps === 0;
  }

  /** With what was known of children that are away now, if that makes it whole. */
  filledFrom(known: Layout | undefined): Layout {
    if (known === undefined || this.anomalies.down === 0) return this;
    const pieces = this.pieces.map((piece, child) =>
      piece.error === "ENOTCONN" ? known.pieces[child]! : piece,
    );
    const filled = new Layout(pieces, this.byUser);
    return filled.isWhole ? filled : this;
  }

  equals(other: Layout): boolean {
    return this.pieces.every((piece, child) => {
      const theirs = other.pieces[child]!;
      return (
        piece.start === theirs.start &&
        piece.stop === theirs.stop &&
        piece.commitHash === theirs.commitHash &&
        piece.error === theirs.error
      );
    });
  }

  /** `0: 00000000-7ffffffe, 1: 7fffffff-ffffffff`, for logs and tests. */
  toString(): string {
    return this.pieces
      .map((piece, child) => {
        if (piece.error !== undefined) return `${child}: ${piece.error}`;
        return `${child}: ${hasShare(piece) ? `${hex(piece.start)}-${hex(piece.stop)}` : "none"}`;
      })
      .join(", ");
  }

  #shares(): readonly Piece[] {
    return this.pieces
      .filter((piece) => piece.error === undefined && hasShare(piece))
      .sort((a, b) => a.start - b.start);
  }
}

function hasShare({ start, stop }: Piece): boolean {
  return start !== stop;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}

const NO_SHARE: Piece = { start: 0, stop: 0, commitHash: 0 };

export function unsetPiece(): Piece {
  return { ...NO_SHARE, unset: true };
}

export function failedPiece(error: ErrnoName): Piece {
  return { ...NO_SHARE, error };
}

export function encodePiece({ start, stop, commitHash }: Piece, byUser = false): Buffer {
  const disk = Buffer.allocUnsafe(DISK_BYTES);
  disk.writeUInt32BE(commitHash, 0);
  disk.writeUInt32BE(byUser ? TYPE_SET_BY_USER : TYPE_HASHED, 4);
  disk.writeUInt32BE(start, 8);
  disk.writeUInt32BE(stop, 12);
  return disk;
}

/** Undefined when the bytes are no layout that this release knows. */
export function decodePiece(disk: Buffer): { piece: Piece; byUser: boolean } | undefined {
  if (disk.length !== DISK_BYTES) return undefined;
  const type = disk.readUInt32BE(4);
  if (type !== TYPE_HASHED && type !== TYPE_SET_BY_USER) return undefined;
  const piece = {
    start: disk.readUInt32BE(8),
    stop: disk.readUInt32BE(12),
    commitHash: disk.readUInt32BE(0),
  };
  return { piece, byUser: type === TYPE_SET_BY_USER };
}

export interface NewLayoutRequest {
  /** Children in the order of their names, as every client sorts them. */
  readonly byName: readonly number[];
  /** By child: may it get a share. */
  readonly usable: readonly boolean[];
  /** By child: its size in some unit, or undefined for equal shares. */
  readonly weights: readonly number[] | undefined;
  /** Hash of what decides which child comes first (the path). */
  readonly startHash: number;
  /** At most that many children get a share. */
  readonly spread: number;
  readonly commitHash: number;
}

/** The layout that a directory gets when it has none. At least one child must be usable. */
export function newLayout(request: NewLayoutRequest): Layout {
  const { byName, usable, startHash, commitHash } = request;
  const count = byName.length;
  const able = usable.filter((one) => one).length;
  const wanted = request.spread > 0 && request.spread <= able ? request.spread : able;
  const first = startHash % count;
  const order = byName.map((_, step) => byName[(step + first) % count]!).filter((child) => usable[child]);
  const chosen = order.slice(0, wanted);
  const counted = byName.filter((child) => usable[child]).slice(0, wanted);
  const weights = counted.every((child) => (request.weights?.[child] ?? 0) > 0) ? request.weights : undefined;
  const total = counted.reduce((sum, child) => sum + (weights?.[child] ?? 1), 0);
  // Rounding is C's: a double per unit, each range cut off to whole hashes, the last one takes the rest.
  const perUnit = HASH_MAX / total;
  const pieces: Piece[] = byName.map(() => NO_SHARE);
  let start = 0;
  for (const [index, child] of chosen.entries()) {
    const size = Math.floor(perUnit * (weights?.[child] ?? 1));
    const stop = index === chosen.length - 1 ? HASH_MAX : start + size - 1;
    pieces[child] = { start, stop, commitHash };
    start += size;
  }
  return new Layout(pieces);
}
