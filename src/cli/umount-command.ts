/** `mortar umount`: by umount(8) as root, by fusermount3 otherwise. Returns when the kernel has let go. */

import { execFile } from "node:child_process";
import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { mountAt } from "../../mount/dev-fuse/mount-table.ts";
import { UserError } from "../core/errors.ts";

export async function umountCommand(where: string, flags: { readonly lazy?: boolean }): Promise<void> {
  const mountpoint = place(resolve(where));
  const kind = mountAt(mountpoint)?.type;
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

/**
 * Symbolic links on the way resolved, without touching the mount point itself: a dead mount would not answer.
 */
function place(mountpoint: string): string {
  try {
    return join(realpathSync(dirname(mountpoint)), basename(mountpoint));
  } catch {
    return mountpoint;
  }
}
