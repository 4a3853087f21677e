/**
 * Objects that copies have under different names because a rename was not finished: who wins, as a pure
 * function, and what heals make of it on bricks in memory.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { internalCall } from "../../../../src/core/call.ts";
import { type Gfid, gfidOf, newGfid } from "../../../../src/core/gfid.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import { healName } from "../../../../xlators/cluster/replicate/heal/heal.ts";
import {
  movesToAgree,
  type Place,
  type Places,
  placeKey,
} from "../../../../xlators/cluster/replicate/heal/moves.ts";
import { bytesOn, expectUnlocked, expectUnmarked, heal, runClock, setOf, startCopies } from "./heal-rig.ts";
import type { Copies, CopiesOptions } from "./three-copies.ts";

const DIR: Gfid = gfidOf(Buffer.alloc(16, 7));
const OTHER: Gfid = gfidOf(Buffer.alloc(16, 8));
const ENTRY = [0, 0, 1] as const;

/** "a b" for names in one directory, "/a" in another; "" for a copy without the object. */
function placesOf(...copies: string[]): Places {
  return copies.map((names) => names.split(" ").filter(Boolean).map(placeOf));
}

function placeOf(name: string): Place {
  return name.startsWith("/") ? { parent: OTHER, name: name.slice(1) } : { parent: DIR, name };
}

/** As "CHILD FROM>TO". */
function movesOf(places: Places, believed = 0b111): string[] | undefined {
  const short = (place: Place): string => `${place.parent === OTHER ? "/" : ""}${place.name}`;
  return movesToAgree(places, believed)?.map(({ child, from, to }) => `${child} ${short(from)}>${short(to)}`);
}

describe("copies that have an object under different names", () => {
  it.each<[string, Places, number, string[] | undefined]>([
    ["agree already", placesOf("a", "a", "a"), 0b111, []],
    ["follow the many", placesOf("a", "a", "b"), 0b111, ["2 b>a"]],
    ["follow the many, wherever the first is", placesOf("a", "b", "b"), 0b111, ["0 a>b"]],
    ["follow into another directory", placesOf("a", "/b", "/b"), 0b111, ["0 a>/b"]],
    ["follow the first of equals", placesOf("a", "b"), 0b11, ["1 b>a"]],
    ["follow the first, all different", placesOf("a", "b", "c"), 0b111, ["1 b>a", "2 c>a"]],
    ["follow the only one that is believed", placesOf("a", "a", "b"), 0b100, ["0 a>b", "1 a>b"]],
    ["follow the believed ones, not the many", placesOf("a", "b", "b"), 0b011, ["1 b>a", "2 b>a"]],
    ["do not follow a copy without it", placesOf("", "b", "b"), 0b001, undefined],
    ["leave a copy without it alone", placesOf("", "a", "b"), 0b111, ["2 b>a"]],
    ["stay as they are when nobody is believed", placesOf("a", "a", "b"), 0, undefined],
    ["keep a link that was not finished", placesOf("a", "a", "a b"), 0b111, undefined],
    ["keep a link whose removal was not finished", placesOf("a b", "a b", "a"), 0b111, undefined],
    ["move one of several names", placesOf("a b", "a b", "a c"), 0b111, ["2 c>b"]],
    ["move several names", placesOf("a b", "a b", "d c"), 0b111, ["2 c>a", "2 d>b"]],
    ["do not mind the order of names", placesOf("a b", "b a", "a b"), 0b111, []],
  ])("%s", (_, places, believed, expected) => {
    expect(movesOf(places, believed)).toEqual(expected);
  });

  it("agree afterwards, on what a believed copy had, and none has lost a name or the object", () => {
    const names = fc.uniqueArray(fc.constantFrom("a", "b", "c", "/a", "/b"), { maxLength: 3 });
    fc.assert(
      fc.property(fc.array(names, { minLength: 1, maxLength: 4 }), fc.nat(15), (copies, believed) => {
        const places = copies.map((copy) => copy.map(placeOf));
        const moves = movesToAgree(places, believed);
        if (!moves) return;
        const after = places.map((copy, child) => {
          const keys = new Set(copy.map(placeKey));
          for (const move of moves) {
            if (move.child !== child) continue;
            expect(keys.delete(placeKey(move.from))).toBe(true);
            expect(keys.has(placeKey(move.to))).toBe(false);
            keys.add(placeKey(move.to));
          }
          expect(keys.size).toBe(copy.length);
          return [...keys].sort().join(" ");
        });
        const kept = after.filter((text) => text !== "");
        expect(new Set(kept).size).toBeLessThanOrEqual(1);
        const trusted = places.filter((_, child) => (believed & (1 << child)) !== 0);
        expect(trusted.map((copy) => copy.map(placeKey).sort().join(" "))).toContain(kept[0]);
      }),
    );
  });
});

