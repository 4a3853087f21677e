/**
 * Keeps this process from files that a mount which died has left to writers.
 *
 * A brick may lend its files to the kernel (`localFile`), which goes on writing for the programs that have
 * them open, or mapped, when this process has died and its locks with it. Before the first file is lent the
 * brick is marked with the boot that it happens in. Whoever serves a marked brick next opens a file for the
 * first time only when nobody can write it any more, and says EBUSY until then.
 *
 * Limits: glusterfsd does not know the mark. Anybody else who has a file of a marked brick open for writing
 * holds it up alike. A file system without leases (os/writers.ts) is not lent from, nor asked.
 */

import { closeSync, openSync, readFileSync } from "node:fs";
import { LRUCache } from "lru-cache";
import { FopError } from "../../../src/core/errors.ts";
import { type Gfid, gfidText } from "../../../src/core/gfid.ts";
import { WRITERS_XATTR } from "../../../src/core/keys.ts";
import type { Logger } from "../../../src/core/log.ts";
import { O_NOATIME, O_RDONLY } from "../../../src/core/open-flags.ts";
import { close, open, setXattrNow } from "../../../src/os/files.ts";
import { mayBeWritten } from "../../../src/os/writers.ts";
import { HIDDEN } from "./handle.ts";
import type { InodeState } from "./inode-state.ts";
import { getXattr } from "./target.ts";

/** Lent files that are remembered after they were closed: mappings of them may live on. */
const LENT_MAX = 65536;
/** The kernel's word for this boot: what wrote before it is gone. */
const BOOT_ID = "/proc/sys/kernel/random/boot_id";

export class Fence {
  readonly #hidden: string;
  readonly #log: Logger;
  readonly #boot = readFileSync(BOOT_ID, "latin1").trim();
  /** Files that this process lent, by gfidKey: who may write them came through here. */
  readonly #lent = new LRUCache<string, true>({ max: LENT_MAX });
  readonly #looking = new Map<string, Promise<void>>();
  /** A process before this one lent files. */
  #armed = false;
  /** Whether this one may: undefined until it was tried. */
  #lends: boolean | undefined;

  constructor(base: string, log: Logger) {
    this.#hidden = `${base}/${HIDDEN}`;
    this.#log = log;
  }

  /** Looks for the mark; to be called before any file is opened. */
  async start(): Promise<void> {
    const mark = await getXattr(this.#hidden, WRITERS_XATTR);
    this.#armed = mark?.toString() === this.#boot;
  }

  /** Whether `pass` may have anything to say. */
  get isArmed(): boolean {
    return this.#armed;
  }

  /**
   * To be called before a file is opened or cut by its path; `osPath` leads to it. Rejects with EBUSY while
   * another process may write it. Undefined (no promise) when that is out of the question.
   */
  pass(state: InodeState, osPath: string): Promise<void> | undefined {
    if (!this.#armed || state.sole || this.#lent.has(state.key)) return undefined;
    // One look for all who come at the same time: the first to open the file would be in the others' way.
    let looking = this.#looking.get(state.key);
    if (looking === undefined) {
      looking = this.#look(state, osPath).finally(() => this.#looking.delete(state.key));
      this.#looking.set(state.key, looking);
    }
    return looking;
  }

  /**
   * Whether the kernel may be given an open file. Marks the brick; that one xattr is written at once, since
   * the answer cannot wait.
   */
  lend(state: InodeState, osFd: number): boolean {
    this.#lends ??= this.#prepare(osFd);
    if (this.#lends) this.#lent.set(state.key, true);
    return this.#lends;
  }

  async #look(state: InodeState, osPath: string): Promise<void> {
    const osFd = await open(osPath, O_RDONLY | O_NOATIME);
    try {
      if (mayBeWritten(osFd)) throw this.#busy(state.gfid);
      state.sole = true;
    } finally {
      await close(osFd);
    }
  }

  #busy(gfid: Gfid): FopError {
    this.#log.warn(
      "a program that opened this file through a mount that died can still write it; the file can be " +
        "opened when that program has closed it or ended",
      { gfid: gfidText(gfid) },
    );
    return new FopError("EBUSY", { fop: "open", message: "open: a program of a dead mount can write it" });
  }

  #prepare(osFd: number): boolean {
    try {
      // Can the next process ask? Any answer will do.
      const again = openSync(`/proc/self/fd/${osFd}`, O_RDONLY);
      try {
        mayBeWritten(again);
      } finally {
        closeSync(again);
      }
      setXattrNow(this.#hidden, WRITERS_XATTR, Buffer.from(this.#boot));
      return true;
    } catch (error) {
      this.#log.info("the kernel is not given files: they could not be fenced", {
        error: String(error),
      });
      return false;
    }
  }
}
