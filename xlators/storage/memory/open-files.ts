/**
 * Which fds of a memory brick are open, and on what. An inode without names lives for as long as one of them.
 * Anonymous fds need no open.
 */

import { FopError } from "../../../src/core/errors.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { O_DIRECT } from "../../../src/core/open-flags.ts";
import type { MemoryDisk } from "./disk.ts";
import { Listing } from "./listing.ts";
import type { MemNode } from "./node.ts";

/** What O_DIRECT offsets and sizes must be multiples of. */
const BLOCK_BYTES = 512;

/** An open file or directory. */
interface Open {
  readonly node: MemNode;
  /** Opened with O_DIRECT, whatever the caller's own fd says. */
  readonly direct?: boolean;
  readonly listing?: Listing;
}

export class OpenFiles {
  readonly #disk: MemoryDisk;
  readonly #opens = new WeakMap<Fd, Open>();

  constructor(disk: MemoryDisk) {
    this.#disk = disk;
  }

  openFile(fd: Fd, node: MemNode, flags: number): void {
    this.#add(fd, { node, direct: (flags & O_DIRECT) !== 0 });
  }

  openDirectory(fd: Fd, node: MemNode): void {
    this.#add(fd, { node, listing: new Listing(node) });
  }

  close(fd: Fd): void {
    const open = this.#opens.get(fd);
    if (!open) return;
    this.#opens.delete(fd);
    open.node.opens--;
    this.#disk.reap(open.node);
  }

  /** EBADF, ENOENT. */
  node(fd: Fd): MemNode {
    return this.#open(fd).node;
  }

  /** A regular file, for a range; O_DIRECT wants the range in whole blocks. EBADF, ENOENT, EISDIR, EINVAL. */
  file(fd: Fd, flags: number, offset: number, size: number): MemNode {
    const open = this.#open(fd);
    const { node } = open;
    if (!node.data) throw new FopError(node.isDir ? "EISDIR" : "EINVAL");
    if (offset < 0 || size < 0) throw new FopError("EINVAL");
    const direct = open.direct ?? ((fd.flags | flags) & O_DIRECT) !== 0;
    if (direct && (offset % BLOCK_BYTES !== 0 || size % BLOCK_BYTES !== 0)) throw new FopError("EINVAL");
    return node;
  }

  /** EBADF, ENOENT, ENOTDIR. */
  listing(fd: Fd): Listing {
    const open = this.#open(fd);
    if (!open.node.isDir) throw new FopError("ENOTDIR");
    return open.listing ?? new Listing(open.node);
  }

  #open(fd: Fd): Open {
    const open = this.#opens.get(fd);
    if (open) return open;
    if (!fd.anonymous) throw new FopError("EBADF");
    const node = this.#disk.find(fd.inode.gfid);
    if (!node) throw new FopError("ENOENT");
    return { node };
  }

  #add(fd: Fd, open: Open): void {
    this.close(fd);
    open.node.opens++;
    this.#opens.set(fd, open);
  }
}
