/**
 * The heal daemon of one replica set: a crawler for each brick, woken by what happens to the children (spec
 * translators.md 4.11).
 *
 * Several of them may work on a set, in processes and hosts of either make: a lock lets one heal a file at a
 * time. Life: `start`, then `stop`, which ends heals at their next step; nothing is lost by that.
 */

import { type Call, internalCall } from "../../../../src/core/call.ts";
import { type ChildSet, countChildren, hasChild, NO_CHILDREN } from "../child-set.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { BrickCrawler } from "./brick-crawler.ts";
import { type FullCounts, FullCrawl } from "./full-crawl.ts";
import { type FinishedHeal, type Heal, HealQueue, type RunningHeal } from "./heal-queue.ts";

/** The pid by which bricks and other clients know a heal daemon (spec translators.md 1.3). */
export const PID_HEAL_DAEMON = -6;

export class SetHealer {
  readonly set: ReplicaSet;
  readonly crawlers: readonly BrickCrawler[];
  readonly #queue: HealQueue;
  #up: ChildSet = NO_CHILDREN;
  #unwatch: (() => void) | undefined;
  #full: Promise<FullCounts> | undefined;

  constructor(
    set: ReplicaSet,
    options: { heal?: Heal; call?: Call; onFinished?: (finished: FinishedHeal) => void } = {},
  ) {
    this.set = set;
    const call = options.call ?? internalCall(PID_HEAL_DAEMON);
    const { heal, onFinished } = options;
    const given = { ...(heal ? { heal } : {}), ...(onFinished ? { onFinished } : {}) };
    this.#queue = new HealQueue(set, call, given);
    this.crawlers = set.children.map((_, child) => new BrickCrawler(this.#queue, child));
  }

  get running(): readonly RunningHeal[] {
    return this.#queue.running;
  }

  /** Crawls what is up already, and from now on whenever a child comes. */
  start(): void {
    this.#unwatch ??= this.set.watch(() => this.#childrenChanged());
    this.#childrenChanged();
  }

  /** Crawls the indices of all bricks that are up. */
  wake(): void {
    for (const crawler of this.crawlers) if (this.set.isUp(crawler.child)) crawler.wake();
  }

  /** Walks everything; one walk at a time, who asks meanwhile waits for the same. Never rejects. */
  full(onLook?: (path: string) => void): Promise<FullCounts> {
    this.#full ??= new FullCrawl(this.#queue, onLook).run().finally(() => {
      this.#full = undefined;
      this.wake();
    });
    return this.#full;
  }

  async stop(): Promise<void> {
    this.#unwatch?.();
    this.#unwatch = undefined;
    await this.#queue.stop();
    await Promise.all(this.crawlers.map((crawler) => crawler.stop()));
    await this.#full;
  }

  /** A copy that came back may need what every other brick lists, or have waited to give what it lists. */
  #childrenChanged(): void {
    const { up } = this.set;
    const cameUp = this.crawlers.some(({ child }) => hasChild(up, child) && !hasChild(this.#up, child));
    this.#up = up;
    if (cameUp && countChildren(up) >= 2) this.wake();
  }
}
