/**
 * The embedded volume: what the first start makes, what later starts find, and which wrong brick directories
 * are refused, each with its own line.
 */

import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openVolume, startVolfile } from "../../src/api/open.ts";
import { parseSource } from "../../src/api/source.ts";
import { Volume } from "../../src/api/volume.ts";
import { openEmbeddedTuned } from "../../src/control/embedded.ts";
import { nodeEnv } from "../../src/core/env-node.ts";
import { SILENT } from "../../src/core/log.ts";
import { O_CREAT, O_RDWR } from "../../src/core/open-flags.ts";
import { printVolfile } from "../../src/graph/volfile.ts";
import { type EmbeddedOptions, openEmbedded } from "../../src/process/embedded.ts";
import { parseLayout } from "../../src/process/embedded-state.ts";
import { openAnyVolume } from "../../src/process/embedded-use.ts";
import { Replicas } from "../../src/process/replicas.ts";
import { getXattr } from "../support/libc.ts";
import { until } from "../support/wait.ts";

let dir: string;
beforeEach(async (context) => {
  if (process.getuid?.() !== 0) context.skip("bricks need root for trusted.* xattrs");
  dir = await mkdtemp(join(tmpdir(), "mortar-embedded-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const data = (...parts: string[]): string => join(dir, "data", ...parts);
const open = (options: EmbeddedOptions = {}) => openEmbedded(data(), "instances", options);
const brick = (index: number): string => data(`brick-${index}`);

describe("a new embedded volume", () => {
  it("has three copies, and is the same one under another name later", async () => {
    const first = await open();
    expect(first).toMatchObject({ name: "instances", layout: "3", notes: [] });
    expect((await readdir(data())).sort()).toEqual([
      ...["brick-0", "brick-1", "brick-2", "client.vol", "run", "volume.json"],
    ]);
    const again = await openEmbedded(data(), "other");
    expect(again.name).toBe("instances");
    expect(printVolfile(again.volfile)).toBe(printVolfile(first.volfile));
  });

  it("has two copies and an arbiter when asked, for good", async () => {
    const text = printVolfile((await open({ layout: "2+1" })).volfile);
    expect(text.match(/type features\/arbiter/g)).toHaveLength(1);
    expect(text).toContain("option arbiter-count 1");
    expect((await open()).layout).toBe("2+1");
    await expect(open({ layout: "3" })).rejects.toThrow(
      /^--replica 3: volume "instances" in ".*" has replica 2\+1 for good; start a new one with another --data/,
    );
  });

  it("has files in blocks of 64MB, of another size or whole ones when asked, for good", async () => {
    const text = printVolfile((await open()).volfile);
    expect(text).toMatch(/type features\/shard\n\s+option shard-block-size 64MB/);
    expect(text).toContain("type performance/write-behind");
    const asIs = printVolfile((await open({ shard: "64MB" })).volfile);
    expect(asIs).toBe(text);
    await expect(open({ shard: "off" })).rejects.toThrow(
      /^--shard off: volume "instances" in ".*" has files in blocks of 64MB for good; start a new one/,
    );
    const other = (name: string, options: EmbeddedOptions) => openEmbedded(join(dir, name), "b", options);
    expect(printVolfile((await other("b", { shard: "16MB" })).volfile)).toContain("shard-block-size 16MB");
    const whole = printVolfile((await other("c", { shard: "off" })).volfile);
    expect(whole).not.toMatch(/features\/shard|performance/);
    await expect(other("c", { shard: "64MB" })).rejects.toThrow(/^--shard 64MB: .* has whole files for good/);
    await expect(other("d", { shard: "3KB" })).rejects.toThrow(/^--shard "3KB": .*or "off"$/);
    await expect(other("e", { shard: "64MB", layout: "1" })).rejects.toThrow(/^--shard 64MB: is of volumes/);
  });

  it("has one copy when asked, and no word about it", async () => {
    expect(await open({ layout: "1" })).toMatchObject({ layout: "1", notes: [] });
    expect((await readdir(data())).sort()).toEqual(["brick", "volume.json"]);
    await expect(open({ newBrick: 1 })).rejects.toThrow(/^--new-brick 1: volume "instances" has one copy/);
  });

  it("is finished by the next start when the first was interrupted", async () => {
    await open();
    const state = JSON.parse(await readFile(data("volume.json"), "utf8"));
    await writeFile(data("volume.json"), JSON.stringify({ ...state, making: [0, 1, 2] }));
    await rm(brick(2), { recursive: true });
    expect((await open()).notes).toEqual([]);
    expect(JSON.parse(await readFile(data("volume.json"), "utf8"))).toEqual(state);
  });

  it("takes no directory with files in it, but for what a new file system has", async () => {
    await mkdir(join(brick(1), "photos"), { recursive: true });
    await expect(open()).rejects.toThrow(
      /^brick ".*brick-1": has files and belongs to no volume; a new brick/,
    );
    await rm(join(brick(1), "photos"), { recursive: true });
    await mkdir(join(brick(1), "lost+found"));
    expect((await open()).notes).toEqual([]);
  });

  it("takes the layouts there are", () => {
    expect(["1", "3", "2+1"].map(parseLayout)).toEqual(["1", "3", "2+1"]);
    expect(() => parseLayout("2")).toThrow(/^--replica "2": is none of 1, 3, 2\+1/);
  });

  it("cannot be filled from nowhere", async () => {
    await expect(open({ newBrick: 0 })).rejects.toThrow(/^--new-brick 0: there is no volume yet/);
  });
});

describe("other processes", () => {
  it("reach the bricks of a running volume by its data directory", async () => {
    const { volfile, beside } = await open();
    const inside = new Volume(await startVolfile(volfile, { beside }));
    const outside = await openVolume(data());
    await outside.mkdir("/d");
    expect((await inside.stat("/d")).gfid).toEqual((await outside.stat("/d")).gfid);
    await outside.close();
    await inside.close();
  });

  const shardSize = async (): Promise<string> =>
    /option shard-block-size (\S+)/.exec(await readFile(data("client.vol"), "utf8"))![1]!;

  it("go by the settings of the volume: those that are open, those to come, and after a new start", async () => {
    const embedded = await open();
    const inside = await openEmbeddedTuned(embedded, { env: nodeEnv(SILENT) });
    const outside = await openVolume(data());
    const outsideSays = (key: string): string | undefined =>
      outside.graph.volfile.sections
        .flatMap(({ options }) => options)
        .findLast((option) => option.key === key)?.value;
    const { volume } = inside;
    expect(await volume.set("features.shard-block-size", "16MB")).toMatchObject({ kept: true });
    await until("who is open has it too", () => outsideSays("shard-block-size") === "16MB");
    await volume.set("cluster.quorum-type", "fixed");
    await volume.set("performance.write-behind", "off");
    await until("who is open has this too", () => outsideSays("quorum-type") === "fixed");
    const fresh = await openVolume(data());
    await (await fresh.open("/image", O_CREAT | O_RDWR)).close();
    await Promise.all([fresh.close(), outside.close()]);
    await volume.live.stop();
    expect(getXattr(join(brick(0), "image"), "trusted.glusterfs.shard.block-size").readBigUInt64BE()).toBe(
      16n << 20n,
    );
    await rm(data("client.vol"));
    expect((await open()).settings.get("features.shard-block-size")).toBe("16MB");
    expect(await shardSize()).toBe("16MB");
    const alone = await openAnyVolume(parseSource(data()));
    expect(alone.graph.nodes.some(({ section }) => section.type === "performance/write-behind")).toBe(false);
    await alone.close();
  });

  it("keep what they have where a setting cannot be written down, which is told", async () => {
    const embedded = await open();
    const { volume } = await openEmbeddedTuned(embedded, { env: nodeEnv(SILENT) });
    const before = await readFile(data("client.vol"), "utf8");
    await mkdir(data("client.vol.new"));
    const report = await volume.set("features.shard-block-size", "16MB");
    expect(report).toMatchObject({ kept: false, outcomes: [{ outcome: "set", value: "16MB" }] });
    expect(report.notKept).toMatch(/^".*client\.vol": cannot be written: EISDIR/);
    expect(volume.get("features.shard-block-size")[0]!.value).toBe("16MB");
    expect(await readFile(data("client.vol"), "utf8")).toBe(before);
    // A full disk is no reason not to start: nothing has to be written for that.
    expect((await open()).settings.size).toBe(0);
    await rm(data("client.vol.new"), { recursive: true });
    expect(await volume.set("cluster.quorum-type", "auto")).toMatchObject({ kept: true });
    expect(await shardSize()).toBe("16MB");
    await volume.live.stop();
  });

  it("are told of a kept setting that this version does not know", async () => {
    await open();
    const state = JSON.parse(await readFile(data("volume.json"), "utf8"));
    await writeFile(data("volume.json"), JSON.stringify({ ...state, options: { "cluster.magic": "on" } }));
    expect((await open()).notes).toEqual([
      expect.stringMatching(
        /^".*volume\.json": option "cluster\.magic" has no effect: this volume has no such/,
      ),
    ]);
  });

  it("are told when it does not run", async () => {
    await open();
    const replicas = await Replicas.open(data(), nodeEnv(SILENT));
    await expect(replicas.connect(10_000)).rejects.toThrow(
      /no brick is connected: .*run\/bricks\.sock: no such socket; start the volume or its bricks$/,
    );
    await replicas.stop();
  });

  it("cannot when the path is too long for a socket, and that is said", async () => {
    const far = join(dir, "d".repeat(100));
    const { beside, notes } = await openEmbedded(far, "instances");
    expect(beside).toEqual([]);
    expect(notes).toEqual([expect.stringMatching(/too long for a socket: `mortar heal` cannot reach/)]);
  });
});

describe("a volume of the first release", () => {
  it("goes on with its one brick, and says how to have three", async () => {
    await open({ layout: "1" });
    const { name, id } = JSON.parse(await readFile(data("volume.json"), "utf8"));
    await writeFile(data("volume.json"), JSON.stringify({ name, id }));
    const volume = await open();
    expect(volume.layout).toBe("1");
    expect(volume.notes).toEqual([
      'volume "instances" has one copy of everything; for three: start with a new --data directory, and copy ' +
        "the images over",
    ]);
    await expect(open({ layout: "3" })).rejects.toThrow(/has replica 1 for good/);
  });
});

describe("volume.json", () => {
  it.each(['{"name":"instances"', '{"name":"a","id":"x"}', '{"name":"","id":""}', "[]", "null", "7"])(
    "is not guessed when it is %s",
    async (text) => {
      await open();
      await writeFile(data("volume.json"), text);
      await expect(open()).rejects.toThrow(/volume\.json": is damaged/);
    },
  );

  it("is not guessed when it asks for copies that cannot be", async () => {
    await open();
    const state = JSON.parse(await readFile(data("volume.json"), "utf8"));
    for (const wrong of [{ replica: "5" }, { making: [7] }, { making: "all" }]) {
      await writeFile(data("volume.json"), JSON.stringify({ ...state, ...wrong }));
      await expect(open()).rejects.toThrow(/is damaged/);
    }
  });

  it("cannot be where a file is", async () => {
    await writeFile(data(), "");
    await expect(open()).rejects.toThrow(/^data directory ".*data": /);
  });
});

describe("a brick directory that is not what it should be", () => {
  beforeEach(() => open());

  it("is missing", async () => {
    await rm(brick(1), { recursive: true });
    await expect(open()).rejects.toThrow(
      /^brick ".*brick-1": does not exist; is its file system mounted\? .* start once with --new-brick 1$/,
    );
    // It is not made by the way.
    await expect(open()).rejects.toThrow(/does not exist/);
  });

  it("is empty", async () => {
    await rm(brick(2), { recursive: true });
    await mkdir(join(brick(2), "lost+found"), { recursive: true });
    await expect(open()).rejects.toThrow(/^brick ".*brick-2": is empty; .* start once with --new-brick 2$/);
  });

  it("holds something else", async () => {
    await rm(brick(0), { recursive: true });
    await mkdir(join(brick(0), "photos"), { recursive: true });
    await expect(open()).rejects.toThrow(/^brick ".*brick-0": has files and belongs to no volume; /);
    await expect(open({ newBrick: 0 })).rejects.toThrow(/^--new-brick 0: brick ".*brick-0": is not empty; /);
  });

  it("is of another volume", async () => {
    await openEmbedded(join(dir, "other"), "instances");
    await rm(brick(1), { recursive: true });
    await rename(join(dir, "other", "brick-1"), brick(1));
    await expect(open()).rejects.toThrow(/^brick ".*brick-1": belongs to volume "[-0-9a-f]+", not to "/);
  });

  it("changed places with another", async () => {
    await rename(brick(0), data("spare"));
    await rename(brick(2), brick(0));
    await rename(data("spare"), brick(2));
    await expect(open()).rejects.toThrow(
      /^brick ".*brick-0": is the one of ".*brick-2": they are swapped; put the directories back/,
    );
  });

  it("lost the mark of its place", async () => {
    await rm(join(brick(1), ".glusterfs"), { recursive: true });
    await mkdir(join(brick(1), ".glusterfs"));
    await expect(open()).rejects.toThrow(
      /^brick ".*brick-1": does not say which copy it is .* setfattr -n trusted\.mortar\.brick -v instances-client-1 /,
    );
  });

  it("is no brick at all", async () => {
    await rm(brick(1), { recursive: true });
    await writeFile(brick(1), "");
    await expect(open()).rejects.toThrow(/^brick ".*brick-1": /);
  });
});

describe("a new brick", () => {
  const marks = (index: number, of: number): string =>
    getXattr(brick(index), `trusted.afr.instances-client-${of}`).toString("hex");

  /** As the command does it: the volume, its graph, what a new brick needs. */
  async function start(options: EmbeddedOptions = {}): Promise<Volume> {
    const embedded = await open(options);
    const graph = await startVolfile(embedded.volfile);
    await embedded.ready(graph);
    return new Volume(graph);
  }

  it("is blamed by the others for all it lacks, once", async () => {
    await (await start()).close();
    await rm(brick(1), { recursive: true });
    const volume = await open({ newBrick: 1 });
    expect(volume.notes).toEqual([`brick "${brick(1)}" is new: a heal fills it from the others`]);
    const graph = await startVolfile(volume.volfile);
    await volume.ready(graph);
    await graph.stop();
    for (const index of [0, 2]) {
      expect(marks(index, 1)).toBe("000000010000000100000001");
      const listed = await readdir(join(brick(index), ".glusterfs/indices/xattrop"));
      expect(listed).toContain("00000000-0000-0000-0000-000000000001");
    }
    expect(getXattr(brick(1), "trusted.afr.dirty").toString("hex")).toBe("000000000000000000000001");
    await (await start()).close();
    expect(marks(0, 1)).toBe("000000010000000100000001");
  });

  it("is marked by the next start when that was interrupted", async () => {
    await (await start()).close();
    await rm(brick(1), { recursive: true });
    await open({ newBrick: 1 });
    expect((await open()).notes).toHaveLength(1);
    await (await start()).close();
    expect(marks(2, 1)).toBe("000000010000000100000001");
    expect((await open()).notes).toEqual([]);
  });

  it("is one at a time, of those there are", async () => {
    await open();
    await rm(brick(1), { recursive: true });
    await expect(open({ newBrick: 3 })).rejects.toThrow(/^--new-brick 3: bricks are 0 to 2$/);
    await open({ newBrick: 1 });
    await expect(open({ newBrick: 2 })).rejects.toThrow(/^--new-brick 2: brick 1 is being filled/);
  });
});
