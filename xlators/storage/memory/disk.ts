/**
 * What an in-memory brick is stored on: all inodes by gfid, the room they take, and a crash (design shape.md
 * 8). A disk outlives its brick: a second graph over the same MemoryDisk finds the same files.
 *
 * Limits: names, attributes and xattrs survive a crash at once and in order, as on a file system whose
 * journal is synchronous; file contents and sizes are lost unless they were synced.
 */

import { type Gfid, gfidKey, ROOT_GFID } from "../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../src/core/iatt.ts";
import { MemNode, type Moment } from "./node.ts";
import { PAGE_BYTES } from "./sparse.ts";

/** What a crash asks about: one changed page of a file (by index), or its changed size. */
export interface Unsynced {
  readonly gfid: Gfid;
  readonly what: number | "size";
}

export class MemoryDisk {
  readonly root: MemNode;
  /** Every inode that has a name or an open fd. */
  readonly #nodes = new Map<string, MemNode>();
  #usedPages = 0;

  constructor(now: Moment = { sec: 0, nsec: 0 }) {
    this.root = new MemNode(ROOT_GFID, S_IFDIR | 0o755, { uid: 0, gid: 0 }, now);
    this.root.parent = this.root;
    this.#nodes.set(this.root.key, this.root);
  }

  get inodeCount(): number {
    return this.#nodes.size;
  }

  get usedBytes(): number {
    return this.#usedPages * PAGE_BYTES;
  }

  find(gfid: Gfid): MemNode | undefined {
    return this.#nodes.get(gfidKey(gfid));
  }

  /** Every name of an inode, as a path. Walks the whole tree. */
  pathsOf(node: MemNode, dir: MemNode = this.root, path = ""): string[] {
    const found = dir === node ? [path || "/"] : [];
    for (const [name, { node: child }] of dir.entries!) {
      if (child.isDir) found.push(...this.pathsOf(node, child, `${path}/${name}`));
      else if (child === node) found.push(`${path}/${name}`);
    }
    return found;
  }

  add(node: MemNode): void {
    this.#nodes.set(node.key, node);
  }

  /** Runs a change of a file's contents and keeps count of the room it takes. */
  changeData<R>(node: MemNode, change: () => R): R {
    const before = node.data!.pageCount;
    const result = change();
    this.#usedPages += node.data!.pageCount - before;
    return result;
  }

  /** Forgets an inode that has neither names nor open fds. */
  reap(node: MemNode): void {
    if (node.nlink > 0 || node.opens > 0 || !this.#nodes.delete(node.key)) return;
    this.#usedPages -= node.data?.pageCount ?? 0;
  }

  /** The kernel writes some of the unsynced data to the disk, as it does at times of its own. */
  writeBack(choose: (unsynced: Unsynced) => boolean): void {
    for (const { gfid, data } of this.#nodes.values()) data?.writeBack((what) => choose({ gfid, what }));
  }

  /**
   * Power failure: open fds are gone, and so is all file data that was not synced, but for what `keep` says
   * had reached the disk in time: all of a page or, by a bit mask, some of its sectors. The graph over this
   * disk must have been stopped, or dropped.
   */
  crash(keep: (unsynced: Unsynced) => boolean | number = () => false): void {
    for (const node of [...this.#nodes.values()]) {
      node.opens = 0;
      if (node.data) this.changeData(node, () => node.data!.crash((what) => keep({ gfid: node.gfid, what })));
      this.reap(node);
    }
  }
}
