/**
 * Trials of a replicated volume of three bricks over TCP: how long a heal takes and what it moves, how long a
 * writer stands still when a brick dies or hangs, whether a mount's memory stays flat while bricks come and
 * go.
 *
 * Bricks, mount and heal daemon of one make, from the same volfiles, without management daemon and without
 * caching translators; both makes go through the same steps. Bytes moved are those that arrived at the brick
 * that was away, by the kernel's count on its sockets, so that they mean the same for every make.
 */

import { join } from "node:path";
import { countIndex } from "../test/support/copies.ts";
import { pendingCount } from "../test/support/heal-info.ts";
import type { Lab, Make, Mount } from "../test/support/peers.ts";
import { Replica } from "../test/support/replica.ts";
import { pause, until } from "../test/support/wait.ts";
import { runCaches } from "./cache-trial.ts";
import type { Figure } from "./figures.ts";
import { runMemory } from "./memory.ts";
import { runScaleMany, runScaleOne } from "./scale-trial.ts";
import { runSwitches } from "./switches.ts";

export interface TrialScale {
  readonly imageMiB: number;
  /** Written in random blocks of 64 KiB while a brick is away. */
  readonly changedMiB: number;
  /** Kills and returns of the memory trial. */
  readonly cycles: number;
  /** Of graphs, in the trial of switches. */
  readonly switches: number;
  /** Small files of the trial of caches. */
  readonly files: number;
  /** Of sharded images, in the trial of scale. */
  readonly blocks: number;
  /** Of a pass, in the trials of scale. */
  readonly requests: number;
}

export const TRIAL_SCALES = {
  full: {
    imageMiB: 1024,
    changedMiB: 128,
    cycles: 200,
    switches: 600,
    files: 1000,
    blocks: 16_000,
    requests: 12_000,
  },
  quick: { imageMiB: 64, changedMiB: 8, cycles: 6, switches: 20, files: 200, blocks: 160, requests: 160 },
} as const satisfies Record<string, TrialScale>;

export interface TrialRun {
  readonly lab: Lab;
  readonly scale: TrialScale;
  /** Mortar first. */
  readonly makes: readonly Make[];
  readonly progress: (text: string) => void;
}

export interface Trial {
  readonly id: string;
  readonly title: string;
  /** One long run, which is not repeated. */
  readonly once?: true;
  run(run: TrialRun): Promise<Figure[]>;
}

const HEAL_DEADLINE_MS = 600_000;
const PING_TIMEOUT_S = 5;
/** A writer of the stall trial runs this long before and after its brick is struck. */
const AROUND_SEC = 3;
const AWAY = 2;
const IMAGE = "image";
const MIB = 2 ** 20;

export const TRIALS: readonly Trial[] = [
  { id: "heal", title: "heal of a brick that was away", run: runHeal },
  { id: "stall", title: "longest stall of a 4k write loop", run: runStall },
  { id: "caches", title: "what the caching translators are good for", run: runCaches },
  { id: "memory", title: "memory of the mount while bricks come and go", once: true, run: runMemory },
  { id: "switches", title: "switches of graphs under a writer", once: true, run: runSwitches },
  { id: "scale", title: "16,000 blocks of one image", once: true, run: runScaleOne(1) },
  { id: "scale-many", title: "16,000 blocks of 1000 images", once: true, run: runScaleMany(1) },
  { id: "scale-replica", title: "one image on a replica 3", once: true, run: runScaleOne(3) },
  { id: "scale-replica-many", title: "1000 images on a replica 3", once: true, run: runScaleMany(3) },
];

