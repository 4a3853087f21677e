/**
 * The copies of a replicated volume as they lie on its bricks: who blames whom, what the index lists, and
 * whether the copies are the same. Read from the brick directories, with none of the code under test.
 *
 * Names that differ between two volumes that went through the same (gfids, the volume's name) are replaced by
 * paths and child numbers, so that the lists of two volumes can be compared.
 */

import { createHash } from "node:crypto";
import { closeSync, existsSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { getXattr, listXattrs } from "./libc.ts";
import { gfidText } from "./tree.ts";

const PLUMBING = ".glusterfs";
const ANONYMOUS = ".glusterfs-anonymous-inode";
const AFR = "trusted.afr.";
const GFID2PATH = "trusted.gfid2path.";
const READ_CHUNK = 1 << 20;

/** By "dirty" or "client-K": the twelve bytes in hexadecimal, three words apart. */
export type Marks = Readonly<Record<string, string>>;

/** `MARK` of `pending(1, 0, 0)`. */
export function counts(data: number, metadata = 0, entry = 0): string {
  return [data, metadata, entry].map((count) => count.toString(16).padStart(8, "0")).join(" ");
}

/** The AFR xattrs of one object of a brick; absent ones are left out. */
export function readMarks(brick: string, path: string): Marks {
  const full = join(brick, path);
  const marks: Record<string, string> = {};
  for (const key of listXattrs(full)) {
    if (!key.startsWith(AFR)) continue;
    const name = key.slice(AFR.length).replace(/^.*-(client-\d+)$/, "$1");
    marks[name] = getXattr(full, key)
      .toString("hex")
      .replace(/(.{8})(?=.)/g, "$1 ");
  }
  return marks;
}

/** Marks that are not zero. */
export function pendingMarks(brick: string, path: string): Marks {
  return Object.fromEntries(Object.entries(readMarks(brick, path)).filter(([, hex]) => /[^0 ]/.test(hex)));
}

/** One line an object that has marks, and one a line of the index; sorted. */
export function describeMarks(brick: string): string[] {
  const paths = namesOf(brick);
  const marked = paths.flatMap((path) => {
    const marks = Object.entries(readMarks(brick, path)).map(([key, hex]) => `${key}=${hex}`);
    return marks.length > 0 ? [`${path}: ${marks.join(", ")}`] : [];
  });
  return [...marked, ...describeIndex(brick, paths)].sort();
}

/** What heals are due by the index: "xattrop PATH", "dirty PATH", "entry-changes PATH/NAME". */
export function describeIndex(brick: string, paths: readonly string[] = namesOf(brick)): string[] {
  const byGfid = new Map(paths.map((path) => [gfidOf(brick, path), path]));
  const name = (gfid: string): string => byGfid.get(gfid) ?? "(no name)";
  const listed = ["xattrop", "dirty"].flatMap((kind) =>
    indexNames(brick, kind)
      .filter((entry) => !entry.startsWith(`${kind}-`))
      .map((gfid) => `${kind} ${name(gfid)}`),
  );
  const changes = indexNames(brick, "entry-changes")
    .filter((entry) => !entry.startsWith("entry-changes-"))
    .flatMap((gfid) =>
      indexNames(brick, join("entry-changes", gfid)).map((entry) => `entry-changes ${name(gfid)}/${entry}`),
    );
  return [...listed, ...changes].sort();
}

/** How many heals are due by the index; safe to ask while heals are at work. */
export function countIndex(brick: string): number {
  return ["xattrop", "dirty", "entry-changes"].flatMap((kind) =>
    indexNames(brick, kind).filter((entry) => !entry.startsWith(`${kind}-`)),
  ).length;
}

function indexNames(brick: string, kind: string): string[] {
  const directory = join(brick, PLUMBING, "indices", kind);
  return existsSync(directory) ? readdirSync(directory) : [];
}

/**
 * One line an object: kind, mode, owner, link count, gfid, size and content, xattrs but for marks. Copies
 * that agree give equal lists; marks are listed only where they are not zero. An arbiter has no content, so
 * `data` false leaves size and content out.
 */
export function describeCopy(brick: string, { data = true } = {}): string[] {
  const names = namesOf(brick);
  const leads = new Set(names.filter((path) => path !== ".").map((path) => leadOf(brick, path)));
  return names.map((path) => {
    const full = join(brick, path);
    const stat = lstatSync(full);
    const kind = (stat.mode & 0o170000).toString(8);
    const size = stat.isFile() && data ? ` ${stat.size} bytes ${sha256(full)}` : "";
    const target = stat.isSymbolicLink() ? ` -> ${readlinkSync(full)}` : "";
    const links = stat.isDirectory() ? "" : ` links ${stat.nlink}`;
    const what = `${kind} ${(stat.mode & 0o7777).toString(8)} ${stat.uid}:${stat.gid} rdev ${stat.rdev}${links}`;
    return `${path}: ${what}${size}${target} ${xattrs(brick, path, leads).join(" ")}`;
  });
}

/**
 * Those that say the same on each copy of a healed object: not the times of mdata, which heals do not bring
 * over, and no gfid2path that leads nowhere, as GlusterFS leaves one when a rename goes over one of several
 * hard links.
 */
function xattrs(brick: string, path: string, leads: ReadonlySet<string>): string[] {
  const full = join(brick, path);
  const own = listXattrs(full)
    .filter((key) => !key.startsWith(AFR) && key !== "trusted.glusterfs.mdata")
    .map((key) => ({ key, value: getXattr(full, key) }))
    .filter(({ key, value }) => !key.startsWith(GFID2PATH) || leads.has(`${gfidOf(brick, path)} ${value}`))
    .map(({ key, value }) => `${key}=${value.toString("hex")}`);
  const marks = Object.entries(pendingMarks(brick, path)).map(([key, hex]) => `${key}=${hex}`);
  return [...own, ...marks];
}

/** What a brick's file system gave to one object. */
export function allocatedBytes(brick: string, path: string): number {
  return lstatSync(join(brick, path)).blocks * 512;
}

/** An object and the gfid2path of one of its names: the parent's gfid, and the name. */
function leadOf(brick: string, path: string): string {
  return `${gfidOf(brick, path)} ${gfidOf(brick, dirname(path))}/${basename(path)}`;
}

export function gfidOf(brick: string, path: string): string {
  return gfidText(getXattr(join(brick, path), "trusted.gfid"));
}

/** Relative paths of everything a client could see, "." first; the hidden directory of heals is left out. */
export function namesOf(brick: string, path = "."): string[] {
  const paths = [path];
  for (const entry of readdirSync(join(brick, path), { withFileTypes: true })) {
    if (path === "." && (entry.name === PLUMBING || entry.name.startsWith(ANONYMOUS))) continue;
    const child = path === "." ? entry.name : `${path}/${entry.name}`;
    if (entry.isDirectory()) paths.push(...namesOf(brick, child));
    else paths.push(child);
  }
  return paths.sort();
}

/** What waits in the hidden directory of heals. */
export function anonymousNames(brick: string): string[] {
  return readdirSync(brick)
    .filter((name) => name.startsWith(ANONYMOUS))
    .flatMap((name) => readdirSync(join(brick, name)));
}

function sha256(path: string): string {
  const fd = openSync(path, "r");
  try {
    const hash = createHash("sha256");
    const chunk = Buffer.alloc(READ_CHUNK);
    for (let count = readSync(fd, chunk); count > 0; count = readSync(fd, chunk))
      hash.update(chunk.subarray(0, count));
    return hash.digest("hex");
  } finally {
    closeSync(fd);
  }
}
