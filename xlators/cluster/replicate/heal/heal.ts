/**
 * The doors to healing: an inode, a name, a look without healing (spec translators.md 4.8 to 4.11).
 *
 * Works on the children of a ReplicaSet directly, as the heal daemon's internal caller. Promises: a mark is
 * taken away only after every copy it speaks of is durable and equal, and by exactly the value that was read
 * under the lock; whatever interrupts a heal leaves marks that make the next one finish it.
 */

import type { Call } from "../../../../src/core/call.ts";
import type { Inode } from "../../../../src/core/inode.ts";
import type { ReplicaSet } from "../replica-set.ts";
import type { HealOptions, HealReport, Inspection, NameHeal } from "./report.ts";

/** Heals one inode: data, metadata, entry, in this order. Never rejects; bugs are logged and "failed". */
export async function healInode(
  set: ReplicaSet,
  inode: Inode,
  options: HealOptions = {},
): Promise<HealReport> {
  void set;
  void inode;
  void options;
  throw new Error("being written");
}

/** Looks without healing and without waiting for anybody's lock. Rejects with ENOTCONN when nobody answers. */
export async function inspectInode(set: ReplicaSet, inode: Inode): Promise<Inspection> {
  void set;
  void inode;
  throw new Error("being written");
}

/** Heals one name of a directory: makes it where it is missing, removes it where it should not be. */
export async function healName(set: ReplicaSet, call: Call, parent: Inode, name: string): Promise<NameHeal> {
  void set;
  void call;
  void parent;
  void name;
  throw new Error("being written");
}
