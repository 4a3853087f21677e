/**
 * Free space of the children, and which of them takes a new file (spec translators.md 6.3, 6.6; GlusterFS
 * dht-diskusage.c).
 *
 * What is known is as old as the last request, and asked anew at most once a second, while files are made.
 * Nobody waits for the answer but the first.
 */

import { internalCall } from "../../../src/core/call.ts";
import type { Clock } from "../../../src/core/env.ts";
import type { Statfs } from "../../../src/core/fops.ts";
import { ROOT_GFID } from "../../../src/core/gfid.ts";
import { Inode, type Loc } from "../../../src/core/inode.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import type { Layout } from "./layout.ts";
import type { DistributeOptions } from "./options.ts";

const AGE_MAX_MS = 1000;
/** Unit of weights, so that they stay small numbers. */
const CHUNK_BYTES = 2 ** 20;
const ROOT: Loc = { inode: new Inode(ROOT_GFID, 0o040000) };

/** One child, as last told. */
export interface Usage {
  readonly freePercent: number;
  readonly freeBytes: number;
  readonly freeInodesPercent: number;
  /** Size in chunks. */
  readonly weight: number;
}

export function usageOf(statfs: Statfs): Usage {
  const { blocks, bavail, frsize, bsize, files, ffree } = statfs;
  const perChunk = Math.floor(CHUNK_BYTES / bsize);
  return {
    freePercent: blocks > 0 ? Math.floor((bavail * 100) / blocks) : 0,
    freeBytes: bavail * frsize,
    // A file system that makes inodes as it needs them tells none.
    freeInodesPercent: files > 0 ? Math.floor((ffree * 100) / files) : 100,
    weight: perChunk > 0 ? Math.floor((blocks + perChunk - 1) / perChunk) : 0,
  };
}

export class Space {
  readonly #children: readonly XlatorBase[];
  readonly #clock: Clock;
  readonly #usage: (Usage | undefined)[];
  #askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(children: readonly XlatorBase[], clock: Clock) {
    this.#children = children;
    this.#clock = clock;
    this.#usage = children.map(() => undefined);
  }

  /** Sizes in chunks, 0 where unknown. */
  get weights(): readonly number[] {
    return this.#usage.map((usage) => usage?.weight ?? 0);
  }

  /** Asks all children again if what is known is old: a promise of the answers, undefined if it is not. */
  renewed(): Promise<void> | undefined {
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#askedAtMs < AGE_MAX_MS) return undefined;
    this.#askedAtMs = nowMs;
    return Promise.all(this.#children.map((_, child) => this.ask(child))).then(() => {});
  }

  get isUnknown(): boolean {
    return this.#usage.every((usage) => usage === undefined);
  }

  /** One child; what it told before stays when it does not answer. */
  async ask(child: number): Promise<void> {
    try {
      const { statfs } = await this.#children[child]!.statfs(internalCall(), { loc: ROOT });
      this.#usage[child] = usageOf(statfs);
    } catch {
      // It is away; then nothing can be put there either.
    }
  }

  isFilled(child: number, options: DistributeOptions): boolean {
    const usage = this.#usage[child];
    if (usage === undefined) return false;
    return freeBy(usage, options) < minimum(options) || usage.freeInodesPercent < options["min-free-inodes"];
  }

  /**
   * Where a file goes whose own child is filled: the one with most room above both limits, else the one with
   * most room at all, else its own.
   */
  elsewhere(own: number, layout: Layout, options: DistributeOptions, retired: ReadonlySet<number>): number {
    const able = this.#usage.flatMap((usage, child) => {
      const error = layout.pieces[child]?.error;
      return usage === undefined || error !== undefined || retired.has(child) ? [] : [{ usage, child }];
    });
    const roomy = able.filter(
      ({ usage }) =>
        freeBy(usage, options) > minimum(options) && usage.freeInodesPercent > options["min-free-inodes"],
    );
    const candidates = roomy.length > 0 ? roomy : able.filter(({ usage }) => usage.freeInodesPercent > 0);
    let best: { usage: Usage; child: number } | undefined;
    for (const one of candidates)
      if (best === undefined || freeBy(one.usage, options) > freeBy(best.usage, options)) best = one;
    return best === undefined || freeBy(best.usage, options) === 0 ? own : best.child;
  }
}

function freeBy(usage: Usage, options: DistributeOptions): number {
  return "percent" in options["min-free-disk"] ? usage.freePercent : usage.freeBytes;
}

function minimum(options: DistributeOptions): number {
  const limit = options["min-free-disk"];
  return "percent" in limit ? limit.percent : limit.bytes;
}
