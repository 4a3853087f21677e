/**
 * Client volfiles of replicated volumes, written by hand in the shape that glusterd gives them: the graph of
 * a mount and the graph of a heal daemon, for both makes alike.
 *
 * Source: `xlators/mgmt/glusterd/src/glusterd-volgen.c`, seen on a volume of GlusterFS 10.3.
 */

import { type Address, connectOptions, section } from "./volfiles.ts";

export interface ReplicaVolfile {
  readonly name: string;
  readonly volumeId: string;
  readonly copies: readonly { readonly directory: string; readonly address: Address }[];
  /** The last copy is an arbiter. */
  readonly arbiter?: boolean;
  /** More `option` lines of cluster/replicate and of protocol/client, "key value"; they win. */
  readonly replicate?: readonly string[];
  readonly client?: readonly string[];
  /** Files are cut into blocks of this size. */
  readonly shardBlockSize?: string;
}

/** Instance name of the replicate translator, which is also the domain of its locks. */
export function replicateName(volume: string): string {
  return `${volume}-replicate-0`;
}

/** What a mount runs, without caches: what is written through one mount is seen by the others at once. */
export function replicaVolfile(volume: ReplicaVolfile): string {
  const { name, shardBlockSize } = volume;
  const blocks = [`shard-block-size ${shardBlockSize}`];
  const shard = section(`${name}-shard`, "features/shard", blocks, replicateName(name));
  const below = shardBlockSize === undefined ? replicateName(name) : `${name}-shard`;
  return [
    ...clients(volume),
    replicate(volume, []),
    ...(shardBlockSize === undefined ? [] : [shard]),
    section(`${name}-utime`, "features/utime", ["noatime on"], below),
    section(name, "debug/io-stats", ["log-level WARNING"], `${name}-utime`),
  ].join("\n");
}

/** What a mount of a sharded volume with `group virt` runs; of one copy there is nothing to replicate. */
export function virtVolfile(volume: ReplicaVolfile): string {
  const { name, copies, shardBlockSize } = volume;
  const layers: readonly (readonly [suffix: string, type: string, options: readonly string[]])[] = [
    ["dht", "cluster/distribute", ["lookup-optimize off"]],
    ["shard", "features/shard", shardBlockSize === undefined ? [] : [`shard-block-size ${shardBlockSize}`]],
    ["utime", "features/utime", ["noatime on"]],
    ["write-behind", "performance/write-behind", ["strict-O_DIRECT on"]],
    ["open-behind", "performance/open-behind", []],
    ["md-cache", "performance/md-cache", []],
  ];
  const sections: string[] = [];
  let below = copies.length > 1 ? replicateName(name) : clientName(name, 0);
  for (const [suffix, type, options] of layers) {
    sections.push(section(`${name}-${suffix}`, type, [...options], below));
    below = `${name}-${suffix}`;
  }
  const virt = { ...volume, replicate: ["eager-lock enable", "quorum-type auto", "choose-local off"] };
  return [
    ...clients(volume),
    ...(copies.length > 1 ? [replicate(virt, [])] : []),
    ...sections,
    section(name, "debug/io-stats", ["log-level WARNING"], below),
  ].join("\n");
}

/** What glustershd runs. */
export function healVolfile(volume: ReplicaVolfile): string {
  const { name } = volume;
  const heals = [
    "iam-self-heal-daemon yes",
    "self-heal-daemon enable",
    ...["data-self-heal on", "metadata-self-heal on", "entry-self-heal on"],
    "background-self-heal-count 0",
  ];
  return [
    ...clients(volume),
    replicate(volume, heals),
    section(name, "debug/io-stats", ["log-level WARNING"], replicateName(name)),
  ].join("\n");
}

function clients({ name, copies, client = [] }: ReplicaVolfile): string[] {
  return copies.map(({ directory, address }, index) =>
    section(clientName(name, index), "protocol/client", [
      ...connectOptions(address),
      `remote-subvolume ${directory}`,
      ...client,
    ]),
  );
}

function replicate(volume: ReplicaVolfile, more: readonly string[]): string {
  const { name, copies } = volume;
  const names = copies.map((_, index) => clientName(name, index));
  const options = [
    `afr-pending-xattr ${names.join(",")}`,
    `volume-id ${volume.volumeId}`,
    ...(volume.arbiter ? ["arbiter-count 1"] : []),
    "granular-entry-heal on",
    "use-anonymous-inode yes",
    ...more,
    ...(volume.replicate ?? []),
  ];
  return section(replicateName(name), "cluster/replicate", options, ...names);
}

function clientName(volume: string, index: number): string {
  return `${volume}-client-${index}`;
}