/** A volume with the directories d and e, and an object "from" in d that has contents. */
async function start(
  type: "file" | "directory",
  given: CopiesOptions = {},
): Promise<{ copies: Copies; d: Inode; e: Inode; object: Inode }> {
  const copies = await startCopies(given);
  const { session } = copies;
  const [d, e] = [await session.mkdir("d"), await session.mkdir("e")];
  const object =
    type === "file" ? await copies.file("from", "kept", d) : await session.mkdir("from", { parent: d });
  if (type === "directory") await copies.file("inside", "kept", object);
  return { copies, d, e, object };
}

async function markDirty(copies: Copies, ...directories: Inode[]): Promise<void> {
  for (const index of copies.wires.keys())
    for (const inode of directories) await copies.mark(index, inode, "dirty", ENTRY);
}

/** By copy: which of these names lead to the object. */
async function namesOf(
  copies: Copies,
  object: Inode,
  names: Readonly<Record<string, Inode>>,
): Promise<string[]> {
  const found: string[] = [];
  for (const index of copies.wires.keys()) {
    const brick = copies.brick(index);
    const has: string[] = [];
    for (const [name, parent] of Object.entries(names))
      if (await brick.exists(name, parent))
        has.push((await brick.stat(name, parent)).gfid.equals(object.gfid) ? name : `another ${name}`);
    found.push(has.join(" "));
  }
  return found;
}

async function expectContents(copies: Copies, object: Inode, type: "file" | "directory"): Promise<void> {
  for (const index of copies.wires.keys()) {
    if (index === setOf(copies).arbiter) continue;
    const brick = copies.brick(index);
    const file = type === "file" ? object : await brick.inode("inside", object);
    expect((await bytesOn(brick, file)).toString()).toBe("kept");
  }
}

const PARKING = { "use-anonymous-inode": "on", "volume-id": "12345678-9abc-def0-1234-56789abcdef0" };

