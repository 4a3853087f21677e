/** A volume that is asked and told: settings above a volfile that changes, what is kept, what is refused. */

import { describe, expect, it } from "vitest";
import { statsText } from "../../src/cli/stats-view.ts";
import { answer, type Subject } from "../../src/control/answers.ts";
import { BrickMeters } from "../../src/control/brick-meters.ts";
import type { Figures } from "../../src/control/figures.ts";
import { figuresSince } from "../../src/control/figures.ts";
import { prometheusText } from "../../src/control/prometheus.ts";
import type { Statedump } from "../../src/control/statedump.ts";
import { statedumpText } from "../../src/control/statedump.ts";
import { type TunedInit, TunedVolume } from "../../src/control/tuned-volume.ts";
import { UserError } from "../../src/core/errors.ts";
import { parseVolfile, type Volfile } from "../../src/graph/volfile.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { type Layer, stack } from "../support/build-graph.ts";
import { fakeEnv, settle } from "../support/fake-env.ts";
import { Session } from "../support/session.ts";

const LAYERS: readonly Layer[] = [
  { name: "brick", type: "storage/memory" },
  { name: "locks", type: "features/locks" },
  { name: "times", type: "features/utime" },
];
const TOP: Layer = { name: "v", type: "debug/io-stats" };

function volfile(...extra: readonly Layer[]): Volfile {
  return parseVolfile(stack(...LAYERS, ...extra, TOP), "v.vol");
}

class Scene implements AsyncDisposable {
  readonly env = fakeEnv(1);
  readonly kept: Record<string, string>[] = [];
  readonly meters = new BrickMeters(REGISTRY);
  volume!: TunedVolume;
  source = volfile();

  static async start(more: Partial<TunedInit> = {}): Promise<Scene> {
    const scene = new Scene();
    scene.volume = await TunedVolume.start(scene.source, {
      registry: scene.meters.registry,
      env: scene.env,
      origin: { load: async () => scene.source },
      ...more,
    });
    return scene;
  }

  value(key: string): string | undefined {
    return this.volume.get(key)[0]?.value;
  }

