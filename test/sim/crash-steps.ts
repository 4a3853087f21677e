/**
 * Operations on a file in blocks over three bricks, cut in every step: the client dies after the k-th call
 * that it sent to a brick, or a brick dies after the k-th that it was sent, for every k. Then another client
 * comes, looks, and cleans up.
 *
 * Every step is tried, and each run is the same each time. A call that was sent arrives; what comes after the
 * cut does not. With the client's death a file may be as before, as after, or as each operation says; with a
 * brick's death the operation succeeds.
 */

import type { Call } from "../../src/core/call.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import type { Inode } from "../../src/core/inode.ts";
import { defineXlator, exactly, wind, type XlatorDefinition } from "../../src/core/xlator.ts";
import { SetHealer } from "../../xlators/cluster/replicate/crawl/set-healer.ts";
import { Around } from "../../xlators/debug/around.ts";
import { Shard } from "../../xlators/features/shard/shard.ts";
import { randomOf } from "./clock.ts";
import { Cluster, type SimClient } from "./cluster.ts";
import { blocksLeft, differences, locksHeld, miscounts } from "./copies.ts";
import { Edge } from "./edge.ts";
import { replicateOf } from "./run.ts";

export const BLOCK = 4096;
const SIZE = 5 * BLOCK - 512;
const STEP_MS = 120_000;
/** Calls that were sent have arrived by then. */
const ARRIVED_MS = 20;
const HEAL_ROUNDS_MAX = 8;
/** The one that dies. */
const BRICK = 0;

export function bytes(size: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length: size }, (_, index) => ((index * 7 + seed * 31) % 251) + 1));
}

/** What the file holds before each operation. */
export const CONTENT = bytes(SIZE, 1);

/** What an operation works with. */
interface Volume {
  readonly edge: Edge;
  readonly inode: Inode;
}

export interface Operation {
  readonly name: string;
  readonly prepare?: (volume: Volume) => Promise<unknown>;
  readonly run: (volume: Volume) => Promise<unknown>;
  /** The file afterwards when all went well; undefined: there is none. */
  readonly after: Buffer | undefined;
  /** Whether a client that died may have left it like this; like before or after it always may. */
  readonly between?: (content: Buffer) => boolean;
}

const OTHER = bytes(3 * BLOCK, 9);
const ADDED = bytes(3 * BLOCK, 4);
const LATE = bytes(BLOCK, 5);

/** Old bytes up to there, and old ones or zeros behind. */
function oldOrZeroFrom(size: number): (content: Buffer) => boolean {
  return (content) =>
    content.length === SIZE &&
    content.every((byte, at) => byte === CONTENT[at] || (at >= size && byte === 0));
}

function padded(content: Buffer, size: number): Buffer {
  return Buffer.concat([content, Buffer.alloc(size - content.length)]);
}

async function ftruncate({ edge, inode }: Volume, offset: number): Promise<void> {
  const fd = await edge.open(inode);
  await edge.top.ftruncate(edge.call, { fd, offset });
  await edge.close(fd);
}

