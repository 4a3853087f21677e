/**
 * Names in the root that heals use and clients never see: the landfill of old releases, and the directory in
 * which removed entries wait (spec translators.md 4.9).
 */

import type { ReplicaSet } from "./replica-set.ts";

const LANDFILL = ".landfill";
const ANONYMOUS_PREFIX = ".glusterfs-anonymous-inode";
const PID = { GEO_REPLICATION: -1, SELF_HEAL: -6, HEAL_TOOL: -7 } as const;

/** Name of the directory in which removed entries wait for the set's volume. */
export function anonymousDirectory(volumeId: string): string {
  return `${ANONYMOUS_PREFIX}-${volumeId}`;
}

/**
 * Whether callers with this pid do not see a name of the root. Geo-replication sees the anonymous ones, for
 * they are in its log; heals see those of other volumes.
 */
export function isPrivateName(set: ReplicaSet, name: string, pid: number): boolean {
  if (name === LANDFILL) return true;
  if (pid === PID.GEO_REPLICATION) return false;
  if (pid === PID.SELF_HEAL || pid === PID.HEAL_TOOL)
    return name === anonymousDirectory(set.options["volume-id"]);
  return name.startsWith(ANONYMOUS_PREFIX);
}
