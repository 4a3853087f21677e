/** Which of several good copies is picked (spec translators.md 4.7). */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../../src/core/dict.ts";
import { parseGfid } from "../../../../src/core/gfid.ts";
import { S_IFDIR, S_IFREG } from "../../../../src/core/iatt.ts";
import { defineXlator, exactly, Xlator } from "../../../../src/core/xlator.ts";
import type { ReplicateOptions } from "../../../../xlators/cluster/replicate/options.ts";
import { ReadPolicy } from "../../../../xlators/cluster/replicate/read-policy.ts";
import type { ReplicaSet } from "../../../../xlators/cluster/replicate/replica-set.ts";
import type { Replicate } from "../../../../xlators/cluster/replicate/replicate.ts";
import { superFastHash } from "../../../../xlators/cluster/replicate/super-fast-hash.ts";
import { startGraph } from "../../../support/build-graph.ts";
import { fakeEnv, settle } from "../../../support/fake-env.ts";
import { Copies } from "./three-copies.ts";

const HERE = { pid: 0x01020304, host: "here" };
const GFID = parseGfid("be318638-e8a0-4c6d-977d-7a937aa84806")!;
const FILE = { gfid: GFID, type: S_IFREG };
const DIRECTORY = { gfid: GFID, type: S_IFDIR };
const ALL = 0b111;

function setOf(copies: Copies, options: Partial<ReplicateOptions> = {}): ReplicaSet {
  const { set } = copies.graph.xlator<Replicate>("v-replicate-0");
  set.reconfigure({ ...set.options, ...options });
  return set;
}

describe("the hash of GlusterFS", () => {
  it.each([
    ["00000000-0000-0000-0000-000000000001", "fe513317"],
    ["be318638-e8a0-4c6d-977d-7a937aa84806", "5100fbc9"],
    ["12345678-9abc-def0-1234-56789abcdef0", "41cfb524"],
  ])("of %s is %s", (gfid, hash) => {
    expect(superFastHash(parseGfid(gfid)!).toString(16)).toBe(hash);
  });
});

describe("read-hash-mode", () => {
  it("0 takes the first good copy", async () => {
    await using copies = await Copies.start();
    const policy = new ReadPolicy(setOf(copies, { "read-hash-mode": 0 }), HERE);
    expect([ALL, 0b110, 0b100, 0].map((good) => policy.choose(FILE, good))).toEqual([0, 1, 2, -1]);
  });

  it("1 takes the same for every client, and the first good one when that is not good", async () => {
    await using copies = await Copies.start();
    const policy = new ReadPolicy(setOf(copies, { "read-hash-mode": 1 }), HERE);
    const picked = 0x5100fbc9 % 3;
    expect(policy.choose(FILE, ALL)).toBe(picked);
    expect(policy.choose(DIRECTORY, ALL)).toBe(picked);
    expect(policy.choose(FILE, ALL & ~(1 << picked))).toBe(picked === 0 ? 1 : 0);
  });

  it("2 depends on the client, but for directories", async () => {
    await using copies = await Copies.start();
    const set = setOf(copies, { "read-hash-mode": 2 });
    const picks = [1, 2, 3, 4, 5, 6, 7, 8].map((pid) => new ReadPolicy(set, { pid, host: "here" }));
    expect(new Set(picks.map((policy) => policy.choose(FILE, ALL))).size).toBe(3);
    const mixed = Buffer.from(GFID);
    mixed.writeInt32LE(mixed.readInt32LE(0) ^ 7, 0);
    expect(picks[6]!.choose(FILE, ALL)).toBe(superFastHash(mixed) % 3);
    const ofDirectories = superFastHash(Buffer.alloc(16)) % 3;
    expect(picks.map((policy) => policy.choose(DIRECTORY, ALL))).toEqual(Array(8).fill(ofDirectories));
  });

  it("3 takes the copy with the fewest reads under way", async () => {
    await using copies = await Copies.start();
    const policy = new ReadPolicy(setOf(copies, { "read-hash-mode": 3 }), HERE);
    for (const child of [0, 0, 1]) policy.begin(child);
    expect(policy.choose(FILE, ALL)).toBe(2);
    expect(policy.choose(FILE, 0b011)).toBe(1);
    policy.end(0);
    policy.end(0);
    expect(policy.choose(FILE, 0b011)).toBe(0);
  });

  it("4 takes the nearest, 5 weighs it against its load", async () => {
    await using copies = await Copies.start();
    const set = setOf(copies, { "read-hash-mode": 4 });
    set.latencyMs.splice(0, 3, 5, 2, 0);
    const policy = new ReadPolicy(set, HERE);
    expect(policy.choose(FILE, ALL)).toBe(1);
    setOf(copies, { "read-hash-mode": 5 });
    expect(policy.choose(FILE, ALL)).toBe(1);
    policy.begin(1);
    policy.begin(1);
    expect(policy.choose(FILE, ALL)).toBe(0);
  });
});

