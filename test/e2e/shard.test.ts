/**
 * Files in blocks on a replicated volume of glusterd: Mortar's mount and GlusterFS' own use it in turn. What
 * one wrote the other reads, and on the bricks the files of both look the same: blocks, their sizes, shard's
 * xattrs.
 */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { countIndex, gfidOf } from "../support/copies.ts";
import type { FileAgent } from "../support/file-agent.ts";
import { GlusterVolume } from "../support/glusterd.ts";
import { getXattr, listXattrs } from "../support/libc.ts";
import { Lab, MORTAR, type Mount } from "../support/peers.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { mountTheirs } from "../support/virt-volume.ts";
import { until } from "../support/wait.ts";

const MIB = 2 ** 20;
const BLOCK = 4 * MIB;
const SIZE = 10 * MIB + 12_345;
const WRITE = 128 * 1024;
const KEEP_SIZE = 1;
const PUNCH_HOLE = 2;
/** Longer than any cache of attributes lasts, in the kernel and in either client. */
const TRUST_MS = 20_000;
const REMOVAL_DEADLINE_MS = 30_000;
const SIZE_OPTION = "features.shard-block-size";

const lab = new Lab("shard");
afterAll(() => lab.close());

/** One client: where it has mounted the volume, and a program that works there. */
interface User {
  readonly name: string;
  readonly place: string;
  readonly agent: FileAgent;
}

async function writeWhole({ place, agent }: User, name: string, bytes: Buffer): Promise<void> {
  const fd = await agent.open(join(place, name), "O_RDWR|O_CREAT");
  for (let at = 0; at < bytes.length; at += WRITE) await agent.write(fd, bytes.subarray(at, at + WRITE), at);
  await agent.fsync(fd);
  await agent.close(fd);
}

/** Past the kernel's pages, as far as the other client is concerned. */
async function readWhole({ place, agent }: User, name: string): Promise<Buffer> {
  const fd = await agent.open(join(place, name), "O_RDONLY|O_DIRECT");
  const parts: Buffer[] = [];
  for (let at = 0; ; at += MIB) {
    const part = await agent.read(fd, MIB, at);
    parts.push(part);
    if (part.length < MIB) break;
  }
  await agent.close(fd);
  return Buffer.concat(parts);
}

/** What both see is asked until the clients have given up what they believed before. */
async function expectContent(users: readonly User[], name: string, bytes: Buffer): Promise<void> {
  for (const user of users) {
    await expect
      .poll(() => user.agent.stat(join(user.place, name)).then(({ size }) => Number(size)), {
        timeout: TRUST_MS,
      })
      .toBe(bytes.length);
    const where = `${name} through ${user.name}`;
    const read = await readWhole(user, name).catch((error) => {
      throw new Error(`${where}: ${error}`);
    });
    expectSameBytes(read, bytes, where);
  }
}

/** The blocks of a file on one brick, in order. */
function blocksOf(brick: string, name: string): { number: number; path: string }[] {
  const gfid = gfidOf(brick, name);
  const hidden = join(brick, ".shard");
  const blocks = existsSync(hidden) ? readdirSync(hidden).filter((one) => one.startsWith(`${gfid}.`)) : [];
  return blocks
    .map((one) => ({ number: Number(one.slice(gfid.length + 1)), path: join(hidden, one) }))
    .sort((one, other) => one.number - other.number);
}

/** A file on one brick, without what differs between two files that are the same otherwise. */
function describeBlocks(brick: string, name: string): string[] {
  const base = join(brick, name);
  const keys = (path: string): string[] =>
    listXattrs(path)
      .map((key) => (key.startsWith("trusted.gfid2path.") ? "trusted.gfid2path" : key))
      .filter((key) => !key.startsWith("trusted.afr."))
      .sort();
  return [
    `size ${statSync(base).size}, ${keys(base).join(" ")}`,
    ...["block-size", "file-size"].map((key) =>
      getXattr(base, `trusted.glusterfs.shard.${key}`).toString("hex"),
    ),
    ...blocksOf(brick, name).map(({ number, path }) => {
      const { size, blocks: room, mode, uid } = statSync(path);
      return `${number}: size ${size}, room ${room}, ${mode.toString(8)} of ${uid}, ${keys(path).join(" ")}`;
    }),
  ];
}

function expectSameOnBricks(volume: GlusterVolume, one: string, other: string): void {
  for (const brick of volume.bricks) expect(describeBlocks(brick, one)).toEqual(describeBlocks(brick, other));
}

function hiddenNames(brick: string): string[] {
  const directory = join(brick, ".shard");
  if (!existsSync(directory)) return [];
  const names = readdirSync(directory).filter((name) => name !== ".remove_me");
  const markers = join(directory, ".remove_me");
  return existsSync(markers) ? [...names, ...readdirSync(markers).map((name) => `marker ${name}`)] : names;
}

