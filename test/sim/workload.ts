/**
 * Programs that use the volume: each client writes, reads, truncates, syncs and makes holes in a few shared
 * files, and makes, renames and removes names, one call after the other with pauses; what each call did and
 * found goes to the model.
 */

import { FopError } from "../../src/core/errors.ts";
import { Acting, type ActingInit, type Counter } from "./acting.ts";
import { randomOf } from "./clock.ts";
import type { Cluster, SimClient } from "./cluster.ts";
import { Edge } from "./edge.ts";
import { FileActions } from "./file-actions.ts";
import type { LockModel } from "./lock-model.ts";
import { FileModel, type Model } from "./model.ts";
import { NameActions, SHARED } from "./name-actions.ts";

/** What the seed decides about the workload. */
export interface WorkloadPlan {
  readonly clients: number;
  readonly files: number;
  /** Calls come this close to each other, on average. */
  readonly pauseMs: number;
  readonly weights: Readonly<Record<Action, number>>;
  /** Cells that a file may have; larger files take heals of several steps. */
  readonly cells: number;
  /** Largest write, in cells. */
  readonly writeCellsMax: number;
  /** Reads ask all copies first, as a kernel whose attributes expire at once. */
  readonly freshReads: boolean;
  /** Share of the writes that ask for a sync themselves. */
  readonly dsyncShare: number;
  /** New files get contents of so many cells; absent: they stay empty. */
  readonly imageCells?: number;
}

export const ACTIONS = [
  ...(["write", "read", "truncate", "fsync", "allocate", "punch", "chmod", "setxattr", "look"] as const),
  ...(["create", "unlink", "rename", "lookup", "list", "reopen", "link", "lock", "peek", "move"] as const),
] as const;
export type Action = (typeof ACTIONS)[number];

const MODE = 0o644;

export class Workload {
  readonly #cluster: Cluster;
  readonly #plan: WorkloadPlan;
  readonly #model: Model;
  readonly #locks: LockModel;
  readonly #numbers: Counter = { next: 1 };
  readonly actors: Actor[] = [];
  #stopped = false;

  constructor(cluster: Cluster, plan: WorkloadPlan, model: Model, locks: LockModel) {
    this.#cluster = cluster;
    this.#plan = plan;
    this.#model = model;
    this.#locks = locks;
  }

  get running(): boolean {
    return this.actors.some((actor) => actor.running);
  }

  /** Makes the directories and files, while all is well. */
  async prepare(client: SimClient): Promise<void> {
    const edge = new Edge(client.graph!.top, randomOf(this.#cluster.seed, "prepare"), "prepare");
    const dirs = [SHARED, ...Array.from({ length: this.#plan.clients }, (_, i) => `own-client-${i}`)];
    for (const name of dirs) await edge.mkdir(edge.root, name, edge.newGfid());
    for (let number = 0; number < this.#plan.files; number++) {
      const name = `file-${number}`;
      await edge.create(edge.root, name, edge.newGfid());
      this.#model.files.push(new FileModel(name, number, this.#plan.cells, MODE));
    }
    await edge.closeAll();
  }

  /** A client begins to work; one that was killed before gets a new actor. */
  start(client: SimClient): void {
    const before = this.actors.filter((actor) => actor.client === client).length;
    const random = randomOf(this.#cluster.seed, `actor ${client.name} ${before}`);
    const shared = { cluster: this.#cluster, plan: this.#plan, model: this.#model, locks: this.#locks };
    const actor = new Actor(client, { ...shared, random, numbers: this.#numbers });
    this.actors.push(actor);
    actor
      .run(() => this.#stopped)
      .catch((error: Error) => {
        actor.abandon();
        this.#model.fail(`${client.name}: not an errno but a bug: ${error.stack ?? error.message}`);
      });
  }

  /** The client died: what it had under way has no answer. */
  abandon(client: SimClient): void {
    for (const actor of this.actors) if (actor.client === client) actor.abandon();
  }

  stop(): void {
    this.#stopped = true;
  }
}

/** One life of a client: its program. */
export class Actor {
  readonly client: SimClient;
  readonly #acting: Acting;
  readonly #files: FileActions;
  readonly #names: NameActions;
  running = true;
  /** When the call under way began; for whoever watches that all end. */
  busySinceMs: number | undefined;
  busyWith = "";

  constructor(client: SimClient, init: ActingInit) {
    this.client = client;
    this.#acting = new Acting(client, init);
    this.#files = new FileActions(this.#acting);
    this.#names = new NameActions(this.#acting);
  }

  abandon(): void {
    if (!this.running) return;
    this.running = false;
    this.#acting.abandon();
    this.#files.letGo();
    this.busySinceMs = undefined;
  }

  async run(stopped: () => boolean): Promise<void> {
    const { plan, random, cluster } = this.#acting;
    const actions = ACTIONS.flatMap((action) =>
      // A kept plan knows nothing of actions that came later.
      Array.from({ length: plan.weights[action] ?? 0 }, () => action),
    );
    const isOver = (): boolean => stopped() || this.#acting.abandoned;
    while (!isOver()) {
      const pauseMs = random.chance(0.3) ? 0 : random.float() * 2 * plan.pauseMs;
      await cluster.clock.sleep(pauseMs);
      if (isOver()) break;
      await this.#act(random.pick(actions));
    }
    if (this.#acting.abandoned) return;
    this.busySinceMs = cluster.clock.nowMs();
    this.busyWith = "close";
    await this.#files.closeAll();
    this.busySinceMs = undefined;
    this.running = false;
  }

  async #act(action: Action): Promise<void> {
    this.busySinceMs = this.#acting.cluster.clock.nowMs();
    this.busyWith = action;
    try {
      await this.#perform(action);
    } catch (error) {
      if (!(error instanceof FopError)) throw error;
      this.#acting.note(`${action}: ${error.code}`);
    } finally {
      this.busySinceMs = undefined;
    }
  }

  #perform(action: Action): Promise<void> {
    switch (action) {
      case "write":
      case "read":
      case "truncate":
      case "fsync":
      case "allocate":
      case "punch":
      case "chmod":
      case "setxattr":
      case "look":
      case "reopen":
      case "lock":
        return this.#files[action]();
      case "create":
      case "unlink":
      case "rename":
      case "move":
      case "lookup":
      case "list":
      case "link":
      case "peek":
        return this.#names[action]();
    }
  }
}
