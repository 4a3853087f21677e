/**
 * Distributed volumes below sharded images, on bricks in processes of their own: the renames of DHT-06, and
 * layouts that somebody broke by hand on the bricks, into a hole or an overlap. A block of an image is never
 * made, found missing or read as zeroes by a guess.
 */

import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { gfidOf } from "../support/copies.ts";
import { codeOf, type FileAgent } from "../support/file-agent.ts";
import { getXattr, setXattr } from "../support/libc.ts";
import { type Brick, Lab, type Mount, tail } from "../support/peers.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { connectOptions, section } from "../support/volfiles.ts";
import { until } from "../support/wait.ts";

const MIB = 2 ** 20;
const BLOCK = 4 * MIB;
const PAGE = 4096;
/** Blocks of an image: enough that none of two bricks has all, wherever their names belong. */
const WRITTEN = 20;
const LAYOUT = "trusted.glusterfs.dht";
const LINKTO_MODE = 0o1000;
const BRICKS = [0, 1] as const;
const RECONNECT_DEADLINE_MS = 30_000;
const DAMAGE = [
  ["a hole", "0000000100000000000000000000ffff"],
  ["an overlap", "000000010000000000000000ffffffff"],
] as const;

const lab = new Lab("distribute-scenarios");
afterAll(() => lab.close());

let bricks: Brick[];
let mount: Mount;
let agent: FileAgent;
const at = (...names: string[]): string => join(mount.mountpoint, ...names);

function newMount(): Promise<Mount> {
  const clients = bricks.map(({ directory, address }, index) =>
    section(`vol-client-${index}`, "protocol/client", [
      ...connectOptions(address),
      `remote-subvolume ${directory}`,
    ]),
  );
  const text = [
    ...clients,
    section("vol-dht", "cluster/distribute", ["lookup-optimize off"], "vol-client-0", "vol-client-1"),
    section("vol-shard", "features/shard", [`shard-block-size ${BLOCK}`], "vol-dht"),
    section("vol-utime", "features/utime", ["noatime on"], "vol-shard"),
    section("vol", "debug/io-stats", ["log-level WARNING"], "vol-utime"),
  ];
  return lab.mount("mortar", lab.writeFile("client.vol", text.join("\n")));
}

beforeAll(async () => {
  bricks = await Promise.all(
    BRICKS.map((index) => lab.startBrick("mortar", lab.makeBrickDirectory(`brick-${index}`))),
  );
  mount = await newMount();
  agent = lab.agent();
});

/** What each brick has under a name: the data, a linkto file, or nothing. */
function shown(path: string): string[] {
  return bricks.map(({ directory }) => {
    const stat = lstatSync(join(directory, path), { throwIfNoEntry: false });
    if (stat === undefined) return "nothing";
    return (stat.mode & 0o7777) === LINKTO_MODE ? "link" : "data";
  });
}

/** New names of a directory, as many as asked for, that belong to each brick. */
async function namesBelonging(directory: string, count: number): Promise<string[][]> {
  const names: string[][] = [[], []];
  for (let index = 0; names.some(({ length }) => length < count); index++) {
    const name = `n${index}`;
    await agent.writeFile(at(directory, name), "");
    names[shown(join(directory, name)).indexOf("data")]!.push(name);
    await agent.unlink(at(directory, name));
  }
  return names;
}

describe("rename", () => {
  it("DHT-06: leaves one data file and at most one linkto file, whatever lay where", async () => {
    await agent.mkdir(at("renames"));
    const names = await namesBelonging("renames", 3);
    const make = async (name: string, home: number, data: number, text: string): Promise<void> => {
      const first = home === data ? name : names[data]![2]!;
      await agent.writeFile(at("renames", first), text);
      if (first !== name) await agent.rename(at("renames", first), at("renames", name));
      const wanted = BRICKS.map((one) => (one === data ? "data" : one === home ? "link" : "nothing"));
      expect(shown(join("renames", name))).toEqual(wanted);
    };
    for (const home of BRICKS)
      for (const data of BRICKS)
        for (const toHome of BRICKS)
          for (const toData of [undefined, ...BRICKS]) {
            const what = `from ${home} with data on ${data} to ${toHome} over data on ${toData}`;
            const [from, to] = [names[home]![0]!, names[toHome]![1]!];
            await make(from, home, data, what);
            if (toData !== undefined) await make(to, toHome, toData, "to be replaced");
            await agent.rename(at("renames", from), at("renames", to));
            const wanted = BRICKS.map((one) => (one === data ? "data" : one === toHome ? "link" : "nothing"));
            expect(shown(join("renames", to)), what).toEqual(wanted);
            expect(shown(join("renames", from)), what).toEqual(["nothing", "nothing"]);
            expect(await agent.list(at("renames")), what).toEqual([to]);
            expect((await agent.readFile(at("renames", to))).toString()).toBe(what);
            await agent.unlink(at("renames", to));
            expect(shown(join("renames", to)), what).toEqual(["nothing", "nothing"]);
          }
  });
});

