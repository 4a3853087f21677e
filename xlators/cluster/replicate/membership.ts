/**
 * Which children are there, and what the layers above hear of it (spec translators.md 4.14).
 *
 * Above, a replica set is one thing: it says child-up once, when all children have reported or ten seconds
 * after parent-up with at least one of them up, and child-down when the last one went. In between a child
 * that comes or goes is some-descendent-up or -down. A child that refuses us counts as down, so that one
 * wrong brick does not take the volume away; when all that answered refuse, that is said. So does the brick
 * of another volume, by what `volume-id` says or else the first brick that tells: GlusterFS goes by the
 * latter alone.
 */

import type { Timer } from "../../../src/core/env.ts";
import type { ChildEvent } from "../../../src/core/xlator.ts";
import { type ChildSet, NO_CHILDREN, withChild } from "./child-set.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** How long children that have not reported are waited for. */
const REPORT_MS = 10_000;

export class Membership {
  readonly #set: ReplicaSet;
  readonly #tell: (event: ChildEvent) => void;
  #heard: ChildSet = NO_CHILDREN;
  /** Said child-up, and not child-down since. */
  #serving = false;
  /** Nobody is waited for any more: all reported, or time is over. */
  #settled = false;
  #timer: Timer | undefined;
  #refused: string | undefined;
  /** The volume of the first brick that told. */
  #volumeId: string | undefined;

  constructor(set: ReplicaSet, tell: (event: ChildEvent) => void) {
    this.#set = set;
    this.#tell = tell;
  }

  start(): void {
    this.#timer ??= this.#set.env.clock.after(REPORT_MS, () => this.#timeIsOver());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  childUp(child: number, volumeId?: string): void {
    const wanted = this.#set.options["volume-id"] || this.#volumeId;
    if (volumeId !== undefined && wanted !== undefined && !sameId(volumeId, wanted)) {
      this.childRefused(child, `its brick belongs to volume ${volumeId}, not to ${wanted}`);
      return;
    }
    this.#volumeId ??= volumeId;
    const isNews = this.#serving && !this.#set.isUp(child);
    this.#set.childIsUp(child);
    this.#reported(child);
    if (isNews) this.#tell({ type: "some-descendent-up" });
    else if (this.#settled) this.#announce();
  }

  childDown(child: number): void {
    const isNews = this.#serving && this.#set.isUp(child);
    if (this.#set.isUp(child)) this.#set.childIsDown(child);
    this.#reported(child);
    if (!isNews) return;
    if (this.#set.up !== NO_CHILDREN) {
      this.#tell({ type: "some-descendent-down" });
      return;
    }
    this.#serving = false;
    this.#set.log.error("all copies are down");
    this.#tell({ type: "child-down" });
  }

  childConnecting(child: number, why: string): void {
    this.#reported(child);
    if (!this.#serving) this.#tell({ type: "child-connecting", why });
  }

  childRefused(child: number, why: string): void {
    this.#refused = why;
    this.#set.log.error("a copy refuses this client", { child: this.#set.children[child]!.name, why });
    const wasSettled = this.#settled;
    this.childDown(child);
    if (wasSettled) this.#announce();
  }

  #timeIsOver(): void {
    this.#settled = true;
    this.#announce();
  }

  #reported(child: number): void {
    this.#heard = withChild(this.#heard, child);
    if (this.#settled || this.#heard !== this.#set.all) return;
    this.#settled = true;
    this.stop();
    this.#announce();
  }

  #announce(): void {
    if (this.#serving) return;
    if (this.#set.up === NO_CHILDREN) {
      if (this.#refused !== undefined) this.#tell({ type: "auth-failed", why: this.#refused });
      return;
    }
    this.#serving = true;
    this.#tell({ type: "child-up" });
  }
}

/** Ids are compared as ids: people write them in either case. */
function sameId(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}