/** How many new images were made; each has a name of its own. */
let images = 0;
let volume: GlusterVolume;
let mount: Mount;
let ours: User;
let theirs: User;
beforeAll(async () => {
  volume = await GlusterVolume.create(lab, "replica 3");
  await volume.setAll(["features.shard on", "features.shard-block-size 4MB"]);
  mount = await lab.mount("mortar", volume.source);
  ours = { name: "Mortar", place: mount.mountpoint, agent: lab.agent() };
  theirs = { name: "GlusterFS", place: await mountTheirs(lab, volume), agent: lab.agent() };
});
afterAll(async () => {
  if (theirs !== undefined) await lab.processes.run("umount", [theirs.place]);
  if (mount !== undefined) await lab.unmount(mount);
  await volume?.remove();
});

it("a sharded volume is used by Mortar and by GlusterFS in turn", async () => {
  const users = [ours, theirs];
  const files = ["by-mortar", "by-glusterfs"] as const;
  let content = pattern(SIZE);

  for (const [which, user] of users.entries()) await writeWhole(user, files[which]!, content);
  for (const file of files) await expectContent(users, file, content);
  expectSameOnBricks(volume, ...files);
  expect(hiddenNames(volume.bricks[0]!).length).toBe(4);

  // Each goes on with the other's file.
  for (const [which, file] of files.entries()) {
    const user = users[1 - which]!;
    const fd = await user.agent.open(join(user.place, file), "O_RDWR");
    await user.agent.write(fd, pattern(3 * WRITE).subarray(7), BLOCK - WRITE);
    await user.agent.write(fd, "tail", SIZE);
    await user.agent.fsync(fd);
    await user.agent.close(fd);
  }
  content = Buffer.concat([content, Buffer.from("tail")]);
  pattern(3 * WRITE)
    .subarray(7)
    .copy(content, BLOCK - WRITE);
  for (const file of files) await expectContent(users, file, content);
  expectSameOnBricks(volume, ...files);

  // Cut in the middle of a block, grow by a hole, punch one.
  for (const [which, user] of users.entries()) {
    await user.agent.truncate(join(user.place, files[which]!), BLOCK + 5);
    await user.agent.truncate(join(user.place, files[which]!), 2 * BLOCK + 9);
    const fd = await user.agent.open(join(user.place, files[which]!), "O_RDWR");
    await user.agent.fallocate(fd, KEEP_SIZE | PUNCH_HOLE, BLOCK - 8192, 8192);
    await user.agent.fsync(fd);
    await user.agent.close(fd);
  }
  // Their client goes on asking for blocks that another client has removed, and fails.
  await lab.processes.run("umount", [theirs.place]);
  await lab.processes.run("mount", ["-t", "glusterfs", volume.source, theirs.place]);
  const cut = Buffer.alloc(2 * BLOCK + 9);
  content.copy(cut, 0, 0, BLOCK + 5);
  cut.fill(0, BLOCK - 8192, BLOCK);
  for (const file of files) await expectContent(users, file, cut);
  const words = volume.bricks.map((brick) => files.map((file) => describeBlocks(brick, file).slice(1, 3)));
  for (const [one, other] of words) expect(one).toEqual(other);

  // Ours finds data and holes; theirs refuses.
  const fd = await ours.agent.open(join(ours.place, files[1]!), "O_RDONLY");
  expect(await ours.agent.seek(fd, BLOCK - 8192, "data")).toBe(BLOCK);
  expect(await ours.agent.seek(fd, 0, "hole")).toBe(BLOCK - 8192);
  await ours.agent.close(fd);

  // Each removes the other's; the blocks and markers go.
  await ours.agent.unlink(join(ours.place, files[1]!));
  await theirs.agent.unlink(join(theirs.place, files[0]!));
  await until(
    "blocks of removed files are gone",
    () => volume.bricks.every((brick) => hiddenNames(brick).length === 0),
    {
      deadlineMs: REMOVAL_DEADLINE_MS,
      detail: () => volume.bricks.map((brick) => hiddenNames(brick).join(" ")).join("\n"),
    },
  );

  await lab.processes.run(
    "fio",
    [
      "--name=verify",
      "--verify_state_save=0",
      `--directory=${ours.place}`,
      "--filesize=24m",
      "--rw=randwrite",
      "--bsrange=512-300k",
      "--bs_unaligned=1",
      "--ioengine=psync",
      "--verify=crc32c",
      "--do_verify=1",
      "--norandommap=0",
      "--io_size=24m",
    ],
    { timeoutMs: 60_000 },
  );
});

/** Why ours syncs: see #syncData in batch.ts of replicate. */
it("plain dd has no block synced by GlusterFS' client, and each once by Mortar's before marks go (WB-06)", async () => {
  const blocks = 8;
  await volume.gluster("volume", "profile", volume.name, "start");
  await untilUnmarked();
  for (const { name, place } of [theirs, ours]) {
    const file = `dd-by-${name}`;
    await syncsAtBricks();
    // One request at a time: those of a larger write may overtake each other, and are no appends then.
    await lab.processes.run("dd", [
      "if=/dev/zero",
      `of=${join(place, file)}`,
      `bs=${WRITE}`,
      `count=${(blocks * BLOCK) / WRITE}`,
      "status=none",
    ]);
    await untilUnmarked();
    for (const brick of volume.bricks) expect(blocksOf(brick, file).length).toBe(blocks - 1);
    const syncs = await syncsAtBricks();
    if (name === "GlusterFS") expect(syncs).toEqual([0, 0, 0]);
    // More than one for a block whose writer paused for a second.
    else for (const count of syncs) expect(count).toBeGreaterThanOrEqual(blocks);
  }
  await volume.gluster("volume", "profile", volume.name, "stop");
});

