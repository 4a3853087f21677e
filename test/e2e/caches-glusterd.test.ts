/**
 * Every cache of a client graph on, as glusterd writes it: what a client of GlusterFS does is seen within the
 * timeouts, in the kernel's pages too; and at once, though the timeouts are minutes, when a stock brick tells
 * of it (features.cache-invalidation).
 */

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openVolume } from "../../src/api/index.ts";
import { O_RDONLY } from "../../src/core/open-flags.ts";
import type { FileAgent } from "../support/file-agent.ts";
import { GlusterVolume } from "../support/glusterd.ts";
import { Lab } from "../support/peers.ts";

/** A second in the kernel, one in md-cache, one in each cache of contents; the machine may be busy. */
const SEEN_DEADLINE_MS = 20_000;
const HOOK_TIMEOUT_MS = 120_000;
const LARGE = 300 * 1024;

const ALL_ON = ["quick-read", "stat-prefetch", "io-cache", "read-ahead", "readdir-ahead", "write-behind"].map(
  (translator) => `performance.${translator} on`,
);
const TOLD_BY_BRICKS = [
  "features.cache-invalidation on",
  "features.cache-invalidation-timeout 600",
  "performance.cache-invalidation on",
  "performance.md-cache-timeout 600",
  "performance.quick-read-cache-invalidation on",
  "performance.quick-read-cache-timeout 600",
  "performance.cache-refresh-timeout 60",
];

const lab = new Lab("caches-glusterd");
let volume: GlusterVolume;
let theirs: string;
let them: FileAgent;

beforeAll(async () => {
  volume = await GlusterVolume.create(lab);
  await volume.setAll(ALL_ON);
  theirs = lab.makeDirectory("theirs");
  await lab.processes.run("mount", ["-t", "glusterfs", volume.source, theirs]);
  them = lab.agent();
}, HOOK_TIMEOUT_MS);

afterAll(async () => {
  // Their mount goes first, or their client waits for a volume that is no more.
  await lab.close();
  await volume?.remove();
}, HOOK_TIMEOUT_MS);

function seen(look: () => Promise<unknown>) {
  return expect.poll(look, { timeout: SEEN_DEADLINE_MS });
}

describe("a mount with all caches", () => {
  it("shows what a client of GlusterFS does, within the timeouts", async () => {
    const { mountpoint: ours } = await lab.mount("mortar", volume.source);
    const us = lab.agent();
    const write = (name: string, size: number, fill: string) =>
      them.writeFile(join(theirs, name), Buffer.alloc(size, fill));
    for (const [name, size] of [
      ["small", 10],
      ["large", LARGE],
    ] as const) {
      await write(name, size, "a");
      const read = async () => {
        const bytes = await us.readFile(join(ours, name));
        return `${bytes.length} of ${[...new Set(bytes.toString())].join("")}`;
      };
      const shows = (fill: string, length: number) => `${length} of ${fill}`;
      await seen(read).toBe(shows("a", size));
      // Again of the same length: only the times tell.
      await write(name, size, "b");
      await seen(read).toBe(shows("b", size));
      await write(name, size + 5, "c");
      await seen(read).toBe(shows("c", size + 5));
    }
    await them.writeFile(join(theirs, "new"), "n");
    await them.unlink(join(theirs, "small"));
    await seen(async () => (await us.list(ours)).sort()).toEqual(["large", "new"]);
    await us.writeFile(join(ours, "mine"), "m");
    expect(await us.list(ours)).toContain("mine");
    await seen(async () => (await them.readFile(join(theirs, "mine"))).toString()).toBe("m");
  });
});

describe("a client that relies on bricks to tell", () => {
  it("shows at once what a client of GlusterFS does, though its timeouts are minutes", async () => {
    await volume.setAll(TOLD_BY_BRICKS);
    await them.writeFile(join(theirs, "f"), "before");
    await using files = await openVolume(volume.source);
    await using file = await files.open("/f", O_RDONLY);
    const read = async () => (await file.read(0, 100)).toString();
    const size = async () => (await file.stat()).size;
    expect([await read(), await size()]).toEqual(["before", 6]);
    await them.writeFile(join(theirs, "f"), "afterwards");
    await seen(size).toBe(10);
    await seen(read).toBe("afterwards");
    await them.chmod(join(theirs, "f"), "0600");
    await seen(async () => (await file.stat()).mode & 0o777).toBe(0o600);
  });
});
