/**
 * Removing the blocks of files that have no name any more, in the background (spec translators.md 5.5;
 * GlusterFS shard.c, shard_delete_shards).
 *
 * Runs at the first lookup of a mount, after each removal, when an unlinked file is closed, and again after a
 * while when something was left. Markers whose base file is still open somewhere (bricks find it by its gfid)
 * are skipped. Blocks go first, then the marker, so that whoever dies in between leaves the rest to the next.
 * The marker also stays while few copies have a block that a heal may spread. Of a file with very many
 * possible blocks those that exist are listed, instead of looking for each.
 */

import { LRUCache } from "lru-cache";
import { type Call, internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Timer } from "../../../src/core/env.ts";
import { FopError } from "../../../src/core/errors.ts";
import { type Gfid, gfidKey, gfidText, parseGfid } from "../../../src/core/gfid.ts";
import { Inode, type Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import type { Afterwork } from "../../../src/core/xlator.ts";
import { askingAll, blockSizeOf, extentOf } from "./attributes.ts";
import { type Context, eachOf } from "./context.ts";
import { isGone, ROOT_CALL } from "./directories.ts";
import { lastBlock, PROBED_BEYOND } from "./geometry.ts";
import { entriesOf, existingBlocks } from "./listing.ts";

const RETRY_MS = 600_000;
export const LISTED_ABOVE = 4096;
const UNLINKED_LOOKUP = "unlinked-lookup";
const OWNER_BYTES = 16;
/** Removed files that are remembered; of others every copy must say that they are gone. */
const TAKEN_MAX = 4096;

export class Cleaner {
  readonly #context: Context;
  readonly #call: Call;
  #running: Promise<void> | undefined;
  /** By gfidKey, files whose last name this client took. */
  readonly #taken = new LRUCache<string, true>({ max: TAKEN_MAX });
  #again = false;
  #started = false;
  #stopped = false;
  #retry: Timer | undefined;
  /** Blocks that were found to be removed, and those of them that are gone, since the start. */
  #found = 0;
  #gone = 0;

  constructor(context: Context) {
    this.#context = context;
    this.#call = { ...internalCall(), lkOwner: context.env.random.bytes(OWNER_BYTES) };
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Counts blocks. What could not be removed is found again by the next run. */
  get afterwork(): Afterwork {
    return { found: this.#found, done: this.#gone, finished: () => this.idle() };
  }

  /** The graph serves: what earlier clients left is looked for, once. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.run();
  }

  /** This client took the last name of that file, and its bricks said so. */
  took(gfid: Gfid): void {
    this.#taken.set(gfidKey(gfid), true);
  }

  /** Looks for markers, now or after the run that is on. */
  run(): void {
    if (this.#stopped) return;
    this.#started = true;
    if (this.#running !== undefined) {
      this.#again = true;
      return;
    }
    this.#again = false;
    this.#running = this.#clean().finally(() => {
      this.#running = undefined;
      if (this.#again) this.run();
    });
  }

  /** Resolves when nothing is being removed, and nothing more will be. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#retry?.cancel();
    await this.#running;
  }

  /** Resolves when the present run and those asked for are over. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #clean(): Promise<void> {
    let isAllDone = true;
    try {
      const directory = await this.#context.shards.directories.removed(false);
      if (directory === undefined) return;
      const names: string[] = [];
      for await (const { name } of entriesOf(this.#context.below, directory, this.#call)) names.push(name);
      for (const name of names) {
        if (this.#stopped) return;
        if (!(await this.#one(directory, name))) isAllDone = false;
      }
    } catch (error) {
      isAllDone = false;
      this.#context.log.warn("blocks of removed files could not be looked for", { error });
    }
    if (!isAllDone && !this.#stopped) this.#later();
  }

  #later(): void {
    this.#retry?.cancel();
    this.#retry = this.#context.env.clock.after(RETRY_MS, () => this.run());
  }

  /** False when something is left to do for this marker. */
  async #one(directory: Inode, name: string): Promise<boolean> {
    const base = parseGfid(name);
    if (base === undefined || gfidText(base) !== name) return true;
    try {
      if (await this.#isInUse(base)) return false;
      if (!(await this.#lock(directory, name, "lock-nb"))) return false;
      try {
        if (await this.#isInUse(base)) return false;
        return await this.#removeAll(directory, name, base);
      } finally {
        await this.#lock(directory, name, "unlock");
      }
    } catch (error) {
      this.#context.log.warn("blocks of a removed file could not be removed; tried again later", {
        name,
        error,
      });
      return false;
    }
  }

  /**
   * It has a name, or somebody has it open. Only a clear no counts as one; where another client was to take
   * the name and may have died at it, that is a no of every copy.
   */
  async #isInUse(gfid: Gfid): Promise<boolean> {
    const { below, files } = this.#context;
    if ((files.find(gfid)?.opens ?? 0) > 0) return true;
    const xdata = new Dict().setUint(UNLINKED_LOOKUP, 1);
    if (!this.#taken.has(gfidKey(gfid))) xdata.setUint(KEY.GONE_EVERYWHERE, 1);
    try {
      await below.lookup(ROOT_CALL, { loc: { inode: new Inode(gfid) }, xdata });
      return true;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  async #removeAll(parent: Inode, name: string, base: Gfid): Promise<boolean> {
    const { below, shards, files, log } = this.#context;
    const loc: Loc = { inode: new Inode(), parent, name };
    let reply: Awaited<ReturnType<typeof below.lookup>>;
    try {
      reply = await below.lookup(ROOT_CALL, { loc, xdata: askingAll(undefined) });
    } catch (error) {
      // Another client was faster.
      if (isGone(error)) return true;
      throw error;
    }
    const file = files.find(base);
    if (file !== undefined) shards.forgetAll(file);
    const blockSize = blockSizeOf(reply.xdata);
    const size = Math.max(extentOf(reply.xdata)?.size ?? 0, file?.size.size ?? 0);
    if (blockSize !== undefined) {
      const last = lastBlock(size, blockSize);
      if (!(await this.#removeBlocks(base, last))) return false;
    }
    const inode = new Inode(reply.stat.gfid, reply.stat.mode & 0o170000);
    await below.unlink(ROOT_CALL, { loc: { ...loc, inode }, flags: 0 });
    log.info("blocks of a removed file are gone", { gfid: name });
    return true;
  }

  async #removeBlocks(base: Gfid, last: number): Promise<boolean> {
    const { shards } = this.#context;
    if (last > LISTED_ABOVE) return this.#remove(base, await existingBlocks(this.#context, base, this.#call));
    const blocks = Array.from({ length: last }, (_, index) => index + 1);
    if (!(await this.#remove(base, blocks))) return false;
    for (let block = last + 1, missing = 0; missing < PROBED_BEYOND; block++)
      missing = (await shards.remove(base, block, this.#call, true)) === undefined ? missing + 1 : 0;
    return true;
  }

  async #remove(base: Gfid, blocks: readonly number[]): Promise<boolean> {
    const { shards, options } = this.#context;
    this.#found += blocks.length;
    const remove = async (block: number): Promise<void> => {
      if (this.#stopped) return;
      await shards.remove(base, block, this.#call, true);
      this.#gone++;
    };
    await eachOf(blocks, remove, options()["shard-deletion-rate"]);
    return !this.#stopped;
  }

  /** False when another client has it. */
  async #lock(inode: Inode, name: string, cmd: "lock-nb" | "unlock"): Promise<boolean> {
    const { below, name: volume } = this.#context;
    try {
      await below.entrylk(this.#call, { loc: { inode }, volume, name, cmd, type: "wrlck" });
      return true;
    } catch (error) {
      if (cmd === "unlock") return true;
      if (error instanceof FopError && error.code === "EAGAIN") return false;
      throw error;
    }
  }
}
