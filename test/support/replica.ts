/**
 * A replicated volume of bricks of either make, each its own process from a volfile written by hand; mounts,
 * heal daemons and heal tools of both makes over it. No management daemon takes part.
 *
 * Bricks die by SIGKILL and come back on their port, as under `volume start force`. A volume lives in a Lab,
 * which takes everything away at the end.
 */

import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { anonymousNames, countIndex, describeCopy, describeIndex, describeMarks } from "./copies.ts";
import { type HealInfoBrick, parseHealInfo } from "./heal-info.ts";
import { setXattr } from "./libc.ts";
import { type Brick, type Lab, LOOPBACK, type Make, MORTAR, type Mount, tail } from "./peers.ts";
import { describeExit, type Exit, type Running } from "./processes.ts";
import { healVolfile, type ReplicaVolfile, replicaVolfile } from "./replica-volfiles.ts";
import { until } from "./wait.ts";

const GLFSHEAL = "/usr/lib/x86_64-linux-gnu/glusterfs/glfsheal";
const HEAL_DEADLINE_MS = 60_000;

export interface ReplicaSpec {
  /** Make of each brick, in order. */
  readonly makes: readonly Make[];
  /** The last brick is an arbiter. */
  readonly arbiter?: boolean;
  /** More `option` lines of cluster/replicate and protocol/client, for every user of the volume. */
  readonly replicate?: readonly string[];
  readonly client?: readonly string[];
  /** Files are cut into blocks of this size. */
  readonly shardBlockSize?: string;
  /** By brick: size of a file system of its own, in memory, e.g. "64m". By default they share one. */
  readonly sizes?: readonly string[];
}

let volumes = 0;

export class Replica {
  readonly lab: Lab;
  readonly name: string;
  readonly volumeId: string;
  readonly arbiter: boolean;
  readonly bricks: readonly Brick[];
  readonly #spec: ReplicaSpec;

  private constructor(lab: Lab, spec: ReplicaSpec, name: string, volumeId: string, bricks: Brick[]) {
    this.lab = lab;
    this.name = name;
    this.volumeId = volumeId;
    this.arbiter = spec.arbiter ?? false;
    this.bricks = bricks;
    this.#spec = spec;
  }

  /** Starts empty bricks. */
  static async start(lab: Lab, spec: ReplicaSpec): Promise<Replica> {
    const name = `r${++volumes}`;
    const volumeId = randomUUID();
    const last = spec.makes.length - 1;
    const bricks = await Promise.all(
      spec.makes.map(async (make, index) => {
        const directory = await newDirectory(lab, `${name}-brick-${index}`, volumeId, spec.sizes?.[index]);
        return lab.startBrick(make, directory, {
          copyOf: { name, arbiter: spec.arbiter === true && index === last },
        });
      }),
    );
    return new Replica(lab, spec, name, volumeId, bricks);
  }

  /** Three bricks of one make. */
  static three(lab: Lab, make: Make, spec: Omit<ReplicaSpec, "makes"> = {}): Promise<Replica> {
    return Replica.start(lab, { ...spec, makes: [make, make, make] });
  }

  directory(index: number): string {
    return this.bricks[index]!.directory;
  }

  /** Indexes of the bricks that hold data. */
  get dataBricks(): number[] {
    return this.bricks.map((_, index) => index).slice(0, this.arbiter ? -1 : undefined);
  }

  // Bricks.

  async kill(...indexes: readonly number[]): Promise<void> {
    await Promise.all(indexes.map((index) => this.bricks[index]!.process.kill()));
  }

  /** Starts bricks that were killed again, and waits until they listen. */
  async revive(...indexes: readonly number[]): Promise<void> {
    await Promise.all(indexes.map((index) => this.lab.restartBrick(this.bricks[index]!)));
  }

  // Clients.

