/**
 * A disk image of the library against a plain buffer, as QEMU uses one: many requests in flight, none over
 * another, of random sizes, on the borders of blocks as often as anywhere.
 */

import { expect } from "vitest";
import { allocate, type File } from "../../src/api/index.ts";
import type { Prng } from "./prng.ts";
import { expectSameBytes } from "./same-bytes.ts";

export interface ImageRequest {
  readonly kind: "read" | "write" | "zerofill" | "discard";
  readonly offset: number;
  readonly size: number;
  /** What a write consists of. */
  readonly fill: number;
}

const KINDS = ["write", "write", "write", "read", "zerofill", "discard"] as const;
/** How far from the border of a block, in units. */
const NEAR = 3;

export class ImageModel {
  content: Buffer = Buffer.alloc(0);

  /** Sends all of them at once; a read may or may not see how far others grow the file meanwhile. */
  async apply(file: File, requests: readonly ImageRequest[]): Promise<void> {
    const before = this.content;
    const ends = requests.map(({ kind, offset, size }) =>
      kind === "write" || kind === "zerofill" ? offset + size : 0,
    );
    const after = Buffer.alloc(Math.max(before.length, ...ends));
    before.copy(after);
    const reads = requests.map((request) => send(file, request));
    for (const { kind, offset, size, fill } of requests)
      if (kind !== "read")
        after.fill(kind === "write" ? fill : 0, offset, Math.min(offset + size, after.length));
    this.content = after;
    for (const [index, read] of (await Promise.all(reads)).entries()) {
      if (read === undefined) continue;
      const { offset, size } = requests[index]!;
      const least = Math.max(0, Math.min(size, before.length - offset));
      expect(read.length).toBeGreaterThanOrEqual(least);
      expectSameBytes(read, Buffer.from(after.subarray(offset, offset + read.length)), `read at ${offset}`);
    }
  }

  async resize(file: File, size: number): Promise<void> {
    await file.truncate(size);
    const after = Buffer.alloc(size);
    this.content.copy(after);
    this.content = after;
  }
}

async function send(file: File, { kind, offset, size, fill }: ImageRequest): Promise<Buffer | undefined> {
  if (kind === "read") return file.read(offset, size);
  if (kind === "write") await file.write(offset, allocate(size).fill(fill));
  else await file[kind](offset, size);
  return undefined;
}

/** Requests side by side within `end` bytes, in no order; offsets and sizes are multiples of `unit`. */
export function randomRequests(
  prng: Prng,
  { count, end, border, unit }: { count: number; end: number; border: number; unit: number },
): ImageRequest[] {
  const points = new Set<number>();
  while (points.size < 2 * count) {
    const near = prng.int(0, Math.floor(end / border)) * border + prng.int(-NEAR, NEAR) * unit;
    const point = prng.chance(0.4) ? near : prng.int(0, end / unit) * unit;
    if (point >= 0 && point <= end) points.add(point);
  }
  const sorted = [...points].sort((a, b) => a - b);
  const requests = Array.from({ length: count }, (_, index) => {
    const [offset, next] = [sorted[2 * index]!, sorted[2 * index + 1]!];
    return { kind: prng.pick(KINDS), offset, size: next - offset, fill: prng.int(1, 255) };
  });
  const turns = new Map(requests.map((request) => [request, prng.float()]));
  return requests.sort((a, b) => turns.get(a)! - turns.get(b)!);
}
