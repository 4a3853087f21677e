/**
 * `mortar stat SOURCE...`: all attributes of files in volumes, gfid included; of a volume's root also its
 * space.
 */

import { FopError, UserError } from "../../core/errors.ts";
import type { Statfs } from "../../core/fops.ts";
import { gfidText } from "../../core/gfid.ts";
import type { Iatt } from "../../core/iatt.ts";
import { sizeText } from "../heal-progress.ts";
import { writeOut } from "../output.ts";
import { fullTimeText, modeText, typeName } from "./attributes.ts";
import { parseVolumePlace } from "./place.ts";
import { each, FileSession } from "./session.ts";
import { reason, shownName } from "./words.ts";

export interface StatFlags {
  /** Of what a symlink leads to. */
  readonly dereference?: boolean;
  readonly json?: boolean;
}

export function statCommand(words: readonly string[], flags: StatFlags): Promise<void> {
  const places = words.map(parseVolumePlace);
  return FileSession.run((session) =>
    each(places, session, async (place) => {
      const volume = await session.volume(place);
      const { path, text } = place;
      try {
        const stat = await (flags.dereference ? volume.stat(path) : volume.lstat(path));
        const statfs = path === "/" ? await volume.statfs() : undefined;
        await writeOut(flags.json ? statJson(path, stat, statfs) : statText(text, stat, statfs));
      } catch (error) {
        if (!(error instanceof FopError)) throw error;
        throw new UserError(`stat: "${text}": ${reason(error)}`, { cause: error });
      }
    }),
  );
}

export function statText(text: string, stat: Iatt, statfs?: Statfs): string {
  const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
  return [
    `  File: ${shownName(text)}`,
    `  Size: ${stat.size} (${sizeText(stat.size)})  Allocated: ${sizeText(stat.blocks * 512)}  ${typeName(stat.mode)}`,
    `  Gfid: ${gfidText(stat.gfid)}  Links: ${stat.nlink}`,
    `Access: (${mode}/${modeText(stat.mode)})  Uid: ${stat.uid}  Gid: ${stat.gid}`,
    `Access: ${fullTimeText(stat.atime, stat.atimeNsec)}`,
    `Modify: ${fullTimeText(stat.mtime, stat.mtimeNsec)}`,
    `Change: ${fullTimeText(stat.ctime, stat.ctimeNsec)}`,
    ...(statfs ? [`Volume: ${spaceText(statfs)}`] : []),
    "",
  ].join("\n");
}

function spaceText({ blocks, bavail, frsize, files, ffree }: Statfs): string {
  const free = `${sizeText(bavail * frsize)} of ${sizeText(blocks * frsize)} free`;
  return `${free}, ${files - ffree} inodes of ${files} in use`;
}

function statJson(path: string, stat: Iatt, statfs?: Statfs): string {
  const { gfid, dev: _dev, ...rest } = stat;
  const all = {
    path,
    gfid: gfidText(gfid),
    type: typeName(stat.mode),
    ...rest,
    ...(statfs ? { statfs } : {}),
  };
  return `${JSON.stringify(all, undefined, 2)}\n`;
}
