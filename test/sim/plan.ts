/**
 * What a seed stands for: the shape of the cluster, its options, the workload and the faults. Each run leaves
 * some kinds of calls and of faults out altogether (swarm testing), so that odd combinations occur that an
 * even mixture would hide.
 */

import type { Prng } from "../support/prng.ts";
import type { StackPlan } from "./client-graph.ts";
import { randomOf } from "./clock.ts";
import type { ClusterPlan } from "./cluster.ts";
import { FAULTS, type Fault, type FaultPlan } from "./faults.ts";
import { CELL_BYTES } from "./model.ts";
import type { Action, WorkloadPlan } from "./workload.ts";

export interface Plan {
  readonly seed: number;
  readonly cluster: ClusterPlan;
  readonly workload: WorkloadPlan;
  readonly faults: FaultPlan;
  /** How long clients work. */
  readonly workMs: number;
  /** Heal daemons that run all the time. */
  readonly healers: number;
}

/** About as many calls each client makes: more find no more. */
const CALLS_MAX = 500;

/** How often a kind of call occurs where it does; a file without contents is not peeked at. */
const ACTION_WEIGHTS: Readonly<Record<Exclude<Action, "peek" | "move">, number>> = {
  write: 12,
  read: 10,
  truncate: 1,
  fsync: 3,
  allocate: 1,
  punch: 1,
  chmod: 2,
  setxattr: 2,
  look: 2,
  create: 4,
  unlink: 3,
  rename: 3,
  lookup: 5,
  list: 2,
  reopen: 2,
  link: 2,
  lock: 2,
};

const COPY_ACTIONS = Object.keys(ACTION_WEIGHTS) as (keyof typeof ACTION_WEIGHTS)[];

export const SHAPES = [
  ...(["replica 3", "replica 3", "replica 3", "arbiter", "arbiter", "arbiter"] as const),
  ...(["replica 2", "replica 2", "one brick"] as const),
] as const;
export type Shape = (typeof SHAPES)[number];

/** What clients have over replicate. */
export const STACKS = ["copies", "shard", "write-behind", "virt"] as const;
export type Stack = (typeof STACKS)[number];
/** How often each occurs. */
const STACK_SHARES: readonly Stack[] = [
  "copies",
  "copies",
  "copies",
  "shard",
  "write-behind",
  "virt",
  "virt",
];

/** What a plan is drawn from; absent: from everything. */
export interface Among {
  readonly shapes?: readonly Shape[] | undefined;
  readonly stacks?: readonly Stack[] | undefined;
}

export function planOf(seed: number, { shapes = SHAPES, stacks = STACK_SHARES }: Among = {}): Plan {
  const plan = withMoves(copiesPlan(seed, shapes), randomOf(seed, "moves"));
  // Drawn apart: the rest of the plan is the same for every stack.
  const random = randomOf(seed, "stack");
  const stack = random.pick(stacks);
  return stack === "copies" ? plan : withStack(plan, stack, random);
}

/** Drawn apart: plans are older than renames into another directory. */
function withMoves(plan: Plan, random: Prng): Plan {
  if (!random.chance(0.5)) return plan;
  return { ...plan, workload: { ...plan.workload, weights: { ...plan.workload.weights, move: 3 } } };
}

/** Calls that matter more to files in blocks. */
const STACK_WEIGHTS: Partial<Record<Action, number>> = { truncate: 3, allocate: 2, punch: 2, peek: 4 };
const STACK_WORK_MS = 20_000;
/** Sizes of blocks, in cells. */
const BLOCK_CELLS = [8, 24, 32] as const;

function withStack(plan: Plan, stack: Exclude<Stack, "copies">, random: Prng): Plan {
  const { workload } = plan;
  const weights = { ...workload.weights };
  for (const [action, weight] of Object.entries(STACK_WEIGHTS) as [Action, number][])
    if (random.chance(0.75)) weights[action] = weight;
  // A write spans three blocks at most: more than one of usual size never do.
  const large = BLOCK_CELLS.filter((cells) => 2 * cells >= workload.writeCellsMax);
  const blockCells = random.pick(large);
  const isCut = stack !== "write-behind";
  const shard = {
    "shard-block-size": String(blockCells * CELL_BYTES),
    "shard-lru-limit": random.pick(["20", "16384"]),
  };
  const bool = (share: number): string => (random.chance(share) ? "on" : "off");
  const writeBehind = {
    "aggregate-size": random.pick(["4KB", "128KB"]),
    "flush-behind": bool(0.5),
    "trickling-writes": bool(0.8),
    "strict-write-ordering": bool(0.2),
    "resync-failed-syncs-after-fsync": bool(0.7),
  };
  const over: StackPlan = {
    ...(isCut ? { shard, freshBlocks: workload.freshReads } : {}),
    ...(stack === "shard" ? {} : { writeBehind }),
  };
  return {
    ...plan,
    cluster: { ...plan.cluster, stack: over },
    workload: { ...workload, weights, ...(isCut ? { imageCells: random.int(1, 3 * blockCells) } : {}) },
    workMs: Math.min(plan.workMs, STACK_WORK_MS),
  };
}

