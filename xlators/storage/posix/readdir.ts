/** readdir and readdirp over an fd's listing (spec wire.md 6.3, 9.6). */

import type { Dict } from "../../../src/core/dict.ts";
import type { Args, Dirent, DirentPlus, Reply } from "../../../src/core/fops.ts";
import { type Gfid, gfidEquals, inoOf, isNullGfid, NULL_GFID, ROOT_GFID } from "../../../src/core/gfid.ts";
import { direntType, ZERO_IATT } from "../../../src/core/iatt.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { nameBytes } from "../../../src/core/name.ts";
import { lstat } from "../../../src/os/files.ts";
import { answer } from "./answers.ts";
import type { Brick } from "./brick.ts";
import { isCode } from "./handle.ts";
import { type ListedEntry, Listing } from "./listing.ts";

const DT_UNKNOWN = 0;
const DT_DIR = 4;
/**
 * Room that an entry takes of `size`, besides its name: what it takes on the wire and in the kernel's
 * replies.
 */
const ENTRY_BYTES = 40;
const ENTRY_PLUS_BYTES = 200;
/** A brick's reply is no longer than this, whatever the client offers. */
const REPLY_BYTES_MAX = 128 << 10;

/** A page of a directory. */
interface Page {
  readonly entries: readonly ListedEntry[];
  readonly eof: boolean;
  readonly path: string;
  readonly gfid: Gfid;
  /** gfid of the directory above. */
  readonly up: Gfid;
}

export async function readdirFop(brick: Brick, args: Args<"readdir">): Promise<Reply<"readdir">> {
  const page = await readPage(brick, args, ENTRY_BYTES);
  const entries = await Promise.all(page.entries.map((entry) => plain(brick, page, entry)));
  return { entries: entries.filter((entry) => entry !== undefined), eof: page.eof };
}

export async function readdirpFop(brick: Brick, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
  const page = await readPage(brick, args, ENTRY_PLUS_BYTES);
  const entries = await Promise.all(page.entries.map((entry) => full(brick, page, entry, args.xdata)));
  return { entries, eof: page.eof };
}

async function readPage(
  brick: Brick,
  args: { fd: Fd; size: number; offset: bigint; xdata?: Dict | undefined },
  entryBytes: number,
): Promise<Page> {
  const { fd, offset } = args;
  const { path, gfid } = await directoryOf(brick, fd);
  const listing = await listingOf(brick, fd, gfid, path, offset);
  const skipsDirectories = args.xdata?.number("readdir-filter-directories") === 1;
  const size = Math.min(args.size, REPLY_BYTES_MAX);
  const entries: ListedEntry[] = [];
  let filled = 0;
  let at = listing.indexAfter(offset);
  for (; at < listing.entries.length; at++) {
    const entry = listing.entries[at]!;
    if (skipsDirectories && entry.type === DT_DIR) continue;
    filled += entryBytes + nameBytes(entry.name);
    // One entry is given in any case, or the client would never get past it.
    if (filled > size && entries.length > 0) break;
    entries.push(entry);
  }
  const isRoot = gfidEquals(gfid, ROOT_GFID);
  const up = isRoot ? ROOT_GFID : ((await brick.handles.parentOf(gfid))?.parent ?? NULL_GFID);
  return { entries, eof: at >= listing.entries.length, path, gfid, up };
}

async function directoryOf(brick: Brick, fd: Fd): Promise<{ path: string; gfid: Gfid }> {
  if (!fd.anonymous) brick.files.leave(brick.files.enter(fd)!);
  const { gfid } = fd.inode;
  try {
    const { path } = await brick.handles.findDirectory(gfid);
    return { path, gfid };
  } catch (error) {
    if (isCode(error, "ENOENT") && !fd.anonymous) throw brick.error("ESTALE", "readdir");
    throw error;
  }
}

/** The fd's snapshot; a new one from the beginning, and for an anonymous fd always. */
async function listingOf(brick: Brick, fd: Fd, gfid: Gfid, path: string, offset: bigint): Promise<Listing> {
  if (fd.anonymous) return Listing.read(gfid, path);
  const file = brick.files.enter(fd)!;
  try {
    if (file.listing && offset !== 0n) return file.listing;
    const listing = await Listing.read(gfid, path);
    file.listing = listing;
    return listing;
  } finally {
    brick.files.leave(file);
  }
}

async function plain(brick: Brick, page: Page, entry: ListedEntry): Promise<Dirent | undefined> {
  const { name, cookie } = entry;
  const offset = BigInt(cookie);
  if (name === "." || name === "..") {
    const ino = inoOf(name === "." ? page.gfid : page.up);
    return { name, ino, offset, type: DT_DIR };
  }
  try {
    const path = `${page.path}/${name}`;
    const gfid = await brick.gfidOn(path);
    const type = entry.type === DT_UNKNOWN ? direntType((await lstat(path)).mode) : entry.type;
    return { name, ino: inoOf(gfid), offset, type };
  } catch (error) {
    // It was removed since the snapshot was taken.
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

async function full(
  brick: Brick,
  page: Page,
  entry: ListedEntry,
  xdata: Dict | undefined,
): Promise<DirentPlus> {
  const { name, cookie } = entry;
  const offset = BigInt(cookie);
  if (name === "." || name === "..") {
    const ino = inoOf(name === "." ? page.gfid : page.up);
    return { name, ino, offset, type: DT_DIR, stat: ZERO_IATT };
  }
  const path = `${page.path}/${name}`;
  try {
    const [stat, gfid] = await Promise.all([lstat(path), brick.gfidOn(path)]);
    if (isNullGfid(gfid)) return { name, ino: 0n, offset, type: direntType(stat.mode), stat: ZERO_IATT };
    const state = brick.states.of(gfid);
    const subject = { target: path, gfid, state, stat };
    const [iatt, xattrs] = await Promise.all([brick.iatt(stat, state, path), answer(brick, subject, xdata)]);
    const plus = { name, ino: inoOf(gfid), offset, type: direntType(stat.mode), stat: iatt };
    return xattrs ? { ...plus, xattrs } : plus;
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
    return { name, ino: 0n, offset, type: entry.type, stat: ZERO_IATT };
  }
}
