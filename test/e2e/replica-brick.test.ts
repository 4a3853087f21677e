/**
 * What replication needs of a brick, call by call on the wire: a brick of Mortar must answer as one of
 * GlusterFS does, keep the same index on disk, and go on with what the other make left.
 */

import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ChangedRanges, decodeRecord, encodeChange } from "../../src/core/changed-ranges.ts";
import { Dict } from "../../src/core/dict.ts";
import { FopError } from "../../src/core/errors.ts";
import { type Flock, XATTROP } from "../../src/core/fops.ts";
import { type Gfid, gfidText, parseGfid } from "../../src/core/gfid.ts";
import { S_IFDIR, S_IFMT, S_IFREG } from "../../src/core/iatt.ts";
import { Fd, Inode } from "../../src/core/inode.ts";
import { CHANGED_RANGES_KEY, INDEX_KEY, KEY, LOCK_KEY } from "../../src/core/keys.ts";
import { O_RDWR } from "../../src/core/open-flags.ts";
import { stack, startGraph } from "../support/build-graph.ts";
import { Lab, MAKES, type Make } from "../support/peers.ts";
import { connectOptions } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";
import { Brick, counts, DIRTY, pendingKey, VOLUME } from "../xlators/features/index/brick-rig.ts";

const lab = new Lab("replica-brick");
afterAll(() => lab.close());

const gfid = (last: string): Gfid => parseGfid(`11111111-2222-4333-8444-${last.padStart(12, "0")}`)!;
const FILE = gfid("f");
const DIRECTORY = gfid("d");
const ANONYMOUS = "11111110-2222-4333-8444-555555555555";
const DOMAIN = `${VOLUME}-replicate-0`;
const PENDING = { [pendingKey(0)]: counts(0), [pendingKey(1)]: counts(0), [pendingKey(2)]: counts(0) };

type Running = { readonly brick: Brick; readonly directory: string };
/** One exchange with a brick; what it gives must be the same on both makes. */
type Step = (at: Running) => Promise<unknown>;

/** The outcome as data: values, or the errno. */
async function outcome(work: Promise<unknown>): Promise<unknown> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof FopError) return error.code;
    throw error;
  }
}

/** Bytes as hex and numbers as text, by key; `only` keys that begin so. */
function show(dict: Dict | undefined, only = ""): Record<string, string> {
  const shown: Record<string, string> = {};
  for (const key of [...(dict?.keys() ?? [])].filter((one) => one.startsWith(only)).sort())
    shown[key] = dict!.bytes(key)?.toString("hex") ?? dict!.text(key) ?? "";
  return shown;
}

const inodeOf = (id: Gfid, type = S_IFREG): Inode => new Inode(id, type);
const file = inodeOf(FILE);
const directory = inodeOf(DIRECTORY, S_IFDIR);
const text = (key: string, value: string): Dict => new Dict().setStr(key, value);

function owner(brick: Brick, name: string) {
  return { ...brick.call, lkOwner: Buffer.from(name.padEnd(8, ".")) };
}

function flock(type: Flock["type"], start = 0n, len = 0n, name = "first"): Flock {
  return { type, whence: 0, start, len, pid: 1, lkOwner: Buffer.from(name.padEnd(8, ".")) };
}

async function make(
  brick: Brick,
  name: string,
  id: Gfid,
  mode: number,
  extra = new Dict(),
): Promise<unknown> {
  const loc = { inode: new Inode(), parent: brick.root, name };
  const xdata = extra.clone().setGfid(KEY.GFID_REQ, id);
  if ((mode & S_IFMT) === S_IFDIR)
    return outcome(
      brick.top.mkdir(brick.call, { loc, mode: mode & 0o7777, umask: 0, xdata }).then(() => "made"),
    );
  const made = brick.top.mknod(brick.call, { loc, mode, rdev: 0, umask: 0, xdata });
  return outcome(made.then(({ stat }) => ({ gfid: gfidText(stat.gfid), nlink: stat.nlink })));
}