describe("a layout with", () => {
  const layouts = (path: string): string[] =>
    bricks.map(({ directory }) => getXattr(join(directory, path), LAYOUT).toString("hex"));

  function damage(brick: number, path: string, piece: string): void {
    setXattr(join(bricks[brick]!.directory, path), LAYOUT, Buffer.from(piece, "hex"));
  }

  /** Names of blocks of an image, by brick. */
  function blocksOf(name: string): string[][] {
    const home = bricks.findIndex((_, index) => shown(name)[index] === "data");
    const gfid = gfidOf(bricks[home]!.directory, name);
    return bricks.map(({ directory }) =>
      readdirSync(join(directory, ".shard")).filter((one) => one.startsWith(`${gfid}.`)),
    );
  }

  /** Making a directory can do without a brick, removing one cannot. */
  async function untilWhole({ mountpoint, logFile }: Mount): Promise<void> {
    const path = join(mountpoint, "probe");
    await until(
      "the mount has both bricks",
      async () => {
        await codeOf(agent.mkdir(path));
        return (await codeOf(agent.rmdir(path))) === "ok";
      },
      { deadlineMs: RECONNECT_DEADLINE_MS, detail: () => tail(logFile) },
    );
  }

  /** A mount of somebody who has not seen the volume yet, in place of the last one. */
  let fresh: Mount | undefined;
  afterEach(async () => {
    for (const brick of bricks) if (brick.process.exit !== undefined) await lab.restartBrick(brick);
    if (fresh !== undefined) await lab.unmount(fresh);
    fresh = undefined;
    await untilWhole(mount);
  });

  it.each(DAMAGE)("%s is healed before a name is made there, on either brick", async (what, piece) => {
    const directory = `directory with ${what}`;
    await agent.mkdir(at(directory));
    const whole = layouts(directory);
    const names = await namesBelonging(directory, 2);
    for (const brick of BRICKS) {
      damage(brick, directory, piece);
      expect(layouts(directory)).not.toEqual(whole);
      for (const home of BRICKS) {
        const name = names[home]![brick]!;
        await agent.writeFile(at(directory, name), name);
        expect(shown(join(directory, name)).filter((one) => one === "data")).toHaveLength(1);
        expect((await agent.readFile(at(directory, name))).toString()).toBe(name);
      }
      expect(layouts(directory)).toEqual(whole);
    }
    expect((await agent.list(at(directory))).length).toBe(4);
  });

  /** The page with which a block of an image begins; no two are alike. */
  const pageOf = (block: number): Buffer => Buffer.alloc(PAGE, `block ${block}, `);

  it.each(DAMAGE)(
    "%s under an open image: each block is there once, and read by all",
    async (what, piece) => {
      const name = `image with ${what}`;
      const fd = await agent.open(at(name), "O_RDWR|O_CREAT");
      const blocks = [...Array(4 + 2 * WRITTEN).keys()];
      for (const block of blocks.slice(0, 4)) await agent.write(fd, pageOf(block), block * BLOCK);
      const whole = layouts(".shard");
      for (const brick of BRICKS) {
        damage(brick, ".shard", piece);
        expect(layouts(".shard")).not.toEqual(whole);
        for (const block of blocks.slice(4 + WRITTEN * brick, 4 + WRITTEN * (brick + 1)))
          await agent.write(fd, pageOf(block), block * BLOCK);
        expect(layouts(".shard")).toEqual(whole);
      }
      await agent.fsync(fd);
      await agent.close(fd);
      const [first, second] = blocksOf(name) as [string[], string[]];
      expect(first.length + second.length).toBe(blocks.length - 1);
      expect(first.filter((one) => second.includes(one))).toEqual([]);
      fresh = await newMount();
      const reader = await agent.open(join(fresh.mountpoint, name), "O_RDONLY");
      for (const block of blocks)
        expectSameBytes(await agent.read(reader, PAGE, block * BLOCK), pageOf(block), `block ${block}`);
      await agent.close(reader);
      await agent.unlink(at(name));
    },
  );

  it.each(DAMAGE)(
    "%s and a brick away: no block is made, or taken for absent, by a guess",
    async (what, piece) => {
      const name = `held image with ${what}`;
      const directory = `held directory with ${what}`;
      await agent.mkdir(at(directory));
      // On the brick that stays; the last two blocks are not there.
      for (let index = 0; ; index++) {
        await agent.writeFile(at(name), pageOf(0));
        if (shown(name)[0] === "data") break;
        await agent.rename(at(name), at(`${name} ${index}`));
      }
      const writer = await agent.open(at(name), "O_RDWR");
      for (let block = 1; block < WRITTEN; block++) await agent.write(writer, pageOf(block), block * BLOCK);
      await agent.close(writer);
      await agent.truncate(at(name), (WRITTEN + 2) * BLOCK);
      fresh = await newMount();
      const [stays, away] = bricks as [Brick, Brick];
      damage(0, directory, piece);
      damage(0, ".shard", piece);
      const before = blocksOf(name);
      expect(before.map(({ length }) => length > 0)).toEqual([true, true]);
      await away.process.kill();

      const path = join(fresh.mountpoint, name);
      const fd = await agent.open(path, "O_RDWR");
      for (let block = 0; block < WRITTEN + 2; block++) {
        const isHere = block === 0 || before[0]!.some((one) => one.endsWith(`.${block}`));
        const code = isHere ? "ok" : "ENOTCONN";
        const read = agent.read(fd, PAGE, block * BLOCK);
        expect(await codeOf(read), `read of block ${block}`).toBe(code);
        if (isHere) expectSameBytes(await read, pageOf(block), `block ${block}`);
        const written = agent.write(fd, pageOf(block), block * BLOCK);
        expect(await codeOf(written), `write to block ${block}`).toBe(code);
      }
      await agent.close(fd);
      expect(blocksOf(name)).toEqual(before);
      // Names beside images: into the hole none; and what the brick claims for itself is found later.
      const names = ["f0", "f1", "f2", "f3"];
      for (const one of names) {
        const made = agent.writeFile(join(fresh.mountpoint, directory, one), one);
        expect(await codeOf(made)).toBe(what === "a hole" ? "EIO" : "ok");
      }
      expect(readdirSync(join(stays.directory, directory))).toEqual(what === "a hole" ? [] : names);
      // The errno says nothing of why; the log does, and who has to come back.
      if (what === "a hole") {
        const line = readFileSync(fresh.logFile, "utf8")
          .split("\n")
          .find((one) => one.includes("a hole where"));
        expect(line).toContain(`"operation":"create","path":"/${directory}"`);
        expect(line).toContain("(down: vol-client-1)");
      }

      await lab.restartBrick(away);
      await untilWhole(fresh);
      const reader = await agent.open(path, "O_RDONLY");
      for (let block = 0; block < WRITTEN + 2; block++) {
        const wanted = block < WRITTEN ? pageOf(block) : Buffer.alloc(PAGE);
        expectSameBytes(await agent.read(reader, PAGE, block * BLOCK), wanted, `block ${block}`);
      }
      await agent.close(reader);
      expect(blocksOf(name)).toEqual(before);
      for (const one of names) await agent.writeFile(at(directory, one), `again ${one}`);
      expect(await agent.list(join(fresh.mountpoint, directory))).toEqual(names);
      for (const one of names) {
        expect(shown(join(directory, one)).filter((kind) => kind === "data")).toHaveLength(1);
        expect((await agent.readFile(join(fresh.mountpoint, directory, one))).toString()).toBe(
          `again ${one}`,
        );
      }
      await agent.unlink(at(name));
    },
  );
});