export const OPERATIONS: readonly Operation[] = [
  {
    name: "unlink",
    run: ({ edge }) => edge.unlink(edge.root, "f"),
    after: undefined,
  },
  {
    name: "unlink of an open file",
    run: async ({ edge, inode }) => {
      const fd = await edge.open(inode);
      await edge.unlink(edge.root, "f");
      await edge.close(fd);
    },
    after: undefined,
  },
  {
    name: "rename over it",
    prepare: async ({ edge }) => {
      const fd = await edge.create(edge.root, "other", edge.newGfid());
      await edge.write(fd, OTHER, 0);
      await edge.close(fd);
    },
    run: ({ edge }) => edge.rename(edge.root, "other", "f"),
    after: OTHER,
  },
  {
    name: "truncate to the middle of a block",
    run: (volume) => ftruncate(volume, BLOCK + 1024),
    after: CONTENT.subarray(0, BLOCK + 1024),
    between: oldOrZeroFrom(BLOCK + 1024),
  },
  {
    name: "truncate to nothing",
    run: (volume) => ftruncate(volume, 0),
    after: Buffer.alloc(0),
    between: oldOrZeroFrom(0),
  },
  {
    name: "growing by a hole",
    run: (volume) => ftruncate(volume, 9 * BLOCK),
    after: padded(CONTENT, 9 * BLOCK),
  },
  {
    name: "a write that extends it over several blocks",
    run: async ({ edge, inode }) => {
      const fd = await edge.open(inode);
      await edge.write(fd, ADDED, SIZE);
      await edge.close(fd);
    },
    after: Buffer.concat([CONTENT, ADDED]),
    // The piece in the block that exists is within no size yet.
    between: (content) => content.equals(CONTENT),
  },
  {
    name: "a write far beyond its end",
    run: async ({ edge, inode }) => {
      const fd = await edge.open(inode);
      await edge.write(fd, LATE, 30 * BLOCK);
      await edge.close(fd);
    },
    after: Buffer.concat([padded(CONTENT, 30 * BLOCK), LATE]),
    between: (content) =>
      content.subarray(0, SIZE).equals(CONTENT) && content.subarray(SIZE).every((byte) => byte === 0),
  },
  {
    name: "fallocate beyond its end",
    run: async ({ edge, inode }) => {
      const fd = await edge.open(inode);
      const range = { offset: 0, size: 8 * BLOCK };
      await edge.top.fallocate(edge.call, { fd, keepSize: false, ...range });
      await edge.close(fd);
    },
    after: padded(CONTENT, 8 * BLOCK),
  },
];

/** Where a run is cut. */
export type Cut =
  | { readonly who: "client"; readonly after: number }
  | { readonly who: "brick"; readonly after: number };

/** Counts calls of one client, and lets none pass once there were so many. */
class Counter {
  /** By brick. */
  readonly counts = [0, 0, 0];
  /** Reached: nothing passes any more, and `onCut` is told. */
  cut: Cut | undefined;
  onCut: (() => void) | undefined;

  get total(): number {
    return this.counts.reduce((sum, count) => sum + count);
  }

  start(cut: Cut | undefined): void {
    this.counts.fill(0);
    this.cut = cut;
  }

  /** Whether this call may be sent. */
  admit(brick: number): boolean {
    const { cut } = this;
    if (cut?.who === "client" && this.total >= cut.after) {
      this.onCut?.();
      return false;
    }
    if (cut?.who === "brick" && brick === BRICK && this.counts[brick]! >= cut.after) this.onCut?.();
    this.counts[brick]!++;
    return true;
  }

  layer(): XlatorDefinition {
    return defineXlator({
      type: "sim/counter",
      children: exactly(1),
      options: {},
      create: (init) => new CounterLayer(init, this),
    });
  }
}

class CounterLayer extends Around {
  readonly #counter: Counter;
  readonly #brick: number;

  constructor(init: ConstructorParameters<typeof Around>[0], counter: Counter) {
    super(init);
    this.#counter = counter;
    this.#brick = Number(/client-(\d)/.exec(this.name)![1]);
  }

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    // A dead client hears no answer.
    if (!this.#counter.admit(this.#brick)) return new Promise(() => {});
    return wind(this.child, fop, call, args);
  }
}

/** One run of an operation. */
export class StepRun {
  readonly #operation: Operation;
  readonly #counter = new Counter();
  readonly #cluster: Cluster;
  readonly #client: SimClient;
  /** What was wrong. */
  readonly faults: string[] = [];

  private constructor(operation: Operation) {
    this.#operation = operation;
    const plan = {
      ...{ bricks: 3, arbiter: false, replicate: true, pingTimeoutSec: 5, skewMs: 0 },
      options: { "granular-entry-heal": "on", "post-op-delay-secs": "0" },
      network: { latencyMs: 0.2, jitterMs: 0 },
      disk: { latencyMs: 0.1, jitterMs: 0 },
      stack: { shard: { "shard-block-size": String(BLOCK) } },
    };
    this.#cluster = new Cluster({ seed: 1, plan, sabotage: { client: [this.#counter.layer()], healer: [] } });
    this.#client = this.#cluster.client("client-0");
  }

