/**
 * Taking the last name of a file: unlink, and rename over it (spec translators.md 5.5; GlusterFS shard.c,
 * shard_unlink and shard_rename).
 *
 * The blocks are removed later, in the background (cleaner.ts). So that this happens even if every client
 * dies, a marker is left before the name goes: an empty file of mode 0 in `.remove_me`, called by the gfid,
 * with block size and size as xattrs. An inodelk on the base file keeps other clients from unlinking or
 * linking it in between, an entrylk on the marker keeps cleaners away; both in the domain of GlusterFS'
 * shard. A file that has no second block, and that nobody has open, is unlinked without a marker. One that
 * another client puts under the name between the look and the deed gets its marker afterwards: bricks of
 * Mortar tell who lost the name, and whoever made blocks looks when he closes the file. Limits: with bricks
 * of GlusterFS, or when a client dies just then, such a file's blocks stay (with GlusterFS always).
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { type ErrnoName, FopError } from "../../../src/core/errors.ts";
import { type Args, type Flock, type LockType, type Reply, XATTROP } from "../../../src/core/fops.ts";
import { type Gfid, gfidEquals, gfidText, newGfid } from "../../../src/core/gfid.ts";
import { type Iatt, isRegular } from "../../../src/core/iatt.ts";
import { type Fd, Inode, type Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { askingAll, blockSizeOf, type Extent, extentOf, withShardXattrs } from "./attributes.ts";
import { type Cleaner, LISTED_ABOVE } from "./cleaner.ts";
import type { Context } from "./context.ts";
import { isGone, ROOT_CALL } from "./directories.ts";
import type { ShardFile } from "./file.ts";

/** umask of the marker's mknod, as GlusterFS sends it. */
const MARKER_UMASK = 0o644;
const OWNER_BYTES = 16;
/** Errors that say that nothing was done. */
const REFUSALS: ReadonlySet<ErrnoName> = new Set([
  "EPERM",
  "EACCES",
  "EROFS",
  "EBUSY",
  "EISDIR",
  "ENOTDIR",
  "ENOTEMPTY",
]);

/** A base file as found by name. */
interface Base {
  readonly loc: Loc;
  readonly stat: Iatt;
  readonly blockSize: number;
  readonly extent: Extent;
  /** Names on the copy with fewest. Others may have more only until they are healed. */
  readonly fewestLinks: number;
  /** Fds on it, of all clients. */
  readonly openCount: number;
}

interface Found {
  readonly base?: Base;
  readonly gfid?: Gfid;
}

export class Remover {
  readonly #context: Context;
  readonly #cleaner: Pick<Cleaner, "took" | "run">;

  constructor(context: Context, cleaner: Pick<Cleaner, "took" | "run">) {
    this.#context = context;
    this.#cleaner = cleaner;
  }

