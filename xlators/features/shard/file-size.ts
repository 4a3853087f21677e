/**
 * Size and block count of one file: what is known, and how they are changed, by adding to the xattr of the
 * base file (spec translators.md 5.2; GlusterFS shard.c, shard_update_file_size).
 *
 * Promises: a write is acknowledged when the size on disk covers it; writes that end at about the same time
 * share one xattrop, for which those that are done wait until they are half of those under way. What was
 * acknowledged is never published smaller: an answer that was on its way while the size changed is not
 * believed. Sizes are added to by the owner alone (ownership.ts), who asked every copy when he became it, and
 * the reply of each xattrop shows whether a client of GlusterFS, which asks nobody, came between; then it is
 * put right at once. Block counts need no owner, as they are sums: they travel with the next change of the
 * size, with fsync and flush, and after a second in any case. What is known of a size may be old where
 * nothing depends on it: see write.ts and read.ts for when something does.
 */

import { internalCall } from "../../../src/core/call.ts";
import { Deferred } from "../../../src/core/concurrency.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Env } from "../../../src/core/env.ts";
import { FopError } from "../../../src/core/errors.ts";
import { XATTROP } from "../../../src/core/fops.ts";
import { Fd } from "../../../src/core/inode.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import { askingSize, type Extent, encodeExtent, extentOf, FILE_SIZE_KEY } from "./attributes.ts";
import { isGone } from "./directories.ts";
import { Ownership, type Target } from "./ownership.ts";

/** How long a size that nobody here changes is believed. */
const FRESH_MS = 1000;
/** From when on it is asked for again, so that whoever uses the file all the time never waits for it. */
const RENEWED_MS = 500;
/** Sizes that nobody needs are asked for at most so often, over all files. */
const RENEWAL_EVERY_MS = 10;
/** How long a change of the block count alone may wait. */
const BLOCKS_DELAY_MS = 1000;
/** How long writes that are done wait at most for others to share their xattrop. */
const GATHER_MS = 20;
const TRIES_MAX = 5;
const CALL = internalCall();

/** When something was asked; see `asking`. */
export interface Asked {
  readonly sequence: number;
  readonly atMs: number;
  readonly changes: number;
  readonly sizeChanges: number;
}

/** Lock domain of sizes. */
export function sizeDomain(name: string): string {
  return `${name}:size`;
}

/** Writes that share an xattrop: all that came since the one before was sent. */
interface Round {
  end: number;
  writes: number;
  /** The size before. */
  readonly done: Promise<number>;
}

/**
 * Limits how often sizes are asked for beside requests: with very many files in use each would be old
 * whenever its turn comes, and every request would cost another one.
 */
export class Renewals {
  #nextMs = 0;

  /** Whether one may be made now. */
  take(nowMs: number): boolean {
    if (nowMs < this.#nextMs) return false;
    this.#nextMs = nowMs + RENEWAL_EVERY_MS;
    return true;
  }
}

export interface FileSizeInit {
  readonly below: XlatorBase;
  readonly env: Env;
  /** Instance name of features/shard. */
  readonly name: string;
  /** For what happens later, without an fd. */
  readonly target: () => Target;
  /** Shared by all files. */
  readonly renewals: Renewals;
}

export class FileSize {
  readonly ownership: Ownership;
  readonly #init: FileSizeInit;
  #size: number;
  /** On disk, as last seen; may be below zero where clients died between a write and its accounting. */
  #blocks: number;
  /** Not yet sent. */
  #blocksPending = 0;
  /** Sent and not yet answered. */
  #blocksSent = 0;
  #verifiedMs: number;
  #sequence = 0;
  /** Of the latest answer that was believed. */
  #believed = 0;
  /** Counted up when an xattrop is sent and when it is answered: all of them, those that change the size. */
  #changes = 0;
  #sizeChanges = 0;
  #round: Round | undefined;
  /** Writes under way that will want another size. */
  #writesUnderWay = 0;
  /** Set while a round waits for more of them. */
  #gathering: Deferred<void> | undefined;
  /** Rounds and what else needs the size to itself run one after the other. */
  #tail: Promise<void> = Promise.resolve();
  #refreshing: Promise<void> | undefined;
  #blocksTimed = false;

  constructor(init: FileSizeInit, extent: Extent) {
    this.#init = init;
    this.#size = extent.size;
    this.#blocks = extent.blocks;
    this.#verifiedMs = this.#now();
    const { below, env, name } = init;
    this.ownership = new Ownership({
      below,
      env,
      domain: sizeDomain(name),
      taken: (target) => this.#askAll(target),
    });
  }

