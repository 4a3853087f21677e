/**
 * What goes wrong in a run: bricks that die, lose their power or stall, links that are cut or reset, disks
 * that are slow, fail or fill up, clients that die or stall; one after the other or several at once, as the
 * seed wants. `end` mends everything.
 *
 * It also tells the model when acknowledged data may be gone: what was not synced when more power went than
 * copies were left (spec translators.md 4.4: a write is on disk everywhere before its mark is cleared).
 */

import type { ErrnoName } from "../../src/core/errors.ts";
import type { Prng } from "../support/prng.ts";
import type { Cluster, SimBrick, SimClient } from "./cluster.ts";
import { type FaultClass, healthyDisk, writeBackSome } from "./disk.ts";
import type { LockModel } from "./lock-model.ts";
import type { Model } from "./model.ts";
import type { Change } from "./register.ts";
import type { Workload } from "./workload.ts";

export const FAULTS = [
  ...(["brick-kill", "brick-power", "brick-freeze", "cut", "cut-one", "reset", "disk-slow"] as const),
  ...(["disk-errors", "disk-full", "client-kill", "client-freeze", "write-back"] as const),
] as const;
export type Fault = (typeof FAULTS)[number];
type BrickFault = Exclude<Fault, "client-kill" | "client-freeze" | "write-back">;

/** What the seed decides about faults. */
export interface FaultPlan {
  readonly weights: Readonly<Record<Fault, number>>;
  /** Pause between two of them, on average. */
  readonly pauseMs: number;
  /** How long one lasts, on average. */
  readonly lastMs: number;
  /** Bricks that may be in trouble at the same time. */
  readonly bricksMax: number;
  /** Only these bricks ever get into trouble. */
  readonly bricks: readonly number[];
}

const ERRNOS: readonly ErrnoName[] = ["EIO", "ENOSPC", "EROFS", "EDQUOT", "ENOMEM", "EACCES"];
const CLASSES: readonly FaultClass[] = ["data", "read", "sync", "names", "metadata", "xattrop"];
/** A client that lives marks a lost copy in this time after it noticed, whatever else goes wrong. */
const BLAME_MS = 60_000;

export class Faults {
  readonly #cluster: Cluster;
  readonly #plan: FaultPlan;
  readonly #model: Model;
  readonly #locks: LockModel;
  readonly #workload: Workload;
  readonly #random: Prng;
  readonly #troubled = new Set<SimBrick>();
  /** Bricks that were in any trouble since the beginning. */
  readonly #touched = new Set<SimBrick>();
  readonly #undo = new Set<() => void>();
  /** Clients that ended, and when; their marks may never be cleared. */
  readonly #deaths: { readonly client: string; readonly atMs: number }[] = [];
  #stopped = false;

  constructor(
    cluster: Cluster,
    plan: FaultPlan,
    about: { model: Model; locks: LockModel; workload: Workload; random: Prng },
  ) {
    this.#cluster = cluster;
    this.#plan = plan;
    this.#model = about.model;
    this.#locks = about.locks;
    this.#workload = about.workload;
    this.#random = about.random;
  }

  async run(): Promise<void> {
    const { weights, pauseMs } = this.#plan;
    const faults = FAULTS.flatMap((fault) => Array.from({ length: weights[fault] ?? 0 }, () => fault));
    while (faults.length > 0 && !this.#stopped) {
      await this.#cluster.clock.sleep(this.#random.float() * 2 * pauseMs);
      if (!this.#stopped) this.#begin(this.#random.pick(faults));
    }
  }

  /** No more faults, and what lasts is undone. */
  end(): void {
    this.#stopped = true;
    for (const undo of [...this.#undo]) undo();
  }

  #begin(fault: Fault): void {
    if (fault === "client-kill") this.#killClient();
    else if (fault === "client-freeze") this.#freezeClient();
    else if (fault === "write-back")
      for (const { disk } of this.#cluster.bricks) writeBackSome(disk, this.#random, this.#random.float());
    else this.#onBrick(fault);
  }

  /** Begins a brick's trouble and gives the way to undo it. */
  #trouble(fault: BrickFault, brick: SimBrick): () => void {
    switch (fault) {
      case "brick-kill":
        brick.kill();
        return () => this.#restart(brick);
      case "brick-power":
        brick.powerOff();
        this.#powerLost(brick);
        return () => this.#restart(brick);
      case "brick-freeze":
        brick.freeze();
        return () => brick.thaw();
      case "cut":
        return this.#cut(brick, this.#cluster.clients);
      case "cut-one":
        return this.#cut(brick, [this.#random.pick(this.#cluster.clients)]);
      case "reset":
        return this.#reset(brick);
      case "disk-slow":
        return this.#slow(brick);
      case "disk-errors":
        return this.#failing(brick);
      case "disk-full":
        this.#note(`${brick.name}: disk full`);
        brick.faults.full = true;
        return () => this.#mendDisk(brick);
    }
  }

  #note(what: string): void {
    this.#cluster.trace.add("FAULT", what);
  }

  /** Troubles a brick that has none, for a while. */
  #onBrick(fault: BrickFault): void {
    const { bricks } = this.#cluster;
    const able = this.#plan.bricks
      .map((index) => bricks[index]!)
      .filter((brick) => !this.#troubled.has(brick));
    if (able.length === 0 || this.#troubled.size >= this.#plan.bricksMax) return;
    const brick = this.#random.pick(able);
    this.#troubled.add(brick);
    this.#touched.add(brick);
    if (!fault.startsWith("disk-")) this.#locks.disturbed(brick.name, undefined, this.#cluster.clock.nowMs());
    const undo = this.#trouble(fault, brick);
    this.#lasting(() => {
      this.#troubled.delete(brick);
      if (!fault.startsWith("disk-"))
        this.#locks.disturbed(brick.name, undefined, this.#cluster.clock.nowMs());
      undo();
    });
  }

