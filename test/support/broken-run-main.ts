/**
 * The process of a test run that is killed (guardian.test.ts): makes what test files make, prints one line of
 * JSON about it, and waits for its end.
 */

import { GlusterVolume } from "./glusterd.ts";
import { Lab } from "./peers.ts";
import { freePort } from "./ports.ts";

/** What a run had made when it was killed. */
export interface Leavings {
  readonly directory: string;
  readonly mountpoint: string;
  /** As Processes.mark. */
  readonly mark: string;
  /** Of glusterd. */
  readonly volume: string;
  /** Given out, and nobody listens. */
  readonly port: number;
}

const lab = new Lab("broken-run");
const brick = await lab.startBrick("mortar", lab.makeBrickDirectory("brick"));
const { mountpoint } = await lab.mountBrick("mortar", brick);
// Into the background, in a session of its own: known by its mark only.
await lab.processes.run("sh", ["-c", "setsid sleep 600 > /dev/null 2>&1 &"]);
const { name: volume } = await GlusterVolume.create(lab);
const { directory, processes } = lab;
const leavings: Leavings = { directory, mountpoint, mark: processes.mark, volume, port: await freePort() };
process.stdout.write(`${JSON.stringify(leavings)}\n`);
setInterval(() => {}, 60_000);
