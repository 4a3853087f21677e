/**
 * Volumes of glusterd that change under Mortar's mounts: sets of bricks that come and go while images are
 * open, new layouts, mounts that may not write, and volfiles without their daemon.
 */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Statedump } from "../../src/control/statedump.ts";
import { codeOf } from "../support/file-agent.ts";
import { GlusterVolume } from "../support/glusterd.ts";
import { canConnect, Lab, LOOPBACK, MAKES, MORTAR, type Mount, tail } from "../support/peers.ts";
import { freePort } from "../support/ports.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { mountTheirs, readWhole, withVirtVolume } from "../support/virt-volume.ts";
import { until } from "../support/wait.ts";

const MIB = 2 ** 20;
const BLOCK = 4 * MIB;
const PART = 128 * 1024;
const STEP_DEADLINE_MS = 30_000;
const IMAGES = ["a", "b", "c", "d"] as const;

const lab = new Lab("volume-changes");
afterAll(() => lab.close());

/** Names of blocks on a brick. */
function blocksOn(brick: string): string[] {
  const hidden = join(brick, ".shard");
  return existsSync(hidden) ? readdirSync(hidden).filter((name) => /\.\d+$/.test(name)) : [];
}

/** Has glusterd lay out all directories anew over the bricks of now. */
async function fixLayout(volume: GlusterVolume): Promise<void> {
  await volume.gluster("volume", "rebalance", volume.name, "fix-layout", "start");
  // Its process begins and ends in the background; while it does either, glusterd may not reach it.
  const status = (): Promise<string> =>
    volume.gluster("volume", "rebalance", volume.name, "status").catch(() => "");
  await until("new layouts are there", async () => /completed/.test(await status()), {
    deadlineMs: STEP_DEADLINE_MS,
  });
}

/** Connections to bricks that the mount's graph has. */
async function brickCount({ mountpoint }: Mount): Promise<number> {
  const dump = JSON.parse(await lab.processes.run(MORTAR, ["statedump", mountpoint, "--json"])) as Statedump;
  return dump.translators.filter(({ type }) => type === "protocol/client").length;
}

describe("a volume of two sets of copies under open images", () => {
  it("VOL-01: gets a third set, loses it by force, gets another one and new layouts; they go on", () =>
    withVirtVolume(lab, "two replica 3", async (volume) => {
      const { name } = volume;
      const mount = await lab.mount("mortar", volume.source);
      const agent = lab.agent();
      const fds = new Map<string, number>();
      for (const image of IMAGES)
        fds.set(image, await agent.open(join(mount.mountpoint, image), "O_RDWR|O_CREAT"));
      const parts: Buffer[] = [];
      /** Each image goes on in a block of its own, and all that was written is there. */
      async function goOn(when: string): Promise<void> {
        const part = pattern(PART).fill(parts.length, 0, 8);
        for (const fd of fds.values())
          await agent.write(fd, part, parts.length * BLOCK).catch((error) => {
            throw new Error(`${when}: ${error}\n${tail(mount.logFile)}`);
          });
        parts.push(part);
        for (const fd of fds.values())
          for (const [block, one] of parts.entries())
            expectSameBytes(await agent.read(fd, PART, block * BLOCK), one, `block ${block}`);
      }
      async function grow(): Promise<string[]> {
        const set = Array.from({ length: 3 }, () => lab.makeDirectory("added-brick"));
        await volume.gluster(
          "volume",
          "add-brick",
          name,
          "replica",
          "3",
          ...set.map((one) => volume.place(one)),
          "force",
        );
        await until("the mount has nine bricks", async () => (await brickCount(mount)) === 9, {
          deadlineMs: STEP_DEADLINE_MS,
        });
        return set;
      }

      // The second block makes the directory of blocks, whose layout stays what it is until it is fixed.
      for (let round = 0; round < 2; round++) await goOn("at first");
      expect(await brickCount(mount)).toBe(6);
      const first = await grow();
      await goOn("with nine bricks");
      expect(blocksOn(first[0]!)).toEqual([]);
      await volume.gluster(
        "volume",
        "remove-brick",
        name,
        "replica",
        "3",
        ...first.map((one) => volume.place(one)),
        "force",
      );
      await until("the mount has six bricks", async () => (await brickCount(mount)) === 6, {
        deadlineMs: STEP_DEADLINE_MS,
      });
      await goOn("with six again");

      const second = await grow();
      await fixLayout(volume);
      for (let round = 0; round < 4; round++) await goOn("with new layouts");
      expect(blocksOn(second[0]!)).not.toEqual([]);
      const theirs = await mountTheirs(lab, volume);
      for (const image of IMAGES) {
        const whole = await readWhole(agent, join(theirs, image));
        for (const [block, part] of parts.entries())
          expectSameBytes(
            whole.subarray(block * BLOCK, block * BLOCK + PART),
            part,
            `${image}, block ${block}`,
          );
      }
      for (const fd of fds.values()) await agent.close(fd);
      await agent.process.kill();
      await lab.processes.run("umount", [theirs]);
      await lab.unmount(mount);
    }));
});

