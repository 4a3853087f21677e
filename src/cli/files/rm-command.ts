/** `mortar rm SOURCE...`: removes files of volumes, and trees with -r. */

import type { Volume } from "../../api/volume.ts";
import { FopError, UserError } from "../../core/errors.ts";
import { isDir } from "../../core/iatt.ts";
import { parseVolumePlace, type VolumePlace } from "./place.ts";
import { waitForRemovals } from "./removals.ts";
import { each, FileSession } from "./session.ts";
import { reason } from "./words.ts";

const WAIT_MAX_SEC = 86_400;

export interface RmFlags {
  readonly recursive?: boolean;
  /** What is not there is no failure. */
  readonly force?: boolean;
  /** Seconds for the blocks of removed files to go. */
  readonly wait: string;
}

export function rmCommand(words: readonly string[], flags: RmFlags): Promise<void> {
  const places = words.map(parseVolumePlace);
  const seconds = parseWait(flags.wait);
  return FileSession.run(async (session) => {
    const well = await each(places, session, (place) => removeOne(session, place, flags));
    const { signal } = session;
    if (seconds > 0 && !(await waitForRemovals(await session.opened(), { seconds, signal })))
      process.stderr.write("mortar: rm: blocks of removed files are left; the next client removes them\n");
    return well;
  });
}

/** Throws UserError. */
export function parseWait(text: string): number {
  const seconds = text.trim() === "" ? Number.NaN : Number(text);
  if (!(seconds >= 0) || seconds > WAIT_MAX_SEC)
    throw new UserError(`rm: --wait "${text}": is not a number of seconds from 0 to ${WAIT_MAX_SEC}`);
  return seconds;
}

async function removeOne(session: FileSession, place: VolumePlace, flags: RmFlags): Promise<void> {
  const { path, text } = place;
  if (path === "/") throw new UserError(`rm: "${text}": is the root of the volume; name what is in it`);
  const volume = await session.volume(place);
  try {
    const isDirectory = isDir(await volume.lstat(path));
    if (!isDirectory && place.mustBeDirectory) throw new FopError("ENOTDIR");
    if (!isDirectory) await volume.unlink(path);
    else if (flags.recursive) await removeTree(volume, path, session.signal);
    else throw new UserError(`rm: "${text}": is a directory; -r removes it and all that is in it`);
  } catch (error) {
    if (!(error instanceof FopError)) throw error;
    if (error.code === "ENOENT" && flags.force) return;
    throw new UserError(`rm: "${text}": ${reason(error)}`, { cause: error });
  }
}

/** Depth first. A listing is complete before anything of it goes: removing moves a directory's offsets. */
export async function removeTree(volume: Volume, path: string, signal: AbortSignal): Promise<void> {
  const entries = [];
  for await (const { name, stat } of volume.readdir(path, { signal })) entries.push({ name, stat });
  for (const { name, stat } of entries) {
    signal.throwIfAborted();
    const child = `${path}/${name}`;
    if (isDir(stat)) await removeTree(volume, child, signal);
    else await volume.unlink(child);
  }
  await volume.rmdir(path);
}
