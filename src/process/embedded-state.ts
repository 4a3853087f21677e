/**
 * `volume.json` of an embedded volume: what it is called, which one it is, how many copies it has. Written at
 * the first start; by way of a new name, so that a crash leaves either the old file or the new one, whole.
 */

import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { BLOCK_SIZE_MIN, optionsWith } from "../../xlators/features/shard/options.ts";
import { UserError } from "../core/errors.ts";
import { parseGfid } from "../core/gfid.ts";
import { Bad } from "../core/options.ts";

/** Copies: one; three; two and an arbiter. */
export const LAYOUTS = ["1", "3", "2+1"] as const;
export type Layout = (typeof LAYOUTS)[number];

const SHARD_BLOCK_SIZE = optionsWith(BLOCK_SIZE_MIN)["shard-block-size"];
/** What volumes with several copies are made with. */
export const DEFAULT_SHARD = "64MB";

export interface EmbeddedState {
  readonly name: string;
  /** uuid as text. */
  readonly id: string;
  /** Absent in volumes of the first release, which have one copy. */
  readonly replica?: Layout;
  /** Bricks that are still being made: by the first start, or as new ones for a volume with data. */
  readonly making?: readonly number[];
  /** Size of the blocks that files are cut into, as text; absent where files are whole. */
  readonly shardBlockSize?: string;
  /** Settings that people made on the running volume, by key. */
  readonly options?: Readonly<Record<string, string>>;
}

/** Undefined when there is none yet. Throws UserError when it cannot be read or understood. */
export async function readState(file: string): Promise<EmbeddedState | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new UserError(`"${file}": ${(error as Error).message}`);
  }
  const state = parse(text);
  if (state) return state;
  throw new UserError(`"${file}": is damaged; its id is the xattr trusted.glusterfs.volume-id of the brick`);
}

export function writeState(file: string, state: EmbeddedState): Promise<void> {
  return writeWhole(file, `${JSON.stringify(state, undefined, 2)}\n`);
}

/** A file that says so already is left alone: a volume on a full disk has to start. Throws UserError. */
export async function writeWhole(file: string, text: string): Promise<void> {
  if ((await readFile(file, "utf8").catch(() => undefined)) === text) return;
  const fresh = `${file}.new`;
  try {
    await writeFile(fresh, text, { flush: true });
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true }).catch(() => {});
    throw new UserError(`"${file}": cannot be written: ${(error as Error).message}`);
  }
}

/** Throws UserError. */
export function parseLayout(text: string): Layout {
  const layout = LAYOUTS.find((one) => one === text);
  if (layout) return layout;
  throw new UserError(`--replica "${text}": is none of ${LAYOUTS.join(", ")} (two copies and an arbiter)`);
}

/** `--shard SIZE|off`: the size as it was written; undefined for "off". Throws UserError. */
export function parseShard(text: string): string | undefined {
  if (text === "off") return undefined;
  const size = SHARD_BLOCK_SIZE.parse(text);
  if (size instanceof Bad) throw new UserError(`--shard "${text}": ${size.why}, or "off"`);
  return text;
}

function parse(text: string): EmbeddedState | undefined {
  let found: Partial<Record<keyof EmbeddedState, unknown>>;
  try {
    found = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof found !== "object" || found === null) return undefined;
  const { name, id, replica, making, options, shardBlockSize } = found;
  if (typeof name !== "string" || name === "" || typeof id !== "string" || !parseGfid(id)) return undefined;
  const layout = LAYOUTS.find((one) => one === replica);
  if (replica !== undefined && layout === undefined) return undefined;
  if (making !== undefined && !isIndexes(making)) return undefined;
  if (shardBlockSize !== undefined && typeof shardBlockSize !== "string") return undefined;
  if (options !== undefined && !isSettings(options)) return undefined;
  return {
    name,
    id,
    ...(layout ? { replica: layout } : {}),
    ...(making ? { making } : {}),
    ...(shardBlockSize === undefined ? {} : { shardBlockSize }),
    ...(options ? { options } : {}),
  };
}

function isSettings(value: unknown): value is Record<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((one) => typeof one === "string");
}

function isIndexes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((index) => Number.isInteger(index) && index >= 0 && index < 3);
}
