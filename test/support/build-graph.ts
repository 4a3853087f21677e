/**
 * A started graph from volfile text in one call, for tests of translators (design shape.md 7). `await using` stops it.
 */

import type { Env } from "../../src/core/env.ts";
import { nodeEnv } from "../../src/core/env-node.ts";
import { SILENT } from "../../src/core/log.ts";
import type { XlatorBase, XlatorDefinition } from "../../src/core/xlator.ts";
import { buildGraph, type Graph } from "../../src/graph/graph.ts";
import { parseVolfile } from "../../src/graph/volfile.ts";
import { REGISTRY } from "../../xlators/registry.ts";

export interface StartedGraph extends AsyncDisposable {
  readonly graph: Graph;
  readonly top: XlatorBase;
  /** A translator by its instance name; throws when there is none. */
  xlator<T extends XlatorBase = XlatorBase>(name: string): T;
}

/** A graph that has no answer from below after this long will never have one. */
const START_TIMEOUT_MS = 10_000;

/**
 * Builds and starts. `definitions` replace types of the registry (a memory brick on a given disk, a translator of the test's own);
 * without `env` the real clock runs and the log is dropped.
 */
export async function startGraph(
  volfile: string,
  { env = nodeEnv(SILENT), definitions = [] }: { env?: Env; definitions?: readonly XlatorDefinition[] } = {},
): Promise<StartedGraph> {
  const registry = new Map([...REGISTRY, ...definitions.map((one) => [one.type, one] as const)]);
  const graph = buildGraph(parseVolfile(volfile, "test.vol"), { registry, env });
  await graph.start({ timeoutMs: START_TIMEOUT_MS });
  return {
    graph,
    top: graph.top,
    xlator<T extends XlatorBase>(name: string): T {
      const found = graph.xlators.find((xlator) => xlator.name === name);
      if (!found) throw new Error(`the graph has no "${name}"`);
      return found as T;
    },
    [Symbol.asyncDispose]: () => graph.stop(),
  };
}

/** One layer of `stack`. */
export interface Layer {
  readonly name: string;
  readonly type: string;
  readonly options?: Readonly<Record<string, string>>;
}

/** Volfile text of a graph without branches; the first layer stands at the bottom. */
export function stack(...layers: readonly Layer[]): string {
  return layers
    .map(({ name, type, options = {} }, index) => {
      const lines = [`volume ${name}`, `    type ${type}`];
      for (const [key, value] of Object.entries(options)) lines.push(`    option ${key} "${value}"`);
      if (index > 0) lines.push(`    subvolumes ${layers[index - 1]!.name}`);
      return [...lines, "end-volume", ""].join("\n");
    })
    .join("\n");
}