/** Adds to marks; the values after it. */
function mark(inode: Inode, increments: Record<string, Buffer>, xdata?: Dict): Step {
  return ({ brick }) =>
    outcome(brick.add(inode, { ...PENDING, ...increments }, xdata).then((dict) => show(dict)));
}

/** The index as it lies on disk, base files by their kind. */
const onDisk: Step = async ({ directory: top }) => {
  const base = join(top, ".glusterfs/indices");
  return readdirSync(base, { recursive: true, withFileTypes: true })
    .map((entry) => `${entry.parentPath.slice(base.length)}/${entry.name}`)
    .map((path) => path.replace(/(xattrop|dirty|entry-changes)-[0-9a-f-]{36}$/, "$1-BASE"))
    .sort();
};

/** The same by fops, as a crawl reads it. */
const crawled: Step = async ({ brick }) => {
  const real = (names: string[]): string[] => names.filter((name) => !/^\.\.?$|^entry-changes-/.test(name));
  const changes = await brick.indexDirectory(INDEX_KEY.ENTRY_CHANGES_GFID);
  const names: Record<string, string[]> = {};
  for (const name of real(await brick.names(changes))) {
    const loc = { inode: new Inode(), parent: changes, name };
    const { stat } = await brick.top.lookup(brick.call, { loc });
    names[name] = real(await brick.names(inodeOf(stat.gfid, S_IFDIR)));
  }
  return {
    pending: real(await brick.listed("PENDING_GFID")),
    dirty: real(await brick.listed("DIRTY_GFID")),
    names,
  };
};

const counted: Step = async ({ brick }) => {
  const count = async (name: string) =>
    show((await brick.top.getxattr(brick.call, { loc: { inode: brick.root }, name })).xattrs);
  const xdata = text(INDEX_KEY.LINK_COUNT, INDEX_KEY.PENDING_COUNT);
  const looked = await brick.top.lookup(brick.call, { loc: { inode: brick.root }, xdata });
  return [
    await count(INDEX_KEY.PENDING_COUNT),
    await count(INDEX_KEY.DIRTY_COUNT),
    looked.xdata?.number(INDEX_KEY.LINK_COUNT),
  ];
};

const purge =
  (key: string, name: string, flags?: number): Step =>
  async ({ brick }) => {
    const parent = await brick.indexDirectory(key);
    const loc = { inode: new Inode(), parent, name };
    const gone =
      flags === undefined
        ? brick.top.unlink(brick.call, { loc, flags: 0 })
        : brick.top.rmdir(brick.call, { loc, flags });
    return outcome(gone.then(() => "purged"));
  };

