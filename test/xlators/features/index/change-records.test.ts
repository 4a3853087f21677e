/**
 * Records of changed ranges on a brick: what makes one, what ends it, and that none ever says less than what
 * is missing, whatever crashes or serves the brick in between.
 */

import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ChangedRanges,
  type ChangeRecord,
  decodeRecord,
  encodeChange,
} from "../../../../src/core/changed-ranges.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { XATTROP } from "../../../../src/core/fops.ts";
import { gfidText } from "../../../../src/core/gfid.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { CHANGED_RANGES_KEY, INDEX_KEY } from "../../../../src/core/keys.ts";
import { O_DSYNC } from "../../../../src/core/open-flags.ts";
import { lsetxattr } from "../../../../src/os/files.ts";
import { decodeLog, encodeHead, encodePart } from "../../../../xlators/features/index/record-log.ts";
import { emptyDirectory } from "../../../../xlators/storage/posix/brick-dir.ts";
import { Brick, type BrickPlace, brickPlace, counts, DIRTY, pendingKey } from "./brick-rig.ts";

const SINK = pendingKey(2);
const BLOCK = 4096;
const MIB = 2 ** 20;

/** Blocks as ranges. */
function blocks(...numbers: number[]): ChangedRanges {
  return ChangedRanges.of(numbers.map((at) => ({ start: at * BLOCK, end: (at + 1) * BLOCK })));
}

function change(ranges: ChangedRanges, dirtyLeft: readonly string[] = []): Dict {
  return new Dict().setBytes(CHANGED_RANGES_KEY.CHANGE, encodeChange({ ranges, dirtyLeft }));
}

/** A post-op that blames the sink. */
const miss = (brick: Brick, file: Inode, ranges: ChangedRanges | undefined, dirtyLeft: string[] = []) =>
  brick.add(file, { [SINK]: counts(1) }, ranges && change(ranges, dirtyLeft));

async function recordOf(brick: Brick, inode: Inode, key = SINK): Promise<ChangeRecord | undefined> {
  const name = CHANGED_RANGES_KEY.RECORD_PREFIX + key;
  try {
    const { xattrs } = await brick.top.getxattr(brick.call, { loc: { inode }, name });
    return decodeRecord(xattrs.bytes(name));
  } catch (error) {
    if (error instanceof FopError && error.code === "ENODATA") return undefined;
    throw error;
  }
}

function blocksOf(record: ChangeRecord | undefined): number[] | undefined {
  return record?.ranges.spans().flatMap(({ start, end }) => {
    return Array.from({ length: (end - start) / BLOCK }, (_, i) => start / BLOCK + i);
  });
}

async function withFile(
  kind: "memory" | "disk",
  test: (brick: Brick, file: Inode, place: BrickPlace) => Promise<void>,
): Promise<void> {
  await using place = await brickPlace(kind);
  await using brick = await Brick.start(place);
  await test(brick, await brick.file("image", 8 * MIB), place);
}

