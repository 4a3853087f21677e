/**
 * The guard: a small process (guard.sh) that outlives the mount process and unmounts what it left behind, so
 * that a mount point never stays as "transport endpoint is not connected". It lives in a session of its own
 * and holds nothing but a pipe. What kills both at once (a control group being killed) it cannot help.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Logger } from "../../src/core/log.ts";
import { mountAt } from "./mount-table.ts";
import { MOUNT_TYPE } from "./mounting.ts";

const SCRIPT = fileURLToPath(new URL("./guard.sh", import.meta.url));

export class Guard {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /**
   * Watches over the mount on `point`; undefined when there is none, e.g. because it was unmounted meanwhile.
   */
  static start(point: string, byHelper: boolean, log: Logger): Guard | undefined {
    const entry = mountAt(point);
    if (entry?.type !== MOUNT_TYPE) return undefined;
    const { id, device, escapedPoint } = entry;
    const tool = byHelper ? "fusermount3" : "umount";
    const child = spawn("/bin/sh", [SCRIPT, id, device, escapedPoint, point, tool], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
      cwd: "/",
    });
    child.on("error", (error) => log.warn("mount guard did not start", { error }));
    child.stdin?.on("error", (error) => log.warn("mount guard is gone", { error }));
    child.unref();
    // The pipe must not keep the process alive either; its handle has unref, though stdin's type hides it.
    (child.stdin as unknown as { unref?(): void })?.unref?.();
    return new Guard(child);
  }

  /** The mount is gone: the guard ends without doing anything. */
  dismiss(): void {
    this.#child.stdin?.end("unmounted\n");
  }
}