const INDEX_STEPS: readonly (readonly [string, Step])[] = [
  ["a file is made", ({ brick }) => make(brick, "f", FILE, S_IFREG | 0o644)],
  ["a directory is made", ({ brick }) => make(brick, "d", DIRECTORY, S_IFDIR | 0o755)],
  ["zeroes ask without marking", mark(file, {})],
  ["nothing is listed", onDisk],
  ["a pre-op", mark(file, { [DIRTY]: counts(1) })],
  ["the disk after it", onDisk],
  ["a post-op that blames", mark(file, { [pendingKey(2)]: counts(1), [DIRTY]: counts(-1) })],
  ["the disk after that", onDisk],
  ["the crawl", crawled],
  [
    "a granular entry",
    mark(directory, { [pendingKey(2)]: counts(0, 0, 1) }, text(INDEX_KEY.ENTRY_CREATE, "a")),
  ],
  ["another", mark(directory, { [pendingKey(2)]: counts(0, 0, 1) }, text(INDEX_KEY.ENTRY_CREATE, "b c"))],
  ["the same again", mark(directory, { [DIRTY]: counts(0, 0, 1) }, text(INDEX_KEY.ENTRY_CREATE, "a"))],
  ["the disk with names", onDisk],
  ["the crawl with names", crawled],
  ["the counts", counted],
  [
    "a name that is equal everywhere",
    mark(directory, { [DIRTY]: counts(0, 0, -1) }, text(INDEX_KEY.ENTRY_DELETE, "a")),
  ],
  ["a name that was not listed", mark(directory, {}, text(INDEX_KEY.ENTRY_DELETE, "never"))],
  ["the crawl after it", crawled],
  [
    "a name that is none",
    mark(directory, { [pendingKey(1)]: counts(1) }, text(INDEX_KEY.ENTRY_CREATE, "x/y")),
  ],
  ["nothing of it is marked", mark(directory, {})],
  [
    "all names healed by a full heal, without a purge",
    mark(directory, { [pendingKey(2)]: counts(0, 0, -2) }, text("unrelated", "1")),
  ],
  ["left-over names stay", crawled],
  ["marks again", mark(directory, { [pendingKey(2)]: counts(0, 0, 1) }, text(INDEX_KEY.ENTRY_CREATE, "z"))],
  [
    "healed with a purge, names left",
    mark(directory, { [pendingKey(2)]: counts(0, 0, -1) }, new Dict().setInt(INDEX_KEY.PURGE, 1)),
  ],
  [
    "they are moved aside",
    async (at) => {
      const { pending, names } = (await crawled(at)) as {
        pending: string[];
        names: Record<string, string[]>;
      };
      return { pending, names: Object.values(names), moved: !(gfidText(DIRECTORY) in names) };
    },
  ],
  [
    "and purged by a crawl",
    async (at) => {
      const { names } = (await crawled(at)) as { names: Record<string, string[]> };
      const [name] = Object.keys(names);
      const done = await purge(INDEX_KEY.ENTRY_CHANGES_GFID, name!, 1)(at);
      // GlusterFS wipes in the background.
      await until("the names are wiped", async () => {
        const left = (await crawled(at)) as { names: Record<string, string[]> };
        return Object.keys(left.names).length === 0;
      });
      return done;
    },
  ],
  ["an object is missing", mark(inodeOf(gfid("99")), { [pendingKey(1)]: counts(1) })],
  ["it is listed or not", crawled],
  ["a purge of it", purge(INDEX_KEY.PENDING_GFID, gfidText(gfid("99")))],
  ["a purge of what is not listed", purge(INDEX_KEY.ENTRY_CHANGES_GFID, gfidText(gfid("98")), 0)],
  ["a purge of a gfid that is pending", purge(INDEX_KEY.PENDING_GFID, gfidText(FILE))],
  ["the disk then", onDisk],
  ["its marks", mark(file, {})],
  ["healed", mark(file, { [pendingKey(2)]: counts(-1) })],
  ["the disk at the end", onDisk],
  ["the counts at the end", counted],
];

