/**
 * Types that Mortar knows without having code for them: what passes, what is refused, and that passing
 * changes nothing.
 */

import { describe, expect, it } from "vitest";
import { internalCall } from "../../src/core/call.ts";
import { FOP_NAMES } from "../../src/core/fops.ts";
import { InodeTable } from "../../src/core/inode.ts";
import { buildGraph } from "../../src/graph/graph.ts";
import { parseVolfile } from "../../src/graph/volfile.ts";
import { PASS_THROUGH } from "../../xlators/pass-through.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { startGraph } from "../support/build-graph.ts";
import { fakeEnv } from "../support/fake-env.ts";

/**
 * What glusterd 10 may write into the volfiles of clients and of bricks (glusterd-volgen.c,
 * glusterd-volume-set.c).
 */
const WRITTEN_BY_GLUSTERD = [
  "cluster/disperse cluster/distribute cluster/nufa cluster/replicate cluster/switch",
  "debug/delay-gen debug/error-gen debug/io-stats debug/trace",
  "features/access-control features/arbiter features/barrier features/bitrot-stub features/cdc",
  "features/changelog features/cloudsync features/index features/leases features/locks features/marker",
  "features/namespace features/quiesce features/quota features/read-only features/sdfs features/selinux",
  "features/shard features/snapview-client features/trash features/upcall features/utime features/worm",
  "performance/io-cache performance/io-threads performance/md-cache performance/nl-cache",
  "performance/open-behind performance/quick-read performance/read-ahead performance/readdir-ahead",
  "performance/write-behind protocol/client protocol/server storage/posix",
].flatMap((line) => line.split(" "));

function graphOf(type: string, options: Readonly<Record<string, string>> = {}, children = 1) {
  const names = Array.from({ length: children }, (_unused, index) => `brick${index}`);
  const bricks = names.map((name) => `volume ${name}\ntype storage/memory\nend-volume\n`).join("");
  const lines = Object.entries(options).map(([key, value]) => `option ${key} ${value}\n`);
  const text = `${bricks}volume top\ntype ${type}\n${lines.join("")}subvolumes ${names.join(" ")}\nend-volume\n`;
  return {
    text,
    build: () => buildGraph(parseVolfile(text, "x.vol"), { registry: REGISTRY, env: fakeEnv() }),
  };
}

describe("registry", () => {
  it("knows every type that glusterd writes", () => {
    expect(WRITTEN_BY_GLUSTERD.filter((type) => !REGISTRY.has(type))).toEqual([]);
  });

  it("is sorted, and says for each type without code why", () => {
    const types = [...REGISTRY.keys()];
    expect(types).toEqual([...types].sort());
    for (const { type, passThrough, refused } of PASS_THROUGH) {
      expect(`${type}: ${passThrough ?? refused ?? ""}`.length).toBeGreaterThan(type.length + 20);
    }
  });

  it("describes every option, with a default that is fit to be shown", () => {
    for (const { type, options } of REGISTRY.values())
      for (const [key, option] of Object.entries(options)) {
        expect(option.describe, `${type} ${key}`).toMatch(/^\S.{8,}\.$/s);
        expect(option.default, `${type} ${key}`).toBeDefined();
      }
  });
});

describe("pass-through", () => {
  const passing = PASS_THROUGH.filter((definition) => definition.passThrough !== undefined);

  it.each(passing.map(({ type }) => type))("%s serves what its child serves", async (type) => {
    await using started = await startGraph(graphOf(type).text);
    const { top, graph } = started;
    expect(FOP_NAMES.filter((fop) => top.defines(fop))).toEqual([]);
    const loc = { inode: new InodeTable().root };
    const call = internalCall();
    expect(await top.stat(call, { loc })).toEqual(await graph.xlators[0]!.stat(call, { loc }));
  });

  it("starts and uses only the first child of features/snapview-client", async () => {
    await using started = await startGraph(graphOf("features/snapview-client", {}, 2).text);
    const heard: string[] = [];
    started.graph.onEvent((event) => heard.push(event.type));
    const second = started.xlator("brick1");
    started.top.onChildEvent({ type: "child-down" }, second);
    expect(heard).toEqual([]);
    started.top.onChildEvent({ type: "child-down" }, started.xlator("brick0"));
    expect(heard).toEqual(["child-down"]);
  });
});

describe("refusal", () => {
  it.each(PASS_THROUGH.filter(({ refused }) => refused !== undefined).map(({ type }) => type))(
    "of %s names the line and the reason",
    (type) => {
      expect(graphOf(type).build).toThrow(new RegExp(`^x\\.vol:5: volume "top": ${type} is refused: .{20}`));
    },
  );

  it.each(["cluster/nufa", "cluster/switch"])("of %s over more than one subvolume", (type) => {
    expect(graphOf(type, {}, 2).build).toThrow(
      /^x\.vol:7: volume "top": cluster\/.*: 2 subvolumes: Mortar does not/,
    );
    expect(graphOf(type, {}, 1).build).not.toThrow();
  });

  const whenOn: readonly [type: string, option: string][] = [
    ["features/barrier", "barrier"],
    ["features/bitrot-stub", "bitrot"],
    ["features/changelog", "changelog"],
    ["features/leases", "leases"],
    ["features/marker", "quota"],
    ["features/marker", "inode-quota"],
    ["features/marker", "xtime"],
    ["features/quota", "server-quota"],
    ["features/trash", "trash"],
    ["features/worm", "worm"],
    ["features/worm", "worm-file-level"],
  ];
  it.each(whenOn)("of %s while %s is on, and not while it is off", (type, option) => {
    expect(graphOf(type, { [option]: "on" }).build).toThrow(new RegExp(`option ${option} is on: `));
    expect(graphOf(type, { [option]: "disable" }).build).not.toThrow();
    expect(graphOf(type, { [option]: "maybe" }).build).toThrow(/"maybe" is neither on/);
  });
});
