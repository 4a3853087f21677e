/**
 * A distribute over bricks in memory, for tests: each brick can be taken away, filled, made to fail, watched,
 * and looked into behind the distribute's back; a second client with a distribute of its own can join.
 */

import type { Call } from "../../../../src/core/call.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { FopError } from "../../../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../../../src/core/fops.ts";
import { S_IFMT, S_IFREG } from "../../../../src/core/iatt.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import {
  defineXlator,
  exactly,
  type ParentEvent,
  wind,
  type XlatorInit,
} from "../../../../src/core/xlator.ts";
import type { Distribute } from "../../../../xlators/cluster/distribute/distribute.ts";
import { Around } from "../../../../xlators/debug/around.ts";
import type { ErrorGen } from "../../../../xlators/debug/error-gen.ts";
import { type StartedGraph, startGraph } from "../../../support/build-graph.ts";
import { type FakeEnv, fakeEnv } from "../../../support/fake-env.ts";
import { Session } from "../../../support/session.ts";
import { sectionOf } from "../../../support/volfiles.ts";
import { Wire } from "../replicate/three-copies.ts";

export const LINKTO = "trusted.glusterfs.dht.linkto";
export const LAYOUT = "trusted.glusterfs.dht";
export const MDS = "trusted.glusterfs.dht.mds";

const wireDefinition = defineXlator({
  type: "test/wire",
  children: exactly(1),
  options: {},
  create: (init) => new Wire(init),
});

/** Leads to a wire of another graph, as a client of its own; that graph starts and stops it. */
class Door extends Around {
  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-up") this.notifyParents({ type: "child-up" });
  }

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    return wind(this.child, fop, { ...call, client: { id: "second", opVersion: 100_000 } }, args);
  }
}

export interface SpreadOptions {
  readonly count?: number;
  readonly options?: Readonly<Record<string, string>>;
  /** Bytes of each brick. */
  readonly capacities?: readonly number[];
  readonly contracts?: boolean;
}

/** What a brick has under a name: `data`, `link to N`, `directory`, or nothing. */
export type Shown = "data" | "directory" | `link to ${number}` | undefined;

export class Spread implements AsyncDisposable {
  readonly graph: StartedGraph;
  readonly env: FakeEnv;
  readonly session: Session;
  readonly wires: readonly Wire[];
  readonly errors: readonly ErrorGen[];
  readonly #others: StartedGraph[] = [];

  private constructor(graph: StartedGraph, env: FakeEnv, count: number) {
    this.graph = graph;
    this.env = env;
    this.session = new Session(graph.top);
    this.wires = range(count).map((index) => graph.xlator<Wire>(`v-client-${index}`));
    this.errors = range(count).map((index) => graph.xlator<ErrorGen>(`errors-${index}`));
  }

  static async start(given: SpreadOptions = {}): Promise<Spread> {
    const { count = 3, options = {}, capacities = [], contracts = true } = given;
    const env = fakeEnv();
    const graph = await startGraph(volfile(count, options, capacities), {
      env,
      definitions: [wireDefinition],
      contracts,
    });
    const spread = new Spread(graph, env, count);
    const { top, call, root } = spread.session;
    await top.lookup(call, { loc: { inode: root } });
    return spread;
  }

  get distribute(): Distribute {
    return this.graph.xlator<Distribute>("v-dht");
  }

  /** The top of one brick, below what cuts it off and what fails. */
  brick(index: number): Session {
    return new Session(this.graph.xlator(`locks-${index}`));
  }

  /** Another client of the same bricks. */
  async second(options: Readonly<Record<string, string>> = {}): Promise<Session> {
    // Linkto files name children, so both clients must call them the same.
    const { names } = this.distribute.set;
    const door = defineXlator({
      type: "test/door",
      children: exactly(0),
      options: {},
      create: (init) =>
        new Door({ ...init, children: [this.wires[names.indexOf(init.name)]!] } as XlatorInit<
          Record<never, never>
        >),
    });
    const doors = names.map((name) => sectionOf(name, "test/door", {}, []));
    const top = sectionOf("v-dht", "cluster/distribute", options, names);
    const graph = await startGraph([...doors, top].join("\n"), { env: this.env, definitions: [door] });
    this.#others.push(graph);
    return new Session(graph.top);
  }

