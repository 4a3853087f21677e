/**
 * A replica set over bricks in memory, for tests of cluster/replicate: each brick can be taken away, made to
 * fail, watched, and looked into behind the set's back.
 */

import type { Call } from "../../../../src/core/call.ts";
import { Deferred } from "../../../../src/core/concurrency.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { type Args, type FopName, type Reply, XATTROP } from "../../../../src/core/fops.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import {
  type ChildEvent,
  defineXlator,
  exactly,
  wind,
  type XlatorBase,
} from "../../../../src/core/xlator.ts";
import { Around } from "../../../../xlators/debug/around.ts";
import type { DelayGen } from "../../../../xlators/debug/delay-gen.ts";
import type { ErrorGen } from "../../../../xlators/debug/error-gen.ts";
import { type StartedGraph, startGraph } from "../../../support/build-graph.ts";
import { type FakeEnv, fakeEnv } from "../../../support/fake-env.ts";
import { Session } from "../../../support/session.ts";
import { sectionOf } from "../../../support/volfiles.ts";

/** Whom bricks see in the set: a connection's calls and locks are one client's. */
const CLIENT = { id: "first", opVersion: 100_000 };

/**
 * Stands above a brick: cuts it off and brings it back, and writes down what passes. As with a connection, a
 * cut fails what is under way and drops the locks.
 */
export class Wire extends Around {
  readonly calls: { readonly fop: FopName; readonly args: unknown }[] = [];
  readonly #inFlight = new Set<Deferred<never>>();
  #cut = false;
  /** Another object for each connection: the locks translator knows ended ones by it. */
  #client = { ...CLIENT };

  get isCut(): boolean {
    return this.#cut;
  }

