/**
 * Blocks before and after whose differences add up, although the fops that report them run side by side on
 * one file (glusterfs.write-update-atomic, spec translators.md 2.6): shard sums them to an image's blocks.
 * The size before stays what the fop itself saw: shard concludes from it that the file was cut.
 *
 * Each fop that ends reports what changed since the last report, and not since it began itself: who caused a
 * change among those that overlap is not known, but nothing is told twice or left out. GlusterFS lines such
 * writes up instead, one at a time on a file.
 *
 * Limits: what a fop that fails has changed is told by the next one that ends while others still run, else by
 * nobody; a fop that is not one of these counts in its own reply and in theirs.
 */

import type { Iatt } from "../../../src/core/iatt.ts";

export class Differences {
  #running = 0;
  #blocks = 0;

  /** A fop begins; `pre` is what it sees before. Every one ends, by `end` or `fail`. */
  begin(pre: Iatt): void {
    if (this.#running++ === 0) this.#blocks = pre.blocks;
  }

  /** A fop ends, in the turn that took `post`: the attributes to report as those before it. */
  end(pre: Iatt, post: Iatt): Iatt {
    const told = { ...pre, blocks: this.#blocks };
    this.#running--;
    this.#blocks = post.blocks;
    return told;
  }

  /** A fop failed. */
  fail(): void {
    this.#running--;
  }
}
