/**
 * The janitor: purges directories that were removed with their contents, which lie in `.glusterfs/landfill`,
 * in the background (spec translators.md 2.1). An error leaves the rest for the next round.
 */

import type { Env, Timer } from "../../../src/core/env.ts";
import { toFopError } from "../../../src/core/errors.ts";
import { isNullGfid } from "../../../src/core/gfid.ts";
import { isDir } from "../../../src/core/iatt.ts";
import { lstat, readdir, rmdir, unlink } from "../../../src/os/files.ts";
import { linksOf } from "./attributes.ts";
import type { Brick } from "./brick.ts";
import { HIDDEN } from "./handle.ts";

export class Janitor {
  readonly #brick: Brick;
  readonly #env: Env;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(brick: Brick) {
    this.#brick = brick;
    this.#env = brick.env;
  }

  start(): void {
    if (this.#stopped) return;
    const delayMs = this.#brick.options["janitor-sleep-duration"] * 1000;
    this.#timer = this.#env.clock.after(delayMs, () => {
      this.#running = this.purge().finally(() => this.start());
    });
  }

  /** Ends after what is being removed at this moment. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  /** Empties the landfill once. Never rejects. */
  async purge(): Promise<void> {
    if (this.#brick.options["disable-landfill-purge"]) return;
    try {
      await this.#clear(`${this.#brick.base}/${HIDDEN}/landfill`);
    } catch (error) {
      this.#brick.log.warn("landfill not emptied", { code: toFopError(error).code });
    }
  }

  async #clear(directory: string): Promise<void> {
    for (const entry of await readdir(directory)) {
      if (this.#stopped) return;
      await this.#remove(`${directory}/${entry.name}`);
    }
  }

  async #remove(path: string): Promise<void> {
    const brick = this.#brick;
    const stat = await lstat(path);
    const gfid = await brick.gfidOn(path);
    if (isDir(stat)) {
      await this.#clear(path);
      if (this.#stopped) return;
      await rmdir(path);
      // A file may have taken the name that the handle leads to; only a handle that leads nowhere goes.
      if (!isNullGfid(gfid) && !(await this.#isReachable(gfid))) await brick.handles.unlink(gfid);
      return;
    }
    await brick.withLinks(gfid, async (state) => {
      const links = linksOf(await lstat(path));
      if (links <= 1 && !isNullGfid(gfid)) {
        if (state.opens > 0) await brick.handles.park(gfid);
        else await brick.handles.unlink(gfid);
        state.removed = true;
        brick.files.dropAnonymous(state);
      }
      await unlink(path);
    });
  }

  async #isReachable(gfid: Parameters<Brick["handles"]["findDirectory"]>[0]): Promise<boolean> {
    try {
      await this.#brick.handles.findDirectory(gfid);
      return true;
    } catch {
      return false;
    }
  }
}
