/**
 * The embedded volume: all bricks in this process, no network. What `npm start` mounts.
 *
 * Its data directory holds `volume.json` (embedded-state.ts) and the bricks in GlusterFS' format: `brick-0`
 * to `brick-2`, or `brick` when there is only one. One process at a time: storage/posix locks its directory.
 * A brick that was replaced by an empty one is refused unless asked for; then the others are marked so that a
 * heal fills it (spec translators.md 4.10, replace-brick).
 *
 * While it runs, other processes reach the bricks through a unix socket in the data directory: `client.vol`
 * there is a volfile for them, which `mortar heal DIR` opens. It has the settings that are kept, and is
 * written anew with each change, so that all clients of the volume go by the same rules.
 */

import { chmod, mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Counts, countsOf, rowIncrements } from "../../xlators/cluster/replicate/changelog.ts";
import { PID_HEAL_DAEMON } from "../../xlators/cluster/replicate/crawl/set-healer.ts";
import { REGISTRY } from "../../xlators/registry.ts";
import { createBrickDirectory } from "../../xlators/storage/posix/brick-dir.ts";
import { EMBEDDED_CLIENT_VOLFILE, EMBEDDED_STATE } from "../api/source.ts";
import { applyOptions, type Settings, settingsWithoutEffect } from "../control/settings.ts";
import { internalCall } from "../core/call.ts";
import { UserError } from "../core/errors.ts";
import { XATTROP } from "../core/fops.ts";
import { gfidText, newGfid, parseGfid, ROOT_GFID } from "../core/gfid.ts";
import { S_IFDIR } from "../core/iatt.ts";
import { Inode } from "../core/inode.ts";
import type { Graph } from "../graph/graph.ts";
import { printVolfile, type Volfile } from "../graph/volfile.ts";
import { type BrickPlace, checkBrick, checkNewBrick, makeBrick } from "./embedded-bricks.ts";
import {
  DEFAULT_SHARD,
  type EmbeddedState,
  type Layout,
  parseShard,
  readState,
  writeState,
  writeWhole,
} from "./embedded-state.ts";
import { clientVolfile, replicatedVolfile, serverName, singleVolfile } from "./embedded-volfile.ts";
import { setsIn } from "./replicas.ts";

/** Socket of the bricks, in a directory for the owner alone. */
const SOCKET = join("run", "bricks.sock");
/** What Linux takes as the path of a socket. */
const SOCKET_BYTES_MAX = 107;

export interface EmbeddedVolume {
  readonly name: string;
  /** Absolute. */
  readonly dataDir: string;
  readonly layout: Layout;
  /** Made by this very start. */
  readonly isNew: boolean;
  readonly volfile: Volfile;
  /** Sections to run beside the top of `volfile`. */
  readonly beside: readonly string[];
  /** What people should know, one line each. */
  readonly notes: readonly string[];
  /** To be called with the started graph, before anybody uses it: a new brick is marked as empty. */
  ready(graph: Graph): Promise<void>;
  /** Settings that were kept, by key. */
  readonly settings: Settings;
  /**
   * Keeps settings instead of those that were kept: for other processes from now on, and for the next start.
   * Rejects with UserError.
   */
  keep(settings: Settings): Promise<void>;
}

export interface EmbeddedOptions {
  /** Of a volume that is to be made; "3" by default. One that is there must have it already. */
  readonly layout?: Layout;
  /**
   * Of a volume with several copies that is to be made: size of the blocks that files are cut into, or "off";
   * 64MB by default.
   */
  readonly shard?: string;
  /** Index of a brick whose directory is new and empty, to be filled from the others. */
  readonly newBrick?: number;
}

/** Finds or makes the volume in a data directory. Throws UserError. */
export async function openEmbedded(
  dataDir: string,
  name: string,
  options: EmbeddedOptions = {},
): Promise<EmbeddedVolume> {
  const directory = resolve(dataDir);
  try {
    await mkdir(directory, { recursive: true });
  } catch (error) {
    throw new UserError(`data directory "${directory}": ${(error as Error).message}`);
  }
  const file = join(directory, EMBEDDED_STATE);
  const found = await readState(file);
  const state = found ?? (await firstState(file, name, options));
  const layout = state.replica ?? "1";
  if (options.layout !== undefined && options.layout !== layout)
    throw new UserError(
      `--replica ${options.layout}: volume "${state.name}" in "${directory}" has replica ${layout} for good; ` +
        "start a new one with another --data, and copy what is in it",
    );
  if (found !== undefined && options.shard !== undefined) checkShard(state, directory, options.shard);
  if (layout === "1") return openSingle(directory, file, state, options);
  return openReplicated(directory, file, state, layout, options);
}

