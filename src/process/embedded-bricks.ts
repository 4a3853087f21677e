/**
 * The brick directories of an embedded volume: made once, and from then on each known by its place.
 *
 * Each carries its place from the start (storage/posix/place.ts): two that are swapped are refused before
 * they serve, and one that does not say where it belongs is not taken at all.
 */

import { access, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { createBrickDirectory } from "../../xlators/storage/posix/brick-dir.ts";
import { readPlace, writePlace } from "../../xlators/storage/posix/place.ts";
import { getXattr } from "../../xlators/storage/posix/target.ts";
import { UserError } from "../core/errors.ts";
import { type Gfid, gfidText } from "../core/gfid.ts";
import { KEY, PLACE_XATTR } from "../core/keys.ts";

const HIDDEN = ".glusterfs";
/** What a new file system comes with, and what an interrupted making leaves. */
const NOT_FILES = ["lost+found", HIDDEN];

/** One copy of the volume. */
export interface BrickPlace {
  /** Absolute. */
  readonly directory: string;
  /** What marks call this copy, e.g. `instances-client-1`. */
  readonly id: string;
  readonly index: number;
}

/** Makes a brick, or finishes one whose making was interrupted. Throws UserError. */
export async function makeBrick(place: BrickPlace, volumeId: Gfid): Promise<void> {
  const { directory, id } = place;
  const found = await volumeIdOf(directory);
  if (found === "foreign")
    throw new UserError(
      `brick "${directory}": has files and belongs to no volume; a new brick's directory must be empty`,
    );
  if (Buffer.isBuffer(found) && !found.equals(volumeId)) throw otherVolume(directory, found, volumeId);
  try {
    await mkdir(join(directory, HIDDEN), { recursive: true });
    const present = await readPlace(directory);
    if (present !== undefined && present !== id)
      throw new UserError(`brick "${directory}": is "${present}" already; put it back to its place`);
    await writePlace(directory, id);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`brick "${directory}": cannot be made: ${(error as Error).message}`);
  }
  await createBrickDirectory(directory, volumeId);
}

/** Throws UserError, one line that says what is wrong, unless this is that brick of that volume. */
export async function checkBrick(
  place: BrickPlace,
  volumeId: Gfid,
  all: readonly BrickPlace[],
): Promise<void> {
  const { directory, index } = place;
  const who = `brick "${directory}"`;
  const found = await volumeIdOf(directory);
  const replaced = `if its disk was replaced by an empty one, start once with --new-brick ${index}`;
  if (found === "missing")
    throw new UserError(`${who}: does not exist; is its file system mounted? ${replaced}`);
  if (found === "empty") throw new UserError(`${who}: is empty; is its file system mounted? ${replaced}`);
  if (found === "foreign")
    throw new UserError(`${who}: has files and belongs to no volume; is its file system mounted?`);
  if (!found.equals(volumeId)) throw otherVolume(directory, found, volumeId);
  await checkPlace(place, all);
}

/** Throws UserError unless the directory is missing or empty: only then may it become a new brick. */
export async function checkNewBrick({ directory, index }: BrickPlace): Promise<void> {
  const found = await volumeIdOf(directory);
  if (found === "missing" || found === "empty") return;
  throw new UserError(
    `--new-brick ${index}: brick "${directory}": is not empty; move what is in it away, or start without`,
  );
}

async function checkPlace({ directory, id }: BrickPlace, all: readonly BrickPlace[]): Promise<void> {
  const found = await readPlace(directory).catch(() => undefined);
  if (found === id) return;
  const other = all.find((place) => place.id === found);
  const fix = "put the directories back to their places";
  if (other)
    throw new UserError(`brick "${directory}": is the one of "${other.directory}": they are swapped; ${fix}`);
  throw new UserError(
    `brick "${directory}": does not say which copy it is (${PLACE_XATTR} of ${HIDDEN} is ` +
      `${found === undefined ? "missing" : `"${found}"`}); if it is in its place: ` +
      `setfattr -n ${PLACE_XATTR} -v ${id} ${join(directory, HIDDEN)}`,
  );
}

/** The volume of a directory; or that there is none, nothing in it, or something that is no brick. */
async function volumeIdOf(directory: string): Promise<Buffer | "missing" | "empty" | "foreign"> {
  try {
    await access(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "missing";
    throw new UserError(`brick "${directory}": ${(error as Error).message}`);
  }
  try {
    const value = await getXattr(directory, KEY.VOLUME_ID);
    if (value) return value;
    const names = (await readdir(directory)).filter((name) => !NOT_FILES.includes(name));
    return names.length === 0 ? "empty" : "foreign";
  } catch (error) {
    throw new UserError(`brick "${directory}": ${(error as Error).message}`);
  }
}

function otherVolume(directory: string, found: Buffer, wanted: Gfid): UserError {
  const names = `belongs to volume "${shownId(found)}", not to "${gfidText(wanted)}"`;
  return new UserError(`brick "${directory}": ${names}; move it away`);
}

function shownId(bytes: Buffer): string {
  return bytes.length === 16 ? gfidText(bytes as Gfid) : bytes.toString("hex");
}
