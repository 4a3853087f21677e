/**
 * Which children are there, and what the layers above hear of it (spec translators.md 4.14).
 *
 * Above, a replica set is one thing: it says child-up once, when all children have reported or ten seconds
 * after parent-up with at least one of them up, and child-down when the last one went. In between a child
 * that comes or goes is some-descendent-up or -down. A child that refuses us counts as down, so that one
 * wrong brick does not take the volume away; when those that are left can never be a quorum, a start is told
 * so (whoever serves already goes on waiting). So does the brick of another volume, by what `volume-id` says
 * or else the first brick that tells (GlusterFS goes by the latter alone), and one that is another copy than
 * its place in the volfile says.
 */

import type { Timer } from "../../../src/core/env.ts";
import type { ChildEvent } from "../../../src/core/xlator.ts";
import { type ChildSet, NO_CHILDREN, withChild, withoutChild } from "./child-set.ts";
import { misplaced } from "./places.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** How long children that have not reported are waited for. */
const REPORT_MS = 10_000;

export class Membership {
  readonly #set: ReplicaSet;
  readonly #tell: (event: ChildEvent) => void;
  #heard: ChildSet = NO_CHILDREN;
  /** Said child-up, and not child-down since. */
  #serving = false;
  #hasServed = false;
  /** Nobody is waited for any more: all reported, or time is over. */
  #settled = false;
  #timer: Timer | undefined;
  /** Children that may not be used, and why the last of them may not. */
  #refused: ChildSet = NO_CHILDREN;
  #whyRefused = "";
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

  /** `told`: what the brick says of itself. */
  childUp(child: number, told: { readonly volumeId?: string; readonly brickId?: string } = {}): void {
    const { volumeId } = told;
    const wanted = this.#set.options["volume-id"] || this.#volumeId;
    if (volumeId !== undefined && wanted !== undefined && !sameId(volumeId, wanted)) {
      this.childRefused(child, `its brick belongs to volume ${volumeId}, not to ${wanted}`);
      return;
    }
    const why = misplaced(this.#set, child, told.brickId);
    if (why !== undefined) {
      this.childRefused(child, why);
      return;
    }
    this.#refused = withoutChild(this.#refused, child);
    this.#volumeId ??= volumeId;
    const isNews = this.#serving && !this.#set.isUp(child);
    const wasSettled = this.#settled;
    this.#set.childIsUp(child);
    this.#reported(child);
    if (isNews) this.#tell({ type: "some-descendent-up" });
    else if (wasSettled) this.#announce();
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
    this.#refused = withChild(this.#refused, child);
    this.#whyRefused = why;
    this.#set.log.error("a copy cannot be used", { child: this.#set.children[child]!.name, why });
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
    if (this.#isHopeless() && !this.#hasServed) {
      this.#tell({ type: "auth-failed", why: this.#whyRefused });
      return;
    }
    if (this.#set.up === NO_CHILDREN) return;
    this.#serving = true;
    this.#hasServed = true;
    this.#tell({ type: "child-up" });
  }

  /** Whether the children that may be used cannot be enough. */
  #isHopeless(): boolean {
    if (this.#refused === NO_CHILDREN) return false;
    const usable = this.#set.all & ~this.#refused;
    return usable === NO_CHILDREN || !this.#set.hasQuorum(usable);
  }
}

/** Ids are compared as ids: people write them in either case. */
function sameId(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}
