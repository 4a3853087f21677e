/**
 * A brick process: server graphs, each from a volfile, serving until they are told to stop.
 *
 * The top of a graph must be protocol/server. `listen` takes the place of the address in the volfile, as
 * glusterd starts bricks with the port outside of it.
 */

import { isIPv6 } from "node:net";
import { type OpenOptions, startVolfile } from "../api/open.ts";
import { readVolfile } from "../api/volfile-file.ts";
import type { Env } from "../core/env.ts";
import { UserError } from "../core/errors.ts";
import type { Graph } from "../graph/graph.ts";
import { linkVolfile } from "../graph/link.ts";
import { withOptions } from "../graph/volfile.ts";

/** Where a brick listens. */
export type ListenAddress =
  | { readonly kind: "tcp"; readonly host: string | undefined; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** `HOST:PORT`, `[V6]:PORT`, `:PORT`, `PORT` or `unix:PATH`. Throws UserError. */
export function parseListen(text: string): ListenAddress {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path.startsWith("/")) return { kind: "unix", path };
    throw new UserError(`listen "${text}": unix: needs an absolute path`);
  }
  const match = /^(?:(?:\[([^\]]+)\]|([^:[\]]*)):)?(\d+)$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65535)
    throw new UserError(`listen "${text}": is not HOST:PORT, [IPV6]:PORT, PORT or unix:PATH`);
  return { kind: "tcp", host: match[1] ?? (match[2] || undefined), port };
}

/** One brick's volfile, and the world its graph runs in. */
export interface BrickSource {
  readonly path: string;
  readonly env: Env;
}

type BrickOptions = Omit<OpenOptions, "env"> & { readonly listen?: ListenAddress };

/**
 * Starts the graphs of bricks, one after the other; resolves when all listen. Rejects with UserError when one
 * does not start, and none runs then.
 */
export async function startBricks(bricks: readonly BrickSource[], options: BrickOptions): Promise<Graph[]> {
  const graphs: Graph[] = [];
  try {
    for (const brick of bricks) graphs.push(await startBrick(brick, options));
    return graphs;
  } catch (error) {
    await Promise.all(graphs.map((graph) => graph.stop()));
    throw error;
  }
}

async function startBrick({ path, env }: BrickSource, options: BrickOptions): Promise<Graph> {
  const volfile = await readVolfile(path);
  const { top } = linkVolfile(volfile, options.top);
  if (top.type !== "protocol/server")
    throw new UserError(
      `${path}:${top.line}: volume "${top.name}": a brick's top is protocol/server, this is ${top.type}`,
    );
  const listening = options.listen ? withOptions(volfile, top.name, listenOptions(options.listen)) : volfile;
  return startVolfile(listening, { ...options, env });
}

function listenOptions(listen: ListenAddress): Readonly<Record<string, string>> {
  if (listen.kind === "unix")
    return {
      "transport-type": "unix",
      "transport.address-family": "unix",
      "transport.socket.listen-path": listen.path,
    };
  return {
    "transport-type": "tcp",
    ...(listen.host === undefined ? {} : { "transport.socket.bind-address": listen.host }),
    ...(listen.host === undefined
      ? {}
      : { "transport.address-family": isIPv6(listen.host) ? "inet6" : "inet" }),
    "transport.socket.listen-port": String(listen.port),
  };
}
