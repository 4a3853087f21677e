/**
 * A file of the library against a plain buffer: random histories of writes, zeroes, holes and sizes read back
 * the same, and what is said to be a hole has nothing in it; on one brick, and cut into shards. One request
 * after the other, and many in flight.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type File, flags, Volume } from "../../src/api/index.ts";
import { type Layer, stack, startGraph } from "../support/build-graph.ts";
import { ImageModel, randomRequests } from "../support/image-model.ts";
import { Prng } from "../support/prng.ts";

const SHARD_BYTES = 4 << 20;
const SIZE_MAX = 3 * SHARD_BYTES;
const LAYERS: readonly Layer[] = [
  { name: "memory", type: "storage/memory" },
  { name: "locks", type: "features/locks" },
];
const SHARD: Layer = { name: "shard", type: "features/shard", options: { "shard-block-size": "4MB" } };

const VIRT: readonly Layer[] = [
  { name: "utime", type: "features/utime" },
  { name: "write-behind", type: "performance/write-behind" },
  { name: "open-behind", type: "performance/open-behind" },
  { name: "md-cache", type: "performance/md-cache" },
];

/** What a step does to the file, and to the buffer that says what it should be. */
type Step = readonly [kind: "write" | "zerofill" | "discard" | "truncate", offset: number, size: number];

/** Near the borders of shards as often as anywhere. */
const offsets = fc.oneof(
  fc.integer({ min: 0, max: SIZE_MAX }),
  fc
    .tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: -5000, max: 5000 }))
    .map(([border, by]) => Math.max(0, border * SHARD_BYTES + by)),
);
const steps = fc.array(
  fc.tuple(
    fc.constantFrom("write", "zerofill", "discard", "truncate"),
    offsets,
    fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.integer({ min: 1, max: SHARD_BYTES + 5000 })),
  ) as fc.Arbitrary<Step>,
  { minLength: 1, maxLength: 8 },
);

async function apply(file: File, model: Buffer, [kind, offset, size]: Step, fill: number): Promise<Buffer> {
  if (kind === "truncate") {
    await file.truncate(offset);
    return Buffer.concat([model.subarray(0, offset), Buffer.alloc(Math.max(0, offset - model.length))]);
  }
  const grown = kind === "discard" ? model.length : Math.max(model.length, offset + size);
  const next = Buffer.concat([model, Buffer.alloc(grown - model.length)]);
  next.fill(kind === "write" ? fill : 0, Math.min(offset, grown), Math.min(offset + size, grown));
  if (kind === "write") await file.write(offset, Buffer.alloc(size, fill));
  else await file[kind](offset, size);
  return next;
}

/** Reads, size and extents agree with the model. */
async function expectModel(file: File, model: Buffer): Promise<void> {
  expect((await file.stat()).size).toBe(model.length);
  const content = await file.read(0, SIZE_MAX * 2);
  expect(content.length).toBe(model.length);
  expect(content.equals(model)).toBe(true);
  let end = 0;
  for await (const { offset, size, isData } of file.extents()) {
    expect(offset).toBe(end);
    end += size;
    if (!isData) expect(model.subarray(offset, end).equals(Buffer.alloc(size))).toBe(true);
  }
  expect(end).toBe(model.length);
}

describe.each([
  ["one brick", LAYERS],
  ["shards", [...LAYERS, SHARD]],
] as const)("on %s, a file after any history", (_, layers) => {
  it("has what was written last, everywhere", async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (history) => {
        await using graph = await startGraph(stack(...layers));
        await using volume = new Volume(graph.graph);
        const file = await volume.open("/image", flags.O_CREAT | flags.O_RDWR);
        let model: Buffer = Buffer.alloc(0);
        for (const [index, step] of history.entries()) model = await apply(file, model, step, index + 1);
        await expectModel(file, model);
      }),
      { numRuns: 15 },
    );
  });
});

describe.each([
  ["one brick", LAYERS],
  ["shards", [...LAYERS, SHARD]],
  ["shards below the translators of the virt profile", [...LAYERS, SHARD, ...VIRT]],
] as const)("on %s, a file with many requests in flight", (_, layers) => {
  it("has what was written last, everywhere, whatever its size was meanwhile", async () => {
    const histories = fc.record({ seed: fc.integer(), batches: fc.integer({ min: 1, max: 3 }) });
    await fc.assert(
      fc.asyncProperty(histories, async ({ seed, batches }) => {
        const prng = new Prng(seed);
        await using graph = await startGraph(stack(...layers));
        await using volume = new Volume(graph.graph);
        const file = await volume.open("/image", flags.O_CREAT | flags.O_RDWR);
        const model = new ImageModel();
        for (let batch = 0; batch < batches; batch++) {
          const shape = { count: prng.int(1, 40), end: SIZE_MAX, border: SHARD_BYTES, unit: 1 };
          await model.apply(file, randomRequests(prng, shape));
          if (prng.chance(0.5)) await model.resize(file, prng.int(0, SIZE_MAX));
        }
        await expectModel(file, model.content);
      }),
      { numRuns: 12 },
    );
  });
});
