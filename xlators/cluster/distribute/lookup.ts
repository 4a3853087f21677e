/**
 * lookup over distributed children (spec translators.md 6.5; GlusterFS dht_lookup and what follows it).
 *
 * A name is looked for on its own child; a linkto file there is followed; what is not there is looked for
 * everywhere, and a file found elsewhere gets a linkto file. Directories are looked at on all children and
 * healed. Nothing is guessed: a name that is a file here and a directory there, two files of one name, or a
 * linkto file whose target cannot be asked are errors. For shards a child that is away counts as one that may
 * have the shard; other names are free when their own child says so, as in GlusterFS.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Dict } from "../../../src/core/dict.ts";
import { type FopError, toFopError } from "../../../src/core/errors.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { type Gfid, gfidEquals, parseGfid, ROOT_GFID } from "../../../src/core/gfid.ts";
import { isDir, S_IFDIR, ZERO_IATT } from "../../../src/core/iatt.ts";
import { Inode, type Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { DirectoryHealer, type DirectoryView, type NamedDirectory } from "./heal-directory.ts";
import { isMoving, mergedDirectory, shown } from "./iatts.ts";
import type { InodeState } from "./inode-state.ts";
import type { Layout } from "./layout.ts";
import { makeLinkto, ownLinkto, removeStaleLinkto } from "./linkto.ts";
import { locked } from "./locks.ts";
import {
  type Found,
  type FoundLinkto,
  type Look,
  layoutOf,
  linktoTarget,
  lookEverywhere,
  lookupRequest,
  notFound,
  rootRequest,
} from "./look.ts";
import { asRoot, isMissing, type SubvolumeSet } from "./subvolume-set.ts";

/** The directory that features/shard keeps blocks in (spec translators.md 5). */
const SHARD_DIRECTORY: Gfid = parseGfid("be318638-e8a0-4c6d-977d-7a937aa84806")!;
/** A directory that changes under every look has been looked at often enough. */
const ATTEMPTS_MAX = 3;

/** A loc by name. */
export type NamedLoc = Loc & NamedDirectory;

/** Where a name is. */
export type Place =
  | { readonly kind: "file"; readonly child: number; readonly reply: Reply<"lookup"> }
  | { readonly kind: "directory"; readonly reply: Reply<"lookup"> };

export class Lookups {
  readonly healer: DirectoryHealer;
  readonly #set: SubvolumeSet;

  constructor(set: SubvolumeSet) {
    this.#set = set;
    this.healer = new DirectoryHealer(set, (call, parent, name) => this.childFor(call, parent, name));
  }

  lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const { loc, xdata } = args;
    if (!isNamed(loc)) return this.#byGfid(call, loc, xdata);
    const placement = this.#set.placement(loc.name);
    if (placement !== undefined)
      return this.#fresh(call, { ...loc, name: placement.name }, xdata, placement.child);
    const known = loc.inode.linked ? this.#set.states.of(loc.inode) : undefined;
    if (known?.layout !== undefined) return this.#directory(call, loc, xdata, loc.inode.gfid);
    if (known !== undefined && known.cached >= 0) return this.#again(call, loc, xdata, known.cached);
    return this.#fresh(call, loc, xdata);
  }

  /** The layout of a directory, asked for (and healed) when it is not known or may miss a child. */
  async layoutOf(call: Call, directory: Inode): Promise<Layout> {
    const { layout, generation } = this.#set.states.of(directory);
    if (layout !== undefined && (layout.isWhole || generation === this.#set.generation)) return layout;
    const state = await this.#locateParent(call, directory);
    if (state.layout === undefined) throw this.#set.error("ENOTDIR", "lookup");
    return state.layout;
  }

  /** The layout as it is on the children now; one with holes or overlaps is healed first. */
  async refreshLayout(call: Call, directory: Inode): Promise<Layout> {
    const set = this.#set;
    const { generation } = set;
    const look = await lookEverywhere(set, asRoot(call), { inode: directory }, lookupRequest(set, undefined));
    if (look.directories.length === 0) {
      if (look.files.length > 0) throw set.error("ENOTDIR", "lookup");
      throw notFound(set, look, true);
    }
    const state = set.states.of(directory);
    const layout = layoutOf(set, look.outcomes);
    state.laidOut(layout, generation);
    state.mds = this.healer.view(look).mds;
    if (layout.isWhole) return layout;
    return (await this.#locateParent(call, directory)).layout ?? layout;
  }

  /** The child that a name belongs to; -1 when it falls into a hole. */
  async childFor(call: Call, parent: Inode, name: string): Promise<number> {
    return this.#set.childFor(await this.layoutOf(call, parent), name);
  }

  /** Where a name is now, without changing anything; undefined when there is no such name. */
  async find(call: Call, parent: Inode, name: string): Promise<Place | undefined> {
    const set = this.#set;
    const own = await this.childFor(call, parent, name);
    const loc = { inode: new Inode(), parent, name };
    const request = lookupRequest(set, undefined);
    if (own >= 0 && set.isUp(own)) {
      const [outcome] = await set.onEach([own], "lookup", call, { loc, xdata: request });
      if (outcome!.ok && !isDir(outcome!.reply.stat)) {
        const target = linktoTarget(set, outcome!.reply);
        if (target === undefined) return { kind: "file", child: own, reply: outcome!.reply };
        if (target >= 0 && target !== own) {
          const [there] = await set.onEach([target], "lookup", call, { loc, xdata: request });
          if (there!.ok && this.#isTargetOf(outcome!.reply, there!.reply))
            return { kind: "file", child: target, reply: there!.reply };
          if (!there!.ok && there!.error.code === "ENOTCONN") throw there!.error;
        }
      }
    }
    const look = await lookEverywhere(set, call, loc, request);
    this.#mustBeOneThing(look, own);
    if (look.directories.length > 0) return { kind: "directory", reply: look.directories[0]!.reply };
    const file = this.#fileOf(look, own);
    if (file !== undefined) return { kind: "file", ...file };
    const error = this.#notFound(look, parent);
    if (isMissing(error)) return undefined;
    throw error;
  }

  /** Finds out where an inode is by its gfid alone. Rejects with ENOENT, ESTALE, or ENOTCONN if unsure. */
  async locate(call: Call, inode: Inode): Promise<InodeState> {
    const state = this.#set.states.of(inode);
    await this.#byGfid(asRoot(call), { inode }, undefined);
    return state;
  }

  /** A directory that is not there is stale knowledge of who asks for names in it. */
  async #locateParent(call: Call, directory: Inode): Promise<InodeState> {
    try {
      return await this.locate(call, directory);
    } catch (error) {
      if (toFopError(error).code === "ENOENT") throw this.#set.error("ESTALE", "lookup");
      throw error;
    }
  }

  /** The file's own child first; elsewhere when it is not there. */
  async #fresh(call: Call, loc: NamedLoc, xdata: Dict | undefined, given?: number): Promise<Reply<"lookup">> {
    const set = this.#set;
    const own = given ?? (await this.childFor(call, loc.parent, loc.name));
    const request = lookupRequest(set, xdata);
    if (own < 0 || !set.isUp(own)) return this.#everywhere(call, loc, request, own, xdata);
    let reply: Reply<"lookup">;
    try {
      reply = await set.children[own]!.lookup(call, { loc, xdata: request });
    } catch (error) {
      const { code } = toFopError(error);
      if (code === "ENOTCONN" || code === "ENODATA") return this.#everywhere(call, loc, request, own, xdata);
      if (code !== "ENOENT" && code !== "ESTALE") throw error;
      if (!this.#looksElsewhere(loc.parent)) throw error;
      return this.#everywhere(call, loc, request, own, xdata);
    }
    if (isDir(reply.stat)) return this.#directory(call, loc, xdata, reply.stat.gfid, { child: own, reply });
    const target = linktoTarget(set, reply);
    if (target === undefined) return this.#file(loc, { child: own, reply });
    if (target < 0 || target === own) return this.#everywhere(call, loc, request, own, xdata);
    return this.#follow(call, loc, request, own, target, reply, xdata);
  }

  /** A file that is known: on the child where it was. */
  async #again(call: Call, loc: NamedLoc, xdata: Dict | undefined, child: number): Promise<Reply<"lookup">> {
    const set = this.#set;
    let reply: Reply<"lookup">;
    try {
      reply = await set.children[child]!.lookup(call, { loc, xdata: lookupRequest(set, xdata) });
    } catch (error) {
      if (toFopError(error).code !== "ENOENT") throw error;
      return this.#fresh(call, loc, xdata);
    }
    const isSame = gfidEquals(reply.stat.gfid, loc.inode.gfid);
    if (!isSame || isDir(reply.stat) || linktoTarget(set, reply) !== undefined)
      return this.#fresh(call, loc, xdata);
    return this.#file(loc, { child, reply });
  }

  /** Where a linkto file says. */
  async #follow(
    call: Call,
    loc: NamedLoc,
    request: Dict,
    own: number,
    target: number,
    linkto: Reply<"lookup">,
    xdata: Dict | undefined,
  ): Promise<Reply<"lookup">> {
    let reply: Reply<"lookup">;
    try {
      reply = await this.#set.children[target]!.lookup(call, { loc, xdata: request });
    } catch (error) {
      // The linkto file must stay: the data comes back with its child.
      if (toFopError(error).code === "ENOTCONN") throw error;
      return this.#everywhere(call, loc, request, own, xdata);
    }
    if (!this.#isTargetOf(linkto, reply)) return this.#everywhere(call, loc, request, own, xdata);
    return this.#file(loc, { child: target, reply });
  }

  #isTargetOf(linkto: Reply<"lookup">, reply: Reply<"lookup">): boolean {
    return (
      !isDir(reply.stat) &&
      linktoTarget(this.#set, reply) === undefined &&
      gfidEquals(reply.stat.gfid, linkto.stat.gfid)
    );
  }

  async #everywhere(
    call: Call,
    loc: NamedLoc,
    request: Dict,
    own: number,
    xdata: Dict | undefined,
  ): Promise<Reply<"lookup">> {
    const set = this.#set;
    let look = await lookEverywhere(set, call, loc, request);
    const wanted = xdata?.gfid(KEY.GFID_REQ);
    const lacksGfid = look.outcomes.some((outcome) => !outcome.ok && outcome.error.code === "ENODATA");
    if (lacksGfid && wanted !== undefined && nothingIn(look))
      look = await lookEverywhere(set, call, loc, lookupRequest(set, xdata, wanted));
    this.#mustBeOneThing(look, own);
    if (look.directories.length > 0)
      return this.#directory(call, loc, xdata, look.directories[0]!.reply.stat.gfid);
    const file = this.#fileOf(look, own);
    if (file === undefined) return this.#nothing(call, loc, look, own);
    await this.#tidyLinktos(call, loc, look, own, file);
    return this.#file(loc, file);
  }

  /** No file: a linkto file that leads nowhere goes, unless its target cannot be asked. */
  async #nothing(call: Call, loc: NamedLoc, look: Look, own: number): Promise<never> {
    for (const { child, target } of look.linktos) {
      const there = look.outcomes[target];
      if (there !== undefined && !there.ok && !isMissing(there.error)) throw there.error;
      if (child === own) await removeStaleLinkto(this.#set, call, loc, child);
    }
    throw this.#notFound(look, loc.parent);
  }

  /**
   * One linkto file on the file's own child and none elsewhere. Where that cannot be had, only the false
   * linkto file on its own child is an error: it would lead others astray.
   */
  async #tidyLinktos(call: Call, loc: NamedLoc, look: Look, own: number, file: Found): Promise<void> {
    const set = this.#set;
    for (const { child } of look.linktos)
      if (child !== own && child !== file.child && !isOpen(look, child))
        await removeStaleLinkto(set, call, loc, child).catch(() => false);
    if (own < 0 || own === file.child || !set.isUp(own)) return;
    const linkto = look.linktos.find(({ child }) => child === own);
    if (linkto?.target === file.child) {
      if (!gfidEquals(linkto.reply.stat.gfid, file.reply.stat.gfid)) throw set.error("ESTALE", "lookup");
      return;
    }
    if (linkto !== undefined) await this.#removeFalse(call, loc, linkto);
    await this.#addLinkto(call, loc, own, file);
  }

  async #removeFalse(call: Call, loc: NamedLoc, { child }: FoundLinkto): Promise<void> {
    if (await removeStaleLinkto(this.#set, call, loc, child)) return;
    const message = "a linkto file in use names another subvolume than the one with the file";
    throw this.#set.error("EIO", "lookup", message);
  }

  /** Under the name's lock and after another look; a linkto file only saves time, so failing is no error. */
  async #addLinkto(call: Call, loc: NamedLoc, own: number, file: Found): Promise<void> {
    const set = this.#set;
    const { parent, name } = loc;
    const { gfid } = file.reply.stat;
    try {
      await locked(
        set,
        call,
        (locks) => locks.name({ parent, name, child: own }),
        async () => {
          const args = { loc: { inode: new Inode(), parent, name }, xdata: lookupRequest(set, undefined) };
          const [here, there] = await set.onEach([own, file.child], "lookup", asRoot(call), args);
          if (here!.ok || !isMissing(here!.error)) return;
          if (!there!.ok || !gfidEquals(there!.reply.stat.gfid, gfid)) return;
          await makeLinkto(set, call, { parent, name, gfid }, own, file.child);
          await ownLinkto(set, call, file.reply.stat, own);
        },
      );
    } catch (error) {
      set.log.debug("no linkto file could be made", { name, code: toFopError(error).code });
    }
  }

  #file(loc: Loc, { child, reply }: Found): Reply<"lookup"> {
    const { states } = this.#set;
    const { stat } = reply;
    states.of(loc.inode, stat.gfid).placed(child);
    const { postParent } = reply;
    return {
      ...reply,
      stat: shown(stat),
      postParent: loc.parent === undefined ? postParent : states.of(loc.parent).shown(postParent),
    };
  }

  async #byGfid(call: Call, loc: Loc, xdata: Dict | undefined): Promise<Reply<"lookup">> {
    const set = this.#set;
    const { gfid } = loc.inode;
    const isRoot = gfidEquals(gfid, ROOT_GFID);
    if (isRoot || loc.inode.type === S_IFDIR) return this.#directory(call, loc, xdata, gfid);
    const look = await lookEverywhere(set, call, loc, lookupRequest(set, xdata));
    this.#mustBeOneThing(look, -1);
    if (look.directories.length > 0) return this.#directory(call, loc, xdata, gfid);
    const file = this.#fileOf(look, -1);
    if (file !== undefined) return this.#file(loc, file);
    throw this.#notFound(look, undefined);
  }

  /** A directory, on all children; healed when it needs it. `have`: an answer that is there already. */
  async #directory(
    call: Call,
    loc: Loc,
    xdata: Dict | undefined,
    gfid: Gfid,
    have?: Found,
  ): Promise<Reply<"lookup">> {
    const set = this.#set;
    const isRoot = gfidEquals(gfid, ROOT_GFID);
    for (let attempt = 1; ; attempt++) {
      const { generation } = set;
      const request = isRoot ? rootRequest(set, xdata) : lookupRequest(set, xdata, gfid);
      const look = await lookEverywhere(set, call, loc, request, attempt === 1 ? have : undefined);
      this.#mustBeOneThing(look, -1);
      if (look.directories.length === 0) throw notFound(set, look, false);
      const view = this.healer.view(look);
      const state = set.states.of(loc.inode, view.gfid);
      if (isNamed(loc)) {
        state.parent = loc.parent;
        state.name = loc.name;
      }
      const heals = this.healer.needsHeal(view) && this.healer.canHeal(view) && attempt < ATTEMPTS_MAX;
      if (heals) {
        await this.#heal(call, loc, view, state);
        continue;
      }
      state.laidOut(view.layout.filledFrom(state.layout), generation);
      if (view.mds >= 0) state.mds = view.mds;
      return this.#directoryReply(loc, look, view, state);
    }
  }

  async #heal(call: Call, loc: Loc, view: DirectoryView, state: InodeState): Promise<void> {
    const { parent, name } = state;
    const named = parent === undefined ? undefined : { parent, name };
    try {
      await this.healer.heal(call, loc.inode, view.gfid, named);
    } catch (error) {
      const { code } = toFopError(error);
      if (code === "ENOENT" || code === "ESTALE" || code === "EIO") throw error;
      this.#set.log.warn("a directory could not be healed", { name, code });
    }
  }

  #directoryReply(loc: Loc, look: Look, view: DirectoryView, state: InodeState): Reply<"lookup"> {
    const set = this.#set;
    const parts = look.directories.map(({ reply }) => reply.stat);
    const parents = look.directories.flatMap(({ reply }) =>
      reply.postParent === ZERO_IATT ? [] : [reply.postParent],
    );
    const { xdata } = view.source.reply;
    const commitHash = xdata?.number(set.xattrs.commitHash);
    if (commitHash !== undefined) set.commitHash = commitHash;
    const postParent = parents.length === 0 ? ZERO_IATT : mergedDirectory(parents);
    return {
      stat: state.shown(mergedDirectory(parts, view.source.reply.stat)),
      postParent: loc.parent === undefined ? postParent : set.states.of(loc.parent).shown(postParent),
      xdata: xdata?.clone([set.xattrs.mds, set.xattrs.commitHash]),
    };
  }

  #mustBeOneThing(look: Look, own: number): void {
    const set = this.#set;
    const { files, directories } = look;
    if (files.length > 0 && directories.length > 0)
      throw set.error("EIO", "lookup", "a file on one subvolume and a directory on another");
    if (files.length > 0 && this.#fileOf(look, own) === undefined) {
      const where = files.map(({ child }) => set.names[child]).join(", ");
      throw set.error("EIO", "lookup", `the same name is a file on several subvolumes: ${where}`);
    }
  }

  /** The data file: on its own child if it is there; at the end of a move, where it comes from. */
  #fileOf({ files }: Look, own: number): Found | undefined {
    const [first] = files;
    if (files.length <= 1) return first;
    const atHome = files.find(({ child }) => child === own);
    if (atHome !== undefined) return atHome;
    const isOne = files.every(({ reply }) => gfidEquals(reply.stat.gfid, first!.reply.stat.gfid));
    return isOne ? files.find(({ reply }) => isMoving(reply.stat)) : undefined;
  }

  #looksElsewhere(parent: Inode): boolean {
    const set = this.#set;
    if (!set.options["lookup-optimize"] || isShardDirectory(parent)) return true;
    const { layout } = set.states.of(parent);
    return layout === undefined || !layout.isWhole || layout.commitHash !== set.commitHash;
  }

  #notFound(look: Look, parent: Inode | undefined): FopError {
    const strict = parent === undefined || isShardDirectory(parent);
    return notFound(this.#set, look, strict);
  }
}

export function isNamed(loc: Loc): loc is NamedLoc {
  return loc.parent !== undefined && loc.name !== undefined;
}

/** Whether features/shard keeps its blocks in this directory. */
export function isShardDirectory(inode: Inode): boolean {
  return inode.linked && gfidEquals(inode.gfid, SHARD_DIRECTORY);
}

function nothingIn({ files, linktos, directories }: Look): boolean {
  return files.length + linktos.length + directories.length === 0;
}

function isOpen(look: Look, child: number): boolean {
  const outcome = look.outcomes[child]!;
  return outcome.ok && (outcome.reply.xdata?.number(KEY.OPEN_FD_COUNT) ?? 1) > 0;
}
