/**
 * What the actions of one program share (file-actions.ts, name-actions.ts): its way into the volume, its part
 * of the randomness, and how a change that it makes is told to the model.
 */

import { type ErrnoName, FopError } from "../../src/core/errors.ts";
import type { Inode } from "../../src/core/inode.ts";
import type { Prng } from "../support/prng.ts";
import type { Cluster, SimClient } from "./cluster.ts";
import { Edge } from "./edge.ts";
import type { LockModel } from "./lock-model.ts";
import type { Model } from "./model.ts";
import type { Change } from "./register.ts";
import type { WorkloadPlan } from "./workload.ts";

/** Numbers that are told apart over all clients. */
export interface Counter {
  next: number;
}

export interface ActingInit {
  readonly cluster: Cluster;
  readonly plan: WorkloadPlan;
  readonly model: Model;
  readonly locks: LockModel;
  readonly random: Prng;
  readonly numbers: Counter;
}

export class Acting {
  readonly client: SimClient;
  readonly cluster: Cluster;
  readonly plan: WorkloadPlan;
  readonly model: Model;
  readonly locks: LockModel;
  readonly random: Prng;
  readonly numbers: Counter;
  readonly edge: Edge;
  /** Tells this life of the client from its others. */
  readonly session: number;
  /** The client died: what is under way has no answer, and no answer counts any more. */
  abandoned = false;
  readonly #dirs = new Map<string, Inode>();
  readonly #open = new Set<Change>();

  constructor(client: SimClient, init: ActingInit) {
    this.client = client;
    this.cluster = init.cluster;
    this.plan = init.plan;
    this.model = init.model;
    this.locks = init.locks;
    this.random = init.random;
    this.numbers = init.numbers;
    this.edge = new Edge(client.graph!.top, init.random, client.name);
    this.session = init.model.newSession();
  }

  abandon(): void {
    this.abandoned = true;
    for (const change of this.#open) this.model.end(change, "lost");
    this.#open.clear();
    this.model.sessionLost(this.session);
  }

  note(what: string): void {
    this.cluster.trace.add(this.client.name, what);
  }

  /** A directory in the root. */
  async dir(name: string): Promise<Inode> {
    const known = this.#dirs.get(name);
    if (known) return known;
    const { inode } = await this.edge.lookup(this.edge.root, name);
    this.#dirs.set(name, inode);
    return inode;
  }

  /**
   * Runs a changing call and tells the model how it ended. `run` says whether all of it was done;
   * `isPromise`: success is a promise only, to be kept by the next fsync or close.
   */
  async change(
    what: string,
    enter: (change: Change) => void,
    run: () => Promise<boolean>,
    isPromise = false,
  ): Promise<void> {
    const change = this.model.begin(this.client.name, what, this.session);
    enter(change);
    this.#open.add(change);
    let code: ErrnoName | "short" | undefined;
    try {
      if (!(await run())) code = "short";
    } catch (error) {
      if (!(error instanceof FopError)) throw error;
      code = error.code;
    }
    if (this.abandoned) return;
    this.#open.delete(change);
    if (code !== undefined) this.model.end(change, "failed");
    else if (isPromise) this.model.promise(change);
    else this.model.end(change, "ok");
    const took = (this.cluster.clock.nowMs() - change.startMs).toFixed(1);
    this.note(`${what}: ${code ?? "ok"} ${took} ms`);
  }
}

/** Makes a missing thing a value. */
export function whenMissing<T>(code: ErrnoName, value: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof FopError && error.code === code) return value;
    throw error;
  };
}
