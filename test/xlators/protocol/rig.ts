/**
 * A brick and its clients over a network in memory: one server graph on a memory disk, any number of client
 * graphs, one fake clock.
 */

import type { ChildEvent, XlatorBase } from "../../../src/core/xlator.ts";
import { buildGraph, type Graph } from "../../../src/graph/graph.ts";
import { parseVolfile } from "../../../src/graph/volfile.ts";
import { MemoryNetwork, type MemoryTransport } from "../../../src/rpc/transport-memory.ts";
import { clientOver } from "../../../xlators/protocol/client.ts";
import { serverOver } from "../../../xlators/protocol/server.ts";
import { REGISTRY } from "../../../xlators/registry.ts";
import { MemoryDisk } from "../../../xlators/storage/memory/disk.ts";
import { memoryOn } from "../../../xlators/storage/memory.ts";
import { stack } from "../../support/build-graph.ts";
import { type FakeEnv, fakeEnv } from "../../support/fake-env.ts";
import { Session } from "../../support/session.ts";

export const BRICK = "/bricks/b";
export const PORT = 49200;
export const VOLUME_ID = "5bfff28b-279d-4642-ab29-2af58dc983b0";

type Options = Readonly<Record<string, string>>;

export interface Client {
  readonly graph: Graph;
  readonly top: XlatorBase;
  /** A user of the client. */
  readonly session: Session;
  /** What it told its parents, in order. */
  readonly events: ChildEvent[];
  /** Its end of the connection made last. */
  link(): MemoryTransport;
}

export class Rig implements AsyncDisposable {
  readonly env: FakeEnv = fakeEnv();
  readonly network = new MemoryNetwork();
  readonly disk = new MemoryDisk(this.env.clock.wall());
  #brick: Graph | undefined;
  readonly #clients: Graph[] = [];

  /** A rig whose brick runs. */
  static async start(server: Options = {}): Promise<Rig> {
    const rig = new Rig();
    await rig.startBrick(server);
    return rig;
  }

  /** The brick's graph below the server, for looking at it from the other side. */
  get brickTop(): XlatorBase {
    return this.#brick!.top.children[0]!;
  }

  get server(): XlatorBase {
    return this.#brick!.top;
  }

  async startBrick(server: Options = {}, volumeId = VOLUME_ID): Promise<void> {
    const auth = Object.keys(server).some((key) => key.startsWith("auth."))
      ? {}
      : { [`auth.addr.${BRICK}.allow`]: "*" };
    const graph = this.#build(
      stack(
        {
          name: "disk",
          type: "storage/memory",
          options: { "volume-id": volumeId },
        },
        { name: "locks", type: "features/locks" },
        { name: BRICK, type: "performance/io-threads" },
        {
          name: "server",
          type: "protocol/server",
          options: { "transport.socket.listen-port": String(PORT), ...auth, ...server },
        },
      ),
    );
    await graph.start();
    this.#brick = graph;
  }

  async stopBrick(): Promise<void> {
    await this.#brick?.stop();
    this.#brick = undefined;
  }

  /** A client graph that is told to connect; resolves when it is up, or rejects with why it cannot be. */
  async client(options: Options = {}): Promise<Client> {
    const client = this.clientBuilt(options);
    await client.graph.start({ timeoutMs: 60_000 });
    return client;
  }

  /** The same without starting it. */
  clientBuilt(options: Options = {}): Client {
    const graph = this.#build(
      stack({
        name: "vol-client-0",
        type: "protocol/client",
        options: {
          "remote-host": "brick.example",
          "remote-port": String(PORT),
          "remote-subvolume": BRICK,
          ...options,
        },
      }),
    );
    const events: ChildEvent[] = [];
    graph.onEvent((event) => events.push(event));
    this.#clients.push(graph);
    return {
      graph,
      top: graph.top,
      session: new Session(graph.top),
      events,
      link: () => this.network.connections.at(-1)!,
    };
  }

  /** Messages of a level in the log, oldest first. */
  logged(level: "warn" | "error"): string[] {
    return this.env.log.lines.filter((line) => line.level === level).map((line) => line.message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.stop();
    await this.stopBrick();
  }

  #build(text: string): Graph {
    const mine = [memoryOn(this.disk), clientOver(this.network.connect), serverOver(this.network.listen)];
    const registry = new Map([...REGISTRY, ...mine.map((one) => [one.type, one] as const)]);
    return buildGraph(parseVolfile(text, "test.vol"), { registry, env: this.env });
  }
}

/** Kinds of events heard, for assertions. */
export function kinds(client: Client): string[] {
  return client.events.map((event) => event.type);
}
