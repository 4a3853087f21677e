/**
 * Names of files: create, mknod, symlink, link, unlink (spec translators.md 6.6; GlusterFS dht-common.c).
 *
 * A new file goes to the child that its name belongs to, or, when that one is filled, to one with room,
 * with a linkto file where it belongs. create carries the directory's layout as this client knows it: the
 * brick refuses when it has changed, and the file is made anew by the layout as it is then, after a look
 * whether somebody has put it elsewhere in the meantime. Blocks of shard are fenced in the same way.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError, toFopError } from "../../../src/core/errors.ts";
import type { Args, NewEntry, ParentPrePost, Reply } from "../../../src/core/fops.ts";
import { S_IFDIR, S_IFREG } from "../../../src/core/iatt.ts";
import { Inode, type Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { O_CREAT, O_EXCL, O_TRUNC } from "../../../src/core/open-flags.ts";
import type { Files } from "./files.ts";
import { hasLinktoMode, isMoving, shown } from "./iatts.ts";
import type { Layout } from "./layout.ts";
import { makeLinkto, ownLinkto, removeStaleLinkto } from "./linkto.ts";
import { locked } from "./locks.ts";
import { lookupRequest } from "./look.ts";
import { isNamed, isShardDirectory, type Lookups, type NamedLoc } from "./lookup.ts";
import { asRoot, isMissing, type SubvolumeSet } from "./subvolume-set.ts";
import { DOMAIN } from "./xattr-names.ts";

/** A layout that changes before every create has been refreshed often enough. */
const ATTEMPTS_MAX = 4;

type MakeFop = "create" | "mknod";

/** Where a new file goes. */
interface Plan {
  readonly layout: Layout;
  /** Where its name belongs. */
  readonly own: number;
  /** Where its data goes. */
  readonly child: number;
}

interface NamedPlan extends Plan {
  readonly loc: NamedLoc;
}

export class Entries {
  readonly #set: SubvolumeSet;
  readonly #lookups: Lookups;
  readonly #files: Files;

  constructor(set: SubvolumeSet, lookups: Lookups, files: Files) {
    this.#set = set;
    this.#lookups = lookups;
    this.#files = files;
  }

