/**
 * Lists an open directory: the children one after the other, each name once (GlusterFS dht_readdirp_cbk).
 *
 * Linkto files are left out; a directory, which is on all children, is listed by the one that its name
 * belongs to. Offsets tell the child too, in the way of GlusterFS' gf_itransform: small ones are exact, huge
 * ones (ext4's hashes) lose as many low bits as the number of the child takes, plus one.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Args, DirentPlus, Reply } from "../../../src/core/fops.ts";
import { direntType, isDir, S_IFDIR, ZERO_IATT } from "../../../src/core/iatt.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { nameBytes } from "../../../src/core/name.ts";
import type { Directories } from "./directories.ts";
import { hasLinktoMode, shown, shownDirectory } from "./iatts.ts";
import type { Lookups } from "./lookup.ts";
import type { SubvolumeSet } from "./subvolume-set.ts";

const LINKTO_BYTES = 256;
/** What an entry takes beside its name, about. */
const ENTRY_BYTES = 24;
const OFFSET_BITS = 63n;
const HUGE = 1n << (OFFSET_BITS - 1n);
const DT_DIR = direntType(S_IFDIR);

/** Offsets of one of several children. */
export class Cookies {
  readonly #count: bigint;
  readonly #bits: bigint;
  /** Offsets from here on are huge. */
  readonly #smallEnd: bigint;

  constructor(count: number) {
    this.#count = BigInt(count);
    this.#bits = BigInt(Math.ceil(Math.log2(count)));
    this.#smallEnd = 1n << (OFFSET_BITS - this.#bits - 1n);
  }

  encode(child: number, offset: bigint): bigint {
    if (offset < this.#smallEnd) return offset * this.#count + BigInt(child);
    return HUGE | (((offset >> 1n) >> this.#bits) << this.#bits) | BigInt(child);
  }

  decode(cookie: bigint): { child: number; offset: bigint } {
    if ((cookie & HUGE) === 0n) return { child: Number(cookie % this.#count), offset: cookie / this.#count };
    const low = (1n << this.#bits) - 1n;
    return { child: Number(cookie & low), offset: (cookie & ~HUGE & ~low) << 1n };
  }
}

export class Listings {
  readonly #set: SubvolumeSet;
  readonly #lookups: Lookups;
  readonly #directories: Directories;
  readonly #cookies: Cookies;
  readonly #listersOf = new WeakMap<Fd, readonly number[]>();

  constructor(set: SubvolumeSet, lookups: Lookups, directories: Directories) {
    this.#set = set;
    this.#lookups = lookups;
    this.#directories = directories;
    this.#cookies = new Cookies(set.all.length);
  }

  async readdir(call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    const { entries, ...rest } = await this.#page(call, args);
    return { ...rest, entries: entries.map(({ name, ino, offset, type }) => ({ name, ino, offset, type })) };
  }

  readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    return this.#page(call, args);
  }

  /** Names from here on, of as many children as there is room for; at least one, or the end. */
  async #page(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    const set = this.#set;
    const { fd } = args;
    const layout = await this.#lookups.layoutOf(call, fd.inode);
    const children = this.#listers(fd, args.offset);
    const xdata = (args.xdata?.clone() ?? new Dict()).setInt(set.xattrs.linkto, LINKTO_BYTES);
    const entries: DirentPlus[] = [];
    let { child, offset } = this.#start(args.offset, children);
    for (let room = args.size; child !== undefined && (room > 0 || entries.length === 0); ) {
      if (!set.isUp(child)) {
        child = after(children, child);
        offset = 0n;
        continue;
      }
      const size = Math.max(room, 1);
      const page = await set.children[child]!.readdirp(call, { fd, size, offset, xdata });
      for (const entry of page.entries) {
        if (!this.#isListedBy(child, entry, layout, children)) continue;
        entries.push(this.#shownEntry(child, entry));
        room -= ENTRY_BYTES + nameBytes(entry.name);
      }
      if (page.eof || page.entries.length === 0) {
        child = after(children, child);
        offset = 0n;
      } else {
        offset = page.entries.at(-1)!.offset;
        if (entries.length > 0) break;
      }
    }
    return { entries, eof: child === undefined };
  }

  /**
   * The children that a listing goes over, as they were when it began: who leaves later takes its names
   * along, but nobody lists directories in its place, as those may have been listed.
   */
  #listers(fd: Fd, offset: bigint): readonly number[] {
    const known = offset === 0n ? undefined : this.#listersOf.get(fd);
    if (known !== undefined) return known;
    const children = this.#directories.listedOn(fd);
    this.#listersOf.set(fd, children);
    return children;
  }

  /** A child that was not there when the listing began is skipped. */
  #start(cookie: bigint, children: readonly number[]): { child: number | undefined; offset: bigint } {
    if (cookie === 0n) return { child: children[0], offset: 0n };
    const { child, offset } = this.#cookies.decode(cookie);
    if (children.includes(child)) return { child, offset };
    return { child: after(children, child), offset: 0n };
  }

  #isListedBy(
    child: number,
    entry: DirentPlus,
    layout: Parameters<SubvolumeSet["childFor"]>[0],
    children: readonly number[],
  ): boolean {
    const { name, stat } = entry;
    if (name === "." || name === "..") return child === children[0];
    if (isDirectory(entry)) {
      const own = this.#set.childFor(layout, name);
      return own >= 0 && children.includes(own) ? child === own : child === children[0];
    }
    return !(hasLinktoMode(stat) && entry.xattrs?.has(this.#set.xattrs.linkto) === true);
  }

  #shownEntry(child: number, entry: DirentPlus): DirentPlus {
    const { stat, xattrs } = entry;
    const { linkto } = this.#set.xattrs;
    return {
      ...entry,
      offset: this.#cookies.encode(child, entry.offset),
      stat: stat === ZERO_IATT ? stat : shownDirectory(shown(stat)),
      ...(xattrs?.has(linkto) ? { xattrs: xattrs.clone([linkto]) } : {}),
    };
  }
}

function isDirectory({ stat, type }: DirentPlus): boolean {
  return stat === ZERO_IATT || stat.mode === 0 ? type === DT_DIR : isDir(stat);
}

/** The child that is listed after this one. */
function after(children: readonly number[], child: number): number | undefined {
  return children.find((one) => one > child);
}
