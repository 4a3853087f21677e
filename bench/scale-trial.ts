/**
 * Trial of scale: a mount of a sharded volume with the virt profile that has touched 16,000 blocks, of one
 * image of a tebibyte and of 1000 images that are all open. What does it hold in memory, and what does a 4k
 * request cost against one on an image of a gibibyte?
 *
 * The small image is asked through a mount of its own, which has seen nothing else; passes take turns.
 * Requests come one at a time from fio, which replays a log made here: each goes to another block, so nothing
 * that is kept for the last block helps. On one brick over TCP a block costs what the mount makes of it. On a
 * replica 3 a write to a block whose lock is not held costs the taking of it; there the large image is also
 * asked at a gibibyte of its blocks, as a guest does with what it uses at a time.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseFio } from "../src/compare/fio.ts";
import { median, shortNumber } from "../src/compare/stats.ts";
import type { Lab, Make, Mount } from "../test/support/peers.ts";
import { Prng } from "../test/support/prng.ts";
import { Replica } from "../test/support/replica.ts";
import { virtVolfile } from "../test/support/replica-volfiles.ts";
import type { Figure } from "./figures.ts";
import type { TrialRun } from "./trials.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** Default of features/shard. */
const BLOCK = 64 * MIB;
const REQUEST = 4096;
const BLOCKS_PER_GIB = GIB / BLOCK;
/** Requests at a time while blocks are made. */
const FILL_DEPTH = 8;
/** Requests of a measured pass. */
const REQUESTS = 4000;
/** Measured passes of each load, taken in turn after one that is not; the median counts. */
const PASSES = 3;
/** What a large image may cost of a small one. */
const RATIO = 1.2;
/** 150 MB. */
const RSS_MIB = Math.floor(150e6 / MIB);
const ALL = "all of them";
const DEADLINE_MS = 600_000;

/** Where requests of one load go. */
interface Spot {
  readonly file: string;
  readonly offset: number;
}

/** Images of one size. */
interface Images {
  readonly text: string;
  readonly names: readonly string[];
  readonly blocksEach: number;
}

/** Mean microseconds of a request. */
interface Latency {
  readonly read: number;
  readonly write: number;
}

interface Target {
  readonly text: string;
  readonly mount: Mount;
  readonly spots: readonly Spot[];
  readonly latencies: Latency[];
}

interface Case {
  readonly make: Make;
  readonly copies: number;
  readonly volfile: string;
  readonly large: Images;
}

const SMALL: Images = { text: "an image of 1 GiB", names: ["small"], blocksEach: BLOCKS_PER_GIB };

/** On one brick. */
export function runScale(run: TrialRun): Promise<Figure[]> {
  return runOver(run, 1);
}

export function runScaleReplica(run: TrialRun): Promise<Figure[]> {
  return runOver(run, 3);
}

async function runOver({ lab, scale, makes, progress }: TrialRun, copies: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  const { blocks } = scale;
  const count = blocks / BLOCKS_PER_GIB;
  const names = Array.from({ length: count }, (_, index) => `image-${index}`);
  const kinds: readonly Images[] = [
    { text: `${blocks} blocks of one image`, names: ["large"], blocksEach: blocks },
    { text: `${blocks} blocks of ${count} open images`, names, blocksEach: BLOCKS_PER_GIB },
  ];
  for (const make of makes) {
    const replica = await Replica.start(lab, { makes: Array.from({ length: copies }, () => make) });
    const { name, volumeId, bricks } = replica;
    const volfile = lab.writeFile("scale.vol", virtVolfile({ name, volumeId, copies: bricks }));
    for (const large of kinds)
      figures.push(...(await measure(lab, { make, copies, volfile, large }, progress)));
    await replica.kill(...bricks.keys());
  }
  return figures;
}

