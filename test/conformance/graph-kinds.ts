/**
 * The graphs that the conformance suite runs on: all that Mortar ships, and a plain directory that proves the
 * POSIX cases.
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryNetwork } from "../../src/rpc/transport-memory.ts";
import { shardWith } from "../../xlators/features/shard/shard.ts";
import { clientOver } from "../../xlators/protocol/client.ts";
import { type ProtocolServer, serverOver } from "../../xlators/protocol/server.ts";
import {
  type Layer,
  type StartedGraph,
  type StartOptions,
  stack,
  stackOn,
  startGraph,
} from "../support/build-graph.ts";
import { clientIdentity, Session } from "../support/session.ts";
import { Switching } from "../support/switching.ts";
import { plainDirectory } from "./plain-directory.ts";
import type { GraphKind, Made } from "./suite.ts";

const NO_LOCKS = "locks are features/locks' work, and it is not in this graph";
const EARLY_ANSWER = "an early answer has no attributes to tell";
const EACH_NAME_ITS_BRICK = "a new name may belong to another brick than the inode's other names";
const OWN_ENDS = "a block has room only as far as its own file reaches";
const KNOWN_ATTRIBUTES = "attributes that are known are told through any fd";
const MEMORY: Layer = { name: "brick", type: "storage/memory" };
const LOCKS: Layer = { name: "locks", type: "features/locks" };
const STATS: Layer = { name: "stats", type: "debug/io-stats", options: { "latency-measurement": "on" } };
const TRACE: Layer = { name: "trace", type: "debug/trace" };
const UPCALL: Layer = { name: "upcall", type: "features/upcall", options: { "cache-invalidation": "on" } };
const WRITE_BEHIND: Layer = { name: "write-behind", type: "performance/write-behind" };
const OPEN_BEHIND: Layer = { name: "open-behind", type: "performance/open-behind" };
const CACHES: readonly Layer[] = [
  { name: "read-ahead", type: "performance/read-ahead" },
  { name: "readdir-ahead", type: "performance/readdir-ahead" },
  { name: "io-cache", type: "performance/io-cache" },
  { name: "quick-read", type: "performance/quick-read" },
  { name: "md-cache", type: "performance/md-cache" },
];
/** In the order of glusterd's volfiles. */
const PERFORMANCE: readonly Layer[] = [WRITE_BEHIND, ...CACHES.slice(0, 3), OPEN_BEHIND, ...CACHES.slice(3)];
/** Blocks so small that most cases cross them. */
const SHARD: Layer = { name: "shard", type: "features/shard", options: { "shard-block-size": "4KB" } };
const SMALL_BLOCKS = [shardWith(4096)];
const REMOTE_SUBVOLUME = "/bricks/b1";