const OTHER_STEPS: readonly (readonly [string, Step])[] = [
  ["a file is made", ({ brick }) => make(brick, "f", FILE, S_IFREG | 0o644)],
  ["a directory is made", ({ brick }) => make(brick, "d", DIRECTORY, S_IFDIR | 0o755)],
  ["a mark", mark(file, { [pendingKey(1)]: counts(1, 2), [DIRTY]: counts(1) })],
  [
    "lookup with all that replicate asks for",
    async ({ brick }) => {
      const xdata = Dict.ofBytes({ ...PENDING, [DIRTY]: counts(0) })
        .setUint(LOCK_KEY.INODELK_COUNT, 0)
        .setUint(LOCK_KEY.ENTRYLK_COUNT, 0)
        .setUint(LOCK_KEY.PARENT_ENTRYLK, 0);
      const loc = { inode: new Inode(), parent: brick.root, name: "f" };
      return show((await brick.top.lookup(brick.call, { loc, xdata })).xdata);
    },
  ],
  [
    "readdirp with the same",
    async ({ brick }) => {
      const xdata = Dict.ofBytes({ ...PENDING, [DIRTY]: counts(0) });
      const fd = new Fd(brick.root, 0);
      await brick.top.opendir(brick.call, { loc: { inode: brick.root }, fd });
      const { entries } = await brick.top.readdirp(brick.call, { fd, size: 65536, offset: 0n, xdata });
      await brick.top.releasedir(fd);
      const shown = entries.map(({ name, xattrs }) => [name, show(xattrs, "trusted.afr.")] as const);
      return shown.filter(([name]) => !name.startsWith(".")).sort();
    },
  ],
  [
    "writev with the counts of locks in a domain",
    async ({ brick }) => {
      const fd = new Fd(file, O_RDWR);
      await brick.top.open(brick.call, { loc: { inode: file }, fd, flags: O_RDWR });
      const lock = (volume: string, type: Flock["type"], start = 0n) => {
        const first = owner(brick, "first");
        return brick.top.finodelk(first, { fd, volume, cmd: "setlk", flock: flock(type, start) });
      };
      await lock(DOMAIN, "wrlck");
      await lock(DOMAIN, "wrlck", 2n ** 63n - 2n);
      await lock(`${DOMAIN}:self-heal`, "wrlck");
      const write = async (domain: string) => {
        const xdata = text(LOCK_KEY.INODELK_DOM_COUNT, domain)
          .setUint(KEY.OPEN_FD_COUNT, 0)
          .setUint(KEY.ACTIVE_FD_COUNT, 0)
          .setUint(KEY.WRITE_IS_APPEND, 0);
        const args = { fd, data: [Buffer.from("data")], offset: 0, flags: 0, xdata };
        return show((await brick.top.writev(brick.call, args)).xdata);
      };
      const counted = [await write(DOMAIN), await write(`${DOMAIN}:metadata`), await write("other")];
      const second = owner(brick, "second");
      const wanted = { fd, volume: DOMAIN, cmd: "setlk", flock: flock("wrlck", 5n, 1n, "second") } as const;
      const refused = await outcome(brick.top.finodelk(second, wanted));
      await lock(DOMAIN, "unlck");
      await lock(DOMAIN, "unlck", 2n ** 63n - 2n);
      await lock(`${DOMAIN}:self-heal`, "unlck");
      counted.push(await write(DOMAIN));
      await brick.top.release(fd);
      return [counted, refused];
    },
  ],
  [
    "locks without an owner, ranges that are none, and unlocks of what is not held",
    async ({ brick }) => {
      const ask = (call = owner(brick, "first"), lock = flock("wrlck")) =>
        outcome(
          brick.top
            .inodelk(call, { loc: { inode: file }, volume: DOMAIN, cmd: "setlk", flock: lock })
            .then(() => "granted"),
        );
      return [
        await ask(
          { ...brick.call, lkOwner: Buffer.alloc(8) },
          { ...flock("wrlck"), lkOwner: Buffer.alloc(8) },
        ),
        await ask(undefined, flock("wrlck", -1n)),
        await ask(undefined, flock("unlck", 7n, 3n)),
      ];
    },
  ],
  [
    "entry locks: read and write alike, names and all names",
    async ({ brick }) => {
      const ask = (
        who: string,
        name: string | undefined,
        cmd: "lock-nb" | "unlock",
        type: "rdlck" | "wrlck",
      ) => {
        const args = { loc: { inode: directory }, volume: DOMAIN, name, cmd, type };
        return outcome(brick.top.entrylk(owner(brick, who), args).then(() => "granted"));
      };
      const parentLock = async (name: string) => {
        const xdata = new Dict().setUint(LOCK_KEY.PARENT_ENTRYLK, 0).setUint(LOCK_KEY.ENTRYLK_COUNT, 0);
        const loc = { inode: new Inode(), parent: directory, name };
        return outcome(brick.top.lookup(brick.call, { loc, xdata }).then((reply) => show(reply.xdata)));
      };
      return [
        await ask("first", "n", "lock-nb", "rdlck"),
        await ask("second", "n", "lock-nb", "rdlck"),
        await ask("second", "m", "lock-nb", "wrlck"),
        await ask("third", undefined, "lock-nb", "wrlck"),
        await ask("first", "n", "lock-nb", "rdlck"),
        await parentLock("n"),
        await ask("first", "n", "unlock", "wrlck"),
        await ask("first", "n", "unlock", "rdlck"),
        await ask("first", "n", "unlock", "rdlck"),
        await ask("second", "m", "unlock", "wrlck"),
        await ask("third", undefined, "lock-nb", "wrlck"),
        await ask("third", undefined, "unlock", "wrlck"),
      ];
    },
  ],
  [
    "a lookup under a locked name",
    async ({ brick }) => {
      const args = { loc: { inode: brick.root }, volume: DOMAIN, name: "f", type: "wrlck" } as const;
      await brick.top.entrylk(owner(brick, "first"), { ...args, cmd: "lock-nb" });
      const xdata = new Dict().setUint(LOCK_KEY.PARENT_ENTRYLK, 0).setUint(LOCK_KEY.ENTRYLK_COUNT, 0);
      const look = async (name: string) => {
        const loc = { inode: new Inode(), parent: brick.root, name };
        return show((await brick.top.lookup(brick.call, { loc, xdata })).xdata);
      };
      const found = [await look("f"), await look("d")];
      await brick.top.entrylk(owner(brick, "first"), { ...args, cmd: "unlock" });
      return found;
    },
  ],
  [
    "checksums, with whether all is zero",
    async ({ brick }) => {
      const fd = Fd.anonymous(file, O_RDWR);
      await brick.top.truncate(brick.call, { loc: { inode: file }, offset: 4096 });
      const xdata = new Dict().setInt("check-zero-filled", 1);
      const sums: unknown[] = [];
      for (const [offset, size] of [
        [0, 512],
        [512, 512],
        [3584, 1024],
        [8192, 512],
      ] as const) {
        const sum = outcome(
          brick.top
            .rchecksum(brick.call, { fd, offset, size, xdata })
            .then(({ weak, strong, xdata: reply }) => [weak, strong.toString("hex"), show(reply)]),
        );
        sums.push(await sum);
      }
      return sums;
    },
  ],
  [
    "a name for a gfid that is there, as a heal makes it",
    async ({ brick }) => {
      const internal = text(KEY.INTERNAL_FOP, "yes");
      return [
        await make(brick, "again", FILE, S_IFREG | 0o600, internal),
        await make(brick, "again", FILE, S_IFREG | 0o600, internal),
      ];
    },
  ],
  [
    "a directory goes with all that is in it",
    async ({ brick }) => {
      for (const name of ["in", "side"]) {
        const loc = { inode: new Inode(), parent: directory, name };
        const xdata = new Dict().setGfid(KEY.GFID_REQ, gfid(name === "in" ? "a1" : "a2"));
        const args = { loc, mode: S_IFREG | 0o600, rdev: 0, umask: 0, xdata };
        await brick.top.mknod(brick.call, args);
      }
      const loc = { inode: new Inode(), parent: brick.root, name: "d" };
      const plain = await outcome(brick.top.rmdir(brick.call, { loc, flags: 0 }));
      const whole = await outcome(brick.top.rmdir(brick.call, { loc, flags: 1 }).then(() => "gone"));
      const found = await outcome(
        brick.top.lookup(brick.call, { loc: { inode: directory } }).then(() => "there"),
      );
      return [plain, whole, found];
    },
  ],
  [
    "an entry waits in the hidden directory and comes back by a link",
    async ({ brick }) => {
      const hidden = `.glusterfs-anonymous-inode-${ANONYMOUS}`;
      await make(brick, hidden, parseGfid(ANONYMOUS)!, S_IFDIR | 0o755, text(KEY.INTERNAL_FOP, "yes"));
      await make(brick, "waits", gfid("b1"), S_IFREG | 0o600);
      const inode = inodeOf(gfid("b1"));
      const from = { inode, parent: brick.root, name: "waits" };
      const to = {
        inode: new Inode(),
        parent: inodeOf(parseGfid(ANONYMOUS)!, S_IFDIR),
        name: gfidText(gfid("b1")),
      };
      const xdata = text(KEY.INTERNAL_FOP, "yes");
      const moved = await outcome(
        brick.top
          .rename(brick.call, { from, to, xdata })
          .then(({ stat }) => [gfidText(stat.gfid), stat.nlink]),
      );
      const linked = await make(brick, "back", gfid("b1"), S_IFREG | 0o600, xdata);
      const removed = await outcome(
        brick.top.unlink(brick.call, { loc: to, flags: 0, xdata }).then(() => "removed"),
      );
      const { stat } = await brick.top.lookup(brick.call, { loc: { inode } });
      return [moved, linked, removed, stat.nlink];
    },
  ],
  [
    "fstat and fsync with what replicate asks for",
    async ({ brick }) => {
      const fd = new Fd(file, O_RDWR);
      await brick.top.open(brick.call, { loc: { inode: file }, fd, flags: O_RDWR });
      const xdata = Dict.ofBytes({ ...PENDING, [DIRTY]: counts(0) }).setUint(KEY.OPEN_FD_COUNT, 0);
      const stat = await brick.top.fstat(brick.call, { fd, xdata });
      const batched = new Dict().setInt("batch-fsync", 1).setUint(KEY.OPEN_FD_COUNT, 0);
      const synced = await brick.top.fsync(brick.call, { fd, datasync: true, xdata: batched });
      await brick.top.release(fd);
      return [show(stat.xdata), show(synced.xdata)];
    },
  ],
  [
    "all xattrs, as a heal of metadata reads them",
    async ({ brick }) => {
      const xattrs = Dict.ofBytes({ "user.u": Buffer.from("1"), "trusted.t": Buffer.from("2") });
      await brick.top.setxattr(brick.call, { loc: { inode: file }, xattrs, flags: 0 });
      const all = await brick.top.getxattr(brick.call, { loc: { inode: file }, name: undefined });
      return Object.entries(show(all.xattrs)).filter(([key]) => !key.startsWith("trusted.gfid2path."));
    },
  ],
  [
    "marks of an object that is not there",
    async ({ brick }) => {
      const gone = inodeOf(gfid("97"));
      const loc = { inode: gone };
      return [
        await outcome(brick.top.lookup(brick.call, { loc })),
        await outcome(brick.top.getxattr(brick.call, { loc, name: DIRTY })),
        await outcome(
          brick.top.inodelk(owner(brick, "x"), { loc, volume: DOMAIN, cmd: "setlk", flock: flock("wrlck") }),
        ),
        await outcome(
          brick.top.readv(brick.call, { fd: Fd.anonymous(gone, O_RDWR), offset: 0, size: 1, flags: 0 }),
        ),
      ];
    },
  ],
  [
    "an unlink that tells how many links there were",
    async ({ brick }) => {
      const loc = { inode: new Inode(), parent: brick.root, name: "again" };
      const xdata = new Dict().setUint("get-link-count", 0);
      return show((await brick.top.unlink(brick.call, { loc, flags: 0, xdata })).xdata);
    },
  ],
  [
    "xattrops of other kinds",
    async ({ brick }) => {
      const run = (op: number, value: Buffer) => {
        const args = { loc: { inode: file }, op, xattrs: Dict.ofBytes({ "trusted.test": value }) };
        return outcome(brick.top.xattrop(brick.call, args).then(({ xattrs }) => show(xattrs)));
      };
      return [
        await run(XATTROP.GET_AND_SET, Buffer.alloc(8, 1)),
        await run(XATTROP.GET_AND_SET, Buffer.alloc(8, 2)),
        await run(XATTROP.ADD_ARRAY64, Buffer.alloc(8, 1)),
        await run(XATTROP.ADD_ARRAY, Buffer.alloc(4, 1)),
      ];
    },
  ],
];

