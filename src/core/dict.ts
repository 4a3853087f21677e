/**
 * Dict: xdata and xattr sets. Keys are unique; values keep the wire type they came with (spec wire.md 4.1).
 *
 * Getters are as tolerant as the C ones: numbers travel as INT, UINT or decimal text, and a gfid as GFUUID or
 * as sixteen raw bytes; readers must not care.
 */

import type { Gfid } from "./gfid.ts";
import type { Iatt } from "./iatt.ts";
import { decodeName, encodeName } from "./name.ts";

/** 36 wire bytes: the ctime feature's three times. */
export interface Mdata {
  readonly atime: number;
  readonly atimeNsec: number;
  readonly mtime: number;
  readonly mtimeNsec: number;
  readonly ctime: number;
  readonly ctimeNsec: number;
}

export type DictValue =
  | { readonly type: "str-old"; readonly value: Buffer }
  | { readonly type: "int"; readonly value: bigint }
  | { readonly type: "uint"; readonly value: bigint }
  | { readonly type: "double"; readonly value: number }
  | { readonly type: "str"; readonly value: string }
  | { readonly type: "ptr"; readonly value: Buffer }
  | { readonly type: "gfuuid"; readonly value: Gfid }
  | { readonly type: "iatt"; readonly value: Iatt }
  | { readonly type: "mdata"; readonly value: Mdata };

export class Dict {
  readonly #entries = new Map<string, DictValue>();

  static from(entries: Iterable<readonly [string, DictValue]>): Dict {
    const dict = new Dict();
    for (const [key, value] of entries) dict.#entries.set(key, value);
    return dict;
  }

  /** A dict of raw byte values, as xattr fops take and give them. */
  static ofBytes(entries: Readonly<Record<string, Buffer>>): Dict {
    const dict = new Dict();
    for (const key of Object.keys(entries)) dict.setBytes(key, entries[key]!);
    return dict;
  }

  get size(): number {
    return this.#entries.size;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  get(key: string): DictValue | undefined {
    return this.#entries.get(key);
  }

  set(key: string, value: DictValue): this {
    this.#entries.set(key, value);
    return this;
  }

  delete(key: string): boolean {
    return this.#entries.delete(key);
  }

  keys(): IterableIterator<string> {
    return this.#entries.keys();
  }

  entries(): IterableIterator<[string, DictValue]> {
    return this.#entries.entries();
  }

  [Symbol.iterator](): IterableIterator<[string, DictValue]> {
    return this.#entries.entries();
  }

  /** A shallow copy, optionally without some keys. */
  clone(without: readonly string[] = []): Dict {
    const copy = Dict.from(this.#entries);
    for (const key of without) copy.delete(key);
    return copy;
  }

  setInt(key: string, value: number | bigint): this {
    return this.set(key, { type: "int", value: BigInt(value) });
  }

  setUint(key: string, value: number | bigint): this {
    return this.set(key, { type: "uint", value: BigInt(value) });
  }

  setStr(key: string, value: string): this {
    return this.set(key, { type: "str", value });
  }

  setBytes(key: string, value: Buffer): this {
    return this.set(key, { type: "ptr", value });
  }

  setGfid(key: string, value: Gfid): this {
    return this.set(key, { type: "gfuuid", value });
  }

  setIatt(key: string, value: Iatt): this {
    return this.set(key, { type: "iatt", value });
  }

  /** A number of any wire type, decimal text included; undefined when absent or not a safe integer. */
  number(key: string): number | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    switch (entry.type) {
      case "int":
      case "uint": {
        const value = Number(entry.value);
        return Number.isSafeInteger(value) ? value : undefined;
      }
      case "double":
        return entry.value;
      default: {
        const text = this.text(key);
        return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : undefined;
      }
    }
  }

  /** Text of a STR, STR_OLD, PTR or number value, without trailing NULs. */
  text(key: string): string | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    switch (entry.type) {
      case "str":
        return entry.value;
      case "str-old":
      case "ptr": {
        const end = entry.value.indexOf(0);
        return decodeName(end < 0 ? entry.value : entry.value.subarray(0, end));
      }
      case "int":
      case "uint":
      case "double":
        return String(entry.value);
      default:
        return undefined;
    }
  }

  /** Raw bytes: PTR and STR_OLD as they are, STR with its NUL, a gfid as sixteen bytes. */
  bytes(key: string): Buffer | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    switch (entry.type) {
      case "ptr":
      case "str-old":
      case "gfuuid":
        return entry.value;
      case "str":
        return encodeName(`${entry.value}\0`);
      default:
        return undefined;
    }
  }

  /** A gfid of type GFUUID or a sixteen-byte PTR. */
  gfid(key: string): Gfid | undefined {
    const bytes = this.bytes(key);
    return bytes?.length === 16 ? (bytes as Gfid) : undefined;
  }
}
