/**
 * Looks at every name and every object of a set, index or not (spec translators.md 4.11, full healer): for
 * bricks without an index, and for a brick that came back empty without a mark.
 *
 * One walk from the root of each copy in turn, so that a name that only one copy has is found there. A
 * directory is healed before it is listed, each name of it before what it names.
 */

import { type Gfid, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { isDir, S_IFDIR, S_IFMT } from "../../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../../src/core/inode.ts";
import { O_DIRECTORY, O_RDONLY } from "../../../../src/core/open-flags.ts";
import { childrenOf } from "../child-set.ts";
import { healName } from "../heal/heal.ts";
import type { HealOutcome } from "../heal/report.ts";
import { isAnonymousDirectory } from "./anonymous.ts";
import type { HealQueue } from "./heal-queue.ts";
import { isGone } from "./index-directory.ts";
import { forEachLimited } from "./limited.ts";

const PAGE_BYTES = 128 * 1024;

export interface FullCounts {
  /** Objects looked at, once for each copy that has them. */
  looked: number;
  healed: number;
  splitBrain: number;
  failed: number;
}

interface Directory {
  readonly inode: Inode;
  readonly path: string;
}

interface Entry {
  readonly name: string;
  readonly gfid: Gfid;
  readonly type: number;
}

export class FullCrawl {
  readonly counts: FullCounts = { looked: 0, healed: 0, splitBrain: 0, failed: 0 };
  readonly #queue: HealQueue;
  readonly #onLook: (path: string) => void;

  constructor(queue: HealQueue, onLook: (path: string) => void = () => {}) {
    this.#queue = queue;
    this.#onLook = onLook;
  }

  /** Walks all copies that are up. Never rejects; the queue's signal ends it. */
  async run(): Promise<FullCounts> {
    for (const child of childrenOf(this.#queue.set.up)) await this.#walk(child);
    return this.counts;
  }

  async #walk(child: number): Promise<void> {
    const { set, signal } = this.#queue;
    const waiting: Directory[] = [{ inode: new Inode(ROOT_GFID, S_IFDIR), path: "/" }];
    for (let next = waiting.pop(); next !== undefined && !signal.aborted; next = waiting.pop()) {
      const directory = next;
      await this.#heal(directory.inode.gfid, directory.path);
      const found: Directory[] = [];
      try {
        await forEachLimited(
          this.#entries(child, directory.inode),
          set.options["shd-max-threads"],
          async (entry) => {
            const below = await this.#entry(directory, entry);
            if (below) found.push(below);
          },
          signal,
        );
      } catch (error) {
        if (!isGone(error)) {
          this.counts.failed++;
          set.log.warn("a directory could not be crawled", { child, path: directory.path, error });
        }
      }
      waiting.push(...found);
    }
  }

  /** Heals a name and what it names; a directory comes back, to be walked. */
  async #entry(parent: Directory, entry: Entry): Promise<Directory | undefined> {
    const { set, call } = this.#queue;
    const path = `${parent.path === "/" ? "" : parent.path}/${entry.name}`;
    const { outcome, why } = await healName(set, call, parent.inode, entry.name);
    if (outcome === "split-brain" || outcome === "failed") {
      if (outcome === "failed") this.counts.failed++;
      else this.counts.splitBrain++;
      set.log.warn("a name could not be healed", { path, outcome, why });
      return undefined;
    }
    if (outcome === "healed") this.counts.healed++;
    if (entry.type === S_IFDIR) return { inode: new Inode(entry.gfid, S_IFDIR), path };
    await this.#heal(entry.gfid, path);
    return undefined;
  }

  async #heal(gfid: Gfid, path: string): Promise<void> {
    this.counts.looked++;
    this.#onLook(path);
    const { outcome } = await this.#queue.heal(gfid, path);
    if (outcome === "healed" || outcome === "partial") this.counts.healed++;
    else if (outcome === "split-brain") this.counts.splitBrain++;
    else if (!isFine(outcome)) this.counts.failed++;
  }

  async *#entries(child: number, inode: Inode): AsyncGenerator<Entry> {
    const { set, call } = this.#queue;
    const brick = set.children[child]!;
    const fd = new Fd(inode, O_RDONLY | O_DIRECTORY, call.pid);
    await brick.opendir(call, { loc: { inode }, fd });
    try {
      for (let offset = 0n, eof = false; !eof; ) {
        const page = await brick.readdirp(call, { fd, size: PAGE_BYTES, offset });
        for (const { name, stat } of page.entries) {
          if (name === "." || name === ".." || stat.mode === 0 || isAnonymousDirectory(name)) continue;
          yield { name, gfid: stat.gfid, type: isDir(stat) ? S_IFDIR : stat.mode & S_IFMT };
        }
        eof = page.eof || page.entries.length === 0;
        offset = page.entries.at(-1)?.offset ?? offset;
      }
    } finally {
      await brick.releasedir(fd);
    }
  }
}

function isFine(outcome: HealOutcome): boolean {
  return outcome === "clean" || outcome === "not-needed" || outcome === "gone";
}