/** As glusterd leaves it: an index of GlusterFS wants its parent there. */
function makeBrick(name: string): string {
  const top = lab.makeBrickDirectory(name);
  mkdirSync(join(top, ".glusterfs"), { mode: 0o600 });
  return top;
}

/** A brick of a make, and a client of Mortar that is connected to it. */
async function connected(makeOf: Make, top: string): Promise<Running & { stop(): Promise<void> }> {
  const served = await lab.startBrick(makeOf, top, { copyOf: { name: VOLUME, arbiter: false } });
  const options = Object.fromEntries(
    [...connectOptions(served.address), `remote-subvolume ${top}`].map((line) => {
      const space = line.indexOf(" ");
      return [line.slice(0, space), line.slice(space + 1)] as const;
    }),
  );
  const graph = await startGraph(stack({ name: `${VOLUME}-client-0`, type: "protocol/client", options }));
  return {
    brick: new Brick(graph),
    directory: top,
    async stop() {
      await graph[Symbol.asyncDispose]();
      await served.process.kill();
    },
  };
}

async function run(at: Running, steps: readonly (readonly [string, Step])[]): Promise<[string, unknown][]> {
  const results: [string, unknown][] = [];
  for (const [what, step] of steps) results.push([what, await step(at)]);
  return results;
}

