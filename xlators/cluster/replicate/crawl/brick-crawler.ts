/**
 * Goes through one brick's index and heals what it lists (spec translators.md 4.11).
 *
 * Begins when woken (a child came up, somebody asked) and every `heal-timeout` seconds. While a round healed
 * something another follows a second later: a directory that was healed may bring work of its own. What a
 * round could not do though all copies are up (another healer had it, a brick failed) is tried again after a
 * pause that doubles, so that nobody waits for the timeout. Needs two children up, its own among them.
 */

import { fanout } from "../../../../src/core/concurrency.ts";
import type { Timer } from "../../../../src/core/env.ts";
import { XATTROP } from "../../../../src/core/fops.ts";
import { type Gfid, gfidKey, gfidText } from "../../../../src/core/gfid.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { rowIncrements } from "../changelog.ts";
import { childrenOf, countChildren } from "../child-set.ts";
import type { HealOutcome } from "../heal/report.ts";
import { emptyAnonymous } from "./anonymous.ts";
import type { HealQueue } from "./heal-queue.ts";
import { INDEX_CLASSES, IndexDirectory, isGone } from "./index-directory.ts";
import { forEachLimited } from "./limited.ts";
import { pathOn } from "./names.ts";

/** Between rounds that healed something. */
const PAUSE_MS = 1000;
/** Before the first try again of what could not be healed; doubles up to `heal-timeout`. */
const RETRY_MS = 5000;

/** What became of the entries of a round. */
export interface CrawlCounts {
  healed: number;
  splitBrain: number;
  /** Could not be healed now: copies down, errors, another healer. */
  left: number;
  /** Index entries without anything behind them. */
  purged: number;
}

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
    while (this.#mayCrawl()) {
      const counts = await this.#round();
      this.#last = counts;
      if (this.#queue.signal.aborted) return;
      if (counts.healed === 0) return this.#tidy();
      await this.#pause();
    }
  }

  #mayCrawl(): boolean {
    const { set, signal } = this.#queue;
    if (signal.aborted || !set.options["self-heal-daemon"]) return false;
    return set.isUp(this.child) && countChildren(set.up) >= 2;
  }

  /** One pass over all classes of the index. Never rejects. */
  async #round(): Promise<CrawlCounts> {
    const { set, call, signal } = this.#queue;
    const counts: CrawlCounts = { healed: 0, splitBrain: 0, left: 0, purged: 0 };
    /** What a class lists again was seen to before, but its entry there may have to go as well. */
    const seen = new Map<string, HealOutcome>();
    const brick = set.children[this.child]!;
    for (const which of INDEX_CLASSES) {
      try {
        const directory = await IndexDirectory.open(brick, call, which);
        if (!directory) {
          this.#noIndex(which === "xattrop");
          continue;
        }
        try {
          const entries = directory.entries(set.options["shd-wait-qlength"]);
          const threads = set.options["shd-max-threads"];
          await forEachLimited(entries, threads, (gfid) => this.#one(directory, gfid, seen, counts), signal);
        } finally {
          await directory.close();
        }
      } catch (error) {
        counts.left++;
        set.log.warn("an index could not be crawled", { child: brick.name, which, error });
      }
      if (signal.aborted) break;
    }
    return counts;
  }

  async #one(
    directory: IndexDirectory,
    gfid: Gfid,
    seen: Map<string, HealOutcome>,
    counts: CrawlCounts,
  ): Promise<void> {
    const key = gfidKey(gfid);
    const before = seen.get(key);
    if (before !== undefined && before !== "gone") return;
    const outcome = before ?? (await this.#heal(gfid));
    seen.set(key, outcome);
    switch (outcome) {
      case "gone":
        await directory.purge(gfid);
        counts.purged++;
        return;
      case "not-needed":
        await this.#zeroXattrop(gfid);
        counts.purged++;
        return;
      case "healed":
      case "partial":
        counts.healed++;
        return;
      case "split-brain":
        counts.splitBrain++;
        return;
      case "clean":
        return;
      default:
        counts.left++;
    }
  }

  /** An entry of an object that this brick does not have is about nothing, whatever other copies have. */
  async #heal(gfid: Gfid): Promise<HealOutcome> {
    const { set, call } = this.#queue;
    const brick = set.children[this.child]!;
    let path: string | undefined;
    try {
      path = await pathOn(brick, call, gfid);
    } catch (error) {
      if (isGone(error)) return "gone";
      set.log.debug("a listed object could not be looked at", { child: brick.name, gfid, error });
      return "failed";
    }
    return (await this.#queue.heal(gfid, path)).outcome;
  }

  /**
   * Increments of nothing: the brick compares its index with what is on disk and drops an entry that a crash
   * between both left behind.
   */
  async #zeroXattrop(gfid: Gfid): Promise<void> {
    const { set, call } = this.#queue;
    const xattrs = rowIncrements(set.pendingKeys, () => undefined);
    const args = { loc: { inode: new Inode(gfid) }, op: XATTROP.ADD_ARRAY, xattrs };
    await fanout(childrenOf(set.up), (child) => set.children[child]!.xattrop(call, args));
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

  #noIndex(wanted: boolean): void {
    if (!wanted || this.#warnedNoIndex) return;
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

/** For logs. */
export function described(gfid: Gfid, path: string | undefined): { gfid: string; path?: string } {
  return { gfid: gfidText(gfid), ...(path === undefined ? {} : { path }) };
}
