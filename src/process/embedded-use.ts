/**
 * An embedded volume used by a command: by the sockets of the process that serves it when one does, by this
 * process itself otherwise. Never makes a volume, and never serves one to others.
 */

import { existsSync } from "node:fs";
import { type FileHandle, open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { REGISTRY } from "../../xlators/registry.ts";
import { lockDirectory } from "../../xlators/storage/posix/lock.ts";
import { type OpenOptions, openVolume, startVolfile } from "../api/open.ts";
import { EMBEDDED_CLIENT_VOLFILE, EMBEDDED_STATE, type Source } from "../api/source.ts";
import { Volume } from "../api/volume.ts";
import { applySettings } from "../control/settings.ts";
import { UserError } from "../core/errors.ts";
import { printVolfile, type Volfile } from "../graph/volfile.ts";
import { type EmbeddedVolume, openEmbedded } from "./embedded.ts";
import { type EmbeddedState, readState } from "./embedded-state.ts";

/** The data directory that a source names; undefined when it is something else. */
export function dataDirectoryOf(source: Source): string | undefined {
  if (source.kind !== "volfile") return undefined;
  const { path } = source;
  if (existsSync(join(path, EMBEDDED_STATE))) return path;
  const inside =
    path.endsWith(`/${EMBEDDED_CLIENT_VOLFILE}`) && existsSync(join(dirname(path), EMBEDDED_STATE));
  return inside ? dirname(path) : undefined;
}

/** Opens any SOURCE in-process, data directories included. Rejects with UserError. */
export async function openAnyVolume(source: Source, options: OpenOptions = {}): Promise<Volume> {
  const directory = dataDirectoryOf(source);
  return directory === undefined ? openVolume(source, options) : openDataDirectory(directory, options);
}

async function openDataDirectory(directory: string, options: OpenOptions): Promise<Volume> {
  const { state, brick } = await readDataDirectory(directory);
  if (!(await isServed(brick))) {
    const volume = await openEmbedded(directory, state.name);
    // No server beside it: this process ends soon, and nobody should come to depend on it.
    const graph = await startVolfile(tunedVolfile(volume), options);
    await volume.ready(graph);
    return new Volume(graph);
  }
  const path = join(directory, EMBEDDED_CLIENT_VOLFILE);
  if (existsSync(path)) return openVolume({ kind: "volfile", path }, options);
  throw onlyByMount(directory);
}

/** With what was set on it. Throws UserError. */
function tunedVolfile({ volfile, settings }: EmbeddedVolume): Volfile {
  return applySettings(volfile, settings, REGISTRY);
}

/** What a data directory says of its volume, and where the first brick is. Throws UserError. */
async function readDataDirectory(directory: string): Promise<{ state: EmbeddedState; brick: string }> {
  const state = await readState(join(directory, EMBEDDED_STATE));
  if (!state) throw new UserError(`"${directory}": is no data directory of \`mortar start\``);
  const isSingle = state.replica === undefined || state.replica === "1";
  return { state, brick: join(directory, isSingle ? "brick" : "brick-0") };
}

/**
 * Text of a volfile with which this or another process can use the volume of a data directory: by the sockets
 * of whoever serves it, or with the bricks in the graph, for one process at a time. Rejects with UserError.
 */
export async function dataDirectoryVolfile(directory: string): Promise<{ text: string; brick: string }> {
  const { state, brick } = await readDataDirectory(directory);
  if (!(await isServed(brick)))
    return { text: printVolfile(tunedVolfile(await openEmbedded(directory, state.name))), brick };
  const path = join(directory, EMBEDDED_CLIENT_VOLFILE);
  if (!existsSync(path)) throw onlyByMount(directory);
  return { text: await readFile(path, "utf8"), brick };
}

function onlyByMount(directory: string): UserError {
  return new UserError(
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
