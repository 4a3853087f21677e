/**
 * Times of reads and writes: in memory at once, in the xattr later, where GlusterFS writes it in each write.
 * An xattr costs a small write as much as its data, and a block file of a large image is hardly ever written
 * twice within a second.
 *
 * Promises: times are on disk before the reply of flush, of fsync (not fdatasync) and of the last release,
 * and before an fd of the file is closed; soon after a client has left; else from OPENED_MS or UNOPENED_MS
 * on. One file after the other, so that requests hardly notice.
 *
 * Limits: a brick that is killed may lose the times (never the data) of that long. So does one that loses its
 * power with GlusterFS: 5 s by ext4's journal, 30 s of data that nobody synced.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Env, Timer } from "../../../src/core/env.ts";
import { mdataAt, ownMask, raiseMdata } from "../../../src/core/mdata.ts";
import type { InodeState } from "./inode-state.ts";
import type { MdataStore } from "./mdata-store.ts";
import type { OpenFile, OpenFiles } from "./open-files.ts";

/** Of a file that a client has open. */
const OPENED_MS = 1000;
/**
 * Of a file that is reached by its gfid alone: a block of an image, which shows the times of its base file.
 * As long as the kernel holds back data.
 */
const UNOPENED_MS = 30_000;
/** Files written at a time when all are to be. */
const PARALLEL = 4;

interface Owed {
  /** In use until the times are written, so that its OS fd stays open. */
  readonly file: OpenFile;
  readonly dueMs: number;
}

export class LazyTimes {
  readonly #mdata: MdataStore;
  readonly #files: OpenFiles;
  readonly #opened: Queue;
  readonly #unopened: Queue;

  constructor(mdata: MdataStore, files: OpenFiles, env: Env) {
    this.#mdata = mdata;
    this.#files = files;
    const write = (state: InodeState): Promise<void> => this.settle(state);
    this.#opened = new Queue(env, OPENED_MS, write);
    this.#unopened = new Queue(env, UNOPENED_MS, write);
    files.onClosing = ({ state }) => void this.settle(state);
  }

  /** Files whose times are not on disk yet. */
  get size(): number {
    return this.#opened.size + this.#unopened.size;
  }

  /**
   * Gives the file the times of the call. The caller uses the file; a promise only when they must be read
   * first.
   */
  stamp(call: Call, file: OpenFile): Promise<void> | undefined {
    const { time } = call;
    const mask = ownMask(call);
    if (!mask || !time) return undefined;
    const { state } = file;
    if (state.mdata === undefined) return this.#mdata.stamp(call, state, file.osFd);
    const changed = state.mdata === null ? mdataAt(time) : raiseMdata(state.mdata, time, mask);
    if (changed === state.mdata) return undefined;
    state.mdata = changed;
    this.#owe(state, file);
    return undefined;
  }

  /** Writes what is still only in memory of an inode; of one that is gone nothing is written. */
  async settle(state: InodeState): Promise<void> {
    const owed = this.#opened.take(state) ?? this.#unopened.take(state);
    if (!owed) return;
    try {
      if (!state.removed) await this.#mdata.store(state, owed.file.osFd);
    } finally {
      this.#files.leave(owed.file);
    }
  }

  /** Writes what there is, beside other work; not waited for. */
  hurry(): void {
    this.#opened.hurry();
    this.#unopened.hurry();
  }

  /** Resolves when all is written. */
  async settleAll(): Promise<void> {
    const states = [...this.#opened.states(), ...this.#unopened.states()];
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < states.length) await this.settle(states[next++]!);
    };
    await Promise.all(Array.from({ length: PARALLEL }, work));
  }

  #owe(state: InodeState, file: OpenFile): void {
    if (this.#opened.has(state)) return;
    if (file.anonymous) {
      if (this.#unopened.has(state)) return;
      file.users++;
      this.#unopened.add(state, file);
      return;
    }
    // An fd is enough; the other may be of use to nobody any more.
    const owed = this.#unopened.take(state);
    if (!owed) file.users++;
    this.#opened.add(state, owed?.file ?? file);
  }
}

/** Files that wait equally long, so that the first that came is due first; one timer for all. */
class Queue {
  readonly #env: Env;
  readonly #delayMs: number;
  readonly #write: (state: InodeState) => Promise<void>;
  readonly #owed = new Map<InodeState, Owed>();
  #timer: Timer | undefined;
  #isWriting = false;
  /** Those that came until then are due. */
  #hurriedMs = Number.NEGATIVE_INFINITY;

  constructor(env: Env, delayMs: number, write: (state: InodeState) => Promise<void>) {
    this.#env = env;
    this.#delayMs = delayMs;
    this.#write = write;
  }

  get size(): number {
    return this.#owed.size;
  }

  states(): Iterable<InodeState> {
    return this.#owed.keys();
  }

  has(state: InodeState): boolean {
    return this.#owed.has(state);
  }

  add(state: InodeState, file: OpenFile): void {
    this.#owed.set(state, { file, dueMs: this.#env.clock.nowMs() + this.#delayMs });
    this.#watch();
  }

  /** It is written by the caller. */
  take(state: InodeState): Owed | undefined {
    const owed = this.#owed.get(state);
    if (owed === undefined) return undefined;
    this.#owed.delete(state);
    if (this.#owed.size === 0) this.#stopWatching();
    return owed;
  }

  hurry(): void {
    this.#hurriedMs = this.#env.clock.nowMs() + this.#delayMs;
    this.#stopWatching();
    this.#watch();
  }

  #stopWatching(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #watch(): void {
    if (this.#timer !== undefined || this.#isWriting) return;
    const first = this.#owed.entries().next().value;
    if (first === undefined) return;
    const { dueMs } = first[1];
    const waitMs = dueMs <= this.#hurriedMs ? 0 : dueMs - this.#env.clock.nowMs();
    this.#timer = this.#env.clock.after(waitMs, () => {
      this.#timer = undefined;
      void this.#writeDue();
    });
  }

  async #writeDue(): Promise<void> {
    this.#isWriting = true;
    for (const [state, { dueMs }] of this.#owed) {
      if (dueMs > Math.max(this.#env.clock.nowMs(), this.#hurriedMs)) break;
      await this.#write(state);
    }
    this.#isWriting = false;
    this.#watch();
  }
}
