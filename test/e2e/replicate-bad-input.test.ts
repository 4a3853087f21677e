/**
 * Replicated volumes with a brick that is not what it should be: the others serve on, and nothing is harmed.
 */

import { randomBytes } from "node:crypto";
import { readFileSync, renameSync, rmSync, utimesSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { PLACE_XATTR } from "../../src/core/keys.ts";
import { cast, casts } from "../support/casts.ts";
import { describeCopy, namesOf } from "../support/copies.ts";
import { codeOf } from "../support/file-agent.ts";
import { listXattrs } from "../support/libc.ts";
import { type Brick, Lab, LOOPBACK, MORTAR } from "../support/peers.ts";
import { freePort } from "../support/ports.ts";
import { describeExit } from "../support/processes.ts";
import { makeReplicaDirectory, Replica } from "../support/replica.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { Scene } from "../support/scene.ts";
import { until } from "../support/wait.ts";

const KIB = 1024;

const lab = new Lab("replicate-bad-input");
afterAll(() => lab.close());

/** What an empty brick holds when it serves: one of GlusterFS listens before its root has a gfid. */
async function serving(directory: string): Promise<string[]> {
  await until("the root has a gfid", () => listXattrs(directory).includes("trusted.gfid"));
  return describeCopy(directory);
}

// They wait for bricks that hang, come back or are given up: they wait together.
describe.concurrent.each(casts())("%s", (cast) => {
  it("a brick that came back empty is never believed, and filled by a full heal", async () => {
    const agent = lab.agent();
    const s = await Scene.open(lab, cast);
    const names = ["one", "d/two", "d/three"];
    await agent.mkdir(s.at("d"));
    for (const name of names) await agent.writeFile(s.at(name), pattern(100 * KIB));
    await s.replica.kill(0);
    rmSync(s.replica.directory(0), { recursive: true });
    makeReplicaDirectory(s.replica.directory(0), s.replica.volumeId);
    await s.revive(0);
    const fresh = await s.replica.mount(cast.client);
    for (const name of names)
      expectSameBytes(await agent.readFile(join(fresh.mountpoint, name)), pattern(100 * KIB), name);
    await agent.writeFile(join(fresh.mountpoint, "one"), "written meanwhile");
    await lab.unmount(fresh);
    const exit = await s.replica.mortarHeal("full");
    expect(exit, describeExit(exit)).toMatchObject({ code: 0 });
    await s.heal();
    expect(namesOf(s.replica.directory(0))).toEqual([".", "d", "d/three", "d/two", "one"]);
    await s.close();
  });

  it("a brick that answers with garbage is one that is away", async () => {
    const agent = lab.agent();
    const garbage = createServer((socket) => {
      socket.on("error", () => {});
      socket.write(randomBytes(64 * KIB));
    });
    const port = await freePort();
    await new Promise<void>((resolve) => garbage.listen(port, LOOPBACK, resolve));
    const replica = await Replica.three(lab, cast.bricks);
    const untouched = await serving(replica.directory(2));
    const copies = [
      ...replica.bricks.slice(0, 2),
      { directory: replica.directory(2), address: { host: LOOPBACK, port } },
    ];
    const mount = await replica.mount(cast.client, { copies });
    await agent.writeFile(join(mount.mountpoint, "file"), "content");
    expect(String(await agent.readFile(join(mount.mountpoint, "file")))).toBe("content");
    await lab.unmount(mount);
    garbage.close();
    expect(describeCopy(replica.directory(2))).toEqual(untouched);
    await replica.heal(cast.healer);
    await replica.kill(0, 1, 2);
  });

  it("a brick of another volume is not used and not touched", async () => {
    const agent = lab.agent();
    const replica = await Replica.three(lab, cast.bricks);
    const [other] = (await Replica.start(lab, { makes: [cast.bricks] })).bricks;
    const untouched = await serving(other!.directory);
    const copies = [...replica.bricks.slice(0, 2), other!];
    // GlusterFS' client goes by the brick that answers first.
    if (cast.client === "glusterfs") await other!.process.kill();
    const mount = await replica.mount(cast.client, { copies });
    if (cast.client === "glusterfs") await lab.restartBrick(other!);
    await agent.writeFile(join(mount.mountpoint, "file"), "content");
    expect(String(await agent.readFile(join(mount.mountpoint, "file")))).toBe("content");
    const info = await lab.processes.run(MORTAR, ["heal", replica.volfile({ copies }), "info"]);
    expect(info).toContain(`${LOOPBACK}:${other!.directory}\nStatus: Transport endpoint is not connected\n`);
    await lab.unmount(mount);
    expect(describeCopy(other!.directory)).toEqual(untouched);
    await replica.heal(cast.healer);
    await replica.kill(0, 1, 2);
    await other!.process.kill();
  });

  it("a brick that hangs holds up the end of a mount for seconds, and not for its ping timeout", async () => {
    const agent = lab.agent();
    const s = await Scene.open(lab, cast);
    const fd = await agent.open(s.at("file"), "O_RDWR|O_CREAT");
    await agent.write(fd, "content", 0);
    await s.replica.bricks[1]!.process.freeze();
    try {
      // As `umount -l` leaves it: the file is open, and its marks are to be cleared.
      await s.mount.process.stop("SIGTERM");
    } finally {
      s.replica.bricks[1]!.process.signal("SIGCONT");
    }
    await agent.close(fd).catch(() => {});
    await s.replica.heal(cast.healer);
    await s.replica.kill(0, 1, 2);
  });

  it("clocks of bricks that differ decide nothing", async () => {
    const agent = lab.agent();
    const s = await Scene.open(lab, cast);
    for (const name of ["file", "other"]) await agent.writeFile(s.at(name), "old");
    await s.byHand(() => {
      for (const [index, year] of [2040, 1980, 2010].entries()) {
        const when = new Date(Date.UTC(year, 1));
        for (const name of ["file", "other"]) utimesSync(s.brick(index, name), when, when);
      }
    });
    await s.untilConnected();
    const seen = await agent.stat(s.at("other"));
    await s.without([0], () => agent.writeFile(s.at("file"), "new"));
    await s.without([1], () => agent.chmod(s.at("other"), "0600"));
    await s.heal();
    expect(String(await agent.readFile(s.at("file")))).toBe("new");
    expect(await agent.stat(s.at("other"))).toMatchObject({ mode: "0600", mtime: seen.mtime });
    await s.close();
  });
});

describe.concurrent("two bricks that changed places", () => {
  /** Of bricks of Mortar: when each is written down as the copy it is. */
  async function untilWrittenDown({ replica }: Scene): Promise<void> {
    const written = (directory: string): boolean =>
      listXattrs(join(directory, ".glusterfs")).includes(PLACE_XATTR);
    await until("each brick is written down as a copy", () =>
      replica.bricks.every(({ directory }) => written(directory)),
    );
  }

  async function expectRefused(...args: readonly string[]): Promise<void> {
    const exit = await lab.processes.tryRun(MORTAR, args);
    expect(exit.code, describeExit(exit)).not.toBe(0);
    expect(exit.stderr.trimEnd().split("\n").at(-1)).toMatch(
      /^mortar: .*-client-[01]": its brick is the copy "r\d+-client-[01]", not "r\d+-client-[01]": bricks of/,
    );
  }

  it("are refused before anything is changed on them, with marks pending, and taken again in their places", async () => {
    const agent = lab.agent();
    const s = await Scene.open(lab, cast("mortar", "mortar", "mortar"));
    const { replica } = s;
    await agent.writeFile(s.at("file"), "old");
    await untilWrittenDown(s);
    // Under a swapped order this mark would say that the new content is the stale one.
    await replica.kill(1);
    await agent.writeFile(s.at("file"), "new");
    await lab.unmount(s.mount);
    await replica.revive(1);
    const [first, second, third] = replica.bricks as [Brick, Brick, Brick];
    const swapped = replica.volfile({ copies: [second, first, third] });
    const before = [replica.marks(), replica.bricks.map(({ directory }) => describeCopy(directory))];
    await expectRefused("mount", swapped, lab.makeDirectory("refused"), "--foreground");
    await expectRefused("heal", swapped);
    await expectRefused("heal", swapped, "info");
    expect([replica.marks(), replica.bricks.map(({ directory }) => describeCopy(directory))]).toEqual(before);
    await replica.heal("mortar");
    const mount = await replica.mount("mortar");
    expect(String(await agent.readFile(join(mount.mountpoint, "file")))).toBe("new");
    await lab.unmount(mount);
    await replica.kill(0, 1, 2);
  });

  it("are refused as well when their directories were exchanged under a mount, which waits for the right ones", async () => {
    const agent = lab.agent();
    const s = await Scene.open(lab, cast("mortar", "mortar", "mortar"));
    const { replica } = s;
    await agent.writeFile(s.at("file"), "content");
    await untilWrittenDown(s);
    const exchange = async (): Promise<void> => {
      await replica.kill(0, 1);
      const [one, two] = [replica.directory(0), replica.directory(1)];
      renameSync(one, `${one}.aside`);
      renameSync(two, one);
      renameSync(`${one}.aside`, two);
      await replica.revive(0, 1);
    };
    await exchange();
    await until("the mount has looked at both", () => {
      const log = readFileSync(s.mount.logFile, "utf8");
      return [0, 1].every((index) => log.includes(`not \\"${replica.name}-client-${index}\\"`));
    });
    expect(await codeOf(agent.writeFile(s.at("file"), "lost"))).toBe("ENOTCONN");
    await exchange();
    await s.untilConnected();
    expect(String(await agent.readFile(s.at("file")))).toBe("content");
    await s.heal();
    await s.close();
  });

  // Their bricks do not say which copy they are: what was marked under one order must be healed under it.
  it("do no harm on bricks of GlusterFS while the copies are level", async () => {
    const agent = lab.agent();
    const s = await Scene.open(lab, cast("mortar", "glusterfs", "mortar"));
    await agent.writeFile(s.at("before"), pattern(100 * KIB));
    const [first, second, third] = s.replica.bricks as [Brick, Brick, Brick];
    const swapped = { copies: [second, first, third] };
    const mount = await s.replica.mount("mortar", swapped);
    const path = (name: string): string => join(mount.mountpoint, name);
    expectSameBytes(await agent.readFile(path("before")), pattern(100 * KIB));
    await agent.writeFile(path("swapped"), "one");
    await s.replica.kill(1);
    await agent.writeFile(path("swapped"), "two");
    await lab.unmount(mount);
    await s.revive(1);
    await s.replica.heal("mortar", swapped);
    expect(String(await agent.readFile(s.at("swapped")))).toBe("two");
    await s.without([0], () => agent.writeFile(s.at("swapped"), "three"));
    await s.heal();
    expect(String(await agent.readFile(s.at("swapped")))).toBe("three");
    await s.close();
  });
});
