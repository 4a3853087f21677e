/**
 * Heals of one replica set, each inode once at a time: what several crawlers list is healed for all of them
 * together, and whoever wants to know sees what is being healed.
 */

import type { Call } from "../../../../src/core/call.ts";
import { type Gfid, gfidKey } from "../../../../src/core/gfid.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { healInode } from "../heal/heal.ts";
import type { HealOptions, HealProgress, HealReport } from "../heal/report.ts";
import type { ReplicaSet } from "../replica-set.ts";

/** A heal under way. */
export interface RunningHeal {
  readonly gfid: Gfid;
  /** Undefined when no brick knows it. */
  readonly path: string | undefined;
  /** Of the data heal, once there is one. */
  readonly progress: HealProgress | undefined;
}

/** How a heal ended, for logs and tools. */
export interface FinishedHeal {
  readonly gfid: Gfid;
  readonly path: string | undefined;
  readonly report: HealReport;
}

/** Does the healing; heal.ts but in tests. */
export type Heal = (set: ReplicaSet, inode: Inode, options: HealOptions) => Promise<HealReport>;

interface Running {
  readonly gfid: Gfid;
  readonly path: string | undefined;
  progress: HealProgress | undefined;
  readonly report: Promise<HealReport>;
}

export class HealQueue {
  readonly set: ReplicaSet;
  readonly call: Call;
  readonly #heal: Heal;
  readonly #onFinished: ((finished: FinishedHeal) => void) | undefined;
  readonly #running = new Map<string, Running>();
  readonly #stop = new AbortController();

  constructor(
    set: ReplicaSet,
    call: Call,
    options: { heal?: Heal; onFinished?: (finished: FinishedHeal) => void } = {},
  ) {
    this.set = set;
    this.call = call;
    this.#heal = options.heal ?? healInode;
    this.#onFinished = options.onFinished;
  }

  /** Aborted by `stop`. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  get running(): readonly RunningHeal[] {
    return [...this.#running.values()];
  }

  /** Heals an inode, or joins the heal of it that runs. Never rejects. */
  heal(gfid: Gfid, path: string | undefined): Promise<HealReport> {
    const key = gfidKey(gfid);
    const known = this.#running.get(key);
    if (known) return known.report;
    const running: Running = { gfid, path, progress: undefined, report: this.#start(key, gfid, path) };
    this.#running.set(key, running);
    return running.report;
  }

  /** Ends heals at their next step, and waits for them. What is left is marked, and found again. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#running.values()].map(({ report }) => report));
  }

  async #start(key: string, gfid: Gfid, path: string | undefined): Promise<HealReport> {
    // The entry in the map is made by the caller, after this returned its promise.
    await Promise.resolve();
    try {
      const report = await this.#heal(this.set, new Inode(gfid), {
        call: this.call,
        path,
        signal: this.signal,
        onProgress: (progress) => {
          const running = this.#running.get(key);
          if (running) running.progress = progress;
        },
      });
      this.#onFinished?.({ gfid, path, report });
      return report;
    } finally {
      this.#running.delete(key);
    }
  }
}
