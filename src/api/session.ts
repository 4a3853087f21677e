/**
 * What all views and open files of one volume share: the graph, the inode table, which files are open, and
 * the end of it all.
 */

import { FopError } from "../core/errors.ts";
import { type Fd, InodeTable } from "../core/inode.ts";
import type { XlatorBase } from "../core/xlator.ts";
import type { Graph } from "../graph/graph.ts";

interface OpenFile {
  readonly fd: Fd;
  close(): Promise<void>;
}

export class Session {
  readonly graph: Graph;
  readonly inodes: InodeTable;
  readonly #files = new Set<OpenFile>();
  #closing: Promise<void> | undefined;

  constructor(graph: Graph) {
    this.graph = graph;
    this.inodes = new InodeTable({ onForget: (inode) => graph.top.forget(inode) });
  }

  get top(): XlatorBase {
    return this.graph.top;
  }

  /** Throws EBADF once the volume is closed. */
  check(): void {
    if (this.#closing) throw new FopError("EBADF", { message: "the volume is closed" });
  }

  opened(file: OpenFile): void {
    this.inodes.hold(file.fd.inode);
    this.#files.add(file);
  }

  closed(file: OpenFile): void {
    if (this.#files.delete(file)) this.inodes.letGo(file.fd.inode);
  }

  /**
   * Closes the files that are still open, then stops the graph. Rejects, after that, with the first failure
   * of a close: something acknowledged early may be lost.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closes = await Promise.allSettled([...this.#files].map((file) => file.close()));
    await this.graph.stop();
    for (const close of closes) if (close.status === "rejected") throw close.reason;
  }
}
