/**
 * Batches of fsync calls that allow it (option batch-fsync-mode): what arrives while a batch is collected or
 * synced is synced together, in reverse order of arrival, because the newest file's sync tends to carry the
 * older ones' journal entries along.
 */

import type { Env } from "../../../src/core/env.ts";
import type { DiskIo } from "../../../src/os/disk-io.ts";
import { syncfs } from "../../../src/os/files.ts";
import type { OpenFile } from "./open-files.ts";
import type { PosixOptions } from "./options.ts";

type BatchMode = PosixOptions["batch-fsync-mode"];

interface Waiting {
  readonly file: OpenFile;
  datasync: boolean;
  readonly done: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class FsyncBatch {
  readonly #io: DiskIo;
  readonly #env: Env;
  readonly #options: () => { mode: BatchMode; delayMs: number };
  /** By OS fd; in order of arrival. */
  #waiting = new Map<number, Waiting>();
  #collecting = false;

  constructor(io: DiskIo, env: Env, options: () => { mode: BatchMode; delayMs: number }) {
    this.#io = io;
    this.#env = env;
    this.#options = options;
  }

  /** Resolves when the file is on disk. The caller keeps the file open until then. */
  add(file: OpenFile, datasync: boolean): Promise<void> {
    const known = this.#waiting.get(file.osFd);
    if (known) {
      known.datasync &&= datasync;
      return known.done;
    }
    const { promise: done, resolve, reject } = newDeferred();
    this.#waiting.set(file.osFd, { file, datasync, done, resolve, reject });
    if (!this.#collecting) {
      this.#collecting = true;
      this.#env.clock.after(this.#options().delayMs, () => void this.#sync());
    }
    return done;
  }

  async #sync(): Promise<void> {
    const batch = [...this.#waiting.values()].reverse();
    this.#waiting = new Map();
    this.#collecting = false;
    const { mode } = this.#options();
    try {
      if (mode.startsWith("syncfs")) await syncfs(batch[0]!.file.osFd);
    } catch (error) {
      for (const { reject } of batch) reject(error);
      return;
    }
    const synced = mode === "syncfs" ? 0 : mode === "syncfs-single-fsync" ? 1 : batch.length;
    for (let i = 0; i < batch.length; i++) {
      const { file, datasync, resolve, reject } = batch[i]!;
      if (i < synced) await this.#io.fsync(file.osFd, datasync).then(resolve, reject);
      else resolve();
    }
  }
}

function newDeferred(): { promise: Promise<void>; resolve: () => void; reject: (error: unknown) => void } {
  let resolve!: () => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
