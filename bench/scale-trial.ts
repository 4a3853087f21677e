/**
 * Trials of scale: a mount of a sharded volume with the virt profile that has touched 16,000 blocks, of one
 * image of a tebibyte or of 1000 images that are all open. What does it hold in memory, and what does a 4k
 * request cost against one on an image of a gibibyte?
 *
 * The small image is asked through a mount of its own, which has seen nothing else; passes take turns.
 * Requests come one at a time from fio, which replays a log made here: each goes to another block, so nothing
 * that is kept for the last block helps. On a replica 3 a write to a block that nobody wrote to for a second
 * takes its lock and marks it on three disks first, whatever the size of the image: there all blocks are only
 * read, and writes go to a gibibyte of them, as a guest's do to what it uses at a time. Beside one brick the
 * same requests go to bare files, one a block, on its file system: what many files cost there is not
 * Mortar's.
 */

import { closeSync, ftruncateSync, openSync, readFileSync } from "node:fs";
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
/** Measured passes of reads and of writes, taken in turn after one that is not; the median counts. */
const PASSES = 3;
/** What a large image may cost of a small one. */
const RATIO = 1.2;
/** 150 MB. */
const RSS_MIB = Math.floor(150e6 / MIB);
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
type Latencies = Readonly<Record<What, number[]>>;
type What = "read" | "write";

interface Target {
  readonly text: string;
  /** Where its files are. */
  readonly directory: string;
  readonly spots: readonly Spot[];
  readonly loads: readonly What[];
  readonly latencies: Latencies;
}

interface Case {
  readonly make: Make;
  readonly copies: number;
  readonly volfile: string;
  readonly large: Images;
  /** Of a measured pass. */
  readonly requests: number;
}

const SMALL: Images = { text: "an image of 1 GiB", names: ["small"], blocksEach: BLOCKS_PER_GIB };

/** One large image. */
export function runScaleOne(copies: 1 | 3): (run: TrialRun) => Promise<Figure[]> {
  return (run) => {
    const { blocks } = run.scale;
    return runOver(run, copies, {
      text: `${blocks} blocks of one image`,
      names: ["large"],
      blocksEach: blocks,
    });
  };
}

/** Many small ones. */
export function runScaleMany(copies: 1 | 3): (run: TrialRun) => Promise<Figure[]> {
  return (run) => {
    const { blocks } = run.scale;
    const names = Array.from({ length: blocks / BLOCKS_PER_GIB }, (_, index) => `image-${index}`);
    const text = `${blocks} blocks of ${names.length} open images`;
    return runOver(run, copies, { text, names, blocksEach: BLOCKS_PER_GIB });
  };
}

async function runOver(
  { lab, scale, makes, progress }: TrialRun,
  copies: number,
  large: Images,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const make of makes) {
    const replica = await Replica.start(lab, { makes: Array.from({ length: copies }, () => make) });
    const { name, volumeId, bricks } = replica;
    const volfile = lab.writeFile("scale.vol", virtVolfile({ name, volumeId, copies: bricks }));
    figures.push(
      ...(await measure(lab, { make, copies, volfile, large, requests: scale.requests }, progress)),
    );
    await replica.kill(...bricks.keys());
  }
  return figures;
}

