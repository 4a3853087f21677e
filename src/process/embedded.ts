/**
 * The embedded volume: all bricks in this process, no network. What `npm start` mounts.
 *
 * Its data directory holds `volume.json` (embedded-state.ts) and the bricks in GlusterFS' format: `brick-0` to
 * `brick-2`, or `brick` when there is only one. One process at a time: storage/posix locks its directory. A
 * brick that was replaced by an empty one is refused unless asked for; then the others are marked so that a heal
 * fills it (spec translators.md 4.10, replace-brick).
 */

import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Counts, countsOf, rowIncrements } from "../../xlators/cluster/replicate/changelog.ts";
import { PID_HEAL_DAEMON } from "../../xlators/cluster/replicate/crawl/set-healer.ts";
import { createBrickDirectory } from "../../xlators/storage/posix/brick-dir.ts";
import { internalCall } from "../core/call.ts";
import { UserError } from "../core/errors.ts";
import { XATTROP } from "../core/fops.ts";
import { gfidText, newGfid, parseGfid, ROOT_GFID } from "../core/gfid.ts";
import { S_IFDIR } from "../core/iatt.ts";
import { Inode } from "../core/inode.ts";
import type { Graph } from "../graph/graph.ts";
import { type Volfile, type VolfileSection, volfileSection } from "../graph/volfile.ts";
import { type BrickPlace, checkBrick, checkNewBrick, makeBrick } from "./embedded-bricks.ts";
import { type EmbeddedState, type Layout, readState, writeState } from "./embedded-state.ts";
import { setsIn } from "./replicas.ts";

export interface EmbeddedVolume {
  readonly name: string;
  /** Absolute. */
  readonly dataDir: string;
  readonly layout: Layout;
  readonly volfile: Volfile;
  /** What people should know, one line each. */
  readonly notes: readonly string[];
  /** To be called with the started graph, before anybody uses it: a new brick is marked as empty. */
  ready(graph: Graph): Promise<void>;
}

export interface EmbeddedOptions {
  /** Of a volume that is to be made; "3" by default. One that is there must have it already. */
  readonly layout?: Layout;
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
  const file = join(directory, "volume.json");
  const found = await readState(file);
  const state = found ?? (await firstState(file, name, options));
  const layout = state.replica ?? "1";
  if (options.layout !== undefined && options.layout !== layout)
    throw new UserError(
      `--replica ${options.layout}: volume "${state.name}" in "${directory}" has replica ${layout} for good; ` +
        "start a new one with another --data, and copy what is in it",
    );
  if (layout === "1") return openSingle(directory, file, state, options);
  return openReplicated(directory, file, state, layout, options);
}

async function firstState(file: string, name: string, options: EmbeddedOptions): Promise<EmbeddedState> {
  if (options.newBrick !== undefined)
    throw new UserError(`--new-brick ${options.newBrick}: there is no volume yet that could fill it`);
  const replica = options.layout ?? "3";
  const bricks = replica === "1" ? {} : { making: [0, 1, 2] };
  const state: EmbeddedState = { name, id: gfidText(newGfid()), replica, ...bricks };
  await writeState(file, state);
  return state;
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
  const hint =
    `volume "${state.name}" has one copy of everything; for three: start with a new --data directory, ` +
    "and copy the images over";
  return {
    name: state.name,
    dataDir,
    layout: "1",
    volfile: singleVolfile(state, brick, file),
    // A volume that was made with --replica 1 is as somebody wanted it.
    notes: state.replica === undefined ? [hint] : [],
    ready: async () => {},
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
  const done: EmbeddedState = { name: state.name, id: state.id, replica: layout };
  // All of them: the volume is new, and there is nothing to fill them with.
  const isNew = making.length === places.length;
  if (isNew) await writeState(file, done);
  const filled = isNew ? [] : making;
  return {
    name: state.name,
    dataDir,
    layout,
    volfile: replicatedVolfile(done, layout, places, file),
    notes: filled.map(
      (index) => `brick "${places[index]!.directory}" is new: a heal fills it from the others`,
    ),
    async ready(graph) {
      if (filled.length === 0) return;
      for (const index of filled) await markEmpty(graph, index);
      await writeState(file, done);
    },
  };
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

/** What glusterd would write for one brick, both ends together and the wire left out. */
function singleVolfile({ name, id }: EmbeddedState, brick: string, fileName: string): Volfile {
  const posix = volfileSection(`${name}-posix`, "storage/posix", { directory: brick, "volume-id": id });
  const locks = volfileSection(`${name}-locks`, "features/locks", {}, [posix.name]);
  const stats = volfileSection(name, "debug/io-stats", {}, [locks.name]);
  return { fileName, sections: [posix, locks, stats] };
}

/** The same for three bricks with replicate above them. */
function replicatedVolfile(
  { name, id }: EmbeddedState,
  layout: Layout,
  places: readonly BrickPlace[],
  fileName: string,
): Volfile {
  const stacks = places.map((place) => brickStack(name, id, place, layout === "2+1" && place.index === 2));
  const replicate = volfileSection(
    `${name}-replicate-0`,
    "cluster/replicate",
    {
      "afr-pending-xattr": places.map((place) => place.id).join(","),
      "volume-id": id,
      "granular-entry-heal": "on",
      "use-anonymous-inode": "on",
      ...(layout === "2+1" ? { "arbiter-count": "1" } : {}),
    },
    stacks.map((stack) => stack.at(-1)!.name),
  );
  const utime = volfileSection(`${name}-utime`, "features/utime", { noatime: "on" }, [replicate.name]);
  const stats = volfileSection(name, "debug/io-stats", {}, [utime.name]);
  return { fileName, sections: [...stacks.flat(), replicate, utime, stats] };
}

function brickStack(name: string, id: string, place: BrickPlace, arbiter: boolean): VolfileSection[] {
  const { directory, index } = place;
  const sections: VolfileSection[] = [];
  const add = (kind: string, type: string, options: Readonly<Record<string, string>>): void => {
    const below = sections.at(-1);
    sections.push(volfileSection(`${name}-${kind}-${index}`, type, options, below ? [below.name] : []));
  };
  add("posix", "storage/posix", { directory, "volume-id": id, "fips-mode-rchecksum": "on" });
  if (arbiter) add("arbiter", "features/arbiter", {});
  add("locks", "features/locks", {});
  add("index", "features/index", {
    "index-base": join(directory, ".glusterfs", "indices"),
    "xattrop-dirty-watchlist": "trusted.afr.dirty",
    "xattrop-pending-watchlist": `trusted.afr.${name}-`,
  });
  return sections;
}