async function firstState(file: string, name: string, options: EmbeddedOptions): Promise<EmbeddedState> {
  if (options.newBrick !== undefined)
    throw new UserError(`--new-brick ${options.newBrick}: there is no volume yet that could fill it`);
  const replica = options.layout ?? "3";
  const state: EmbeddedState = {
    name,
    id: gfidText(newGfid()),
    replica,
    ...(replica === "1" ? {} : { making: [0, 1, 2] }),
    ...shardOf(replica, options.shard),
  };
  await writeState(file, state);
  return state;
}

function shardOf(replica: Layout, asked: string | undefined): Pick<EmbeddedState, "shardBlockSize"> {
  if (replica === "1" && asked !== undefined)
    throw new UserError(`--shard ${asked}: is of volumes with several copies, where it makes heals short`);
  const shardBlockSize = replica === "1" ? undefined : parseShard(asked ?? DEFAULT_SHARD);
  return shardBlockSize === undefined ? {} : { shardBlockSize };
}

/** Files that are whole cannot be found by their blocks, nor the other way round. Throws UserError. */
function checkShard({ name, shardBlockSize }: EmbeddedState, directory: string, asked: string): void {
  const size = parseShard(asked);
  if (size === shardBlockSize) return;
  if (size !== undefined && shardBlockSize !== undefined)
    throw new UserError(
      `--shard ${asked}: volume "${name}" in "${directory}" was made with blocks of ${shardBlockSize}; to have others in ` +
        `new files start without it, then: mortar set MOUNTPOINT features.shard-block-size ${asked}`,
    );
  const is = shardBlockSize === undefined ? "whole files" : `files in blocks of ${shardBlockSize}`;
  throw new UserError(
    `--shard ${asked}: volume "${name}" in "${directory}" has ${is} for good; ` +
      "start a new one with another --data, and copy what is in it",
  );
}

async function openSingle(
  dataDir: string,
  file: string,
  state: EmbeddedState,
  options: EmbeddedOptions,
): Promise<EmbeddedVolume> {
  if (options.newBrick !== undefined)
    throw new UserError(`--new-brick ${options.newBrick}: volume "${state.name}" has one copy, and no other`);
  const brick = join(dataDir, "brick");
  await mkdir(brick, { recursive: true });
  await createBrickDirectory(brick, parseGfid(state.id)!);
  const volfile = singleVolfile(state, brick, file);
  const hint =
    `volume "${state.name}" has one copy of everything; for three: start with a new --data directory, ` +
    "and copy the images over";
  return {
    name: state.name,
    dataDir,
    layout: "1",
    isNew: false,
    volfile,
    beside: [],
    // A volume that was made with --replica 1 is as somebody wanted it.
    notes: [...(state.replica === undefined ? [hint] : []), ...notesOnSettings(file, state, volfile)],
    ready: async () => {},
    settings: keptIn(state),
    keep: (settings) => writeSettings(file, state, settings),
  };
}

