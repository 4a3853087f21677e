/**
 * Replicated volumes with a brick that is not what it should be: the others serve on, and nothing is harmed.
 */

import { randomBytes } from "node:crypto";
import { rmSync, utimesSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { casts } from "../support/casts.ts";
import { describeCopy, namesOf } from "../support/copies.ts";
import { type Brick, Lab, LOOPBACK, MORTAR } from "../support/peers.ts";
import { freePort } from "../support/ports.ts";
import { describeExit } from "../support/processes.ts";
import { makeReplicaDirectory, Replica } from "../support/replica.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import { Scene } from "../support/scene.ts";

const KIB = 1024;

const lab = new Lab("replicate-bad-input");
const agent = lab.agent();
afterAll(() => lab.close());

describe.each(casts())("%s", (cast) => {
  it("a brick that came back empty is never believed, and filled by a full heal", async () => {
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
    const garbage = createServer((socket) => {
      socket.on("error", () => {});
      socket.write(randomBytes(64 * KIB));
    });
    const port = await freePort();
    await new Promise<void>((resolve) => garbage.listen(port, LOOPBACK, resolve));
    const replica = await Replica.three(lab, cast.bricks);
    const untouched = describeCopy(replica.directory(2));
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
    const replica = await Replica.three(lab, cast.bricks);
    const [other] = (await Replica.start(lab, { makes: [cast.bricks] })).bricks;
    const untouched = describeCopy(other!.directory);
    const copies = [...replica.bricks.slice(0, 2), other!];
    const mount = await replica.mount(cast.client, { copies });
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

  // Nothing on a brick says which copy it is, for GlusterFS' clients as for Mortar's: marks that were made
  // under one order must be healed under it.
  it("two bricks that are swapped in the volfile do no harm while the copies are level", async () => {
    const s = await Scene.open(lab, cast);
    await agent.writeFile(s.at("before"), pattern(100 * KIB));
    const [first, second, third] = s.replica.bricks as [Brick, Brick, Brick];
    const swapped = { copies: [second, first, third] };
    const mount = await s.replica.mount(cast.client, swapped);
    const path = (name: string): string => join(mount.mountpoint, name);
    expectSameBytes(await agent.readFile(path("before")), pattern(100 * KIB));
    await agent.writeFile(path("swapped"), "one");
    await s.replica.kill(1);
    await agent.writeFile(path("swapped"), "two");
    await lab.unmount(mount);
    await s.replica.revive(1);
    await s.replica.heal(cast.healer, swapped);
    expect(String(await agent.readFile(s.at("swapped")))).toBe("two");
    await s.without([0], () => agent.writeFile(s.at("swapped"), "three"));
    await s.heal();
    expect(String(await agent.readFile(s.at("swapped")))).toBe("three");
    await s.close();
  });

  it("clocks of bricks that differ decide nothing", async () => {
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
