/**
 * An embedded volume used by a command: by the sockets of the process that serves it when one does, by this
 * process itself otherwise. Never makes a volume, and never serves one to others.
 */

import { existsSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { lockDirectory } from "../../xlators/storage/posix/lock.ts";
import { type OpenOptions, openVolume, startVolfile } from "../api/open.ts";
import { EMBEDDED_CLIENT_VOLFILE, type Source } from "../api/source.ts";
import { Volume } from "../api/volume.ts";
import { UserError } from "../core/errors.ts";
import { openEmbedded } from "./embedded.ts";
import { readState } from "./embedded-state.ts";

const STATE = "volume.json";

/** The data directory that a source names; undefined when it is something else. */
export function dataDirectoryOf(source: Source): string | undefined {
  if (source.kind !== "volfile") return undefined;
  const { path } = source;
  if (existsSync(join(path, STATE))) return path;
  const inside = path.endsWith(`/${EMBEDDED_CLIENT_VOLFILE}`) && existsSync(join(dirname(path), STATE));
  return inside ? dirname(path) : undefined;
}

/** Opens any SOURCE in-process, data directories included. Rejects with UserError. */
export async function openAnyVolume(source: Source, options: OpenOptions = {}): Promise<Volume> {
  const directory = dataDirectoryOf(source);
  return directory === undefined ? openVolume(source, options) : openDataDirectory(directory, options);
}

async function openDataDirectory(directory: string, options: OpenOptions): Promise<Volume> {
  const state = await readState(join(directory, STATE));
  if (!state) throw new UserError(`"${directory}": is no data directory of \`mortar start\``);
  const first = state.replica === undefined || state.replica === "1" ? "brick" : "brick-0";
  if (!(await isServed(join(directory, first)))) {
    const volume = await openEmbedded(directory, state.name);
    // No server beside it: this process ends soon, and nobody should come to depend on it.
    const graph = await startVolfile(volume.volfile, options);
    await volume.ready(graph);
    return new Volume(graph);
  }
  const path = join(directory, EMBEDDED_CLIENT_VOLFILE);
  if (existsSync(path)) return openVolume({ kind: "volfile", path }, options);
  throw new UserError(
    `"${directory}": the volume is served by another process and has one copy, which only its mount shows; ` +
      "use the files there",
  );
}

async function isServed(brick: string): Promise<boolean> {
  let handle: FileHandle;
  try {
    handle = await open(brick);
  } catch {
    // A brick that is away is told about by whoever opens the volume.
    return false;
  }
  try {
    return !lockDirectory(handle.fd);
  } finally {
    await handle.close();
  }
}
