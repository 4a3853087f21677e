/**
 * Files in blocks on a replicated volume of glusterd: Mortar's mount and GlusterFS' own use it in turn. What
 * one wrote the other reads, and on the bricks the files of both look the same: blocks, their sizes, shard's
 * xattrs.
 */

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import type { FileAgent } from "../support/file-agent.ts";
import { GlusterVolume } from "../support/glusterd.ts";
import { getXattr, listXattrs } from "../support/libc.ts";
import { Lab } from "../support/peers.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { gfidText } from "../support/tree.ts";
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

/** A file on one brick, without what differs between two files that are the same otherwise. */
function describeBlocks(brick: string, name: string): string[] {
  const base = join(brick, name);
  const gfid = gfidText(getXattr(base, "trusted.gfid"));
  const hidden = join(brick, ".shard");
  const blocks = existsSync(hidden) ? readdirSync(hidden).filter((one) => one.startsWith(`${gfid}.`)) : [];
  const numbers = blocks.map((one) => Number(one.slice(gfid.length + 1))).sort((a, b) => a - b);
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
    ...numbers.map((number) => {
      const path = join(hidden, `${gfid}.${number}`);
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

it("a sharded volume is used by Mortar and by GlusterFS in turn", async () => {
  const volume = await GlusterVolume.create(lab, "replica 3");
  try {
    await volume.setAll(["features.shard on", "features.shard-block-size 4MB"]);
    await share(volume);
  } finally {
    await volume.remove();
  }
});

async function share(volume: GlusterVolume): Promise<void> {
  const mount = await lab.mount("mortar", volume.source);
  const ours: User = { name: "Mortar", place: mount.mountpoint, agent: lab.agent() };
  const theirs: User = { name: "GlusterFS", place: lab.makeDirectory("theirs"), agent: lab.agent() };
  await lab.processes.run("mount", ["-t", "glusterfs", volume.source, theirs.place]);
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
  await lab.unmount(mount);
  await lab.processes.run("umount", [theirs.place]);
}
