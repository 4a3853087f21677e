/**
 * Another client of the bricks of a Copies: a graph of its own, whose calls the bricks tell from the first's.
 */

import type { Call } from "../../../../src/core/call.ts";
import type { Args, FopName, Reply } from "../../../../src/core/fops.ts";
import {
  defineXlator,
  exactly,
  type ParentEvent,
  wind,
  type XlatorInit,
} from "../../../../src/core/xlator.ts";
import { Around } from "../../../../xlators/debug/around.ts";
import { type StartedGraph, startGraph } from "../../../support/build-graph.ts";
import { Session } from "../../../support/session.ts";
import type { Copies } from "./three-copies.ts";

/** Leads to a brick of another graph; that graph starts and stops it. */
class Door extends Around {
  readonly calls: FopName[] = [];

  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-up") this.notifyParents({ type: "child-up" });
  }

  protected override around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    this.calls.push(fop);
    return wind(this.child, fop, { ...call, client: { id: "second", opVersion: 100_000 } }, args);
  }
}

export class SecondClient implements AsyncDisposable {
  readonly graph: StartedGraph;
  readonly session: Session;
  readonly doors: readonly Door[];

  private constructor(graph: StartedGraph, copies: Copies) {
    this.graph = graph;
    this.session = new Session(graph.top);
    this.doors = copies.wires.map((_, index) => graph.xlator<Door>(`v-client-${index}`));
  }

  static async start(copies: Copies, options: Readonly<Record<string, string>> = {}): Promise<SecondClient> {
    const names = copies.wires.map((_, index) => `v-client-${index}`);
    const definition = defineXlator({
      type: "test/door",
      children: exactly(0),
      options: {},
      create: (init) => {
        const brick = copies.graph.xlator(init.name.replace("v-client", "index"));
        return new Door({ ...init, children: [brick] } as XlatorInit<Record<never, never>>);
      },
    });
    const doors = names.map((name) => `volume ${name}\ntype test/door\nend-volume\n`);
    const given = Object.entries({ "afr-pending-xattr": names.join(","), ...options });
    const lines = given.map(([key, value]) => `option ${key} "${value}"\n`).join("");
    const top = `volume v-replicate-0\ntype cluster/replicate\n${lines}subvolumes ${names.join(" ")}\nend-volume\n`;
    const started = { env: copies.env, definitions: [definition] };
    return new SecondClient(await startGraph(doors.join("") + top, started), copies);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session.end();
    await this.graph[Symbol.asyncDispose]();
  }
}
