/**
 * A volume on simulated machines: bricks with their disks, clients over them, one clock, one network.
 * Machines are started, stopped, killed and frozen here; what is done with them is the workload's and the
 * faults' business.
 */

import { UserError } from "../../src/core/errors.ts";
import type { XlatorBase, XlatorDefinition } from "../../src/core/xlator.ts";
import { buildGraph, type Graph } from "../../src/graph/graph.ts";
import { parseVolfile } from "../../src/graph/volfile.ts";
import { indexOn } from "../../xlators/features/index/index-xlator.ts";
import { MemoryIndexStore } from "../../xlators/features/index/memory-store.ts";
import { clientOver } from "../../xlators/protocol/client.ts";
import { serverOver } from "../../xlators/protocol/server.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { MemoryDisk } from "../../xlators/storage/memory/disk.ts";
import { memoryOn } from "../../xlators/storage/memory.ts";
import type { Layer } from "../support/build-graph.ts";
import type { Prng } from "../support/prng.ts";
import { sectionOf } from "../support/volfiles.ts";
import { clientGraph, type StackPlan, VOLUME } from "./client-graph.ts";
import { NodeEnv, randomOf, SimClock } from "./clock.ts";
import { type DiskFaults, diskOver, healthyDisk, losePower } from "./disk.ts";
import { type InFlight, inFlightOver } from "./in-flight.ts";
import { type Delays, type NetNode, SimNetwork } from "./network.ts";
import { Trace } from "./trace.ts";

const PORT_BASE = 49152;

/** What a cluster is made of. */
export interface ClusterPlan {
  readonly bricks: number;
  /** The last brick is an arbiter. */
  readonly arbiter: boolean;
  /** Without replicate clients use the only brick as it is. */
  readonly replicate: boolean;
  /** Options of cluster/replicate. */
  readonly options: Readonly<Record<string, string>>;
  readonly pingTimeoutSec: number;
  readonly network: Delays;
  readonly disk: { readonly latencyMs: number; readonly jitterMs: number };
  /** Wall clocks differ by up to this much. */
  readonly skewMs: number;
  /** What clients have over replicate; absent: features/utime alone. */
  readonly stack?: StackPlan;
}

/** Deliberate bugs: where they sit in the graphs (mutants.ts). */
export interface Sabotage {
  /** Layers between storage (with its disk) and the rest of the brick. */
  readonly brick?: readonly XlatorDefinition[];
  /** Layers between replicate (or the top) and each protocol/client. */
  readonly client?: readonly XlatorDefinition[];
  /** The same for heal daemons; those of clients when absent. */
  readonly healer?: readonly XlatorDefinition[];
  /** The same between features/shard (or what would be above it) and what is below. */
  readonly belowShard?: readonly XlatorDefinition[];
  /** The same between performance/write-behind and what is below. */
  readonly belowWriteBehind?: readonly XlatorDefinition[];
  /** Over everything that a client has. */
  readonly aboveAll?: readonly XlatorDefinition[];
  /** Changes a client's graph once it is built. */
  readonly onClient?: (graph: Graph) => void;
}

/** A machine: an Env and a place in the network that go when it does, and what it runs. */
abstract class Machine {
  readonly name: string;
  protected readonly cluster: Cluster;
  protected env: NodeEnv | undefined;
  node: NetNode | undefined;
  graph: Graph | undefined;
  #starts = 0;

  constructor(cluster: Cluster, name: string) {
    this.cluster = cluster;
    this.name = name;
  }

  get running(): boolean {
    return this.env !== undefined;
  }

  get frozen(): boolean {
    return this.env?.frozen ?? false;
  }

