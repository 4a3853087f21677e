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
import { testVolumePrefix } from "./guardian.ts";
import { canConnect, type Lab, LOOPBACK } from "./peers.ts";
import { describeExit } from "./processes.ts";
import { until } from "./wait.ts";

const GLUSTERD = { host: LOOPBACK, port: 24007 };
const START_DEADLINE_MS = 30_000;
const BUSY = /Another transaction is in progress|please try again/i;
const BUSY_DEADLINE_MS = 60_000;
const VOLFILES = "/var/lib/glusterd/vols";
const RUN = "/var/run/gluster/vols";

/** What one client writes the others see at once. */
const UNCACHED = ["quick-read", "stat-prefetch", "write-behind", "open-behind", "io-cache", "read-ahead"].map(
  (translator) => `performance.${translator} off`,
);

const KINDS = {
  plain: { words: [], count: 1 },
  "distribute 2": { words: [], count: 2 },
  "distribute 3": { words: [], count: 3 },
  "replica 2": { words: ["replica", "2"], count: 2 },
  "replica 3": { words: ["replica", "3"], count: 3 },
  arbiter: { words: ["replica", "3", "arbiter", "1"], count: 3 },
  "two replica 3": { words: ["replica", "3"], count: 6 },
  "three replica 2": { words: ["replica", "2"], count: 6 },
} as const satisfies Record<string, { words: readonly string[]; count: number }>;

export type VolumeKind = keyof typeof KINDS;

let volumes = 0;

export class GlusterVolume {
  readonly lab: Lab;
  readonly name: string;
  /** Name of this machine as peers know it. */
  readonly host = hostname();
  /** Directories of the bricks. */
  readonly bricks: readonly string[];

  private constructor(lab: Lab, name: string, bricks: readonly string[]) {
    this.lab = lab;
    this.name = name;
    this.bricks = bricks;
  }

  /** Creates and starts a volume of one brick, of copies, or of several sets of copies. */
  static async create(
    lab: Lab,
    kind: VolumeKind = "plain",
    bricks = Array.from({ length: KINDS[kind].count }, () => lab.makeDirectory("gluster-brick")),
  ): Promise<GlusterVolume> {
    await requireGlusterd(lab);
    const name = `${testVolumePrefix()}${++volumes}`;
    const { words, count } = KINDS[kind];
    const volume = new GlusterVolume(lab, name, bricks);
    const places = bricks.map((brick) => volume.place(brick));
    await volume.gluster("volume", "create", name, ...words, ...places, "force");
    if (count > 1) await volume.setAll(UNCACHED);
    await volume.gluster("volume", "start", name);
    return volume;
  }

  /** A brick's directory as `gluster` names the brick. */
  place(brick: string): string {
    return `${this.host}:${brick}`;
  }

  /** What a client is told to mount. */
  get source(): string {
    return `${this.host}:/${this.name}`;
  }

  /** Where glusterd keeps the volfile of the first brick. */
  get brickVolfile(): string {
    return join(this.#directory, `${this.name}.${this.host}.${dashed(this.bricks[0]!)}.vol`);
  }

  /** Where glusterd keeps the volfile that it hands to clients of this machine. */
  get clientVolfile(): string {
    return join(this.#directory, `trusted-${this.name}.tcp-fuse.vol`);
  }

  get #directory(): string {
    return join(VOLFILES, this.name);
  }

  /** The pid of glusterd's own brick process. */
  brickPid(index = 0): number {
    const file = `${this.host}-${dashed(this.bricks[index]!)}.pid`;
    return Number(readFileSync(join(RUN, this.name, file), "utf8"));
  }

  /** SIGKILL to a brick, and waits for its end. */
  async killBrick(index: number): Promise<void> {
    const pid = this.brickPid(index);
    process.kill(pid, "SIGKILL");
    await until(`brick ${index} is gone`, () => hasEnded(pid));
  }

  /** Starts the bricks that have died. glusterd may not have noticed yet, and is then asked again. */
  async startBricks(): Promise<void> {
    const areRunning = (): boolean => this.bricks.every((_, index) => !hasEnded(this.brickPid(index)));
    await until(
      "all bricks run",
      async () => {
        if (areRunning()) return true;
        await this.gluster("volume", "start", this.name, "force");
        return areRunning();
      },
      { deadlineMs: START_DEADLINE_MS },
    );
  }

  /** Runs the administrator's command; while glusterd is busy with another volume it is given again. */
  async gluster(...args: string[]): Promise<string> {
    const command = ["--mode=script", ...args];
    const exit = await until(
      `gluster ${args.join(" ")} is taken`,
      async () => {
        const tried = await this.lab.processes.tryRun("gluster", command, { timeoutMs: 120_000 });
        return BUSY.test(tried.stdout + tried.stderr) ? undefined : tried;
      },
      { deadlineMs: BUSY_DEADLINE_MS },
    );
    if (exit.code !== 0) throw new Error(`gluster ${args.join(" ")}: ${describeExit(exit)}`);
    return exit.stdout;
  }

  /** Sets options, "key value", all in one command. */
  async setAll(options: readonly string[]): Promise<void> {
    await this.gluster("volume", "set", this.name, ...options.flatMap((option) => option.split(" ")));
  }

  async remove(): Promise<void> {
    await this.gluster("volume", "stop", this.name, "force").catch(() => "");
    await this.gluster("volume", "delete", this.name);
  }
}

/** Also when nobody has asked for its exit code yet. */
function hasEnded(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
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