async function runHeal({ lab, scale, makes, progress }: TrialRun): Promise<Figure[]> {
  const figures: Figure[] = [];
  const seconds = new Map<Make, number>();
  for (const make of makes) {
    progress(`heal: ${make}: writing ${scale.imageMiB} MiB`);
    const replica = await Replica.three(lab, make);
    const mount = await replica.mount(make);
    const daemon = replica.healDaemon(make);
    await fio(lab, mount, ["--rw=write", "--bs=1m", "--iodepth=8", `--size=${scale.imageMiB}m`]);
    await replica.kill(AWAY);
    progress(`heal: ${make}: changing ${scale.changedMiB} MiB while brick ${AWAY} is away`);
    const size = [`--size=${scale.imageMiB}m`, `--io_size=${scale.changedMiB}m`];
    await fio(lab, mount, ["--rw=randwrite", "--bs=64k", "--iodepth=8", "--randseed=7", ...size]);
    await replica.revive(AWAY);
    const started = performance.now();
    const isClean = (): boolean => replica.bricks.every(({ directory }) => countIndex(directory) === 0);
    await until("the indices are empty", isClean, {
      deadlineMs: HEAL_DEADLINE_MS,
      detail: () => daemon.output,
    });
    const took = (performance.now() - started) / 1000;
    seconds.set(make, took);
    const movedMiB = (await receivedBytes(replica)) / MIB;
    const info = await replica.stockHealInfo();
    if (pendingCount(info) > 0) throw new Error(`heal info is not clean: ${JSON.stringify(info)}`);
    replica.expectSameCopies();
    figures.push(
      { text: `heal, ${make}: from the brick's return to a clean heal info`, value: took, unit: "s" },
      {
        text: `heal, ${make}: bytes moved for each byte changed`,
        value: movedMiB / scale.changedMiB,
        unit: "x",
        ...(make === "mortar" ? { wanted: 1.2 } : {}),
      },
    );
    await lab.unmount(mount);
    await daemon.stop();
    await replica.kill(0, 1, 2);
  }
  const [mortar, peer] = [seconds.get("mortar"), seconds.get("glusterfs")];
  if (mortar !== undefined && peer !== undefined)
    figures.push({
      text: "heal, time of mortar against glusterfs",
      value: mortar / peer,
      unit: "x",
      wanted: 0.25,
    });
  return figures;
}

/** Bytes that have arrived at the brick that was away since it is back: all its connections are new. */
async function receivedBytes({ lab, bricks }: Replica): Promise<number> {
  const { address } = bricks[AWAY]!;
  if (!("port" in address)) throw new Error("the bricks of a trial listen on TCP");
  const filter = ["state", "established", "sport", "=", `:${address.port}`];
  const table = await lab.processes.run("ss", ["-tinH", ...filter]);
  return [...table.matchAll(/bytes_received:(\d+)/g)].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

async function runStall({ lab, makes, progress }: TrialRun): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const make of makes) {
    for (const { signal, limit, away } of [
      { signal: "SIGKILL", limit: 0.1, away: AROUND_SEC },
      { signal: "SIGSTOP", limit: PING_TIMEOUT_S + 1, away: PING_TIMEOUT_S + AROUND_SEC },
    ] as const) {
      progress(`stall: ${make}: ${signal}`);
      const replica = await Replica.three(lab, make, { client: [`ping-timeout ${PING_TIMEOUT_S}`] });
      const mount = await replica.mount(make);
      await fio(lab, mount, ["--rw=write", "--bs=1m", "--size=64m"]);
      const loop = ["--rw=randwrite", "--bs=4k", "--iodepth=1", "--size=64m", "--time_based"];
      const writing = fio(lab, mount, [...loop, `--runtime=${AROUND_SEC + away}`]);
      await pause(AROUND_SEC * 1000);
      const { process } = replica.bricks[AWAY]!;
      process.signal(signal);
      const longest = await writing;
      process.signal("SIGKILL");
      figures.push({
        text: `stall, ${make}: longest write when a brick gets ${signal}`,
        value: longest,
        unit: "s",
        ...(make === "mortar" ? { wanted: limit } : {}),
      });
      await lab.unmount(mount);
      await replica.kill(0, 1, 2);
    }
  }
  return figures;
}

/** Runs fio on the image with O_DIRECT; an error fails the trial. @returns the longest request in seconds */
async function fio(lab: Lab, mount: Mount, args: readonly string[]): Promise<number> {
  const output = await lab.processes.run(
    "fio",
    [
      ...["--output-format=json", "--name=trial", "--ioengine=libaio", "--direct=1", "--fallocate=none"],
      ...[`--filename=${join(mount.mountpoint, IMAGE)}`, ...args],
    ],
    { timeoutMs: HEAL_DEADLINE_MS },
  );
  const { jobs } = JSON.parse(output.slice(output.indexOf("{"))) as {
    jobs: { error: number; write: { lat_ns: { max: number } } }[];
  };
  const [job] = jobs;
  if (job === undefined || job.error !== 0) throw new Error(`fio: error ${job?.error}`);
  return job.write.lat_ns.max / 1e9;
}
