/**
 * Inodes, locs, fds and the table that makes them unique (spec translators.md 1.5).
 *
 * One InodeTable belongs to one edge (a mount, an API volume, a protocol/server). An Inode knows nobody:
 * translators keep their per-inode state in a `WeakMap<Inode, T>` of their own, likewise per fd.
 */

import { LRUCache } from "lru-cache";
import { type Gfid, gfidEquals, gfidKey, NULL_GFID, ROOT_GFID } from "./gfid.ts";

/** One file-system object. A fresh one has no gfid until the reply of lookup or a create fop links it. */
export class Inode {
  /** NULL_GFID until linked; then constant. Written by `InodeTable.link` only. */
  gfid: Gfid;
  /** st_mode type bits as last seen (S_IFDIR ...), 0 while unknown. */
  type: number;

  constructor(gfid: Gfid = NULL_GFID, type = 0) {
    this.gfid = gfid;
    this.type = type;
  }

  get linked(): boolean {
    return this.gfid !== NULL_GFID;
  }
}

/**
 * Where a fop by name or gfid points. By name (`parent` and `name` set): lookup, create-type fops, unlink,
 * rename ... By gfid (only `inode`): the inode must be linked. For fops that make an entry, `inode` is a
 * fresh one.
 */
export interface Loc {
  readonly inode: Inode;
  readonly parent?: Inode;
  readonly name?: string;
}

/** An open file or directory as the edge sees it. Identity matters: translators key state by the object. */
export class Fd {
  readonly inode: Inode;
  /** Linux open flags (O_RDWR, O_DIRECT ...); anonymous fds have O_RDWR. */
  readonly flags: number;
  /** Pid of the opener, 0 when unknown. */
  readonly pid: number;
  /** No open was sent: every layer resolves it by gfid (fd -2 on the wire, wire.md 10.1). */
  readonly anonymous: boolean;

  constructor(inode: Inode, flags: number, pid = 0, anonymous = false) {
    this.inode = inode;
    this.flags = flags;
    this.pid = pid;
    this.anonymous = anonymous;
  }

  static anonymous(inode: Inode, flags: number): Fd {
    return new Fd(inode, flags, 0, true);
  }
}

/** How many inodes without a holder an InodeTable remembers (GlusterFS: network.inode-lru-limit). */
export const INODE_LRU_LIMIT = 16384;

interface Held {
  readonly inode: Inode;
  count: number;
}

/**
 * gfid to Inode, one object a gfid. Held inodes (the kernel knows them, an fd is open) stay; others are kept
 * in an LRU so that a later lookup finds the same object. `onForget` hears of every inode that leaves the
 * table.
 */
export class InodeTable {
  readonly root = new Inode(ROOT_GFID, 0o040000);
  readonly #held = new Map<string, Held>();
  readonly #idle: LRUCache<string, Inode>;

  constructor(options: { idleMax?: number; onForget?: (inode: Inode) => void } = {}) {
    const { onForget } = options;
    this.#idle = new LRUCache({
      max: options.idleMax ?? INODE_LRU_LIMIT,
      ...(onForget
        ? { dispose: (inode: Inode, _key: string, why) => why === "evict" && onForget(inode) }
        : {}),
    });
    this.#held.set(gfidKey(ROOT_GFID), { inode: this.root, count: 1 });
  }

  /** Inodes in the table, idle ones included. */
  get size(): number {
    return this.#held.size + this.#idle.size;
  }

  find(gfid: Gfid): Inode | undefined {
    const key = gfidKey(gfid);
    return this.#held.get(key)?.inode ?? this.#idle.get(key);
  }

  /** The inode for a gfid, made when it is new; for requests by gfid with no lookup before. */
  obtain(gfid: Gfid): Inode {
    const known = this.find(gfid);
    if (known) return known;
    const inode = new Inode(gfid);
    this.#idle.set(gfidKey(gfid), inode);
    return inode;
  }

  /**
   * Gives a fresh inode its gfid and enters it. When the gfid is known already the existing inode is
   * returned, and the caller must go on with that one.
   */
  link(inode: Inode, gfid: Gfid, mode: number): Inode {
    const type = mode & 0o170000;
    const known = this.find(gfid);
    if (known) {
      if (type !== 0) known.type = type;
      return known;
    }
    if (inode.linked && !gfidEquals(inode.gfid, gfid)) inode = new Inode();
    inode.gfid = gfid;
    inode.type = type;
    this.#idle.set(gfidKey(gfid), inode);
    return inode;
  }

  /** Counts a holder (a kernel lookup, an open fd). */
  hold(inode: Inode, count = 1): void {
    const key = gfidKey(inode.gfid);
    const held = this.#held.get(key);
    if (held) {
      held.count += count;
      return;
    }
    this.#idle.delete(key);
    this.#held.set(key, { inode, count });
  }

  /** Takes `count` holders back; at zero the inode becomes idle. The root is never let go. */
  letGo(inode: Inode, count = 1): void {
    if (inode === this.root) return;
    const key = gfidKey(inode.gfid);
    const held = this.#held.get(key);
    if (!held) return;
    held.count -= count;
    if (held.count > 0) return;
    this.#held.delete(key);
    this.#idle.set(key, held.inode);
  }

  /** Drops an idle inode at once, e.g. after its last name went. */
  drop(inode: Inode): void {
    this.#idle.delete(gfidKey(inode.gfid));
  }
}