describe.each(["memory", "disk"] as const)("a record in %s", (kind) => {
  it("is the union of all that was missed, with the counter that it explains", () =>
    withFile(kind, async (brick, file) => {
      expect(await recordOf(brick, file)).toBeUndefined();
      await miss(brick, file, blocks(1, 2));
      await miss(brick, file, blocks(7), [SINK]);
      await miss(brick, file, blocks(2, 9), [pendingKey(1)]);
      const record = await recordOf(brick, file);
      expect(blocksOf(record)).toEqual([1, 2, 7, 9]);
      expect(record).toMatchObject({ counter: 3, dirtyLeft: 1 });
    }));

  it("is one for each missing copy", () =>
    withFile(kind, async (brick, file) => {
      await brick.add(file, { [SINK]: counts(1), [pendingKey(1)]: counts(1) }, change(blocks(4)));
      await miss(brick, file, blocks(5));
      expect(blocksOf(await recordOf(brick, file))).toEqual([4, 5]);
      expect(await recordOf(brick, file, pendingKey(1))).toMatchObject({ counter: 1 });
      expect(await recordOf(brick, file, pendingKey(0))).toBeUndefined();
    }));

  it("takes what is missed after the mark from the xattrop that lowers dirty, and waits for it", () =>
    withFile(kind, async (brick, file) => {
      await brick.add(file, { [SINK]: counts(1), [DIRTY]: counts(1) }, change(new ChangedRanges()));
      expect(await recordOf(brick, file)).toBeUndefined();
      await brick.add(file, { [SINK]: counts(0), [DIRTY]: counts(-1) }, change(blocks(3), [SINK]));
      const record = await recordOf(brick, file);
      expect(blocksOf(record)).toEqual([3]);
      expect(record).toMatchObject({ counter: 1, dirtyLeft: 0 });
    }));

  it("is not there while the brick is dirty, and is again when it is clean", () =>
    withFile(kind, async (brick, file) => {
      await miss(brick, file, blocks(1));
      await brick.add(file, { [DIRTY]: counts(1) });
      expect(await recordOf(brick, file)).toBeUndefined();
      await brick.add(file, { [DIRTY]: counts(-1) });
      expect(blocksOf(await recordOf(brick, file))).toEqual([1]);
    }));

  it.each([
    ["an increment without ranges", (brick: Brick, file: Inode) => miss(brick, file, undefined)],
    [
      "an increment with ranges that are none",
      (brick: Brick, file: Inode) =>
        brick.add(
          file,
          { [SINK]: counts(1) },
          new Dict().setBytes(CHANGED_RANGES_KEY.CHANGE, Buffer.from([1, 2, 3])),
        ),
    ],
    ["a heal that leaves something", (brick: Brick, file: Inode) => brick.add(file, { [SINK]: counts(-1) })],
    [
      "a mark that is set",
      (brick: Brick, file: Inode) =>
        brick.top.setxattr(brick.call, {
          loc: { inode: file },
          xattrs: Dict.ofBytes({ [SINK]: counts(2) }),
          flags: 0,
        }),
    ],
    [
      "a mark that is removed",
      (brick: Brick, file: Inode) => brick.top.removexattr(brick.call, { loc: { inode: file }, name: SINK }),
    ],
    [
      "a mark that is exchanged",
      (brick: Brick, file: Inode) =>
        brick.top.xattrop(brick.call, {
          loc: { inode: file },
          op: XATTROP.GET_AND_SET,
          xattrs: Dict.ofBytes({ [SINK]: counts(2) }),
        }),
    ],
  ] as const)("ends with %s, and none begins until the counter was zero", (_what, event) =>
    withFile(kind, async (brick, file) => {
      await miss(brick, file, blocks(1));
      await miss(brick, file, blocks(2));
      await event(brick, file);
      expect(await recordOf(brick, file)).toBeUndefined();
      if ((await brick.add(file, { [SINK]: counts(0) })).bytes(SINK)!.readInt32BE(0) === 0) return;
      await miss(brick, file, blocks(3));
      expect(await recordOf(brick, file)).toBeUndefined();
    }),
  );

  it("ends when all is healed; the next one begins with nothing", () =>
    withFile(kind, async (brick, file) => {
      await miss(brick, file, blocks(1));
      await miss(brick, file, blocks(2));
      await brick.add(file, { [SINK]: counts(-2) });
      expect(await recordOf(brick, file)).toBeUndefined();
      await miss(brick, file, blocks(5));
      expect(blocksOf(await recordOf(brick, file))).toEqual([5]);
      expect(await recordOf(brick, file)).toMatchObject({ counter: 1 });
    }));

  it("survives a mark that is taken back by its writer, with ranges", () =>
    withFile(kind, async (brick, file) => {
      await miss(brick, file, blocks(1));
      await miss(brick, file, blocks(2));
      await brick.add(file, { [SINK]: counts(-1) }, change(new ChangedRanges()));
      expect(await recordOf(brick, file)).toMatchObject({ counter: 1 });
    }));

  it("is of no other slot's making", () =>
    withFile(kind, async (brick, file) => {
      await miss(brick, file, blocks(1));
      await brick.add(file, { [SINK]: counts(0, 1, 1) });
      expect(blocksOf(await recordOf(brick, file))).toEqual([1]);
    }));

  it("is not kept of small files, nor when it is switched off", async () => {
    await using place = await brickPlace(kind);
    {
      await using brick = await Brick.start(place);
      const small = await brick.file("small", 4 * BLOCK);
      await miss(brick, small, blocks(1));
      expect(await recordOf(brick, small)).toBeUndefined();
    }
    await using brick = await Brick.start(place, { "changed-ranges": "off" });
    const file = await brick.file("large", MIB);
    await miss(brick, file, blocks(1));
    expect(await recordOf(brick, file)).toBeUndefined();
  });

  it("is kept on an arbiter, where all files are empty", async () => {
    await using place = await brickPlace(kind);
    await using brick = await Brick.start(place, {}, [{ name: "arbiter", type: "features/arbiter" }]);
    const file = await brick.file("image", 8 * MIB);
    await miss(brick, file, blocks(1000));
    expect(blocksOf(await recordOf(brick, file))).toEqual([1000]);
  });

  it("begins only when all was synced before the batch, of which the missing copy may have lost some", () =>
    withFile(kind, async (brick, file) => {
      const fd = await brick.open(file);
      const write = (flags: number): Promise<unknown> =>
        brick.top.writev(brick.call, { fd, data: [Buffer.alloc(BLOCK)], offset: 0, flags });
      const begins = async (): Promise<boolean> => {
        await brick.batch(file);
        await miss(brick, file, blocks(1));
        const record = await recordOf(brick, file);
        const { xattrs } = await brick.top.getxattr(brick.call, { loc: { inode: file }, name: SINK });
        await brick.add(file, { [SINK]: counts(-xattrs.bytes(SINK)!.readInt32BE(0)) });
        return record !== undefined;
      };
      expect(await begins()).toBe(true);
      await write(O_DSYNC);
      expect(await begins()).toBe(true);
      await write(0);
      expect(await begins()).toBe(false);
      await brick.sync(file);
      expect(await begins()).toBe(true);
      await brick.top.ftruncate(brick.call, { fd, offset: 4 * MIB });
      expect(await begins()).toBe(false);
      await brick.sync(file);
      // What the batch itself writes is in its ranges.
      await brick.add(file, { [DIRTY]: counts(1) });
      await write(0);
      await miss(brick, file, blocks(0));
      await brick.add(file, { [DIRTY]: counts(-1) });
      expect(blocksOf(await recordOf(brick, file))).toEqual([0]);
      await brick.top.release(fd);
    }));

  it("begins only when the file was synced since the brick started", async () => {
    await using place = await brickPlace(kind);
    let file: Inode;
    {
      await using brick = await Brick.start(place);
      file = await brick.file("image", 8 * MIB);
    }
    await using brick = await Brick.start(place);
    await brick.batch(file);
    await miss(brick, file, blocks(1));
    expect(await recordOf(brick, file)).toBeUndefined();
    await brick.add(file, { [SINK]: counts(-1) });
    await brick.sync(file);
    await brick.batch(file);
    await miss(brick, file, blocks(1));
    expect(blocksOf(await recordOf(brick, file))).toEqual([1]);
  });

  it("survives a restart, and goes on", async () => {
    await using place = await brickPlace(kind);
    let file: Inode;
    {
      await using brick = await Brick.start(place);
      file = await brick.file("image", 8 * MIB);
      await miss(brick, file, blocks(1));
    }
    for (const at of [2, 3]) {
      await using brick = await Brick.start(place);
      await miss(brick, file, blocks(at), [SINK]);
    }
    await using brick = await Brick.start(place);
    const record = await recordOf(brick, file);
    expect(blocksOf(record)).toEqual([1, 2, 3]);
    expect(record).toMatchObject({ counter: 3, dirtyLeft: 2 });
  });

  it("goes with its object when a crawl finds that gone", () =>
    withFile(kind, async (brick, file, place) => {
      await miss(brick, file, blocks(1));
      const parent = await brick.indexDirectory(INDEX_KEY.PENDING_GFID);
      const loc = { inode: new Inode(), parent, name: gfidText(file.gfid) };
      await brick.top.unlink(brick.call, { loc, flags: 0 });
      expect(await recordOf(brick, file)).toBeUndefined();
      if (kind === "disk") expect(recordFiles(place)).toEqual([]);
    }));

  it("is written anew as one part when it has grown", () =>
    withFile(kind, async (brick, file, place) => {
      const all = new Set<number>();
      const scattered = Array.from({ length: 9000 }, (_, i) => 3 * i);
      for (let round = 0; round < 20; round++) {
        const some = scattered.map((at) => at + (round % 2));
        for (const at of some) all.add(at);
        await miss(brick, file, blocks(...some));
      }
      expect(blocksOf(await recordOf(brick, file))).toEqual([...all].sort((a, b) => a - b));
      if (kind !== "disk") return;
      const [name] = recordFiles(place);
      expect(readFileSync(`${records(place)}/${name}`).length).toBeLessThan(400_000);
    }));
});

