/**
 * Every cache, and all of them in a stack, against a model with random histories: reads, listings and stats
 * side by side with own writes and truncations, changes by another client, words of bricks about these, and
 * the passing of time; calls and replies overtake each other.
 */

import fc from "fast-check";
import { describe, it } from "vitest";
import { World, type WorldOptions } from "./cache-world.ts";

const CELLS = 6;

type Step =
  | { readonly kind: "read"; readonly which: number; readonly from: number; readonly count: number }
  /** The next cells in a row, one at a time; from the beginning again after the end. */
  | { readonly kind: "read-on"; readonly which: number; readonly count: number }
  | { readonly kind: "stat"; readonly how: "stat" | "fstat" | "lookup" | "readdirp" }
  | {
      readonly kind: "write";
      readonly by: "here" | "there";
      readonly which: number;
      readonly from: number;
      readonly count: number;
    }
  | { readonly kind: "truncate"; readonly by: "here" | "there"; readonly cells: number }
  | { readonly kind: "tell" }
  /** All is read and known; another client changes all; word comes, or time passes; all is read again. */
  | { readonly kind: "scene"; readonly which: number; readonly isTold: boolean }
  | { readonly kind: "wait"; readonly ms: number };

const which = fc.integer({ min: 0, max: 1 });
const from = fc.integer({ min: 0, max: CELLS - 1 });
const count = fc.integer({ min: 1, max: 3 });
const by = fc.constantFrom("here" as const, "there" as const);
const how = fc.constantFrom("stat" as const, "fstat" as const, "lookup" as const, "readdirp" as const);
const STEP: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("read" as const), which, from, count }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("read-on" as const), which, count }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("scene" as const), which, isTold: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("stat" as const), how }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("write" as const), by, which, from, count }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("truncate" as const), by, cells: fc.nat(CELLS) }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "tell" as const }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(1, 10, 40, 200, 1100) }),
  },
);

/** Longer than the slow way takes, and a little longer than anything is kept. */
const [ARRIVED_MS, AGED_MS] = [100, 1100];

async function scene(world: World, which: number, isTold: boolean): Promise<void> {
  readAll(world, which);
  await world.env.clock.advance(ARRIVED_MS);
  world.write("there", which, 0, CELLS);
  await world.env.clock.advance(isTold ? 5 : AGED_MS);
  if (isTold) world.tell();
  readAll(world, which);
}

function readAll(world: World, which: number): void {
  for (const how of ["lookup", "stat", "fstat", "readdirp"] as const) world.stat(how);
  for (let cell = 0; cell < CELLS; cell += 2) world.read(which, cell, 2);
}

async function play(steps: readonly Step[], options: WorldOptions): Promise<void> {
  await using world = await World.make(options);
  const next = [0, 0];
  for (const step of steps) {
    switch (step.kind) {
      case "read":
        world.read(step.which, step.from, step.count);
        break;
      case "read-on":
        for (let cell = 0; cell < step.count; cell++) {
          world.read(step.which, next[step.which]!, 1);
          next[step.which] = (next[step.which]! + 1) % CELLS;
          await world.env.clock.advance(5);
        }
        break;
      case "scene":
        await scene(world, step.which, step.isTold);
        break;
      case "stat":
        world.stat(step.how);
        break;
      case "write":
        world.write(step.by, step.which, step.from, step.count);
        break;
      case "truncate":
        world.truncate(step.by, step.cells);
        break;
      case "tell":
        world.tell();
        break;
      case "wait":
        await world.env.clock.advance(step.ms);
    }
  }
  await world.judge();
}

const QUICK_READ = { name: "quick-read", type: "performance/quick-read" };
const IO_CACHE = { name: "io-cache", type: "performance/io-cache" };
const READ_AHEAD = { name: "read-ahead", type: "performance/read-ahead", options: { "page-size": "64KB" } };
const READDIR_AHEAD = { name: "readdir-ahead", type: "performance/readdir-ahead" };
const MD_CACHE = { name: "md-cache", type: "performance/md-cache" };

/** Small enough for quick-read, and large enough that a file has several pages. */
const [SMALL, LARGE] = [8 << 10, 64 << 10];
const KINDS: readonly (Omit<WorldOptions, "seed" | "cells"> & { readonly name: string })[] = [
  { name: "quick-read", caches: [QUICK_READ], cellBytes: SMALL, dataAgeMaxMs: 1000, statAgeMaxMs: 0 },
  { name: "io-cache", caches: [IO_CACHE], cellBytes: LARGE, dataAgeMaxMs: 1000, statAgeMaxMs: 0 },
  {
    name: "io-cache that asks each time",
    caches: [{ ...IO_CACHE, options: { "cache-timeout": "0" } }],
    cellBytes: LARGE,
    dataAgeMaxMs: 0,
    statAgeMaxMs: 0,
  },
  { name: "read-ahead", caches: [READ_AHEAD], cellBytes: LARGE, dataAgeMaxMs: 1000, statAgeMaxMs: 0 },
  { name: "readdir-ahead", caches: [READDIR_AHEAD], cellBytes: SMALL, dataAgeMaxMs: 0, statAgeMaxMs: 1000 },
  { name: "md-cache", caches: [MD_CACHE], cellBytes: SMALL, dataAgeMaxMs: 0, statAgeMaxMs: 1000 },
  {
    name: "all of them, a small file",
    caches: [READ_AHEAD, READDIR_AHEAD, IO_CACHE, QUICK_READ, MD_CACHE],
    cellBytes: SMALL,
    dataAgeMaxMs: 3000,
    statAgeMaxMs: 2000,
  },
  {
    name: "all of them, a large file",
    caches: [READ_AHEAD, READDIR_AHEAD, IO_CACHE, QUICK_READ, MD_CACHE],
    cellBytes: LARGE,
    dataAgeMaxMs: 3000,
    statAgeMaxMs: 2000,
  },
];

const RUNS = Number(process.env.MORTAR_MODEL_RUNS ?? 25);

describe("a cache shows nothing older than it promises, and never takes an own write back", () => {
  it.each(KINDS)("$name", { timeout: 60_000 * Math.max(1, RUNS / 25) }, async ({ name: _, ...kind }) => {
    const history = fc.tuple(fc.nat(), fc.array(STEP, { minLength: 5, maxLength: 40 }));
    await fc.assert(
      fc.asyncProperty(history, ([seed, steps]) => play(steps, { ...kind, seed, cells: CELLS })),
      { numRuns: RUNS },
    );
  });
});
