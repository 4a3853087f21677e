/**
 * A bridge over a memory brick with locks, a spy between them and the bridge, and a kernel in front: a mount
 * without a mount.
 *
 * The spy writes down every fop and can be told to answer one itself.
 */

import { Bridge } from "../../mount/bridge.ts";
import { type MountOptions, parseMountOptions } from "../../mount/options.ts";
import { inodeTableFor, MountState } from "../../mount/state.ts";
import type { Call } from "../../src/core/call.ts";
import { type Args, FOP_NAMES, type FopName, type Reply } from "../../src/core/fops.ts";
import type { Fd } from "../../src/core/inode.ts";
import { defineXlator, exactly, Xlator, type XlatorInit } from "../../src/core/xlator.ts";
import { type StartedGraph, stack, startGraph } from "../support/build-graph.ts";
import { type FakeEnv, fakeEnv } from "../support/fake-env.ts";
import { FakeKernel, text, u32, u64 } from "./fake-kernel.ts";

export const ROOT = 1;

export interface Seen {
  readonly fop: string;
  readonly call?: Call;
  // The tests know which fop they look at.
  readonly args: Record<string, never> & { [key: string]: unknown };
}

type Stand = (call: Call, args: never, pass: () => Promise<unknown>) => Promise<unknown>;

class Spy extends Xlator {
  readonly seen: Seen[] = [];
  readonly #stands = new Map<string, Stand>();

  constructor(init: XlatorInit) {
    super(init);
    for (const fop of FOP_NAMES) this.#watch(fop);
  }

  #watch(fop: FopName): void {
    const pass = this[fop].bind(this) as (call: Call, args: unknown) => Promise<unknown>;
    Object.defineProperty(this, fop, {
      value: (call: Call, args: unknown) => {
        this.seen.push({ fop, call, args: args as Seen["args"] });
        const stand = this.#stands.get(fop);
        return stand ? stand(call, args as never, () => pass(call, args)) : pass(call, args);
      },
    });
  }

  override release(fd: Fd): Promise<void> {
    this.seen.push({ fop: "release", args: { fd } as unknown as Seen["args"] });
    return super.release(fd);
  }

  /** Lets `stand` answer a fop; undefined ends that. */
  answer<F extends FopName>(
    fop: F,
    stand: ((call: Call, args: Args<F>, pass: () => Promise<Reply<F>>) => Promise<Reply<F>>) | undefined,
  ): void {
    if (stand) this.#stands.set(fop, stand as unknown as Stand);
    else this.#stands.delete(fop);
  }

  /** Names of what was asked since the last look. */
  take(): string[] {
    return this.seen.splice(0).map(({ fop }) => fop);
  }

  /** The last time a fop was asked. */
  last(fop: string): Seen {
    const found = this.seen.findLast((one) => one.fop === fop);
    if (!found) throw new Error(`${fop} was not asked`);
    return found;
  }
}

const SPY = defineXlator({
  type: "test/spy",
  children: exactly(1),
  options: {},
  create: (init) => new Spy(init),
});

export class MountedGraph implements AsyncDisposable {
  readonly kernel: FakeKernel;
  readonly state: MountState;
  readonly spy: Spy;
  readonly env: FakeEnv;
  readonly #graph: StartedGraph;

  private constructor(graph: StartedGraph, env: FakeEnv, options: MountOptions) {
    this.#graph = graph;
    this.env = env;
    this.spy = graph.xlator<Spy>("spy");
    this.state = new MountState(graph.top, env, options, inodeTableFor(graph.top));
    this.kernel = new FakeKernel(new Bridge(this.state));
  }

  static async start(...options: [string, string?][]): Promise<MountedGraph> {
    const env = fakeEnv(1);
    const volfile = stack(
      { name: "memory", type: "storage/memory" },
      { name: "locks", type: "features/locks" },
      { name: "spy", type: "test/spy" },
    );
    const graph = await startGraph(volfile, { env, definitions: [SPY] });
    return new MountedGraph(graph, env, parseMountOptions(new Map(options.map(([k, v]) => [k, v]))).options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#graph[Symbol.asyncDispose]();
  }

  /** CREATE; the node and the handle of the new file. */
  async create(
    name: string,
    { parent = ROOT, flags = 2, mode = 0o644, umask = 0 } = {},
  ): Promise<{ node: number; fh: number; openFlags: number; mode: number }> {
    const body = await this.kernel.ok(35, parent, [
      u32(flags | 0o100, mode | 0o100000, umask, 0),
      text(name),
    ]);
    return {
      node: Number(body.readBigUInt64LE(0)),
      mode: body.readUInt32LE(40 + 60),
      fh: Number(body.readBigUInt64LE(128)),
      openFlags: body.readUInt32LE(136),
    };
  }

  /** MKDIR; the node of the new directory. */
  async mkdir(name: string, parent = ROOT): Promise<number> {
    return Number((await this.kernel.ok(9, parent, [u32(0o755, 0), text(name)])).readBigUInt64LE(0));
  }

  async open(node: number, flags: number): Promise<{ fh: number; openFlags: number }> {
    const body = await this.kernel.ok(14, node, [u32(flags, 0)]);
    return { fh: Number(body.readBigUInt64LE(0)), openFlags: body.readUInt32LE(8) };
  }

  async write(
    node: number,
    fh: number,
    offset: number | bigint,
    data: Buffer,
    writeFlags = 0,
  ): Promise<number> {
    const head = [u64(fh, offset), u32(data.length, writeFlags), u64(0), u32(2, 0)];
    return (await this.kernel.ok(16, node, [...head, data], { uid: 1000 })).readUInt32LE(0);
  }

  read(node: number, fh: number, offset: number | bigint, size: number): Promise<Buffer> {
    return this.kernel.ok(15, node, [u64(fh, offset), u32(size, 0), u64(0), u32(2, 0)]);
  }

  /** fuse_lk_in. */
  lockBody(fh: number, owner: bigint, start: bigint, end: bigint, type: number): Buffer[] {
    return [u64(fh, owner, start, end), u32(type, 77, 0, 0)];
  }
}
