/**
 * One question to all children about one name or gfid, and their answers by what they show: data files,
 * linkto files, directories (spec translators.md 6.5; GlusterFS dht_lookup_everywhere_cbk).
 */

import type { Call } from "../../../src/core/call.ts";
import type { Outcome } from "../../../src/core/concurrency.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Reply } from "../../../src/core/fops.ts";
import type { Gfid } from "../../../src/core/gfid.ts";
import { isDir } from "../../../src/core/iatt.ts";
import type { Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { hasLinktoMode } from "./iatts.ts";
import { decodePiece, failedPiece, Layout, type Piece, unsetPiece } from "./layout.ts";
import { isMissing, type SubvolumeSet } from "./subvolume-set.ts";

const LINKTO_BYTES = 256;
const LAYOUT_BYTES = 16;
const MDS_BYTES = 4;
const COMMIT_HASH_BYTES = 4;
/** They come with a directory, so that a heal can carry them over. */
const ACLS = ["system.posix_acl_access", "system.posix_acl_default"] as const;

export interface Found {
  readonly child: number;
  readonly reply: Reply<"lookup">;
}

export interface FoundLinkto extends Found {
  /** Child that it names; -1 when there is none of that name. */
  readonly target: number;
}

export interface Look {
  /** By child. */
  readonly outcomes: readonly Outcome<Reply<"lookup">>[];
  readonly files: readonly Found[];
  readonly linktos: readonly FoundLinkto[];
  readonly directories: readonly Found[];
}

/** What is asked of every object, added to what the caller asks. `gfid`: given to an object without one. */
export function lookupRequest(set: SubvolumeSet, xdata: Dict | undefined, gfid?: Gfid): Dict {
  const { xattrs } = set;
  const request = xdata?.clone([KEY.GFID_REQ]) ?? new Dict();
  request.setInt(xattrs.linkto, LINKTO_BYTES).setInt(xattrs.layout, LAYOUT_BYTES);
  request.setInt(xattrs.mds, MDS_BYTES).setInt(KEY.OPEN_FD_COUNT, 4);
  for (const acl of ACLS) if (!request.has(acl)) request.setInt(acl, 0);
  if (gfid !== undefined) request.setGfid(KEY.GFID_REQ, gfid);
  return request;
}

/** The same for the volume's root. */
export function rootRequest(set: SubvolumeSet, xdata: Dict | undefined): Dict {
  return lookupRequest(set, xdata).setInt(set.xattrs.commitHash, COMMIT_HASH_BYTES);
}

/** Asks all children. `have`: an answer that is there already. */
export async function lookEverywhere(
  set: SubvolumeSet,
  call: Call,
  loc: Loc,
  request: Dict,
  have?: Found,
): Promise<Look> {
  const args = { loc, xdata: request };
  const ask = have === undefined ? set.all : set.all.filter((child) => child !== have.child);
  const outcomes = await set.onEach(ask, "lookup", call, args);
  if (have !== undefined) outcomes.splice(have.child, 0, { ok: true, reply: have.reply });
  const files: Found[] = [];
  const linktos: FoundLinkto[] = [];
  const directories: Found[] = [];
  for (const [child, outcome] of outcomes.entries()) {
    if (!outcome.ok) continue;
    const found = { child, reply: outcome.reply };
    const target = linktoTarget(set, outcome.reply);
    if (isDir(outcome.reply.stat)) directories.push(found);
    else if (target !== undefined) linktos.push({ ...found, target });
    else files.push(found);
  }
  return { outcomes, files, linktos, directories };
}

/** Of a linkto file, the child that it names (-1: unknown); undefined for anything else. */
export function linktoTarget(set: SubvolumeSet, { stat, xdata }: Reply<"lookup">): number | undefined {
  if (!hasLinktoMode(stat)) return undefined;
  const name = xdata?.text(set.xattrs.linkto);
  return name === undefined ? undefined : set.childNamed(name);
}

/** A directory's layout as the children have it. */
export function layoutOf(set: SubvolumeSet, outcomes: Look["outcomes"]): Layout {
  let byUser = false;
  const pieces = outcomes.map((outcome): Piece => {
    if (!outcome.ok) return failedPiece(outcome.error.code);
    if (!isDir(outcome.reply.stat)) return failedPiece("ENOTDIR");
    const disk = outcome.reply.xdata?.bytes(set.xattrs.layout);
    if (disk === undefined) return unsetPiece();
    const decoded = decodePiece(disk);
    if (decoded === undefined) return failedPiece("EIO");
    byUser ||= decoded.byUser;
    return decoded.piece;
  });
  return new Layout(pieces, byUser);
}

/** Children that say that there is no such thing. */
export function missingOn({ outcomes }: Look): readonly number[] {
  return outcomes.flatMap((outcome, child) => (!outcome.ok && isMissing(outcome.error) ? [child] : []));
}

/**
 * The error to answer when nothing was found. With `strict` a child that could not be asked counts as one
 * that may have it; otherwise it is enough that one child says that there is nothing.
 */
export function notFound(set: SubvolumeSet, { outcomes }: Look, strict: boolean): FopError {
  const errors = outcomes.flatMap((outcome) => (outcome.ok ? [] : [outcome.error]));
  const unsure = errors.find((error) => !isMissing(error));
  const missing = errors.find((error) => error.code === "ENOENT") ?? errors.find(isMissing);
  const error = (strict ? (unsure ?? missing) : (missing ?? unsure)) ?? set.error("ENOENT", "lookup");
  return new FopError(error.code, { fop: "lookup", xlator: set.name });
}
