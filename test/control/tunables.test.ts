/**
 * The tunables of a store for virtual machines, each switched there and back on a volume in use: a writer
 * goes on over the borders of blocks meanwhile, and reads what it wrote.
 */

import { describe, expect, it } from "vitest";
import { TunedVolume } from "../../src/control/tuned-volume.ts";
import { nodeEnv } from "../../src/core/env-node.ts";
import type { Fd } from "../../src/core/inode.ts";
import { SILENT } from "../../src/core/log.ts";
import { O_DIRECT, O_RDWR } from "../../src/core/open-flags.ts";
import { parseVolfile, type Volfile } from "../../src/graph/volfile.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { settle } from "../support/fake-env.ts";
import { Prng } from "../support/prng.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { Session } from "../support/session.ts";
import { sectionOf } from "../support/volfiles.ts";

const BLOCK = 4 << 20;
const SIZE = 3 * BLOCK;
const UNIT = 4096;
/** Writes that end between two steps, so that each state of the graph takes some. */
const WRITES = 24;

/** From the bottom up, as `group virt` and all caches would have it; three copies in memory. */
function volfile(): Volfile {
  const bricks = [0, 1, 2].flatMap((index) => [
    sectionOf(`disk-${index}`, "storage/memory", {}, []),
    sectionOf(`v-client-${index}`, "features/locks", {}, [`disk-${index}`]),
  ]);
  const copies = sectionOf("v-replicate-0", "cluster/replicate", {}, [
    "v-client-0",
    "v-client-1",
    "v-client-2",
  ]);
  const layers = [
    ["dht", "cluster/distribute"],
    ["shard", "features/shard"],
    ["utime", "features/utime"],
    ["write-behind", "performance/write-behind"],
    ["read-ahead", "performance/read-ahead"],
    ["readdir-ahead", "performance/readdir-ahead"],
    ["io-cache", "performance/io-cache"],
    ["open-behind", "performance/open-behind"],
    ["quick-read", "performance/quick-read"],
    ["md-cache", "performance/md-cache"],
    ["v", "debug/io-stats"],
  ] as const;
  let below = "v-replicate-0";
  const stacked = layers.map(([name, type]) => {
    const options: Record<string, string> = name === "shard" ? { "shard-block-size": "4MB" } : {};
    const section = sectionOf(name, type, options, [below]);
    below = name;
    return section;
  });
  return parseVolfile([...bricks, copies, ...stacked].join("\n"), "v.vol");
}

/** Writes at random until it is told to stop, and knows what the file should hold. */
class Writer {
  readonly model = Buffer.alloc(SIZE);
  readonly #prng = new Prng(3);
  #written = 0;
  #isStopping = false;
  #running: Promise<void> = Promise.resolve();

  start(session: Session, fds: readonly Fd[]): void {
    this.#running = Promise.all(fds.map((fd, index) => this.#run(session, fd, index, fds.length))).then(
      () => {},
    );
  }

  /** Each fd has every so-manieth unit to itself. */
  async #run(session: Session, fd: Fd, part: number, parts: number): Promise<void> {
    while (!this.#isStopping) {
      const border = this.#prng.int(1, 2) * BLOCK;
      const near = border + this.#prng.int(-8, 7) * parts * UNIT + part * UNIT;
      const fill = this.#prng.int(1, 255);
      await session.write(fd, Buffer.alloc(UNIT, fill), near);
      this.model.fill(fill, near, near + UNIT);
      const read = await session.read(fd, near, UNIT);
      expectSameBytes(read, this.model.subarray(near, near + UNIT), `what was written at ${near}`);
      this.#written++;
      // Bricks in memory answer without a turn of the loop, which timers and changes wait for.
      await settle();
    }
  }

  /** Resolves when so many more writes have ended; rejects when one failed. */
  async more(count: number): Promise<void> {
    const until = this.#written + count;
    while (this.#written < until && !this.#isStopping) await Promise.race([this.#running, settle()]);
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
  }
}

/** The default is what it is set back to. */
const TRANSLATORS = [
  "performance.write-behind",
  "performance.read-ahead",
  "performance.readdir-ahead",
  "performance.io-cache",
  "performance.open-behind",
  "performance.quick-read",
  "performance.stat-prefetch",
] as const;
const OPTIONS = [
  ["performance.write-behind-window-size", "4MB"],
  ["performance.flush-behind", "off"],
  ["performance.write-behind-trickling-writes", "off"],
  ["performance.strict-write-ordering", "on"],
  ["performance.strict-o-direct", "on"],
  ["performance.resync-failed-syncs-after-fsync", "off"],
  ["cluster.eager-lock", "off"],
  ["cluster.quorum-type", "auto"],
  ["cluster.choose-local", "off"],
  ["cluster.data-self-heal-algorithm", "full"],
  ["cluster.min-free-disk", "5%"],
  ["features.shard-block-size", "8MB"],
  ["features.shard-lru-limit", "20"],
  ["features.shard-deletion-rate", "200"],
  ["ctime.noatime", "off"],
  ["performance.lazy-open", "off"],
  ["performance.read-after-open", "off"],
  ["performance.quick-read-cache-timeout", "10"],
  ["performance.quick-read-max-file-size", "128KB"],
  ["performance.io-cache-size", "64MB"],
  ["performance.cache-refresh-timeout", "5"],
  ["performance.read-ahead-page-count", "8"],
  ["performance.rda-cache-limit", "20MB"],
  ["performance.md-cache-timeout", "10"],
  ["performance.global-cache-invalidation", "off"],
  ["performance.md-cache-statfs", "on"],
  ["diagnostics.count-fop-hits", "on"],
  ["diagnostics.latency-measurement", "on"],
] as const;

describe("a volume in use, by two writers of which one is direct,", () => {
  async function tune(steps: readonly (readonly [key: string, value: string])[], switches: number) {
    const env = nodeEnv(SILENT);
    const source = volfile();
    const volume = await TunedVolume.start(source, {
      registry: REGISTRY,
      env,
      origin: { load: async () => source },
    });
    const session = new Session(volume.live);
    const writer = new Writer();
    try {
      const fd = await session.create("image");
      await session.top.ftruncate(session.call, { fd, offset: SIZE });
      const direct = await session.open(fd.inode, O_RDWR | O_DIRECT);
      writer.start(session, [fd, direct]);
      for (const [key, value] of steps) {
        await writer.more(WRITES);
        const report = await volume.set(key, value);
        expect(report.outcomes, key).toMatchObject([{ outcome: "set" }]);
        expect(volume.get(key)[0]!.value, key).toBe(value);
      }
      await writer.more(WRITES);
      await writer.stop();
      await session.top.fsync(session.call, { fd, datasync: false });
      expectSameBytes(await session.read(fd, 0, SIZE), writer.model, "the whole image");
      expect(volume.live.switches).toBe(switches);
    } finally {
      await writer.stop().catch(() => {});
      await session.end();
      await volume.live.stop();
    }
  }

  it.each(TRANSLATORS)("has %s taken out and put back", (key) =>
    tune(
      [
        [key, "off"],
        [key, "on"],
      ],
      2,
    ),
  );

  it("has network.remote-dio put in and taken out", () =>
    tune(
      [
        ["network.remote-dio", "on"],
        ["network.remote-dio", "off"],
      ],
      2,
    ));

  it("has every option changed in the running graph", () => tune(OPTIONS, 0));
});
