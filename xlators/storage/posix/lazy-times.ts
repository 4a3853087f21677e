/**
 * Times of reads and writes reach the disk a moment later than the reply: in memory at once, in the xattr
 * after at most DELAY_MS, and before the reply of flush, of fsync (not fdatasync) and of the last release. An
 * xattr write for each write of a stamped client would double the latency of small writes.
 *
 * Limits: a brick that is killed may lose the times (never the data) of writes of the last DELAY_MS.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Env, Timer } from "../../../src/core/env.ts";
import { mdataAt, ownMask, raiseMdata } from "../../../src/core/mdata.ts";
import type { InodeState } from "./inode-state.ts";
import type { MdataStore } from "./mdata-store.ts";
import type { OpenFile, OpenFiles } from "./open-files.ts";

const DELAY_MS = 100;

interface Pending {
  /** In use until the times are written, so that its OS fd stays open. */
  readonly file: OpenFile;
  readonly timer: Timer;
}

export class LazyTimes {
  readonly #mdata: MdataStore;
  readonly #files: OpenFiles;
  readonly #env: Env;
  readonly #pending = new Map<InodeState, Pending>();

  constructor(mdata: MdataStore, files: OpenFiles, env: Env) {
    this.#mdata = mdata;
    this.#files = files;
    this.#env = env;
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
    if (!this.#pending.has(state)) {
      file.users++;
      const timer = this.#env.clock.after(DELAY_MS, () => void this.settle(state));
      this.#pending.set(state, { file, timer });
    }
    return undefined;
  }

  /** Writes what is still only in memory of an inode. */
  async settle(state: InodeState): Promise<void> {
    const pending = this.#pending.get(state);
    if (!pending) return;
    this.#pending.delete(state);
    pending.timer.cancel();
    try {
      await this.#mdata.store(state, pending.file.osFd);
    } finally {
      this.#files.leave(pending.file);
    }
  }

  async settleAll(): Promise<void> {
    await Promise.all([...this.#pending.keys()].map((state) => this.settle(state)));
  }
}
