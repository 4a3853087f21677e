/**
 * Who may work on a file's blocks: many that keep them, or one that takes blocks away (truncate). Those that
 * wait are served in the order of arrival, so that nobody waits for ever.
 */

import { Deferred } from "../../../src/core/concurrency.ts";

export class Gate {
  #shared = 0;
  #exclusive = false;
  readonly #waiting: { readonly exclusive: boolean; readonly turn: Deferred<void> }[] = [];

  /** Enters beside others at once, when that is possible. */
  tryEnter(): boolean {
    if (this.#exclusive || this.#waiting.length > 0) return false;
    this.#shared++;
    return true;
  }

  async enter(): Promise<void> {
    if (!this.tryEnter()) await this.#wait(false);
  }

  leave(): void {
    this.#shared--;
    this.#next();
  }

  /** Runs `task` alone. */
  async alone<R>(task: () => Promise<R>): Promise<R> {
    if (this.#exclusive || this.#shared > 0 || this.#waiting.length > 0) await this.#wait(true);
    else this.#exclusive = true;
    try {
      return await task();
    } finally {
      this.#exclusive = false;
      this.#next();
    }
  }

  /** Whoever lets a waiter in has counted it already. */
  #wait(exclusive: boolean): Promise<void> {
    const turn = new Deferred<void>();
    this.#waiting.push({ exclusive, turn });
    return turn.promise;
  }

  #next(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (this.#exclusive || (first.exclusive && this.#shared > 0)) return;
      this.#waiting.shift();
      if (first.exclusive) this.#exclusive = true;
      else this.#shared++;
      first.turn.resolve();
    }
  }
}