function copiesPlan(seed: number, shapes: readonly Shape[]): Plan {
  const random = randomOf(seed, "plan");
  const shape = random.pick(shapes);
  const bricks = { "replica 3": 3, arbiter: 3, "replica 2": 2, "one brick": 1 }[shape];
  const clients = random.pick([1, 2, 2, 3]);
  const cluster: ClusterPlan = {
    bricks,
    arbiter: shape === "arbiter",
    replicate: shape !== "one brick",
    options: replicateOptions(random, shape),
    pingTimeoutSec: random.pick([3, 8]),
    network: random.pick([
      { latencyMs: 0.1, jitterMs: 0.1 },
      { latencyMs: 0.5, jitterMs: 5 },
    ]),
    disk: random.pick([
      { latencyMs: 0.1, jitterMs: 0.2 },
      { latencyMs: 2, jitterMs: 10 },
    ]),
    skewMs: random.pick([0, 0, 50, 5000]),
  };
  const drawn = faultPlan(random, bricks, clients);
  const faults = cluster.options["quorum-type"] === "none" ? oneInTrouble(drawn) : drawn;
  const freshReads = clients > 1 && UNSEEN.some((fault) => faults.weights[fault] > 0);
  const workload = workloadPlan(random, clients, {
    freshReads: freshReads || random.chance(0.2),
  });
  return {
    seed,
    cluster,
    workload,
    faults,
    workMs: Math.min(random.pick([5_000, 20_000, 60_000]), CALLS_MAX * workload.pauseMs),
    healers: shape === "one brick" ? 0 : random.pick([0, 1, 1, 2]),
  };
}

function replicateOptions(random: Prng, shape: Shape): Record<string, string> {
  const options: Record<string, string> = {
    "quorum-type": shape !== "arbiter" && random.chance(0.1) ? "none" : "auto",
    "quorum-loss-policy": random.chance(0.25) ? "suspend" : "error",
    "suspend-timeout": random.pick(["20", "100"]),
    "granular-entry-heal": random.pick(["on", "off"]),
    "use-anonymous-inode": random.pick(["on", "off"]),
    "eager-lock": random.chance(0.8) ? "on" : "off",
    "post-op-delay-secs": random.pick(["0", "1", "1", "3"]),
    "read-hash-mode": random.pick(["0", "1", "3", "4", "5"]),
    "data-self-heal-algorithm": random.pick(["dynamic", "full", "diff"]),
    "data-self-heal-window-size": "1",
    "optimistic-change-log": random.chance(0.9) ? "on" : "off",
  };
  if (shape === "replica 3" && options["quorum-type"] === "auto" && random.chance(0.2))
    Object.assign(options, { "quorum-type": "fixed", "quorum-count": random.pick(["2", "3"]) });
  if (random.chance(0.3))
    Object.assign(options, { "data-self-heal": "on", "metadata-self-heal": "on", "entry-self-heal": "on" });
  return options;
}

function workloadPlan(
  random: Prng,
  clients: number,
  { freshReads }: Pick<WorkloadPlan, "freshReads">,
): WorkloadPlan {
  const weights: Record<Action, number> = { ...ACTION_WEIGHTS, peek: 0, move: 0 };
  for (const action of COPY_ACTIONS) if (random.chance(0.25)) weights[action] = 0;
  if (weights.write + weights.create === 0) weights.write = ACTION_WEIGHTS.write;
  return {
    clients,
    files: random.pick([1, 1, 2, 3]),
    pauseMs: random.pick([20, 50, 400]),
    weights,
    cells: random.pick([64, 600]),
    writeCellsMax: random.pick([4, 16, 64]),
    freshReads,
    dsyncShare: random.pick([0, 0.2, 1]),
  };
}

/**
 * What one client may notice and mark without another one hearing of it: a copy is stale then for those alone
 * who look again (spec 4.5), as in GlusterFS.
 */
const UNSEEN: readonly Fault[] = [
  ...(["brick-freeze", "cut", "cut-one", "reset", "disk-errors", "disk-full", "client-freeze"] as const),
];
const MILD: readonly Fault[] = ["write-back", "disk-slow"];

function faultPlan(random: Prng, bricks: number, clients: number): FaultPlan {
  const weights = Object.fromEntries(FAULTS.map((fault) => [fault, random.pick([0, 0, 1, 2])])) as Record<
    Fault,
    number
  >;
  // Some runs have no faults to speak of: then nothing may need a heal.
  if (random.chance(0.1)) for (const fault of FAULTS) weights[fault] = MILD.includes(fault) ? 1 : 0;
  if (clients === 1) weights["client-kill"] = Math.min(weights["client-kill"], 1);
  const all = Array.from({ length: bricks }, (_, index) => index);
  return {
    weights,
    pauseMs: random.pick([500, 3_000, 10_000]),
    lastMs: random.pick([200, 2_000, 15_000]),
    bricksMax: random.pick([1, 1, 2, bricks]),
    bricks: random.chance(0.4) ? [random.pick(all)] : all,
  };
}

/**
 * Without a rule of quorum two copies that go their own ways are in split brain, and an operation that its
 * client did not live to mark may be undone by a merge: what holds is that one brick alone may be in trouble,
 * and by being away. One that is there but refuses changes refuses marks, too: it keeps the one of an
 * unfinished operation, and the merge that follows gives removed names back (AFR's does the same).
 */
function oneInTrouble(plan: FaultPlan): FaultPlan {
  const away = { "disk-full": 0, "disk-errors": 0 };
  const weights = { ...plan.weights, ...away, "client-kill": 0, "client-freeze": 0 };
  return { ...plan, weights, bricks: plan.bricks.slice(0, 1) };
}

/** Whether nothing goes wrong in such a run: no copy may ever be marked for longer than a call takes. */
export function isCalm({ faults }: Plan): boolean {
  return FAULTS.every((fault) => faults.weights[fault] === 0 || MILD.includes(fault));
}
