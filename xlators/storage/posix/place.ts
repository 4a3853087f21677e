/**
 * Which copy of a replicated volume a brick is, kept on the brick.
 *
 * Nothing of GlusterFS' tells: marks speak of copies by an id that stands in volfiles alone, so that two
 * bricks that changed places would have heals run backwards. Mortar writes the id down as an xattr of
 * `.glusterfs`: no client sees that directory, no heal copies what is on it, GlusterFS ignores it, and its
 * advice for a directory that is to be used anew (`rm -rf .glusterfs`) takes the id away.
 */

import { FopError } from "../../../src/core/errors.ts";
import { PLACE_XATTR } from "../../../src/core/keys.ts";
import { HIDDEN, isCode } from "./handle.ts";
import { getXattr, setXattr, XATTR_CREATE } from "./target.ts";

/** The id of the copy that is in a brick directory; undefined when nobody has written it yet. */
export async function readPlace(directory: string): Promise<string | undefined> {
  return (await getXattr(`${directory}/${HIDDEN}`, PLACE_XATTR))?.toString();
}

/** Writes the id down. EEXIST when it is another copy's already. */
export async function writePlace(directory: string, id: string): Promise<void> {
  try {
    await setXattr(`${directory}/${HIDDEN}`, PLACE_XATTR, Buffer.from(id), XATTR_CREATE);
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
    const present = await readPlace(directory);
    if (present !== id) throw new FopError("EEXIST", { message: `is "${present}" already` });
  }
}
