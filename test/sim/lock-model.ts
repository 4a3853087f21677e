/**
 * Who holds which fcntl lock, as the programs believe, and when two of them may not both believe it.
 *
 * Bricks keep locks for a connection: whoever loses one loses the locks there and is not told. A second
 * holder is therefore wrong only while a quorum of bricks has not been cut off from the first one since a
 * while before it got its lock.
 */

import type { Model } from "./model.ts";

/** A broken connection may be noticed so late (keepalive of network.ts, ping timeouts). */
const NOTICED_MS = 60_000;

export interface Hold {
  readonly client: string;
  /** File and byte. */
  readonly place: string;
  /** When it was asked for. */
  readonly sinceMs: number;
}

/** Something that may have broken connections: of one brick or of all, to one client or to all. */
interface Disturbance {
  readonly brick: string | undefined;
  readonly client: string | undefined;
  readonly atMs: number;
}

export class LockModel {
  readonly #model: Model;
  readonly #bricks: readonly string[];
  readonly #quorum: number;
  readonly #holds = new Set<Hold>();
  readonly #disturbances: Disturbance[] = [];

  constructor(model: Model, bricks: readonly string[]) {
    this.#model = model;
    this.#bricks = bricks;
    this.#quorum = Math.floor(bricks.length / 2) + 1;
  }

  disturbed(brick: string | undefined, client: string | undefined, atMs: number): void {
    this.#disturbances.push({ brick, client, atMs });
  }

  /** A client was told that it has the lock. */
  granted(hold: Hold): void {
    this.#model.checks++;
    for (const other of this.#holds)
      if (other.place === hold.place && other.client !== hold.client && this.#isSound(other))
        this.#model.fail(`${hold.client} got the lock of ${hold.place} that ${other.client} holds`);
    this.#holds.add(hold);
  }

  /** To be called before it is given back. */
  released(hold: Hold): void {
    this.#holds.delete(hold);
  }

  #isSound({ client, sinceMs }: Hold): boolean {
    const sound = this.#bricks.filter(
      (brick) =>
        !this.#disturbances.some(
          (one) =>
            one.atMs > sinceMs - NOTICED_MS &&
            (one.brick ?? brick) === brick &&
            (one.client ?? client) === client,
        ),
    );
    return sound.length >= this.#quorum;
  }
}
