/**
 * One run of a file command: the volumes that its arguments name, each opened once and closed at the end, and
 * the wish to stop (Ctrl-C, SIGTERM), which ends waits and begins the cleaning up.
 */

import { constants } from "node:os";
import { sourceText } from "../../api/source.ts";
import type { Volume } from "../../api/volume.ts";
import { keepAlive, nodeEnv } from "../../core/env-node.ts";
import { UserError } from "../../core/errors.ts";
import { SILENT } from "../../core/log.ts";
import { openAnyVolume } from "../../process/embedded-use.ts";
import { onStopSignal } from "../signals.ts";
import { LocalTree } from "./local-tree.ts";
import type { Place, VolumePlace } from "./place.ts";
import type { Tree } from "./tree.ts";
import { VolumeTree } from "./volume-tree.ts";

/** Why a command ended early. */
class Stopped extends Error {}

const LOCAL = new LocalTree();

export class FileSession {
  readonly #volumes = new Map<string, Promise<Volume>>();
  readonly #stop = new AbortController();

  /** Aborted when the user wants an end. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /**
   * Runs a command to its end, whatever that is: everything opened is closed, the process has its exit code
   * (1 when `work` says false, 128 and the signal's number when it was stopped), and does not wait for more.
   */
  static async run(work: (session: FileSession) => Promise<boolean>): Promise<void> {
    const session = new FileSession();
    const release = keepAlive();
    let code = 0;
    onStopSignal((signal) => {
      code = 128 + constants.signals[signal];
      session.#stop.abort(new Stopped());
    });
    try {
      if (!(await work(session)) && code === 0) code = 1;
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
    } finally {
      await session.#close();
      release();
    }
    // Output that nobody reads would keep a process that was told to stop.
    if (session.signal.aborted) process.exit(code);
    process.exitCode = code;
  }

  /** The volume of a place. Rejects with UserError, or because the user wants an end. */
  async volume(place: VolumePlace): Promise<Volume> {
    const key = sourceText(place.source);
    let volume = this.#volumes.get(key);
    if (!volume) {
      volume = openAnyVolume(place.source, { env: nodeEnv(SILENT), signal: this.signal });
      this.#volumes.set(key, volume);
    }
    return volume;
  }

  /** The volumes that were opened. */
  async opened(): Promise<Volume[]> {
    const opened = await Promise.allSettled(this.#volumes.values());
    return opened.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  }

  async tree(place: Exclude<Place, { kind: "stream" }>): Promise<Tree> {
    if (place.kind === "local") return LOCAL;
    return new VolumeTree(await this.volume(place), sourceText(place.source));
  }

  async #close(): Promise<void> {
    for (const opening of this.#volumes.values()) {
      const volume = await opening.catch(() => undefined);
      await volume?.close();
    }
  }
}

/** Does something with each argument; tells what fails in a line each and goes on. False when one failed. */
export async function each<T>(
  items: readonly T[],
  session: FileSession,
  work: (item: T) => Promise<void>,
): Promise<boolean> {
  let well = true;
  for (const item of items) {
    session.signal.throwIfAborted();
    try {
      await work(item);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      process.stderr.write(`mortar: ${error.message}\n`);
      well = false;
    }
  }
  return well;
}