describe.each(["file", "directory"] as const)("a %s that was renamed on some copies only", (type) => {
  const cases: [string, readonly number[], string, CopiesOptions][] = [
    ["one", [2], "from", {}],
    ["the first", [0], "from", {}],
    ["two", [0, 2], "to", {}],
    ["two, with a hidden directory", [0, 2], "to", { options: PARKING }],
    ["one that only it remembers", [1], "from", { options: { "granular-entry-heal": "on" } }],
    [
      "two where all must take part",
      [1, 2],
      "to",
      { options: { "quorum-type": "fixed", "quorum-count": "3" } },
    ],
    ["the arbiter", [2], "from", { options: { "arbiter-count": "1" } }],
    ["the second of two", [1], "from", { count: 2, options: { "quorum-type": "auto" } }],
    ["the first of two", [0], "to", { count: 2, options: { "quorum-type": "auto" } }],
  ];

  it.each(cases)("(%s) gets one name everywhere by a heal of the directory", async (_, on, winner, given) => {
    const { copies, d, object } = await start(type, given);
    await using _copies = copies;
    for (const index of on) await copies.brick(index).rename("from", "to", d);
    await markDirty(copies, d);
    expect((await heal(copies, d)).outcome).toBe("healed");
    const names = await namesOf(copies, object, { from: d, to: d });
    expect(names).toEqual(names.map(() => winner));
    await expectContents(copies, object, type);
    await expectUnmarked(copies, d);
    await expectUnlocked(copies, d);
  });

  it.each(["from", "to"])("gets one name everywhere by a look at %s", async (name) => {
    const { copies, d, object } = await start(type);
    await using _copies = copies;
    await copies.brick(1).rename("from", "to", d);
    const healed = await runClock(copies, healName(setOf(copies), internalCall(-6), d, name));
    expect(healed.outcome).toBe("healed");
    expect(await namesOf(copies, object, { from: d, to: d })).toEqual(["from", "from", "from"]);
  });

  it.each([
    [[1], "from"],
    [[0, 1], "to"],
  ] as const)(
    "into another directory (on %j: %s wins) is in one place after either is healed",
    async (on, winner) => {
      for (const first of ["d", "e"] as const) {
        const { copies, d, e, object } = await start(type);
        await using _copies = copies;
        for (const index of on) await copies.brick(index).rename("from", "to", d, e);
        await markDirty(copies, d, e);
        expect((await heal(copies, first === "d" ? d : e)).outcome).toBe("healed");
        expect(await namesOf(copies, object, { from: d, to: e })).toEqual([winner, winner, winner]);
        expect((await heal(copies, first === "d" ? e : d)).outcome).toBe("healed");
        expect(await namesOf(copies, object, { from: d, to: e })).toEqual([winner, winner, winner]);
        await expectContents(copies, object, type);
        await expectUnmarked(copies, d);
        await expectUnmarked(copies, e);
      }
    },
  );

  it("three times, by clients that died one after the other, is as the first copy has it", async () => {
    const { copies, d, object } = await start(type);
    await using _copies = copies;
    await copies.brick(1).rename("from", "b", d);
    await copies.brick(2).rename("from", "c", d);
    await markDirty(copies, d);
    expect((await heal(copies, d)).outcome).toBe("healed");
    expect(await namesOf(copies, object, { from: d, b: d, c: d })).toEqual(["from", "from", "from"]);
    await expectContents(copies, object, type);
  });

  it("stays where an acknowledged rename put it, though the first copy missed that one", async () => {
    const { copies, d, object } = await start(type);
    await using _copies = copies;
    copies.wires[0]!.cut();
    await copies.session.rename("from", "b", d);
    copies.wires[0]!.mend();
    await copies.brick(2).rename("b", "c", d);
    await markDirty(copies, d);
    for (let round = 0; round < 3; round++) await heal(copies, d);
    expect(await namesOf(copies, object, { from: d, b: d, c: d })).toEqual(["b", "b", "b"]);
    await heal(copies, object);
    if (type === "directory") await heal(copies, await copies.brick(1).inode("inside", object));
    await expectContents(copies, object, type);
    await expectUnmarked(copies, d);
  });

  it("without a rule of quorum gets no name taken away", async () => {
    const { copies, d, object } = await start(type, { options: { "quorum-type": "none" } });
    await using _copies = copies;
    await copies.brick(1).rename("from", "to", d);
    await markDirty(copies, d);
    await heal(copies, d);
    const names = await namesOf(copies, object, { from: d, to: d });
    expect(names).toEqual(type === "file" ? ["from to", "from to", "from to"] : ["from", "to", "from"]);
  });

  it("waits while a client works on the other name", async () => {
    const { copies, d, e, object } = await start(type);
    await using _copies = copies;
    await copies.brick(1).rename("from", "to", d, e);
    await markDirty(copies, d, e);
    const set = setOf(copies);
    const client = { ...internalCall(), pid: 4711, lkOwner: Buffer.from("other") };
    const lock = { loc: { inode: e }, volume: set.name, name: "to", type: "wrlck" } as const;
    await copies.brick(0).top.entrylk(client, { ...lock, cmd: "lock-nb" });
    expect((await heal(copies, d)).outcome).toBe("busy");
    expect(await namesOf(copies, object, { from: d, to: e })).toEqual(["from", "to", "from"]);
    await copies.brick(0).top.entrylk(client, { ...lock, cmd: "unlock" });
    expect((await heal(copies, d)).outcome).toBe("healed");
    expect(await namesOf(copies, object, { from: d, to: e })).toEqual(["from", "from", "from"]);
  });
});

