/**
 * `mortar graph`: what a volume is made of. The graph is built, which checks everything, and never started.
 */

import { REGISTRY } from "../../xlators/registry.ts";
import { loadVolfile } from "../api/open.ts";
import { parseSource } from "../api/source.ts";
import { nodeEnv } from "../core/env-node.ts";
import { UserError } from "../core/errors.ts";
import { SILENT } from "../core/log.ts";
import { buildGraph, type Graph } from "../graph/graph.ts";
import { describeGraph, describeTypes, type GraphFormat, renderGraph } from "./graph-view.ts";

export interface GraphFlags {
  readonly format: GraphFormat;
  readonly volumeName?: string;
  readonly volfileId?: string;
  readonly types?: boolean;
}

export async function graphCommand(source: string | undefined, flags: GraphFlags): Promise<void> {
  if (flags.types) {
    process.stdout.write(describeTypes(REGISTRY, flags.format));
    return;
  }
  if (source === undefined)
    throw new UserError("graph: a SOURCE is missing; `mortar graph --help` tells more");
  const graph = await graphOf(source, flags);
  process.stdout.write(renderGraph(describeGraph(graph), flags.format));
}

async function graphOf(text: string, flags: GraphFlags): Promise<Graph> {
  const source = parseSource(text);
  const asked =
    source.kind === "server" && flags.volfileId !== undefined
      ? { ...source, volume: flags.volfileId }
      : source;
  const volfile = await loadVolfile(asked);
  return buildGraph(volfile, {
    registry: REGISTRY,
    env: nodeEnv(SILENT),
    ...(flags.volumeName === undefined ? {} : { top: flags.volumeName }),
  });
}