  async create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    const loc = this.#named(args.loc, "create");
    for (let attempt = 1; ; attempt++) {
      const plan = await this.#plan(call, loc, "create");
      try {
        return await this.#create(call, args, plan);
      } catch (error) {
        if (isTaken(error) && plan.own !== plan.child && !mustBeNew(args.flags))
          return this.#create(call, args, { ...plan, child: plan.own });
        if (!layoutHasChanged(error) || attempt >= ATTEMPTS_MAX) throw error;
        this.#set.log.info("a directory's layout has changed", { name: loc.name });
        await this.#afterChange(call, loc, args.flags);
      }
    }
  }

  async #create(call: Call, args: Args<"create">, plan: NamedPlan): Promise<Reply<"create">> {
    const reply = await this.#make("create", call, { ...args, loc: plan.loc }, plan);
    if (hasLinktoMode(reply.stat) && !mustBeNew(args.flags))
      return this.#createOverLinkto(call, args, plan.loc, plan.child, reply);
    this.#files.opened(args.fd, plan.child);
    return reply;
  }

  async mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    const loc = this.#named(args.loc, "mknod");
    if (isShardDirectory(loc.parent)) return this.#mknodFenced(call, args, loc);
    const plan = await this.#plan(call, loc, "mknod");
    return this.#make("mknod", call, { ...args, loc: plan.loc }, plan);
  }

  /**
   * Two blocks of one name would be two truths of an image, so that a block is only made by the layout
   * that is on disk: mknod knows no guard, thus under the lock that changes of layouts need.
   */
  async #mknodFenced(call: Call, args: Args<"mknod">, loc: NamedLoc): Promise<Reply<"mknod">> {
    const set = this.#set;
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      const plan = await this.#plan(call, loc, "mknod");
      const reply = await locked(
        set,
        call,
        (locks) => locks.inode(plan.own, loc.parent, DOMAIN.layout, "rdlck"),
        async () => {
          const isCurrent = await this.#isOnDisk(loc.parent, plan);
          return isCurrent ? this.#make("mknod", call, { ...args, loc }, plan) : undefined;
        },
      );
      if (reply !== undefined) return reply;
      set.log.warn("the layout of blocks has changed", { name: loc.name });
      await this.#lookups.refreshLayout(call, loc.parent);
      if ((await this.#lookups.find(call, loc.parent, loc.name)) !== undefined)
        throw set.error("EEXIST", "mknod");
    }
    throw set.error(
      "EIO",
      "mknod",
      "the layout of /.shard changes at every look, or a brick has lost its part",
    );
  }

  /** Whether the child that a name belongs to has the piece of the layout that says so. */
  async #isOnDisk(parent: Inode, { layout, own }: Plan): Promise<boolean> {
    const set = this.#set;
    const args = { loc: { inode: parent }, xdata: lookupRequest(set, undefined) };
    const { xdata } = await set.children[own]!.lookup(internalCall(), args);
    return xdata?.bytes(set.xattrs.layout)?.equals(layout.diskPiece(own)) === true;
  }

  async symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    const loc = this.#named(args.loc, "symlink");
    const own = await this.#ownChild(call, loc, "symlink");
    const reply = await this.#set.children[own]!.symlink(call, args);
    return this.#made(loc, own, reply);
  }

  /** A file that was moved away is linked where it is now. */
  async link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    const set = this.#set;
    const { inode } = args.from;
    const to = this.#named(args.to, "link");
    if (inode.type === S_IFDIR) throw set.error("EPERM", "link");
    const own = await this.#ownChild(call, to, "link");
    const child = await this.#files.childOf(call, inode);
    try {
      return await this.#linkOn(call, args, to, own, child);
    } catch (error) {
      if (!isMissing(toFopError(error))) throw error;
      const now = await this.#lookups.locate(call, inode);
      if (now.cached < 0 || now.cached === child) throw error;
      return this.#linkOn(call, args, to, own, now.cached);
    }
  }

  async #linkOn(
    call: Call,
    args: Args<"link">,
    to: NamedLoc,
    own: number,
    child: number,
  ): Promise<Reply<"link">> {
    const set = this.#set;
    const { parent, name } = to;
    if (own !== child) await makeLinkto(set, call, { parent, name, gfid: args.from.inode.gfid }, own, child);
    try {
      const reply = await set.children[child]!.link(call, args);
      if (isMoving(reply.stat)) throw await this.#unlinked(call, to, child, "EBUSY");
      if (hasLinktoMode(reply.stat) && (await this.#files.hasLeft(call, args.from.inode, child)))
        throw await this.#unlinked(call, to, child, "ESTALE");
      if (own !== child) await ownLinkto(set, call, reply.stat, own);
      return this.#made(to, child, reply);
    } catch (error) {
      if (own !== child) await removeStaleLinkto(set, call, to, own).catch(() => false);
      throw error;
    }
  }

  /** Takes a new name back: made while its file is moved, or after, it would stay behind. */
  async #unlinked(
    call: Call,
    { parent, name }: NamedLoc,
    child: number,
    code: "EBUSY" | "ESTALE",
  ): Promise<FopError> {
    const args = { loc: { inode: new Inode(), parent, name }, flags: 0 };
    await this.#set.children[child]!.unlink(asRoot(call), args);
    return this.#set.error(code, "link", "the file is being moved to another subvolume");
  }

  async unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    const set = this.#set;
    const loc = this.#named(args.loc, "unlink");
    const { parent, name } = loc;
    const place = await this.#place(call, loc);
    const own = await this.#lookups.childFor(call, parent, name);
    let reply: Reply<"unlink">;
    try {
      reply = await set.children[place]!.unlink(call, args);
    } catch (error) {
      const known = toFopError(error);
      if (!isMissing(known) || !loc.inode.linked) throw error;
      // What was known of it is old.
      set.states.of(loc.inode).clear();
      const now = await this.#place(call, loc);
      if (now === place) throw error;
      reply = await set.children[now]!.unlink(call, args);
    }
    if (own >= 0 && own !== place) {
      const [outcome] = await set.onEach([own], "unlink", call, { ...args, loc: { ...loc } });
      const failed = outcome !== undefined && !outcome.ok ? outcome.error : undefined;
      if (failed !== undefined && !isMissing(failed) && failed.code !== "ENOTCONN") throw failed;
    }
    return this.#parentsShown(parent, reply);
  }

  /** The child with the file of this name. ENOENT, EISDIR. */
  async #place(call: Call, loc: NamedLoc): Promise<number> {
    const set = this.#set;
    const known = loc.inode.linked ? set.states.of(loc.inode) : undefined;
    if (known !== undefined && known.cached >= 0) return known.cached;
    if (known?.layout !== undefined) throw set.error("EISDIR", "unlink");
    const place = await this.#lookups.find(call, loc.parent, loc.name);
    if (place === undefined) throw set.error("ENOENT", "unlink");
    if (place.kind === "directory") throw set.error("EISDIR", "unlink");
    set.states.ofGfid(place.reply.stat.gfid).placed(place.child);
    return place.child;
  }

  async #plan(call: Call, loc: NamedLoc, fop: MakeFop): Promise<NamedPlan> {
    const set = this.#set;
    const placement = set.placement(loc.name);
    const name = placement?.name ?? loc.name;
    await set.renewSpace();
    const layout = await this.#lookups.layoutOf(call, loc.parent);
    const own = set.childFor(layout, name);
    if (own < 0) throw set.hole(fop, name);
    const { options } = set;
    const child =
      placement?.child ??
      (set.space.isFilled(own, options) ? set.space.elsewhere(own, layout, options, set.retired) : own);
    return { layout, own, child, loc: placement === undefined ? loc : { ...loc, name } };
  }

  async #ownChild(call: Call, { parent, name }: NamedLoc, fop: "symlink" | "link"): Promise<number> {
    const own = await this.#lookups.childFor(call, parent, name);
    if (own < 0) throw this.#set.hole(fop, name);
    return own;
  }

  async #make<F extends MakeFop>(
    fop: F,
    call: Call,
    args: Args<F> & { loc: NamedLoc },
    plan: Plan,
  ): Promise<Reply<F>> {
    const set = this.#set;
    const { own, child, layout } = plan;
    const { parent, name } = args.loc;
    const gfid = args.xdata?.gfid(KEY.GFID_REQ);
    if (own !== child && gfid !== undefined) await makeLinkto(set, call, { parent, name, gfid }, own, child);
    const guarded = fop === "create" && own === child;
    const xdata = guarded ? guard(set, args.xdata, layout, own) : args.xdata;
    try {
      const maker = set.children[child]!;
      const given = { ...args, xdata };
      const reply = (await (fop === "create"
        ? maker.create(call, given as Args<"create">)
        : maker.mknod(call, given as Args<"mknod">))) as Reply<F>;
      if (own !== child) await ownLinkto(set, call, reply.stat, own);
      return this.#made(args.loc, child, reply);
    } catch (error) {
      if (own !== child) await removeStaleLinkto(set, call, { parent, name }, own).catch(() => false);
      throw error;
    }
  }

  /**
   * Without O_EXCL the brick opened a linkto file that another client has made since the caller looked: the
   * file itself is opened instead.
   */
  async #createOverLinkto(
    call: Call,
    args: Args<"create">,
    loc: NamedLoc,
    child: number,
    reply: Reply<"create">,
  ): Promise<Reply<"create">> {
    const set = this.#set;
    const place = await this.#lookups.find(call, loc.parent, loc.name);
    if (place?.kind !== "file" || place.child === child) return reply;
    await set.children[child]!.release(args.fd);
    const { stat } = place.reply;
    const state = set.states.of(args.loc.inode, stat.gfid);
    state.placed(place.child);
    const flags = args.flags & ~(O_CREAT | O_EXCL | O_TRUNC);
    const by = { inode: new Inode(stat.gfid, S_IFREG) };
    const at = set.children[place.child]!;
    await at.open(call, { loc: by, fd: args.fd, flags });
    this.#files.opened(args.fd, place.child);
    if ((args.flags & O_TRUNC) === 0) return { ...reply, stat: shown(stat) };
    const { post } = await at.ftruncate(call, { fd: args.fd, offset: 0 });
    return { ...reply, stat: shown(post) };
  }

  /** The layout was not as known: the new one, and whether the name is somewhere by now. */
  async #afterChange(call: Call, loc: NamedLoc, flags: number): Promise<void> {
    const set = this.#set;
    await this.#lookups.refreshLayout(call, loc.parent);
    const place = await this.#lookups.find(call, loc.parent, loc.name);
    if (place === undefined) return;
    if (place.kind === "directory") throw set.error("EISDIR", "create");
    if (mustBeNew(flags)) throw set.error("EEXIST", "create");
    await this.#lookups.lookup(call, { loc });
  }

  #made<R extends NewEntry>(loc: NamedLoc, child: number, reply: R): R {
    this.#set.states.of(loc.inode, reply.stat.gfid).placed(child);
    return this.#parentsShown(loc.parent, { ...reply, stat: shown(reply.stat) });
  }

  #parentsShown<R extends ParentPrePost>(parent: Inode, reply: R): R {
    const state = this.#set.states.of(parent);
    return {
      ...reply,
      preParent: state.shown(reply.preParent),
      postParent: state.shown(reply.postParent),
    };
  }

  #named(loc: Loc, fop: MakeFop | "symlink" | "link" | "unlink"): NamedLoc {
    if (!isNamed(loc)) throw this.#set.error("EINVAL", fop);
    return loc;
  }
}

/** The brick is to make nothing unless it has the same layout on disk. A guard of the caller's stays. */
export function guard(
  set: SubvolumeSet,
  xdata: Dict | undefined,
  layout: Layout,
  child: number,
): Dict | undefined {
  const { layout: key } = set.xattrs;
  if (xdata?.has(KEY.PREOP_PARENT)) return xdata;
  return (xdata?.clone() ?? new Dict()).setStr(KEY.PREOP_PARENT, key).setBytes(key, layout.diskPiece(child));
}

/** No flags at all mean that the caller wants a new file. */
function mustBeNew(flags: number): boolean {
  return flags === 0 || (flags & O_EXCL) !== 0;
}

function isTaken(error: unknown): boolean {
  return error instanceof FopError && error.code === "EEXIST";
}

/** The brick has refused because of the guard. */
export function layoutHasChanged(error: unknown): boolean {
  return error instanceof FopError && error.xdata?.has(KEY.PREOP_FAILED) === true;
}
