/**
 * The four cells: {Mortar, GlusterFS 10.3} client x {Mortar, GlusterFS 10.3} brick, each in a process of its
 * own over TCP.
 *
 * One script of file operations is written through each cell. What a client sees of it must be the same
 * through either make of client, must hold against a plain directory where the kernel decides, and must
 * survive that the other make serves the directory. The brick itself must look as GlusterFS alone makes it.
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { FileAgent } from "../support/file-agent.ts";
import type { TreeEntry } from "../support/file-operations.ts";
import { type Brick, Lab, MAKES, type Make, type Mount } from "../support/peers.ts";
import { writeSampleTree } from "../support/sample-tree.ts";
import { describeBrick, withoutStale } from "../support/tree.ts";

const lab = new Lab("four-cells");
const agent = lab.agent();
/** The script on a directory without any of us: what the kernel's own file system makes of it. */
let plain: TreeEntry[];
/** The brick that GlusterFS alone made of the script. */
let reference: string[];

beforeAll(async () => {
  const directory = lab.makeDirectory("plain");
  await writeSampleTree(agent, directory);
  plain = await agent.snapshot(directory);
  const { brick, mount } = await writeThrough("glusterfs", "glusterfs");
  reference = withoutStale(describeBrick(brick.directory));
  await lab.unmount(mount);
  await brick.process.stop();
});
afterAll(() => lab.close());

async function writeThrough(client: Make, server: Make): Promise<{ brick: Brick; mount: Mount }> {
  const brick = await lab.startBrick(server, lab.makeBrickDirectory(`${client}-to-${server}`));
  const mount = await lab.mountBrick(client, brick);
  await writeSampleTree(agent, mount.mountpoint);
  return { brick, mount };
}

async function seenBy(client: Make, brick: Brick, by: FileAgent = agent): Promise<TreeEntry[]> {
  const mount = await lab.mountBrick(client, brick);
  const tree = await by.snapshot(mount.mountpoint);
  await lab.unmount(mount);
  return tree;
}

/**
 * What two file systems agree on: not their inode numbers, block counts, sizes of directories, and times
 * nobody set.
 */
function portable(tree: readonly TreeEntry[]): unknown[] {
  return tree.map(({ ino: _ino, blocks: _blocks, ctime: _ctime, atime, mtime, size, nlink, ...entry }) => ({
    ...entry,
    ...(entry.type === "directory" ? {} : { size, nlink }),
    ...(entry.path.includes("timed") ? { atime, mtime } : {}),
  }));
}

describe.each(MAKES)("written through a %s client", (client) => {
  describe.each(MAKES)("to a %s brick", (server) => {
    let brick: Brick;
    let mount: Mount;
    let seen: TreeEntry[];

    beforeAll(async () => {
      ({ brick, mount } = await writeThrough(client, server));
      seen = await agent.snapshot(mount.mountpoint);
    });

    it("is on the mount what it is on a plain directory", () => {
      expect(portable(seen)).toEqual(portable(plain));
    });

    it.each(MAKES)("is the same through another mount, of make %s", async (other) => {
      expect(await seenBy(other, brick)).toEqual(seen);
    });

    it("leaves a brick that differs from GlusterFS' own in nothing but ids and times", () => {
      const made = describeBrick(brick.directory);
      if (server === "mortar") expect(made.filter((line) => line.includes("(stale)"))).toEqual([]);
      expect(withoutStale(made)).toEqual(reference);
    });

    it("is the same when the other make serves the directory, and again when the first one does", async () => {
      await lab.unmount(mount);
      for (const next of [server === "mortar" ? "glusterfs" : "mortar", server] as const) {
        await brick.process.stop();
        brick = await lab.startBrick(next, brick.directory);
        for (const reader of MAKES) expect(await seenBy(reader, brick)).toEqual(seen);
        expect(withoutStale(describeBrick(brick.directory))).toEqual(reference);
      }
    });
  });
});