  /** Undoes something after a while, or when the faults end. */
  #lasting(undo: () => void): void {
    const once = (): void => {
      if (!this.#undo.delete(once)) return;
      undo();
    };
    this.#undo.add(once);
    const lastMs = this.#random.float() * 2 * this.#plan.lastMs;
    this.#cluster.clock.after(lastMs, once);
  }

  #restart(brick: SimBrick): void {
    brick.start().catch((error: Error) => this.#model.fail(`${brick.name} does not start: ${error.stack}`));
  }

  #cut(brick: SimBrick, clients: readonly SimClient[]): () => void {
    const names = clients.map(({ name }) => name);
    this.#note(`${brick.name}: cut from ${names.join(", ")}`);
    for (const name of names) this.#cluster.network.cut(name, brick.name);
    return () => {
      this.#note(`${brick.name}: joined with ${names.join(", ")}`);
      for (const name of names) this.#cluster.network.mend(name, brick.name);
    };
  }

  #reset(brick: SimBrick): () => void {
    const client = this.#random.pick(this.#cluster.clients);
    this.#note(`${brick.name}: connection of ${client.name} reset`);
    this.#cluster.network.reset(client.name, brick.name);
    return () => {};
  }

  #slow(brick: SimBrick): () => void {
    brick.faults.latencyMs = this.#random.pick([20, 100, 500]);
    brick.faults.jitterMs = brick.faults.latencyMs;
    this.#note(`${brick.name}: disk takes ${brick.faults.latencyMs} ms`);
    return () => this.#mendDisk(brick);
  }

  #failing(brick: SimBrick): () => void {
    const classes = this.#random.chance(0.3) ? CLASSES : [this.#random.pick(CLASSES)];
    const code = this.#random.pick(ERRNOS);
    brick.faults.fail = { classes, share: this.#random.pick([0.1, 0.5, 1]), code };
    this.#note(`${brick.name}: ${classes.join(", ")} fail with ${code}, share ${brick.faults.fail.share}`);
    return () => this.#mendDisk(brick);
  }

  #mendDisk(brick: SimBrick): void {
    this.#note(`${brick.name}: disk is well`);
    const { latencyMs, jitterMs } = this.#cluster.plan.disk;
    Object.assign(brick.faults, healthyDisk(latencyMs, jitterMs));
  }

  #workers(): SimClient[] {
    return this.#cluster.clients.filter(({ healer, running, frozen }) => !healer && running && !frozen);
  }

  #killClient(): void {
    const able = this.#workers();
    if (able.length === 0) return;
    const client = this.#random.pick(able);
    this.#clientEnds(client);
    client.kill();
    this.#workload.abandon(client);
    this.#lasting(() => {
      if (this.#stopped) return;
      const started = client.start();
      const { graph } = client;
      started.then(
        () => client.graph === graph && this.#workload.start(client),
        (error: Error) => this.#note(`${client.name} does not start: ${error.message}`),
      );
    });
  }

  #freezeClient(): void {
    const able = this.#workers();
    if (able.length === 0) return;
    const client = this.#random.pick(able);
    // A frozen client marks nothing; what it had not marked counts as if it had died.
    this.#clientEnds(client);
    client.freeze();
    this.#lasting(() => {
      this.#locks.disturbed(undefined, client.name, this.#cluster.clock.nowMs());
      client.thaw();
    });
  }

  /**
   * A client that is gone marks no copy any more: what it wrote and did not sync may be lost with any copy
   * that lost its power a moment ago.
   */
  #clientEnds({ name }: SimClient): void {
    const atMs = this.#cluster.clock.nowMs();
    this.#locks.disturbed(undefined, name, atMs);
    this.#deaths.push({ client: name, atMs });
    this.#model.soften(
      Number.POSITIVE_INFINITY,
      (change) => change.client === name && change.softUntilMs > atMs,
    );
  }

  #powerLost(brick: SimBrick): void {
    const nowMs = this.#cluster.clock.nowMs();
    const otherTrouble = [...this.#touched].some((other) => other !== brick);
    const copies = this.#cluster.bricks.filter(({ arbiter }) => !arbiter).length;
    // With three copies two others have what one lost, unless they lost it as well.
    const gone = (change: Change): boolean => {
      if (copies === 1 || brick.arbiter) return !brick.arbiter;
      if (change.softUntilMs > 0) return true;
      if (copies === 2 && otherTrouble) return true;
      return this.#deaths.some(({ client, atMs }) => client === change.client && atMs >= change.startMs);
    };
    const unsynced = (change: Change): boolean => !brick.arbiter && !change.synced;
    this.#model.soften(Number.POSITIVE_INFINITY, (change) => unsynced(change) && gone(change));
    this.#model.soften(nowMs + BLAME_MS, unsynced);
  }
}
