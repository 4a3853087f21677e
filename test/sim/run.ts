/**
 * One simulated run, from its seed to its verdict: start, work under faults, mend, heal, compare.
 *
 * Safety is judged all the time: what reads return. Liveness at the end: faults are over and the daemons
 * crawl (the index, and if that is not enough everything), so within HEAL_MS of virtual time copies are
 * equal, marks zero, index and heal info empty. When all clients have stopped nothing is locked, open or
 * without an answer.
 */

import type { XlatorBase } from "../../src/core/xlator.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { SetHealer } from "../../xlators/cluster/replicate/crawl/set-healer.ts";
import { Replicate } from "../../xlators/cluster/replicate/replicate.ts";
import { Shard } from "../../xlators/features/shard/shard.ts";
import { randomOf } from "./clock.ts";
import { Cluster, type Sabotage, type SimClient } from "./cluster.ts";
import {
  blocksLeft,
  callsLeft,
  differences,
  healInfo,
  indexLeft,
  judgeDisks,
  locksHeld,
  lockTables,
  miscounts,
  openFiles,
} from "./copies.ts";
import { Edge } from "./edge.ts";
import { Faults } from "./faults.ts";
import { Guard } from "./guard.ts";
import { LockModel } from "./lock-model.ts";
import { Model } from "./model.ts";
import { isCalm, type Plan, planOf } from "./plan.ts";
import { Workload } from "./workload.ts";

/** Every call ends within this time, faults or not: it is longer than all timeouts together. */
const CALL_MS = 300_000;
/** How long after the last fault copies may differ. */
const HEAL_MS = 180_000;
const START_MS = 30_000;
/** So many rounds of healing lie between two looks for blocks of removed files. */
const SWEEP_EVERY = 4;
/** A marks-and-locks check of a calm run waits for delayed post-ops. */
const CALM_MS = 5_000;

export interface RunOptions {
  /** Keep the whole history, with every fop of every brick. */
  readonly wholeTrace?: boolean;
  readonly sabotage?: Sabotage;
  readonly plan?: Plan;
}

export interface RunResult {
  readonly seed: number;
  readonly plan: Plan;
  /** Empty when all was well. */
  readonly violations: readonly string[];
  readonly history: readonly string[];
  /** Equal for equal histories. */
  readonly digest: string;
  readonly virtualMs: number;
  readonly events: number;
  readonly checks: number;
}

