/**
 * `mortar heal SOURCE info`: what waits for healing, brick by brick.
 *
 * The text is that of `gluster volume heal VOL info`, to the byte, so that scripts that read the one can read
 * the other (GlusterFS heal/src/glfs-heal.c); `--json` says more: gfids, which parts need it, bytes to go.
 */

import { type ListedObject, listBrick } from "../../xlators/cluster/replicate/crawl/info.ts";
import { shownName } from "../../xlators/cluster/replicate/crawl/names.ts";
import { internalCall } from "../core/call.ts";
import { FopError } from "../core/errors.ts";
import { gfidText } from "../core/gfid.ts";
import type { OpenSet } from "../process/replicas.ts";

/** The pid by which bricks and clients know a heal tool (spec translators.md 1.3). */
export const PID_HEAL_TOOL = -7;

export type InfoPart = "all" | "summary" | "split-brain";

export interface BrickInfo {
  readonly brick: string;
  /** The volume of the graph that stands for it. */
  readonly child: string;
  readonly connected: boolean;
  readonly objects: readonly ListedObject[];
}

/** Asks every brick of every set, in order. */
export async function gatherInfo(sets: readonly OpenSet[]): Promise<BrickInfo[]> {
  const found: BrickInfo[] = [];
  for (const { set, bricks } of sets)
    for (const [child, brick] of bricks.entries()) {
      const name = set.children[child]!.name;
      const objects = await objectsOf(set, child);
      found.push({ brick, child: name, connected: objects !== undefined, objects: objects ?? [] });
    }
  return found;
}

/** Undefined when the brick does not answer. */
async function objectsOf(set: OpenSet["set"], child: number): Promise<ListedObject[] | undefined> {
  if (!set.isUp(child)) return undefined;
  try {
    return await listBrick(set, child, internalCall(PID_HEAL_TOOL));
  } catch (error) {
    if (error instanceof FopError && error.code === "ENOTCONN") return undefined;
    throw error;
  }
}

/** GlusterFS' words behind a name; the one for plain "heal" is a space. */
const SUFFIX = {
  heal: " ",
  "split-brain": " - Is in split-brain",
  "possibly-healing": " - Possibly undergoing heal",
  "no-heal": "",
} as const;

export function renderInfo(bricks: readonly BrickInfo[], part: InfoPart): string {
  const lines: string[] = [];
  for (const info of bricks) {
    lines.push(`Brick ${info.brick}`);
    if (part === "summary") lines.push(...summaryLines(info));
    else lines.push(...listLines(info, part));
    lines.push("");
  }
  return lines.map((line) => `${line}\n`).join("");
}

function listLines({ connected, objects }: BrickInfo, part: "all" | "split-brain"): string[] {
  const count = part === "all" ? "Number of entries:" : "Number of entries in split-brain:";
  if (!connected) return [NOT_CONNECTED, `${count} -`];
  const chosen = part === "all" ? objects : objects.filter(isSplitBrain);
  const names = chosen.map(({ path, gfid, inspection }) => {
    const name = shownName(path, gfid);
    return part === "all" ? `${name}${SUFFIX[inspection.status]}` : name;
  });
  return [...names, CONNECTED, `${count} ${chosen.length}`];
}

const CONNECTED = "Status: Connected";
const NOT_CONNECTED = "Status: Transport endpoint is not connected";

function isSplitBrain({ inspection }: ListedObject): boolean {
  return inspection.status === "split-brain";
}

export interface InfoCounts {
  readonly total: number;
  readonly healPending: number;
  readonly splitBrain: number;
  readonly possiblyHealing: number;
}

export function countObjects(objects: readonly ListedObject[]): InfoCounts {
  const count = (status: string): number =>
    objects.filter(({ inspection }) => inspection.status === status).length;
  return {
    total: objects.length,
    healPending: count("heal"),
    splitBrain: count("split-brain"),
    possiblyHealing: count("possibly-healing"),
  };
}

function summaryLines({ connected, objects }: BrickInfo): string[] {
  const counts = countObjects(objects);
  const shown = (count: number): string => (connected ? String(count) : "-");
  return [
    connected ? CONNECTED : NOT_CONNECTED,
    `Total Number of entries: ${shown(counts.total)}`,
    `Number of entries in heal pending: ${shown(counts.healPending)}`,
    `Number of entries in split-brain: ${shown(counts.splitBrain)}`,
    `Number of entries possibly healing: ${shown(counts.possiblyHealing)}`,
  ];
}

/** Bytes that heals have to look at, each object once however many bricks list it. */
export function bytesToHeal(bricks: readonly Pick<BrickInfo, "objects">[]): number {
  const byGfid = new Map<string, number>();
  for (const { objects } of bricks)
    for (const { gfid, inspection } of objects) byGfid.set(gfidText(gfid), inspection.bytesToHeal);
  return [...byGfid.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * One JSON document and a line break; `entries` is left out of the summary. `imageOf` tells of a path which
 * image's block it is.
 */
export function renderInfoJson(
  source: string,
  bricks: readonly BrickInfo[],
  part: InfoPart,
  imageOf: (path: string | undefined) => object | undefined,
): string {
  const document = {
    source,
    bytesToHeal: bytesToHeal(bricks),
    bricks: bricks.map(({ brick, child, connected, objects }) => {
      const counts = connected ? countObjects(objects) : null;
      const chosen = part === "split-brain" ? objects.filter(isSplitBrain) : objects;
      return {
        brick,
        child,
        status: connected ? "connected" : "not-connected",
        counts,
        bytesToHeal: connected ? bytesToHeal([{ objects }]) : null,
        ...(part === "summary"
          ? {}
          : { entries: chosen.map((listed) => jsonEntry(listed, imageOf(listed.path))) }),
      };
    }),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

function jsonEntry({ path, gfid, inspection }: ListedObject, image: object | undefined): object {
  const { status, slots, splitBrain, bytesToHeal: bytes } = inspection;
  const name = { path: path ?? null, ...image, gfid: gfidText(gfid) };
  return { ...name, status, heals: slots, splitBrain, bytesToHeal: bytes };
}
