/**
 * Looks at the disks when all is done: copies must be equal in names, types, attributes, xattrs and bytes,
 * carry no marks, hold no locks and no open files, and agree with the model.
 */

import { internalCall } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import { toFopError } from "../../src/core/errors.ts";
import { gfidText } from "../../src/core/gfid.ts";
import { Inode } from "../../src/core/inode.ts";
import { LOCK_KEY } from "../../src/core/keys.ts";
import { listBrick } from "../../xlators/cluster/replicate/crawl/info.ts";
import type { ReplicaSet } from "../../xlators/cluster/replicate/replica-set.ts";
import type { MemNode } from "../../xlators/storage/memory/node.ts";
import { accountOf, bytesOf, leftovers, miscounted } from "./blocks.ts";
import { VOLUME } from "./client-graph.ts";
import type { Cluster, SimBrick } from "./cluster.ts";
import { ABSENT, CELL_BYTES, type Model, modeText, shortId } from "./model.ts";

const PID_SELF_HEAL = -6;
const MARKS = /^trusted\.afr\./;
/** What bricks keep for themselves. */
const OWN_NAMES = /^(\.glusterfs|\.glusterfs-anonymous-inode.*|\.trashcan)$/;
const OWN_XATTRS = /^trusted\.(afr\.|glusterfs\.(?!shard\.)|gfid|mortar\.)/;

/** Everything below the root of a brick, by path. */
export function walk(brick: SimBrick): Map<string, MemNode> {
  const found = new Map<string, MemNode>();
  const visit = (path: string, node: MemNode): void => {
    found.set(path, node);
    for (const [name, { node: child }] of node.entries ?? [])
      if (!(path === "" && OWN_NAMES.test(name))) visit(`${path}/${name}`, child);
  };
  visit("", brick.disk.root);
  return found;
}

/** Names what is not as it should be; empty when all is well. */
export function differences(cluster: Cluster): string[] {
  const found: string[] = [];
  const trees = cluster.bricks.map((brick) => ({ brick, tree: walk(brick) }));
  const [first] = trees;
  for (const { brick, tree } of trees) {
    found.push(...marksOf(brick, tree));
    if (brick === first!.brick) continue;
    const paths = new Set([...first!.tree.keys(), ...tree.keys()]);
    for (const path of [...paths].sort()) {
      const a = first!.tree.get(path);
      const b = tree.get(path);
      const what = differs(a, b, brick.arbiter);
      if (what !== undefined) found.push(`${path || "/"}: ${first!.brick.name} and ${brick.name}: ${what}`);
    }
  }
  return found;
}

function differs(a: MemNode | undefined, b: MemNode | undefined, arbiter: boolean): string | undefined {
  if (a === undefined || b === undefined) return `one has it (${a ? "the first" : "the second"})`;
  if (!a.gfid.equals(b.gfid)) return `gfid ${gfidText(a.gfid)} and ${gfidText(b.gfid)}`;
  if (a.mode !== b.mode) return `mode ${a.mode.toString(8)} and ${b.mode.toString(8)}`;
  if (a.uid !== b.uid || a.gid !== b.gid) return `owner ${a.uid}:${a.gid} and ${b.uid}:${b.gid}`;
  if (a.target !== b.target) return "link target";
  const xattrs = differentXattrs(a, b);
  if (xattrs !== undefined) return xattrs;
  if (arbiter || a.data === undefined) return undefined;
  if (a.size !== b.data!.size) return `size ${a.size} and ${b.size}`;
  return differentBytes(a, b);
}

function differentXattrs(a: MemNode, b: MemNode): string | undefined {
  const names = new Set([...a.xattrs.keys(), ...b.xattrs.keys()]);
  for (const name of names) {
    if (OWN_XATTRS.test(name)) continue;
    const [left, right] = [a.xattrs.get(name), b.xattrs.get(name)];
    if (!left || !right || !left.equals(right)) return `xattr ${name}: ${String(left)} and ${String(right)}`;
  }
  return undefined;
}

function differentBytes(a: MemNode, b: MemNode): string | undefined {
  const [left, right] = [a.data!.read(0, a.size), b.data!.read(0, b.size)];
  if (left.equals(right)) return undefined;
  const at = left.findIndex((byte, index) => byte !== right[index]);
  return `bytes from cell ${Math.floor(at / CELL_BYTES)} on`;
}

function marksOf(brick: SimBrick, tree: ReadonlyMap<string, MemNode>): string[] {
  const found: string[] = [];
  for (const [path, node] of tree)
    for (const [name, value] of node.xattrs)
      if (MARKS.test(name) && value.some((byte) => byte !== 0))
        found.push(`${path || "/"}: ${brick.name} has ${name} ${value.toString("hex")}`);
  return found;
}

