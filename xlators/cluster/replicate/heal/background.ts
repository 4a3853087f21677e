/**
 * Heals that a client's own lookups cause (spec translators.md 4.2: data-, metadata- and entry-self-heal, all
 * off by default): a bounded queue, so that a client that walks a large damaged tree does not become a heal
 * daemon. What does not fit is dropped: the next lookup, or the daemon, finds it again.
 */

import { type Gfid, gfidKey, gfidText } from "../../../../src/core/gfid.ts";
import { Inode } from "../../../../src/core/inode.ts";
import type { Slot } from "../changelog.ts";
import type { Outcomes } from "../fan-out.ts";
import type { CopyReply } from "../readable.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { healInode } from "./heal.ts";
import { flaggedSlots } from "./inspect.ts";
import { lookOf } from "./look.ts";
import type { HealOptions, HealReport } from "./report.ts";

const OPTION = {
  data: "data-self-heal",
  metadata: "metadata-self-heal",
  entry: "entry-self-heal",
} as const satisfies Record<Slot, string>;

/** Does the healing; `healInode` but in tests. */
export type Heal = (set: ReplicaSet, inode: Inode, options: HealOptions) => Promise<HealReport>;

interface Waiting {
  readonly gfid: Gfid;
  readonly slots: readonly Slot[];
}

export class BackgroundHeals {
  readonly #set: ReplicaSet;
  readonly #heal: Heal;
  readonly #waiting = new Map<string, Waiting>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  /** Hears of every object that a heal has worked on: what is known of its copies holds no longer. */
  healed: (gfid: Gfid) => void = () => {};

  constructor(set: ReplicaSet, heal: Heal = healInode) {
    this.#set = set;
    this.#heal = heal;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  /** Resolves when the heal of this object that is running has ended; undefined when none is. */
  running(gfid: Gfid): Promise<void> | undefined {
    return this.#running.get(gfidKey(gfid));
  }

  /**
   * What replies to a lookup told of an object: heals it soon when options and marks ask for it. Costs next
   * to nothing while all three options are off. Never throws.
   */
  notice(gfid: Gfid, outcomes: Outcomes<CopyReply>): void {
    const { options, up, all } = this.#set;
    const on = options["data-self-heal"] || options["metadata-self-heal"] || options["entry-self-heal"];
    if (!on || up !== all || this.#stop.signal.aborted) return;
    const slots = flaggedSlots(this.#set, lookOf(this.#set, outcomes));
    const wanted = slots.filter((slot) => options[OPTION[slot]]);
    if (wanted.length > 0) this.#offer(gfid, wanted);
  }

  /** Ends heals at their next step and waits for them; nothing is begun any more. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#waiting.clear();
    await Promise.all(this.#running.values());
  }

  #offer(gfid: Gfid, slots: readonly Slot[]): void {
    const { options } = this.#set;
    const key = gfidKey(gfid);
    const atOnce = options["background-self-heal-count"];
    if (atOnce === 0 || this.#waiting.has(key) || this.#running.has(key)) return;
    const room = options["heal-wait-queue-length"] + atOnce;
    if (this.#waiting.size + this.#running.size >= room) return;
    this.#waiting.set(key, { gfid, slots });
    this.#next();
  }

  #next(): void {
    const atOnce = this.#set.options["background-self-heal-count"];
    for (const [key, { gfid, slots }] of this.#waiting) {
      if (this.#running.size >= atOnce) return;
      this.#waiting.delete(key);
      this.#running.set(key, this.#run(key, gfid, slots));
    }
  }

  async #run(key: string, gfid: Gfid, slots: readonly Slot[]): Promise<void> {
    try {
      await this.#heal(this.#set, new Inode(gfid), { slots, signal: this.#stop.signal });
    } catch (error) {
      this.#set.log.error("a heal on access ended by a bug", { gfid: gfidText(gfid), error });
    }
    this.#running.delete(key);
    this.healed(gfid);
    if (!this.#stop.signal.aborted) this.#next();
  }
}
