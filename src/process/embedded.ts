/**
 * The embedded volume: one brick in this process, no network. What `npm start` mounts.
 *
 * Its data directory holds `volume.json` (name and id, written once) and `brick/`, which has GlusterFS'
 * format: glusterfsd can serve it too. One process at a time: storage/posix locks its directory.
 */

import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createBrickDirectory } from "../../xlators/storage/posix/brick-dir.ts";
import { UserError } from "../core/errors.ts";
import { gfidText, newGfid, parseGfid } from "../core/gfid.ts";
import { type Volfile, volfileSection } from "../graph/volfile.ts";

export interface EmbeddedVolume {
  readonly name: string;
  /** Absolute. */
  readonly dataDir: string;
  readonly volfile: Volfile;
}

interface Identity {
  readonly name: string;
  readonly id: string;
}

/** Makes the data directory and its brick if there are none. Throws UserError. */
export async function openEmbedded(dataDir: string, name: string): Promise<EmbeddedVolume> {
  const directory = resolve(dataDir);
  const brick = join(directory, "brick");
  try {
    await mkdir(brick, { recursive: true });
  } catch (error) {
    throw new UserError(`data directory "${directory}": ${(error as Error).message}`);
  }
  const identity = await identityOf(directory, name);
  await createBrickDirectory(brick, parseGfid(identity.id)!);
  return {
    name: identity.name,
    dataDir: directory,
    volfile: embeddedVolfile(identity, brick, join(directory, "volume.json")),
  };
}

/** The graph of an embedded volume: what glusterd would write, both ends together and the wire left out. */
function embeddedVolfile(identity: Identity, brick: string, fileName: string): Volfile {
  const { name, id } = identity;
  const posix = volfileSection(`${name}-posix`, "storage/posix", { directory: brick, "volume-id": id });
  const locks = volfileSection(`${name}-locks`, "features/locks", {}, [posix.name]);
  const stats = volfileSection(name, "debug/io-stats", {}, [locks.name]);
  return { fileName, sections: [posix, locks, stats] };
}

/** Name and id are of the first start; a later start under another name finds the old one. */
async function identityOf(directory: string, name: string): Promise<Identity> {
  const file = join(directory, "volume.json");
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT")
      throw new UserError(`"${file}": ${(error as Error).message}`);
    return writeIdentity(file, { name, id: gfidText(newGfid()) });
  }
  const found = parseIdentity(text);
  if (!found)
    throw new UserError(
      `"${file}": is damaged; its id is the xattr trusted.glusterfs.volume-id of the brick`,
    );
  return found;
}

function parseIdentity(text: string): Identity | undefined {
  try {
    const { name, id } = JSON.parse(text) as Partial<Identity>;
    return typeof name === "string" && name !== "" && typeof id === "string" && parseGfid(id)
      ? { name, id }
      : undefined;
  } catch {
    return undefined;
  }
}

/** By way of a new name, so that a crash leaves either no file or a whole one. */
async function writeIdentity(file: string, identity: Identity): Promise<Identity> {
  const fresh = `${file}.new`;
  await writeFile(fresh, `${JSON.stringify(identity, undefined, 2)}\n`, { flush: true });
  await rename(fresh, file);
  return identity;
}
