/**
 * Sending a command to the background: the same program again, detached, with its output in the log file and
 * a pipe on which it says that it is ready. The caller returns when it heard that.
 */

import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../core/errors.ts";
import { READY_FD_VARIABLE } from "./ready.ts";

/** The command of this installation. */
export const LAUNCHER = fileURLToPath(new URL("./mortar", import.meta.url));
/** Number of the pipe on which a child says that it is ready. */
export const READY_FD = 3;

/**
 * Runs `mortar ARGUMENTS` in the background; resolves when it is ready, rejects with its own reason when it
 * failed.
 */
export async function runInBackground(args: readonly string[], logFile: string): Promise<void> {
  const log = openLogFile(logFile);
  const child = spawn(LAUNCHER, args, {
    cwd: "/",
    detached: true,
    stdio: ["ignore", log, log, "pipe"],
    env: { ...process.env, [READY_FD_VARIABLE]: String(READY_FD) },
  });
  closeSync(log);
  const said = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.on("error", (error) => reject(new UserError(`cannot run ${LAUNCHER}: ${error.message}`)));
    child.stdio[READY_FD]!.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
    }).on("close", () => resolve(text.trimEnd()));
  });
  child.unref();
  if (said === "ready") return;
  if (said.startsWith("error ")) throw new UserError(said.slice("error ".length));
  throw new UserError(`the process ended without a word; its log is ${logFile}`);
}

/** Where a mount logs when nobody said: named like its mount point, as GlusterFS does. */
export function defaultLogFile(mountpoint: string): string {
  const name = mountpoint.replace(/^\/+|\/+$/g, "").replaceAll("/", "-") || "root";
  const directory =
    process.getuid?.() === 0
      ? "/var/log/mortar"
      : join(process.env["XDG_STATE_HOME"] ?? join(homedir(), ".local", "state"), "mortar");
  return join(directory, `${name}.log`);
}

function openLogFile(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true });
    return openSync(path, "a", 0o640);
  } catch (error) {
    throw new UserError(`log file "${path}": ${(error as Error).message}`);
  }
}
