/**
 * Options of protocol/client, spelled as GlusterFS spells them (translators.md 8.1; GlusterFS
 * xlators/protocol/client/src/client.c and rpc/rpc-transport/socket/src/socket.c).
 */

import { UserError } from "../../src/core/errors.ts";
import {
  bool,
  choice,
  int,
  type OptionTable,
  type OptionValues,
  path,
  string,
  time,
} from "../../src/core/options.ts";
import { GLUSTERD_PORT } from "../../src/rpc/glusterd.ts";
import type { ConnectTarget, TcpTuning } from "../../src/rpc/transport.ts";

export const CLIENT_OPTIONS = {
  "remote-host": string({ default: "", describe: "Name or address of the brick's server." }),
  "remote-port": int({
    default: 0,
    min: 0,
    max: 65535,
    aliases: ["transport.remote-port", "transport.socket.remote-port"],
    describe: "Port of the brick; 0: ask the server's glusterd.",
  }),
  "remote-subvolume": string({ default: "", describe: "Path of the brick, which is its name there." }),
  "transport-type": choice(["tcp", "socket", "unix", "tcp/client", "rdma", "ib-verbs", "ib-sdp"], {
    default: "tcp",
    describe: "tcp (also called socket) or unix; rdma is refused.",
  }),
  "transport.address-family": choice(["inet", "inet6", "unix", "inet/inet6"], {
    default: "inet/inet6",
    aliases: ["address-family"],
    describe: "Which addresses of the host to use.",
  }),
  "transport.socket.connect-path": path({
    default: "",
    aliases: ["connect-path", "transport.unix.connect-path"],
    describe: "Unix socket of the brick.",
  }),
  "transport.socket.source-addr": string({ default: "", describe: "Local address to connect from." }),
  "transport.socket.ssl-enabled": bool({ default: false, describe: "TLS; not built, on is refused." }),
  "transport.socket.keepalive-time": int({
    default: 20,
    min: 0,
    max: 32767,
    volumeKey: "client.keepalive-time",
    describe: "Seconds without traffic before the kernel probes the connection.",
  }),
  "transport.socket.keepalive-interval": int({
    default: 2,
    min: 0,
    max: 32767,
    volumeKey: "client.keepalive-interval",
    describe: "Seconds between probes.",
  }),
  "transport.socket.keepalive-count": int({
    default: 9,
    min: 0,
    max: 127,
    volumeKey: "client.keepalive-count",
    describe: "Probes without an answer before the connection is given up.",
  }),
  "transport.tcp-user-timeout": int({
    default: 0,
    min: 0,
    max: 1013,
    volumeKey: "client.tcp-user-timeout",
    describe: "Seconds that sent bytes may stay unacknowledged; 0: the system's.",
  }),
  "client-bind-insecure": bool({
    default: true,
    volumeKey: "client.bind-insecure",
    describe: "off: connect from a port below 1024, if allowed to.",
  }),
  "ping-timeout": time({
    default: 42,
    min: 0,
    max: 1013,
    volumeKey: "network.ping-timeout",
    live: true,
    describe: "A brick silent for so long with calls outstanding counts as gone; 0: never.",
  }),
  "frame-timeout": time({
    default: 1800,
    min: 0,
    max: 86400,
    aliases: ["rpc-timeout"],
    volumeKey: "network.frame-timeout",
    live: true,
    describe: "A call without an answer for so long fails with ENOTCONN; blocking locks wait on.",
  }),
  "filter-O_DIRECT": bool({
    default: false,
    volumeKey: "network.remote-dio",
    live: true,
    describe: "Hide O_DIRECT from the brick, so that it may cache.",
  }),
  "send-gids": bool({
    default: true,
    volumeKey: "client.send-gids",
    live: true,
    describe: "Send the caller's auxiliary groups; off: the primary one only.",
  }),
  "strict-locks": bool({
    default: false,
    volumeKey: "client.strict-locks",
    live: true,
    describe: "After a reconnect do not open files again that held locks.",
  }),
  username: string({ default: "", describe: "Name to show to the brick." }),
  password: string({ default: "", describe: "Password that goes with it." }),
  "subdir-mount": string({ default: "", describe: "Directory of the volume to take for its root." }),
  "event-threads": int({
    default: 2,
    min: 1,
    max: 32,
    volumeKey: "client.event-threads",
    live: true,
    describe: "Threads for connections.",
    unused: "one event loop serves all connections",
  }),
  "testing.old-protocol": bool({ default: false, describe: "The 3.3 protocol; not built, on is refused." }),
} as const satisfies OptionTable;

export type ClientOptions = OptionValues<typeof CLIENT_OPTIONS>;

/**
 * Where the first connection goes. Throws UserError when the options cannot work; its text follows the
 * volume's name.
 */
export function firstTarget(options: ClientOptions): ConnectTarget {
  if (options["remote-subvolume"] === "") throw new UserError("option remote-subvolume is missing");
  if (options["transport.socket.ssl-enabled"])
    throw new UserError(
      "option transport.socket.ssl-enabled: TLS is not built; switch client.ssl and server.ssl off",
    );
  if (options["testing.old-protocol"])
    throw new UserError("option testing.old-protocol: the 3.3 protocol is not built");
  const connectPath = options["transport.socket.connect-path"];
  switch (options["transport-type"]) {
    case "rdma":
    case "ib-verbs":
    case "ib-sdp":
      throw new UserError(
        `option transport-type: "${options["transport-type"]}" left GlusterFS with version 8; use tcp`,
      );
    case "unix":
      if (connectPath === "") throw new UserError("option transport.socket.connect-path is missing");
      return { kind: "unix", path: connectPath };
    default:
  }
  if (options["transport.address-family"] === "unix" || (connectPath !== "" && options["remote-host"] === ""))
    return { kind: "unix", path: connectPath };
  if (options["remote-host"] === "") throw new UserError("option remote-host is missing");
  return tcpTarget(options, options["remote-port"] || GLUSTERD_PORT);
}

export function tcpTarget(options: ClientOptions, port: number): ConnectTarget {
  const family = { inet: 4, inet6: 6 }[options["transport.address-family"] as string] as 4 | 6 | undefined;
  const tuning: TcpTuning = {
    ...(family && { family }),
    keepaliveTime: options["transport.socket.keepalive-time"],
    keepaliveInterval: options["transport.socket.keepalive-interval"],
    keepaliveCount: options["transport.socket.keepalive-count"],
    userTimeout: options["transport.tcp-user-timeout"],
    ...(options["transport.socket.source-addr"] !== "" && {
      sourceHost: options["transport.socket.source-addr"],
    }),
    privilegedPort: !options["client-bind-insecure"],
  };
  return { kind: "tcp", host: options["remote-host"], port, tuning };
}
