/**
 * What the layers above a replica set hear, and which sections of a volfile it takes (spec translators.md
 * 4.1, 4.13, 4.14).
 */

import { describe, expect, it } from "vitest";
import { SILENT } from "../../../../src/core/log.ts";
import type { ChildEvent, XlatorBase } from "../../../../src/core/xlator.ts";
import { buildGraph } from "../../../../src/graph/graph.ts";
import { parseVolfile } from "../../../../src/graph/volfile.ts";
import { Membership } from "../../../../xlators/cluster/replicate/membership.ts";
import { options, type ReplicateOptions } from "../../../../xlators/cluster/replicate/options.ts";
import { ReplicaSet } from "../../../../xlators/cluster/replicate/replica-set.ts";
import { REGISTRY } from "../../../../xlators/registry.ts";
import { type FakeEnv, fakeEnv } from "../../../support/fake-env.ts";

function defaults(): ReplicateOptions {
  const entries = Object.entries(options).map(([key, option]) => [key, option.default]);
  return Object.fromEntries(entries) as ReplicateOptions;
}

function membership(given: Partial<ReplicateOptions> = {}): {
  env: FakeEnv;
  set: ReplicaSet;
  members: Membership;
  heard: string[];
  whys: string[];
} {
  const env = fakeEnv();
  const children = [0, 1, 2].map((index) => ({ name: `c${index}` }) as XlatorBase);
  const brickIds = children.map(({ name }) => name);
  const set = new ReplicaSet({
    name: "r",
    children,
    brickIds,
    options: { ...defaults(), ...given },
    env,
    log: SILENT,
  });
  const heard: string[] = [];
  const whys: string[] = [];
  const members = new Membership(set, (event: ChildEvent) => {
    heard.push(event.type);
    if (event.type === "auth-failed") whys.push(event.why);
  });
  members.start();
  return { env, set, members, heard, whys };
}

