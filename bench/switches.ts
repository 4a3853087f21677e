/**
 * One graph after another under a writer that verifies: how long a switch takes, how long a call waits for it
 * at worst, and whether the mount's memory stays flat.
 *
 * The mount is of a replica 3 over TCP; write-behind comes and goes by the control socket, as `mortar set`
 * does it. fio writes at random beside it and reads back what it wrote; its verification has to succeed.
 */

import { median, shortNumber } from "../src/compare/stats.ts";
import { ask } from "../src/control/socket.ts";
import { Replica } from "../test/support/replica.ts";
import { until } from "../test/support/wait.ts";
import type { Figure } from "./figures.ts";
import { Probe } from "./memory.ts";
import type { TrialRun } from "./trials.ts";

const SAMPLES = 10;
/** The last samples against those that come after warming up: allowed growth. */
const GROWTH_MAX = 1.1;

export async function runSwitches({ lab, scale, progress }: TrialRun): Promise<Figure[]> {
  const probe = new Probe(lab);
  const replica = await Replica.three(lab, "mortar");
  const mount = await replica.mount("mortar", { env: probe.env });
  const { mountpoint } = mount;
  const fio = lab.processes.start("fio", [
    ...["--name=switches", `--directory=${mountpoint}`, "--size=64m", "--bs=4k", "--rw=randwrite"],
    ...["--direct=1", "--ioengine=libaio", "--iodepth=4", "--rate_iops=200", "--loops=1000"],
    ...["--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--verify_backlog=256"],
  ]);
  await until("fio writes", async () => ((await ask(mountpoint, "stats", {})).edge.writev?.calls ?? 0) > 100);
  const tookMs: number[] = [];
  const heapMiB: number[] = [];
  const every = Math.max(1, Math.floor(scale.switches / SAMPLES));
  for (let count = 1; count <= scale.switches; count++) {
    const beganMs = performance.now();
    await ask(mountpoint, "set", { key: "performance.write-behind", value: count % 2 === 1 ? "on" : "off" });
    tookMs.push(performance.now() - beganMs);
    if (fio.exit !== undefined) throw new Error(`fio ended: ${fio.output}`);
    if (count % every !== 0) continue;
    const sample = await probe.look(mount);
    heapMiB.push(sample.heapMiB);
    progress(`switches: after ${count} heap ${shortNumber(sample.heapMiB)} MiB after collection`);
  }
  const { edge } = await ask(mountpoint, "stats", {});
  await fio.stop("SIGINT");
  await lab.unmount(mount);
  await replica.kill(0, 1, 2);
  const early = heapMiB.slice(0, Math.ceil(heapMiB.length / 2));
  const late = heapMiB.slice(-Math.max(1, Math.floor(heapMiB.length / 3)));
  return [
    {
      text: `switch of graphs under a writer, median of ${scale.switches}`,
      value: median(tookMs),
      unit: "ms",
    },
    { text: "longest write meanwhile", value: edge.writev?.latency.maxMs ?? Number.NaN, unit: "ms" },
    {
      text: "heap after collection, last switches against early ones",
      value: mean(late) / mean(early),
      unit: "x",
      wanted: GROWTH_MAX,
    },
  ];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