  get size(): number {
    return Math.max(0, this.#size);
  }

  /** 512-byte blocks of all blocks of the file, those included that the disk was not told of yet. */
  get blocks(): number {
    return Math.max(0, this.#blocks + this.#blocksSent + this.#blocksPending);
  }

  /** True while no other client is likely to have changed the size since it was last seen. */
  get isFresh(): boolean {
    return this.ownership.isHeld || this.#now() - this.#verifiedMs < FRESH_MS;
  }

  /**
   * Whether a range that ends there surely ends within the file, or the end of the file is known for certain:
   * other clients extend files at any time.
   */
  covers(end: number): boolean {
    return this.ownership.isHeld || (end <= this.#size && this.isFresh);
  }

  /** To be called before a fop whose reply brings the xattr; its answer goes to `believe`. */
  asking(): Asked {
    const [changes, sizeChanges] = [this.#changes, this.#sizeChanges];
    return { sequence: ++this.#sequence, atMs: this.#now(), changes, sizeChanges };
  }

  /** Takes over what an answer says, unless something newer is known. */
  believe(asked: Asked, extent: Extent | undefined): void {
    if (extent === undefined || asked.sequence < this.#believed) return;
    if (asked.sizeChanges === this.#sizeChanges) {
      this.#believed = asked.sequence;
      this.#size = extent.size;
      this.#verifiedMs = asked.atMs;
    }
    if (asked.changes === this.#changes) this.#blocks = extent.blocks;
  }

  /**
   * Asks the disk. Callers that come together share the answer: it may be as old as the first of them, which
   * is good enough where FRESH_MS is.
   */
  refresh(target: Target): Promise<void> {
    this.#refreshing ??= this.ask(target).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /**
   * To be called after a request was sent for which the size is only looked at. Asks the disk when what is
   * known is getting old and there are not too many such questions; answers what to wait for when it is too
   * old.
   */
  renew(target: Target): Promise<void> | undefined {
    if (this.ownership.isHeld) return undefined;
    const now = this.#now();
    const ageMs = now - this.#verifiedMs;
    if (ageMs < RENEWED_MS || !this.#init.renewals.take(now)) return undefined;
    const asking = this.refresh(target);
    asking.catch(ignore);
    return ageMs < FRESH_MS ? undefined : asking;
  }

  /** Asks the disk, now. */
  async ask(target: Target): Promise<void> {
    const asked = this.asking();
    const xdata = askingSize(undefined);
    const { below } = this.#init;
    const reply =
      target instanceof Fd
        ? await below.fstat(CALL, { fd: target, xdata })
        : await below.stat(CALL, { loc: { inode: target }, xdata });
    this.#hear(asked, reply.xdata);
  }

  /**
   * For who is about to change the size. A copy that missed a change of another client's answers as before:
   * only a lookup hears from all copies which of them that is.
   */
  async #askAll(target: Target): Promise<void> {
    const inode = target instanceof Fd ? target.inode : target;
    const asked = this.asking();
    try {
      const args = { loc: { inode }, xdata: askingSize(undefined) };
      const { xdata } = await this.#init.below.lookup(CALL, args);
      this.#hear(asked, xdata);
    } catch (error) {
      // A file without a name is found by its fd only.
      if (!isGone(error)) throw error;
      await this.ask(target);
    }
  }

  #hear(asked: Asked, xdata: Dict | undefined): void {
    const extent = extentOf(xdata);
    if (extent === undefined)
      throw new FopError("EIO", { message: `the file has no ${FILE_SIZE_KEY} any more` });
    this.believe(asked, extent);
  }

  /** A block's file grew or shrank on disk. */
  addBlocks(delta: number): void {
    this.#blocksPending += delta;
    if (this.#blocksTimed) return;
    this.#blocksTimed = true;
    this.#init.env.clock.after(BLOCKS_DELAY_MS, () => {
      this.#blocksTimed = false;
      this.flushBlocks(this.#init.target()).catch((error) => {
        this.#init.env.log.debug("a block count could not be written", { error });
      });
    });
  }

  /** Resolves when the disk knows of every block that was added before. */
  async flushBlocks(target: Target): Promise<void> {
    if (this.#blocksPending !== 0 || this.#blocksSent !== 0) await this.#join(target, 0);
  }

  /** A write begins that is going to `extend`; `arrives` must follow, just before that or when it failed. */
  comes(): void {
    this.#writesUnderWay++;
  }

  arrives(): void {
    this.#writesUnderWay--;
    this.#checkGathered();
  }

  /** Resolves when the size on disk is at least `end`, with the size that it had before. */
  extend(target: Target, end: number): Promise<number> {
    return this.#join(target, end);
  }

  /**
   * The same for bytes that were written where the file was believed to reach, when there is reason to doubt
   * that. A client that is just cutting the file is waited for.
   */
  async confirm(target: Target, end: number): Promise<number> {
    return this.ownership.isHeld && end <= this.size ? this.size : this.extend(target, end);
  }

  /** Runs `write` with the end of the file, while nobody else extends it; it answers the new end. */
  append(target: Target, write: (end: number) => Promise<number>): Promise<void> {
    return this.#alone(async () => {
      await this.ownership.enter(target);
      try {
        await this.#reach(target, await write(this.size));
      } finally {
        this.ownership.leave();
      }
    });
  }

  /**
   * Runs `cut`, which takes away what is beyond, and sets the size; nobody else extends the file meanwhile.
   */
  set(target: Target, size: number, cut: (before: number) => Promise<void>): Promise<void> {
    return this.#owned(target, async () => {
      await cut(this.size);
      await this.#add(target, () => size);
    });
  }

  /** Runs `task` while nobody changes the size; block counts that it added are on disk afterwards. */
  keep(target: Target, task: (size: number) => Promise<void>): Promise<void> {
    return this.#owned(target, async () => {
      await task(this.size);
      await this.#add(target, same);
    });
  }