const records = (place: BrickPlace): string => `${place.directory}/.glusterfs/mortar-changes`;
const recordFiles = (place: BrickPlace): string[] =>
  readdirSync(records(place)).filter((name) => name !== "owner");

describe("a record on disk", () => {
  /** What a first brick remembers of block 1 and counter 1, after `meanwhile`. */
  async function remembered(
    meanwhile: (place: BrickPlace, file: Inode) => Promise<void> | void,
  ): Promise<ChangeRecord | undefined> {
    await using place = await brickPlace("disk");
    let file: Inode;
    {
      await using brick = await Brick.start(place);
      file = await brick.file("image", 8 * MIB);
      await miss(brick, file, blocks(1));
    }
    await meanwhile(place, file);
    await using brick = await Brick.start(place);
    const record = await recordOf(brick, file);
    if (!record) expect(recordFiles(place)).toEqual([]);
    return record;
  }

  it("is there when nothing happened meanwhile", async () => {
    expect(await remembered(() => {})).toMatchObject({ counter: 1 });
  });

  it("is gone when glusterfsd served the brick, also when it left the same counter", async () => {
    // All that a start of it does to the brick: it empties this directory.
    expect(
      await remembered((place) => emptyDirectory(`${place.directory}/.glusterfs/unlink`)),
    ).toBeUndefined();
  });

  it("is gone when a brick of Mortar without an index served it", async () => {
    const { stack, startGraph } = await import("../../../support/build-graph.ts");
    const serve = async (place: BrickPlace): Promise<void> => {
      const options = { directory: place.directory };
      await using _ = await startGraph(stack({ name: "storage", type: "storage/posix", options }));
    };
    expect(await remembered(serve)).toBeUndefined();
  });

  it("is gone when the counter is another, as after a crash between record and mark", async () => {
    const set = (place: BrickPlace, value: number): Promise<void> =>
      lsetxattr(`${place.directory}/image`, SINK, counts(value));
    for (const value of [0, 2, -1]) expect(await remembered((place) => set(place, value))).toBeUndefined();
  });

  it("is gone when it is damaged, cut, or another file's", async () => {
    const edit = (place: BrickPlace, change: (content: Buffer) => Buffer): void => {
      const path = `${records(place)}/${recordFiles(place)[0]}`;
      writeFileSync(path, change(readFileSync(path)));
    };
    for (const damage of [
      () => Buffer.alloc(0),
      () => Buffer.alloc(4096),
      (content: Buffer) => content.subarray(0, -1),
      (content: Buffer) =>
        Buffer.from(content.map((byte, i) => (i === content.length - 1 ? byte ^ 1 : byte))),
      (content: Buffer) => Buffer.from(content.map((byte, i) => (i === 10 ? byte ^ 1 : byte))),
    ])
      expect(await remembered((place) => edit(place, damage))).toBeUndefined();
  });

  it("stays when its end is torn, for that part's mark was never set", async () => {
    const torn = (place: BrickPlace): void => {
      const part = encodePart({ counter: 2, dirtyLeft: 0, ranges: blocks(9) });
      appendFileSync(`${records(place)}/${recordFiles(place)[0]}`, part.subarray(0, -2));
    };
    expect(blocksOf(await remembered(torn))).toEqual([1]);
  });

  it("fails the xattrop when it can neither be written nor dropped", () =>
    withFile("disk", async (brick, file, place) => {
      await miss(brick, file, blocks(1));
      const path = `${records(place)}/${recordFiles(place)[0]}`;
      rmSync(path);
      mkdirSync(`${path}/in-the-way`, { recursive: true });
      await expect(miss(brick, file, undefined)).rejects.toMatchObject({ xlator: "index" });
      expect((await brick.add(file, { [SINK]: counts(0) })).bytes(SINK)).toEqual(counts(1));
      rmSync(path, { recursive: true });
    }));

  it("is not kept without a place for its token", async () => {
    await using place = await brickPlace("disk");
    const apart = `${place.directory}/apart`;
    mkdirSync(apart);
    await using brick = await Brick.start(place, { "index-base": `${apart}/indices` });
    const file = await brick.file("image", 8 * MIB);
    await miss(brick, file, blocks(1));
    expect(await recordOf(brick, file)).toBeUndefined();
    expect(existsSync(`${apart}/mortar-changes`)).toBe(false);
  });
});

