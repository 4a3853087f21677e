/**
 * Goes through one brick's index and heals what it lists (spec translators.md 4.11).
 *
 * Begins when woken (a child came up, somebody asked) and every `heal-timeout` seconds. A round that healed
 * something is followed by another, as a directory that was healed brings work of its own; a second later
 * when all of it was healed by the round before too, and so is only I/O that goes on. What a round could not
 * do though all copies are up (another healer had it, a brick failed) is tried again after a pause that
 * doubles, so that nobody waits for the timeout. Needs two children up, its own among them.
 */

import type { Timer } from "../../../../src/core/env.ts";
import { countChildren } from "../child-set.ts";
import { emptyAnonymous } from "./anonymous.ts";
import type { HealQueue } from "./heal-queue.ts";
import { type CrawlCounts, crawlIndex } from "./index-crawl.ts";

/** Between rounds that healed the same. */
const PAUSE_MS = 1000;
/** Before the first try again of what could not be healed; doubles up to `heal-timeout`. */
const RETRY_MS = 5000;

export class BrickCrawler {
  readonly child: number;
  readonly #queue: HealQueue;
  #woken = false;
  #crawling: Promise<void> | undefined;
  #timer: Timer | undefined;
  #retryMs = RETRY_MS;
  /** Of the last round that ended. */
  #last: CrawlCounts | undefined;
  #warnedNoIndex = false;

  constructor(queue: HealQueue, child: number) {
    this.#queue = queue;
    this.child = child;
  }

  get crawling(): boolean {
    return this.#crawling !== undefined;
  }

  get last(): Readonly<CrawlCounts> | undefined {
    return this.#last;
  }

  /** Crawls soon; once more after the round that runs. */
  wake(): void {
    this.#woken = true;
    if (this.#queue.signal.aborted || this.#crawling) return;
    this.#timer?.cancel();
    this.#crawling = this.#crawl().finally(() => {
      this.#crawling = undefined;
      this.#sleep();
    });
  }

  /** Resolves when the crawl that runs, if any, has ended. The queue's signal ends it early. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#crawling;
  }

  #sleep(): void {
    if (this.#queue.signal.aborted) return;
    if (this.#woken) {
      this.wake();
      return;
    }
    const { set } = this.#queue;
    const timeoutMs = set.options["heal-timeout"] * 1000;
    const tryAgain = this.#last !== undefined && this.#last.left > 0 && set.up === set.all;
    const delayMs = tryAgain ? Math.min(this.#retryMs, timeoutMs) : timeoutMs;
    this.#retryMs = tryAgain ? Math.min(this.#retryMs * 2, timeoutMs) : RETRY_MS;
    this.#timer = set.env.clock.after(delayMs, () => this.wake());
  }

  async #crawl(): Promise<void> {
    this.#woken = false;
    let before: ReadonlySet<string> = new Set();
    while (this.#mayCrawl()) {
      const counts = await crawlIndex(this.#queue, this.child);
      this.#last = counts;
      this.#warnNoIndex(counts.noIndex);
      if (this.#queue.signal.aborted) return;
      if (counts.healed.size === 0) return this.#tidy();
      const known = before;
      if ([...counts.healed].every((key) => known.has(key))) await this.#pause();
      before = counts.healed;
    }
  }

  #mayCrawl(): boolean {
    const { set, signal } = this.#queue;
    if (signal.aborted || !set.options["self-heal-daemon"]) return false;
    return set.isUp(this.child) && countChildren(set.up) >= 2;
  }

  async #tidy(): Promise<void> {
    const { set, call } = this.#queue;
    try {
      const gone = await emptyAnonymous(set, call, this.child);
      if (gone > 0) set.log.info("removed what heals had put aside", { child: this.child, count: gone });
    } catch (error) {
      set.log.debug("the hidden directory could not be emptied", { child: this.child, error });
    }
  }

  #warnNoIndex(noIndex: boolean): void {
    if (!noIndex || this.#warnedNoIndex) return;
    this.#warnedNoIndex = true;
    const { set } = this.#queue;
    const child = set.children[this.child]!.name;
    set.log.warn("this brick has no index of what to heal; only a full crawl finds it", { child });
  }

  #pause(): Promise<void> {
    const { set, signal } = this.#queue;
    return new Promise((resolve) => {
      const timer = set.env.clock.after(PAUSE_MS, done);
      function done(): void {
        timer.cancel();
        signal.removeEventListener("abort", done);
        resolve();
      }
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