it("an image keeps the size of blocks it was made with, whoever sets another one, and how", async () => {
  const users = [ours, theirs];
  const old = ["old-by-mortar", "old-by-glusterfs"] as const;
  const content = Buffer.alloc(SIZE + 3 * (MIB + WRITE));
  pattern(SIZE).copy(content);
  for (const [which, user] of users.entries()) await writeWhole(user, old[which]!, content.subarray(0, SIZE));

  // At the server for all; at Mortar's mount; in a volfile of its own.
  await volume.setAll([`${SIZE_OPTION} 8MB`]);
  await untilNewImages(ours, 8 * MIB);
  await lab.processes.run(MORTAR, ["set", ours.place, SIZE_OPTION, "16MB"]);
  const volfile = readFileSync(volume.clientVolfile, "utf8").replace(/(shard-block-size) 8MB/, "$1 5MB");
  const own = await lab.mount("mortar", lab.writeFile("own.vol", volfile));
  const third: User = { name: "Mortar by a volfile", place: own.mountpoint, agent: lab.agent() };
  const everybody = [...users, third];
  const sizes = [16 * MIB, 8 * MIB, 5 * MIB];
  for (const [which, user] of everybody.entries()) {
    const name = await untilNewImages(user, sizes[which]!);
    await expectNewImage(everybody[(which + 1) % 3]!, name, sizes[which]!);
  }

  // All go on with the old ones: over the ends of blocks old and new, and past the end, with a hole between.
  for (const [turn, end] of [BLOCK, 8 * MIB, 5 * MIB].entries()) {
    const patch = Buffer.alloc(2 * WRITE, turn + 1);
    const past = SIZE + turn * (MIB + WRITE) + MIB;
    for (const [which, name] of old.entries()) {
      const { agent, place } = everybody[(turn + which) % 3]!;
      const fd = await agent.open(join(place, name), "O_RDWR");
      await agent.write(fd, patch, end - WRITE);
      await agent.write(fd, patch.subarray(WRITE), past);
      await agent.fsync(fd);
      await agent.close(fd);
    }
    patch.copy(content, end - WRITE);
    patch.copy(content, past, WRITE);
  }
  for (const name of old) {
    await expectContent(everybody, name, content);
    for (const brick of volume.bricks) {
      expect(blockSizeOf(brick, name)).toBe(BLOCK);
      // The third ends with what was first written past the old end; what came next lies in the fourth.
      const short = SIZE + MIB + WRITE - 2 * BLOCK;
      expect(pieceSizes(brick, name)).toEqual([BLOCK, BLOCK, short, content.length - 3 * BLOCK]);
    }
  }
  expectSameOnBricks(volume, ...old);
  await lab.unmount(own);
});

/** What was written before has been synced, where it is: that comes right before marks are taken back. */
async function untilUnmarked(): Promise<void> {
  await until("no marks are left", () => volume.bricks.every((brick) => countIndex(brick) === 0));
}

/** How often each brick was asked to sync a file since this was asked last. */
async function syncsAtBricks(): Promise<number[]> {
  const text = await volume.gluster("volume", "profile", volume.name, "info", "incremental");
  const parts = text.split(/^Brick: /m).slice(1);
  expect(parts.length).toBe(volume.bricks.length);
  return parts.map((part) => Number(/ [mnu]s +(\d+) +FSYNC$/m.exec(part)?.[1] ?? 0));
}

/** Makes images until one has blocks of that size, as it was set; gives its name. */
async function untilNewImages({ name: user, place, agent }: User, size: number): Promise<string> {
  let name = "";
  await until(`new images of ${user} have blocks of ${size} bytes`, async () => {
    name = `new-${++images}`;
    await agent.writeFile(join(place, name), "");
    return blockSizeOf(volume.bricks[0]!, name) === size;
  });
  return name;
}

/** What another user than its maker writes over the end of the first block goes where that size says. */
async function expectNewImage({ place, agent }: User, name: string, size: number): Promise<void> {
  const fd = await agent.open(join(place, name), "O_RDWR");
  await agent.write(fd, pattern(2 * WRITE), size - WRITE);
  await agent.fsync(fd);
  await agent.close(fd);
  for (const brick of volume.bricks) expect(pieceSizes(brick, name)).toEqual([size, WRITE]);
}

function blockSizeOf(brick: string, name: string): number {
  return Number(getXattr(join(brick, name), "trusted.glusterfs.shard.block-size").readBigUInt64BE());
}

/** Sizes of an image's first piece and of its blocks. */
function pieceSizes(brick: string, name: string): number[] {
  const blocks = blocksOf(brick, name).map(({ path }) => path);
  return [join(brick, name), ...blocks].map((path) => statSync(path).size);
}