  #volfile(options: ClientOptions): ReplicaVolfile {
    const { arbiter = false, replicate = [], client = [], shardBlockSize } = this.#spec;
    return {
      ...(shardBlockSize === undefined ? {} : { shardBlockSize }),
      name: this.name,
      volumeId: this.volumeId,
      copies: options.copies ?? this.bricks,
      arbiter,
      replicate: [...replicate, ...(options.replicate ?? [])],
      client: [...client, ...(options.client ?? [])],
    };
  }

  /** A volfile for mounts and for `mortar heal`. */
  volfile(options: ClientOptions = {}): string {
    return this.lab.writeFile(`${this.name}.vol`, replicaVolfile(this.#volfile(options)));
  }

  mount(
    make: Make,
    options: ClientOptions & {
      readonly mount?: readonly string[];
      readonly env?: Readonly<Record<string, string>>;
    } = {},
  ): Promise<Mount> {
    const { mount, env } = options;
    return this.lab.mount(make, this.volfile(options), {
      ...(mount ? { options: mount } : {}),
      ...(env ? { env } : {}),
    });
  }

  // Healing.

  /** Starts a heal daemon; it looks for work at once, and every five seconds. */
  healDaemon(make: Make, options: ClientOptions = {}): Running {
    const replicate = ["heal-timeout 5", ...(options.replicate ?? [])];
    const text = healVolfile(this.#volfile({ ...options, replicate }));
    const volfile = this.lab.writeFile(`${this.name}-shd.vol`, text);
    const log = this.lab.path(`${make}-heal.log`);
    if (make === "mortar")
      return this.lab.processes.start(MORTAR, ["heal-daemon", volfile, "--foreground", "--log-file", log]);
    return this.lab.processes.start("glusterfs", [
      ...["-N", "-f", volfile, "-l", log, "--process-name", "glustershd", "--client-pid=-6"],
    ]);
  }

  /** Heals with one make's tools until nothing is left to do, and checks that all copies agree. */
  async heal(make: Make, options: ClientOptions = {}): Promise<void> {
    const daemon = this.healDaemon(make, options);
    await this.untilHealed(() => daemon.output);
    await daemon.stop("SIGTERM");
  }

  /** Waits until no index lists anything and nothing is left to be removed; then all copies have to agree. */
  async untilHealed(detail?: () => string): Promise<void> {
    const isDone = ({ directory }: Brick): boolean =>
      countIndex(directory) === 0 && anonymousNames(directory).length === 0;
    await until("every index is empty", () => this.bricks.every(isDone), {
      deadlineMs: HEAL_DEADLINE_MS,
      detail: () => `${this.#left().join("\n")}\n${detail?.() ?? ""}`,
    });
    this.expectSameCopies();
  }

  /** What is still to be healed, for messages. */
  #left(): string[] {
    return this.bricks.flatMap(({ directory }, index) =>
      [...describeIndex(directory), ...anonymousNames(directory)].map((line) => `brick ${index}: ${line}`),
    );
  }

  /** `gluster volume heal VOL info [split-brain]` of this volume. */
  async stockHealInfo(what?: "split-brain-info"): Promise<HealInfoBrick[]> {
    const exit = await this.glfsheal(...(what ? [what] : []));
    if (exit.code !== 0) throw new Error(`glfsheal: ${describeExit(exit)}`);
    return parseHealInfo(exit.stdout);
  }

  /** The tool behind `gluster volume heal VOL info` and `split-brain`. */
  glfsheal(...args: readonly string[]): Promise<Exit> {
    const volfile = this.volfile();
    return this.lab.processes.tryRun(GLFSHEAL, [this.name, ...args, "volfile-path", volfile]);
  }

  /** `mortar heal` on this volume. */
  mortarHeal(...args: readonly string[]): Promise<Exit> {
    return this.lab.processes.tryRun(MORTAR, ["heal", this.volfile(), ...args]);
  }

  /** A brick as the tools of both makes name it. */
  brickName(index: number): string {
    return `${LOOPBACK}:${this.directory(index)}`;
  }

  // What lies on the bricks.

  /** Marks and indices of each brick. */
  marks(): string[][] {
    return this.bricks.map(({ directory }) => describeMarks(directory));
  }

  /** Throws unless all copies say the same and no mark is left. */
  expectSameCopies(): void {
    const last = this.bricks.length - 1;
    const reference = describeCopy(this.directory(0));
    const names = describeCopy(this.directory(0), { data: false });
    const wrong = reference.filter((line) => line.includes("trusted.afr."));
    for (const [index, { directory }] of this.bricks.entries()) {
      const data = !(this.arbiter && index === last);
      const wanted = data ? reference : names;
      const seen = describeCopy(directory, { data });
      wrong.push(
        ...wanted.filter((line) => !seen.includes(line)).map((line) => `- brick 0: ${line}`),
        ...seen.filter((line) => !wanted.includes(line)).map((line) => `+ brick ${index}: ${line}`),
        ...describeIndex(directory).map((line) => `index of brick ${index}: ${line}`),
      );
    }
    if (wrong.length > 0) throw new Error(`copies differ:\n${wrong.join("\n")}`);
  }

  /** The last lines of the bricks' logs, and who has ended, for messages. */
  logs(): string {
    return this.bricks
      .map(({ logFile, process: { exit } }) => `${tail(logFile)}${exit ? `\n${describeExit(exit)}` : ""}`)
      .join("\n---\n");
  }
}

/** Makes a brick directory as `gluster volume create` leaves it for a replicated volume. */
export function makeReplicaDirectory(directory: string, volumeId: string): void {
  mkdirSync(join(directory, ".glusterfs", "indices"), { recursive: true, mode: 0o600 });
  setXattr(directory, "trusted.glusterfs.volume-id", Buffer.from(volumeId.replaceAll("-", ""), "hex"));
}

async function newDirectory(lab: Lab, name: string, volumeId: string, size?: string): Promise<string> {
  const directory = lab.path(name);
  if (size !== undefined) {
    mkdirSync(directory);
    await lab.processes.run("mount", ["-t", "tmpfs", "-o", `size=${size}`, "none", directory]);
  }
  makeReplicaDirectory(directory, volumeId);
  return directory;
}

export interface ClientOptions {
  readonly replicate?: readonly string[];
  readonly client?: readonly string[];
  /** Other bricks than the volume's, or in another order: for volfiles that are wrong. */
  readonly copies?: ReplicaVolfile["copies"];
}
