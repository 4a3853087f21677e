/** Single files of `mortar heal`: found by path or gfid, healed, or their split brain settled. */

import { findPath, shownName } from "../../xlators/cluster/replicate/crawl/names.ts";
import type { Resolution } from "../../xlators/cluster/replicate/decide.ts";
import { healInode, healName, inspectInode } from "../../xlators/cluster/replicate/heal/heal.ts";
import type { HealReport } from "../../xlators/cluster/replicate/heal/report.ts";
import { internalCall } from "../core/call.ts";
import { FopError, UserError } from "../core/errors.ts";
import { type Gfid, parseGfid } from "../core/gfid.ts";
import { Inode } from "../core/inode.ts";
import type { OpenSet } from "../process/replicas.ts";
import { PID_HEAL_TOOL } from "./heal-info.ts";
import { pathOf } from "./heal-names.ts";
import type { Policy } from "./heal-words.ts";

/** A file that was named, and where it is. */
export interface NamedFile {
  /** As given. */
  readonly word: string;
  readonly set: OpenSet;
  readonly inode: Inode;
  readonly entry?: { readonly parent: Inode; readonly name: string };
  /** The copies do not agree which object the name is. */
  readonly conflict: boolean;
}

/** Finds what a word names. Throws UserError when the volume has no such file. */
export async function findFile(sets: readonly OpenSet[], word: string): Promise<NamedFile> {
  for (const set of sets) {
    const found = word.startsWith("gfid:")
      ? await findGfid(set, word, word.slice("gfid:".length))
      : await findByPath(set, word);
    if (found) return found;
  }
  throw new UserError(`heal: "${word}": there is no such file on the volume`);
}

async function findGfid(set: OpenSet, word: string, text: string): Promise<NamedFile | undefined> {
  const gfid: Gfid | undefined = parseGfid(text);
  if (!gfid) throw new UserError(`heal: "${word}": "${text}" is no gfid`);
  const inspection = await inspectInode(set.set, new Inode(gfid));
  return inspection.exists ? { word, set, inode: new Inode(gfid), conflict: false } : undefined;
}

async function findByPath(set: OpenSet, word: string): Promise<NamedFile | undefined> {
  try {
    const found = await findPath(set.set, internalCall(PID_HEAL_TOOL), word);
    return found && { word, set, ...found };
  } catch (error) {
    if (error instanceof FopError) throw new UserError(`heal: "${word}": ${error.message}`, { cause: error });
    throw error;
  }
}

/** Name, then object: what is missing on a copy is made there first. */
export async function healFile(file: NamedFile): Promise<HealReport> {
  const { set } = file.set;
  const call = internalCall(PID_HEAL_TOOL);
  if (file.entry) {
    const { outcome, why } = await healName(set, call, file.entry.parent, file.entry.name);
    if (outcome === "split-brain")
      throw new UserError(
        `heal: "${file.word}": is in split brain: the copies do not agree which file it is` +
          `${why === undefined ? "" : ` (${why})`}; ` +
          "settle it: mortar heal SOURCE split-brain bigger-file|latest-mtime|source-brick BRICK FILE",
      );
  }
  return healInode(set, file.inode, { call });
}

/** Which copy a policy names, for a set. Throws UserError when the brick is none of the volume's. */
export function resolutionFor(sets: readonly OpenSet[], policy: Policy): (set: OpenSet) => Resolution {
  if (policy.kind !== "source-brick") return () => ({ kind: policy.kind });
  const places = sets.flatMap((set) => {
    const child = childNamed(set, policy.brick);
    return child < 0 ? [] : [{ set, child }];
  });
  const [place] = places;
  if (!place) {
    const known = sets.flatMap(({ bricks }) => bricks).map((brick) => `"${brick}"`);
    throw new UserError(`heal: brick "${policy.brick}": is none of this volume's: ${known.join(", ")}`);
  }
  return (set) => {
    if (set === place.set) return { kind: "source-brick", child: place.child };
    throw new UserError(
      `heal: brick "${policy.brick}": has no copy of that file; those are on ` +
        set.bricks.map((brick) => `"${brick}"`).join(", "),
    );
  };
}

function childNamed({ set, bricks }: OpenSet, brick: string): number {
  return set.children.findIndex((child, index) => bricks[index] === brick || child.name === brick);
}

/** What a resolution did, or would do. */
export interface Resolved {
  readonly name: string;
  readonly text: string;
}

/**
 * Settles the split brain of one file. Throws UserError, one line that says why not: it is in none, the
 * policy names no copy, a brick is away.
 */
export async function settle(file: NamedFile, resolution: Resolution, dryRun: boolean): Promise<Resolved> {
  const { set, bricks } = file.set;
  const call = internalCall(PID_HEAL_TOOL);
  if (file.conflict && file.entry) return settleName(file, file.entry, resolution, dryRun);
  const report = await healInode(set, file.inode, { call, resolution, dryRun });
  const settled = Object.entries(report.slots).filter(
    ([, { outcome }]) => outcome === "healed" || outcome === "would-heal",
  );
  const name = await nameOf(file);
  if (settled.length === 0) throw new UserError(`heal: "${name}": ${whyNot(report, file)}`);
  const kept = settled.map(([slot, { source }]) => {
    const from = source < 0 ? "merged from all copies" : `that of "${bricks[source]}"`;
    return `${slot} ${from}`;
  });
  return { name, text: `${dryRun ? "would keep" : "kept"} ${kept.join(", ")}` };
}

/**
 * The copies have different objects by this name: one of them stays. What is in it heals after that, by its
 * own marks.
 */
async function settleName(
  file: NamedFile,
  { parent, name }: NonNullable<NamedFile["entry"]>,
  resolution: Resolution,
  dryRun: boolean,
): Promise<Resolved> {
  const { set, bricks } = file.set;
  const call = internalCall(PID_HEAL_TOOL);
  const { outcome, source = -1, why } = await healName(set, call, parent, name, { resolution, dryRun });
  if (outcome !== "healed" && outcome !== "would-heal")
    throw new UserError(`heal: "${file.word}": not settled: ${why ?? outcome}`);
  if (!dryRun) {
    const found = await findPath(set, call, file.word);
    if (found) await healInode(set, found.inode, { call });
  }
  const kept = source < 0 ? "none: the name goes" : `the one of "${bricks[source]}"`;
  return {
    name: file.word,
    text: `${dryRun ? "would keep" : "kept"} ${kept}; the copies had different files`,
  };
}

function whyNot(report: HealReport, { set: { set, bricks } }: NamedFile): string {
  const slots = Object.values(report.slots);
  const why = report.why ?? slots.find((slot) => slot.why !== undefined)?.why;
  const away = bricks.filter((_, child) => !set.isUp(child));
  switch (report.outcome) {
    case "not-split-brain":
    case "not-needed":
    case "clean":
      return "is not in split brain";
    case "unavailable":
      return away.length > 0
        ? `not settled: ${away.map((brick) => `"${brick}"`).join(", ")} not connected, and all copies are needed`
        : `not settled: ${why ?? "a brick did not take part; try again"}`;
    case "busy":
      return "not settled: somebody else heals it; try again";
    case "gone":
      return "there is no such file on the volume";
    default:
      return `not settled: ${why ?? report.outcome}`;
  }
}

async function nameOf({ word, set, inode }: NamedFile): Promise<string> {
  if (!word.startsWith("gfid:")) return word;
  return shownName(await pathOf([set], inode.gfid), inode.gfid);
}
