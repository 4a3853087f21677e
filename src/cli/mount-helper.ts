/**
 * `mount -t mortar` and fstab: mount(8) runs /sbin/mount.mortar with its own argument order (mount(8),
 * EXTERNAL HELPERS).
 *
 * The helper is installed by an explicit command only: nothing else of Mortar writes outside its own
 * directories. It names this installation and this node by absolute paths, since mount(8) runs helpers with a
 * short PATH.
 */

import { spawnSync } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../core/errors.ts";
import { parseOptionLists } from "./mount-options.ts";

const LAUNCHER = fileURLToPath(new URL("./mortar", import.meta.url));
const MARK = "# Mount helper of Mortar";

/** Writes `DIR/mount.mortar`; a file of somebody else under that name stays. */
export function installHelper(dir: string): void {
  const path = join(dir, "mount.mortar");
  const before = readIfThere(path);
  if (before !== undefined && !before.includes(MARK))
    throw new UserError(`install-helper: "${path}": another program has that name`);
  const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const script = [
    "#!/bin/sh",
    `${MARK}: see mount(8), EXTERNAL HELPERS. Written by \`mortar install-helper\`.`,
    `MORTAR_NODE=${quote(process.execPath)}; export MORTAR_NODE`,
    `exec ${quote(LAUNCHER)} mount-helper "$@"`,
    "",
  ].join("\n");
  try {
    writeFileSync(path, script);
    chmodSync(path, 0o755);
  } catch (error) {
    throw new UserError(`install-helper: "${path}": ${(error as Error).message}`);
  }
  process.stdout.write(`installed ${path}\n`);
}

interface HelperArguments {
  readonly source: string;
  readonly mountpoint: string;
  readonly lists: readonly string[];
  /** `-f`: do everything but mount. */
  readonly fake: boolean;
}

/** `mount.mortar SOURCE MOUNTPOINT [-sfnvrw] [-N NAMESPACE] [-t TYPE] [-o LIST]` */
export function mountHelper(args: readonly string[]): void {
  const { source, mountpoint, lists, fake } = parseHelperArguments(args);
  parseOptionLists(lists);
  if (fake) return;
  const mountArgs = ["mount", source, mountpoint, ...lists.flatMap((list) => ["-o", list])];
  const { status } = spawnSync(LAUNCHER, mountArgs, { stdio: "inherit" });
  // mount(8) shows a helper's exit code; 32 is its word for "the mount failed".
  process.exitCode = status === 0 ? 0 : 32;
}

export function parseHelperArguments(args: readonly string[]): HelperArguments {
  const names: string[] = [];
  const lists: string[] = [];
  let fake = false;
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (!arg.startsWith("-") || arg === "-") {
      names.push(arg);
      continue;
    }
    for (const [index, flag] of [...arg.slice(1)].entries()) {
      if (flag === "f") fake = true;
      else if (flag === "r") lists.push("ro");
      else if (flag === "o" || flag === "t" || flag === "N") {
        const value = arg.slice(index + 2) || args[++at];
        if (value === undefined) throw new UserError(`mount.mortar: -${flag} needs a value`);
        if (flag === "N") throw new UserError("mount.mortar: -N: other mount namespaces are not supported");
        if (flag === "o") lists.push(value);
        break;
      } else if (!"snvw".includes(flag)) throw new UserError(`mount.mortar: unknown option -${flag}`);
    }
  }
  const [source, mountpoint, ...more] = names;
  if (source === undefined || mountpoint === undefined || more.length > 0)
    throw new UserError("mount.mortar: usage: mount.mortar SOURCE MOUNTPOINT [-o OPTIONS]");
  return { source, mountpoint, lists, fake };
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
