/** `mortar truncate -s SIZE SOURCE...`: sets sizes, as truncate(1); files that are not there are made. */

import { FopError, UserError } from "../../core/errors.ts";
import { O_CREAT, O_RDWR } from "../../core/open-flags.ts";
import { parseVolumePlace, type VolumePlace } from "./place.ts";
import { each, FileSession } from "./session.ts";
import { reason } from "./words.ts";

export interface TruncateFlags {
  readonly size: string;
  /** False after --no-create. */
  readonly create: boolean;
}

export interface SizeChange {
  readonly how: "to" | "more" | "less";
  readonly bytes: number;
}

export function truncateCommand(words: readonly string[], flags: TruncateFlags): Promise<void> {
  const change = parseSizeChange(flags.size);
  const places = words.map(parseVolumePlace);
  return FileSession.run((session) =>
    each(places, session, (place) => truncateOne(session, place, change, flags.create)),
  );
}

async function truncateOne(
  session: FileSession,
  place: VolumePlace,
  { how, bytes }: SizeChange,
  create: boolean,
): Promise<void> {
  const volume = await session.volume(place);
  try {
    await using file = await volume.open(place.path, create ? O_CREAT | O_RDWR : O_RDWR);
    const before = how === "to" ? 0 : (await file.stat()).size;
    await file.truncate(how === "less" ? Math.max(0, before - bytes) : before + bytes);
    await file.fsync();
  } catch (error) {
    if (!(error instanceof FopError)) throw error;
    if (error.code === "ENOENT" && !create) return;
    throw new UserError(`truncate: "${place.text}": ${reason(error)}`, { cause: error });
  }
}

const UNITS: Readonly<Record<string, number>> = { "": 0, K: 1, M: 2, G: 3, T: 4, P: 5 };

/** `10G`, `+512M`, `-1G`; units of 1024 (K, KiB) or 1000 (KB). Throws UserError. */
export function parseSizeChange(text: string): SizeChange {
  const match = /^([+-]?)(\d+)([KMGTP]?)(iB|B)?$/i.exec(text);
  const unit = match?.[3]?.toUpperCase() ?? "";
  const isDecimal = match?.[4]?.toUpperCase() === "B" && unit !== "";
  const bytes = match ? Number(match[2]) * (isDecimal ? 1000 : 1024) ** UNITS[unit]! : Number.NaN;
  if (!match || !Number.isSafeInteger(bytes))
    throw new UserError(`truncate: size "${text}": is no size like 10G, +512M or -1G`);
  return { how: match[1] === "+" ? "more" : match[1] === "-" ? "less" : "to", bytes };
}
