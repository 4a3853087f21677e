/**
 * One pass over what a brick's index lists, healing each entry, and cleaning the index of entries with
 * nothing behind them (spec translators.md 4.11).
 *
 * An object that this brick does not have is purged from its index; one without any mark gets an xattrop of
 * zeroes, after which the brick drops it by itself.
 */

import { fanout } from "../../../../src/core/concurrency.ts";
import { XATTROP } from "../../../../src/core/fops.ts";
import { type Gfid, gfidKey } from "../../../../src/core/gfid.ts";
import { Inode } from "../../../../src/core/inode.ts";
import type { XlatorBase } from "../../../../src/core/xlator.ts";
import { rowIncrements } from "../changelog.ts";
import { childrenOf } from "../child-set.ts";
import type { HealOutcome } from "../heal/report.ts";
import type { HealQueue } from "./heal-queue.ts";
import { INDEX_CLASSES, type IndexClass, IndexDirectory, isGone } from "./index-directory.ts";
import { forEachLimited } from "./limited.ts";
import { pathOn } from "./names.ts";

/** What became of the entries of a pass. */
export interface CrawlCounts {
  /** Healed, or some of their copies; by key. */
  readonly healed: Set<string>;
  splitBrain: number;
  /** Could not be healed now: copies down, errors, another healer. */
  left: number;
  /** Index entries without anything behind them. */
  purged: number;
  /** The brick keeps no index. */
  noIndex: boolean;
}

/** Never rejects; the queue's signal ends it early. */
export async function crawlIndex(queue: HealQueue, child: number): Promise<CrawlCounts> {
  const crawl = new IndexCrawl(queue, child);
  for (const which of INDEX_CLASSES) if (!queue.signal.aborted) await crawl.crawlClass(which);
  return crawl.counts;
}

class IndexCrawl {
  readonly counts: CrawlCounts = { healed: new Set(), splitBrain: 0, left: 0, purged: 0, noIndex: false };
  readonly #queue: HealQueue;
  readonly #brick: XlatorBase;
  /** What another class lists again has been seen to. */
  readonly #seen = new Map<string, HealOutcome>();

  constructor(queue: HealQueue, child: number) {
    this.#queue = queue;
    this.#brick = queue.set.children[child]!;
  }

  async crawlClass(which: IndexClass): Promise<void> {
    const { set, call } = this.#queue;
    try {
      const directory = await IndexDirectory.open(this.#brick, call, which);
      if (directory) await this.#crawlDirectory(directory);
      else if (which === "xattrop") this.counts.noIndex = true;
    } catch (error) {
      this.counts.left++;
      set.log.warn("an index could not be crawled", { child: this.#brick.name, which, error });
    }
  }

  async #crawlDirectory(directory: IndexDirectory): Promise<void> {
    const { options } = this.#queue.set;
    try {
      await forEachLimited(
        directory.entries(options["shd-wait-qlength"]),
        options["shd-max-threads"],
        (gfid) => this.#one(directory, gfid),
        this.#queue.signal,
      );
    } finally {
      await directory.close();
    }
  }

  async #one(directory: IndexDirectory, gfid: Gfid): Promise<void> {
    const key = gfidKey(gfid);
    const before = this.#seen.get(key);
    // An object that is gone has to go from every class.
    if (before !== undefined && before !== "gone") return;
    const outcome = before ?? (await this.#heal(gfid));
    this.#seen.set(key, outcome);
    switch (outcome) {
      case "gone":
        await directory.purge(gfid);
        this.counts.purged++;
        return;
      case "not-needed":
        await this.#zeroXattrop(gfid);
        this.counts.purged++;
        return;
      case "healed":
      case "partial":
        this.counts.healed.add(key);
        return;
      case "split-brain":
        this.counts.splitBrain++;
        return;
      case "clean":
        return;
      default:
        this.counts.left++;
    }
  }

  async #heal(gfid: Gfid): Promise<HealOutcome> {
    const { set, call } = this.#queue;
    let path: string | undefined;
    try {
      path = await pathOn(this.#brick, call, gfid);
    } catch (error) {
      if (isGone(error)) return "gone";
      set.log.debug("a listed object could not be looked at", { child: this.#brick.name, gfid, error });
      return "failed";
    }
    return (await this.#queue.heal(gfid, path)).outcome;
  }

  /** The brick compares its index with what is on disk: a crash between both may have left an entry. */
  async #zeroXattrop(gfid: Gfid): Promise<void> {
    const { set, call } = this.#queue;
    const xattrs = rowIncrements(set.pendingKeys, () => undefined);
    const args = { loc: { inode: new Inode(gfid) }, op: XATTROP.ADD_ARRAY, xattrs };
    await fanout(childrenOf(set.up), (child) => set.children[child]!.xattrop(call, args));
  }
}
