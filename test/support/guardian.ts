/** Starts guardian.sh, which takes away what this process leaves behind when it is killed. */

import { type ChildProcess, spawn } from "node:child_process";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("./guardian.sh", import.meta.url));

export class Guardian {
  readonly #child: ChildProcess;

  /** Watches over a directory, and over processes with a mark (Processes.mark) in their environment. */
  constructor(mark: string, directory: string) {
    this.#child = spawn("sh", [SCRIPT, mark, directory, testVolumePrefix()], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    this.#child.unref();
    // It is not waited for, and whether it still reads does not matter.
    (this.#child.stdin as Socket).unref();
    this.#child.stdin!.on("error", () => {});
  }

  /** Nothing is left to take away. */
  dismiss(): void {
    this.#child.stdin!.end("done\n");
  }
}

/** How the names of this process' volumes of glusterd begin. */
export function testVolumePrefix(): string {
  return `mortar-test-${process.pid}-`;
}