describe("a named copy", () => {
  it("is read while it is good", async () => {
    await using copies = await Copies.start();
    const policy = new ReadPolicy(setOf(copies, { "read-subvolume": "v-client-2" }), HERE);
    expect([policy.choose(FILE, ALL), policy.choose(FILE, 0b001)]).toEqual([2, 0]);
    setOf(copies, { "read-subvolume": "", "read-subvolume-index": 1 });
    expect([policy.choose(FILE, ALL), policy.choose(FILE, 0b100)]).toEqual([1, 2]);
  });

  it("must exist", async () => {
    const start = (options: Record<string, string>): Promise<Copies> => Copies.start({ options });
    await expect(start({ "read-subvolume": "v-client-7" })).rejects.toThrow(
      'v-replicate-0": option read-subvolume: "v-client-7" is none of the subvolumes',
    );
    await expect(start({ "read-subvolume-index": "3" })).rejects.toThrow(
      'v-replicate-0": option read-subvolume-index: "3" with 3 subvolumes; the last one is 2',
    );
  });
});

describe("choose-local", () => {
  const places = ["there", "here", "here"];
  /** A brick that says where it is. */
  class Place extends Xlator {
    override async getxattr(): Promise<{ xattrs: Dict }> {
      const host = places[Number(this.name.slice(-1))]!;
      return { xattrs: new Dict().setStr("trusted.glusterfs.pathinfo", `<POSIX(/b):${host}:/b/>`) };
    }
  }
  const place = defineXlator({
    type: "test/place",
    children: exactly(1),
    options: {},
    create: (init) => new Place(init as ConstructorParameters<typeof Place>[0]),
  });
  const volfile = [
    ...places.flatMap((_, index) => [
      `volume disk-${index}\n type storage/memory\nend-volume`,
      `volume brick-${index}\n type test/place\n subvolumes disk-${index}\nend-volume`,
    ]),
    "volume r\n type cluster/replicate\n subvolumes brick-0 brick-1 brick-2\nend-volume\n",
  ].join("\n");

  it("reads a copy on this host, picked by hash when there are several", async () => {
    await using graph = await startGraph(volfile, { env: fakeEnv(), definitions: [place] });
    const { set } = graph.xlator<Replicate>("r");
    const policy = new ReadPolicy(set, HERE);
    const before = policy.version;
    policy.discoverLocal();
    await settle();
    expect(policy.version).toBeGreaterThan(before);
    const hashed = 0x5100fbc9 % 3;
    expect(policy.choose(FILE, ALL)).toBe(hashed === 0 ? 1 : hashed);
    expect([policy.choose(FILE, 0b101), policy.choose(FILE, 0b011)]).toEqual([2, 1]);
    expect(policy.choose(FILE, 0b001)).toBe(0);
    set.reconfigure({ ...set.options, "choose-local": false, "read-hash-mode": 0 });
    expect(policy.choose(FILE, ALL)).toBe(0);
  });
});
