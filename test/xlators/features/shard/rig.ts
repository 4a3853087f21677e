/**
 * Clients of features/shard over one brick in memory: each has a shard layer of its own, and below it a wire
 * that counts what passes, tells the brick whose calls they are, and can be cut, as if the client had died.
 */

import type { Call, ClientIdentity } from "../../../../src/core/call.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { type Args, FOP_NAMES, type FopName, type Reply } from "../../../../src/core/fops.ts";
import { type Gfid, gfidText } from "../../../../src/core/gfid.ts";
import { KEY } from "../../../../src/core/keys.ts";
import {
  defineXlator,
  exactly,
  type ParentEvent,
  wind,
  Xlator,
  type XlatorBase,
  type XlatorDefinition,
  type XlatorInit,
} from "../../../../src/core/xlator.ts";
import { type Shard, shardWith } from "../../../../xlators/features/shard/shard.ts";
import { MemoryDisk } from "../../../../xlators/storage/memory/disk.ts";
import type { MemNode } from "../../../../xlators/storage/memory/node.ts";
import { memoryOn } from "../../../../xlators/storage/memory.ts";
import { type StartedGraph, stack, startGraph } from "../../../support/build-graph.ts";
import { type FakeEnv, fakeEnv } from "../../../support/fake-env.ts";
import { Session } from "../../../support/session.ts";

export const BLOCK = 4096;

/** Fops that change what is on the brick. */
const CHANGING: ReadonlySet<FopName> = new Set<FopName>([
  "create",
  "mknod",
  "mkdir",
  "unlink",
  "rename",
  "link",
  "writev",
  "truncate",
  "ftruncate",
  "fallocate",
  "discard",
  "zerofill",
  "xattrop",
  "fxattrop",
  "setattr",
  "fsetattr",
  "setxattr",
]);

/** One fop that passed a wire. */
export interface Passed {
  readonly fop: FopName;
  readonly args: Args<FopName>;
}

/** Between a client and the brick. */
export class Wire extends Xlator {
  readonly passed: Passed[] = [];
  /** How many more changes reach the brick before the client is dead; undefined: it lives. */
  changesLeft: number | undefined;
  /** Runs before a fop is handed down; what it throws is the fop's answer. */
  before: ((one: Passed) => void | Promise<void>) | undefined;
  /** What a lookup is to say is on its least copy, as replicate would say it. */
  fewestLinks: number | undefined;
  readonly #client: ClientIdentity;

  constructor(init: XlatorInit) {
    super(init);
    this.#client = { id: init.name, opVersion: 100000 };
    for (const fop of FOP_NAMES)
      Object.defineProperty(this, fop, {
        value: (call: Call, args: Args<FopName>) => this.#pass(fop, call, args),
      });
  }

  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-up") this.notifyParents({ type: "child-up" });
  }

  /** Changes that reached the brick. */
  get changeCount(): number {
    return this.passed.filter(({ fop }) => CHANGING.has(fop)).length;
  }

  count(fop: FopName): number {
    return this.passed.filter((one) => one.fop === fop).length;
  }

  /** Names of fops since the last time. */
  take(): FopName[] {
    return this.passed.splice(0).map(({ fop }) => fop);
  }

  async #pass<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    if (this.changesLeft === 0) {
      this.child.clientDisconnect(this.#client);
      throw new FopError("ENOTCONN", { fop, xlator: this.name });
    }
    if (this.changesLeft !== undefined && CHANGING.has(fop)) this.changesLeft--;
    const one = { fop, args: args as Args<FopName> };
    await this.before?.(one);
    this.passed.push(one);
    const reply = await wind(this.child, fop, { ...call, client: this.#client }, args);
    if (this.fewestLinks === undefined || args.xdata?.has(KEY.FEWEST_LINKS) !== true) return reply;
    return { ...reply, xdata: reply.xdata!.clone().setUint(KEY.FEWEST_LINKS, this.fewestLinks) };
  }
}

/** The end of a client's graph; the brick is in a graph of its own. */
function wireTo(brick: XlatorBase, name: string): XlatorDefinition {
  return defineXlator({
    type: "test/wire",
    children: exactly(0),
    options: {},
    create: (init) => new Wire({ ...init, name, children: [brick] }),
  });
}

export class Client extends Session {
  readonly wire: Wire;
  readonly shard: Shard;

  readonly #graph: StartedGraph;

  private constructor(graph: StartedGraph) {
    super(graph.top, { pid: 1 });
    this.#graph = graph;
    this.shard = graph.xlator<Shard>("shard");
    this.wire = graph.graph.xlators.find((one) => one instanceof Wire)!;
  }

