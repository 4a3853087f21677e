/**
 * What the kernel knows: node ids it may use, how often it looked each up, and the names they were found
 * under.
 *
 * Ids are never used twice, so generation numbers are not needed. A node lives while the kernel holds lookups
 * of it; then FORGET takes it and its inode becomes idle in the InodeTable. Names are remembered so that a
 * second lookup, an unlink or a rename brings the inode that the translators know already; they are hints and
 * may be out of date.
 */

import { S_IFDIR } from "../src/core/iatt.ts";
import type { Inode, InodeTable } from "../src/core/inode.ts";
import type { Backing } from "./dev-fuse/passthrough.ts";
import type { FileHandle } from "./handles.ts";
import type { PendingTimes } from "./requests/page-times.ts";

/** Names of a path that are looked up for the log; renames may have left a ring of nodes. */
const DEPTH_MAX = 256;

export class Node {
  readonly id: number;
  readonly inode: Inode;
  /** Lookups that the kernel has not forgotten yet. */
  lookups = 0;
  /** st_mode as last seen, 0 while unknown. */
  mode = 0;
  /** How often this mount changed the entries of this directory; cached listings compare it. */
  changes = 0;
  /** Open files of this inode, newest last. */
  readonly open: FileHandle[] = [];
  /** Times that the kernel has told and the volume does not know yet. */
  pendingTimes: PendingTimes | undefined;
  /** The brick's file, while open handles let the kernel use it. */
  backing: Backing | undefined;
  names: Map<string, Node> | undefined;
  parent: Node | undefined;
  name = "";

  constructor(id: number, inode: Inode) {
    this.id = id;
    this.inode = inode;
  }
}

export class NodeTable {
  readonly root: Node;
  readonly inodes: InodeTable;
  readonly #byId = new Map<number, Node>();
  readonly #byInode = new Map<Inode, Node>();
  #lastId = 1;

  /** `rootInode` is what the mount shows as its root: the volume's root, or a directory below it. */
  constructor(inodes: InodeTable, rootInode: Inode) {
    this.inodes = inodes;
    this.root = new Node(1, rootInode);
    this.root.lookups = 1;
    this.#byId.set(1, this.root);
    this.#byInode.set(rootInode, this.root);
    inodes.hold(rootInode);
  }

  /** Nodes the kernel holds. */
  get size(): number {
    return this.#byId.size;
  }

  get(id: number): Node | undefined {
    return this.#byId.get(id);
  }

  find(inode: Inode): Node | undefined {
    return this.#byInode.get(inode);
  }

  /** Counts one lookup of a linked inode; its answer must reach the kernel. */
  enter(inode: Inode): Node {
    let node = this.#byInode.get(inode);
    if (node === undefined) {
      node = new Node(++this.#lastId, inode);
      this.#byId.set(node.id, node);
      this.#byInode.set(inode, node);
      this.inodes.hold(inode);
    }
    node.lookups++;
    return node;
  }

  /** The kernel dropped `count` lookups. Returns the node when it is gone with that. */
  forget(id: number, count: number): Node | undefined {
    const node = this.#byId.get(id);
    if (node === undefined || node === this.root) return undefined;
    node.lookups -= count;
    if (node.lookups > 0) return undefined;
    this.#byId.delete(id);
    this.#byInode.delete(node.inode);
    if (node.parent?.names?.get(node.name) === node) node.parent.names.delete(node.name);
    this.inodes.letGo(node.inode);
    return node;
  }

  /** The node a name was last found under, if the kernel still holds it. */
  child(parent: Node, name: string): Node | undefined {
    const node = parent.names?.get(name);
    return node !== undefined && node.lookups > 0 ? node : undefined;
  }

  /** The path below the mount under which a node was last found, for people; undefined when unknown. */
  pathOf(id: number): string | undefined {
    const names: string[] = [];
    let node = this.#byId.get(id);
    while (node !== undefined && node !== this.root && names.length < DEPTH_MAX) {
      names.unshift(node.name);
      node = node.parent;
    }
    return node === this.root ? `/${names.join("/")}` : undefined;
  }

  remember(parent: Node, name: string, node: Node): void {
    parent.names ??= new Map();
    parent.names.set(name, node);
    node.parent = parent;
    node.name = name;
  }

  /**
   * Looks at the `count` nodes not looked at for longest, and returns those that the kernel may well forget:
   * named, no directory, not open.
   */
  idleLongest(count: number): Node[] {
    const idle: Node[] = [];
    for (const node of this.#byId.values()) {
      if (count-- <= 0) break;
      // To the end of the line: a Map keeps the order of entering, and an iteration meets what is appended
      // last.
      this.#byId.delete(node.id);
      this.#byId.set(node.id, node);
      const isFile = node.inode.type !== S_IFDIR && node.open.length === 0;
      if (isFile && node.parent?.names?.get(node.name) === node) idle.push(node);
    }
    return idle;
  }

  forgetName(parent: Node, name: string): void {
    parent.names?.delete(name);
  }
}
