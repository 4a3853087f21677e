/**
 * Watches that a simulated run stays inside the simulation: the code under test must not set real timers,
 * read the real clock or draw real random numbers. Each such use is recorded with where it came from.
 *
 * `newGfid` of src/core/gfid.ts draws from node:crypto by design: while a run is watched it gets numbers of
 * the seed.
 */

import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { performance } from "node:perf_hooks";
import type { Prng } from "../support/prng.ts";

/** Stack lines of Mortar itself; what the test runner does in between is its own business. */
const MORTAR = /\/(src|xlators|mount)\/[\w/-]+\.ts/;

export class Guard {
  /** What was used, each with the line that used it. */
  readonly breaches: string[] = [];
  readonly #random: Prng;
  readonly #undo: (() => void)[] = [];

  constructor(random: Prng) {
    this.#random = random;
    this.#watch(globalThis, "setTimeout");
    this.#watch(globalThis, "setInterval");
    this.#watch(globalThis, "setImmediate");
    this.#watch(Math, "random");
    this.#watch(Date, "now");
    this.#watch(performance, "now");
    this.#seedCrypto();
  }

  [Symbol.dispose](): void {
    for (const undo of this.#undo.toReversed()) undo();
    syncBuiltinESMExports();
  }

  #watch<K extends string>(owner: { [k in K]: (...args: never[]) => unknown }, name: K): void {
    const real = owner[name] as (...args: unknown[]) => unknown;
    const breaches = this.breaches;
    const watched = function (this: unknown, ...args: unknown[]): unknown {
      const line = new Error().stack?.split("\n").find((at) => MORTAR.test(at));
      if (line !== undefined) breaches.push(`${name}${line.trim().replace(/^at/, " at")}`);
      return real.apply(this, args);
    };
    this.#put(owner, name, watched as never);
  }

  #seedCrypto(): void {
    const random = this.#random;
    const fill = (buffer: Buffer): Buffer => {
      random.bytes(buffer.length).copy(buffer);
      return buffer;
    };
    this.#put(crypto, "randomFillSync", fill as never);
    this.#put(crypto, "randomBytes", ((count: number) => random.bytes(count)) as never);
    syncBuiltinESMExports();
  }

  #put<O extends object, K extends keyof O>(owner: O, name: K, value: O[K]): void {
    const before = owner[name];
    owner[name] = value;
    this.#undo.push(() => {
      owner[name] = before;
    });
  }
}
