/**
 * Which xattrs an index watches (spec translators.md 3): prefixes of keys, as options give them. Pure.
 */

import type { Dict } from "../../../src/core/dict.ts";
import type { MarkClass } from "./index-store.ts";

export interface WatchOptions {
  readonly "xattrop-pending-watchlist": string;
  readonly "xattrop-dirty-watchlist": string;
  readonly "xattrop64-watchlist": string;
}

/** By class, what the values of a dict say: "zero" when all of the class are. Absent without such a key. */
export type Verdicts = Partial<Record<MarkClass, "zero" | "set">>;

export class WatchLists {
  readonly #pending: readonly string[];
  readonly #dirty: readonly string[];

  constructor(options: WatchOptions) {
    this.#pending = [
      ...prefixes(options["xattrop-pending-watchlist"]),
      ...prefixes(options["xattrop64-watchlist"]),
    ];
    this.#dirty = prefixes(options["xattrop-dirty-watchlist"]);
  }

  /** A key on both lists is a dirty mark. */
  classOf(key: string): MarkClass | undefined {
    if (this.#dirty.some((prefix) => key.startsWith(prefix))) return "dirty";
    return this.#pending.some((prefix) => key.startsWith(prefix)) ? "xattrop" : undefined;
  }

  watches(key: string): boolean {
    return this.classOf(key) !== undefined;
  }

  verdicts(values: Dict): Verdicts {
    const verdicts: Verdicts = {};
    for (const key of values.keys()) {
      const which = this.classOf(key);
      if (which === undefined || verdicts[which] === "set") continue;
      verdicts[which] = isZero(values.bytes(key)) ? "zero" : "set";
    }
    return verdicts;
  }
}

function prefixes(list: string): string[] {
  return list.split(",").filter((prefix) => prefix !== "");
}

function isZero(bytes: Buffer | undefined): boolean {
  return bytes === undefined || bytes.every((byte) => byte === 0);
}
