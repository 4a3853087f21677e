/**
 * A started graph from volfile text in one call, for tests of translators (design shape.md 7). `await using`
 * stops it.
 */

import type { Env } from "../../src/core/env.ts";
import { nodeEnv } from "../../src/core/env-node.ts";
import { SILENT } from "../../src/core/log.ts";
import type { XlatorBase, XlatorDefinition } from "../../src/core/xlator.ts";
import { buildGraph, type Graph } from "../../src/graph/graph.ts";
import { parseVolfile, type Volfile, volfileSection } from "../../src/graph/volfile.ts";
import type { Contract } from "../../xlators/debug/contract.ts";
import { REGISTRY } from "../../xlators/registry.ts";

export interface StartedGraph extends AsyncDisposable {
  readonly graph: Graph;
  readonly top: XlatorBase;
  /** Rules between layers that were broken so far, with `contracts`. */
  breaches(): readonly string[];
  /** A translator by its instance name; throws when there is none. */
  xlator<T extends XlatorBase = XlatorBase>(name: string): T;
}

/** A graph that has no answer from below after this long will never have one. */
const START_TIMEOUT_MS = 10_000;

export interface StartOptions {
  /** Without it the real clock runs and the log is dropped. */
  readonly env?: Env;
  /** Replace types of the registry: a memory brick on a given disk, a translator of the test's own. */
  readonly definitions?: readonly XlatorDefinition[];
  /** Puts debug/contract between all layers and on top; the end of the graph throws when one was broken. */
  readonly contracts?: boolean;
  /** Name of the section at the top; the last one when absent. */
  readonly top?: string;
}

/** Builds and starts. */
export async function startGraph(volfile: string, options: StartOptions = {}): Promise<StartedGraph> {
  const { env = nodeEnv(SILENT), definitions = [], contracts = false, top } = options;
  const registry = new Map([...REGISTRY, ...definitions.map((one) => [one.type, one] as const)]);
  const parsed = parseVolfile(volfile, "test.vol");
  const graph = buildGraph(contracts ? withContracts(parsed) : parsed, {
    registry,
    env,
    ...(top ? { top } : {}),
  });
  await graph.start({ timeoutMs: START_TIMEOUT_MS });
  const guards = graph.xlators.filter(({ type }) => type === CONTRACT) as Contract[];
  const breaches = (): string[] => guards.flatMap((guard) => guard.breaches);
  return {
    graph,
    top: graph.top,
    xlator<T extends XlatorBase>(name: string): T {
      const found = graph.xlators.find((xlator) => xlator.name === name);
      if (!found) throw new Error(`the graph has no "${name}"`);
      return found as T;
    },
    breaches,
    async [Symbol.asyncDispose]() {
      await graph.stop();
      const broken = breaches();
      if (broken.length > 0) throw new Error(broken.join("\n"));
    },
  };
}

const CONTRACT = "debug/contract";
const SERVER = "protocol/server";

/**
 * The same graph with a contract above every section, but for protocol/server, which nobody calls, and for
 * its children, whose names are known on the wire.
 */
function withContracts(volfile: Volfile): Volfile {
  const guarded = new Set<string>();
  const servers = volfile.sections.filter(({ type }) => type === SERVER);
  const exported = new Set(servers.flatMap(({ subvolumes }) => subvolumes.map(({ name }) => name)));
  const sections = volfile.sections.flatMap((section) => {
    const subvolumes = section.subvolumes.map(({ name, line }) => ({
      name: guarded.has(name) ? guardOf(name) : name,
      line,
    }));
    const changed = { ...section, subvolumes };
    if (section.type === SERVER || exported.has(section.name)) return [changed];
    guarded.add(section.name);
    return [changed, volfileSection(guardOf(section.name), CONTRACT, {}, [section.name])];
  });
  return { ...volfile, sections };
}

function guardOf(name: string): string {
  return `${name}-contract`;
}

/** One layer of `stack`. */
export interface Layer {
  readonly name: string;
  readonly type: string;
  readonly options?: Readonly<Record<string, string>>;
}

/** Volfile text of a graph without branches; the first layer stands at the bottom. */
export function stack(...layers: readonly Layer[]): string {
  return sections(undefined, layers).join("\n");
}

/** The same without a bottom: the first layer stands on a volume that is there already. */
export function stackOn(below: string, layers: readonly Layer[]): string[] {
  return sections(below, layers);
}

function sections(below: string | undefined, layers: readonly Layer[]): string[] {
  return layers.map(({ name, type, options = {} }, index) => {
    const lines = [`volume ${name}`, `    type ${type}`];
    for (const [key, value] of Object.entries(options)) lines.push(`    option ${key} "${value}"`);
    const child = layers[index - 1]?.name ?? below;
    if (child !== undefined) lines.push(`    subvolumes ${child}`);
    return [...lines, "end-volume", ""].join("\n");
  });
}
