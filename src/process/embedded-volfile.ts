/**
 * The graphs of an embedded volume, written by code: what glusterd would write for the same bricks. Pure.
 */

import { join } from "node:path";
import { type Volfile, type VolfileSection, volfileSection } from "../graph/volfile.ts";
import type { BrickPlace } from "./embedded-bricks.ts";
import type { EmbeddedState, Layout } from "./embedded-state.ts";

/** What glusterd would write for one brick, both ends together and the wire left out. */
export function singleVolfile({ name, id }: EmbeddedState, brick: string, fileName: string): Volfile {
  const posix = volfileSection(`${name}-posix`, "storage/posix", { directory: brick, "volume-id": id });
  const locks = volfileSection(`${name}-locks`, "features/locks", {}, [posix.name]);
  const stats = volfileSection(name, "debug/io-stats", {}, [locks.name]);
  return { fileName, sections: [posix, locks, stats] };
}

export interface Replicated {
  readonly state: EmbeddedState;
  readonly layout: Layout;
  readonly places: readonly BrickPlace[];
  /** volume.json, for messages. */
  readonly file: string;
  /** Where other processes reach the bricks. */
  readonly socket?: string;
}

/** The same for three bricks with replicate above them, and a server beside it. */
export function replicatedVolfile(volume: Replicated): Volfile {
  const { state, places, file, socket } = volume;
  const { name } = state;
  const stacks = places.flatMap((place) => brickStack(volume, place));
  const directories = places.map(({ directory }) => directory);
  const replicate = volfileSection(
    `${name}-replicate-0`,
    "cluster/replicate",
    replicateOptions(volume),
    directories,
  );
  const above = stackAbove(volume, replicate.name, state.shardBlockSize === undefined ? [] : BUFFERS);
  const server = socket === undefined ? [] : [serverSection(state, directories, socket)];
  return { fileName: file, sections: [...stacks, ...server, replicate, ...above] };
}

/** What glusterd puts on a new volume besides, of those that the group virt leaves on. */
const BUFFERS = [
  ["write-behind", "performance/write-behind"],
  ["open-behind", "performance/open-behind"],
  ["md-cache", "performance/md-cache"],
] as const;

/** The sections from above the copies to the top. */
function stackAbove(
  { state }: Replicated,
  copies: string,
  buffers: readonly (readonly [suffix: string, type: string])[],
): VolfileSection[] {
  const { name, shardBlockSize } = state;
  const sections: VolfileSection[] = [];
  const add = (called: string, type: string, options: Readonly<Record<string, string>>): void => {
    sections.push(volfileSection(called, type, options, [sections.at(-1)?.name ?? copies]));
  };
  if (shardBlockSize !== undefined)
    add(`${name}-shard`, "features/shard", { "shard-block-size": shardBlockSize });
  add(`${name}-utime`, "features/utime", { noatime: "on" });
  for (const [suffix, type] of buffers) add(`${name}-${suffix}`, type, {});
  add(name, "debug/io-stats", {});
  return sections;
}

function replicateOptions({ state, layout, places }: Replicated): Readonly<Record<string, string>> {
  return {
    "afr-pending-xattr": places.map((place) => place.id).join(","),
    "volume-id": state.id,
    "granular-entry-heal": "on",
    "use-anonymous-inode": "on",
    ...(layout === "2+1" ? { "arbiter-count": "1" } : {}),
  };
}

/** The top of a brick has its directory for a name, as with GlusterFS. */
function brickStack({ state, layout, places }: Replicated, place: BrickPlace): VolfileSection[] {
  const { name, id } = state;
  const { directory, index } = place;
  const sections: VolfileSection[] = [];
  const add = (called: string, type: string, options: Readonly<Record<string, string>>): void => {
    const below = sections.at(-1);
    sections.push(volfileSection(called, type, options, below ? [below.name] : []));
  };
  const posix = { directory, "volume-id": id, "fips-mode-rchecksum": "on" };
  add(`${name}-posix-${index}`, "storage/posix", posix);
  const isArbiter = layout === "2+1" && index === places.length - 1;
  if (isArbiter) add(`${name}-arbiter-${index}`, "features/arbiter", {});
  add(`${name}-locks-${index}`, "features/locks", {});
  add(directory, "features/index", {
    "index-base": join(directory, ".glusterfs", "indices"),
    "xattrop-dirty-watchlist": "trusted.afr.dirty",
    "xattrop-pending-watchlist": `trusted.afr.${name}-`,
  });
  return sections;
}

export function serverName({ name }: EmbeddedState): string {
  return `${name}-server`;
}

/** Who may open the socket may do all: it lies in a directory that only its owner enters. */
function serverSection(state: EmbeddedState, directories: readonly string[], socket: string): VolfileSection {
  const allow = directories.map((directory) => [`auth.addr.${directory}.allow`, "*"] as const);
  const options = {
    "transport-type": "unix",
    "transport.address-family": "unix",
    "transport.socket.listen-path": socket,
    ...Object.fromEntries(allow),
  };
  return volfileSection(serverName(state), "protocol/server", options, directories);
}

/** For other processes of this host while this one runs: they keep nothing back. */
export function clientVolfile(volume: Replicated, socket: string): Volfile {
  const { state, places, file } = volume;
  const clients = places.map(({ id, directory }) =>
    volfileSection(id, "protocol/client", {
      "transport-type": "unix",
      "transport.address-family": "unix",
      "transport.socket.connect-path": socket,
      "remote-host": "localhost",
      "remote-subvolume": directory,
    }),
  );
  const names = clients.map((client) => client.name);
  const replicate = volfileSection(
    `${state.name}-replicate-0`,
    "cluster/replicate",
    replicateOptions(volume),
    names,
  );
  return { fileName: file, sections: [...clients, replicate, ...stackAbove(volume, replicate.name, [])] };
}