async function measure(
  lab: Lab,
  { make, copies, volfile, large }: Case,
  progress: (text: string) => void,
): Promise<Figure[]> {
  const title = `${make}, ${copies === 1 ? "one brick" : `replica ${copies}`}, ${large.text}`;
  const tell = (what: string): void => progress(`scale: ${title}: ${what}`);
  const [near, far] = [await lab.mount(make, volfile), await lab.mount(make, volfile)];
  const all = spotsOf(large);
  const targets: Target[] = [
    { text: SMALL.text, mount: near, spots: spotsOf(SMALL, REQUESTS / BLOCKS_PER_GIB), latencies: [] },
    { text: ALL, mount: far, spots: all, latencies: [] },
  ];
  if (copies > 1) {
    const used = { ...large, names: large.names.slice(0, 1), blocksEach: BLOCKS_PER_GIB };
    const spots = spotsOf(used, REQUESTS / BLOCKS_PER_GIB);
    targets.push({ text: "16 of them", mount: far, spots, latencies: [] });
  }
  const holder = lab.agent({ timeoutMs: DEADLINE_MS });
  for (const images of [SMALL, large])
    for (const name of images.names) {
      const { mountpoint } = images === SMALL ? near : far;
      const fd = await holder.open(join(mountpoint, name), "O_RDWR|O_CREAT");
      await holder.ftruncate(fd, images.blocksEach * BLOCK);
    }
  for (const target of targets) {
    tell(`first writes: ${target.text}`);
    await replay(lab, target, { depth: FILL_DEPTH, reads: 0, seed: 0, requests: target.spots.length });
  }
  for (let pass = 0; pass <= PASSES; pass++) {
    for (const target of targets) {
      const load = { depth: 1, reads: 0.5, seed: pass, requests: REQUESTS };
      const latency = await replay(lab, target, load);
      const [read, write] = [shortNumber(latency.read), shortNumber(latency.write)];
      tell(`pass ${pass} of ${PASSES}: ${target.text}: read ${read} us, write ${write} us`);
      if (pass > 0) target.latencies.push(latency);
    }
    tell(`pass ${pass} of ${PASSES}: ${shortNumber(residentMiB(far))} MiB resident`);
  }
  const resident = residentMiB(far);
  await holder.process.kill();
  await lab.unmount(near);
  await lab.unmount(far);
  const isOurs = make === "mortar";
  return [
    { text: `${title}: memory`, value: resident, unit: "MiB", ...(isOurs ? { wanted: RSS_MIB } : {}) },
    ...ratios(title, targets, isOurs),
  ];
}

/** Against the small image. A write to a block whose locks are not held has no goal of its own. */
function ratios(title: string, [small, ...others]: readonly Target[], isOurs: boolean): Figure[] {
  return others.flatMap(({ text, latencies }) =>
    (["read", "write"] as const).map((what) => {
      const mean = (of: readonly Latency[]): number => median(of.map((latency) => latency[what]));
      const isGoal = isOurs && (what === "read" || text !== ALL || others.length === 1);
      return {
        text: `${title}: 4k ${what}, ${text}, against ${small!.text}`,
        value: mean(latencies) / mean(small!.latencies),
        unit: "x",
        ...(isGoal ? { wanted: RATIO } : {}),
      };
    }),
  );
}

/** `each` places in every block of the images, always the same ones. */
function spotsOf({ names, blocksEach }: Images, each = 1): Spot[] {
  const prng = new Prng(1);
  return names.flatMap((file) =>
    Array.from({ length: blocksEach * each }, (_, index) => {
      const within = prng.int(0, BLOCK / REQUEST - 1) * REQUEST;
      return { file, offset: (index % blocksEach) * BLOCK + within };
    }),
  );
}

interface Load {
  /** Requests at a time. */
  readonly depth: number;
  /** The share of them that reads. */
  readonly reads: number;
  readonly seed: number;
  readonly requests: number;
}

/** Asks at so many of the spots, each at most once, in a random order. */
async function replay(
  lab: Lab,
  { mount, spots }: Target,
  { depth, reads, seed, requests }: Load,
): Promise<Latency> {
  const prng = new Prng(seed);
  const pathOf = (file: string): string => join(mount.mountpoint, file);
  const files = [...new Set(spots.map(({ file }) => file))];
  const lines = ["fio version 2 iolog", ...files.map((file) => `${pathOf(file)} add`)];
  lines.push(...files.map((file) => `${pathOf(file)} open`));
  for (const { file, offset } of shuffled(spots, prng).slice(0, requests))
    lines.push(`${pathOf(file)} ${prng.chance(reads) ? "read" : "write"} ${offset} ${REQUEST}`);
  lines.push(...files.map((file) => `${pathOf(file)} close`));
  const log = lab.writeFile("requests.log", `${lines.join("\n")}\n`);
  const output = await lab.processes.run(
    "fio",
    [
      ...["--name=scale", "--output-format=json", "--ioengine=libaio", "--direct=1", `--iodepth=${depth}`],
      ...[`--read_iolog=${log}`, "--replay_no_stall=1"],
    ],
    { timeoutMs: DEADLINE_MS },
  );
  const [job] = parseFio(output);
  const us = (what: "read" | "write"): number => job![what].lat_ns.mean / 1000;
  return { read: us("read"), write: us("write") };
}

function shuffled<T>(items: readonly T[], prng: Prng): T[] {
  const out = [...items];
  for (let last = out.length - 1; last > 0; last--) {
    const other = prng.int(0, last);
    [out[last], out[other]] = [out[other]!, out[last]!];
  }
  return out;
}

function residentMiB({ process: { pid } }: Mount): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) / 1024;
}
