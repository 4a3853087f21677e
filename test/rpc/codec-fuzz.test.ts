/**
 * Bad bytes at every decoder: nothing but XdrError comes out, and quickly. Seeded; a failure names procedure,
 * seed and bytes.
 *
 * Three sources of bytes: mutations of valid structs (a bit, a byte, a word that looks like a length, a cut,
 * a splice), words of notorious values, and noise.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as control from "../../src/rpc/codec-control.ts";
import { FOP_CODECS } from "../../src/rpc/codec-fops.ts";
import { decodeLegacyDict, dict, legacyDict, payloadDict } from "../../src/rpc/dict-codec.ts";
import { FOP_PROC, type FopProcName } from "../../src/rpc/programs.ts";
import { encode, XdrError, XdrReader, type XdrType } from "../../src/rpc/xdr.ts";
import { Prng } from "../support/prng.ts";
import * as arbitrary from "./wire-arbitraries.ts";

const SEED = 20_241;
/** Decodes of each kind for each type; 110 fop structs, three kinds. */
const ROUNDS = 400;
const SAMPLES = 12;
const NOTORIOUS = [
  0, 1, 2, 3, 8, 16, 255, 4096, 4097, 0x100000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
];

const fopTypes = (Object.keys(FOP_PROC) as FopProcName[]).flatMap((fop) =>
  (["call", "reply"] as const).map((side) => ({
    name: `${fop} ${side}`,
    type: FOP_CODECS[fop][side] as XdrType<unknown>,
    samples: samplesOf(fop, side),
  })),
);

function samplesOf(fop: FopProcName, side: "call" | "reply"): Buffer[] {
  const values = fc.sample(arbitrary.wireValue(fop, side), { numRuns: SAMPLES, seed: SEED });
  return values.map((value) => encode(FOP_CODECS[fop][side] as XdrType<unknown>, value));
}

const otherTypes: { name: string; type: XdrType<unknown> }[] = [
  { name: "dict", type: dict },
  { name: "payload dict", type: payloadDict },
  { name: "legacy dict", type: legacyDict },
  {
    name: "bare legacy dict",
    type: { read: (r) => decodeLegacyDict(r.fixed(r.remaining)), write: () => {} },
  },
  ...Object.entries(control).flatMap(([name, type]) => (isType(type) ? [{ name, type }] : [])),
];

function isType(value: unknown): value is XdrType<unknown> {
  return typeof value === "object" && value !== null && "read" in value;
}

/** Decodes; true when the bytes were a value. */
function survive(name: string, type: XdrType<unknown>, bytes: Buffer): boolean {
  try {
    type.read(new XdrReader(bytes));
    return true;
  } catch (error) {
    if (error instanceof XdrError) return false;
    throw new Error(`${name}: seed ${SEED}: ${bytes.toString("hex")}`, { cause: error });
  }
}

function mutate(random: Prng, sample: Buffer, other: Buffer): Buffer {
  const bytes = Buffer.from(sample);
  const at = random.int(0, bytes.length - 1);
  switch (random.int(0, 4)) {
    case 0:
      bytes[at]! ^= 1 << random.int(0, 7);
      return bytes;
    case 1:
      bytes[at] = random.int(0, 255);
      return bytes;
    case 2:
      bytes.writeUInt32BE(random.pick(NOTORIOUS), Math.min(at & ~3, bytes.length - 4));
      return bytes;
    case 3:
      return bytes.subarray(0, at);
    default:
      return Buffer.concat([bytes.subarray(0, at & ~3), other.subarray(random.int(0, other.length) & ~3)]);
  }
}

function notoriousWords(random: Prng): Buffer {
  const bytes = Buffer.alloc(4 * random.int(0, 80));
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32BE(random.pick(NOTORIOUS), at);
  return bytes;
}

describe("bad bytes", () => {
  it("that were valid structs once give XdrError or a value", () => {
    const random = new Prng(SEED);
    let refused = 0;
    for (const { name, type, samples } of fopTypes) {
      for (let i = 0; i < ROUNDS; i++)
        if (!survive(name, type, mutate(random, random.pick(samples), random.pick(samples)))) refused++;
    }
    expect(refused).toBeGreaterThan(ROUNDS);
  });

  it("of notorious words give XdrError or a value", () => {
    const random = new Prng(SEED + 1);
    for (const { name, type } of [...fopTypes, ...otherTypes])
      for (let i = 0; i < ROUNDS; i++) survive(name, type, notoriousWords(random));
  });

  it("at random give XdrError or a value", () => {
    const random = new Prng(SEED + 2);
    for (const { name, type } of [...fopTypes, ...otherTypes])
      for (let i = 0; i < ROUNDS; i++) survive(name, type, random.bytes(random.int(0, 300)));
  });

  it("are more than a hundred thousand", () => {
    expect(3 * fopTypes.length * ROUNDS).toBeGreaterThan(100_000);
  });
});

describe("a hostile peer's few bytes", () => {
  it.each([
    ["pairs", dict, "00000000 00001000 00001000"],
    [
      "list links",
      FOP_CODECS.readdir.reply,
      `00000000 00000000 00000000 ffffffff 00000000 ${"00000001".repeat(30)}`,
    ],
    ["a volfile", control.getspecReply, "00000000 00000000 01000000"],
  ] as [string, XdrType<unknown>, string][])("that promise many %s cost nothing", (_what, type, text) => {
    const bytes = Buffer.from(text.replaceAll(" ", ""), "hex");
    const before = process.memoryUsage().arrayBuffers;
    expect(() => type.read(new XdrReader(bytes))).toThrow(XdrError);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
  });
});
