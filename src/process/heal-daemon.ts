/**
 * The heal daemon: keeps the copies of a volume alike while others use it (spec translators.md 4.11).
 *
 * In a process of its own it opens a SOURCE for itself; beside a mount of the embedded volume it works on the
 * graph that is there. It begins at once and goes on for ever; a brick that is away is waited for. Any number
 * of heal daemons, of either make, may serve a volume.
 */

import { SetHealer } from "../../xlators/cluster/replicate/crawl/set-healer.ts";
import type { Env } from "../core/env.ts";
import type { Graph } from "../graph/graph.ts";
import { Replicas, setsIn } from "./replicas.ts";

export interface HealDaemon {
  readonly healers: readonly SetHealer[];
  /** Looks for work now. */
  wake(): void;
  /** Ends heals at their next step; what is left is marked and found again. Never rejects. */
  stop(): Promise<void>;
}

/**
 * Opens the replica sets of a source and begins. Rejects with UserError when the source is not one.
 * `onFailure` hears later that bricks refuse this client, for good.
 */
export async function startHealDaemon(
  source: string,
  env: Env,
  onFailure: (error: Error) => void,
): Promise<HealDaemon> {
  const replicas = await Replicas.open(source, env);
  const healers = replicas.sets.map(({ set }) => new SetHealer(set));
  for (const healer of healers) healer.start();
  replicas.start(onFailure);
  return daemonOf(healers, () => replicas.stop());
}

/** Heals within a graph that serves a mount; the graph's stop ends it first. */
export function healInside(graph: Graph): HealDaemon {
  const healers = setsIn(graph).map(({ set }) => new SetHealer(set));
  const daemon = daemonOf(healers, async () => {});
  graph.onStop(() => daemon.stop());
  for (const healer of healers) healer.start();
  return daemon;
}

function daemonOf(healers: readonly SetHealer[], after: () => Promise<void>): HealDaemon {
  return {
    healers,
    wake() {
      for (const healer of healers) healer.wake();
    },
    async stop() {
      await Promise.all(healers.map((healer) => healer.stop()));
      await after();
    },
  };
}
