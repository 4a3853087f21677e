/**
 * Priorities of cached files: the `priority` option of quick-read and io-cache, and the cache that honours
 * it.
 *
 * The option is a list `PATTERN:PRIORITY,...`; the last pattern that matches decides. GlusterFS matches the
 * path as far as the client knows it; here it is the name alone, because inodes have no paths.
 */

import { LRUCache } from "lru-cache";
import { fnmatch } from "./fnmatch.ts";

/** A name pattern and how long its files stay: those of the lowest number go first. */
export interface Priority {
  readonly pattern: string;
  readonly priority: number;
}

/** The parsed list, or undefined when the text is none. */
export function parsePriorities(text: string): Priority[] | undefined {
  const list: Priority[] = [];
  for (const item of text.split(",")) {
    const match = /^\s*([^:]+):\s*(\d+)\s*$/.exec(item);
    if (!match) return undefined;
    list.push({ pattern: match[1]!, priority: Number(match[2]) });
  }
  return list;
}

/** The priority of a name; 0 when no pattern matches. */
export function priorityOf(list: readonly Priority[], name: string): number {
  return list.findLast(({ pattern }) => fnmatch(pattern, name))?.priority ?? 0;
}

/**
 * A cache bounded in bytes. When it is full, the least recently used of the lowest priority goes.
 * `onEvict` hears of what leaves for lack of room or by `clear`, not of what is deleted or replaced.
 */
export class PriorityCache<K extends object | string, V extends object> {
  readonly #levels = new Map<number, LRUCache<K, V>>();
  readonly #bytesOf: (value: V) => number;
  readonly #onEvict: ((value: V) => void) | undefined;
  #bytesMax: number;

  /** `bytesOf` is at least 1 and does not change while the value is in. */
  constructor(bytesMax: number, bytesOf: (value: V) => number, onEvict?: (value: V) => void) {
    this.#bytesMax = bytesMax;
    this.#bytesOf = bytesOf;
    this.#onEvict = onEvict;
  }

  get bytes(): number {
    let bytes = 0;
    for (const level of this.#levels.values()) bytes += level.calculatedSize;
    return bytes;
  }

  get count(): number {
    let count = 0;
    for (const level of this.#levels.values()) count += level.size;
    return count;
  }

  /** The value, which is the most recently used one of its priority from now on. */
  get(key: K): V | undefined {
    for (const level of this.#levels.values()) {
      const value = level.get(key);
      if (value !== undefined) return value;
    }
    return undefined;
  }

  set(key: K, value: V, priority: number): void {
    this.delete(key);
    this.#level(priority).set(key, value);
    this.#makeRoom();
  }

  delete(key: K): void {
    for (const level of this.#levels.values()) if (level.delete(key)) return;
  }

  clear(): void {
    for (const level of this.#levels.values()) {
      const values = this.#onEvict ? [...level.values()] : [];
      level.clear();
      for (const value of values) this.#onEvict!(value);
    }
  }

  resize(bytesMax: number): void {
    this.#bytesMax = bytesMax;
    this.#makeRoom();
  }

  #level(priority: number): LRUCache<K, V> {
    let level = this.#levels.get(priority);
    if (level === undefined) {
      level = new LRUCache({ maxSize: Number.MAX_SAFE_INTEGER, sizeCalculation: this.#bytesOf });
      this.#levels.set(priority, level);
    }
    return level;
  }

  #makeRoom(): void {
    while (this.bytes > this.#bytesMax) {
      const lowest = [...this.#levels].filter(([, level]) => level.size > 0).sort(([a], [b]) => a - b)[0]!;
      const value = lowest[1].pop()!;
      this.#onEvict?.(value);
    }
  }
}
