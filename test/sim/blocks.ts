/**
 * Looks at what features/shard keeps on the disks when all is done: files put together from their blocks,
 * blocks and markers that nobody needs, and sizes and block counts that do not fit what is there.
 */

import { type Gfid, gfidText, parseGfid } from "../../src/core/gfid.ts";
import { BLOCK_SIZE_KEY, FILE_SIZE_KEY } from "../../xlators/features/shard/attributes.ts";
import { SHARD_DIR } from "../../xlators/features/shard/directories.ts";
import type { MemNode } from "../../xlators/storage/memory/node.ts";
import type { SimBrick } from "./cluster.ts";

const REMOVED_DIR = ".remove_me";

/** Size in bytes and room in 512-byte blocks, as the xattr of the base file says. */
interface Accounted {
  readonly size: number;
  readonly blocks: number;
}

/** Undefined for what is not cut into blocks. */
export function accountOf({ xattrs }: MemNode): Accounted | undefined {
  const bytes = xattrs.get(FILE_SIZE_KEY);
  if (bytes === undefined) return undefined;
  return { size: Number(bytes.readBigInt64BE(0)), blocks: Number(bytes.readBigInt64BE(16)) };
}

function blockSizeOf({ xattrs }: MemNode): number {
  return Number(xattrs.get(BLOCK_SIZE_KEY)!.readBigUInt64BE(0));
}

function shardDir(brick: SimBrick): MemNode | undefined {
  return brick.disk.root.entries!.get(SHARD_DIR)?.node;
}

/** Blocks 1 and up of a file that exist. */
function blocksOf(brick: SimBrick, gfid: Gfid): Map<number, MemNode> {
  const found = new Map<number, MemNode>();
  const prefix = `${gfidText(gfid)}.`;
  for (const [name, { node }] of shardDir(brick)?.entries ?? [])
    if (name.startsWith(prefix)) found.set(Number(name.slice(prefix.length)), node);
  return found;
}

/** A file's bytes, in blocks or not. */
export function bytesOf(brick: SimBrick, node: MemNode): Buffer {
  const account = accountOf(node);
  if (account === undefined) return node.data!.read(0, node.size);
  const whole = Buffer.alloc(account.size);
  const blockSize = blockSizeOf(node);
  const put = ({ data, size }: MemNode, at: number): void => {
    data!.read(0, Math.min(size, blockSize)).copy(whole, at);
  };
  put(node, 0);
  for (const [block, shard] of blocksOf(brick, node.gfid)) put(shard, block * blockSize);
  return whole;
}

/** Names what is left of files that are gone. */
export function leftovers(brick: SimBrick, files: ReadonlyMap<string, MemNode>): string[] {
  const alive = new Set<string>();
  for (const [path, { gfid }] of files) if (!path.startsWith(`/${SHARD_DIR}`)) alive.add(gfidText(gfid));
  const found: string[] = [];
  for (const [name, { node }] of shardDir(brick)?.entries ?? []) {
    if (name === REMOVED_DIR) {
      // The marker of a file that kept its name waits for the file's end.
      for (const marker of node.entries!.keys())
        if (parseGfid(marker) === undefined || !alive.has(marker))
          found.push(`${brick.name} keeps the marker ${marker}`);
    } else if (!alive.has(name.slice(0, name.lastIndexOf("."))))
      found.push(`${brick.name} keeps block ${name} of a file that is gone`);
  }
  return found;
}

/** Whether the block count of a file is the sum of what its blocks take. */
export function miscounted(brick: SimBrick, node: MemNode): string | undefined {
  const account = accountOf(node);
  if (account === undefined) return undefined;
  let sum = node.iatt().blocks;
  for (const shard of blocksOf(brick, node.gfid).values()) sum += shard.iatt().blocks;
  if (sum === account.blocks) return undefined;
  return `${account.blocks} blocks are accounted for on ${brick.name}, ${sum} are there`;
}
