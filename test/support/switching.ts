/**
 * A live graph whose users never rest: before every few calls another graph takes over, with one layer more
 * or less. What holds for a graph must hold here too.
 */

import type { Call } from "../../src/core/call.ts";
import { nodeEnv } from "../../src/core/env-node.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { SILENT } from "../../src/core/log.ts";
import { wind } from "../../src/core/xlator.ts";
import { LiveGraph } from "../../src/graph/live-graph.ts";
import { SwitchBusy } from "../../src/graph/move-open.ts";
import { parseVolfile, type Volfile } from "../../src/graph/volfile.ts";
import { Around } from "../../xlators/debug/around.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { type Layer, type StartOptions, stack } from "./build-graph.ts";

/** Calls between two switches; no divisor of the steps that tests like to take. */
const EVERY = 3;

export class Switching extends Around implements AsyncDisposable {
  readonly live: LiveGraph;
  readonly #volfiles: readonly [Volfile, Volfile];
  #calls = 0;
  /** Switches that had to wait for somebody who waits for a lock. */
  refused = 0;

  private constructor(live: LiveGraph, volfiles: readonly [Volfile, Volfile]) {
    const env = nodeEnv(SILENT);
    super({
      name: "switching",
      type: "test/switching",
      options: {},
      rawOptions: new Map(),
      children: [live],
      env,
    });
    this.live = live;
    this.#volfiles = volfiles;
  }

  /** Starts with `layers`; `extra` comes and goes above them, below the top. */
  static async start(layers: readonly Layer[], extra: Layer, options: StartOptions = {}): Promise<Switching> {
    const { env = nodeEnv(SILENT), definitions = [] } = options;
    const registry = new Map([...REGISTRY, ...definitions.map((one) => [one.type, one] as const)]);
    const top: Layer = { name: "top", type: "debug/io-stats" };
    const without = parseVolfile(stack(...layers, top), "without.vol");
    const having = parseVolfile(stack(...layers, extra, top), "with.vol");
    return new Switching(await LiveGraph.start(without, { registry, env }), [without, having]);
  }

  protected override async around<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    if (++this.#calls % EVERY === 0) await this.#switch();
    return wind(this.child, fop, call, args);
  }

  async #switch(): Promise<void> {
    try {
      await this.live.take(this.#volfiles[(this.live.switches + 1) % 2]!);
    } catch (error) {
      if (!(error instanceof SwitchBusy)) throw error;
      this.refused++;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.live.stop();
  }
}
