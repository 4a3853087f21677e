/**
 * Where a name belongs: GlusterFS' Davies-Meyer hash of names (spec translators.md 6.1; GlusterFS
 * libglusterfs/src/hashfn.c and xlators/cluster/dht/src/dht-hashfn.c).
 *
 * Bricks written by GlusterFS are only found again with the very same number, oddities included: bytes of an
 * incomplete last word count as signed. Temporary names (rsync's `.name.XXXXXX`) hash as the name they will
 * have.
 */

import { encodeName } from "../../../src/core/name.ts";

const DELTA = 0x9e3779b9;
const SEED_0 = 0x9464a485;
const SEED_1 = 0x542e1a94;
const GROUP_BYTES = 16;
const ROUNDS_FULL = 6;
const ROUNDS_LAST = 10;

/** 32 bits, unsigned. */
export function daviesMeyer(bytes: Buffer): number {
  const state = new Int32Array([SEED_0, SEED_1]);
  const words = new Int32Array(4);
  const whole = Math.floor(bytes.length / GROUP_BYTES) * GROUP_BYTES;
  for (let at = 0; at < whole; at += GROUP_BYTES) {
    for (let word = 0; word < 4; word++) words[word] = bytes.readInt32LE(at + word * 4);
    mix(state, words, ROUNDS_FULL);
  }
  fillLast(words, bytes, whole);
  mix(state, words, ROUNDS_LAST);
  return (state[0]! ^ state[1]!) >>> 0;
}

/** The last group, empty ones too: whole words, then the leftover bytes, then padding made of the length. */
function fillLast(words: Int32Array, bytes: Buffer, at: number): void {
  const pad16 = bytes.length | (bytes.length << 8);
  const pad = pad16 | (pad16 << 16);
  let word = 0;
  for (; at + 4 <= bytes.length; at += 4) words[word++] = bytes.readInt32LE(at);
  if (at < bytes.length) {
    let partial = pad;
    for (; at < bytes.length; at++) partial = (partial << 8) | bytes.readInt8(at);
    words[word++] = partial;
  }
  for (; word < 4; word++) words[word] = pad;
}

function mix(state: Int32Array, words: Int32Array, rounds: number): void {
  const [a, b, c, d] = words as unknown as [number, number, number, number];
  let x = state[0]!;
  let y = state[1]!;
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    sum = (sum + DELTA) | 0;
    x = (x + (((y << 4) + a) ^ (y + sum) ^ ((y >>> 5) + b))) | 0;
    y = (y + (((x << 4) + c) ^ (x + sum) ^ ((x >>> 5) + d))) | 0;
  }
  state[0] = state[0]! + x;
  state[1] = state[1]! + y;
}

/** Hashes names after taking temporary ones for what they will be called. */
export class NameHash {
  readonly #patterns: readonly RegExp[];

  /** In the order in which they are tried; the first one with a group that matches decides. */
  constructor(patterns: readonly RegExp[]) {
    this.#patterns = patterns;
  }

  of(name: string): number {
    return daviesMeyer(encodeName(this.#meant(name)));
  }

  #meant(name: string): string {
    for (const pattern of this.#patterns) {
      const group = pattern.exec(name)?.[1];
      if (group !== undefined) return group;
    }
    return name;
  }
}
