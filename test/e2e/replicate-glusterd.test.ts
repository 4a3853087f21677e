/**
 * Replicated volumes as an administrator of GlusterFS makes them: Mortar mounts them by name beside a client
 * of GlusterFS. Both write, both see; a brick dies and returns; glustershd heals what both wrote meanwhile.
 */

import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { countIndex, describeCopy, describeIndex } from "../support/copies.ts";
import type { FileAgent } from "../support/file-agent.ts";
import { GlusterVolume } from "../support/glusterd.ts";
import { parseHealInfo, pendingCount } from "../support/heal-info.ts";
import { Lab, MORTAR } from "../support/peers.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern, writeSampleTree } from "../support/sample-tree.ts";
import { until } from "../support/wait.ts";

/** Longer than any cache of attributes lasts. */
const TRUST_MS = 20_000;
const BLOCK = 4096;
const WRITES = 100;
/** glustershd connects within 3 s and looks at once; the machine may be busy. */
const HEAL_DEADLINE_MS = 90_000;

const lab = new Lab("replicate-glusterd");
afterAll(() => lab.close());

// They wait for glustershd, and do so together.
describe.concurrent.each(["replica 3", "arbiter"] as const)("a %s volume of glusterd", (kind) => {
  it("is shared with a client of GlusterFS, through the death and return of a brick", async () => {
    const volume = await GlusterVolume.create(lab, kind);
    try {
      await shareAndHeal(volume, kind);
    } finally {
      await volume.remove();
    }
  });
});

/**
 * GlusterFS lets the kernel keep the pages of a file from one open to the next: not what is compared here.
 */
async function readDirect(agent: FileAgent, path: string, size: number): Promise<Buffer> {
  const fd = await agent.open(path, "O_RDONLY|O_DIRECT");
  const bytes = await agent.read(fd, size, 0);
  await agent.close(fd);
  return bytes;
}

async function shareAndHeal(volume: GlusterVolume, kind: "replica 3" | "arbiter"): Promise<void> {
  const ours = await lab.mount("mortar", volume.source);
  const theirs = lab.makeDirectory("theirs");
  await lab.processes.run("mount", ["-t", "glusterfs", volume.source, theirs]);
  const places = [ours.mountpoint, theirs];
  const agents = places.map(() => lab.agent());

  await writeSampleTree(agents[0]!, ours.mountpoint);
  const written = await agents[0]!.snapshot(ours.mountpoint);
  // Their client trusts what it knows of the root for a second or two.
  await until(
    "their client shows the same",
    async () => isDeepStrictEqual(await agents[1]!.snapshot(theirs), written),
    { deadlineMs: TRUST_MS },
  );

  /** Both clients write blocks of one file at the same time, every other block each. */
  async function writeTogether(fill: number): Promise<void> {
    await Promise.all(
      places.map(async (place, which) => {
        const fd = await agents[which]!.open(join(place, "shared"), "O_RDWR|O_CREAT|O_DIRECT");
        for (let index = which; index < WRITES; index += 2)
          await agents[which]!.write(fd, Buffer.alloc(BLOCK, fill + index), index * BLOCK);
        await agents[which]!.fsync(fd);
        await agents[which]!.close(fd);
      }),
    );
    const wanted = Buffer.concat(
      Array.from({ length: WRITES }, (_, index) => Buffer.alloc(BLOCK, fill + index)),
    );
    for (const [which, place] of places.entries())
      expectSameBytes(await readDirect(agents[which]!, join(place, "shared"), wanted.length), wanted, place);
  }

  /** A client that has not found a brick again would lose its quorum with the next one. */
  async function untilConnected(): Promise<void> {
    for (const [which, place] of places.entries())
      await until("a client reaches all bricks", async () => {
        const info = await agents[which]!.getXattr(place, "trusted.glusterfs.pathinfo").then(String, String);
        return volume.bricks.every((brick) => info.includes(brick));
      });
  }

  await writeTogether(1);
  for (const away of [1, 2]) {
    await untilConnected();
    await volume.killBrick(away);
    await writeTogether(away + 1);
    await agents[0]!.writeFile(join(ours.mountpoint, `by Mortar ${away}`), pattern(100_000));
    await agents[1]!.writeFile(join(theirs, `by GlusterFS ${away}`), pattern(100_000));
    await agents[0]!.rename(
      join(ours.mountpoint, `by Mortar ${away}`),
      join(ours.mountpoint, `moved ${away}`),
    );
    await volume.startBricks();
    await until("glustershd has healed", () => volume.bricks.every((brick) => countIndex(brick) === 0), {
      deadlineMs: HEAL_DEADLINE_MS,
      detail: () => volume.bricks.flatMap((brick) => describeIndex(brick)).join("\n"),
    });
  }
  expect(pendingCount(parseHealInfo(await volume.gluster("volume", "heal", volume.name, "info")))).toBe(0);
  expect(await lab.processes.run(MORTAR, ["heal", volume.source, "info"])).not.toMatch(/entries: [1-9]/);
  await lab.unmount(ours);
  await lab.processes.run("umount", [theirs]);
  const [first, second, third] = volume.bricks as [string, string, string];
  expect(describeCopy(second)).toEqual(describeCopy(first));
  const data = kind === "replica 3";
  expect(describeCopy(third, { data })).toEqual(describeCopy(first, { data }));
}
