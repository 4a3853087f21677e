/**
 * The index as a crawl sees it: fops on virtual directories, and the getxattr names that lead to them (spec
 * translators.md 3). Errors are those of the same call on a directory of the brick.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { type Gfid, NULL_GFID, parseGfid } from "../../../src/core/gfid.ts";
import { direntType, type Iatt, S_IFDIR, S_IFREG } from "../../../src/core/iatt.ts";
import { type Fd, Inode } from "../../../src/core/inode.ts";
import { INDEX_KEY } from "../../../src/core/keys.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import type { IndexClass, IndexStore, MarkClass, Place } from "./index-store.ts";
import { NameListing } from "./name-listing.ts";
import { VirtualDirectories } from "./virtual-directories.ts";

/** ia_type numbers of the wire. */
const IA_REGULAR = 1;
const IA_DIRECTORY = 2;
const DT_UNKNOWN = 0;
/** Inode number of what is not on the brick, as GlusterFS answers it. */
const NO_INO = 2n ** 64n - 1n;

const GFID_KEYS: Readonly<Record<string, IndexClass>> = {
  [INDEX_KEY.PENDING_GFID]: "xattrop",
  [INDEX_KEY.DIRTY_GFID]: "dirty",
  [INDEX_KEY.ENTRY_CHANGES_GFID]: "entry-changes",
};
const COUNT_KEYS: Readonly<Record<string, MarkClass>> = {
  [INDEX_KEY.PENDING_COUNT]: "xattrop",
  [INDEX_KEY.DIRTY_COUNT]: "dirty",
};

export class CrawledIndex {
  readonly #store: IndexStore;
  readonly #directories: VirtualDirectories;
  readonly #purge: (which: MarkClass, gfid: Gfid) => Promise<void>;
  readonly #listings = new WeakMap<Fd, NameListing>();

  /** `purge` takes a gfid out of a class, in turn with what else happens to that inode. */
  constructor(
    store: IndexStore,
    random: { bytes(count: number): Buffer },
    purge: (which: MarkClass, gfid: Gfid) => Promise<void>,
  ) {
    this.#store = store;
    this.#directories = new VirtualDirectories((count) => random.bytes(count));
    this.#purge = purge;
  }

  /** What a virtual inode stands for; undefined for those of the brick. */
  place(inode: Inode | undefined): Place | undefined {
    return this.#directories.place(inode);
  }

  /** The answer to a getxattr of one of the index' own names. */
  xattr(name: string): Dict | undefined {
    const directory = GFID_KEYS[name];
    if (directory) return new Dict().setBytes(name, this.#directories.gfidOf(directory));
    const counted = COUNT_KEYS[name];
    return counted && new Dict().setUint(name, this.#store.count(counted));
  }

  /** Undefined when the loc leads to the brick. */
  lookup({ loc, xdata }: Args<"lookup">): Promise<Reply<"lookup">> | undefined {
    const parent = loc.name === undefined ? undefined : this.place(loc.parent);
    if (parent) return this.#lookupName(parent, loc.name!);
    const place = loc.name === undefined ? this.place(loc.inode) : undefined;
    return place && this.#lookupPlace(place, loc.inode.gfid, xdata);
  }

  async readdir(
    place: Place,
    { fd, size, offset, xdata }: Args<"readdir">,
    typeOf: (gfid: Gfid) => Promise<number>,
  ): Promise<Reply<"readdir">> {
    let listing = offset === 0n ? undefined : this.#listings.get(fd);
    if (!listing) {
      listing = new NameListing(await this.#store.list(place));
      this.#listings.set(fd, listing);
    }
    const { entries, eof } = listing.page(offset, size);
    const wantsTypes = place.of === undefined && xdata?.has(INDEX_KEY.GET_GFID_TYPE) === true;
    const types = await Promise.all(
      entries.map(({ name, isDirectory }) => {
        const gfid = wantsTypes ? parseGfid(name) : undefined;
        return gfid ? typeOf(gfid) : direntType(isDirectory ? S_IFDIR : S_IFREG);
      }),
    );
    return {
      entries: entries.map((entry, i) => ({
        name: entry.name,
        ino: NO_INO,
        offset: entry.offset,
        type: types[i]!,
      })),
      eof,
    };
  }

  /** DT_* of an object of the brick, unknown when it is not there. */
  async typeOf(brick: XlatorBase, call: Call, gfid: Gfid): Promise<number> {
    try {
      return direntType((await brick.lookup(call, { loc: { inode: new Inode(gfid) } })).stat.mode);
    } catch {
      return DT_UNKNOWN;
    }
  }

  async unlink(place: Place, { loc }: Args<"unlink">): Promise<Reply<"unlink">> {
    return this.#changing(place, loc.parent!.gfid, async () => {
      if (place.of !== undefined) return this.#store.removeName(place.of, loc.name!);
      if (place.class === "entry-changes") throw new FopError("EISDIR", { fop: "unlink" });
      await this.#purge(place.class, entryGfid(loc.name!));
    });
  }

  async rmdir(place: Place, { loc, flags }: Args<"rmdir">): Promise<Reply<"rmdir">> {
    return this.#changing(place, loc.parent!.gfid, async () => {
      if (place.class !== "entry-changes" || place.of !== undefined)
        throw new FopError("ENOTDIR", { fop: "rmdir" });
      entryGfid(loc.name!);
      if (flags === 0) await this.#store.removeDirectory(loc.name!);
      else await this.#store.wipeDirectory(loc.name!);
    });
  }

  /** Whether the fd was one of a virtual directory. */
  release(fd: Fd): boolean {
    this.#listings.delete(fd);
    return this.place(fd.inode) !== undefined;
  }

  async #lookupPlace(place: Place, gfid: Gfid, xdata: Dict | undefined): Promise<Reply<"lookup">> {
    const stat = { ...(await this.#store.stat(place)), gfid };
    const reply = new Dict();
    if (xdata?.has(INDEX_KEY.IA_TYPE_REQUEST) && place.of === undefined)
      reply.setUint(INDEX_KEY.IA_TYPE_REPLY, place.class === "entry-changes" ? IA_DIRECTORY : IA_REGULAR);
    return { stat, postParent: { ...stat, gfid: NULL_GFID }, xdata: reply };
  }

  async #lookupName(parent: Place, name: string): Promise<Reply<"lookup">> {
    const stat = await this.#store.stat(parent, name);
    const isDirectory = parent.class === "entry-changes" && parent.of === undefined;
    const gfid = isDirectory ? this.#directories.gfidOfDirectory(name) : this.#directories.randomGfid();
    return { stat: { ...stat, gfid }, postParent: await this.#parentIatt(parent, NULL_GFID) };
  }

  async #changing(place: Place, gfid: Gfid, change: () => Promise<void>): Promise<Reply<"unlink">> {
    const preParent = await this.#parentIatt(place, gfid);
    await change();
    return { preParent, postParent: await this.#parentIatt(place, gfid) };
  }

  async #parentIatt(place: Place, gfid: Gfid): Promise<Iatt> {
    return { ...(await this.#store.stat(place)), gfid };
  }
}

/** The gfid that an entry's name is; ENOENT for other names. */
function entryGfid(name: string): Gfid {
  const gfid = parseGfid(name);
  if (!gfid) throw new FopError("ENOENT", { message: `"${name}" is no gfid` });
  return gfid;
}
