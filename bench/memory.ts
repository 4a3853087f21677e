/**
 * The memory of a mount while the bricks of its replica 3 die and come back in turn, again and again: what
 * the process holds, and what is left of its heap after a collection.
 *
 * The mount runs with a module that collects and writes process.memoryUsage() to a file on SIGUSR2; without
 * collection a heap that grows and one that waits for its collection look the same.
 */

import { chmodSync, existsSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { shortNumber } from "../src/compare/stats.ts";
import { countIndex } from "../test/support/copies.ts";
import type { Lab, Mount } from "../test/support/peers.ts";
import { Replica } from "../test/support/replica.ts";
import { until } from "../test/support/wait.ts";
import type { Figure } from "./figures.ts";
import type { TrialRun } from "./trials.ts";

/** Tells on which bricks a file lies: those that the mount reaches. */
const PATHINFO = "trusted.glusterfs.pathinfo";
const STEP_DEADLINE_MS = 120_000;
const SAMPLES = 10;
const MIB = 2 ** 20;
const BLOCK = 64 * 1024;
const BLOCKS = 16;
/** The last samples against those of the first half that come after warming up: allowed growth. */
const GROWTH_MAX = 1.1;

interface Sample {
  readonly cycle: number;
  readonly rssMiB: number;
  readonly heapMiB: number;
}

export async function runMemory({ lab, scale, progress }: TrialRun): Promise<Figure[]> {
  const probe = new Probe(lab);
  const replica = await Replica.three(lab, "mortar");
  const mount = await replica.mount("mortar", { env: probe.env });
  const daemon = replica.healDaemon("mortar");
  const agent = lab.agent();
  const samples: Sample[] = [];
  const every = Math.max(1, Math.floor(scale.cycles / SAMPLES));
  for (let cycle = 1; cycle <= scale.cycles; cycle++) {
    const index = cycle % replica.bricks.length;
    await replica.kill(index);
    const fd = await agent.open(join(mount.mountpoint, "image"), "O_RDWR|O_CREAT|O_DIRECT");
    for (let block = 0; block < BLOCKS; block++)
      await agent.write(fd, Buffer.alloc(BLOCK, cycle), block * BLOCK);
    await agent.close(fd);
    await agent.writeFile(join(mount.mountpoint, `file-${cycle % SAMPLES}`), `cycle ${cycle}`);
    await replica.revive(index);
    const isClean = (): boolean => replica.bricks.every(({ directory }) => countIndex(directory) === 0);
    const detail = (): string => daemon.output;
    await until("the brick is healed", isClean, { deadlineMs: STEP_DEADLINE_MS, detail });
    // The daemon may have found the brick before the mount did, which needs two of them in the next cycle.
    const isBack = async (): Promise<boolean> =>
      String(await agent.getXattr(mount.mountpoint, PATHINFO)).includes(replica.directory(index));
    await until("the mount has the brick back", isBack, { deadlineMs: STEP_DEADLINE_MS });
    if (cycle % every !== 0) continue;
    const sample = { cycle, ...(await probe.look(mount)) };
    samples.push(sample);
    const [rss, heap] = [shortNumber(sample.rssMiB), shortNumber(sample.heapMiB)];
    progress(`memory: after ${cycle} cycles ${rss} MiB resident, heap ${heap} MiB after collection`);
  }
  await agent.process.kill();
  await lab.unmount(mount);
  await daemon.stop();
  await replica.kill(0, 1, 2);
  return figuresOf(samples);
}

function figuresOf(samples: readonly Sample[]): Figure[] {
  const last = samples.at(-1)!;
  const middle = Math.ceil(samples.length / 2);
  // Code is compiled and caches fill during the first cycles.
  const [early, late] = [samples.slice(middle > 2 ? 2 : 0, middle), samples.slice(-(middle > 2 ? 3 : 1))];
  const mean = (of: readonly Sample[], what: "rssMiB" | "heapMiB"): number =>
    of.reduce((sum, sample) => sum + sample[what], 0) / of.length;
  const growth = (what: "rssMiB" | "heapMiB"): number => mean(late, what) / mean(early, what);
  const cycles = `after ${last.cycle} cycles of kill and return`;
  return [
    { text: `memory: resident ${cycles}`, value: last.rssMiB, unit: "MiB" },
    { text: `memory: heap after collection ${cycles}`, value: last.heapMiB, unit: "MiB" },
    {
      text: "memory: resident, last cycles against early ones",
      value: growth("rssMiB"),
      unit: "x",
      wanted: GROWTH_MAX,
    },
    {
      text: "memory: heap, last cycles against early ones",
      value: growth("heapMiB"),
      unit: "x",
      wanted: GROWTH_MAX,
    },
  ];
}

/** Asks a process of Mortar for its memory after a collection. */
export class Probe {
  /** For the process that is to be asked. */
  readonly env: Readonly<Record<string, string>>;
  readonly #answer: string;
  #looks = 0;

  constructor(lab: Lab) {
    this.#answer = lab.path("memory.json");
    const answer = JSON.stringify(this.#answer);
    const module = lab.writeFile(
      "probe.mjs",
      [
        `import { renameSync, writeFileSync } from "node:fs";`,
        `process.on("SIGUSR2", () => {`,
        `  globalThis.gc();`,
        `  writeFileSync(${answer} + ".new", JSON.stringify(process.memoryUsage()));`,
        `  renameSync(${answer} + ".new", ${answer});`,
        `});`,
      ].join("\n"),
    );
    const node = lab.writeFile(
      "node",
      `#!/bin/sh\nexec "${process.execPath}" --expose-gc --import "file://${module}" "$@"\n`,
    );
    chmodSync(node, 0o755);
    this.env = { MORTAR_NODE: node };
  }

  async look(mount: Mount): Promise<{ rssMiB: number; heapMiB: number }> {
    mount.process.signal("SIGUSR2");
    await until("the mount tells its memory", () => existsSync(this.#answer));
    const seen = `${this.#answer}.${++this.#looks}`;
    renameSync(this.#answer, seen);
    const { rss, heapUsed, external } = JSON.parse(readFileSync(seen, "utf8")) as NodeJS.MemoryUsage;
    return { rssMiB: rss / MIB, heapMiB: (heapUsed + external) / MIB };
  }
}
