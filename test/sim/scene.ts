/**
 * A cluster driven by a script instead of a seed: one client, calls one after the other, bricks that go and
 * come when the script says so. For scenarios.test.ts.
 */

import type { Dict } from "../../src/core/dict.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Gfid } from "../../src/core/gfid.ts";
import type { Fd } from "../../src/core/inode.ts";
import { SetHealer } from "../../xlators/cluster/replicate/crawl/set-healer.ts";
import type { MemNode } from "../../xlators/storage/memory/node.ts";
import { randomOf } from "./clock.ts";
import { Cluster, type SimBrick, type SimClient } from "./cluster.ts";
import { differences, locksHeld } from "./copies.ts";
import { Edge } from "./edge.ts";
import { replicateOf } from "./run.ts";

const STEP_MS = 120_000;

export interface SceneOptions {
  readonly bricks?: number;
  readonly arbiter?: boolean;
  readonly options?: Readonly<Record<string, string>>;
}

export class Scene {
  readonly cluster: Cluster;
  readonly client: SimClient;
  readonly edge: Edge;

  private constructor(cluster: Cluster, client: SimClient) {
    this.cluster = cluster;
    this.client = client;
    this.edge = new Edge(client.graph!.top, randomOf(1, "scene"), "scene");
  }

  static async start({ bricks = 3, arbiter = false, options = {} }: SceneOptions = {}): Promise<Scene> {
    const plan = {
      ...{ bricks, arbiter, replicate: true, pingTimeoutSec: 5, skewMs: 0 },
      options: { "granular-entry-heal": "on", ...options },
      network: { latencyMs: 0.2, jitterMs: 0 },
      disk: { latencyMs: 0.1, jitterMs: 0 },
    };
    const cluster = new Cluster({ seed: 1, plan });
    for (const brick of cluster.bricks) await cluster.until(brick.start(), STEP_MS, `${brick.name} starts`);
    const client = cluster.client("client");
    await cluster.until(client.start(), STEP_MS, "the client starts");
    return new Scene(cluster, client);
  }

  brick(index: number): SimBrick {
    return this.cluster.bricks[index]!;
  }

  /** Runs a call on virtual time. */
  step<R>(work: Promise<R>): Promise<R> {
    return this.cluster.until(work, STEP_MS, "a call");
  }

  /** How a call ended: "ok" or its errno. */
  code(work: Promise<unknown>): Promise<string> {
    const told = work.then(
      () => "ok",
      (error: unknown) => {
        if (error instanceof FopError) return error.code;
        throw error;
      },
    );
    return this.step(told);
  }

  /** The brick's process dies, and the client knows. */
  async down(...indexes: number[]): Promise<void> {
    for (const index of indexes) this.brick(index).kill();
    await this.cluster.pass(100);
  }

  /** It runs again, and the client has it again. */
  async up(...indexes: number[]): Promise<void> {
    for (const index of indexes) await this.step(this.brick(index).start());
    await this.cluster.pass(10_000);
  }

  async file(name: string, content: string): Promise<Fd> {
    const fd = await this.step(this.edge.create(this.edge.root, name, this.edge.newGfid()));
    await this.write(fd, content);
    await this.settle();
    return fd;
  }

  write(fd: Fd, content: string, offset = 0): Promise<number> {
    return this.step(this.edge.write(fd, Buffer.from(content), offset));
  }

  async read(fd: Fd): Promise<string> {
    return (await this.step(this.edge.read(fd, 0, 65536))).toString();
  }

  /** Delayed post-ops are done. */
  settle(): Promise<void> {
    return this.cluster.pass(3_000);
  }

  /** The file on a brick's disk. */
  node(index: number, gfid: Gfid): MemNode {
    return this.brick(index).disk.find(gfid)!;
  }

  content(index: number, gfid: Gfid): string {
    const { data, size } = this.node(index, gfid);
    return data!.read(0, size).toString();
  }

  /** Marks of a copy as in the spec: by brick index or "dirty", [data, metadata, entry]; zeros left out. */
  marks(index: number, gfid: Gfid): Record<string, readonly number[]> {
    const found: Record<string, readonly number[]> = {};
    for (const [key, value] of this.node(index, gfid).xattrs) {
      const name = /^trusted\.afr\.(?:vol-client-)?(.+)$/.exec(key)?.[1];
      if (name !== undefined && value.some((byte) => byte !== 0))
        found[name] = [0, 4, 8].map((at) => value.readInt32BE(at));
    }
    return found;
  }

  /** Writes marks to a brick as an operation that was cut short would have left them. */
  async mark(index: number, fd: Fd, xattrs: Dict): Promise<void> {
    const { top } = this.brick(index);
    await this.step(top.xattrop(this.edge.call, { loc: { inode: fd.inode }, op: 0, xattrs }));
  }

  /** A heal daemon works until copies are equal, marks zero and nothing is locked; says what is left. */
  async heal(forMs = 60_000): Promise<string[]> {
    const client = this.cluster.client("healer", true);
    await this.step(client.start());
    const healer = new SetHealer(replicateOf(client.graph!.top)!.set);
    healer.start();
    await this.cluster.pass(forMs);
    await this.step(healer.stop());
    await this.step(client.stop());
    return [...differences(this.cluster), ...(await this.step(locksHeld(this.cluster)))];
  }

  async end(): Promise<void> {
    await this.step(this.edge.closeAll());
    await this.step(this.client.stop());
  }
}