const GRAPH_KINDS: readonly GraphKind[] = [
  {
    name: "a plain directory",
    lacks: {
      brick: "it is no brick",
      locks: "it is no brick",
      "direct-io": "it does not align buffers",
      "anonymous-fds": "the kernel has no such thing",
    },
    make: () => inDirectory((directory) => local([plain(directory)], { definitions: [plainDirectory] })),
  },
  { name: "storage/memory", lacks: { locks: NO_LOCKS }, make: () => local([MEMORY]) },
  {
    name: "storage/posix",
    lacks: { locks: NO_LOCKS },
    make: () => inDirectory((directory) => local([posix(directory)])),
  },
  {
    name: "memory, locks, io-stats and trace, contracts between all layers",
    lacks: {},
    make: () => local([MEMORY, LOCKS, STATS, TRACE], { contracts: true }),
  },
  {
    name: "posix, locks and io-stats, contracts between all layers",
    lacks: {},
    make: () => inDirectory((directory) => local([posix(directory), LOCKS, STATS], { contracts: true })),
  },
  {
    name: "upcall over memory and locks, contracts between all layers",
    lacks: {},
    make: () => local([MEMORY, LOCKS, UPCALL], { contracts: true }),
  },
  {
    name: "replicate of three, memory, locks and index below, contracts between all layers",
    lacks: {},
    make: () => replicated({ contracts: true }),
  },
  {
    name: "distribute of two bricks, memory and locks below, contracts between all layers",
    lacks: { "one-place": EACH_NAME_ITS_BRICK },
    make: () => distributed([2], { contracts: true }),
  },
  {
    name: "distribute of three bricks, memory and locks below, contracts between all layers",
    lacks: { "one-place": EACH_NAME_ITS_BRICK },
    make: () => distributed([3], { contracts: true }),
  },
  {
    name: "distribute of two replica sets, memory, locks and index below, contracts between all layers",
    lacks: { "one-place": EACH_NAME_ITS_BRICK },
    make: () => distributed([2, 3], { contracts: true }),
  },
  {
    name: "a live graph over memory and locks that switches every three calls",
    lacks: {},
    make: () => switching([MEMORY, LOCKS], TRACE),
  },
  {
    name: "a live graph over memory and locks where write-behind comes and goes every three calls",
    lacks: { "write-attributes": EARLY_ANSWER },
    make: () => switching([MEMORY, LOCKS], WRITE_BEHIND),
  },
  {
    name: "a live graph over posix and locks that switches every three calls",
    lacks: {},
    make: () => inDirectory((directory) => switching([posix(directory), LOCKS], TRACE)),
  },
  {
    name: "write-behind over memory and locks, contracts between all layers",
    lacks: { "write-attributes": EARLY_ANSWER },
    make: () => local([MEMORY, LOCKS, WRITE_BEHIND], { contracts: true }),
  },
  {
    name: "write-behind without trickling and in strict order, contracts between all layers",
    lacks: { "write-attributes": EARLY_ANSWER },
    make: () => {
      const options = { "trickling-writes": "off", "strict-write-ordering": "on", "flush-behind": "off" };
      return local([MEMORY, LOCKS, { ...WRITE_BEHIND, options }], { contracts: true });
    },
  },
  {
    name: "open-behind over memory and locks, contracts between all layers",
    lacks: {},
    make: () => local([MEMORY, LOCKS, OPEN_BEHIND], { contracts: true }),
  },
  {
    name: "write-behind and open-behind over replicate of three, contracts between all layers",
    lacks: { "write-attributes": EARLY_ANSWER },
    make: () => replicated({ contracts: true }, [WRITE_BEHIND, OPEN_BEHIND]),
  },
  {
    name: "write-behind and open-behind over client and server in memory, contracts between all layers",
    lacks: { "write-attributes": EARLY_ANSWER },
    make: () => {
      const network = new MemoryNetwork();
      const definitions = [clientOver(network.connect), serverOver(network.listen)];
      const kind = { kind: "tcp", port: 49153 } as const;
      return remote([MEMORY, LOCKS], { definitions, contracts: true }, kind, [WRITE_BEHIND, OPEN_BEHIND]);
    },
  },
  ...CACHES.map(
    (cache): GraphKind => ({
      name: `${cache.name} over memory and locks, contracts between all layers`,
      lacks: cache.name === "md-cache" ? { "fd-checks": KNOWN_ATTRIBUTES } : {},
      make: () => local([MEMORY, LOCKS, cache], { contracts: true }),
    }),
  ),
  {
    name: "all performance translators over shard over replicate of three, contracts between all layers",
    lacks: { "write-attributes": EARLY_ANSWER, "fd-checks": KNOWN_ATTRIBUTES, "counted-room": OWN_ENDS },
    make: () => replicated({ definitions: SMALL_BLOCKS, contracts: true }, [SHARD, ...PERFORMANCE]),
  },
  {
    name: "all caches over posix, contracts between all layers",
    lacks: { "fd-checks": KNOWN_ATTRIBUTES },
    make: () => inDirectory((directory) => local([posix(directory), LOCKS, ...CACHES], { contracts: true })),
  },
  {
    name: "client and server over a network in memory, contracts between all layers",
    lacks: {},
    make: () => {
      const network = new MemoryNetwork();
      const definitions = [clientOver(network.connect), serverOver(network.listen)];
      return remote([MEMORY, LOCKS], { definitions, contracts: true }, { kind: "tcp", port: 49152 });
    },
  },
  {
    name: "shard with blocks of 4 KiB, memory and locks below, contracts between all layers",
    lacks: { "counted-room": OWN_ENDS },
    make: () => local([MEMORY, LOCKS, SHARD], { definitions: SMALL_BLOCKS, contracts: true }),
  },
  {
    name: "shard with its usual blocks over posix and locks",
    lacks: {},
    make: () =>
      inDirectory((directory) =>
        local([posix(directory), LOCKS, { ...SHARD, options: {} }], { contracts: true }),
      ),
  },
  {
    name: "shard over replicate of three, contracts between all layers",
    lacks: { "counted-room": OWN_ENDS },
    make: () => replicated({ definitions: SMALL_BLOCKS, contracts: true }, [SHARD]),
  },
  {
    name: "shard over distribute of two replica sets, contracts between all layers",
    lacks: { "one-place": EACH_NAME_ITS_BRICK, "counted-room": OWN_ENDS },
    make: () => distributed([2, 3], { definitions: SMALL_BLOCKS, contracts: true }, [SHARD]),
  },
  {
    name: "shard over client and server, a network in memory between",
    lacks: { "counted-room": OWN_ENDS },
    make: () => {
      const network = new MemoryNetwork();
      const definitions = [clientOver(network.connect), serverOver(network.listen), ...SMALL_BLOCKS];
      return remote([MEMORY, LOCKS], { definitions, contracts: true }, { kind: "tcp", port: 49152 }, [SHARD]);
    },
  },
  {
    name: "client and server over TCP, memory and locks behind",
    lacks: {},
    make: () => remote([MEMORY, LOCKS], {}, { kind: "tcp", port: 0 }),
  },
  {
    name: "client and server over a unix socket, posix and locks behind",
    lacks: {},
    make: () =>
      inDirectory((directory) => {
        const path = `${directory}.socket`;
        return remote([posix(directory), LOCKS], { contracts: true }, { kind: "unix", path });
      }),
  },
];