  /** Names `prefix0`, `prefix1` ... until one belongs to that child. */
  async nameOn(child: number, prefix: string, parent: Inode = this.session.root): Promise<string> {
    const { set } = this.distribute;
    await this.session.top.lookup(this.session.call, { loc: { inode: parent } });
    const { layout } = set.states.of(parent);
    for (let index = 0; index < 10_000; index++) {
      const name = `${prefix}${index}`;
      if (set.childFor(layout!, name) === child) return name;
    }
    throw new Error(`no name belongs to child ${child}: ${layout}`);
  }

  /** A file whose data is on that child, wherever its name belongs. */
  async fileOn(child: number, name: string, content: string, parent?: Inode): Promise<Inode> {
    const fd = await this.session.create(
      `${name}@v-dht:${this.distribute.set.names[child]}`,
      parent ? { parent } : {},
    );
    await this.session.write(fd, content);
    await this.session.close(fd);
    return fd.inode;
  }

  /** By brick. */
  async shown(name: string, parents: readonly Inode[] | Inode = this.session.root): Promise<Shown[]> {
    const shown: Shown[] = [];
    for (const index of this.wires.keys())
      shown.push(
        await this.shownOn(index, name, Array.isArray(parents) ? parents[index]! : (parents as Inode)),
      );
    return shown;
  }

  async shownOn(index: number, name: string, parent: Inode = this.session.root): Promise<Shown> {
    try {
      const xdata = new Dict().setInt(LINKTO, 256);
      const brick = this.brick(index);
      const { stat, xdata: found } = await brick.lookup(name, parent, xdata);
      const to = found?.text(LINKTO);
      if (to !== undefined) return `link to ${this.distribute.set.childNamed(to)}`;
      return (stat.mode & S_IFMT) === S_IFREG ? "data" : "directory";
    } catch (error) {
      if (error instanceof FopError && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** An xattr of an inode on each brick, in hex; undefined where there is none. */
  async xattrs(inode: Inode, name: string): Promise<(string | undefined)[]> {
    return Promise.all(
      [...this.wires.keys()].map(async (index) => {
        try {
          return (await this.brick(index).getxattr(inode, name)).toString("hex");
        } catch {
          return undefined;
        }
      }),
    );
  }

  /** Which hashes belong to each child, in hex: a directory's layout without what tells versions apart. */
  async ranges(directory: Inode): Promise<(string | undefined)[]> {
    return (await this.xattrs(directory, LAYOUT)).map((piece) => piece?.slice(16));
  }

  clearCalls(): void {
    for (const wire of this.wires) wire.calls.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const wire of this.wires) if (wire.isCut) wire.mend();
    for (const graph of this.#others) await graph[Symbol.asyncDispose]();
    await this.session.end();
    await this.graph[Symbol.asyncDispose]();
  }
}

function volfile(
  count: number,
  options: Readonly<Record<string, string>>,
  capacities: readonly number[],
): string {
  const clients = range(count).map((index) => `v-client-${index}`);
  const bricks = range(count).flatMap((index) => {
    const capacity = capacities[index];
    const given: Record<string, string> = capacity === undefined ? {} : { capacity: String(capacity) };
    return [
      sectionOf(`disk-${index}`, "storage/memory", given, []),
      sectionOf(`locks-${index}`, "features/locks", {}, [`disk-${index}`]),
      sectionOf(`errors-${index}`, "debug/error-gen", { failure: "0" }, [`locks-${index}`]),
      sectionOf(`v-client-${index}`, "test/wire", {}, [`errors-${index}`]),
    ];
  });
  return [...bricks, sectionOf("v-dht", "cluster/distribute", options, clients)].join("\n");
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