describe.each([
  ["the index", INDEX_STEPS],
  ["locks, counts, names and checksums", OTHER_STEPS],
] as const)("%s of a brick", (_what, steps) => {
  const results = new Map<Make, [string, unknown][]>();
  beforeAll(async () => {
    for (const makeOf of MAKES) {
      const at = await connected(makeOf, makeBrick(`brick-${makeOf}`));
      results.set(makeOf, await run(at, steps));
      await at.stop();
    }
  });

  it.each(steps.map(([what], index) => [index, what] as const))("%i: %s", (index) => {
    const [mortar, glusterfs] = [results.get("mortar")![index]!, results.get("glusterfs")![index]!];
    expect(mortar).toEqual(glusterfs);
  });
});

describe.each([
  ["mortar", "glusterfs"],
  ["glusterfs", "mortar"],
] as const)("an index that %s left to %s", (first, second) => {
  it("is found, and taken apart to the last entry", async () => {
    const top = makeBrick("brick");
    const [marked, healed] = [INDEX_STEPS.slice(0, 14), INDEX_STEPS.slice(14)];
    const before = await connected(first, top);
    await run(before, marked);
    const left = [await onDisk(before), await crawled(before)];
    await before.stop();
    const after = await connected(second, top);
    expect(await crawled(after)).toEqual(left[1]);
    await run(after, healed);
    expect(await crawled(after)).toEqual({ pending: [], dirty: [], names: {} });
    await after.stop();
  });
});