  async unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    const { below } = this.#context;
    const xdata = askingWhoLost(args.xdata);
    const { base, gfid } = await this.#find(call, args.loc);
    const take = async (loc: Loc, found: Gfid | undefined): Promise<Reply<"unlink">> => {
      const reply = await below.unlink(call, { ...args, loc, xdata });
      await this.#mind(found, reply.xdata);
      return { ...reply, xdata: unlessAsked(args.xdata, reply.xdata) };
    };
    if (base === undefined) return take(args.loc, gfid);
    return this.#losing(base, call, ({ loc: { inode }, stat }) => take({ ...args.loc, inode }, stat.gfid));
  }

  async rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    const { below, files } = this.#context;
    const xdata = askingWhoLost(args.xdata);
    const [{ base: from }, { base: to, gfid }] = await Promise.all([
      this.#find(call, args.from),
      this.#find(call, args.to),
    ]);
    const isSame = from !== undefined && to !== undefined && gfidEquals(from.stat.gfid, to.stat.gfid);
    const move = async (over: Gfid | undefined): Promise<Reply<"rename">> => {
      const whole = await below.rename(call, { ...args, xdata });
      await this.#mind(over, whole.xdata);
      const reply = { ...whole, xdata: unlessAsked(args.xdata, whole.xdata) };
      const file = from && files.find(from.stat.gfid);
      if (file === undefined) return from ? { ...reply, stat: { ...reply.stat, ...from.extent } } : reply;
      file.saw(reply.stat);
      return { ...reply, stat: file.attributes() };
    };
    return to === undefined || isSame ? move(gfid) : this.#losing(to, call, ({ stat }) => move(stat.gfid));
  }

  /**
   * This client closes a file, by its last fd. If it made blocks of it, and another client took the name that
   * had seen nothing under it yet, or no blocks, it leaves the marker in that client's place.
   */
  async closing(file: ShardFile, fd: Fd): Promise<void> {
    if (!file.hasNewBlocks || file.isUnlinked) return;
    file.hasNewBlocks = false;
    try {
      const { stat, xdata } = await this.#context.below.fstat(ROOT_CALL, { fd, xdata: askingAll(undefined) });
      if (stat.nlink > 0) return;
      const size = Math.max(file.size.size, extentOf(xdata)?.size ?? 0);
      await this.#holdingMarker(file.gfid, this.#lockCall(), async (directory) => {
        await this.#mark(directory, file.gfid, file.blockSize, size);
        file.isUnlinked = true;
      });
    } catch (error) {
      if (!isGone(error)) this.#context.log.debug("a file was closed without a look at its name", { error });
    }
  }

  /**
   * What lost its name is the file that was found there, or another client was faster: then that other file
   * gets its marker now. How large it was is not known; its blocks are to be listed.
   */
  async #mind(found: Gfid | undefined, told: Dict | undefined): Promise<void> {
    const lost = told?.gfid(KEY.LOST_GFID);
    if (lost === undefined || (found !== undefined && gfidEquals(found, lost))) return;
    const blockSize = this.#context.options()["shard-block-size"];
    try {
      await this.#holdingMarker(lost, this.#lockCall(), (directory) =>
        this.#mark(directory, lost, blockSize, (LISTED_ABOVE + 2) * blockSize),
      );
      this.#cleaner.run();
    } catch (error) {
      this.#context.log.warn("a file that lost its name just after it was given it may leave blocks behind", {
        gfid: gfidText(lost),
        error,
      });
    }
  }

  /**
   * No base of what is not cut into blocks, or is not there: the layers below have the answer then. The gfid
   * of anything that is.
   */
  async #find(call: Call, loc: Loc): Promise<Found> {
    const { below, files } = this.#context;
    const asked = files.find(loc.inode.gfid)?.size.asking();
    const fresh: Loc = loc.inode.linked ? loc : { ...loc, inode: new Inode() };
    const xdata = askingAll(undefined).setInt(KEY.OPEN_FD_COUNT, 1).setInt(KEY.FEWEST_LINKS, 1);
    try {
      const reply = await below.lookup(call, { loc: fresh, xdata });
      const { stat } = reply;
      const blockSize = blockSizeOf(reply.xdata);
      const extent = extentOf(reply.xdata);
      if (blockSize === undefined || extent === undefined || !isRegular(stat)) return { gfid: stat.gfid };
      // The name may lead to another file than the caller knows.
      const isKnown = loc.inode.linked && gfidEquals(loc.inode.gfid, stat.gfid);
      const inode = isKnown ? loc.inode : this.#inodeOf(stat);
      if (isKnown && asked !== undefined) files.find(stat.gfid)?.size.believe(asked, extent);
      const openCount = reply.xdata?.number(KEY.OPEN_FD_COUNT) ?? 1;
      const fewestLinks = reply.xdata?.number(KEY.FEWEST_LINKS) ?? stat.nlink;
      const base: Base = { loc: { ...loc, inode }, stat, blockSize, extent, fewestLinks, openCount };
      return { base, gfid: stat.gfid };
    } catch (error) {
      if (error instanceof FopError && error.code === "ENOENT") return {};
      throw error;
    }
  }

  #inodeOf(stat: Iatt): Inode {
    return this.#context.files.find(stat.gfid)?.inode ?? new Inode(stat.gfid, stat.mode & 0o170000);
  }

  /** Runs `take`, which may take the last name of `base`. */
  async #losing<R>(base: Base, call: Call, take: (base: Base) => Promise<R>): Promise<R> {
    const { files, shards } = this.#context;
    const known = files.find(base.stat.gfid);
    const size = Math.max(base.extent.size, known?.size.size ?? 0);
    const isOpen = base.openCount > 0 || (known?.opens ?? 0) > 0;
    // Room that the base file does not take is in other blocks, perhaps beyond the end.
    const isWhole = size <= base.blockSize && (known?.size.blocks ?? base.extent.blocks) <= base.stat.blocks;
    const isLast = base.fewestLinks <= 1;
    if (isWhole && !isOpen && !(isLast && (await shards.hasStray(base.stat.gfid)))) {
      const reply = await take(base);
      if (isSurelyLast(base)) this.#lost(base.stat.gfid);
      return reply;
    }
    const lockCall = this.#lockCall(call);
    await this.#lockBase(base, lockCall, "wrlck");
    let now: Base | undefined;
    try {
      now = (await this.#find(call, base.loc)).base;
      if (now === undefined) return await take(base);
      if (gfidEquals(now.stat.gfid, base.stat.gfid)) {
        if (now.fewestLinks > 1) return await take(now);
        const end = Math.max(size, now.extent.size);
        return await this.#markedTake(now, end, lockCall, () => take(now!));
      }
    } finally {
      await this.#lockBase(base, lockCall, "unlck");
    }
    // Another client was faster, and the name leads to another file, which is to be marked in its turn.
    return this.#losing(now, call, take);
  }

  /** Runs `take` with a marker left beforehand. */
  async #markedTake<R>(base: Base, size: number, lockCall: Call, take: () => Promise<R>): Promise<R> {
    const { gfid } = base.stat;
    const marked = this.#holdingMarker(gfid, lockCall, async (directory) => {
      try {
        await this.#mark(directory, gfid, base.blockSize, size);
        const reply = await take();
        // Where copies differ in names, cleaners wait until all say that the file is gone.
        if (isSurelyLast(base)) {
          this.#lost(gfid);
          this.#cleaner.took(gfid);
        }
        return reply;
      } catch (error) {
        // A marker of a file that has a name would stay for as long as that. Where copies may have lost the
        // name all the same it stays: cleaners look whether the file is gone.
        if (error instanceof FopError && REFUSALS.has(error.code))
          await this.#unmark(directory, gfid).catch(ignore);
        throw error;
      }
    });
    return marked.finally(() => this.#cleaner.run());
  }

  /** Runs `work` with the directory of markers, while no cleaner touches this file's marker. */
  async #holdingMarker<R>(gfid: Gfid, lockCall: Call, work: (directory: Inode) => Promise<R>): Promise<R> {
    const directory = await this.#context.shards.directories.removed(true);
    await this.#lockMarker(directory, gfid, lockCall, "lock");
    try {
      return await work(directory);
    } finally {
      await this.#lockMarker(directory, gfid, lockCall, "unlock");
    }
  }

  /** Makes the marker; one that is there, of an unlink that failed, gets today's size. */
  async #mark(parent: Inode, gfid: Gfid, blockSize: number, size: number): Promise<void> {
    const { below } = this.#context;
    const loc: Loc = { inode: new Inode(), parent, name: gfidText(gfid) };
    const xdata = withShardXattrs(new Dict(), blockSize, size)
      .setGfid(KEY.GFID_REQ, newGfid())
      .setInt(KEY.INTERNAL_FOP, 1);
    try {
      await below.mknod(ROOT_CALL, { loc, mode: 0, rdev: 0, umask: MARKER_UMASK, xdata });
      return;
    } catch (error) {
      if (!(error instanceof FopError) || error.code !== "EEXIST") throw error;
    }
    const { stat } = await below.lookup(ROOT_CALL, { loc: { ...loc, inode: new Inode() } });
    const inode = new Inode(stat.gfid, stat.mode & 0o170000);
    const xattrs = withShardXattrs(undefined, blockSize, size);
    await below.xattrop(ROOT_CALL, { loc: { inode }, op: XATTROP.GET_AND_SET, xattrs });
  }

  async #unmark(parent: Inode, gfid: Gfid): Promise<void> {
    const { below } = this.#context;
    const loc: Loc = { inode: new Inode(), parent, name: gfidText(gfid) };
    const { stat } = await below.lookup(ROOT_CALL, { loc });
    const inode = new Inode(stat.gfid, stat.mode & 0o170000);
    await below.unlink(ROOT_CALL, { loc: { ...loc, inode }, flags: 0 });
  }

  /** The file has no name any more. */
  #lost(gfid: Gfid): void {
    const file = this.#context.files.find(gfid);
    if (file !== undefined) file.isUnlinked = true;
  }

  #lockCall(call?: Call): Call {
    const lkOwner = this.#context.env.random.bytes(OWNER_BYTES);
    return { ...internalCall(0, call?.client), lkOwner };
  }

  async #lockBase({ loc: { inode } }: Base, call: Call, type: LockType): Promise<void> {
    const { below, name: volume, log } = this.#context;
    const flock: Flock = { type, whence: 0, start: 0n, len: 0n, pid: 0, lkOwner: call.lkOwner };
    const cmd = type === "unlck" ? "setlk" : "setlkw";
    try {
      await below.inodelk(call, { loc: { inode }, volume, cmd, flock });
    } catch (error) {
      if (type !== "unlck") throw error;
      // The inode may be gone, and its locks with it.
      if (!isGone(error)) log.warn("a lock on a base file could not be given back", { error });
    }
  }

  async #lockMarker(inode: Inode, gfid: Gfid, call: Call, cmd: "lock" | "unlock"): Promise<void> {
    const { below, name: volume, log } = this.#context;
    const args = { loc: { inode }, volume, name: gfidText(gfid), cmd, type: "wrlck" as const };
    try {
      await below.entrylk(call, args);
    } catch (error) {
      if (cmd === "lock") throw error;
      log.warn("a lock on a marker could not be given back", { error });
    }
  }
}

function askingWhoLost(xdata: Dict | undefined): Dict {
  return (xdata?.clone() ?? new Dict()).setInt(KEY.LOST_GFID, 1);
}

/** The reply's xdata without what the caller has not asked for. */
function unlessAsked(asked: Dict | undefined, told: Dict | undefined): Dict | undefined {
  if (asked === undefined) return undefined;
  return asked.has(KEY.LOST_GFID) ? told : told?.clone([KEY.LOST_GFID]);
}

function isSurelyLast({ stat, fewestLinks }: Base): boolean {
  return stat.nlink <= 1 && fewestLinks <= 1;
}

function ignore(): void {}
