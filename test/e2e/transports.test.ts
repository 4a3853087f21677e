/**
 * The roads between client and brick: IPv4, IPv6 and unix sockets, privileged ports, squashed users; every
 * pairing of makes on each.
 */

import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { codeOf } from "../support/file-agent.ts";
import { Lab, LOOPBACK, MAKES } from "../support/peers.ts";
import { freePort } from "../support/ports.ts";
import { expectSameBytes } from "../support/same-bytes.ts";
import { pattern } from "../support/sample-tree.ts";
import type { Address } from "../support/volfiles.ts";

const MIB = 1 << 20;
const SQUASHED = 65534;

const lab = new Lab("transports");
const agent = lab.agent();
afterAll(() => lab.close());

const ADDRESSES: Record<string, () => Promise<Address>> = {
  IPv4: async () => ({ host: LOOPBACK, port: await freePort() }),
  IPv6: async () => ({ host: "::1", port: await freePort("::1") }),
  "a unix socket": async () => ({ path: lab.path("brick.socket") }),
};

describe.each(Object.keys(ADDRESSES))("over %s", (name) => {
  it.each(MAKES)("a %s brick serves clients of both makes", async (server) => {
    const address = await ADDRESSES[name]!();
    const brick = await lab.startBrick(server, lab.makeBrickDirectory("brick"), { address });
    const mounts = await Promise.all(MAKES.map((make) => lab.mountBrick(make, brick)));
    for (const [index, mount] of mounts.entries()) {
      await agent.writeFile(join(mount.mountpoint, mount.make), pattern(3 * MIB));
      const reader = mounts[1 - index]!;
      expectSameBytes(await agent.readFile(join(reader.mountpoint, mount.make)), pattern(3 * MIB));
    }
    for (const mount of mounts) await lab.unmount(mount);
    await brick.process.stop();
  });
});

describe.each(MAKES)("a %s brick", (server) => {
  it("that wants privileged ports serves clients that have them", async () => {
    const directory = lab.makeBrickDirectory("brick");
    const options = [`auth.addr.${directory}.allow *`, "rpc-auth-allow-insecure off"];
    const brick = await lab.startBrick(server, directory, { server: options });
    for (const make of MAKES) {
      const mount = await lab.mountBrick(make, brick, ["client-bind-insecure off"]);
      await agent.writeFile(join(mount.mountpoint, make), "privileged");
      await lab.unmount(mount);
    }
    await brick.process.stop();
  });

  it("squashes root, for clients of both makes alike", async () => {
    const directory = lab.makeBrickDirectory("brick");
    const plain = await lab.startBrick(server, directory);
    const before = await lab.mountBrick("glusterfs", plain);
    await agent.mkdir(join(before.mountpoint, "public"));
    await agent.chmod(join(before.mountpoint, "public"), "0777");
    await agent.mkdir(join(before.mountpoint, "private"), "0700");
    await lab.unmount(before);
    await plain.process.stop();
    const options = [`auth.addr.${directory}.allow *`, "root-squash on"];
    const brick = await lab.startBrick(server, directory, { server: options });
    for (const make of MAKES) {
      const mount = await lab.mountBrick(make, brick);
      const file = join(mount.mountpoint, "public", make);
      await agent.writeFile(file, "by root");
      expect(await agent.stat(file)).toMatchObject({ uid: SQUASHED, gid: SQUASHED });
      expect(await codeOf(agent.writeFile(join(mount.mountpoint, "private", make), "x"))).toBe("EACCES");
      await lab.unmount(mount);
    }
    await brick.process.stop();
  });
});
