/** `mortar umount`: by umount(8) as root, by fusermount3 otherwise; waits until the kernel has let go. */

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { UserError } from "../core/errors.ts";

export async function umountCommand(where: string, flags: { readonly lazy?: boolean }): Promise<void> {
  const mountpoint = resolve(where);
  const kind = mountedKind(mountpoint);
  if (kind === undefined) throw new UserError(`umount "${mountpoint}": nothing is mounted there`);
  if (!kind.startsWith("fuse.mortar"))
    throw new UserError(
      `umount "${mountpoint}": a file system of type ${kind} is mounted there, not Mortar's`,
    );
  const root = process.getuid?.() === 0;
  const lazy = flags.lazy ? [root ? "-l" : "-z"] : [];
  const [command, args] = root
    ? ["umount", [...lazy, mountpoint]]
    : ["fusermount3", ["-u", ...lazy, mountpoint]];
  try {
    await promisify(execFile)(command, args);
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split("\n").at(-1) || (error as Error).message;
    const busy = said.includes("busy") ? " (`--lazy` detaches it anyway)" : "";
    throw new UserError(`umount "${mountpoint}": ${said}${busy}`);
  }
}

/** Type of the uppermost file system mounted at a path, as /proc/self/mountinfo has it. */
function mountedKind(mountpoint: string): string | undefined {
  let kind: string | undefined;
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const place = before.split(" ")[4]?.replace(/\\([0-7]{3})/g, (_all, octal) => octalCharacter(octal));
    if (place === mountpoint) kind = after.split(" ")[0];
  }
  return kind;
}

function octalCharacter(octal: string): string {
  return String.fromCharCode(Number.parseInt(octal, 8));
}