describe("a replica set", () => {
  it("is up when all children have reported and one of them is up", () => {
    const { members, heard } = membership();
    members.childUp(0);
    members.childConnecting(1, "refused");
    expect(heard).toEqual(["child-connecting"]);
    members.childDown(2);
    expect(heard.slice(1)).toEqual(["child-up"]);
  });

  it("waits ten seconds for the others, and not for ever", async () => {
    const { env, members, heard } = membership();
    members.childUp(2);
    await env.clock.advance(9_999);
    expect(heard).toEqual([]);
    await env.clock.advance(1);
    expect(heard).toEqual(["child-up"]);
  });

  it("is up with the first child that comes after those ten seconds", async () => {
    const { env, members, heard } = membership();
    await env.clock.advance(10_000);
    expect(heard).toEqual([]);
    members.childUp(1);
    expect(heard).toEqual(["child-up"]);
  });

  it.each([
    ["the volfile's", "AAAA-volume"],
    ["the first brick's", ""],
  ])("takes no brick of another volume than %s, until it is one of this volume", (_, volumeId) => {
    const { set, members, heard } = membership({ "volume-id": volumeId });
    members.childUp(0, { volumeId: "aaaa-volume" });
    members.childUp(1, { volumeId: "bbbb-volume" });
    members.childUp(2);
    expect(set.up).toBe(0b101);
    expect(heard).toEqual(["child-up"]);
    members.childDown(1);
    members.childUp(1, { volumeId: "aaaa-volume" });
    expect(set.up).toBe(0b111);
  });

  it("says why when all its bricks are another volume's", () => {
    const { members, heard, whys } = membership({ "volume-id": "a" });
    for (const child of [0, 1, 2]) members.childUp(child, { volumeId: "b" });
    expect(heard).toEqual(["auth-failed"]);
    expect(whys).toEqual(["its brick belongs to volume b, not to a"]);
  });

  it("takes no brick that is another copy than its place says, and says how to mend it", () => {
    const { set, members, heard } = membership();
    members.childUp(0, { brickId: "c0" });
    members.childUp(1, { brickId: "c2" });
    members.childUp(2, { brickId: "" });
    expect(set.up).toBe(0b101);
    expect(heard).toEqual(["child-up"]);
    members.childDown(1);
    members.childUp(1, { brickId: "c1" });
    expect(set.up).toBe(0b111);
  });

  it("is not up when two bricks are swapped: the third alone can never be a quorum", () => {
    const { set, members, heard, whys } = membership();
    members.childUp(0, { brickId: "c1" });
    members.childUp(1, { brickId: "c0" });
    members.childUp(2, { brickId: "c2" });
    expect(set.up).toBe(0b100);
    expect(heard).toEqual(["auth-failed"]);
    expect(whys[0]).toMatch(
      /^subvolume "c1": its brick is the copy "c0", not "c1": bricks of this volume are swapped; put /,
    );
  });

  it("waits on when it has served before, whoever is refused later", () => {
    const { members, heard } = membership();
    for (const child of [0, 1, 2]) members.childUp(child, { brickId: `c${child}` });
    for (const child of [0, 1, 2]) members.childDown(child);
    heard.length = 0;
    members.childUp(0, { brickId: "c1" });
    members.childUp(1, { brickId: "c0" });
    expect(heard).toEqual([]);
    members.childDown(0);
    members.childUp(0, { brickId: "c0" });
    expect(heard).toEqual(["child-up"]);
  });

  it("does not give up while children that have not been heard of may be a quorum", async () => {
    const { env, members, heard } = membership();
    members.childRefused(0, "wrong volume");
    await env.clock.advance(10_000);
    expect(heard).toEqual([]);
    members.childUp(1);
    expect(heard).toEqual(["child-up"]);
  });

  it("tells of single children as descendents, and is down with the last", () => {
    const { set, members, heard } = membership();
    for (const child of [0, 1, 2]) members.childUp(child);
    const { generation } = set;
    members.childDown(1);
    members.childUp(1);
    for (const child of [0, 1, 2]) members.childDown(child);
    members.childUp(2);
    expect(heard).toEqual([
      "child-up",
      "some-descendent-down",
      "some-descendent-up",
      "some-descendent-down",
      "some-descendent-down",
      "child-down",
      "child-up",
    ]);
    expect(set.generation).toBe(generation + 6);
    expect(set.up).toBe(0b100);
  });

  it("goes on without a child that refuses it, and says so when all do", () => {
    const one = membership();
    one.members.childRefused(0, "wrong volume");
    one.members.childUp(1);
    one.members.childUp(2);
    expect(one.heard).toEqual(["child-up"]);
    const all = membership();
    for (const child of [0, 1, 2]) all.members.childRefused(child, "wrong volume");
    expect(all.heard).toEqual(["auth-failed"]);
  });
});

describe("a section of a volfile", () => {
  function build(given: Readonly<Record<string, string>>, children = 3): () => unknown {
    const names = Array.from({ length: children }, (_, index) => `brick${index}`);
    const bricks = names.map((name) => `volume ${name}\ntype storage/memory\nend-volume\n`).join("");
    const lines = Object.entries(given).map(([key, value]) => `option ${key} ${value}\n`);
    const text = `${bricks}volume top\ntype cluster/replicate\n${lines.join("")}subvolumes ${names.join(" ")}\nend-volume\n`;
    return () => buildGraph(parseVolfile(text, "x.vol"), { registry: REGISTRY, env: fakeEnv() });
  }

  it.each([
    ["ids for two of three", { "afr-pending-xattr": "v-client-0,v-client-1" }, /names 2 bricks/],
    ["an id twice", { "afr-pending-xattr": "a,b,a" }, /"a" is empty or comes twice/],
    ["a thin arbiter", { "thin-arbiter": "host:/brick" }, /thin-arbiter: "host:\/brick": Mortar does not/],
    ["halo", { "halo-enabled": "on" }, /halo-enabled is on: Mortar writes to all copies/],
    ["another dirty xattr", { "afr-dirty-xattr": "trusted.x" }, /only "trusted.afr.dirty" is supported/],
  ])("with %s is refused, in words that help", (_, given, message) => {
    expect(build(given as Readonly<Record<string, string>>)).toThrow(message);
  });

  it("with an arbiter has three subvolumes, and no section has more than sixteen", () => {
    expect(build({ "arbiter-count": "1" }, 2)).toThrow(/arbiter-count is 1 with 2 subvolumes/);
    expect(build({ "arbiter-count": "1" }, 3)).not.toThrow();
    expect(build({}, 16)).not.toThrow();
    expect(build({}, 17)).toThrow();
  });
});