describe("a record of changed ranges", () => {
  const image = inodeOf(gfid("c1"));
  const name = CHANGED_RANGES_KEY.RECORD_PREFIX + pendingKey(2);
  const recorded = ({ brick }: Running): Promise<unknown> => {
    const read = brick.top.getxattr(brick.call, { loc: { inode: image }, name });
    return outcome(read.then(({ xattrs }) => decodeRecord(xattrs.bytes(name))?.counter));
  };

  /** What is left of a record when the brick was served by somebody else before it is Mortar's again. */
  async function leftAfter(other: Make): Promise<unknown> {
    const top = makeBrick(`record-${other}`);
    const before = await connected("mortar", top);
    await make(before.brick, "image", gfid("c1"), S_IFREG | 0o600);
    await before.brick.top.truncate(before.brick.call, { loc: { inode: image }, offset: 1 << 20 });
    await before.brick.sync(image);
    await before.brick.batch(image);
    const change = { ranges: ChangedRanges.of([{ start: 0, end: 4096 }]), dirtyLeft: [] };
    const xdata = new Dict().setBytes(CHANGED_RANGES_KEY.CHANGE, encodeChange(change));
    await mark(image, { [pendingKey(2)]: counts(1) }, xdata)(before);
    expect(await recorded(before)).toBe(1);
    await before.stop();
    const meanwhile = await connected(other, top);
    expect(await recorded(meanwhile)).toBe(other === "mortar" ? 1 : "ENODATA");
    // Healed, and missed again: the counter is the one that the record explains.
    if (other === "glusterfs")
      for (const count of [-1, 1]) await mark(image, { [pendingKey(2)]: counts(count) })(meanwhile);
    await meanwhile.stop();
    const after = await connected("mortar", top);
    const left = await recorded(after);
    expect(await mark(image, {})(after)).toMatchObject({ [pendingKey(2)]: counts(1).toString("hex") });
    await after.stop();
    return left;
  }

  it("survives the death of its brick", async () => {
    expect(await leftAfter("mortar")).toBe(1);
  });

  it("is gone when glusterfsd has served the brick, whatever the counter says", async () => {
    expect(await leftAfter("glusterfs")).toBe("ENODATA");
  });
});