/** Locks that somebody holds or waits for. */
export async function locksHeld(cluster: Cluster): Promise<string[]> {
  const found: string[] = [];
  const keys = [LOCK_KEY.INODELK_COUNT, LOCK_KEY.ENTRYLK_COUNT, LOCK_KEY.POSIXLK_COUNT];
  for (const brick of cluster.bricks) {
    for (const [path, node] of walk(brick)) {
      const xdata = new Dict();
      for (const key of keys) xdata.setInt(key, 0);
      const inode = new Inode(node.gfid, node.mode & 0o170000);
      // What is removed in the background meanwhile has no locks.
      const reply = await brick.top.lookup(internalCall(), { loc: { inode }, xdata }).catch(unlessGone);
      if (reply === undefined) continue;
      for (const key of keys)
        if ((reply.xdata?.number(key) ?? 0) > 0) found.push(`${path || "/"}: ${key} on ${brick.name}`);
    }
  }
  return found;
}

function unlessGone(error: unknown): undefined {
  const { code } = toFopError(error);
  if (code !== "ENOENT" && code !== "ESTALE") throw error;
}

/** What bricks list as waiting for a heal. */
export async function indexLeft(cluster: Cluster): Promise<string[]> {
  const found: string[] = [];
  for (const { name, marks } of cluster.bricks) {
    for (const where of ["xattrop", "dirty"] as const)
      for (const entry of await marks.list({ class: where }))
        found.push(`${name} lists ${entry.name} (${where})`);
    for (const directory of await marks.list({ class: "entry-changes" }))
      for (const entry of await marks.list({ class: "entry-changes", of: directory.name }))
        found.push(`${name} lists ${directory.name}/${entry.name}`);
  }
  return found;
}

/** What `heal info` would show of a client's set. */
export async function healInfo(set: ReplicaSet): Promise<string[]> {
  const found: string[] = [];
  for (const child of set.children.keys()) {
    try {
      for (const { gfid, inspection } of await listBrick(set, child, internalCall(PID_SELF_HEAL)))
        found.push(`heal info shows ${gfidText(gfid)} on copy ${child}: ${inspection.status}`);
    } catch (error) {
      found.push(`heal info of copy ${child}: ${toFopError(error).message}`);
    }
  }
  return found;
}

/** Locks of any kind, in any domain, on whatever object, once nobody uses the volume any more. */
export function lockTables(cluster: Cluster): string[] {
  return cluster.bricks.flatMap(({ name, graph }) => {
    const locks = graph?.xlators.find((xlator) => xlator.name === `${VOLUME}-locks`);
    const { size } = (locks as unknown as { table: { size: number } }).table;
    return size === 0 ? [] : [`${name} keeps locks on ${size} objects`];
  });
}

/** Calls that a client sent and that nobody answered. */
export function callsLeft(cluster: Cluster): string[] {
  return cluster.clients.flatMap(({ name, calls }) =>
    [...calls].map(([fop, count]) => `${name}: ${count} ${fop} without an answer`),
  );
}

/** Files that somebody has open. */
export function openFiles(cluster: Cluster): string[] {
  return cluster.bricks.flatMap((brick) =>
    [...walk(brick)]
      .filter(([, node]) => node.opens > 0)
      .map(([path, node]) => `${path || "/"}: open ${node.opens} times on ${brick.name}`),
  );
}

/** Blocks and markers of files that are gone. */
export function blocksLeft(cluster: Cluster): string[] {
  return cluster.bricks.flatMap((brick) => leftovers(brick, walk(brick)));
}

/** Files whose block count is not what their blocks take. */
export function miscounts(cluster: Cluster): string[] {
  const brick = cluster.bricks.find(({ arbiter }) => !arbiter)!;
  return [...walk(brick)].flatMap(([path, node]) => {
    const what = accountOf(node) && miscounted(brick, node);
    return what === undefined || path.startsWith("/.shard/") ? [] : [`${path}: ${what}`];
  });
}

/** The last copy against the model: what is on the disks is what a read now may return. */
export function judgeDisks(cluster: Cluster, model: Model): void {
  const brick = cluster.bricks.find(({ arbiter }) => !arbiter)!;
  const tree = walk(brick);
  const tick = model.tick();
  for (const file of model.files) {
    const node = tree.get(`/${file.name}`);
    if (!node?.data) {
      model.fail(`${file.name} is gone from ${brick.name}`);
      continue;
    }
    const bytes = bytesOf(brick, node);
    const reader = { startTick: tick };
    model.judgeBytes(`${brick.name} in the end`, file, [0, file.cellCount], bytes, reader);
    if (bytes.length > file.cellsMax * CELL_BYTES)
      model.fail(
        `${file.name} has ${bytes.length} bytes in the end, and nobody made it longer than cell ${file.cellsMax}`,
      );
    model.judge(`in the end mode of ${file.name}`, file.mode, modeText(node.mode), tick);
    const xattr = node.xattrs.get("user.sim")?.toString() ?? ABSENT;
    model.judge(`in the end xattr of ${file.name}`, file.xattr, xattr, tick);
  }
  for (const [path, register] of model.names) {
    const node = tree.get(`/${path}`);
    model.judge(`in the end ${path}`, register, node ? shortId(node.gfid) : ABSENT, tick);
    const image = node?.data && model.images.get(shortId(node.gfid));
    if (image) model.judgeImage(`in the end ${path}`, image, bytesOf(brick, node), image.isWhole);
  }
}