  /** Every way to cut an operation. Throws when it is wrong already without a cut. */
  static async cuts(operation: Operation): Promise<Cut[]> {
    const run = new StepRun(operation);
    const volume = await run.#prepared();
    run.#counter.start(undefined);
    await run.#step(operation.run(volume));
    await run.#cluster.pass(3_000);
    const { total, counts } = run.#counter;
    const toBrick = counts[BRICK]!;
    await run.#judge(true);
    if (run.faults.length > 0) throw new Error(run.faults.join("\n"));
    const numbers = (count: number): number[] => Array.from({ length: count }, (_, after) => after);
    return [
      ...numbers(total).map((after): Cut => ({ who: "client", after })),
      ...numbers(toBrick).map((after): Cut => ({ who: "brick", after })),
    ];
  }

  /** What was wrong with one cut; each with the step. */
  static async cut(operation: Operation, cut: Cut): Promise<string[]> {
    const run = new StepRun(operation);
    const volume = await run.#prepared();
    run.#counter.start(cut);
    if (cut.who === "client") await run.#cutClient(volume);
    else await run.#cutBrick(volume);
    return run.faults.map((fault) => `${operation.name}, ${cut.who} dies after ${cut.after} calls: ${fault}`);
  }

  async #prepared(): Promise<Volume> {
    const cluster = this.#cluster;
    for (const brick of cluster.bricks) await this.#step(brick.start());
    await this.#step(this.#client.start());
    const edge = new Edge(this.#client.graph!.top, randomOf(1, "steps"), "steps");
    const fd = await this.#step(edge.create(edge.root, "f", edge.newGfid()));
    await this.#step(edge.write(fd, CONTENT, 0));
    await this.#step(edge.top.fsync(edge.call, { fd, datasync: false }));
    await this.#step(edge.close(fd));
    const volume = { edge, inode: fd.inode };
    await this.#step(this.#operation.prepare?.(volume) ?? Promise.resolve());
    await cluster.pass(3_000);
    return volume;
  }

