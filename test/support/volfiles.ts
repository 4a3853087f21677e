/**
 * Volfiles of end-to-end tests, written by hand in the shape that glusterd gives them: one brick, its server
 * graph, and the client graph over it. The same text serves both makes of brick and of client.
 */

export interface BrickVolfile {
  /** The brick's directory, which is also its name on the wire. */
  readonly directory: string;
  readonly volumeId: string;
  readonly host?: string;
  readonly port: number;
  /** More `option` lines of storage/posix and of protocol/server, "key value". */
  readonly posix?: readonly string[];
  readonly server?: readonly string[];
}

/** A brick's server graph: the layers of glusterd's own file that do something for a plain volume. */
export function brickVolfile(brick: BrickVolfile): string {
  const { directory, host = "127.0.0.1", port } = brick;
  const access = brick.server ?? [`auth.addr.${directory}.allow *`];
  return [
    section("vol-posix", "storage/posix", [
      `directory ${directory}`,
      `volume-id ${brick.volumeId}`,
      ...(brick.posix ?? []),
    ]),
    section("vol-access-control", "features/access-control", [], "vol-posix"),
    section("vol-locks", "features/locks", ["enforce-mandatory-lock off"], "vol-access-control"),
    section("vol-io-threads", "performance/io-threads", [], "vol-locks"),
    section(
      directory,
      "debug/io-stats",
      [`volume-id ${brick.volumeId}`, `unique-id ${directory}`],
      "vol-io-threads",
    ),
    section(
      "vol-server",
      "protocol/server",
      [
        "transport-type tcp",
        "transport.address-family inet",
        `transport.socket.bind-address ${host}`,
        `transport.socket.listen-port ${port}`,
        `auth-path ${directory}`,
        ...access,
      ],
      directory,
    ),
  ].join("\n");
}

export interface ClientVolfile {
  /** Name of the brick on the wire: its directory. */
  readonly directory: string;
  readonly host?: string;
  readonly port: number;
  /** More `option` lines of protocol/client, "key value". */
  readonly client?: readonly string[];
}

/** A client graph without caches: what is written through one client is seen by the others at once. */
export function clientVolfile(volume: ClientVolfile): string {
  const { directory, host = "127.0.0.1", port } = volume;
  return [
    section("vol-client-0", "protocol/client", [
      "transport-type tcp",
      "transport.address-family inet",
      `remote-host ${host}`,
      `remote-port ${port}`,
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