/** Of those, the ones over several bricks, over a file system of this machine, and the rest: a file each. */
export function kindsOf(place: "cluster" | "disk" | "memory"): GraphKind[] {
  return GRAPH_KINDS.filter(({ name }) => placeOf(name) === place);
}

function placeOf(name: string): "cluster" | "disk" | "memory" {
  if (/\b(replicate|distribute)\b/.test(name)) return "cluster";
  return /\b(posix|plain directory)\b/.test(name) ? "disk" : "memory";
}

function plain(directory: string): Layer {
  return { name: "plain", type: "test/plain-directory", options: { directory } };
}

function posix(directory: string): Layer {
  return { name: "brick", type: "storage/posix", options: { directory } };
}

/** One graph, of which every session is a client of its own. */
async function local(layers: readonly Layer[], options: StartOptions = {}): Promise<Made> {
  const graph = await startGraph(stack(...layers), options);
  return {
    session: (_, given) => new Session(graph.top, { client: clientIdentity(), ...given }),
    breaches: () => graph.breaches(),
    [Symbol.asyncDispose]: async () => graph[Symbol.asyncDispose](),
  };
}

async function switching(layers: readonly Layer[], extra: Layer): Promise<Made> {
  const graph = await Switching.start(layers, extra);
  return {
    session: (_, given) => new Session(graph, { client: clientIdentity(), ...given }),
    breaches: () => (graph.live.switches > 0 ? [] : ["no graph took over"]),
    [Symbol.asyncDispose]: () => graph[Symbol.asyncDispose](),
  };
}

/** One graph with three bricks in it. The bricks see all sessions as the one client that replicate is. */
async function replicated(options: StartOptions, above: readonly Layer[] = []): Promise<Made> {
  const bricks = [0, 1, 2].map((index) =>
    stack(
      { name: `brick${index}`, type: "storage/memory" },
      { name: `locks${index}`, type: "features/locks" },
      { name: `mirror-client-${index}`, type: "features/index" },
    ),
  );
  const top = [
    "volume mirror-replicate-0",
    "    type cluster/replicate",
    // All attributes from one brick: each has a clock of its own.
    "    option read-hash-mode 0",
    "    subvolumes mirror-client-0 mirror-client-1 mirror-client-2",
    "end-volume",
  ].join("\n");
  const graph = await startGraph(
    [...bricks, top, ...stackOn("mirror-replicate-0", above), ""].join("\n"),
    options,
  );
  return {
    session: (_, given) => new Session(graph.top, given),
    breaches: () => graph.breaches(),
    [Symbol.asyncDispose]: async () => graph[Symbol.asyncDispose](),
  };
}