  get subject(): Subject {
    return {
      volume: this.volume,
      meters: this.meters,
      mountpoint: "/mnt",
      source: "v.vol",
      mountedMs: 0,
      nowMs: () => this.env.clock.nowMs(),
      edgeFigures: () => ({}),
      edgeDump: () => ({ edge: "test" }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.volume.live.stop();
  }
}

describe("a setting", () => {
  it("is taken over, shown, and reset to what the volfile says", async () => {
    await using scene = await Scene.start();
    const report = await scene.volume.set("noatime", "off");
    expect(report).toMatchObject({
      outcomes: [{ key: "ctime.noatime", value: "off", outcome: "set" }],
      describe: expect.stringMatching(/^Do not store access times/),
      kept: false,
      switched: false,
    });
    expect(scene.volume.get("ctime.noatime")).toMatchObject([{ value: "off", isSet: true }]);
    expect(await scene.volume.set("ctime.noatime", "disable")).toMatchObject({
      outcomes: [{ outcome: "unchanged" }],
    });
    expect(await scene.volume.reset("times.noatime".replace("times", "utime"))).toMatchObject({
      outcomes: [{ key: "ctime.noatime", value: "on" }],
    });
    await expect(scene.volume.reset("ctime.noatime")).rejects.toThrow(/was not set on this mount/);
  });

  it("of a translator switches it, and options that waited for it take effect", async () => {
    await using scene = await Scene.start();
    const early = await scene.volume.set("performance.flush-behind", "off");
    expect(early.outcomes[0]!.note).toBe("takes effect when performance/write-behind is on");
    expect(await scene.volume.set("performance.write-behind", "on")).toMatchObject({ switched: true });
    expect(scene.value("performance.flush-behind")).toBe("off");
    expect(scene.value("performance.write-behind")).toBe("on");
    await scene.volume.set("performance.write-behind", "off");
    expect(scene.volume.live.switches).toBe(2);
  });

  it("survives a new volfile of the source, which may say otherwise", async () => {
    await using scene = await Scene.start();
    await scene.volume.set("ctime.noatime", "off");
    scene.source = volfile({ name: "ro", type: "features/read-only", options: { "read-only": "off" } });
    expect(await scene.volume.reload()).toMatchObject({ kind: "switched" });
    expect(scene.value("ctime.noatime")).toBe("off");
    expect(await scene.volume.reload()).toEqual({ kind: "unchanged" });
  });

  it("that is refused changes nothing", async () => {
    await using scene = await Scene.start();
    for (const [key, value] of [
      ["noatime", "perhaps"],
      ["no-such", "1"],
      ["features.shard", "on"],
    ] as const)
      await expect(scene.volume.set(key, value)).rejects.toThrow(UserError);
    expect(scene.volume.settings.size).toBe(0);
  });

  it("that no mount could start with is refused, also when another one is taken back", async () => {
    await using scene = await Scene.start();
    await scene.volume.set("performance.write-behind", "on");
    const large = (): Promise<unknown> => scene.volume.set("performance.aggregate-size", "2MB");
    await expect(large()).rejects.toThrow(
      /^performance.aggregate-size: .*"v-write-behind": option aggregate-size: "2MB" is above the window/,
    );
    await scene.volume.set("performance.write-behind-window-size", "4MB");
    await large();
    for (const change of [
      scene.volume.reset("performance.write-behind-window-size"),
      scene.volume.set("v-write-behind.cache-size", "1MB"),
    ])
      await expect(change).rejects.toThrow(/make performance.write-behind-window-size larger first/);
    expect(scene.value("performance.write-behind-window-size")).toBe("4MB");
  });

  it("that distributes shards by trust is refused", async () => {
    const spread = `volume b0\ntype storage/memory\nend-volume\nvolume b1\ntype storage/memory\nend-volume
volume d\ntype cluster/distribute\noption lookup-optimize off\nsubvolumes b0 b1\nend-volume
volume s\ntype features/shard\nsubvolumes d\nend-volume
volume v\ntype debug/io-stats\nsubvolumes s\nend-volume\n`;
    const env = fakeEnv();
    const volume = await TunedVolume.start(parseVolfile(spread, "s.vol"), { registry: REGISTRY, env });
    await expect(volume.set("cluster.lookup-optimize", "on")).rejects.toThrow(
      /^cluster.lookup-optimize: .*"d": option lookup-optimize is on below features\/shard/,
    );
    expect(volume.settings.size).toBe(0);
    expect(volume.get("cluster.lookup-optimize")[0]!.value).toBe("off");
    await volume.live.stop();
  });

  it("is kept where somebody keeps them, once the graph has it", async () => {
    const kept: object[] = [];
    await using scene = await Scene.start({
      keep: async (settings) => void kept.push(Object.fromEntries(settings)),
      settings: new Map([["ctime.noatime", "off"]]),
    });
    expect(scene.value("ctime.noatime")).toBe("off");
    expect(await scene.volume.set("performance.write-behind", "on")).toMatchObject({ kept: true });
    await expect(scene.volume.set("ctime.noatime", "x")).rejects.toThrow(UserError);
    expect(kept).toEqual([{ "ctime.noatime": "off", "performance.write-behind": "on" }]);
  });

  it("made at the same time as another is not lost", async () => {
    await using scene = await Scene.start();
    await Promise.all([
      scene.volume.set("performance.write-behind", "on"),
      scene.volume.set("ctime.noatime", "off"),
      scene.volume.set("performance.read-ahead", "on"),
    ]);
    expect(Object.fromEntries(scene.volume.settings)).toEqual({
      "performance.write-behind": "on",
      "ctime.noatime": "off",
      "performance.read-ahead": "on",
    });
    expect(scene.value("performance.read-ahead")).toBe("on");
  });
});

describe("a group", () => {
  it("sets what it can and says what it skipped, and why", async () => {
    await using scene = await Scene.start();
    const { outcomes } = await scene.volume.setAll([
      ["ctime.noatime", "off"],
      ["performance.read-ahead", "off"],
      ["features.ctime", "on"],
      ["features.shard", "on"],
      ["user.cifs", "off"],
      ["performance.client-io-threads", "on"],
      ["network.ping-timeout", "20"],
      ["nobody.knows", "1"],
    ]);
    expect(outcomes.map(({ key, outcome, note }) => [key, outcome, note])).toEqual([
      ["ctime.noatime", "set", undefined],
      ["performance.read-ahead", "unchanged", undefined],
      ["performance.client-io-threads", "unused", expect.stringMatching(/asynchronous already/)],
      // Not for a mount to change; it is told whether the volume has them.
      ["features.ctime", "unchanged", undefined],
      ["features.shard", "skipped", "files on the bricks depend on it"],
      ["user.cifs", "skipped", "it is of other programs"],
      [
        "network.ping-timeout",
        "skipped",
        "this volume has no protocol/client; its bricks are in this process",
      ],
      ["nobody.knows", "skipped", "this volume has no such option"],
    ]);
  });

  it("with one bad value sets nothing", async () => {
    await using scene = await Scene.start();
    const group = scene.volume.setAll([
      ["ctime.noatime", "off"],
      ["performance.read-ahead", "blue"],
    ]);
    await expect(group).rejects.toThrow(/performance\.read-ahead: "blue"/);
    expect(scene.value("ctime.noatime")).toBe("on");
  });
});

describe("a changed volfile of the server", () => {
  const EXTRA: Layer = { name: "ro", type: "features/read-only", options: { "read-only": "off" } };

  it("that has to wait is taken over when it can be", async () => {
    await using scene = await Scene.start();
    const user = new Session(scene.volume.live);
    const fd = await user.create("file");
    await user.lk(fd, "setlk", "wrlck", 0, 0);
    const other = user.as({ owner: "other" });
    const theirs = await other.open(fd.inode);
    const waiting = other.lk(theirs, "setlkw", "wrlck", 0, 0);
    await settle();
    await scene.volume.rebase(volfile(EXTRA));
    expect(scene.volume.live.switches).toBe(0);
    await expect(scene.volume.set("performance.write-behind", "on")).rejects.toThrow(/wait for a lock/);
    await user.lk(fd, "setlk", "unlck", 0, 0);
    await waiting;
    await scene.env.clock.advance(5000);
    expect(scene.volume.live.switches).toBe(1);
    await other.end();
    await user.end();
  });

  it("that is wrong is logged and left alone", async () => {
    await using scene = await Scene.start();
    await scene.volume.rebase(volfile({ name: "x", type: "no/such" }));
    expect(scene.env.log.lines.at(-1)).toMatchObject({ message: "the changed volume is not taken over" });
    expect(scene.volume.live.switches).toBe(0);
  });

  it.each([
    ["the same tree", []],
    ["another tree", [{ name: "ro", type: "features/read-only", options: { "read-only": "off" } }]],
  ])("whose options contradict each other changes nothing: %s", async (_what, above: Layer[]) => {
    const buffer = (options: Record<string, string>): Layer => ({
      name: "wb",
      type: "performance/write-behind",
      options,
    });
    await using scene = await Scene.start();
    await scene.volume.rebase(volfile(buffer({})));
    const { graph } = scene.volume;
    const locks = { ...LAYERS[1]!, options: { "revocation-secs": "9" } };
    const layers = [LAYERS[0]!, locks, LAYERS[2]!, buffer({ "aggregate-size": "2MB" }), ...above, TOP];
    await scene.volume.rebase(parseVolfile(stack(...layers), "new.vol"));
    expect(scene.env.log.lines.at(-1)).toMatchObject({
      message: "the changed volume is not taken over",
      fields: { error: { message: expect.stringMatching(/"wb": option aggregate-size: "2MB" is above/) } },
    });
    expect(scene.volume.graph).toBe(graph);
    expect(scene.value("performance.aggregate-size")).toBe("128KB");
    expect(scene.value("locks.revocation-secs")).toBe("0");
  });
});

describe("a question", () => {
  it.each([
    ["no object", 7, /not a question/],
    ["no command", {}, /unknown command undefined; is this another version/],
    ["an inherited name", { command: "toString" }, /unknown command "toString"/],
    ["a missing field", { command: "set", key: "a" }, /set: "value" is missing or no text/],
    ["a field of another kind", { command: "get", key: 5 }, /get: "key\?" is missing or no text/],
  ])("with %s is refused", async (_what, question, message) => {
    await using scene = await Scene.start();
    await expect(answer(scene.subject, question)).rejects.toThrow(message);
  });

  it("for the state shows graph, options and what translators tell", async () => {
    await using scene = await Scene.start();
    await scene.volume.set("performance.write-behind", "on");
    const dump = (await answer(scene.subject, { command: "statedump" })) as Statedump;
    expect(dump).toMatchObject({
      settings: { "performance.write-behind": "on" },
      live: { switches: 1, openFiles: 0 },
      edge: { edge: "test" },
    });
    expect(dump.translators.map(({ type }) => type)).toEqual([
      "debug/io-stats",
      "performance/write-behind",
      "features/utime",
      "features/locks",
      "storage/memory",
    ]);
    expect(statedumpText(dump)).toMatch(
      /\[v-write-behind \(performance\/write-behind\)\]\nchildren: times\n/,
    );
  });

  it("for figures shows what was asked meanwhile", async () => {
    await using scene = await Scene.start();
    const user = new Session(scene.volume.live);
    const fd = await user.create("file");
    const before = (await answer(scene.subject, { command: "stats" })) as Figures;
    await user.write(fd, "twelve bytes");
    const now = JSON.parse(JSON.stringify(await answer(scene.subject, { command: "stats" }))) as Figures;
    expect(Object.keys(now.graph).sort()).toEqual(["create", "writev"]);
    const between = figuresSince(before, now);
    expect(Object.keys(between.graph)).toEqual(["writev"]);
    expect(between.graph.writev).toMatchObject({ calls: 1, bytes: 12, failures: 0 });
    expect(statsText(between)).toMatch(/writev +graph +1 /);
    expect(prometheusText(now)).toContain(
      'mortar_fop_bytes_total{mountpoint="/mnt",place="graph",fop="writev"} 12\n',
    );
    await user.end();
  });
});
