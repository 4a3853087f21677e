/**
 * Who asks: a Call for each (uid, gid, pid, lock owner), kept and used again, because consecutive requests
 * come from few callers and every fop needs one.
 *
 * Auxiliary groups of callers other than root are read from /proc/<pid>/status, as bricks check permissions
 * with them (translators.md 10.2, resolve-gids); they are trusted for `gidTimeoutSec`. A caller that /proc
 * does not show has none.
 */

import { readFileSync } from "node:fs";
import type { Call } from "../src/core/call.ts";
import type { Clock } from "../src/core/env.ts";

const NO_OWNER = Buffer.alloc(0);
const NO_GROUPS: readonly number[] = [];
/** Direct-mapped; a power of two. Two callers in one place cost a new object each time, nothing more. */
const PLACES = 256;

interface Known {
  readonly call: Call;
  readonly ownerLow: number;
  readonly ownerHigh: number;
  /** Groups are trusted until then. */
  readonly untilMs: number;
}

/** Auxiliary groups of a process, as its status file tells. */
export type GroupReader = (pid: number) => readonly number[];

export class Callers {
  readonly #known: (Known | undefined)[] = new Array(PLACES).fill(undefined);
  readonly #clock: Clock;
  readonly #gidTimeoutMs: number;
  readonly #readGroups: GroupReader;

  constructor(clock: Clock, gidTimeoutSec: number, readGroups: GroupReader = groupsOfProcess) {
    this.#clock = clock;
    this.#gidTimeoutMs = gidTimeoutSec * 1000;
    this.#readGroups = readGroups;
  }

  /** The Call of a request; `ownerLow` and `ownerHigh` are the kernel's lock owner, both 0 for none. */
  of(uid: number, gid: number, pid: number, ownerLow = 0, ownerHigh = 0): Call {
    const place = (pid ^ (ownerLow >>> 6) ^ ownerHigh) & (PLACES - 1);
    const known = this.#known[place];
    if (
      known !== undefined &&
      known.call.uid === uid &&
      known.call.gid === gid &&
      known.call.pid === pid &&
      known.ownerLow === ownerLow &&
      known.ownerHigh === ownerHigh &&
      (uid === 0 || known.untilMs > this.#clock.nowMs())
    ) {
      return known.call;
    }
    return this.#make(place, uid, gid, pid, ownerLow, ownerHigh);
  }

  #make(place: number, uid: number, gid: number, pid: number, ownerLow: number, ownerHigh: number): Call {
    const groups = uid === 0 ? NO_GROUPS : this.#readGroups(pid);
    const lkOwner = ownerLow === 0 && ownerHigh === 0 ? NO_OWNER : ownerBytes(ownerLow, ownerHigh);
    const call = { uid, gid, groups, pid, lkOwner };
    const untilMs = uid === 0 ? Number.POSITIVE_INFINITY : this.#clock.nowMs() + this.#gidTimeoutMs;
    this.#known[place] = { call, ownerLow, ownerHigh, untilMs };
    return call;
  }
}

/** GlusterFS' form of the kernel's 64-bit owner: eight bytes, the lowest first. */
export function ownerBytes(low: number, high: number): Buffer {
  const owner = Buffer.alloc(8);
  owner.writeUInt32LE(low, 0);
  owner.writeUInt32LE(high, 4);
  return owner;
}

/** Reads `Groups:` of /proc/<pid>/status: memory of the kernel, so a synchronous read waits for no disk. */
function groupsOfProcess(pid: number): readonly number[] {
  if (pid === 0) return NO_GROUPS;
  try {
    return parseGroups(readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return NO_GROUPS;
  }
}

export function parseGroups(status: string): readonly number[] {
  const line = /^Groups:(.*)$/m.exec(status);
  const words = line?.[1]?.trim() ?? "";
  return words === "" ? NO_GROUPS : words.split(/\s+/).map(Number);
}
