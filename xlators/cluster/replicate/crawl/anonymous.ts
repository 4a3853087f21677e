/**
 * The hidden directory in which entry heals park what they remove (spec translators.md 4.9), and how the
 * daemon empties it (GlusterFS afr-self-heald.c, afr_shd_anon_inode_cleaner).
 *
 * A parked object may be needed again: a move between directories is a removal in one and a creation in the
 * other, healed apart from each other. It goes when all copies agree that nobody wants it: when only one copy
 * has it, when it has another name on its brick, or when every copy that has it has it parked.
 */

import type { Call } from "../../../../src/core/call.ts";
import { fanout } from "../../../../src/core/concurrency.ts";
import { type Gfid, gfidOf, gfidText, parseGfid, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { isDir, S_IFDIR } from "../../../../src/core/iatt.ts";
import { Fd, Inode, type Loc } from "../../../../src/core/inode.ts";
import { O_DIRECTORY, O_RDONLY } from "../../../../src/core/open-flags.ts";
import type { XlatorBase } from "../../../../src/core/xlator.ts";
import type { ReplicaSet } from "../replica-set.ts";
import { isGone } from "./index-directory.ts";

const NAME_PREFIX = ".glusterfs-anonymous-inode-";
const PAGE_BYTES = 128 * 1024;

/** Whether a name in the root is that of a hidden directory. */
export function isAnonymousDirectory(name: string): boolean {
  return name.startsWith(NAME_PREFIX);
}

/** Empties the hidden directory of one copy as far as that is safe; returns how many objects went. */
export async function emptyAnonymous(set: ReplicaSet, call: Call, index: number): Promise<number> {
  const volumeId = parseGfid(set.options["volume-id"]);
  if (!set.options["use-anonymous-inode"] || !volumeId || set.up !== set.all) return 0;
  const child = set.children[index]!;
  const directory = await findDirectory(child, call, volumeId);
  if (!directory) return 0;
  let gone = 0;
  for (const name of await namesIn(child, call, directory)) {
    const gfid = parseGfid(name);
    if (gfid && (await removeParked(set, call, index, directory, gfid))) gone++;
  }
  return gone;
}

async function findDirectory(child: XlatorBase, call: Call, volumeId: Gfid): Promise<Inode | undefined> {
  const parent = new Inode(ROOT_GFID, S_IFDIR);
  const name = `${NAME_PREFIX}${gfidText(volumeId)}`;
  try {
    const { stat } = await child.lookup(call, { loc: { inode: new Inode(), parent, name } });
    return new Inode(gfidOf(stat.gfid), S_IFDIR);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

async function namesIn(child: XlatorBase, call: Call, directory: Inode): Promise<string[]> {
  const fd = new Fd(directory, O_RDONLY | O_DIRECTORY, call.pid);
  await child.opendir(call, { loc: { inode: directory }, fd });
  try {
    const names: string[] = [];
    for (let offset = 0n, eof = false; !eof; ) {
      const page = await child.readdir(call, { fd, size: PAGE_BYTES, offset });
      names.push(...page.entries.map((entry) => entry.name));
      eof = page.eof || page.entries.length === 0;
      offset = page.entries.at(-1)?.offset ?? offset;
    }
    return names.filter((name) => name !== "." && name !== "..");
  } finally {
    await child.releasedir(fd);
  }
}

async function removeParked(
  set: ReplicaSet,
  call: Call,
  index: number,
  parent: Inode,
  gfid: Gfid,
): Promise<boolean> {
  const parked: Loc = { inode: new Inode(), parent, name: gfidText(gfid) };
  const copies = await lookupAll(set, call, { inode: new Inode(gfid) });
  const here = copies?.[index];
  if (!copies || !here) return false;
  const holders = copies.flatMap((copy, child) => (copy ? [child] : []));
  const alone = holders.length === 1;
  if (alone || (!here.directory && here.links > 1)) {
    await remove(set.children[index]!, call, parked, here.directory);
    return true;
  }
  const everywhere = await lookupAll(set, call, parked);
  if (!everywhere || holders.some((child) => !everywhere[child])) return false;
  await Promise.all(holders.map((child) => remove(set.children[child]!, call, parked, here.directory)));
  return true;
}

interface Copy {
  readonly directory: boolean;
  readonly links: number;
}

/** By child: what it has there; undefined as a whole when one of them does not say. */
async function lookupAll(set: ReplicaSet, call: Call, loc: Loc): Promise<(Copy | undefined)[] | undefined> {
  const outcomes = await fanout(set.children, (child) => child.lookup(call, { loc }));
  if (outcomes.some((outcome) => !outcome.ok && !isGone(outcome.error))) return undefined;
  return outcomes.map((outcome) =>
    outcome.ok ? { directory: isDir(outcome.reply.stat), links: outcome.reply.stat.nlink } : undefined,
  );
}

async function remove(child: XlatorBase, call: Call, loc: Loc, directory: boolean): Promise<void> {
  try {
    if (directory) await child.rmdir(call, { loc, flags: 1 });
    else await child.unlink(call, { loc, flags: 0 });
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}
