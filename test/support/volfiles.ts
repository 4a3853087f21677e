/**
 * Volfiles of end-to-end tests, written by hand in the shape that glusterd gives them: one brick, its server
 * graph, and the client graph over it. The same text serves both makes of brick and of client.
 */

import { join } from "node:path";

/** Where a brick listens. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

export interface BrickVolfile {
  /** The brick's directory, which is also its name on the wire. */
  readonly directory: string;
  readonly volumeId: string;
  readonly address: Address;
  /** More `option` lines of storage/posix and of protocol/server, "key value". */
  readonly posix?: readonly string[];
  readonly server?: readonly string[];
  /** The brick is a copy of a replicated volume. */
  readonly copyOf?: CopyOf;
}

/** What a brick of a replicated volume knows of it. */
export interface CopyOf {
  /** Name of the volume: pending xattrs begin with `trusted.afr.NAME-`. */
  readonly name: string;
  /** Names and marks, no data. */
  readonly arbiter: boolean;
}

/**
 * A brick's server graph: the layers of glusterd's own file that do something for a plain or a replicated
 * volume.
 */
export function brickVolfile(brick: BrickVolfile): string {
  const { directory, address } = brick;
  const access = brick.server ?? [`auth.addr.${directory}.allow *`];
  const { copyOf } = brick;
  const arbiter = copyOf?.arbiter ? [section("vol-arbiter", "features/arbiter", [], "vol-posix")] : [];
  return [
    section("vol-posix", "storage/posix", [
      `directory ${directory}`,
      `volume-id ${brick.volumeId}`,
      ...(brick.posix ?? []),
    ]),
    ...arbiter,
    section(
      "vol-access-control",
      "features/access-control",
      [],
      copyOf?.arbiter ? "vol-arbiter" : "vol-posix",
    ),
    section("vol-locks", "features/locks", ["enforce-mandatory-lock off"], "vol-access-control"),
    section("vol-io-threads", "performance/io-threads", [], "vol-locks"),
    ...(copyOf
      ? [section("vol-index", "features/index", indexOptions(copyOf, directory), "vol-io-threads")]
      : []),
    section(
      directory,
      "debug/io-stats",
      [`volume-id ${brick.volumeId}`, `unique-id ${directory}`],
      copyOf ? "vol-index" : "vol-io-threads",
    ),
    section(
      "vol-server",
      "protocol/server",
      [...listenOptions(address), `auth-path ${directory}`, ...access],
      directory,
    ),
  ].join("\n");
}

export interface ClientVolfile {
  /** Name of the brick on the wire: its directory. */
  readonly directory: string;
  readonly address: Address;
  /** More `option` lines of protocol/client, "key value". */
  readonly client?: readonly string[];
}

/** A client graph without caches: what is written through one client is seen by the others at once. */
export function clientVolfile(volume: ClientVolfile): string {
  const { directory, address } = volume;
  return [
    section("vol-client-0", "protocol/client", [
      ...connectOptions(address),
      `remote-subvolume ${directory}`,
      ...(volume.client ?? []),
    ]),
    section("vol-utime", "features/utime", ["noatime on"], "vol-client-0"),
    section("vol", "debug/io-stats", ["log-level WARNING"], "vol-utime"),
  ].join("\n");
}

/** A volume without a wire: the client graph ends in the brick itself. */
export function embeddedVolfile(directory: string, posix: readonly string[] = []): string {
  return [
    section("vol-posix", "storage/posix", [`directory ${directory}`, ...posix]),
    section("vol-locks", "features/locks", [], "vol-posix"),
    section("vol", "debug/io-stats", [], "vol-locks"),
  ].join("\n");
}

function indexOptions(copyOf: CopyOf, directory: string): string[] {
  return [
    `index-base ${join(directory, ".glusterfs/indices")}`,
    "xattrop-dirty-watchlist trusted.afr.dirty",
    `xattrop-pending-watchlist trusted.afr.${copyOf.name}-`,
  ];
}

function listenOptions(address: Address): string[] {
  if ("path" in address)
    return [
      ...["transport-type unix", "transport.address-family unix"],
      `transport.socket.listen-path ${address.path}`,
    ];
  return [
    ...tcpOptions(address.host),
    `transport.socket.bind-address ${address.host}`,
    `transport.socket.listen-port ${address.port}`,
  ];
}

/** How a protocol/client finds its brick. */
export function connectOptions(address: Address): string[] {
  if ("path" in address)
    return [
      ...["transport-type unix", "transport.address-family unix"],
      `transport.socket.connect-path ${address.path}`,
      // GlusterFS wants a host here too, and does not look at it.
      "remote-host localhost",
    ];
  return [...tcpOptions(address.host), `remote-host ${address.host}`, `remote-port ${address.port}`];
}

function tcpOptions(host: string): string[] {
  return ["transport-type tcp", `transport.address-family ${host.includes(":") ? "inet6" : "inet"}`];
}

/** One volume of a volfile; `options` are "key value". */
export function section(
  name: string,
  type: string,
  options: readonly string[],
  ...subvolumes: string[]
): string {
  const below = subvolumes.length > 0 ? [`    subvolumes ${subvolumes.join(" ")}`] : [];
  return [
    `volume ${name}`,
    `    type ${type}`,
    ...options.map((option) => `    option ${option}`),
    ...below,
    "end-volume",
    "",
  ].join("\n");
}

/** The same from options by key; values are quoted. */
export function sectionOf(
  name: string,
  type: string,
  options: Readonly<Record<string, string>>,
  below: readonly string[] = [],
): string {
  const lines = Object.entries(options).map(([key, value]) => `${key} "${value}"`);
  return section(name, type, lines, ...below);
}
