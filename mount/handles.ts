/**
 * File handles: the small numbers the kernel gives back with each request on an open file or directory.
 *
 * A handle remembers the lock owners that locked through it. FLUSH (one close of one descriptor) drops its
 * owner's locks everywhere on the inode, as POSIX wants; what is left at RELEASE (OFD and flock locks, whose
 * owner never flushes) is unlocked before RELEASE is answered.
 */

import type { DirentPlus } from "../src/core/fops.ts";
import type { Fd } from "../src/core/inode.ts";
import { mayWrite } from "../src/core/open-flags.ts";
import type { Node } from "./nodes.ts";

export class FileHandle {
  readonly kind = "file";
  readonly node: Node;
  readonly fd: Fd;
  /** Owners (eight bytes each, as latin1 keys) that may hold locks taken through this handle. */
  readonly lockOwners = new Set<string>();
  /**
   * How it counts among those of an inode whose file the kernel uses itself (dev-fuse/passthrough.ts): its
   * I/O is the kernel's, or comes as requests beside that of others.
   */
  passing: "no" | "requests" | "kernel" = "no";

  constructor(node: Node, fd: Fd) {
    this.node = node;
    this.fd = fd;
  }

  /** Opened for reading alone. */
  get isReader(): boolean {
    return !mayWrite(this.fd.flags);
  }
}

/** Entries fetched from the graph and not yet handed to the kernel. */
export interface Listing {
  /** Offset the kernel will ask for to get `entries[next]`. */
  expected: bigint;
  readonly entries: readonly DirentPlus[];
  next: number;
  readonly eof: boolean;
  /** `node.changes` when it was asked for. */
  readonly changes: number;
  /** Clock time until which its attributes may be handed out. */
  readonly freshUntilMs: number;
  /** It brings attributes. */
  readonly plus: boolean;
}

export class DirHandle {
  readonly kind = "directory";
  readonly node: Node;
  readonly fd: Fd;
  listing: Listing | undefined;

  constructor(node: Node, fd: Fd) {
    this.node = node;
    this.fd = fd;
  }
}

export class HandleTable {
  readonly #handles: (FileHandle | DirHandle | undefined)[] = [];
  readonly #free: number[] = [];

  /** Open handles. */
  get size(): number {
    return this.#handles.length - this.#free.length;
  }

  /** Enters a handle; its number is what the kernel gets. */
  add(handle: FileHandle | DirHandle): number {
    if (handle.kind === "file") handle.node.open.push(handle);
    const fh = this.#free.pop() ?? this.#handles.length;
    this.#handles[fh] = handle;
    return fh;
  }

  file(fh: number): FileHandle | undefined {
    const handle = this.#handles[fh];
    return handle !== undefined && handle.kind === "file" ? handle : undefined;
  }

  directory(fh: number): DirHandle | undefined {
    const handle = this.#handles[fh];
    return handle !== undefined && handle.kind === "directory" ? handle : undefined;
  }

  remove(fh: number): void {
    const handle = this.#handles[fh];
    if (handle === undefined) return;
    this.#handles[fh] = undefined;
    this.#free.push(fh);
    if (handle.kind === "file") {
      const at = handle.node.open.indexOf(handle);
      if (at >= 0) handle.node.open.splice(at, 1);
    }
  }

  /** Everything still open, for the end of a mount. */
  *all(): IterableIterator<FileHandle | DirHandle> {
    for (const handle of this.#handles) if (handle !== undefined) yield handle;
  }
}

/** A handle of the node that may write, or any: what works on a file that has no name any more. */
export function openHandle(node: Node, forWriting = false): FileHandle | undefined {
  if (!forWriting) return node.open[node.open.length - 1];
  return node.open.find((handle) => !handle.isReader);
}