  async #cutClient(volume: Volume): Promise<void> {
    const isCut = new Promise<void>((resolve) => {
      this.#counter.onCut = resolve;
    });
    const { run } = this.#operation;
    await this.#step(Promise.race([isCut, run(volume).then(() => this.#cluster.clock.sleep(3_000))]));
    await this.#cluster.pass(ARRIVED_MS);
    this.#client.kill();
    this.#counter.cut = undefined;
    await this.#cluster.pass(ARRIVED_MS);
    await this.#judge(false);
  }

  async #cutBrick(volume: Volume): Promise<void> {
    const brick = this.#cluster.bricks[BRICK]!;
    this.#counter.onCut = () => {
      this.#counter.cut = undefined;
      brick.kill();
    };
    const code = await this.#step(this.#operation.run(volume).then(() => "ok", codeOf));
    if (code !== "ok") this.faults.push(`the operation failed: ${code}`);
    await this.#cluster.pass(3_000);
    if (!brick.running) await this.#step(brick.start());
    await this.#cluster.pass(10_000);
    await this.#step(this.#client.stop());
    await this.#judge(true);
  }

  /** Another client looks at the file, bricks become level, and then everything is removed. */
  async #judge(isDone: boolean): Promise<void> {
    const heir = this.#cluster.client("heir");
    await this.#step(heir.start());
    const edge = new Edge(heir.graph!.top, randomOf(2, "heir"), "heir");
    // Copies that do not agree about a name are EIO until a heal has decided.
    const early = await this.#step(readAll(edge).catch((error: unknown) => codeOf(error)));
    if (early === "EIO" && !isDone) this.faults.push(...(await this.#levelled()));
    const found = typeof early === "string" ? await this.#step(readAll(edge).catch(codeOf)) : early;
    if (typeof found === "string") this.faults.push(`the file cannot be read: ${found}`);
    else this.#judgeContent(found, isDone);
    await this.#removed(heir);
    this.faults.push(...(await this.#levelled()));
    if (isDone) this.faults.push(...miscounts(this.#cluster));
    for (const name of ["f", "other"]) {
      const code = await this.#step(edge.unlink(edge.root, name).then(() => "ok", codeOf));
      if (code !== "ok" && code !== "ENOENT") this.faults.push(`${name} cannot be removed: ${code}`);
    }
    await this.#removed(heir);
    await this.#step(heir.stop());
    for (const what of [...blocksLeft(this.#cluster), ...differences(this.#cluster)])
      this.faults.push(`after it was removed: ${what}`);
  }

  #judgeContent(content: Buffer | undefined, isDone: boolean): void {
    const { after, between } = this.#operation;
    const isLike = (wanted: Buffer | undefined): boolean =>
      content === undefined || wanted === undefined ? content === wanted : content.equals(wanted);
    if (isLike(after)) return;
    if (!isDone && (isLike(CONTENT) || (content !== undefined && between?.(content)))) return;
    this.faults.push(`the file has ${content?.length ?? "no"} bytes, neither as before nor as after`);
  }

  /** A heal daemon works until nothing is left to heal and to remove; says what stays. */
  async #levelled(): Promise<string[]> {
    const client = this.#cluster.client("healer", true);
    await this.#step(client.start());
    const healer = new SetHealer(replicateOf(client.graph!.top)!.set);
    healer.start();
    let left: string[] = [];
    for (let round = 0; round < HEAL_ROUNDS_MAX; round++) {
      // A marker that a heal brought back is found by whoever comes next.
      await this.#swept(round);
      left = [...differences(this.#cluster), ...blocksLeft(this.#cluster)];
      left.push(...(await this.#step(locksHeld(this.#cluster))));
      if (left.length === 0) break;
      healer.wake();
      // What a client that died left of a call with all copies at hand is marked nowhere.
      if (round === 2) void healer.full();
      await this.#cluster.pass(10_000);
    }
    await this.#step(healer.stop());
    await this.#step(client.stop());
    return left.map((what) => `not healed: ${what}`);
  }

  /** A client comes, removes what is left of removed files, and goes. */
  async #swept(round: number): Promise<void> {
    const client = this.#cluster.client(`sweeper-${round}`);
    await this.#step(client.start());
    const edge = new Edge(client.graph!.top, randomOf(3, client.name), client.name);
    await this.#step(edge.refresh(edge.root));
    await this.#removed(client);
    await this.#step(client.stop());
  }

  /** What this client removes in the background is gone. */
  async #removed({ graph }: SimClient): Promise<void> {
    const shard = graph!.xlators.find((xlator) => xlator instanceof Shard)!;
    await this.#cluster.pass(1_500);
    await this.#step(shard.removalsDone());
  }

  #step<R>(work: Promise<R>): Promise<R> {
    return this.#cluster.until(work, STEP_MS, this.#operation.name);
  }
}

async function readAll(edge: Edge): Promise<Buffer | undefined> {
  const found = await edge.lookup(edge.root, "f").catch(unlessMissing);
  if (found === undefined) return undefined;
  const fd = await edge.open(found.inode);
  const content = await edge.read(fd, 0, 64 * BLOCK);
  const { size } = await edge.stat(found.inode);
  await edge.close(fd);
  if (size !== content.length) throw new Error(`${size} bytes long, ${content.length} read`);
  return content;
}

function unlessMissing(error: unknown): undefined {
  if (codeOf(error) !== "ENOENT") throw error;
}

function codeOf(error: unknown): string {
  if (error instanceof FopError) return error.code;
  throw error;
}
