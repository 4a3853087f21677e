/**
 * A brick process: a server graph from a volfile, serving until it is told to stop.
 *
 * The top of the graph must be protocol/server. `listen` takes the place of the address in the volfile, as
 * glusterd starts bricks with the port outside of it.
 */

import { isIPv6 } from "node:net";
import { type OpenOptions, readVolfile, startVolfile } from "../api/open.ts";
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

/** Starts the graph of a brick; resolves when it listens. Rejects with UserError. */
export async function startBrick(
  volfilePath: string,
  options: OpenOptions & { readonly listen?: ListenAddress },
): Promise<Graph> {
  const volfile = await readVolfile(volfilePath);
  const { top } = linkVolfile(volfile, options.top);
  if (top.type !== "protocol/server")
    throw new UserError(
      `${volfilePath}:${top.line}: volume "${top.name}": a brick's top is protocol/server, this is ${top.type}`,
    );
  const listening = options.listen ? withOptions(volfile, top.name, listenOptions(options.listen)) : volfile;
  return startVolfile(listening, options);
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