async function openReplicated(
  dataDir: string,
  file: string,
  state: EmbeddedState,
  layout: Layout,
  options: EmbeddedOptions,
): Promise<EmbeddedVolume> {
  const id = parseGfid(state.id)!;
  const places = [0, 1, 2].map(
    (index): BrickPlace => ({
      directory: join(dataDir, `brick-${index}`),
      id: `${state.name}-client-${index}`,
      index,
    }),
  );
  const making = await bricksToMake(file, state, places, options);
  for (const place of places)
    await (making.includes(place.index) ? makeBrick(place, id) : checkBrick(place, id, places));
  const { making: _done, ...kept } = state;
  const done: EmbeddedState = { ...kept, replica: layout };
  // All of them: the volume is new, and there is nothing to fill them with.
  const isNew = making.length === places.length;
  if (isNew) await writeState(file, done);
  const filled = isNew ? [] : making;
  const notes = filled.map(
    (index) => `brick "${places[index]!.directory}" is new: a heal fills it from the others`,
  );
  const socket = join(dataDir, SOCKET);
  const reachable = Buffer.byteLength(socket) <= SOCKET_BYTES_MAX;
  const volume = { state: done, layout, places, file, ...(reachable ? { socket } : {}) };
  const volfile = replicatedVolfile(volume);
  notes.push(...notesOnSettings(file, done, volfile));
  const publish = async (settings: Settings): Promise<void> => {
    if (!reachable) return;
    const client = applyOptions(clientVolfile(volume, socket), settings, REGISTRY);
    await writeWhole(join(dataDir, EMBEDDED_CLIENT_VOLFILE), printVolfile(client));
  };
  if (reachable) await makePrivate(join(dataDir, "run"));
  else notes.push(`"${socket}": too long for a socket: \`mortar heal\` cannot reach this volume`);
  await publish(keptIn(done));
  return {
    name: state.name,
    dataDir,
    layout,
    isNew,
    volfile,
    beside: reachable ? [serverName(done)] : [],
    notes,
    settings: keptIn(done),
    async keep(settings) {
      // Who uses the volume now comes first: this mount has them already.
      await publish(settings);
      await writeSettings(file, done, settings);
    },
    async ready(graph) {
      if (filled.length === 0) return;
      for (const index of filled) await markEmpty(graph, index);
      await writeState(file, done);
    },
  };
}

function keptIn({ options = {} }: EmbeddedState): Settings {
  return new Map(Object.entries(options));
}

async function writeSettings(file: string, state: EmbeddedState, settings: Settings): Promise<void> {
  const { options: _before, ...rest } = state;
  const options = Object.fromEntries(settings);
  await writeState(file, { ...rest, ...(settings.size > 0 ? { options } : {}) });
}

/** Settings of another version, or edited by hand. */
function notesOnSettings(file: string, state: EmbeddedState, volfile: Volfile): string[] {
  return settingsWithoutEffect(volfile, keptIn(state), REGISTRY).map(
    ([key, why]) => `"${file}": option "${key}" has no effect: ${why}`,
  );
}

async function makePrivate(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await chmod(directory, 0o700);
  } catch (error) {
    throw new UserError(`"${directory}": ${(error as Error).message}`);
  }
}

/** Indexes of bricks that are to be made. One that is new in a volume with data is written down first. */
async function bricksToMake(
  file: string,
  state: EmbeddedState,
  places: readonly BrickPlace[],
  { newBrick }: EmbeddedOptions,
): Promise<readonly number[]> {
  const making = state.making ?? [];
  if (newBrick === undefined || making.includes(newBrick)) return making;
  const place = places[newBrick];
  if (!place) throw new UserError(`--new-brick ${newBrick}: bricks are 0 to ${places.length - 1}`);
  if (making.length > 0)
    throw new UserError(`--new-brick ${newBrick}: brick ${making[0]} is being filled; start without first`);
  await checkNewBrick(place);
  await writeState(file, { ...state, making: [newBrick] });
  return [newBrick];
}

const ONE: Counts = { data: 1, metadata: 1, entry: 1 };

/**
 * Says on the other copies that this one lacks the root and all that is in it, and on itself that it is no
 * source. Rejects with FopError; the marks that were made stay and do no harm.
 */
async function markEmpty(graph: Graph, empty: number): Promise<void> {
  const [found] = setsIn(graph);
  if (!found) return;
  const { set } = found;
  const call = internalCall(PID_HEAL_DAEMON);
  const loc = { inode: new Inode(ROOT_GFID, S_IFDIR) };
  const itself = rowIncrements(set.pendingKeys, () => undefined, countsOf("entry", 1));
  await set.children[empty]!.xattrop(call, { loc, op: XATTROP.ADD_ARRAY, xattrs: itself });
  const blame = rowIncrements(set.pendingKeys, (child) => (child === empty ? ONE : undefined));
  for (const [index, child] of set.children.entries())
    if (index !== empty) await child.xattrop(call, { loc, op: XATTROP.ADD_ARRAY, xattrs: blame });
}