describe("the bytes of a record", () => {
  const gfid = Buffer.alloc(16, 7) as never;
  const head = encodeHead(gfid, SINK);
  const part = (counter: number, ...numbers: number[]): Buffer =>
    encodePart({ counter, dirtyLeft: counter, ranges: blocks(...numbers) });

  it("are those of the whole parts up to the first broken one", () => {
    const parts = [part(1, 1), part(2, 5), part(3, 9)];
    const whole = Buffer.concat([head, ...parts]);
    for (let size = 0; size <= whole.length; size++) {
      const state = decodeLog(Buffer.from(whole.subarray(0, size)), gfid, SINK);
      let left = size - head.length;
      const count = parts.filter((one) => {
        left -= one.length;
        return left >= 0;
      }).length;
      expect(state?.counter ?? 0).toBe(count);
    }
  });

  it("never say more than was written when any byte is changed", () => {
    const whole = Buffer.concat([head, part(1, 1), part(2, 5)]);
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(whole);
        changed[at] = changed[at]! ^ flip;
        const state = decodeLog(changed, gfid, SINK);
        if (state) expect([state.counter, state.ranges.spans()[0]!.start]).toEqual([1, BLOCK]);
      }),
    );
  });
});

describe("whatever happens to a brick in memory", () => {
  type Event =
    | { type: "miss"; blocks: number[]; told: boolean }
    | { type: "heal" }
    | { type: "restart" }
    | { type: "crash"; keep: boolean };
  const missing = (told: fc.Arbitrary<boolean>): fc.Arbitrary<Event> =>
    fc.record({
      type: fc.constant("miss" as const),
      blocks: fc.array(fc.nat(200), { minLength: 1, maxLength: 4 }),
      told,
    });
  const event: fc.Arbitrary<Event> = fc.oneof(
    { weight: 9, arbitrary: missing(fc.constant(true)) },
    { weight: 1, arbitrary: missing(fc.constant(false)) },
    { weight: 2, arbitrary: fc.constant({ type: "heal" as const }) },
    { weight: 1, arbitrary: fc.constant({ type: "restart" as const }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("crash" as const), keep: fc.boolean() }) },
  );

  it("a record covers all that was missed since the counter was zero", async () => {
    let answered = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 30 }), async (events) => {
        const place = await brickPlace("memory");
        let brick = await Brick.start(place);
        const file = await brick.file("image", MIB);
        let missed = new Set<number>();
        let count = 0;
        for (const one of events) {
          if (one.type === "miss") {
            for (const at of one.blocks) missed.add(at);
            count++;
            await miss(brick, file, one.told ? blocks(...one.blocks) : undefined);
          } else if (one.type === "heal") {
            if (count > 0) await brick.add(file, { [SINK]: counts(-count) });
            missed = new Set();
            count = 0;
          } else {
            await brick[Symbol.asyncDispose]();
            if (one.type === "crash") {
              place.disk.crash(() => true);
              place.store.crash(() => one.keep);
            }
            brick = await Brick.start(place);
          }
          const record = await recordOf(brick, file);
          if (!record) continue;
          answered++;
          expect(record.counter).toBe(count);
          const covered = new Set(blocksOf(record));
          expect([...missed].every((at) => covered.has(at))).toBe(true);
        }
        await brick[Symbol.asyncDispose]();
      }),
      { numRuns: 60 },
    );
    expect(answered).toBeGreaterThan(20);
  });
});
