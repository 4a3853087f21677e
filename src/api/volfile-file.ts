/**
 * Volfiles from files. That of an embedded volume is watched: whoever serves the volume writes it anew when a
 * setting is made there, and clients that are open then follow, as those of a server's volume do. Other
 * volfiles are not: people edit them, and say when they are done (SIGHUP).
 */

import { existsSync, type FSWatcher, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { UserError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { parseVolfile, type Volfile } from "../graph/volfile.ts";
import { EMBEDDED_CLIENT_VOLFILE, EMBEDDED_STATE } from "./source.ts";

/** A volfile is text of some kilobytes; a larger file is something else. */
const VOLFILE_BYTES_MAX = 16 * 1024 * 1024;

/** Reads and parses a file. Throws UserError. */
export async function readVolfile(path: string): Promise<Volfile> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new UserError(`volfile "${path}": ${fileTrouble(error)}`);
  }
  if (bytes.length > VOLFILE_BYTES_MAX)
    throw new UserError(`volfile "${path}": ${bytes.length} bytes are no volfile`);
  return parseVolfile(bytes.toString("utf8"), path);
}

/** Follows a file, as `ServerVolfile` does a server. */
export class FileVolfile {
  readonly #path: string;
  readonly #log: Logger;
  #watcher: FSWatcher | undefined;
  #closed = false;
  #turn: Promise<void> = Promise.resolve();

  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
  }

  /**
   * Calls back with each new volfile of an embedded volume, in their order; never for other files. A
   * directory that cannot be watched is a warning: the client goes on with what it has.
   */
  watch(onVolfile: (fresh: Volfile) => void): void {
    const directory = dirname(this.#path);
    if (basename(this.#path) !== EMBEDDED_CLIENT_VOLFILE || !existsSync(join(directory, EMBEDDED_STATE)))
      return;
    const lost = (error: unknown): void =>
      this.#log.warn("settings that are made from now on will not be seen", { directory, error });
    try {
      this.#watcher = watch(directory, { persistent: false }, (_event, name) => {
        // It comes by a rename, whole.
        if (name === EMBEDDED_CLIENT_VOLFILE) this.#turn = this.#turn.then(() => this.#take(onVolfile));
      });
      this.#watcher.on("error", lost);
    } catch (error) {
      lost(error);
    }
    // What was written between the reading and the watching.
    this.#turn = this.#take(onVolfile);
  }

  close(): void {
    this.#closed = true;
    this.#watcher?.close();
  }

  async #take(onVolfile: (fresh: Volfile) => void): Promise<void> {
    try {
      const fresh = await readVolfile(this.#path);
      if (!this.#closed) onVolfile(fresh);
    } catch (error) {
      this.#log.warn("changed settings are not taken over", { error });
    }
  }
}

function fileTrouble(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOENT":
      return "there is no such file; a server's volume is written HOST:/VOLUME";
    case "EISDIR":
      return "is a directory";
    case "EACCES":
      return "permission denied";
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
