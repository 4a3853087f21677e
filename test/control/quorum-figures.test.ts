/** What `mortar stats` says of replica sets that lost their quorum. */

import { describe, expect, it } from "vitest";
import { statsText } from "../../src/cli/stats-view.ts";
import type { Figures } from "../../src/control/figures.ts";
import { prometheusText } from "../../src/control/prometheus.ts";
import type { QuorumFigures } from "../../src/control/quorum-figures.ts";

const SOUND = { name: "v-replicate-0", copiesUp: 3, hasQuorum: true, waiting: 0, suspended: 0, timedOut: 0 };
const LOST = { name: "v-replicate-1", copiesUp: 1, hasQuorum: false, waiting: 3, suspended: 7, timedOut: 2 };

function figures(quorum: readonly QuorumFigures[]): Figures {
  return {
    mountpoint: "/mnt",
    source: "v.vol",
    pid: 1,
    uptimeMs: 1000,
    callsInFlight: 3,
    edge: {},
    graph: {},
    bricks: [],
    quorum,
    process: { rssBytes: 1, cpuMs: 1 },
  };
}

describe("stats of quorum", () => {
  it("are silent about sets that never lacked it", () => {
    expect(statsText(figures([SOUND]))).not.toContain("quorum");
  });

  it("tell which set has lost it, and how many calls wait and waited", () => {
    expect(statsText(figures([SOUND, LOST]))).toContain(
      "v-replicate-1: NO QUORUM, 1 copies up; 3 calls wait for it, 7 had to so far, 2 of them in vain",
    );
  });

  it("are metrics for Prometheus, of every set", () => {
    const page = prometheusText(figures([SOUND, LOST]));
    expect(page).toContain('mortar_replica_has_quorum{mountpoint="/mnt",replica="v-replicate-0"} 1\n');
    expect(page).toContain('mortar_replica_has_quorum{mountpoint="/mnt",replica="v-replicate-1"} 0\n');
    const waiting = 'mortar_replica_calls_waiting_for_quorum{mountpoint="/mnt",replica="v-replicate-1"} 3\n';
    expect(page).toContain(waiting);
    expect(prometheusText(figures([]))).not.toContain("mortar_replica");
  });
});