  #owned(target: Target, task: () => Promise<void>): Promise<void> {
    return this.#alone(async () => {
      await this.ownership.enter(target);
      try {
        await this.ask(target);
        await task();
      } finally {
        this.ownership.leave();
      }
    });
  }

  #now(): number {
    return this.#init.env.clock.nowMs();
  }

  #join(target: Target, end: number): Promise<number> {
    let round = this.#round;
    if (round === undefined) {
      round = { end, writes: 0, done: this.#alone(() => this.#run(target)) };
      this.#round = round;
    }
    round.end = Math.max(round.end, end);
    round.writes++;
    this.#checkGathered();
    return round.done;
  }

  /** Waits until at least half of the writes are in the round. */
  async #gather(): Promise<void> {
    if (this.#round!.writes >= this.#writesUnderWay) return;
    const gathering = new Deferred<void>();
    this.#gathering = gathering;
    const timer = this.#init.env.clock.after(GATHER_MS, () => gathering.resolve());
    await gathering.promise;
    timer.cancel();
    this.#gathering = undefined;
  }

  #checkGathered(): void {
    if (this.#gathering !== undefined && this.#round!.writes >= this.#writesUnderWay)
      this.#gathering.resolve();
  }

  #alone<R>(task: () => Promise<R>): Promise<R> {
    const done = this.#tail.then(task);
    this.#tail = done.then(ignore, ignore);
    return done;
  }

  /** Those that come from here on are in the next round. */
  #leaveRound(): number {
    const { end } = this.#round!;
    this.#round = undefined;
    return end;
  }

  async #run(target: Target): Promise<number> {
    if (this.#round!.end === 0) {
      this.#leaveRound();
      await this.#add(target, same);
      return this.size;
    }
    try {
      await this.ownership.enter(target);
    } catch (error) {
      this.#leaveRound();
      throw error;
    }
    try {
      await this.#gather();
      const before = this.size;
      await this.#reach(target, this.#leaveRound());
      return before;
    } finally {
      this.ownership.leave();
    }
  }

  #reach(target: Target, end: number): Promise<void> {
    return this.#add(target, (size) => Math.max(size, end));
  }

  /**
   * Makes the size what `aim` makes of it, and adds what there is of blocks. Should the reply show that the
   * size was another than was known, it is put right at once, by adding again.
   */
  async #add(target: Target, aim: (size: number) => number): Promise<void> {
    let wanted = aim(this.#size);
    let delta = wanted - this.#size;
    if (delta === 0 && this.#blocksPending === 0) return;
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const after = await this.#send(target, { size: delta, blocks: this.#blocksPending });
      if (after === undefined || after === wanted) return;
      wanted = aim(tries === 0 ? after - delta : after);
      delta = wanted - after;
      if (delta === 0) return;
    }
    throw new FopError("EIO", {
      xlator: this.#init.name,
      message: "another client keeps changing the size of the file",
    });
  }

  /** One xattrop. Answers the size on disk after it; undefined when the reply does not say. */
  async #send(target: Target, delta: Extent): Promise<number | undefined> {
    const sizeChange = delta.size === 0 ? 0 : 1;
    this.#blocksPending -= delta.blocks;
    this.#blocksSent += delta.blocks;
    this.#changes++;
    this.#sizeChanges += sizeChange;
    try {
      const extent = extentOf(await this.#xattrop(target, delta));
      this.#size = extent?.size ?? this.#size + delta.size;
      this.#blocks = extent?.blocks ?? this.#blocks + delta.blocks;
      this.#verifiedMs = this.#now();
      return extent?.size;
    } catch (error) {
      this.#blocksPending += delta.blocks;
      // Whether it happened is not known: the disk is asked before the size is changed again.
      if (sizeChange !== 0) this.ownership.doubt();
      throw error;
    } finally {
      this.#blocksSent -= delta.blocks;
      this.#changes++;
      this.#sizeChanges += sizeChange;
    }
  }

  async #xattrop(target: Target, delta: Extent): Promise<Dict> {
    const { below } = this.#init;
    const op = XATTROP.ADD_ARRAY64;
    const xattrs = Dict.ofBytes({ [FILE_SIZE_KEY]: encodeExtent(delta) });
    const reply =
      target instanceof Fd
        ? await below.fxattrop(CALL, { fd: target, op, xattrs })
        : await below.xattrop(CALL, { loc: { inode: target }, op, xattrs });
    return reply.xattrs;
  }
}

function ignore(): void {}

function same(size: number): number {
  return size;
}