describe("a file with an unfinished operation on its names", () => {
  it.each([
    ["replaced", [0, 2], ["from"]],
    ["not replaced", [1], ["from", "to"]],
  ] as const)("that another file was to be: it is %s, and no name is left over", async (_, on, names) => {
    const { copies, d, object: renamed } = await start("file");
    await using _copies = copies;
    const old = await copies.file("to", "old contents", d);
    for (const index of on) await copies.brick(index).rename("from", "to", d);
    await markDirty(copies, d);
    for (let round = 0; round < 3; round++) await heal(copies, d);
    const done = names.length === 1;
    expect(await namesOf(copies, done ? renamed : old, { to: d })).toEqual(["to", "to", "to"]);
    const left = await namesOf(copies, renamed, { from: d });
    expect(left).toEqual(done ? ["", "", ""] : ["from", "from", "from"]);
    await heal(copies, renamed);
    await heal(copies, old);
    for (const index of [0, 1, 2]) {
      const brick = copies.brick(index);
      expect((await brick.statInode(renamed)).nlink).toBe(1);
      expect((await bytesOn(brick, renamed)).toString()).toBe("kept");
      if (!done) expect((await bytesOn(brick, old)).toString()).toBe("old contents");
    }
    await expectUnmarked(copies, d);
  });

  it("keeps both names when that was a link", async () => {
    const { copies, d, object } = await start("file");
    await using _copies = copies;
    await copies.brick(1).link(object, "to", d);
    await markDirty(copies, d);
    expect((await heal(copies, d)).outcome).toBe("healed");
    expect(await namesOf(copies, object, { from: d, to: d })).toEqual(["from to", "from to", "from to"]);
  });

  it("of several names moves the one that was renamed", async () => {
    const { copies, d, e, object } = await start("file");
    await using _copies = copies;
    await copies.session.link(object, "other", e);
    await copies.brick(2).rename("from", "to", d);
    await markDirty(copies, d);
    expect((await heal(copies, d)).outcome).toBe("healed");
    expect(await namesOf(copies, object, { from: d, to: d, other: e })).toEqual(Array(3).fill("from other"));
  });

  it("keeps both names when a brick does not know the names of its files", async () => {
    const { copies, d, object } = await start("file");
    await using _copies = copies;
    await copies.brick(2).rename("from", "to", d);
    await markDirty(copies, d);
    copies.errors[1]!.failWhere((fop) => (fop === "getxattr" ? "ENODATA" : undefined));
    expect((await heal(copies, d)).outcome).toBe("healed");
    expect(await namesOf(copies, object, { from: d, to: d })).toEqual(["from to", "from to", "from to"]);
  });

  it("is not asked where it is when the other copies do not have it", async () => {
    const { copies, d } = await start("file");
    await using _copies = copies;
    await copies.brick(1).mknod("new", 0o100644, { parent: d, gfid: newGfid() } as never);
    await markDirty(copies, d);
    copies.clearCalls();
    expect((await heal(copies, d)).outcome).toBe("healed");
    for (const wire of copies.wires) expect(wire.count("getxattr")).toBeLessThanOrEqual(1);
  });
});

describe("a file that was renamed over another on copies that are not all believed", () => {
  it.each(["name", "directory"])("leaves the place to that again (heal of the %s)", async (what) => {
    const { copies, d, object } = await start("file", { options: { "arbiter-count": "1" } });
    await using _copies = copies;
    const other = await copies.file("to", "", d);
    await copies.session.link(other, "other", d);
    for (const index of [0, 2]) await copies.brick(index).rename("from", "to", d);
    for (const index of [1, 2]) await copies.mark(index, d, 0, ENTRY);
    for (const index of [0, 2]) await copies.mark(index, d, "dirty", ENTRY);
    if (what === "directory") await heal(copies, d);
    else {
      const healed = await runClock(copies, healName(setOf(copies), internalCall(-6), d, "to"));
      expect(healed).toMatchObject({ outcome: "healed" });
    }
    expect(await namesOf(copies, object, { from: d, to: d })).toEqual(Array(3).fill("from another to"));
    expect(await namesOf(copies, other, { to: d, other: d })).toEqual(Array(3).fill("to other"));
  });
});

describe("a file that one of two believed copies renamed over another, beside an arbiter that missed the file", () => {
  it("goes back with its contents, and the other one stays", async () => {
    const { copies, d, object } = await start("file", { options: { "arbiter-count": "1" } });
    await using _copies = copies;
    const other = await copies.file("to", "replaced", d);
    await copies.brick(2).unlink("from", d);
    await copies.brick(0).rename("from", "to", d);
    for (const index of [0, 1]) await copies.mark(index, d, 2, ENTRY);
    await copies.mark(0, d, "dirty", ENTRY);
    expect((await heal(copies, d)).outcome).toBe("healed");
    expect(await namesOf(copies, object, { from: d, to: d })).toEqual(Array(3).fill("from another to"));
    await heal(copies, object);
    await heal(copies, other);
    await expectContents(copies, object, "file");
    for (const index of [0, 1])
      expect((await bytesOn(copies.brick(index), other)).toString()).toBe("replaced");
    await expectUnmarked(copies, d);
  });
});

describe("a file that most copies renamed over another where all must take part", () => {
  it("takes its place everywhere", async () => {
    const { copies, d, object } = await start("file", {
      options: { "quorum-type": "fixed", "quorum-count": "3" },
    });
    await using _copies = copies;
    await copies.file("to", "replaced", d);
    for (const index of [0, 2]) await copies.brick(index).rename("from", "to", d);
    await markDirty(copies, d);
    expect((await heal(copies, d)).outcome).toBe("healed");
    expect(await namesOf(copies, object, { from: d, to: d })).toEqual(["to", "to", "to"]);
    await expectContents(copies, object, "file");
    await expectUnmarked(copies, d);
  });
});