describe("a volume of one brick", () => {
  it("VOL-02: is mounted read-write and read-only, by each other's side", async () => {
    const volume = await GlusterVolume.create(lab);
    try {
      const [rw, ro] = [
        await lab.mount("mortar", volume.source),
        await lab.mount("mortar", volume.source, { options: ["ro"] }),
      ];
      const table = readFileSync("/proc/self/mounts", "utf8").split("\n");
      const flagsAt = (mountpoint: string): string[] =>
        table
          .find((line) => line.split(" ")[1] === mountpoint)!
          .split(" ")[3]!
          .split(",");
      expect([flagsAt(rw.mountpoint)[0], flagsAt(ro.mountpoint)[0]]).toEqual(["rw", "ro"]);
      const agent = lab.agent();
      await agent.writeFile(join(rw.mountpoint, "f"), "content");
      expect(String(await agent.readFile(join(ro.mountpoint, "f")))).toBe("content");
      for (const change of [
        agent.unlink(join(ro.mountpoint, "f")),
        agent.writeFile(join(ro.mountpoint, "g"), "x"),
        agent.truncate(join(ro.mountpoint, "f"), 0),
      ])
        expect(await codeOf(change)).toBe("EROFS");
      await agent.unlink(join(rw.mountpoint, "f"));
      await until(
        "the other mount has asked again",
        async () => (await codeOf(agent.stat(join(ro.mountpoint, "f")))) === "ENOENT",
      );
      await agent.process.kill();
      await lab.unmount(ro);
      await lab.unmount(rw);
    } finally {
      await volume.remove();
    }
  });

  it("VOL-03: runs from the volfiles that glusterd wrote, without glusterd", async () => {
    const volume = await GlusterVolume.create(lab);
    const [brick] = [volume.bricks[0]!];
    const [forBrick, forClient] = [volume.brickVolfile, volume.clientVolfile].map((path) =>
      lab.writeFile("copied.vol", readFileSync(path, "utf8")),
    );
    try {
      await volume.gluster("volume", "stop", volume.name);
      for (const make of MAKES) {
        const port = await freePort();
        const log = lab.path("by-hand.log");
        const running =
          make === "mortar"
            ? lab.processes.start(MORTAR, [
                "brick",
                forBrick!,
                "--listen",
                `${LOOPBACK}:${port}`,
                "--log-file",
                log,
              ])
            : lab.processes.start("glusterfsd", [
                ...["-N", "-f", forBrick!, "-l", log, "--brick-name", brick],
                ...["--xlator-option", `*-server.listen-port=${port}`, "--brick-port", String(port)],
              ]);
        await until(`${make}'s brick listens`, () => canConnect({ host: LOOPBACK, port }), {
          deadlineMs: STEP_DEADLINE_MS,
          detail: () => `${running.output}\n${tail(log)}`,
        });
        const mount = await lab.mount("mortar", forClient!, {
          options: [
            `xlator-option=*-client-0.remote-port=${port},xlator-option=*-client-0.remote-host=${LOOPBACK}`,
          ],
        });
        const agent = lab.agent();
        await agent.writeFile(join(mount.mountpoint, make), make);
        expect(readFileSync(join(brick, make), "utf8")).toBe(make);
        await agent.process.kill();
        await lab.unmount(mount);
        await running.kill();
      }
    } finally {
      await volume.remove();
    }
  });
});

describe("a distributed volume of whole files", () => {
  it("gets a brick and new layouts under open files, and new files come to lie on it", () =>
    withVirtVolume(lab, "distribute 2", async (volume) => {
      const { name } = volume;
      await volume.setAll(["features.shard off"]);
      const mount = await lab.mount("mortar", volume.source);
      const agent = lab.agent();
      await agent.mkdir(join(mount.mountpoint, "d"));
      const fds: number[] = [];
      for (const image of IMAGES)
        fds.push(await agent.open(join(mount.mountpoint, "d", image), "O_RDWR|O_CREAT"));
      for (const fd of fds) await agent.write(fd, "before", 0);
      const brick = lab.makeDirectory("added-brick");
      await volume.gluster("volume", "add-brick", name, volume.place(brick), "force");
      await until("the mount has three bricks", async () => (await brickCount(mount)) === 3, {
        deadlineMs: STEP_DEADLINE_MS,
      });
      for (const fd of fds) await agent.write(fd, "grown", 6);
      await fixLayout(volume);
      for (const fd of fds) await agent.write(fd, "laid out", 11);
      for (const fd of fds) expect(String(await agent.read(fd, 100, 0))).toBe("beforegrownlaid out");
      // Of so many names some belong to the new brick.
      const names = Array.from({ length: 30 }, (_, index) => `new-${index}`);
      for (const one of names) await agent.writeFile(join(mount.mountpoint, "d", one), one);
      const onNew = (): string[] =>
        readdirSync(join(brick, "d")).filter((one) => statSync(join(brick, "d", one)).size > 0);
      expect(onNew().length).toBeGreaterThan(0);
      expect((await agent.list(join(mount.mountpoint, "d"))).length).toBe(names.length + IMAGES.length);
      for (const fd of fds) await agent.close(fd);
      await agent.process.kill();
      await lab.unmount(mount);
    }));
});
