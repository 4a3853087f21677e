/**
 * A volume of the management daemon of GlusterFS, for tests that need its volfiles, its port map, or its
 * brick processes.
 *
 * The daemon of the machine is used when it runs, and one is started for the test run otherwise (and left to
 * it). Volumes are ours by name; `remove` takes them away whatever their state.
 */

import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { canConnect, type Lab, LOOPBACK } from "./peers.ts";
import { until } from "./wait.ts";

const GLUSTERD = { host: LOOPBACK, port: 24007 };
const START_DEADLINE_MS = 30_000;
const VOLFILES = "/var/lib/glusterd/vols";
const RUN = "/var/run/gluster/vols";

export class GlusterVolume {
  readonly lab: Lab;
  readonly name: string;
  /** Name of this machine as peers know it. */
  readonly host = hostname();
  readonly brick: string;

  private constructor(lab: Lab, name: string, brick: string) {
    this.lab = lab;
    this.name = name;
    this.brick = brick;
  }

  /** Creates and starts a volume of one brick. */
  static async create(lab: Lab): Promise<GlusterVolume> {
    await requireGlusterd(lab);
    const name = `mortar-test-${process.pid}`;
    const volume = new GlusterVolume(lab, name, lab.makeDirectory("gluster-brick"));
    await volume.gluster("volume", "create", name, `${volume.host}:${volume.brick}`, "force");
    await volume.gluster("volume", "start", name);
    return volume;
  }

  /** Where glusterd keeps the volfile of the brick. */
  get brickVolfile(): string {
    return join(this.#directory, `${this.name}.${this.host}.${dashed(this.brick)}.vol`);
  }

  /** Where glusterd keeps the volfile that it hands to clients of this machine. */
  get clientVolfile(): string {
    return join(this.#directory, `trusted-${this.name}.tcp-fuse.vol`);
  }

  get #directory(): string {
    return join(VOLFILES, this.name);
  }

  /** The pid of glusterd's own brick process. */
  get brickPid(): number {
    const file = `${this.host}-${dashed(this.brick)}.pid`;
    return Number(readFileSync(join(RUN, this.name, file), "utf8"));
  }

  /** Runs the administrator's command. */
  gluster(...args: string[]): Promise<string> {
    return this.lab.processes.run("gluster", ["--mode=script", ...args], { timeoutMs: 120_000 });
  }

  async remove(): Promise<void> {
    await this.lab.processes.tryRun("gluster", ["--mode=script", "volume", "stop", this.name, "force"]);
    await this.gluster("volume", "delete", this.name);
  }
}

/** A path as glusterd puts it into names of files. */
function dashed(path: string): string {
  return path.slice(1).replaceAll("/", "-");
}

async function requireGlusterd(lab: Lab): Promise<void> {
  if (await canConnect(GLUSTERD)) return;
  await lab.processes.run("glusterd", [], { unmarked: true });
  await until("glusterd listens", () => canConnect(GLUSTERD), { deadlineMs: START_DEADLINE_MS });
}
