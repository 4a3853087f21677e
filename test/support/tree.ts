/**
 * A brick directory as text that two makes of server can be compared by: names, kinds, modes, link counts,
 * extended attributes, and the `.glusterfs` plumbing. What must differ is named instead of shown: a gfid
 * becomes the path of the object that has it, the hash in a gfid2path key and the times in mdata are checked
 * and then left out (translators.md 2.1 and 2.3).
 */

import { lstatSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import xxhash from "xxhash-wasm";
import { getXattr, listXattrs } from "./libc.ts";

const GFID_KEY = "trusted.gfid";
const GFID2PATH = "trusted.gfid2path.";
const MDATA_KEY = "trusted.glusterfs.mdata";
const MDATA_BYTES = 57;
/** A ctime that a test run may have left, and how far clocks of processes are apart. */
const MDATA_AGE_MAX_MS = 3_600_000;
const MDATA_AHEAD_MAX_MS = 1000;
const VOLUME_ID_KEY = "trusted.glusterfs.volume-id";
/** Stands behind the key of a gfid2path that leads nowhere. */
const STALE = "(stale)";
const PLUMBING = ".glusterfs";

const { h64Raw } = await xxhash();

/**
 * A description without the gfid2path keys that lead nowhere: glusterfsd leaves one behind when a rename goes
 * over one of several hard links.
 */
export function withoutStale(description: readonly string[]): string[] {
  const stale = / trusted\.gfid2path\.\*\(stale\)=.*?(?= trusted\.| user\.|$)/g;
  return description.map((line) => line.replace(stale, ""));
}

/**
 * One line an object: first the names, then everything in `.glusterfs`. Sorted; equal bricks give equal
 * lists.
 */
export function describeBrick(directory: string): string[] {
  const names = walk(directory, ".").filter((path) => path !== PLUMBING && !path.startsWith(`${PLUMBING}/`));
  const pathOf = new Map<string, string[]>();
  for (const path of names) {
    const gfid = gfidText(getXattr(join(directory, path), GFID_KEY));
    pathOf.set(gfid, [...(pathOf.get(gfid) ?? []), path]);
  }
  return [
    ...names.map((path) => describeName(directory, path, pathOf)),
    ...walk(directory, PLUMBING).map((path) => describePlumbing(directory, path, pathOf)),
  ].sort();
}

function describeName(directory: string, path: string, pathOf: ReadonlyMap<string, string[]>): string {
  const full = join(directory, path);
  return `${path}: ${describeStat(full)} ${describeXattrs(full, pathOf).join(" ")}`;
}

/**
 * All extended attributes of an object, sorted: values in hexadecimal but for what must differ. `pathOf`:
 * paths in the brick by gfid, of all objects that are named here.
 */
export function describeXattrs(full: string, pathOf: ReadonlyMap<string, string[]>): string[] {
  const own = pathOf.get(gfidText(getXattr(full, GFID_KEY))) ?? [];
  return listXattrs(full)
    .map((key) => describeXattr(full, own, key, pathOf))
    .sort();
}

function describeXattr(
  full: string,
  own: readonly string[],
  key: string,
  pathOf: ReadonlyMap<string, string[]>,
): string {
  const value = getXattr(full, key);
  if (key === GFID_KEY) return `${key}=own`;
  if (key === VOLUME_ID_KEY) return `${key}=${value.length} bytes`;
  if (key.startsWith(GFID2PATH)) {
    const text = value.toString("utf8");
    const hash = h64Raw(value).toString(16).padStart(16, "0");
    const right = key.slice(GFID2PATH.length) === hash ? "" : "(wrong hash)";
    return `${GFID2PATH}*${right}${staleness(text, own, pathOf)}=${nameGfids(text, pathOf)}`;
  }
  if (key === MDATA_KEY) {
    return `${key}=${isSoundMdata(value) ? "times" : `0x${value.toString("hex")}`}`;
  }
  return `${key}=0x${value.toString("hex")}`;
}

/** Version 1, no flags; seconds and nanoseconds of ctime (of late), mtime and atime (which users set). */
function isSoundMdata(value: Buffer): boolean {
  if (value.length !== MDATA_BYTES || value[0] !== 1 || value.readBigUInt64BE(1) !== 0n) return false;
  const [ctime, ...nanoseconds] = [9, 17, 33, 49].map((offset) => value.readBigUInt64BE(offset));
  const ageMs = Date.now() - Number(ctime) * 1000;
  return ageMs > -MDATA_AHEAD_MAX_MS && ageMs < MDATA_AGE_MAX_MS && nanoseconds.every((one) => one < 1e9);
}

/** Marks a gfid2path that leads to a name which is not, or not any more, one of the object's own. */
function staleness(
  text: string,
  own: readonly string[],
  pathOf: ReadonlyMap<string, readonly string[]>,
): string {
  const parent = pathOf.get(text.slice(0, 36))?.[0];
  const path = parent === "." ? text.slice(37) : `${parent}/${text.slice(37)}`;
  return own.includes(path) ? "" : STALE;
}

function describePlumbing(directory: string, path: string, pathOf: ReadonlyMap<string, string[]>): string {
  const full = join(directory, path);
  const named = path.replace(/\/[0-9a-f]{2}\/[0-9a-f]{2}\/([0-9a-f-]{36})$/, (_, gfid: string) => {
    return `/<handle of ${pathOf.get(gfid)?.join(" and ") ?? "nobody"}>`;
  });
  // Directories on the way to handles are named by gfid: which of them exist is chance, how they look is not.
  const way = named.replace(/^\.glusterfs\/[0-9a-f]{2}\/[0-9a-f]{2}$/, ".glusterfs/aa/bb");
  return `${way}: ${describeStat(full, pathOf)}`;
}

function describeStat(full: string, pathOf?: ReadonlyMap<string, string[]>): string {
  const stat = lstatSync(full);
  const mode = (stat.mode & 0o7777).toString(8);
  const owner = `${stat.uid}:${stat.gid}`;
  if (stat.isDirectory()) return `directory ${mode} ${owner}`;
  const links = `links ${stat.nlink}`;
  if (stat.isSymbolicLink()) {
    const target = readlinkSync(full);
    return `symlink ${links} -> ${pathOf === undefined ? target : nameGfids(target, pathOf)}`;
  }
  const kind = stat.isFile() ? `file ${stat.size} bytes` : `special ${stat.rdev}`;
  return `${kind} ${mode} ${owner} ${links}`;
}

/** Replaces each gfid of a text by the path of its owner. */
function nameGfids(text: string, pathOf: ReadonlyMap<string, string[]>): string {
  return text.replace(
    /([0-9a-f]{2}\/[0-9a-f]{2}\/)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/g,
    (_, way, gfid: string) => {
      return `${way === undefined ? "" : "aa/bb/"}<${pathOf.get(gfid)?.join(" and ") ?? "nobody"}>`;
    },
  );
}

/** Relative paths of a directory and everything below it. */
function walk(directory: string, path: string): string[] {
  const paths = [path];
  for (const entry of readdirSync(join(directory, path), { withFileTypes: true })) {
    const child = path === "." ? entry.name : `${path}/${entry.name}`;
    if (entry.isDirectory()) paths.push(...walk(directory, child));
    else paths.push(child);
  }
  return paths;
}

/** A gfid's bytes as text with dashes. */
export function gfidText(bytes: Buffer): string {
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
