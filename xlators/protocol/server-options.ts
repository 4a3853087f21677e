/**
 * Options of protocol/server, spelled as GlusterFS spells them (translators.md 8.4; GlusterFS
 * xlators/protocol/server/src/server.c).
 *
 * Keys with names inside (`auth.addr.<brick>.allow`, `auth.login.<user>.password` ...) cannot be in a table:
 * server-auth.ts reads them from the section's text.
 */

import { UserError } from "../../src/core/errors.ts";
import { INODE_LRU_LIMIT } from "../../src/core/inode.ts";
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
import type { ListenTarget } from "../../src/rpc/transport.ts";

const NOBODY = 65534;
const IDS = { min: 0, max: 2 ** 32 - 1 };

export const SERVER_OPTIONS = {
  "transport-type": choice(["tcp", "socket", "unix", "rdma", "tcp,rdma"], {
    default: "tcp",
    describe: "tcp (also called socket) or unix; rdma is refused.",
  }),
  "transport.address-family": choice(["inet", "inet6", "unix", "inet/inet6"], {
    default: "inet",
    aliases: ["address-family"],
    describe: "Which kind of address to listen on when no bind address says it.",
  }),
  "transport.socket.listen-port": int({
    default: GLUSTERD_PORT,
    min: 0,
    max: 65535,
    aliases: ["listen-port"],
    describe: "TCP port; 0: any free one.",
  }),
  "transport.socket.bind-address": string({
    default: "",
    aliases: ["bind-address"],
    describe: "Address to listen on; none: all.",
  }),
  "transport.socket.listen-path": path({
    default: "",
    aliases: ["listen-path", "transport.unix.listen-path"],
    describe: "Unix socket to listen on.",
  }),
  "transport.listen-backlog": int({
    default: 1024,
    min: 0,
    describe: "Connections that wait to be taken.",
    unused: "Node's own is 511",
  }),
  "transport.socket.ssl-enabled": bool({ default: false, describe: "TLS; not built, on is refused." }),
  "transport.socket.keepalive": bool({
    default: true,
    describe: "Probes of idle connections.",
    unused: "they are always on",
  }),
  "transport.socket.keepalive-time": int({
    default: 20,
    min: 0,
    max: 32767,
    volumeKey: "server.keepalive-time",
    describe: "Seconds without traffic before the kernel probes a connection.",
  }),
  "transport.socket.keepalive-interval": int({
    default: 2,
    min: 0,
    max: 32767,
    volumeKey: "server.keepalive-interval",
    describe: "Seconds between probes.",
  }),
  "transport.socket.keepalive-count": int({
    default: 9,
    min: 0,
    max: 127,
    volumeKey: "server.keepalive-count",
    describe: "Probes without an answer before a connection is given up.",
  }),
  "transport.tcp-user-timeout": int({
    default: 42,
    min: 0,
    max: 1013,
    volumeKey: "server.tcp-user-timeout",
    describe: "Seconds that sent bytes may stay unacknowledged; 0: the system's.",
  }),
  "auth-path": string({
    default: "",
    describe: "Brick that clients are checked against.",
    unused: "clients name their brick",
  }),
  "rpc-auth-allow-insecure": bool({
    default: true,
    aliases: ["allow-insecure"],
    volumeKey: "server.allow-insecure",
    live: true,
    describe: "off: only clients from ports below 1024 are let in.",
  }),
  "strict-auth-accept": bool({
    default: false,
    live: true,
    describe: "Clients without the right user name and password are refused whatever their address.",
  }),
  "dynamic-auth": bool({
    default: true,
    volumeKey: "server.dynamic-auth",
    live: true,
    describe: "Rules of who may connect change for clients that are connected.",
    unused: "a connection is checked when it is made",
  }),
  "root-squash": bool({
    default: false,
    volumeKey: "server.root-squash",
    live: true,
    describe: "Root of a client is nobody here.",
  }),
  "all-squash": bool({
    default: false,
    volumeKey: "server.all-squash",
    live: true,
    describe: "Everyone is nobody here.",
  }),
  anonuid: int({
    ...IDS,
    default: NOBODY,
    volumeKey: "server.anonuid",
    live: true,
    describe: "Uid of nobody.",
  }),
  anongid: int({
    ...IDS,
    default: NOBODY,
    volumeKey: "server.anongid",
    live: true,
    describe: "Gid of nobody.",
  }),
  "manage-gids": bool({
    default: false,
    volumeKey: "server.manage-gids",
    describe: "Look groups up on the brick; not built, on is refused.",
  }),
  "gid-timeout": time({
    default: 300,
    volumeKey: "server.gid-timeout",
    describe: "How long groups that the brick looked up are trusted.",
    unused: "clients send the groups",
  }),
  "inode-lru-limit": int({
    default: INODE_LRU_LIMIT,
    min: 1,
    max: 1048576,
    volumeKey: "network.inode-lru-limit",
    describe: "How many inodes without an open file are remembered.",
  }),
  "rpc.outstanding-rpc-limit": int({
    default: 64,
    min: 0,
    max: 65536,
    volumeKey: "server.outstanding-rpc-limit",
    live: true,
    describe: "Calls in flight a client; above, it is not read. 0: no limit.",
  }),
  "event-threads": int({
    default: 2,
    min: 1,
    max: 1024,
    volumeKey: "server.event-threads",
    live: true,
    describe: "Threads for connections.",
    unused: "one event loop serves all connections",
  }),
} as const satisfies OptionTable;

export type ServerOptions = OptionValues<typeof SERVER_OPTIONS>;

/** Where to listen. Throws UserError when the options cannot work; its text follows the volume's name. */
export function listenTarget(options: ServerOptions): ListenTarget {
  const type = options["transport-type"];
  if (type === "rdma" || type === "tcp,rdma")
    throw new UserError(`option transport-type: "${type}": rdma left GlusterFS with version 8; use tcp`);
  if (options["transport.socket.ssl-enabled"])
    throw new UserError("option transport.socket.ssl-enabled: TLS is not built; switch server.ssl off");
  if (options["manage-gids"])
    throw new UserError("option manage-gids: looking groups up on the brick is not built; switch it off");
  const listenPath = options["transport.socket.listen-path"];
  const family = options["transport.address-family"];
  if (type === "unix" || family === "unix") {
    if (listenPath === "") throw new UserError("option transport.socket.listen-path is missing");
    return { kind: "unix", path: listenPath };
  }
  const everywhere = family === "inet" ? "0.0.0.0" : "::";
  return {
    kind: "tcp",
    host: options["transport.socket.bind-address"] || everywhere,
    port: options["transport.socket.listen-port"],
    tuning: {
      keepaliveTime: options["transport.socket.keepalive-time"],
      keepaliveInterval: options["transport.socket.keepalive-interval"],
      keepaliveCount: options["transport.socket.keepalive-count"],
      userTimeout: options["transport.tcp-user-timeout"],
    },
  };
}
