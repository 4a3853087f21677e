/**
 * A register that several clients write and read, and which values a read may return.
 *
 * The model of everything the workload touches: a block of a file, a name in a directory, a mode, an xattr. A
 * read may return the value of any write that no other one has surely replaced before the read began: the
 * last acknowledged ones, those under way, and those that failed, which may have left old or new.
 *
 * A promise (of write-behind) binds towards its own client only: that one must read what it was promised, for
 * others the write is under way until an fsync or a close has made it good. Changes of one client to one
 * register take effect in the order in which they were acknowledged, promised or not.
 */

/** A write that failed may still arrive from a stopped machine or a cut link for so long. */
export const LATE_MS = 90_000;

/** One change of one or more registers by one call. */
export interface Change {
  readonly client: string;
  readonly what: string;
  /** The life of the client that made it. */
  readonly session: number;
  readonly startTick: number;
  readonly startMs: number;
  /** When it was answered; undefined while it is under way, or promised only. */
  endTick: number | undefined;
  endMs: number;
  /** When it was promised; undefined when it was not, or when the promise came into doubt. */
  promisedTick: number | undefined;
  /** "lost": its client died without an answer. */
  outcome: "open" | "promised" | "ok" | "failed" | "lost";
  /** It was acknowledged and not synced when too much power went: it may be gone. Until then (ms). */
  softUntilMs: number;
  /** An acknowledged fsync came after it. */
  synced: boolean;
}

/** Who reads, from when on, and when that is judged. */
export interface Reading {
  readonly startTick: number;
  readonly nowMs: number;
  /** Undefined: nobody who was promised anything. */
  readonly session: number | undefined;
}

export interface Entry<V> {
  readonly change: Change;
  readonly value: V;
}

/** The latest beginnings of changes that a reader must see. */
interface Sure {
  tick: number;
  ms: number;
  /** By session, of those that can follow a promise of their own session. */
  readonly ofSessions: Map<number, number>;
}

export class Register<V> {
  readonly #entries: Entry<V>[] = [];
  readonly #initial: V;

  constructor(initial: V) {
    this.#initial = initial;
  }

  write(change: Change, value: V): void {
    this.#entries.push({ change, value });
  }

  /** Whether a read may return the value. */
  allows(value: V, reading: Reading): boolean {
    const sure = this.#sure(reading);
    if (value === this.#initial && sure.tick === Number.NEGATIVE_INFINITY) return true;
    for (const entry of this.#entries)
      if (entry.value === value && !isReplaced(entry.change, sure)) return true;
    return false;
  }

  /** The values that a read may return, for messages. */
  allowed(reading: Reading): V[] {
    const values = [this.#initial, ...this.#entries.map(({ value }) => value)];
    return [...new Set(values)].filter((value) => this.allows(value, reading));
  }

  /** The last few changes, for messages. */
  history(): string[] {
    return this.#entries.slice(-8).map(({ change, value }) => {
      const { client, what, startMs, endMs, outcome, synced, softUntilMs } = change;
      const times = `${startMs.toFixed(1)}..${outcome === "open" ? "" : endMs.toFixed(1)}`;
      const soft = softUntilMs > 0 ? ` soft until ${softUntilMs}` : "";
      return `${String(value)}: ${client} ${what} ${outcome}${synced ? " synced" : ""}${soft} ${times}`;
    });
  }

  /** The last sure writes decide: what surely ended before one of them began is replaced. */
  #sure(reading: Reading): Sure {
    const sure: Sure = {
      tick: Number.NEGATIVE_INFINITY,
      ms: Number.NEGATIVE_INFINITY,
      ofSessions: new Map(),
    };
    for (const { change } of this.#entries) {
      if (!isSure(change, reading)) continue;
      const { session, startTick, startMs } = change;
      sure.tick = Math.max(sure.tick, startTick);
      sure.ms = Math.max(sure.ms, startMs);
      // In the order of their beginnings.
      sure.ofSessions.set(session, startTick);
    }
    return sure;
  }
}

/** Acknowledged to this reader before the read began, and nothing has taken it away since. */
function isSure(change: Change, { startTick, nowMs, session }: Reading): boolean {
  if (change.softUntilMs > nowMs) return false;
  if (change.outcome === "ok" && change.endTick! < startTick) return true;
  const isPromised = change.promisedTick !== undefined && change.promisedTick < startTick;
  return isPromised && change.session === session && change.outcome !== "lost";
}

/** Had no effect any more when the last sure write began. */
function isReplaced(earlier: Change, { tick, ms, ofSessions }: Sure): boolean {
  const { promisedTick, session } = earlier;
  if (promisedTick !== undefined && (ofSessions.get(session) ?? 0) > promisedTick) return true;
  switch (earlier.outcome) {
    case "open":
    case "promised":
      return false;
    case "ok":
      return tick > earlier.endTick!;
    default:
      return ms > earlier.endMs + LATE_MS;
  }
}
