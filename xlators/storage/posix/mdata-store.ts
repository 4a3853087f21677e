/**
 * mdata on disk and in memory: reads it once for an inode, moves it by the rules of core/mdata.ts, writes it
 * through.
 *
 * A write in progress takes along all changes that came before it began; changes that come meanwhile share
 * the next one. So each caller waits until its own time is on disk, and a run of stamped writes costs fewer
 * xattr writes than fops. A time that cannot be stored is logged and does not fail the fop that it belongs
 * to, as in GlusterFS.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Mdata } from "../../../src/core/dict.ts";
import { toFopError } from "../../../src/core/errors.ts";
import { gfidText } from "../../../src/core/gfid.ts";
import { KEY } from "../../../src/core/keys.ts";
import type { Logger } from "../../../src/core/log.ts";
import {
  decodeMdata,
  encodeMdata,
  type Moment,
  mdataAt,
  mergeMdata,
  ownMask,
  parentMask,
  raiseMdata,
  type TimeMask,
} from "../../../src/core/mdata.ts";
import type { InodeState, InodeStates } from "./inode-state.ts";
import { getXattr, setXattr, type Target } from "./target.ts";

interface Flush {
  /** What is being written; undefined between two writes. */
  running: Promise<void> | undefined;
  /** What begins when `running` is through. */
  next: Promise<void> | undefined;
}

const CTIME_ONLY: TimeMask = { ctime: true, mtime: false, atime: false };

export class MdataStore {
  readonly #states: InodeStates;
  readonly #log: Logger;
  readonly #flushes = new Map<string, Flush>();

  constructor(states: InodeStates, log: Logger) {
    this.#states = states;
    this.#log = log;
  }

  /** The times of an inode, from memory or from `target`; null when it has none. */
  async load(state: InodeState, target: Target): Promise<Mdata | null> {
    if (state.mdata !== undefined) return state.mdata;
    const bytes = await getXattr(target, KEY.MDATA);
    // Another caller may have read it or even changed it meanwhile; memory wins.
    if (state.mdata === undefined) state.mdata = (bytes && decodeMdata(bytes)) ?? null;
    return state.mdata;
  }

  /** Applies what a call says about the object itself; undefined (no promise) when it says nothing. */
  stamp(call: Call, state: InodeState, target: Target): Promise<void> | undefined {
    const mask = ownMask(call);
    return mask && this.stampOnly(call, state, target, mask);
  }

  /** Applies what a call says about the parent directory. */
  stampParent(call: Call, state: InodeState, target: Target): Promise<void> | undefined {
    const mask = parentMask(call);
    return mask && this.stampOnly(call, state, target, mask);
  }

  /** Applies a call's time to the given fields, whatever its flags say. */
  async stampOnly(call: Call, state: InodeState, target: Target, mask: TimeMask): Promise<void> {
    const time = call.time;
    if (time) await this.#change(state, target, (old) => (old ? raiseMdata(old, time, mask) : mdataAt(time)));
  }

  /** An explicit utimes: sets what is given, to older times too; never creates mdata. */
  async setTimes(state: InodeState, target: Target, times: Partial<Mdata>, call: Call): Promise<void> {
    await this.#change(state, target, (old) => {
      if (old === null) return null;
      const set = { ...old, ...times };
      return call.time ? raiseMdata(set, call.time, CTIME_ONLY) : set;
    });
  }

  /** An explicit ctime, as healing sets it; only forward, and only when there is mdata. */
  raiseCtime(state: InodeState, target: Target, time: Moment): Promise<void> {
    return this.#change(state, target, (old) => old && raiseMdata(old, time, CTIME_ONLY));
  }

  /**
   * Takes the later of each time; creates mdata. For healing, rebalance and files older than the ctime
   * feature.
   */
  merge(state: InodeState, target: Target, mdata: Mdata): Promise<void> {
    return this.#change(state, target, (old) => (old ? mergeMdata(old, mdata) : mdata));
  }

  async #change(
    inode: InodeState,
    target: Target,
    change: (old: Mdata | null) => Mdata | null,
  ): Promise<void> {
    const state = this.#states.hold(inode.gfid);
    try {
      await this.load(state, target);
      // Read again: while this call waited its turn another one may have moved the times.
      const changed = change(state.mdata ?? null);
      if (changed === state.mdata) return;
      state.mdata = changed;
      await this.store(state, target);
    } finally {
      this.#states.letGo(state);
    }
  }

  /** Writes the times in memory to disk. Never rejects. */
  async store(state: InodeState, target: Target): Promise<void> {
    try {
      await this.#flush(state, target);
    } catch (error) {
      // Memory must not be ahead of the disk for good.
      state.mdata = undefined;
      const { code } = toFopError(error);
      this.#log.warn("times not stored", { gfid: gfidText(state.gfid), code });
    }
  }

  /** Resolves when a write that began after this call has ended. */
  #flush(state: InodeState, target: Target): Promise<void> {
    let flush = this.#flushes.get(state.key);
    if (!flush) {
      flush = { running: undefined, next: undefined };
      this.#flushes.set(state.key, flush);
    }
    if (flush.next) return flush.next;
    if (!flush.running) return this.#write(flush, state, target);
    const write = (): Promise<void> => this.#write(flush, state, target);
    flush.next = flush.running.then(write, write);
    return flush.next;
  }

  #write(flush: Flush, state: InodeState, target: Target): Promise<void> {
    flush.next = undefined;
    if (!state.mdata) return Promise.resolve();
    const running = setXattr(target, KEY.MDATA, encodeMdata(state.mdata)).finally(() => {
      flush.running = undefined;
      if (!flush.next) this.#flushes.delete(state.key);
    });
    flush.running = running;
    return running;
  }
}
