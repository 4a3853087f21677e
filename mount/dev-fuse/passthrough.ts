/**
 * Passthrough: the kernel reads a local brick's file itself (Linux 6.9, CAP_SYS_ADMIN).
 *
 * Only where the graph says that a file of this process reads the same (`localFile`), and only for readers: a
 * writer that the kernel served would go on writing to the brick after this process has died and its locks
 * with it. Everything but reads, splices and maps of files opened read-only still comes as requests.
 *
 * The kernel wants all opens of an inode to be alike while one passes through (fs/fuse/iomode.c): a writer
 * that comes then is opened as passing through with direct I/O, which means requests; and a file that is open
 * without passthrough keeps later readers from it.
 */

import { FopError } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import type { XlatorBase } from "../../src/core/xlator.ts";
import { closeBacking, openBacking } from "../../src/os/fuse-dev.ts";
import type { FileHandle } from "../handles.ts";

/** What the kernel knows of a file that it reads and writes itself. */
export interface Backing {
  /** The kernel's number for it. */
  readonly id: number;
  /** Open handles that use it. */
  handles: number;
}

/** The kernel's list of such files; the real one, or a test's. */
export interface Backings {
  /** Number for an open descriptor. Throws FopError. */
  open(osFd: number): number;
  close(id: number): void;
}

/** Those of a mount, by its open /dev/fuse. */
export function kernelBackings(device: number): Backings {
  return { open: (osFd) => openBacking(device, osFd), close: (id) => closeBacking(device, id) };
}

export class Passthrough {
  readonly #backings: Backings;
  readonly #top: Pick<XlatorBase, "localFile">;
  readonly #log: Logger;
  #refused = false;

  constructor(backings: Backings, top: Pick<XlatorBase, "localFile">, log: Logger) {
    this.#backings = backings;
    this.#top = top;
    this.#log = log;
  }

  /** Number for the answer to an open, its handle being in its node's list; 0: its I/O comes as requests. */
  opened(handle: FileHandle): number {
    const { node } = handle;
    if (node.backing === undefined && node.open.length > 1) return 0;
    node.backing ??= this.#begin(handle);
    if (node.backing === undefined) return 0;
    node.backing.handles++;
    handle.passesThrough = true;
    return node.backing.id;
  }

  /** The kernel gave the handle back. */
  released(handle: FileHandle): void {
    const { node } = handle;
    if (!handle.passesThrough || node.backing === undefined) return;
    handle.passesThrough = false;
    if (--node.backing.handles > 0) return;
    this.#backings.close(node.backing.id);
    node.backing = undefined;
  }

  #begin(handle: FileHandle): Backing | undefined {
    if (this.#refused || !handle.isReader) return undefined;
    const osFd = this.#top.localFile(handle.fd);
    if (osFd === undefined) return undefined;
    try {
      return { id: this.#backings.open(osFd), handles: 0 };
    } catch (error) {
      // The privilege or the file system below will not change while this mount lives.
      this.#refused = true;
      const code = error instanceof FopError ? error.code : String(error);
      this.#log.info("no passthrough: the kernel refuses the brick's files", { code });
      return undefined;
    }
  }
}