  /** Another client of a rig's brick. */
  static async start(
    brick: XlatorBase,
    { env, name, options }: { env: FakeEnv; name: string; options: Readonly<Record<string, string>> },
  ): Promise<Client> {
    const volfile = stack(
      { name: "wire", type: "test/wire" },
      { name: "shard", type: "features/shard", options },
    );
    const definitions = [shardWith(BLOCK), wireTo(brick, name)];
    return new Client(await startGraph(volfile, { env, definitions }));
  }

  async stop(): Promise<void> {
    await this.end().catch(() => {});
    await this.#graph[Symbol.asyncDispose]();
  }
}

interface RigOptions {
  readonly clients?: number;
  readonly disk?: MemoryDisk;
  readonly blockSize?: number;
  readonly options?: Readonly<Record<string, string>>;
  readonly brick?: Readonly<Record<string, string>>;
}

export class Rig implements AsyncDisposable {
  readonly graph: StartedGraph;
  readonly disk: MemoryDisk;
  readonly env: FakeEnv;
  readonly clients: Client[] = [];
  readonly #options: Readonly<Record<string, string>>;

  private constructor(graph: StartedGraph, disk: MemoryDisk, env: FakeEnv, options: RigOptions) {
    this.graph = graph;
    this.disk = disk;
    this.env = env;
    this.#options = { "shard-block-size": String(options.blockSize ?? BLOCK), ...options.options };
  }

  static async start(options: RigOptions = {}): Promise<Rig> {
    const env = fakeEnv();
    const disk = options.disk ?? new MemoryDisk(env.clock.wall());
    const volfile = stack(
      { name: "brick", type: "storage/memory", ...(options.brick ? { options: options.brick } : {}) },
      { name: "locks", type: "features/locks" },
    );
    const rig = new Rig(
      await startGraph(volfile, { env, definitions: [memoryOn(disk)] }),
      disk,
      env,
      options,
    );
    for (let index = 0; index < (options.clients ?? 1); index++) await rig.join();
    return rig;
  }

  /** One client more. */
  async join(): Promise<Client> {
    const name = `client-${this.clients.length}`;
    const client = await Client.start(this.graph.top, { env: this.env, name, options: this.#options });
    this.clients.push(client);
    return client;
  }

  get a(): Client {
    return this.clients[0]!;
  }

  get b(): Client {
    return this.clients[1]!;
  }

  node(gfid: Gfid): MemNode | undefined {
    return this.disk.find(gfid);
  }

  /** Names of blocks and markers on the brick; markers with their directory before them. */
  hidden(): string[] {
    const entries = this.disk.root.entries!.get(".shard")?.node.entries;
    if (entries === undefined) return [];
    const names = [...entries.keys()].filter((name) => name !== ".remove_me");
    const markers = [...(entries.get(".remove_me")?.node.entries?.keys() ?? [])];
    return [...names.sort(), ...markers.map((name) => `.remove_me/${name}`)];
  }

  /** Numbers of a file's blocks that exist, without block 0. */
  blocksOf(gfid: Gfid): number[] {
    const prefix = `${gfidText(gfid)}.`;
    return this.hidden()
      .filter((name) => name.startsWith(prefix))
      .map((name) => Number(name.slice(prefix.length)))
      .sort((one, other) => one - other);
  }

  /** What the size xattr says. */
  extent(gfid: Gfid): { size: number; blocks: number } {
    const bytes = this.node(gfid)!.xattrs.get("trusted.glusterfs.shard.file-size")!;
    return { size: Number(bytes.readBigInt64BE(0)), blocks: Number(bytes.readBigInt64BE(16)) };
  }

  /** 512-byte blocks that all blocks of a file take on the brick. */
  room(gfid: Gfid): number {
    const entries = this.disk.root.entries!.get(".shard")?.node.entries;
    const blocks = this.blocksOf(gfid).map(
      (block) => entries!.get(`${gfidText(gfid)}.${block}`)!.node.iatt().blocks,
    );
    return blocks.reduce((sum, one) => sum + one, this.node(gfid)!.iatt().blocks);
  }

  /** Lets timers of shard fire, and what they cause end. */
  async pass(ms = 2000): Promise<void> {
    await this.env.clock.advance(ms);
    for (const { shard } of this.clients) await shard.removalsDone();
    await this.env.clock.advance(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) await client.stop();
    await this.graph[Symbol.asyncDispose]();
  }
}

export function bytes(size: number, seed = 1): Buffer {
  return Buffer.from(Array.from({ length: size }, (_, index) => ((index * 7 + seed * 31) % 251) + 1));
}
