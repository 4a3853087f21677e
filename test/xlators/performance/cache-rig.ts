/**
 * A cache over a brick in memory, with a clock that stands still, calls that can be held, answers that can
 * fail, and a record of what went down to the brick. Contracts stand between all layers.
 */

import type { FopName } from "../../../src/core/fops.ts";
import type { Gfid } from "../../../src/core/gfid.ts";
import type { Inode } from "../../../src/core/inode.ts";
import { type OptionValues, parseOptions } from "../../../src/core/options.ts";
import { UPCALL } from "../../../src/core/upcall-flags.ts";
import type { ChildEvent, XlatorBase } from "../../../src/core/xlator.ts";
import type { DelayGen } from "../../../xlators/debug/delay-gen.ts";
import type { ErrorGen } from "../../../xlators/debug/error-gen.ts";
import { REGISTRY } from "../../../xlators/registry.ts";
import { type StartedGraph, stack, startGraph } from "../../support/build-graph.ts";
import { type FakeEnv, fakeEnv } from "../../support/fake-env.ts";
import { Session } from "../../support/session.ts";

export const KIB = 1024;

/** A call that reached the brick's side; its place where it has one. */
export interface Went {
  readonly fop: FopName;
  readonly offset?: number | bigint;
  readonly size?: number;
}

export class CacheRig implements AsyncDisposable {
  readonly graph: StartedGraph;
  readonly env: FakeEnv;
  readonly type: string;
  /** The cache itself, without the contract above it. */
  readonly cache: XlatorBase;
  readonly delays: DelayGen;
  readonly errors: ErrorGen;
  /** Who sits on the cache. */
  readonly here: Session;
  /** Another client, straight on the brick. */
  readonly there: Session;
  readonly went: Went[] = [];
  /** What the cache told whoever is above it. */
  readonly told: ChildEvent[] = [];

  private constructor(graph: StartedGraph, env: FakeEnv, type: string) {
    this.graph = graph;
    this.env = env;
    this.type = type;
    this.cache = graph.xlator("cache");
    this.delays = graph.xlator<DelayGen>("delays");
    this.errors = graph.xlator<ErrorGen>("errors");
    this.here = new Session(graph.top);
    this.there = new Session(graph.xlator("locks"));
    this.errors.failWhere((fop, _call, args) => {
      const { offset, size } = args as { offset?: number; size?: number };
      const place = offset === undefined ? {} : { offset };
      this.went.push({ fop, ...place, ...(size === undefined ? {} : { size }) });
      return undefined;
    });
    this.cache.addParent({ onChildEvent: (event) => this.told.push(event) });
  }

  static async make(type: string, options: Readonly<Record<string, string>> = {}): Promise<CacheRig> {
    const env = fakeEnv();
    const layers = [
      { name: "brick", type: "storage/memory" },
      { name: "locks", type: "features/locks" },
      { name: "errors", type: "debug/error-gen", options: { failure: "0" } },
      { name: "delays", type: "debug/delay-gen", options: { "delay-percentage": "0" } },
      { name: "cache", type, options },
    ];
    return new CacheRig(await startGraph(stack(...layers), { env, contracts: true }), env, type);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.here.end();
    await this.there.end();
    await this.graph[Symbol.asyncDispose]();
  }

  /** What went down meanwhile, as names of fops. */
  async during(work: () => Promise<unknown>): Promise<FopName[]> {
    this.went.length = 0;
    await work();
    return this.went.map(({ fop }) => fop);
  }

  /** A file with these bytes, made by the other client. */
  async file(name: string, content: string | Buffer): Promise<Inode> {
    const fd = await this.there.create(name);
    if (content.length > 0) await this.there.write(fd, content);
    return this.here.inode(name);
  }

  /** The other client writes into a file, a moment later. */
  async writeThere(name: string, content: string | Buffer, offset = 0): Promise<void> {
    await this.env.clock.advance(1);
    const fd = await this.there.open(await this.there.inode(name));
    await this.there.write(fd, content, offset);
  }

  /** The brick tells of another client's change. */
  tell(gfid: Gfid, flags: number = UPCALL.SIZE | UPCALL.TIMES, parents?: readonly Gfid[]): void {
    const upcall = { kind: "cache-invalidation" as const, gfid, flags, expireSec: 0 };
    this.event({ type: "upcall", upcall: parents ? { ...upcall, parents } : upcall });
  }

  event(event: ChildEvent): void {
    this.cache.onChildEvent(event, this.delays);
  }

  reconfigure(options: Readonly<Record<string, string>>): void {
    const { options: table } = REGISTRY.get(this.type)!;
    const { values } = parseOptions(table, new Map(Object.entries(options)), { who: "test" });
    (this.cache as XlatorBase).reconfigure(values as OptionValues<never>);
  }
}