  /** The Env of a new life. */
  protected begin(): NodeEnv {
    const { clock, seed, trace } = this.cluster;
    const skewMs = this.cluster.skewOf(this.name);
    const name = this.name;
    this.env = new NodeEnv({ name, clock, seed: seed + this.#starts++ * 7919, trace, skewMs });
    this.node = this.cluster.network.node(name);
    return this.env;
  }

  /** Ends at once; nothing it had begun goes on. `silently`: with its machine, and nobody is told. */
  protected end(silently: boolean): void {
    this.env?.stop();
    this.node?.end(silently);
    this.env = undefined;
    this.graph = undefined;
  }

  freeze(): void {
    this.cluster.trace.add(this.name, "frozen");
    this.env?.freeze();
    this.node?.freeze();
  }

  thaw(): void {
    this.cluster.trace.add(this.name, "thawed");
    this.env?.thaw();
    this.node?.thaw();
  }
}

export class SimBrick extends Machine {
  readonly index: number;
  readonly disk: MemoryDisk;
  /** What features/index keeps on the same disk. */
  readonly marks = new MemoryIndexStore();
  readonly faults: DiskFaults;
  readonly random: Prng;

  constructor(cluster: Cluster, index: number) {
    super(cluster, `brick-${index}`);
    this.index = index;
    this.disk = new MemoryDisk({ sec: 1_600_000_000, nsec: 0 });
    this.random = randomOf(cluster.seed, `${this.name} disk`);
    const { latencyMs, jitterMs } = cluster.plan.disk;
    this.faults = healthyDisk(latencyMs, jitterMs);
  }

  get port(): number {
    return PORT_BASE + this.index;
  }

  get arbiter(): boolean {
    return this.cluster.plan.arbiter && this.index === this.cluster.plan.bricks - 1;
  }

  /** The name under which the brick is offered. */
  get path(): string {
    return `/bricks/${this.index}`;
  }

  async start(): Promise<void> {
    const env = this.begin();
    const { trace, sabotage } = this.cluster;
    const node = this.node!;
    const disk = diskOver({ brick: this.name, faults: this.faults, random: this.random, trace });
    const layers = sabotage.brick ?? [];
    const graph = build(this.#volfile(layers), env, [
      memoryOn(this.disk),
      indexOn(this.marks),
      disk,
      ...layers,
      serverOver(node.listen),
    ]);
    this.graph = graph;
    trace.add(this.name, "starts");
    await graph.start();
    this.cluster.network.resetOrphans(this.port);
  }

  /** What protocol/server offers; for looking at a brick from inside. */
  get top(): XlatorBase {
    return this.graph!.xlators.find(({ name }) => name === this.path)!;
  }

  /** The process dies; its kernel and its disk live on. */
  kill(): void {
    this.cluster.trace.add(this.name, "killed");
    this.end(false);
    this.disk.crash(() => true);
    this.marks.crash(() => true);
  }

  /** The machine loses its power. */
  powerOff(): void {
    this.cluster.trace.add(this.name, "loses its power");
    this.end(true);
    losePower(this.disk, this.random);
    this.marks.crash(() => this.random.chance(0.5));
  }

  #volfile(sabotage: readonly XlatorDefinition[]): string {
    const layers: Layer[] = [
      { name: `${VOLUME}-posix`, type: "storage/memory" },
      { name: `${VOLUME}-disk`, type: "sim/disk" },
    ];
    for (const { type } of sabotage) layers.push({ name: `${VOLUME}-${type.replace("/", "-")}`, type });
    if (this.arbiter) layers.push({ name: `${VOLUME}-arbiter`, type: "features/arbiter" });
    layers.push({
      name: `${VOLUME}-locks`,
      type: "features/locks",
      options: { "enforce-mandatory-lock": "off" },
    });
    if (this.cluster.plan.replicate)
      layers.push({
        name: `${VOLUME}-index`,
        type: "features/index",
        options: {
          "changed-ranges-min-size": "4KB",
          "xattrop-dirty-watchlist": "trusted.afr.dirty",
          "xattrop-pending-watchlist": `trusted.afr.${VOLUME}-`,
        },
      });
    layers.push({ name: this.path, type: "debug/io-stats" });
    layers.push({
      name: `${VOLUME}-server`,
      type: "protocol/server",
      options: {
        [`auth.addr.${this.path}.allow`]: "*",
        "rpc-auth-allow-insecure": "on",
        "transport-type": "tcp",
        "transport.socket.listen-port": String(this.port),
      },
    });
    return stackText(layers);
  }
}

