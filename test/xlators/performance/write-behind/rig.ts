/**
 * write-behind over a brick in memory, with calls that can be held, replies that can fail, and a record of
 * what went down. Contracts stand between all layers.
 */

import type { FopName } from "../../../../src/core/fops.ts";
import { iovSize } from "../../../../src/core/iovec.ts";
import type { XlatorBase } from "../../../../src/core/xlator.ts";
import type { DelayGen } from "../../../../xlators/debug/delay-gen.ts";
import type { ErrorGen } from "../../../../xlators/debug/error-gen.ts";
import type { Host } from "../../../../xlators/performance/write-behind/backlog.ts";
import { MemoryDisk } from "../../../../xlators/storage/memory/disk.ts";
import { memoryOn } from "../../../../xlators/storage/memory.ts";
import { type StartedGraph, stack, startGraph } from "../../../support/build-graph.ts";
import { type FakeEnv, fakeEnv } from "../../../support/fake-env.ts";
import { Session } from "../../../support/session.ts";

export const KIB = 1024;

/** A call that reached the brick's side. */
export interface Went {
  readonly fop: FopName;
  readonly offset?: number;
  readonly size?: number;
}

export interface Rig extends AsyncDisposable {
  readonly graph: StartedGraph;
  readonly top: XlatorBase;
  readonly session: Session;
  readonly host: Host;
  readonly delays: DelayGen;
  readonly errors: ErrorGen;
  readonly disk: MemoryDisk;
  readonly env: FakeEnv;
  /** What went down, in order; writes with their place. */
  readonly went: Went[];
  /** The writes of it as `offset+size`. */
  writes(): string[];
}

export async function rig(options: Readonly<Record<string, string>> = {}): Promise<Rig> {
  const disk = new MemoryDisk({ sec: 0, nsec: 0 });
  const env = fakeEnv();
  const quiet = { failure: "0" };
  const layers = [
    { name: "brick", type: "storage/memory" },
    { name: "locks", type: "features/locks" },
    { name: "errors", type: "debug/error-gen", options: quiet },
    { name: "delays", type: "debug/delay-gen", options: { "delay-percentage": "0" } },
    { name: "write-behind", type: "performance/write-behind", options },
  ];
  const graph = await startGraph(stack(...layers), { env, definitions: [memoryOn(disk)], contracts: true });
  const errors = graph.xlator<ErrorGen>("errors");
  const went: Went[] = [];
  errors.failWhere((fop, _call, args) => {
    const { data, offset, size } = args as { data?: Buffer[]; offset?: number; size?: number };
    const bytes = data ? iovSize(data) : size;
    went.push({
      fop,
      ...(offset === undefined ? {} : { offset }),
      ...(bytes === undefined ? {} : { size: bytes }),
    });
    return undefined;
  });
  return {
    graph,
    top: graph.top,
    session: new Session(graph.top),
    host: graph.xlator<XlatorBase & Host>("write-behind"),
    delays: graph.xlator<DelayGen>("delays"),
    errors,
    disk,
    env,
    went,
    writes: () => went.filter(({ fop }) => fop === "writev").map(({ offset, size }) => `${offset}+${size}`),
    [Symbol.asyncDispose]: () => graph[Symbol.asyncDispose](),
  };
}

/** A promise that can be asked how it stands. */
export class Watched<T> {
  state: "pending" | "done" | "failed" = "pending";
  value: T | undefined;
  error: unknown;
  readonly promise: Promise<T>;

  constructor(promise: Promise<T>) {
    this.promise = promise;
    promise.then(
      (value) => {
        this.state = "done";
        this.value = value;
      },
      (error) => {
        this.state = "failed";
        this.error = error;
      },
    );
  }
}

export function watch<T>(promise: Promise<T>): Watched<T> {
  return new Watched(promise);
}
