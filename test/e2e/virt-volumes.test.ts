/**
 * Volumes of glusterd with `group virt`, as hosts of virtual machines have them: images of Mortar's mount and
 * of GlusterFS' own at the same time, the same on the bricks.
 */

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { gfidOf } from "../support/copies.ts";
import type { FileAgent } from "../support/file-agent.ts";
import type { GlusterVolume } from "../support/glusterd.ts";
import { Lab } from "../support/peers.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { describeXattrs } from "../support/tree.ts";
import { mountTheirs, readWhole, withVirtVolume } from "../support/virt-volume.ts";
import { until } from "../support/wait.ts";

const MIB = 2 ** 20;
const BLOCK = 4 * MIB;
const PART = 128 * 1024;
const BLOCKS = ".shard";
/** A mark that is not zero. */
const BLAMES = /trusted\.afr\.\S+=0x0*[1-9a-f]/;
/** How often a volume keeps each piece of a file. */
const COPIES = { "distribute 2": 1, "replica 3": 3, arbiter: 3, "two replica 3": 3 } as const;
const KINDS = Object.keys(COPIES) as (keyof typeof COPIES)[];

const lab = new Lab("virt-volumes");
afterAll(() => lab.close());

async function writeAt(agent: FileAgent, fd: number, bytes: Buffer, offset: number): Promise<void> {
  for (let at = 0; at < bytes.length; at += PART)
    await agent.write(fd, bytes.subarray(at, at + PART), offset + at);
}

/**
 * A file on all bricks together: its own name and every block, how often each, with all its xattrs in
 * hexadecimal. What must differ between two files is named instead of shown (tree.ts): a gfid, wherever it
 * stands, is named by whose it is. The times in mdata are checked to be of now and left out. Marks
 * (trusted.afr) are shown as they are: in a file whose writers have gone each has to be zero.
 */
function describeFile(volume: GlusterVolume, name: string): string[] {
  const holder = volume.bricks.find((brick) => existsSync(join(brick, name)))!;
  const gfid = gfidOf(holder, name);
  return volume.bricks.flatMap((brick) => describeOn(brick, name, gfid)).sort();
}

function describeOn(brick: string, name: string, gfid: string): string[] {
  const isHere = (path: string): boolean => existsSync(join(brick, path));
  const hidden = isHere(BLOCKS) ? readdirSync(join(brick, BLOCKS)) : [];
  const blocks = hidden.filter((one) => one.startsWith(`${gfid}.`)).map((one) => join(BLOCKS, one));
  const own = [name, ...blocks].filter(isHere);
  const known = [".", BLOCKS, ...own].filter(isHere);
  // Blocks may lie on a brick that the file itself is not on, and name it all the same.
  const pathOf = new Map([[gfid, [name]]]);
  for (const path of known) pathOf.set(gfidOf(brick, path), [path]);
  return own.map((path) => {
    const { size, blocks: room, mode, uid, gid, nlink } = statSync(join(brick, path));
    const stat = `size ${size}, room ${room}, mode ${mode.toString(8)} of ${uid}:${gid}, links ${nlink}`;
    const line = `${path}: ${stat}, ${describeXattrs(join(brick, path), pathOf).join(" ")}`;
    return line.replaceAll(name, "FILE").replaceAll(gfid, "FILE");
  });
}

describe.each(KINDS)("group virt on %s", (kind) => {
  it("is used by both clients at once, and looks the same on the bricks", () =>
    withVirtVolume(lab, kind, async (volume) => {
      const mount = await lab.mount("mortar", volume.source);
      const theirs = await mountTheirs(lab, volume);
      const content = pattern(2 * BLOCK + 12_345);
      const users = [
        { file: "by-mortar", place: mount.mountpoint, agent: lab.agent() },
        { file: "by-glusterfs", place: theirs, agent: lab.agent() },
      ] as const;
      await Promise.all(
        users.map(async ({ file, place, agent }) => {
          const fd = await agent.open(join(place, file), "O_RDWR|O_CREAT");
          await writeAt(agent, fd, content, 0);
          await agent.fsync(fd);
          await agent.close(fd);
        }),
      );
      for (const { place, agent } of users)
        for (const { file } of users)
          expectSameBytes(await readWhole(agent, join(place, file)), content, `${file} through ${place}`);
      // Blocks have no close: their marks are taken away a second after the last write, by either client.
      await until("no copy is blamed", () =>
        users.every(({ file }) => describeFile(volume, file).every((line) => !BLAMES.test(line))),
      );
      const onBricks = describeFile(volume, "by-mortar");
      expect(onBricks).toEqual(describeFile(volume, "by-glusterfs"));
      expect(onBricks.length).toBe(3 * COPIES[kind]);
      for (const { agent } of users) await agent.process.kill();
      await lab.processes.run("umount", [theirs]);
      await lab.unmount(mount);
    }));
});