export class SimClient extends Machine {
  /** Calls without an answer, of the current life or the last one. */
  calls: InFlight = new Map();
  /** A heal daemon's graph differs by its options. */
  readonly healer: boolean;

  constructor(cluster: Cluster, name: string, healer = false) {
    super(cluster, name);
    this.healer = healer;
  }

  /** Builds the graph and begins to connect; `started` tells when it serves. */
  start(): Promise<void> {
    const env = this.begin();
    const { sabotage, trace } = this.cluster;
    this.calls = new Map();
    const sabotaged = (this.healer ? sabotage.healer : undefined) ?? sabotage.client ?? [];
    const connections = [inFlightOver(this.calls), ...sabotaged];
    const { text, definitions } = clientGraph(this.cluster, connections, this.healer);
    const graph = build(text, env, [clientOver(this.node!.connect), ...definitions]);
    sabotage.onClient?.(graph);
    this.graph = graph;
    trace.add(this.name, "starts");
    return graph.start();
  }

  kill(): void {
    this.cluster.trace.add(this.name, "killed");
    this.end(false);
    this.calls = new Map();
  }

  async stop(): Promise<void> {
    await this.graph?.stop();
    this.end(false);
  }
}

export class Cluster {
  readonly seed: number;
  readonly plan: ClusterPlan;
  readonly sabotage: Sabotage;
  readonly clock = new SimClock();
  readonly trace: Trace;
  readonly network: SimNetwork;
  readonly bricks: readonly SimBrick[];
  readonly clients: SimClient[] = [];

  constructor(init: { seed: number; plan: ClusterPlan; sabotage?: Sabotage; wholeTrace?: boolean }) {
    this.seed = init.seed;
    this.plan = init.plan;
    this.sabotage = init.sabotage ?? {};
    this.trace = new Trace(() => this.clock.nowMs(), init.wholeTrace ?? false);
    this.network = new SimNetwork({
      clock: this.clock,
      random: randomOf(init.seed, "network"),
      trace: this.trace,
      delays: init.plan.network,
    });
    this.bricks = Array.from({ length: init.plan.bricks }, (_, index) => new SimBrick(this, index));
  }

  client(name: string, healer = false): SimClient {
    const client = new SimClient(this, name, healer);
    this.clients.push(client);
    return client;
  }

  skewOf(name: string): number {
    return Math.round((randomOf(this.seed, `${name} skew`).float() * 2 - 1) * this.plan.skewMs);
  }

  /** Lets time pass until the promise has settled; throws when it has not in so much virtual time. */
  async until<R>(promise: Promise<R>, withinMs: number, what: string): Promise<R> {
    let settled = false;
    const watched = promise.finally(() => {
      settled = true;
    });
    watched.catch(() => {});
    if (!(await this.clock.run(() => settled, this.clock.nowMs() + withinMs)))
      throw new NeverSettled(`${what}: not done after ${withinMs / 1000} s of virtual time`);
    return watched;
  }

  /** Lets time pass. */
  async pass(ms: number): Promise<void> {
    await this.clock.run(() => false, this.clock.nowMs() + ms);
  }
}

/** Something waits for ever, or longer than it may. */
export class NeverSettled extends Error {}

function build(volfile: string, env: NodeEnv, definitions: readonly XlatorDefinition[]): Graph {
  const registry = new Map([...REGISTRY, ...definitions.map((one) => [one.type, one] as const)]);
  try {
    return buildGraph(parseVolfile(volfile, "sim.vol"), { registry, env });
  } catch (error) {
    if (error instanceof UserError) throw new Error(`${error.message}\n${volfile}`);
    throw error;
  }
}

function stackText(layers: readonly Layer[]): string {
  return layers
    .map(({ name, type, options = {} }, index) =>
      sectionOf(name, type, options, index > 0 ? [layers[index - 1]!.name] : []),
    )
    .join("\n");
}
