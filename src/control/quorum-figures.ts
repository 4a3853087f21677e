/**
 * What the replica sets of a mount tell of their quorum: who is up, and which calls wait for those that are
 * not (`quorum-loss-policy suspend`). Read from their dumps, which are plain data.
 */

import type { Dump } from "../core/xlator.ts";
import type { Graph } from "../graph/graph.ts";

export interface QuorumFigures {
  /** Section of the volfile. */
  readonly name: string;
  readonly copiesUp: number;
  readonly hasQuorum: boolean;
  /** Calls that wait for quorum now. */
  readonly waiting: number;
  /** Calls that had to wait since the mount, and those of them whose time ran out. */
  readonly suspended: number;
  readonly timedOut: number;
}

export function quorumFigures(graph: Graph): QuorumFigures[] {
  return graph.nodes
    .filter(({ section }) => section.type === "cluster/replicate")
    .map(({ section, xlator }) => of(section.name, xlator.dump()));
}

function of(name: string, dump: Dump): QuorumFigures {
  const calls = dump["callsForQuorum"] as Pick<QuorumFigures, "waiting" | "suspended" | "timedOut">;
  return {
    name,
    copiesUp: (dump["childrenUp"] as readonly string[]).length,
    hasQuorum: dump["hasQuorum"] === true,
    waiting: calls.waiting,
    suspended: calls.suspended,
    timedOut: calls.timedOut,
  };
}

/** One line a set in trouble, now or before; nothing of those that never were. */
export function quorumLines(figures: readonly QuorumFigures[]): string[] {
  return figures
    .filter(({ hasQuorum, suspended }) => !hasQuorum || suspended > 0)
    .map(({ name, copiesUp, hasQuorum, waiting, suspended, timedOut }) => {
      const state = hasQuorum ? "has quorum" : "NO QUORUM";
      return (
        `${name}: ${state}, ${copiesUp} copies up; ${waiting} calls wait for it, ` +
        `${suspended} had to so far, ${timedOut} of them in vain`
      );
    });
}
