/**
 * Passthrough: the kernel reads and writes a local brick's file itself (Linux 6.9, CAP_SYS_ADMIN).
 *
 * Only where the graph says of an fd that the file does the same (`localFile`). Everything but reads, writes,
 * splices and maps still is a request. A writer goes on when this process has died, its locks with it, and
 * only its fsync fails; maps outlive even its descriptors. So the brick lends no file that the next process
 * could not keep from others meanwhile (storage/posix/fence.ts). Files with set-id bits want requests: the
 * kernel's own writes take the bits whoever writes.
 *
 * The kernel wants all opens of an inode to be alike while one passes through (fs/fuse/iomode.c): whose I/O
 * must come as requests is opened as passing through with direct I/O, which means them (maps alone still are
 * the file's); and a file that is open without passthrough keeps later opens from it.
 */

import { FopError } from "../../src/core/errors.ts";
import { hasSetId } from "../../src/core/iatt.ts";
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
  readonly #forWriters: boolean;
  readonly #log: Logger;
  #refused = false;

  /** `forWriters` false: only for readers. */
  constructor(backings: Backings, top: Pick<XlatorBase, "localFile">, forWriters: boolean, log: Logger) {
    this.#backings = backings;
    this.#top = top;
    this.#forWriters = forWriters;
    this.#log = log;
  }

  /**
   * Number for the answer to an open, its handle being in its node's list, and in `passing` whose its I/O is;
   * 0: nothing of the inode passes through.
   */
  opened(handle: FileHandle): number {
    const { node } = handle;
    if (node.backing === undefined && (this.#refused || node.open.length > 1)) return 0;
    const osFd = this.#mayServe(handle) ? this.#top.localFile(handle.fd) : undefined;
    if (osFd !== undefined) node.backing ??= this.#begin(osFd);
    if (node.backing === undefined) return 0;
    node.backing.handles++;
    handle.passing = osFd === undefined ? "requests" : "kernel";
    return node.backing.id;
  }

  /** The kernel gave the handle back. */
  released(handle: FileHandle): void {
    const { node } = handle;
    if (handle.passing === "no" || node.backing === undefined) return;
    handle.passing = "no";
    if (--node.backing.handles > 0) return;
    this.#backings.close(node.backing.id);
    node.backing = undefined;
  }

  #mayServe(handle: FileHandle): boolean {
    return handle.isReader || (this.#forWriters && !hasSetId(handle.node.mode));
  }

  #begin(osFd: number): Backing | undefined {
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
