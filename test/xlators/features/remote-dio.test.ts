/**
 * O_DIRECT hidden from bricks: features/remote-dio, and the same as an option of protocol/client. A brick
 * that saw the flag refuses what does not fill sectors; a brick that did not see it caches, and an fsync
 * still brings everything to every disk.
 */

import { describe, expect, it } from "vitest";
import { Fd } from "../../../src/core/inode.ts";
import { O_DIRECT, O_RDWR } from "../../../src/core/open-flags.ts";
import { MemoryNetwork } from "../../../src/rpc/transport-memory.ts";
import { clientOver } from "../../../xlators/protocol/client.ts";
import { serverOver } from "../../../xlators/protocol/server.ts";
import { MemoryDisk } from "../../../xlators/storage/memory/disk.ts";
import { memoryOn } from "../../../xlators/storage/memory.ts";
import { type Layer, type StartedGraph, stack, stackOn, startGraph } from "../../support/build-graph.ts";
import { Session } from "../../support/session.ts";

const ON = { "filter-O_DIRECT": "on" };
const DIRECT = O_RDWR | O_DIRECT;

interface Place extends AsyncDisposable {
  readonly graph: StartedGraph;
  /** The translator that has the option. */
  readonly filter: string;
}

/** In one process, above a brick. */
async function asTranslator(options: Readonly<Record<string, string>>): Promise<Place> {
  const layers: Layer[] = [
    { name: "brick", type: "storage/memory" },
    { name: "filter", type: "features/remote-dio", options },
  ];
  const graph = await startGraph(stack(...layers), { contracts: true });
  return { graph, filter: "filter", [Symbol.asyncDispose]: () => graph[Symbol.asyncDispose]() };
}

/** As glusterd writes it: an option of the client. */
async function asClientOption(options: Readonly<Record<string, string>>): Promise<Place> {
  const network = new MemoryNetwork();
  const definitions = [clientOver(network.connect), serverOver(network.listen)];
  const server = { "auth.addr.brick.allow": "*", "rpc-auth-allow-insecure": "on", "transport-type": "tcp" };
  const address = { "transport.socket.bind-address": "127.0.0.1", "transport.socket.listen-port": "49170" };
  const bricks = await startGraph(
    stack(
      { name: "disk", type: "storage/memory" },
      { name: "brick", type: "debug/io-stats" },
      { name: "server", type: "protocol/server", options: { ...server, ...address } },
    ),
    { definitions },
  );
  const remote = { "remote-subvolume": "brick", "remote-host": "127.0.0.1", "remote-port": "49170" };
  const client: Layer = { name: "client", type: "protocol/client", options: { ...remote, ...options } };
  const graph = await startGraph(stack(client), { definitions });
  return {
    graph,
    filter: "client",
    [Symbol.asyncDispose]: async () => {
      await graph[Symbol.asyncDispose]();
      await bricks[Symbol.asyncDispose]();
    },
  };
}

function set(place: Place, on: boolean): void {
  const filter = place.graph.xlator(place.filter);
  const { options } = filter as unknown as { options: object };
  filter.reconfigure({ ...options, "filter-O_DIRECT": on } as never);
}

describe.each([
  ["features/remote-dio", asTranslator],
  ["protocol/client with filter-O_DIRECT", asClientOption],
] as const)("%s", (_, make) => {
  it("hides O_DIRECT in create, open, reads and writes", async () => {
    await using place = await make(ON);
    const session = new Session(place.graph.top);
    const made = await session.create("f", { flags: DIRECT });
    await session.write(made, "odd length", 3, O_DIRECT);
    const opened = await session.open(made.inode, DIRECT);
    expect((await session.read(opened, 5, 3)).toString()).toBe("d l");
    const { data } = await session.top.readv(session.call, {
      fd: opened,
      offset: 3,
      size: 3,
      flags: O_DIRECT,
    });
    expect(Buffer.concat(data as Buffer[]).toString()).toBe("odd");
    await session.end();
  });

  it("hides it for files that are used without an open", async () => {
    await using place = await make(ON);
    const session = new Session(place.graph.top);
    const made = await session.create("f");
    const anonymous = Fd.anonymous(made.inode, DIRECT);
    await session.write(anonymous, "odd", 1, O_DIRECT);
    expect((await session.read(anonymous, 1, 3)).toString()).toBe("odd");
    await session.end();
  });

  it("lets it through when off, and leaves the caller's fd as it is", async () => {
    await using place = await make({});
    const session = new Session(place.graph.top);
    const fd = await session.create("f", { flags: DIRECT });
    await expect(session.write(fd, "odd length", 0)).rejects.toMatchObject({ code: "EINVAL" });
    expect(fd.flags & O_DIRECT).toBe(O_DIRECT);
    await session.end();
  });

  it("is switched live, for files opened from then on", async () => {
    await using place = await make({});
    const session = new Session(place.graph.top);
    const before = await session.create("f", { flags: DIRECT });
    set(place, true);
    const after = await session.open(before.inode, DIRECT);
    await session.write(after, "odd", 0);
    await expect(session.write(before, "odd", 0)).rejects.toMatchObject({ code: "EINVAL" });
    set(place, false);
    const again = await session.open(before.inode, DIRECT);
    await expect(session.write(again, "odd", 0)).rejects.toMatchObject({ code: "EINVAL" });
    await session.end();
  });
});

describe("remote-dio over three copies, with write-behind above it", () => {
  it("a flush of a guest is an fsync on every brick: all three outlive a power failure", async () => {
    const disks = [0, 1, 2].map(() => new MemoryDisk({ sec: 0, nsec: 0 }));
    const definitions = disks.map((disk, index) => ({ ...memoryOn(disk), type: `test/brick${index}` }));
    const bricks = disks.map((_, index) =>
      stack(
        { name: `brick${index}`, type: `test/brick${index}` },
        { name: `locks${index}`, type: "features/locks" },
        { name: `index${index}`, type: "features/index" },
        { name: `vm-client-${index}`, type: "features/remote-dio", options: ON },
      ),
    );
    // Without ensure-durability nobody but the guest has anything synced.
    const replicate = [
      "volume vm-replicate-0",
      "    type cluster/replicate",
      "    option ensure-durability off",
      "    subvolumes vm-client-0 vm-client-1 vm-client-2",
      "end-volume",
    ].join("\n");
    const above = stackOn("vm-replicate-0", [{ name: "vm-write-behind", type: "performance/write-behind" }]);
    const graph = await startGraph([...bricks, replicate, ...above].join("\n"), { definitions });
    const session = new Session(graph.top);
    const fd = await session.create("image", { flags: DIRECT });
    const block = Buffer.alloc(4096, "g");
    for (let n = 0; n < 8; n++) await session.write(fd, block, n * 4096);
    await session.top.fsync(session.call, { fd, datasync: true });
    await session.write(fd, block, 8 * 4096);
    await session.end();
    await graph[Symbol.asyncDispose]();
    for (const disk of disks) {
      disk.crash();
      const { data } = disk.find(fd.inode.gfid)!;
      expect(data!.read(0, 8 * 4096).every((byte) => byte === block[0])).toBe(true);
      // And the brick did cache: what nobody synced is gone.
      expect(data!.read(8 * 4096, 4096).every((byte) => byte === 0)).toBe(true);
    }
  });
});
