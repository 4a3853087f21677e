/**
 * A test run that is killed leaves nothing behind: its guardian (test/support/guardian.sh) ends what it has
 * started, and takes its volumes, mounts and files away.
 */

import { existsSync, readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import type { Leavings } from "../support/broken-run-main.ts";
import { mountTable } from "../support/mounts.ts";
import { Lab, LOOPBACK } from "../support/peers.ts";
import { reservePort } from "../support/ports.ts";
import { commandLines, killMarked, markedPids } from "../support/processes.ts";
import { until } from "../support/wait.ts";

const RUN = fileURLToPath(new URL("../support/broken-run-main.ts", import.meta.url));
const VOLUMES = "/var/lib/glusterd/vols";
const DEADLINE_MS = 30_000;

const lab = new Lab("guardian");
afterAll(() => lab.close());

const volumes = (): string[] => readdirSync(VOLUMES);

/** What is still there of a run, one line each. */
function remains({ directory, mark, volume }: Leavings): string[] {
  return [
    ...markedPids(mark).map((pid) => `process ${pid}`),
    // The guardian itself has no mark, but is told where to clean.
    ...commandLines().filter((line) => line.includes(directory)),
    ...mountTable().flatMap(({ mountpoint }) => (mountpoint.startsWith(directory) ? [mountpoint] : [])),
    ...(existsSync(directory) ? [directory] : []),
    ...volumes().filter((name) => name === volume),
  ];
}

it("a run that is killed leaves no process, mount, volume or file, and its ports to others", async () => {
  // Its directory is in ours, so that what a guardian overlooks goes with it.
  const run = lab.processes.start(process.execPath, ["--import", "tsx", RUN], {
    interactive: true,
    env: { TMPDIR: lab.directory },
  });
  const lines = createInterface({ input: run.child.stdout! })[Symbol.asyncIterator]();
  const { value } = await lines.next();
  expect(value, run.output).toBeDefined();
  const left = JSON.parse(value) as Leavings;
  try {
    expect(markedPids(left.mark).length).toBeGreaterThanOrEqual(3);
    expect(remains(left)).toEqual(expect.arrayContaining([left.directory, left.mountpoint, left.volume]));
    expect(await reservePort(LOOPBACK, left.port)).toBe(false);
    await run.kill();
    expect(await reservePort(LOOPBACK, left.port)).toBe(true);
    const detail = (): string => remains(left).join("\n");
    await until("all is gone", () => remains(left).length === 0, { deadlineMs: DEADLINE_MS, detail });
  } finally {
    killMarked(left.mark);
    if (volumes().includes(left.volume))
      for (const words of [
        ["stop", left.volume, "force"],
        ["delete", left.volume],
      ])
        await lab.processes.tryRun("gluster", ["--mode=script", "volume", ...words]);
  }
});