async function measure(
  lab: Lab,
  { make, copies, volfile, large, requests }: Case,
  progress: (text: string) => void,
): Promise<Figure[]> {
  const title = `${make}, ${copies === 1 ? "one brick" : `replica ${copies}`}, ${large.text}`;
  const tell = (what: string): void => progress(`scale: ${title}: ${what}`);
  const [near, far] = [await lab.mount(make, volfile), await lab.mount(make, volfile)];
  const both = ["read", "write"] as const;
  const target = (
    text: string,
    directory: string,
    spots: readonly Spot[],
    loads: readonly What[] = both,
  ): Target => ({
    text,
    directory,
    spots,
    loads,
    latencies: { read: [], write: [] },
  });
  const each = Math.ceil(requests / BLOCKS_PER_GIB);
  const some = { ...large, names: large.names.slice(0, 1), blocksEach: BLOCKS_PER_GIB };
  const targets: readonly Target[] = [
    target(SMALL.text, near.mountpoint, spotsOf(SMALL, each)),
    target("all of them", far.mountpoint, spotsOf(large), copies === 1 ? both : ["read"]),
    ...(copies === 1 ? [] : [target("16 of them", far.mountpoint, spotsOf(some, each))]),
  ];
  const bare = lab.makeDirectory("bare");
  const bareTargets: readonly Target[] =
    copies === 1
      ? [
          target(`bare files, ${SMALL.text}`, bare, asFiles(spotsOf(SMALL, each))),
          target("bare files, all of them", bare, asFiles(spotsOf(large))),
        ]
      : [];
  const holder = lab.agent({ timeoutMs: DEADLINE_MS });
  for (const images of [SMALL, large])
    for (const name of images.names) {
      const { mountpoint } = images === SMALL ? near : far;
      const fd = await holder.open(join(mountpoint, name), "O_RDWR|O_CREAT");
      await holder.ftruncate(fd, images.blocksEach * BLOCK);
    }
  for (const { spots } of bareTargets) makeFiles(bare, spots);
  for (const { text, directory, spots } of [...targets, ...bareTargets]) {
    tell(`first writes: ${text}`);
    await replay(lab, directory, spots, {
      what: "write",
      depth: FILL_DEPTH,
      seed: 0,
      requests: spots.length,
    });
  }
  for (let pass = 0; pass <= PASSES; pass++) {
    for (const { text, directory, spots, loads, latencies } of [...targets, ...bareTargets])
      for (const what of loads) {
        const us = await replay(lab, directory, spots, { what, depth: 1, seed: pass, requests });
        tell(`pass ${pass} of ${PASSES}: ${text}: ${what} ${shortNumber(us)} us`);
        if (pass > 0) latencies[what].push(us);
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
    ...ratios(title, targets, isOurs ? RATIO : undefined),
    ...ratios(title, bareTargets, undefined),
  ];
}

/** Against the small image. */
function ratios(title: string, [small, ...others]: readonly Target[], wanted: number | undefined): Figure[] {
  return others.flatMap(({ text, loads, latencies }) =>
    loads.map((what) => ({
      text: `${title}: 4k ${what}, ${text}, against ${small!.text}`,
      value: median(latencies[what]) / median(small!.latencies[what]),
      unit: "x",
      ...(wanted === undefined ? {} : { wanted }),
    })),
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

/** The same places, where each block is a file. */
function asFiles(spots: readonly Spot[]): Spot[] {
  return spots.map(({ file, offset }) => ({
    file: `${file}.${Math.floor(offset / BLOCK)}`,
    offset: offset % BLOCK,
  }));
}

/** Sparse files as long as a block. */
function makeFiles(directory: string, spots: readonly Spot[]): void {
  for (const file of new Set(spots.map((spot) => spot.file))) {
    const fd = openSync(join(directory, file), "w");
    ftruncateSync(fd, BLOCK);
    closeSync(fd);
  }
}

interface Load {
  readonly what: What;
  /** Requests at a time. */
  readonly depth: number;
  readonly seed: number;
  readonly requests: number;
}

/** Asks at so many of the spots, each at most once, in a random order. @returns mean microseconds */
async function replay(
  lab: Lab,
  directory: string,
  spots: readonly Spot[],
  { what, depth, seed, requests }: Load,
): Promise<number> {
  const pathOf = (file: string): string => join(directory, file);
  const files = [...new Set(spots.map(({ file }) => file))];
  const lines = ["fio version 2 iolog", ...files.map((file) => `${pathOf(file)} add`)];
  lines.push(...files.map((file) => `${pathOf(file)} open`));
  for (const { file, offset } of shuffled(spots, new Prng(seed)).slice(0, requests))
    lines.push(`${pathOf(file)} ${what} ${offset} ${REQUEST}`);
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
  return job![what].lat_ns.mean / 1000;
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