  cut(): void {
    this.#cut = true;
    for (const lost of this.#inFlight)
      lost.reject(new FopError("ENOTCONN", { fop: "wire", xlator: this.name }));
    this.#inFlight.clear();
    this.notifyParents({ type: "child-down" });
    this.clientDisconnect(this.#client);
  }

  mend(): void {
    this.#cut = false;
    this.#client = { ...CLIENT };
    this.notifyParents({ type: "child-up" });
  }

  count(fop: FopName): number {
    return this.calls.filter((call) => call.fop === fop).length;
  }

  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    if (!this.#cut) super.onChildEvent(event, from);
  }

  protected override async around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    if (this.#cut) throw new FopError("ENOTCONN", { fop, xlator: this.name });
    this.calls.push({ fop, args });
    const lost = new Deferred<never>();
    this.#inFlight.add(lost);
    try {
      return await Promise.race([
        lost.promise,
        wind(this.child, fop, { ...call, client: this.#client }, args),
      ]);
    } finally {
      this.#inFlight.delete(lost);
    }
  }
}

const wireDefinition = defineXlator({
  type: "test/wire",
  children: exactly(1),
  options: {},
  create: (init) => new Wire(init),
});

export interface CopiesOptions {
  readonly count?: number;
  readonly options?: Readonly<Record<string, string>>;
  readonly contracts?: boolean;
}

/** By counter: data, metadata, entry. */
export type Hex = readonly [data: number, metadata: number, entry: number];

export class Copies implements AsyncDisposable {
  readonly graph: StartedGraph;
  readonly env: FakeEnv;
  readonly session: Session;
  readonly wires: readonly Wire[];
  readonly errors: readonly ErrorGen[];
  readonly delays: readonly DelayGen[];

  private constructor(graph: StartedGraph, env: FakeEnv, count: number) {
    this.graph = graph;
    this.env = env;
    this.session = new Session(graph.top);
    this.wires = range(count).map((index) => graph.xlator<Wire>(`v-client-${index}`));
    this.errors = range(count).map((index) => graph.xlator<ErrorGen>(`errors-${index}`));
    this.delays = range(count).map((index) => graph.xlator<DelayGen>(`delays-${index}`));
  }

  static async start({ count = 3, options = {}, contracts = true }: CopiesOptions = {}): Promise<Copies> {
    const env = fakeEnv();
    const graph = await startGraph(volfile(count, options), {
      env,
      definitions: [wireDefinition],
      contracts,
    });
    return new Copies(graph, env, count);
  }

  /** The top of one brick, below what cuts it off and what fails. */
  brick(index: number): Session {
    return new Session(this.graph.xlator(`index-${index}`));
  }

  /** Forgets what passed so far. */
  clearCalls(): void {
    for (const wire of this.wires) wire.calls.length = 0;
  }

  /** Marks of an object on one brick, by the child they blame and "dirty"; zero ones are left out. */
  async marks(index: number, inode: Inode): Promise<Record<string, Hex>> {
    const keys = [...this.wires.keys()].map((child) => `trusted.afr.v-client-${child}`);
    const xdata = new Dict();
    for (const key of [...keys, "trusted.afr.dirty"]) xdata.setBytes(key, Buffer.alloc(12));
    const brick = this.brick(index);
    const reply = await brick.top.lookup(brick.call, { loc: { inode }, xdata });
    const found: Record<string, Hex> = {};
    for (const key of [...keys, "trusted.afr.dirty"]) {
      const value = reply.xdata?.bytes(key);
      if (!value?.some((byte) => byte !== 0)) continue;
      const name = key.replace("trusted.afr.", "").replace("v-client-", "");
      found[name] = [value.readInt32BE(0), value.readInt32BE(4), value.readInt32BE(8)];
    }
    return found;
  }

  /** Writes a mark on one brick: `blamed` missed this. */
  async mark(index: number, inode: Inode, blamed: number | "dirty", counts: Hex): Promise<void> {
    const value = Buffer.alloc(12);
    for (const [slot, count] of counts.entries()) value.writeInt32BE(count, slot * 4);
    const key = blamed === "dirty" ? "trusted.afr.dirty" : `trusted.afr.v-client-${blamed}`;
    const brick = this.brick(index);
    const args = { loc: { inode }, op: XATTROP.ADD_ARRAY, xattrs: Dict.ofBytes({ [key]: value }) };
    await brick.top.xattrop(brick.call, args);
  }

  /** A file with this content on all copies. */
  async file(name: string, content = "content", parent?: Inode): Promise<Inode> {
    const fd = await this.session.create(name, parent ? { parent } : {});
    await this.session.write(fd, content);
    await this.session.close(fd);
    return fd.inode;
  }

  /** Changes content on one brick only. */
  async scribble(index: number, inode: Inode, content: string): Promise<void> {
    const brick = this.brick(index);
    const fd = await brick.open(inode);
    await brick.top.ftruncate(brick.call, { fd, offset: 0 });
    await brick.write(fd, content);
    await brick.release(fd);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const wire of this.wires) if (wire.isCut) wire.mend();
    await this.session.end();
    await this.graph[Symbol.asyncDispose]();
  }
}

function volfile(count: number, options: Readonly<Record<string, string>>): string {
  const clients = range(count).map((index) => `v-client-${index}`);
  const arbiter = options["arbiter-count"] === "1" ? count - 1 : -1;
  const bricks = range(count).flatMap((index) => [
    sectionOf(`disk-${index}`, "storage/memory", {}, []),
    ...(index === arbiter ? [sectionOf(`arbiter-${index}`, "features/arbiter", {}, [`disk-${index}`])] : []),
    sectionOf(`locks-${index}`, "features/locks", {}, [
      index === arbiter ? `arbiter-${index}` : `disk-${index}`,
    ]),
    sectionOf(`index-${index}`, "features/index", {}, [`locks-${index}`]),
    sectionOf(`delays-${index}`, "debug/delay-gen", { "delay-percentage": "0" }, [`index-${index}`]),
    sectionOf(`errors-${index}`, "debug/error-gen", { failure: "0" }, [`delays-${index}`]),
    sectionOf(`v-client-${index}`, "test/wire", {}, [`errors-${index}`]),
  ]);
  const given = { "afr-pending-xattr": clients.join(","), "choose-local": "off", ...options };
  return [...bricks, sectionOf("v-replicate-0", "cluster/replicate", given, clients)].join("\n");
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
