/** `mortar cat SOURCE...`: files of volumes to standard output, one after the other. */

import { FopError, UserError } from "../../core/errors.ts";
import { writeOut } from "../output.ts";
import { parseVolumePlace, type VolumePlace } from "./place.ts";
import { each, FileSession } from "./session.ts";
import { reason } from "./words.ts";

export function catCommand(words: readonly string[]): Promise<void> {
  const places = words.map(parseVolumePlace);
  return FileSession.run((session) => catPlaces("cat", session, places));
}

/** `who` is the command that messages name. False when one of them failed. */
export function catPlaces(
  who: string,
  session: FileSession,
  places: readonly VolumePlace[],
): Promise<boolean> {
  return each(places, session, async (place) => {
    const volume = await session.volume(place);
    try {
      await using file = await volume.open(place.path);
      for await (const chunk of file.chunks({ signal: session.signal })) {
        for (const part of chunk.data) await writeOut(part, session.signal);
        chunk.release();
      }
    } catch (error) {
      if (!(error instanceof FopError)) throw error;
      throw new UserError(`${who}: "${place.text}": ${reason(error)}`, { cause: error });
    }
  });
}
