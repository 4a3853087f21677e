/**
 * Which names of a directory an entry heal looks at on one copy: all of them, or those that its brick has
 * recorded as changed while a copy was away (spec translators.md 3, entry-changes; 4.9).
 */

import { FopError } from "../../../../src/core/errors.ts";
import { gfidText, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../../src/core/inode.ts";
import { INDEX_KEY } from "../../../../src/core/keys.ts";
import { O_DIRECTORY, O_RDONLY } from "../../../../src/core/open-flags.ts";
import { isAbsent } from "./look.ts";
import type { HealTask } from "./task.ts";

const PAGE_BYTES = 128 * 1024;

/** Whoever opens one closes it. */
export interface NameList {
  /** In groups of at most `size`. What comes or goes meanwhile may be missed, as in any listing. */
  pages(size: number): AsyncGenerator<readonly string[]>;
  /** The name is equal everywhere now. Never rejects. */
  healed(name: string): Promise<void>;
  close(): Promise<void>;
}

/** Every name that a copy has in the directory. */
export async function allNames(task: HealTask, child: number): Promise<NameList> {
  const fd = await openDirectory(task, child, task.inode);
  return listing(task, child, fd, async () => {});
}

/** The recorded ones; undefined when this brick has no record of the directory. */
export async function recordedNames(task: HealTask, child: number): Promise<NameList | undefined> {
  const { set, call } = task;
  const brick = set.children[child]!;
  try {
    const root = new Inode(ROOT_GFID, S_IFDIR);
    const { xattrs } = await brick.getxattr(call, {
      loc: { inode: root },
      name: INDEX_KEY.ENTRY_CHANGES_GFID,
    });
    const index = xattrs.gfid(INDEX_KEY.ENTRY_CHANGES_GFID);
    if (!index) return undefined;
    const loc = { inode: new Inode(), parent: new Inode(index, S_IFDIR), name: gfidText(task.inode.gfid) };
    const { stat } = await brick.lookup(call, { loc });
    const directory = new Inode(stat.gfid, S_IFDIR);
    const fd = await openDirectory(task, child, directory);
    return listing(task, child, fd, async (name) => {
      try {
        await brick.unlink(call, { loc: { inode: new Inode(), parent: directory, name }, flags: 0 });
      } catch (error) {
        // It goes with the directory's marks at the latest.
        if (!(error instanceof FopError)) throw error;
      }
    });
  } catch (error) {
    if (!(error instanceof FopError)) throw error;
    if (isAbsent(error) || error.code === "ENODATA" || error.code === "EOPNOTSUPP") return undefined;
    throw error;
  }
}

async function openDirectory({ set, call }: HealTask, child: number, inode: Inode): Promise<Fd> {
  const fd = new Fd(inode, O_RDONLY | O_DIRECTORY, call.pid);
  await set.children[child]!.opendir(call, { loc: { inode }, fd });
  return fd;
}

function listing(
  { set, call }: HealTask,
  child: number,
  fd: Fd,
  healed: (name: string) => Promise<void>,
): NameList {
  const brick = set.children[child]!;
  return {
    async *pages(size) {
      for (let offset = 0n, eof = false; !eof; ) {
        const page = await brick.readdir(call, { fd, size: PAGE_BYTES, offset });
        const names = page.entries.map(({ name }) => name).filter((name) => name !== "." && name !== "..");
        for (let at = 0; at < names.length; at += size) yield names.slice(at, at + size);
        eof = page.eof || page.entries.length === 0;
        offset = page.entries.at(-1)?.offset ?? offset;
      }
    },
    healed,
    close: () => brick.releasedir(fd),
  };
}
