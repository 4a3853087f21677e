/**
 * Which blocks of a file exist, by listing `/.shard`: for files with so many possible blocks that looking for
 * each would take longer.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Dirent } from "../../../src/core/fops.ts";
import { type Gfid, gfidText } from "../../../src/core/gfid.ts";
import { Fd, type Inode } from "../../../src/core/inode.ts";
import { O_DIRECTORY, O_RDONLY } from "../../../src/core/open-flags.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import type { Context } from "./context.ts";
import { asRoot } from "./directories.ts";
import { blockOfName } from "./geometry.ts";

const LIST_BYTES = 128 * 1024;

/** Their numbers, in no order. */
export async function existingBlocks(context: Context, base: Gfid, call: Call): Promise<number[]> {
  const directory = await context.shards.directories.shards(false);
  if (directory === undefined) return [];
  const prefix = gfidText(base);
  const found: number[] = [];
  for await (const { name } of entriesOf(context.below, directory, call)) {
    const block = blockOfName(name, prefix);
    if (block !== undefined) found.push(block);
  }
  return found;
}

/** Everything in a directory but "." and "..". */
export async function* entriesOf(below: XlatorBase, directory: Inode, call: Call): AsyncGenerator<Dirent> {
  const root = asRoot(call);
  const fd = new Fd(directory, O_RDONLY | O_DIRECTORY);
  await below.opendir(root, { loc: { inode: directory }, fd });
  try {
    for (let offset = 0n; ; ) {
      const { entries, eof } = await below.readdir(root, { fd, size: LIST_BYTES, offset });
      for (const entry of entries) if (entry.name !== "." && entry.name !== "..") yield entry;
      if (eof || entries.length === 0) return;
      offset = entries.at(-1)!.offset;
    }
  } finally {
    await below.releasedir(fd);
  }
}
