/**
 * Times of files whose writes the kernel gathers. Such a kernel keeps mtime and ctime itself and tells them
 * with a SETATTR whenever it has written pages back, many times while a large file is written; its write-out
 * stands still until each is answered, and on a replicated volume each takes three round trips.
 *
 * They are answered at once, and the last ones go to the volume before anybody could miss them: before a
 * FLUSH, FSYNC or RELEASE of the file, or a request for its attributes, is served, and after a second in any
 * case. What a crash can lose is a second of a time stamp; the bricks stamp each write besides.
 */

import type { Clock, Timer } from "../../src/core/env.ts";
import type { Logger } from "../../src/core/log.ts";
import { FATTR } from "../dev-fuse/protocol.ts";
import type { Node } from "../nodes.ts";

const WAIT_MS = 1000;

/** Times of a file that the volume does not have yet. */
export interface PendingTimes {
  /** Of the latest, until it begins: tells the volume. */
  readonly waiting: { readonly tell: () => Promise<unknown>; readonly timer: Timer } | undefined;
  /** Those before them are being told. */
  readonly telling: Promise<unknown> | undefined;
}

/** Whether a SETATTR of these bits is the kernel's own: no system call sets these times through a handle. */
export function isOfPages(valid: number): boolean {
  return valid === (FATTR.FH | FATTR.MTIME | FATTR.CTIME);
}

export class PageTimes {
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  /** The file has new times, which `tell` brings to the volume; they replace those that wait. */
  keep(node: Node, tell: () => Promise<unknown>): void {
    const timer =
      node.pendingTimes?.waiting?.timer ?? this.#clock.after(WAIT_MS, () => void this.settleQuietly(node));
    node.pendingTimes = { waiting: { tell, timer }, telling: node.pendingTimes?.telling };
  }

  /**
   * Tells the volume, one after the other; undefined when it knows all. Rejects with what the volume says,
   * and the times are not tried again.
   */
  settle(node: Node): Promise<unknown> | undefined {
    const pending = node.pendingTimes;
    if (pending?.waiting === undefined) return pending?.telling;
    const { tell, timer } = pending.waiting;
    timer.cancel();
    const telling = pending.telling === undefined ? tell() : pending.telling.then(tell, tell);
    node.pendingTimes = { waiting: undefined, telling };
    const told = (): void => {
      if (node.pendingTimes?.telling !== telling) return;
      const { waiting } = node.pendingTimes;
      node.pendingTimes = waiting && { waiting, telling: undefined };
    };
    telling.then(told, told);
    return telling;
  }

  /** The same where nobody waits for an answer: a failure is logged. */
  async settleQuietly(node: Node): Promise<void> {
    try {
      await this.settle(node);
    } catch (error) {
      const { gfid } = node.inode;
      this.#log.warn("times that the kernel kept for a file are lost", { gfid, error: String(error) });
    }
  }
}
