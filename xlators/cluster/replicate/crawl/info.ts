/**
 * What waits for healing on one brick, as `heal info` lists it (spec translators.md 4.11; GlusterFS
 * heal/src/glfs-heal.c). Looks only: no lock is waited for, nothing is changed.
 */

import type { Call } from "../../../../src/core/call.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { type Gfid, gfidKey } from "../../../../src/core/gfid.ts";
import { Inode } from "../../../../src/core/inode.ts";
import { inspectInode } from "../heal/heal.ts";
import type { Inspection } from "../heal/report.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { IndexDirectory, isGone } from "./index-directory.ts";
import { pathOn } from "./names.ts";

/** One object that a brick lists. */
export interface ListedObject {
  readonly gfid: Gfid;
  /** Undefined when the brick knows none. */
  readonly path: string | undefined;
  /** Its status is never "no-heal". */
  readonly inspection: Inspection;
}

const READ_AHEAD = 1024;
/** Objects looked at at a time. */
const PARALLEL = 8;

/**
 * In the order of the index. Of what is listed as dirty only, that is without blame for any copy, as
 * GlusterFS counts. Rejects with ENOTCONN when the brick does not answer.
 */
export async function listBrick(set: ReplicaSet, child: number, call: Call): Promise<ListedObject[]> {
  const blamed = await listClass(set, child, call, "xattrop");
  const dirty = await listClass(set, child, call, "dirty");
  const seen = new Set(blamed.map(({ gfid }) => gfidKey(gfid)));
  return [
    ...blamed,
    ...dirty.filter(({ gfid, inspection }) => !inspection.pending && !seen.has(gfidKey(gfid))),
  ];
}

async function listClass(
  set: ReplicaSet,
  child: number,
  call: Call,
  which: "xattrop" | "dirty",
): Promise<ListedObject[]> {
  const directory = await IndexDirectory.open(set.children[child]!, call, which);
  if (!directory) return [];
  const listed: ListedObject[] = [];
  try {
    let batch: Gfid[] = [];
    const take = async (): Promise<void> => {
      const looks = await Promise.all(batch.map((gfid) => look(set, child, call, gfid)));
      for (const one of looks) if (one) listed.push(one);
      batch = [];
    };
    for await (const gfid of directory.entries(READ_AHEAD)) {
      batch.push(gfid);
      if (batch.length === PARALLEL) await take();
    }
    await take();
  } finally {
    await directory.close();
  }
  return listed;
}

async function look(
  set: ReplicaSet,
  child: number,
  call: Call,
  gfid: Gfid,
): Promise<ListedObject | undefined> {
  try {
    const [inspection, path] = await Promise.all([
      inspectInode(set, new Inode(gfid)),
      pathOn(set.children[child]!, call, gfid),
    ]);
    return inspection.exists && inspection.status !== "no-heal" ? { gfid, path, inspection } : undefined;
  } catch (error) {
    // Went between the listing and the look, or before: of the bricks that answer none has it any more, and
    // those that are away cannot say so.
    if (isGone(error) || (isUnreachable(error) && set.isUp(child))) return undefined;
    throw error;
  }
}

function isUnreachable(error: unknown): boolean {
  return error instanceof FopError && error.code === "ENOTCONN";
}
