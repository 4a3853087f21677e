/** `mortar ls SOURCE...`: directories and files of volumes, one a line, in the order of their names. */

import { FopError, UserError } from "../../core/errors.ts";
import { gfidText } from "../../core/gfid.ts";
import { type Iatt, isDir } from "../../core/iatt.ts";
import { encodeName } from "../../core/name.ts";
import { sizeText } from "../heal-progress.ts";
import { writeOut } from "../output.ts";
import { modeText, timeText } from "./attributes.ts";
import { parseVolumePlace, type VolumePlace } from "./place.ts";
import { each, FileSession } from "./session.ts";
import { reason, shownName } from "./words.ts";

export interface LsFlags {
  readonly long?: boolean;
  readonly all?: boolean;
  readonly humanReadable?: boolean;
  readonly directory?: boolean;
  readonly json?: boolean;
}

interface Listed {
  readonly name: string;
  readonly stat: Iatt;
  /** Of a symlink, with --long. */
  readonly target?: string;
}

export function lsCommand(words: readonly string[], flags: LsFlags): Promise<void> {
  const places = words.map(parseVolumePlace);
  return FileSession.run((session) =>
    each(places, session, async (place) => {
      const entries = await list(session, place, flags);
      if (flags.json) await writeOut(`${JSON.stringify(entries.map(jsonEntry), undefined, 2)}\n`);
      else {
        if (places.length > 1) await writeOut(`${shownName(place.text)}:\n`);
        await writeOut(flags.long ? longLines(entries, flags) : nameLines(entries));
      }
    }),
  );
}

async function list(session: FileSession, place: VolumePlace, flags: LsFlags): Promise<Listed[]> {
  const volume = await session.volume(place);
  const { path } = place;
  try {
    const stat = await (flags.directory ? volume.lstat(path) : volume.stat(path));
    if (flags.directory || !isDir(stat)) {
      if (place.mustBeDirectory && !isDir(stat)) throw new FopError("ENOTDIR");
      return [{ name: path, stat }];
    }
    const entries: Listed[] = [];
    for await (const entry of volume.readdir(path, { signal: session.signal })) {
      if (entry.name.startsWith(".") && !flags.all) continue;
      const isLink = (entry.stat.mode & 0o170000) === 0o120000;
      const target = flags.long && isLink ? await volume.readlink(`${path}/${entry.name}`) : undefined;
      entries.push({ name: entry.name, stat: entry.stat, ...(target === undefined ? {} : { target }) });
    }
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    if (!(error instanceof FopError)) throw error;
    throw new UserError(`ls: "${place.text}": ${reason(error)}`, { cause: error });
  }
}

/** On a terminal what would disturb it is shown as "?"; a pipe gets the bytes. */
function printable(name: string): string {
  return process.stdout.isTTY ? shownName(name) : name;
}

function nameLines(entries: readonly Listed[]): Buffer {
  return encodeName(entries.map(({ name }) => `${printable(name)}\n`).join(""));
}

function longLines(entries: readonly Listed[], { humanReadable }: LsFlags): Buffer {
  const rows = entries.map(({ name, stat, target }) => [
    modeText(stat.mode),
    String(stat.nlink),
    String(stat.uid),
    String(stat.gid),
    humanReadable ? sizeText(stat.size) : String(stat.size),
    timeText(stat.mtime),
    printable(target === undefined ? name : `${name} -> ${target}`),
  ]);
  const widths = [0, 1, 2, 3, 4, 5].map((column) => Math.max(0, ...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) => row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join(" "));
  return encodeName(lines.map((line) => `${line}\n`).join(""));
}

function jsonEntry({ name, stat }: Listed): object {
  const { mode, nlink, uid, gid, size, blocks, mtime } = stat;
  return { name, mode: modeText(mode), nlink, uid, gid, size, blocks, mtime, gfid: gfidText(stat.gfid) };
}
