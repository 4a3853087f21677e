/**
 * Which children are there, and what the layers above hear of it (GlusterFS dht_notify).
 *
 * Above, a distribute is one thing: it says child-up once, when all children have reported and one of them is
 * up, and child-down when the last one went; in between a child that comes or goes is some-descendent-up or
 * -down. With assert-no-child-down it is up only while all are.
 */

import type { ChildEvent } from "../../../src/core/xlator.ts";
import type { SubvolumeSet } from "./subvolume-set.ts";

export class Membership {
  readonly #set: SubvolumeSet;
  readonly #tell: (event: ChildEvent) => void;
  readonly #reported: boolean[];
  /** Said child-up, and not child-down since. */
  #serving = false;
  #refused: string | undefined;
  /** Children that go now go because this end does. */
  #isStopping = false;

  constructor(set: SubvolumeSet, tell: (event: ChildEvent) => void) {
    this.#set = set;
    this.#tell = tell;
    this.#reported = set.all.map(() => false);
  }

  start(): void {
    this.#isStopping = false;
  }

  stop(): void {
    this.#isStopping = true;
  }

  childUp(child: number): void {
    const isNews = !this.#set.isUp(child);
    this.#set.childIsUp(child);
    this.#reported[child] = true;
    if (this.#serving && isNews) this.#tell({ type: "some-descendent-up" });
    else this.#announce();
  }

  childDown(child: number): void {
    const isNews = this.#set.isUp(child);
    this.#set.childIsDown(child);
    this.#reported[child] = true;
    if (!this.#serving) this.#announce();
    else if (isNews) this.#lost();
  }

  childConnecting(child: number, why: string): void {
    this.#reported[child] = true;
    if (this.#serving) return;
    this.#tell({ type: "child-connecting", why });
    this.#announce();
  }

  childRefused(child: number, why: string): void {
    this.#refused = why;
    this.#set.log.error("a subvolume refuses this client", { child: this.#set.names[child], why });
    this.childDown(child);
  }

  #lost(): void {
    if (this.#canServe()) {
      this.#tell({ type: "some-descendent-down" });
      return;
    }
    this.#serving = false;
    if (!this.#isStopping)
      this.#set.log.error(this.#set.upCount === 0 ? "all subvolumes are down" : "a subvolume is down");
    this.#tell({ type: "child-down" });
  }

  #announce(): void {
    if (this.#serving || !this.#reported.every((one) => one)) return;
    if (this.#canServe()) {
      this.#serving = true;
      this.#tell({ type: "child-up" });
    } else if (this.#refused !== undefined && this.#set.upCount === 0) {
      this.#tell({ type: "auth-failed", why: this.#refused });
    }
  }

  #canServe(): boolean {
    return this.#set.options["assert-no-child-down"] ? this.#set.allUp : this.#set.upCount > 0;
  }
}