/** Where the server of a graph listens; a port of 0 is any free one. */
type Address =
  | { readonly kind: "tcp"; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** One graph that distributes over bricks, or over replica sets of so many bricks. */
async function distributed(
  [subvolumes, copies = 1]: readonly [number, number?],
  options: StartOptions,
  above: readonly Layer[] = [],
): Promise<Made> {
  const brick = (index: number): string =>
    stack(
      { name: `brick${index}`, type: "storage/memory" },
      { name: `locks${index}`, type: "features/locks" },
      { name: `spread-client-${index}`, type: "features/index" },
    );
  const section = (name: string, type: string, below: readonly string[]): string =>
    [
      `volume ${name}`,
      `    type ${type}`,
      // All attributes of a file from one brick: each has a clock of its own.
      ...(type === "cluster/replicate" ? ["    option read-hash-mode 0"] : []),
      `    subvolumes ${below.join(" ")}`,
      "end-volume",
      "",
    ].join("\n");
  const clients = Array.from({ length: subvolumes * copies }, (_, index) => `spread-client-${index}`);
  const sets = Array.from({ length: subvolumes }, (_, set) => `spread-replicate-${set}`);
  const replicas =
    copies === 1
      ? []
      : sets.map((name, set) =>
          section(name, "cluster/replicate", clients.slice(set * copies, (set + 1) * copies)),
        );
  const bricks = clients.map((_, index) => brick(index));
  const top = section("spread-dht", "cluster/distribute", copies === 1 ? clients : sets);
  const graph = await startGraph(
    [...bricks, ...replicas, top, ...stackOn("spread-dht", above)].join("\n"),
    options,
  );
  return {
    session: (_, given) => new Session(graph.top, given),
    breaches: () => graph.breaches(),
    [Symbol.asyncDispose]: async () => graph[Symbol.asyncDispose](),
  };
}

/**
 * A server graph over the layers, and two client graphs that connect to it. With layers above a client, which
 * may keep writes to themselves for a while, both sessions are on the same one.
 */
async function remote(
  layers: readonly Layer[],
  options: StartOptions,
  address: Address,
  above: readonly Layer[] = [],
): Promise<Made> {
  const brick: Layer = { name: REMOTE_SUBVOLUME, type: "debug/io-stats" };
  const server: Layer = { name: "server", type: "protocol/server", options: serverOptions(address) };
  const graphs: StartedGraph[] = [];
  const dispose = async (): Promise<void> => {
    for (const graph of graphs.splice(0).toReversed()) await graph[Symbol.asyncDispose]();
  };
  try {
    const bricks = await startGraph(stack(...layers, brick, server), options);
    graphs.push(bricks);
    const { port } = bricks.xlator<ProtocolServer>("server");
    const client: Layer = { name: "client", type: "protocol/client", options: clientOptions(address, port) };
    for (let which = 0; which < 2; which++) graphs.push(await startGraph(stack(client, ...above), options));
  } catch (error) {
    await dispose();
    throw error;
  }
  const [, first, second] = graphs;
  return {
    session: (which, given) => new Session((which === "a" || above.length > 0 ? first : second)!.top, given),
    breaches: () => graphs.flatMap((graph) => graph.breaches()),
    [Symbol.asyncDispose]: dispose,
  };
}

function serverOptions(address: Address): Record<string, string> {
  const auth = { [`auth.addr.${REMOTE_SUBVOLUME}.allow`]: "*", "rpc-auth-allow-insecure": "on" };
  if (address.kind === "unix")
    return { ...auth, "transport-type": "unix", "transport.socket.listen-path": address.path };
  const bind = { "transport.socket.bind-address": "127.0.0.1", "transport.address-family": "inet" };
  const port = String(address.port);
  return { ...auth, ...bind, "transport-type": "tcp", "transport.socket.listen-port": port };
}

function clientOptions(address: Address, port: number): Record<string, string> {
  const subvolume = { "remote-subvolume": REMOTE_SUBVOLUME };
  if (address.kind === "unix")
    return { ...subvolume, "transport-type": "unix", "transport.socket.connect-path": address.path };
  return { ...subvolume, "remote-host": "127.0.0.1", "remote-port": String(port) };
}

/** A graph on a new directory, which goes with it; what lies beside it goes as well. */
async function inDirectory(make: (directory: string) => Promise<Made>): Promise<Made> {
  const base = mkdtempSync(join(tmpdir(), "mortar-conformance-"));
  const remove = (): void => rmSync(base, { recursive: true, force: true });
  try {
    const directory = join(base, "brick");
    mkdirSync(directory);
    const made = await make(directory);
    const dispose = async (): Promise<void> => {
      try {
        await made[Symbol.asyncDispose]();
      } finally {
        remove();
      }
    };
    return { ...made, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    remove();
    throw error;
  }
}