export async function runSeed(seed: number, options: RunOptions = {}): Promise<RunResult> {
  const plan = options.plan ?? planOf(seed);
  const { sabotage, wholeTrace = false } = options;
  const cluster = new Cluster({ seed, plan: plan.cluster, wholeTrace, ...(sabotage ? { sabotage } : {}) });
  const model = new Model(() => cluster.clock.nowMs(), cluster.trace);
  using guard = new Guard(randomOf(seed, "gfids"));
  const run = new Run(cluster, plan, model);
  try {
    await run.whole();
  } catch (error) {
    model.fail(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  for (const breach of guard.breaches) model.fail(`the run left the simulation: ${breach}`);
  for (const { message, fields } of cluster.trace.errors)
    if (fields.error !== undefined) model.fail(`a bug was logged: ${message}: ${stackOf(fields.error)}`);
  return {
    seed,
    plan,
    violations: model.violations,
    history: cluster.trace.lines,
    digest: cluster.trace.digest,
    virtualMs: cluster.clock.nowMs(),
    events: cluster.clock.events,
    checks: model.checks,
  };
}

class Run {
  readonly #cluster: Cluster;
  readonly #plan: Plan;
  readonly #model: Model;
  readonly #workload: Workload;
  readonly #faults: Faults;
  readonly #healers: { readonly client: SimClient; readonly healer: SetHealer | undefined }[] = [];

  constructor(cluster: Cluster, plan: Plan, model: Model) {
    this.#cluster = cluster;
    this.#plan = plan;
    this.#model = model;
    const locks = new LockModel(
      model,
      cluster.bricks.map(({ name }) => name),
    );
    this.#workload = new Workload(cluster, plan.workload, model, locks);
    const random = randomOf(plan.seed, "faults");
    this.#faults = new Faults(cluster, plan.faults, { model, locks, workload: this.#workload, random });
  }

  async whole(): Promise<void> {
    await this.#start();
    await this.#work();
    if (this.#model.violations.length > 0) return;
    await this.#mend();
    if (this.#model.violations.length > 0) return;
    await this.#heal();
  }

  async #start(): Promise<void> {
    const cluster = this.#cluster;
    for (const brick of cluster.bricks) await cluster.until(brick.start(), START_MS, `${brick.name} starts`);
    for (let i = 0; i < this.#plan.workload.clients; i++) {
      const client = cluster.client(`client-${i}`);
      await cluster.until(client.start(), START_MS, `${client.name} starts`);
    }
    await cluster.until(this.#workload.prepare(cluster.clients[0]!), START_MS, "the first files are made");
    for (let i = 0; i < this.#plan.healers; i++) await this.#startHealer(`healer-${i}`);
  }

  async #startHealer(name: string): Promise<void> {
    const cluster = this.#cluster;
    const client = cluster.client(name, true);
    await cluster.until(client.start(), START_MS, `${name} starts`);
    const set = replicateOf(client.graph!.top)?.set;
    const healer = set && new SetHealer(set);
    healer?.start();
    this.#healers.push({ client, healer });
  }

  async #work(): Promise<void> {
    const { clock, clients } = this.#cluster;
    for (const client of clients) if (!client.healer) this.#workload.start(client);
    const faults = this.#faults.run();
    faults.catch((error: Error) => this.#model.fail(`the faults failed: ${error.stack}`));
    const failed = (): boolean => this.#model.violations.length > 0;
    await clock.run(() => failed() || this.#stuck(), clock.nowMs() + this.#plan.workMs);
  }

  /** True when a call does not end; then that has been told. */
  #stuck(): boolean {
    const now = this.#cluster.clock.nowMs();
    for (const { client, busySinceMs, busyWith } of this.#workload.actors) {
      if (busySinceMs === undefined || client.frozen || now - busySinceMs < CALL_MS) continue;
      this.#model.fail(`${client.name}: ${busyWith} has not ended after ${CALL_MS / 1000} s`);
      return true;
    }
    return false;
  }

  async #mend(): Promise<void> {
    const { clock, trace } = this.#cluster;
    trace.add("", "the faults are over");
    this.#faults.end();
    this.#workload.stop();
    await clock.run(() => !this.#workload.running || this.#stuck(), clock.nowMs() + 2 * CALL_MS);
    if (this.#workload.running && this.#model.violations.length === 0)
      this.#model.fail("the clients do not come to an end");
    trace.add("", "the clients are done");
    if (isCalm(this.#plan)) {
      await this.#cluster.pass(CALM_MS);
      for (const what of differences(this.#cluster)) this.#model.fail(`nothing went wrong, and yet ${what}`);
    }
  }

  async #heal(): Promise<void> {
    const cluster = this.#cluster;
    if (!this.#plan.cluster.replicate) {
      await this.#sweep();
      return this.#finish();
    }
    if (this.#healers.length === 0) await this.#startHealer("healer-last");
    const deadlineMs = cluster.clock.nowMs() + HEAL_MS;
    let found = await this.#unhealed();
    for (let round = 0; found.length > 0 && cluster.clock.nowMs() < deadlineMs; round++) {
      for (const { healer } of this.#healers) healer?.wake();
      // What a client that died left of a call with all copies at hand is marked nowhere: a walk finds it.
      if (round === 3) void this.#healers[0]!.healer?.full();
      await cluster.pass(10_000);
      if (round % SWEEP_EVERY === 1) await this.#sweep();
      found = await this.#unhealed();
    }
    for (const what of found) this.#model.fail(`not healed: ${what}`);
    await this.#finish();
  }

  async #unhealed(): Promise<string[]> {
    const cluster = this.#cluster;
    const found = [...differences(cluster), ...openFiles(cluster), ...blocksLeft(cluster)];
    found.push(...(await cluster.until(locksHeld(cluster), START_MS, "locks are counted")));
    found.push(...(await cluster.until(indexLeft(cluster), START_MS, "the index is read")));
    const set = replicateOf(this.#healers[0]!.client.graph!.top)?.set;
    if (set) found.push(...(await cluster.until(healInfo(set), START_MS, "heal info")));
    return found;
  }

  /** A new client comes, removes what is left of removed files, and goes; not what others are removing. */
  async #sweep(): Promise<void> {
    const cluster = this.#cluster;
    if (!cluster.plan.stack?.shard) return;
    for (const { name, running, graph } of cluster.clients)
      if (running && graph) await cluster.until(removalsDone(graph), CALL_MS, `${name} has removed blocks`);
    const client = cluster.client(`sweeper-${cluster.clients.length}`);
    await cluster.until(client.start(), START_MS, `${client.name} starts`);
    const edge = new Edge(client.graph!.top, randomOf(this.#plan.seed, client.name), client.name);
    await cluster.until(edge.refresh(edge.root), START_MS, "the sweeper looks at the root");
    await cluster.until(removalsDone(client.graph!), START_MS, "the sweeper is done");
    await cluster.until(client.stop(), START_MS, "the sweeper stops");
  }

  async #finish(): Promise<void> {
    const cluster = this.#cluster;
    if (!cluster.plan.replicate) for (const what of blocksLeft(cluster)) this.#model.fail(what);
    // Counts are sums of what clients saw change. One that dies between a write and its sum takes that along,
    // and so does a copy that counted and was lost: GlusterFS' clients lose those too.
    if (isCalm(this.#plan)) for (const what of miscounts(cluster)) this.#model.fail(what);
    if (this.#model.violations.length === 0) judgeDisks(cluster, this.#model);
    const stopped = Promise.all(cluster.clients.map((client) => client.stop()));
    await cluster.until(stopped, START_MS, "the clients stop");
    await cluster.pass(CALM_MS);
    if (this.#model.violations.length > 0) return;
    for (const what of [...callsLeft(cluster), ...lockTables(cluster), ...openFiles(cluster)])
      this.#model.fail(`after the end: ${what}`);
  }
}

async function removalsDone({ xlators }: Graph): Promise<void> {
  await xlators.find((xlator) => xlator instanceof Shard)?.removalsDone();
}

/** The replicate translator of a graph. */
export function replicateOf(top: XlatorBase): Replicate | undefined {
  if (top instanceof Replicate) return top;
  for (const child of top.children) {
    const found = replicateOf(child);
    if (found) return found;
  }
  return undefined;
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
