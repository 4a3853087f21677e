/**
 * Volumes of glusterd with `group virt`, as hosts of virtual machines have them: images of Mortar's mount and
 * of GlusterFS' own at the same time, the same on the bricks.
 */

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { FileAgent } from "../support/file-agent.ts";
import type { GlusterVolume } from "../support/glusterd.ts";
import { getXattr, listXattrs } from "../support/libc.ts";
import { Lab } from "../support/peers.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { gfidText } from "../support/tree.ts";
import { mountTheirs, readWhole, withVirtVolume } from "../support/virt-volume.ts";

const MIB = 2 ** 20;
const BLOCK = 4 * MIB;
const PART = 128 * 1024;

const lab = new Lab("virt-volumes");
afterAll(() => lab.close());

async function writeAt(agent: FileAgent, fd: number, bytes: Buffer, offset: number): Promise<void> {
  for (let at = 0; at < bytes.length; at += PART)
    await agent.write(fd, bytes.subarray(at, at + PART), offset + at);
}

/** A file on all bricks together: its own name and every block, how often each, with its xattrs. */
function describeFile(volume: GlusterVolume, name: string): string[] {
  const bases = volume.bricks.map((brick) => join(brick, name)).filter((path) => existsSync(path));
  const gfid = gfidText(getXattr(bases[0]!, "trusted.gfid"));
  const blocks = volume.bricks.flatMap((brick) => {
    const hidden = join(brick, ".shard");
    return existsSync(hidden)
      ? readdirSync(hidden).flatMap((one) => (one.startsWith(`${gfid}.`) ? [join(hidden, one)] : []))
      : [];
  });
  return [...bases, ...blocks]
    .map((path) => {
      const { size, blocks: room, mode } = statSync(path);
      const xattrs = listXattrs(path)
        .filter((key) => !/^trusted\.(gfid|afr\.|glusterfs\.mdata)/.test(key))
        .map((key) => `${key}=${getXattr(path, key).toString("hex")}`);
      const which = path.includes("/.shard/") ? `block ${path.slice(path.lastIndexOf(".") + 1)}` : "base";
      return `${which}: size ${size}, room ${room}, mode ${mode.toString(8)}, ${xattrs.sort().join(" ")}`;
    })
    .sort();
}

describe.each(["distribute 2", "arbiter", "two replica 3"] as const)("group virt on %s", (kind) => {
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
      expect(describeFile(volume, "by-mortar")).toEqual(describeFile(volume, "by-glusterfs"));
      expect(describeFile(volume, "by-mortar").length).toBeGreaterThanOrEqual(3);
      for (const { agent } of users) await agent.process.kill();
      await lab.processes.run("umount", [theirs]);
      await lab.unmount(mount);
    }));
});
