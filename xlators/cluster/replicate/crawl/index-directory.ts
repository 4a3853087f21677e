/**
 * What a brick lists as due for healing: the virtual directories of features/index (spec translators.md 3).
 *
 * The brick gives each class of its index a gfid, new at every start of it; by that gfid the directory is
 * opened, listed and cleaned through ordinary fops. Works the same on bricks of GlusterFS.
 */

import type { Call } from "../../../../src/core/call.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { type Gfid, gfidText, parseGfid, ROOT_GFID } from "../../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../../src/core/inode.ts";
import { O_DIRECTORY, O_RDONLY } from "../../../../src/core/open-flags.ts";
import type { XlatorBase } from "../../../../src/core/xlator.ts";

/** The classes, in the order they are crawled. */
export const INDEX_CLASSES = ["xattrop", "dirty", "entry-changes"] as const;
/**
 * `xattrop`: a copy elsewhere is blamed. `dirty`: an operation began and has no verdict. `entry-changes`:
 * directories of which names are recorded.
 */
export type IndexClass = (typeof INDEX_CLASSES)[number];

const GFID_KEY: Readonly<Record<IndexClass, string>> = {
  xattrop: "glusterfs.xattrop_index_gfid",
  dirty: "glusterfs.xattrop_dirty_gfid",
  "entry-changes": "glusterfs.xattrop_entry_changes_gfid",
};

/** Bytes of a page of names; some 1800 of them, which is also how far a crawl reads ahead at most. */
const PAGE_BYTES_MAX = 128 * 1024;
const PAGE_BYTES_MIN = 4096;
/** Wire size of one name that is a gfid. */
const NAME_BYTES = 72;

/** One class of one brick's index, open for listing. */
export class IndexDirectory {
  readonly which: IndexClass;
  readonly #child: XlatorBase;
  readonly #call: Call;
  readonly #fd: Fd;

  private constructor(child: XlatorBase, call: Call, which: IndexClass, fd: Fd) {
    this.#child = child;
    this.#call = call;
    this.which = which;
    this.#fd = fd;
  }

  /**
   * Opens it; undefined when this brick keeps no such class (it has no index, or is older than granular
   * entry heal). Rejects with FopError for anything else.
   */
  static async open(child: XlatorBase, call: Call, which: IndexClass): Promise<IndexDirectory | undefined> {
    try {
      const root = new Inode(ROOT_GFID, S_IFDIR);
      const key = GFID_KEY[which];
      const { xattrs } = await child.getxattr(call, { loc: { inode: root }, name: key });
      const gfid = xattrs.gfid(key);
      if (!gfid) return undefined;
      const inode = new Inode(gfid, S_IFDIR);
      await child.lookup(call, { loc: { inode } });
      const fd = new Fd(inode, O_RDONLY | O_DIRECTORY, call.pid);
      await child.opendir(call, { loc: { inode }, fd });
      return new IndexDirectory(child, call, which, fd);
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  /**
   * The gfids it lists. What comes or goes meanwhile may be missed, as in any directory; `readAhead` bounds
   * how many are fetched at a time.
   */
  async *entries(readAhead: number): AsyncGenerator<Gfid> {
    const size = Math.min(PAGE_BYTES_MAX, Math.max(PAGE_BYTES_MIN, readAhead * NAME_BYTES));
    for (let offset = 0n, eof = false; !eof; ) {
      const page = await this.#child.readdir(this.#call, { fd: this.#fd, size, offset });
      for (const { name } of page.entries) {
        // The files that all entries are links to have names of their own.
        const gfid = name.length === 36 ? parseGfid(name) : undefined;
        if (gfid) yield gfid;
      }
      eof = page.eof || page.entries.length === 0;
      offset = page.entries.at(-1)?.offset ?? offset;
    }
  }

  /** Takes an entry out of the index; one that is gone already is fine. */
  async purge(gfid: Gfid): Promise<void> {
    const loc = { inode: new Inode(), parent: this.#fd.inode, name: gfidText(gfid) };
    try {
      if (this.which === "entry-changes") await this.#child.rmdir(this.#call, { loc, flags: 1 });
      else await this.#child.unlink(this.#call, { loc, flags: 0 });
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  async close(): Promise<void> {
    await this.#child.releasedir(this.#fd);
  }
}

/** ENOENT or ESTALE: the brick does not know the object. */
export function isGone(error: unknown): boolean {
  return error instanceof FopError && (error.code === "ENOENT" || error.code === "ESTALE");
}

function isAbsent(error: unknown): boolean {
  if (isGone(error)) return true;
  return error instanceof FopError && (error.code === "ENODATA" || error.code === "EOPNOTSUPP");
}
