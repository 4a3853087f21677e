/**
 * What a mount tells of its traffic: the same fops at three places, so that one sees where their time goes.
 * Plain data that travels as JSON; whoever asks twice can tell what happened in between.
 *
 *   edge   from the kernel's message read to its answer written (mount)
 *   graph  from the fop called at the top to its reply (live-graph.ts)
 *   bricks of each brick, network and disk or disk alone (brick-meters.ts)
 */

import type { FopFigures, MeterSnapshot } from "../core/fop-meter.ts";
import type { FopName } from "../core/fops.ts";
import { latenciesSince, NO_LATENCIES } from "../core/latency.ts";
import type { BrickFigures } from "./brick-meters.ts";
import type { QuorumFigures } from "./quorum-figures.ts";

export interface Figures {
  readonly mountpoint: string;
  readonly source: string;
  readonly pid: number;
  /** Since the mount. */
  readonly uptimeMs: number;
  readonly callsInFlight: number;
  readonly edge: MeterSnapshot;
  readonly graph: MeterSnapshot;
  readonly bricks: readonly BrickFigures[];
  readonly quorum: readonly QuorumFigures[];
  readonly process: { readonly rssBytes: number; readonly cpuMs: number };
}

/** What happened between two askings. */
export function figuresSince(before: Figures, now: Figures): Figures {
  const bricks = now.bricks.map((brick) => {
    const had = before.bricks.find(({ name }) => name === brick.name)?.fops ?? {};
    return { ...brick, fops: since(had, brick.fops) };
  });
  return {
    ...now,
    uptimeMs: now.uptimeMs - before.uptimeMs,
    edge: since(before.edge, now.edge),
    graph: since(before.graph, now.graph),
    bricks,
    process: { ...now.process, cpuMs: now.process.cpuMs - before.process.cpuMs },
  };
}

function since(before: MeterSnapshot, now: MeterSnapshot): MeterSnapshot {
  const result: Partial<Record<FopName, FopFigures>> = {};
  for (const [fop, figures] of Object.entries(now) as [FopName, FopFigures][]) {
    const had = before[fop] ?? { calls: 0, failures: 0, bytes: 0, latency: NO_LATENCIES };
    if (figures.calls === had.calls) continue;
    result[fop] = {
      calls: figures.calls - had.calls,
      failures: figures.failures - had.failures,
      bytes: figures.bytes - had.bytes,
      latency: latenciesSince(had.latency, figures.latency),
    };
  }
  return result;
}
