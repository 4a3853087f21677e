/**
 * Keeps a directory the same on all children: there, with one owner and mode, with the xattrs of its
 * metadata owner, with a layout without holes or overlaps (spec translators.md 6.4, 6.5; GlusterFS
 * dht-selfheal.c).
 *
 * Healed is what a lookup shows to be wrong, and only while all children can be asked. Missing directories
 * are made under the lock of their name, layouts are written under write locks on all children, each after
 * another look: who comes second finds it done. Layouts that an administrator set are left alone.
 */

import type { Call } from "../../../src/core/call.ts";
import { KeyedQueue } from "../../../src/core/concurrency.ts";
import { Dict } from "../../../src/core/dict.ts";
import { type Gfid, gfidEquals, gfidKey, gfidText, ROOT_GFID } from "../../../src/core/gfid.ts";
import { type Iatt, SETATTR } from "../../../src/core/iatt.ts";
import { Inode, type Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { changedLater, sameAccess } from "./iatts.ts";
import { encodePiece, type Layout, NO_COMMIT_HASH } from "./layout.ts";
import { locked } from "./locks.ts";
import {
  type Found,
  type Look,
  layoutOf,
  lookEverywhere,
  lookupRequest,
  missingOn,
  notFound,
} from "./look.ts";
import { asRoot, type SubvolumeSet } from "./subvolume-set.ts";
import { DOMAIN } from "./xattr-names.ts";

const PERMISSIONS = 0o7777;
const ACCESS = SETATTR.MODE | SETATTR.UID | SETATTR.GID;
/** Xattrs of directories that are the users', as GlusterFS carries them over. */
const CARRIED = /^(user\.|security\.|system\.posix_acl_(access|default)$)/;
const CLEAN_MDS = Buffer.alloc(4);

/** A directory by name. */
export interface NamedDirectory {
  readonly parent: Inode;
  readonly name: string;
}

/** What a look at a directory tells. */
export interface DirectoryView {
  readonly gfid: Gfid;
  readonly layout: Layout;
  /** Whose owner and mode count. */
  readonly source: Found;
  /** Child that owns the metadata, -1 when none says that it does. */
  readonly mds: number;
  readonly mdsIsBehind: boolean;
  readonly missing: readonly number[];
  readonly accessDiffers: boolean;
}

/** How a layer above finds the child that a name belongs to. */
export type OwnChild = (call: Call, parent: Inode, name: string) => Promise<number>;

export class DirectoryHealer {
  readonly #set: SubvolumeSet;
  readonly #ownChild: OwnChild;
  readonly #queue = new KeyedQueue<string>();

  constructor(set: SubvolumeSet, ownChild: OwnChild) {
    this.#set = set;
    this.#ownChild = ownChild;
  }

  /** Reads a look that found directories; EIO when they are not one and the same. */
  view(look: Look): DirectoryView {
    const set = this.#set;
    const { directories } = look;
    const { gfid } = directories[0]!.reply.stat;
    const other = directories.find(({ reply }) => !gfidEquals(reply.stat.gfid, gfid));
    if (other !== undefined)
      throw set.error(
        "EIO",
        "lookup",
        `a directory is ${gfidText(gfid)} on one subvolume, another elsewhere`,
      );
    const layout = layoutOf(set, look.outcomes);
    const owner = directories.find(({ reply }) => reply.xdata?.has(set.xattrs.mds) === true);
    const source = owner ?? this.#latest(directories);
    const mdsValue = owner?.reply.xdata?.bytes(set.xattrs.mds);
    return {
      gfid,
      layout,
      source,
      mds: owner?.child ?? -1,
      mdsIsBehind: mdsValue?.length === 4 && mdsValue.readInt32BE(0) < 0,
      missing: missingOn(look),
      accessDiffers: directories.some(({ reply }) => !sameAccess(reply.stat, source.reply.stat)),
    };
  }

  needsHeal(view: DirectoryView): boolean {
    const { layout, missing, accessDiffers, mdsIsBehind, mds, gfid } = view;
    const hasNoOwner = mds < 0 && !gfidEquals(gfid, ROOT_GFID);
    return !layout.isWhole || missing.length > 0 || accessDiffers || mdsIsBehind || hasNoOwner;
  }

  /** Only with all children there does a heal know what it does. */
  canHeal({ layout }: DirectoryView): boolean {
    const { down, failed } = layout.anomalies;
    return down === 0 && failed === 0 && this.#set.allUp;
  }

  /** One heal of a directory at a time. `named`: where it is, when that is known. */
  heal(call: Call, inode: Inode, gfid: Gfid, named: NamedDirectory | undefined): Promise<void> {
    return this.#queue.run(gfidKey(gfid), () => this.#heal(asRoot(call), inode, gfid, named));
  }

  async #heal(call: Call, given: Inode, gfid: Gfid, named: NamedDirectory | undefined): Promise<void> {
    const set = this.#set;
    const inode = given.linked ? given : new Inode(gfid, 0o040000);
    const loc: Loc = { inode };
    const view = this.view(await this.#look(call, loc));
    if (!this.needsHeal(view) || !this.canHeal(view)) return;
    set.log.info("a directory is healed", { gfid: gfidText(gfid), layout: view.layout.toString() });
    const made =
      named && view.missing.length > 0 ? await this.#makeMissing(call, gfid, named, view.source) : [];
    if (view.missing.length > made.length && named === undefined) return;
    const mds = view.mds >= 0 ? view.mds : await this.#becomeOwner(call, loc, named);
    await this.#setAccess(call, loc, view.source.reply.stat, gfid);
    if (mds >= 0 && (view.mdsIsBehind || made.length > 0)) await this.#carryXattrs(call, loc, mds);
    await this.#healLayout(call, inode, made);
  }

  /** Makes the directory on the children that lack it; answers with those. */
  async #makeMissing(
    call: Call,
    gfid: Gfid,
    { parent, name }: NamedDirectory,
    source: Found,
  ): Promise<readonly number[]> {
    const set = this.#set;
    const child = await this.#ownChild(call, parent, name);
    if (child < 0) return [];
    return locked(
      set,
      call,
      (locks) => locks.name({ parent, name, child }),
      async () => {
        const loc = { inode: new Inode(), parent, name };
        const look = await lookEverywhere(set, call, loc, lookupRequest(set, undefined));
        if (look.directories.length === 0) throw notFound(set, look, false);
        if (!gfidEquals(look.directories[0]!.reply.stat.gfid, gfid)) throw set.error("ESTALE", "lookup");
        const missing = missingOn(look);
        const mode = source.reply.stat.mode & PERMISSIONS;
        const xdata = new Dict().setGfid(KEY.GFID_REQ, gfid);
        const outcomes = await set.onEach(missing, "mkdir", call, () => ({
          loc: { inode: new Inode(), parent, name },
          mode,
          umask: 0,
          xdata,
        }));
        return missing.filter((_, index) => {
          const outcome = outcomes[index]!;
          return outcome.ok || outcome.error.code === "EEXIST";
        });
      },
    );
  }

  /** The name's own child becomes the metadata owner; -1 when the name is not known. */
  async #becomeOwner(call: Call, loc: Loc, named: NamedDirectory | undefined): Promise<number> {
    if (named === undefined) return -1;
    const child = await this.#ownChild(call, named.parent, named.name);
    if (child < 0) return -1;
    const xattrs = Dict.ofBytes({ [this.#set.xattrs.mds]: CLEAN_MDS });
    await this.#set.onEach([child], "setxattr", call, { loc, xattrs, flags: 0 });
    return child;
  }

  async #setAccess(call: Call, loc: Loc, source: Iatt, gfid: Gfid): Promise<void> {
    const set = this.#set;
    const look = await this.#look(call, loc);
    const different = look.directories.filter(({ reply }) => !sameAccess(reply.stat, source));
    const outcomes = await set.onEach(
      different.map(({ child }) => child),
      "setattr",
      call,
      { loc, stat: source, valid: ACCESS },
    );
    const failed = outcomes.find((outcome) => !outcome.ok);
    if (failed !== undefined && !failed.ok)
      set.log.warn("owner and mode of a directory could not be healed", {
        gfid: gfidText(gfid),
        code: failed.error.code,
      });
  }

  /** What users set on the directory, from its metadata owner to the others. */
  async #carryXattrs(call: Call, loc: Loc, mds: number): Promise<void> {
    const set = this.#set;
    const { xattrs } = await set.children[mds]!.getxattr(call, { loc, name: undefined });
    const carried = Dict.from([...xattrs].filter(([name]) => CARRIED.test(name)));
    const others = set.all.filter((child) => child !== mds);
    if (carried.size > 0) {
      const outcomes = await set.onEach(others, "setxattr", call, { loc, xattrs: carried, flags: 0 });
      if (outcomes.some((outcome) => !outcome.ok)) return;
    }
    const clean = Dict.ofBytes({ [set.xattrs.mds]: CLEAN_MDS });
    await set.onEach([mds], "setxattr", call, { loc, xattrs: clean, flags: 0 });
  }

  async #healLayout(call: Call, inode: Inode, made: readonly number[]): Promise<void> {
    const set = this.#set;
    await locked(
      set,
      call,
      async (locks) => {
        for (const child of set.all) await locks.inode(child, inode, DOMAIN.layout, "wrlck");
      },
      async () => {
        const view = this.view(await this.#look(call, { inode }));
        if (!this.canHeal(view) || view.layout.byUser) return;
        if (view.layout.isWhole) {
          const unset = set.all.filter((child) => made.includes(child) && view.layout.pieces[child]!.unset);
          await this.write(call, inode, view.layout, unset);
          return;
        }
        const able = view.layout.pieces.map(({ error }) => error === undefined);
        await this.write(call, inode, set.newLayout(able, inode, NO_COMMIT_HASH), set.all);
      },
    );
  }

  /**
   * The layout of a directory that has just been made: under the lock of its own child, unless another client
   * was faster. Answers with what is there now.
   */
  async layOut(call: Call, inode: Inode, own: number, able: readonly boolean[]): Promise<Layout> {
    const set = this.#set;
    const commitHash = set.options["lookup-optimize"] ? set.commitHash : NO_COMMIT_HASH;
    return locked(
      set,
      call,
      (locks) => locks.inode(own, inode, DOMAIN.layout, "wrlck"),
      async () => {
        const look = await this.#look(call, { inode });
        const there = layoutOf(set, look.outcomes);
        if (there.isWhole) return there;
        const layout = set.newLayout(able, inode, commitHash);
        await this.write(call, inode, layout, set.all);
        return layout;
      },
    );
  }

  /** Writes the pieces of these children; one that fails keeps a hole for the next lookup to heal. */
  async write(call: Call, inode: Inode, layout: Layout, children: readonly number[]): Promise<void> {
    const set = this.#set;
    const xdata = new Dict().setStr(KEY.INTERNAL_FOP, "yes");
    const outcomes = await set.onEach(children, "setxattr", asRoot(call), (child) => ({
      loc: { inode },
      xattrs: Dict.ofBytes({ [set.xattrs.layout]: encodePiece(layout.pieces[child]!, layout.byUser) }),
      flags: 0,
      xdata,
    }));
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.ok) continue;
      set.log.warn("a piece of a layout could not be written", {
        gfid: gfidText(inode.gfid),
        child: set.names[children[index]!],
        code: outcome.error.code,
      });
    }
  }

  async #look(call: Call, loc: Loc): Promise<Look> {
    const set = this.#set;
    const look = await lookEverywhere(set, call, loc, lookupRequest(set, undefined));
    if (look.directories.length === 0) throw notFound(set, look, false);
    return look;
  }

  /** Of directories without a metadata owner: the one that changed last, of those that have a layout. */
  #latest(directories: readonly Found[]): Found {
    const { layout } = this.#set.xattrs;
    const laidOut = directories.filter(({ reply }) => reply.xdata?.has(layout) === true);
    const candidates = laidOut.length > 0 ? laidOut : directories;
    return candidates.reduce((best, one) => (changedLater(one.reply.stat, best.reply.stat) ? one : best));
  }
}
