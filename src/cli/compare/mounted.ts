/** A mount by a process of its own, as a user's would be, that this one starts and ends. */

import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { mountAt } from "../../../mount/dev-fuse/mount-table.ts";
import { UserError } from "../../core/errors.ts";
import { LAUNCHER, READY_FD } from "../daemon.ts";
import { READY_FD_VARIABLE } from "../ready.ts";
import { umountCommand } from "../umount-command.ts";

const END_MS = 20_000;

export interface MountedOptions {
  readonly source: string;
  readonly mountpoint: string;
  readonly edge: "dev-fuse" | "fuse-native";
  readonly logFile: string;
}

export class Mounted {
  readonly mountpoint: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;

  private constructor(mountpoint: string, child: ChildProcess, ended: Promise<void>) {
    this.mountpoint = mountpoint;
    this.#child = child;
    this.#ended = ended;
  }

  /** Resolves when the mount can be used; rejects with UserError. `signal` ends it. */
  static async start(options: MountedOptions, signal: AbortSignal): Promise<Mounted> {
    const { source, mountpoint, edge, logFile } = options;
    const args = ["mount", source, mountpoint, "--foreground", "--edge", edge, "--log-file", logFile];
    const child = spawn(LAUNCHER, args, {
      // Of a group of its own: Ctrl-C is for whoever unmounts it.
      detached: true,
      stdio: ["ignore", "ignore", "ignore", "pipe"],
      env: { ...process.env, [READY_FD_VARIABLE]: String(READY_FD) },
    });
    const ended = new Promise<void>((resolve) => {
      child.on("exit", () => resolve()).on("error", () => resolve());
    });
    const mounted = new Mounted(mountpoint, child, ended);
    const stop = (): void => void child.kill("SIGTERM");
    signal.addEventListener("abort", stop, { once: true });
    try {
      const said = await firstWords(child);
      signal.throwIfAborted();
      if (said === "ready") return mounted;
      const why = said.startsWith("error ") ? said.slice("error ".length) : await lastLine(logFile);
      throw new UserError(`compare: ${edge} mount: ${why}`);
    } catch (error) {
      child.kill("SIGTERM");
      await mounted.#gone();
      throw error;
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  /** Unmounts and waits for the end of the process; what does not end is killed. */
  async stop(): Promise<void> {
    await umountCommand(this.mountpoint, {}).catch(() => this.#child.kill("SIGTERM"));
    await this.#gone();
  }

  /**
   * The process has ended and the mount is no more. One that was killed leaves a mount that answers nobody.
   */
  async #gone(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), END_MS);
    await this.#ended;
    clearTimeout(timer);
    if (mountAt(this.mountpoint) === undefined) return;
    // The mount's own guard may be faster; then there is nothing left to do.
    await umountCommand(this.mountpoint, { lazy: true }).catch(() => {});
  }
}

/** What the child says on its pipe; nothing when it ends without a word. */
function firstWords(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.on("error", (error) => reject(new UserError(`compare: cannot run ${LAUNCHER}: ${error.message}`)));
    child.stdio[READY_FD]!.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
    }).on("close", () => resolve(text.trimEnd()));
  });
}

async function lastLine(logFile: string): Promise<string> {
  const text = await readFile(logFile, "utf8").catch(() => "");
  return text.trimEnd().split("\n").at(-1) || "ended without a word";
}
