/**
 * A register that several clients write and read, and which values a read may return.
 *
 * The model of everything the workload touches: a block of a file, a name in a directory, a mode, an xattr. A
 * read may return the value of any write that no other one has surely replaced before the read began: the
 * last acknowledged ones, those under way, and those that failed, which may have left old or new.
 */

/** A write that failed may still arrive from a stopped machine or a cut link for so long. */
export const LATE_MS = 90_000;

/** One change of one or more registers by one call. */
export interface Change {
  readonly client: string;
  readonly what: string;
  readonly startTick: number;
  readonly startMs: number;
  /** When it was answered; undefined while it is under way. */
  endTick: number | undefined;
  endMs: number;
  /** "lost": its client died without an answer. */
  outcome: "open" | "ok" | "failed" | "lost";
  /** It was acknowledged and not synced when too much power went: it may be gone. Until then (ms). */
  softUntilMs: number;
  /** An acknowledged fsync came after it. */
  synced: boolean;
}

export interface Entry<V> {
  readonly change: Change;
  readonly value: V;
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

  /** Whether a read that began then may return the value. `nowMs`: when it is judged. */
  allows(value: V, startTick: number, nowMs: number): boolean {
    // The last sure writes decide: what surely ended before one of them began is replaced.
    let sureTick = Number.NEGATIVE_INFINITY;
    let sureMs = Number.NEGATIVE_INFINITY;
    for (const { change } of this.#entries) {
      if (!isSure(change, startTick, nowMs)) continue;
      if (change.startTick > sureTick) sureTick = change.startTick;
      if (change.startMs > sureMs) sureMs = change.startMs;
    }
    if (value === this.#initial && sureTick === Number.NEGATIVE_INFINITY) return true;
    for (const entry of this.#entries)
      if (entry.value === value && !isReplaced(entry.change, sureTick, sureMs)) return true;
    return false;
  }

  /** The values that a read may return, for messages. */
  allowed(startTick: number, nowMs: number): V[] {
    const values = [this.#initial, ...this.#entries.map(({ value }) => value)];
    return [...new Set(values)].filter((value) => this.allows(value, startTick, nowMs));
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
}

/** Acknowledged before the read began, and nothing has taken it away since. */
function isSure(change: Change, startTick: number, nowMs: number): boolean {
  return change.outcome === "ok" && change.endTick! < startTick && change.softUntilMs <= nowMs;
}

/** Had no effect any more when the last sure write began. */
function isReplaced(earlier: Change, sureTick: number, sureMs: number): boolean {
  switch (earlier.outcome) {
    case "open":
      return false;
    case "ok":
      return sureTick > earlier.endTick!;
    default:
      return sureMs > earlier.endMs + LATE_MS;
  }
}
