/**
 * What a heal is asked and what it answers: the types that callers of heal.ts share (the daemon, the tools,
 * lookup and open). Plain records.
 */

import type { Call } from "../../../../src/core/call.ts";
import type { Gfid } from "../../../../src/core/gfid.ts";
import type { Slot } from "../changelog.ts";
import type { ChildSet } from "../child-set.ts";
import type { Resolution } from "../decide.ts";

/** Where a data heal stands; bytes. `total` may shrink when guests truncate, never below `done`. */
export interface HealProgress {
  /** Bytes of the file that are settled: copied, or compared and found equal. */
  readonly done: number;
  /** Bytes that this heal looks at: the changed ranges when they are known, else the whole file. */
  readonly total: number;
  /** Bytes written to sinks, all sinks together. */
  readonly moved: number;
}

export interface HealOptions {
  /** Heal these; without it what an unlocked look shows to be needed. */
  readonly slots?: readonly Slot[];
  /** Only settles a split brain; a slot that is in none stays as it is and reports "not-split-brain". */
  readonly resolution?: Resolution;
  /** With `resolution`: decide and report `source`, change nothing. */
  readonly dryRun?: boolean;
  /** Called after each step of a data heal. */
  readonly onProgress?: (progress: HealProgress) => void;
  /** Aborted: stop at the next step; marks stay, a later heal goes on. */
  readonly signal?: AbortSignal;
  /** How people know the inode, for the log. */
  readonly path?: string | undefined;
  /** Whose calls they are; by default the heal daemon's (pid -6), -7 for tools. */
  readonly call?: Call;
}

/**
 * How one slot ended.
 * - `clean`: nothing to heal; marks, if any, belong to operations under way.
 * - `would-heal`: a dry run; `source` is the copy that would stay.
 * - `healed`: all copies are equal and the marks that were seen are gone.
 * - `partial`: some sinks failed and stay marked; the others are healed.
 * - `split-brain`: no copy can be chosen; EIO to readers.
 * - `not-split-brain`: a resolution was asked and there is nothing to resolve.
 * - `unresolved`: the resolution does not name one copy (two bigger files); `why` says so.
 * - `busy`: somebody else heals it.
 * - `unavailable`: a child is down, or did not lock or answer; heal needs all of them (spec 4.8).
 * - `arbiter-only`: the only good copy is the arbiter's, which has no data.
 * - `failed`: an error on the way; `why` says which.
 */
export type SlotOutcome =
  | "clean"
  | "would-heal"
  | "healed"
  | "partial"
  | "split-brain"
  | "not-split-brain"
  | "unresolved"
  | "busy"
  | "unavailable"
  | "arbiter-only"
  | "failed";

export interface SlotReport {
  readonly outcome: SlotOutcome;
  /** The copy that the others were made like; -1 when there was none (a directory that was merged). */
  readonly source: number;
  readonly sources: ChildSet;
  /** Copies that were behind. */
  readonly sinks: ChildSet;
  /** Those of `sinks` that are good now. */
  readonly healed: ChildSet;
  /** For people: what was wrong; undefined when nothing was. */
  readonly why?: string;
}

/**
 * How the inode as a whole ended: the worst of its slots, or
 * - `not-needed`: the unlocked look showed nothing at all, marks included; the index entry can go.
 * - `gone`: ENOENT or ESTALE on every child; the index entry can go.
 */
export type HealOutcome = SlotOutcome | "not-needed" | "gone";

export interface HealReport {
  readonly outcome: HealOutcome;
  readonly slots: Readonly<Partial<Record<Slot, SlotReport>>>;
  /** Bytes written to sinks. */
  readonly bytesMoved: number;
  /** Bytes that were looked at, or would have been. */
  readonly bytesTotal: number;
  readonly why?: string;
}

/** What `heal info` and the crawl need to know of an inode, without healing it. */
export interface Inspection {
  /** False: no child knows the gfid. */
  readonly exists: boolean;
  /** st_mode as the first child with it says; 0 when none does. */
  readonly mode: number;
  /** Slots that a heal should look at. */
  readonly slots: readonly Slot[];
  /** Slots (or the type of the inode, as "type") without a copy to heal from. */
  readonly splitBrain: readonly (Slot | "type")[];
  /** A heal runs on it, or I/O that may explain the marks is under way. */
  readonly possiblyHealing: boolean;
  /** As GlusterFS tells it; "no-heal" is not listed by heal info. */
  readonly status: "no-heal" | "heal" | "split-brain" | "possibly-healing";
  /** Marks that blame a copy exist, not dirty alone ("-pending" of GlusterFS). */
  readonly pending: boolean;
  /** Children whose copy some other child blames, or that is smaller or different. */
  readonly behind: ChildSet;
  /** Bytes that a data heal has to look at, all sinks together: an upper estimate without locks. */
  readonly bytesToHeal: number;
}

export interface NameHealOptions {
  /** Settles different objects by one name (gfid split brain); a name without any is left alone. */
  readonly resolution?: Resolution;
  /** Decide and report `source`, change nothing. */
  readonly dryRun?: boolean;
  /** For an entry that has no gfid on any brick. */
  readonly gfid?: Gfid;
}

/** How a name ended (spec 4.9, name heal). */
export interface NameHeal {
  readonly outcome:
    | "clean"
    | "would-heal"
    | "healed"
    | "split-brain"
    | "not-split-brain"
    | "unavailable"
    | "failed";
  /** Children on which the name was made, removed or given its gfid. */
  readonly changed: ChildSet;
  /** The copy that the others were made like, -1 when the name was removed. */
  readonly source?: number;
  readonly why?: string;
}
