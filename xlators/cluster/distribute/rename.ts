/**
 * rename over distributed children (spec translators.md 6.6; GlusterFS dht-rename.c).
 *
 * A file's data stays on its child: there it gets the new name, and where the new name belongs a linkto file
 * takes it over. The new name is complete before the old one goes, so that other clients find the file at any
 * time under one of them. A directory is renamed on all children, first where its new name belongs; when one
 * fails the others are renamed back. Locks are the ones that GlusterFS takes, in its order.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { type ErrnoName, toFopError } from "../../../src/core/errors.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { gfidEquals, gfidText } from "../../../src/core/gfid.ts";
import { S_IFDIR, S_IFREG } from "../../../src/core/iatt.ts";
import { Inode } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { encodeName } from "../../../src/core/name.ts";
import { mergedDirectory, shown } from "./iatts.ts";
import { makeLinkto, ownLinkto } from "./linkto.ts";
import { type Locks, locked } from "./locks.ts";
import { linktoTarget, lookupRequest } from "./look.ts";
import { isNamed, type Lookups, type NamedLoc, type Place } from "./lookup.ts";
import type { RemoveDirectory } from "./remove-directory.ts";
import { asRoot, isMissing, type SubvolumeSet } from "./subvolume-set.ts";
import { DOMAIN } from "./xattr-names.ts";

/** The replaced file may go before its lock is asked for. */
const TARGET_MAY_BE_GONE: readonly ErrnoName[] = ["ENOENT", "ESTALE", "EIO"];

/** The two names of a rename, and where they belong. */
interface Names {
  readonly from: NamedLoc;
  readonly to: NamedLoc;
  readonly fromOwn: number;
  readonly toOwn: number;
}

type RenameReply = Reply<"rename">;

export class Rename {
  readonly #set: SubvolumeSet;
  readonly #lookups: Lookups;
  readonly #removal: RemoveDirectory;

  constructor(set: SubvolumeSet, lookups: Lookups, removal: RemoveDirectory) {
    this.#set = set;
    this.#lookups = lookups;
    this.#removal = removal;
  }

  async rename(call: Call, args: Args<"rename">): Promise<RenameReply> {
    const set = this.#set;
    const { from, to } = args;
    if (!isNamed(from) || !isNamed(to)) throw set.error("EINVAL", "rename");
    const names = await this.#names(call, from, to);
    const source = await this.#lookups.find(call, from.parent, from.name);
    if (source === undefined) throw set.error("ENOENT", "rename");
    const target = await this.#lookups.find(call, to.parent, to.name);
    // What the old name is in is not empty, whatever else is wrong with it.
    if (target?.kind === "directory" && isBelow(set, from.parent, target.reply.stat.gfid))
      throw set.error("ENOTEMPTY", "rename");
    const { xdata } = args;
    if (source.kind === "directory") return this.#directory(call, names, source, target, xdata);
    return this.#file(call, names, source, target, xdata);
  }

  async #names(call: Call, from: NamedLoc, to: NamedLoc): Promise<Names> {
    const fromOwn = await this.#lookups.childFor(call, from.parent, from.name);
    const toOwn = await this.#lookups.childFor(call, to.parent, to.name);
    if (fromOwn < 0 || toOwn < 0)
      throw this.#set.error("EINVAL", "rename", "a directory's layout has a hole where a name belongs");
    return { from, to, fromOwn, toOwn };
  }

  // Files.

  async #file(
    call: Call,
    names: Names,
    source: Place & { kind: "file" },
    target: Place | undefined,
    xdata: Dict | undefined,
  ): Promise<RenameReply> {
    const set = this.#set;
    if (target?.kind === "directory") throw set.error("EISDIR", "rename");
    return locked(
      set,
      call,
      async (locks) => {
        await this.#lockFile(locks, source);
        if (target !== undefined) await this.#lockFile(locks, target, TARGET_MAY_BE_GONE);
        await this.#lockNames(locks, names);
      },
      () => this.#fileLocked(call, names, source, xdata),
    );
  }

  async #lockFile(
    locks: Locks,
    { child, reply }: Place & { kind: "file" },
    ignoring: readonly ErrnoName[] = [],
  ): Promise<void> {
    const inode = new Inode(reply.stat.gfid, S_IFREG);
    await locks.inode(child, inode, DOMAIN.migrate, "wrlck", ignoring);
  }

  /** By the names of the children, then by gfid and name, as all clients do. */
  async #lockNames(locks: Locks, { from, to, fromOwn, toOwn }: Names): Promise<void> {
    const source = { parent: from.parent, name: from.name, child: fromOwn };
    const target = { parent: to.parent, name: to.name, child: toOwn };
    const isSame = fromOwn === toOwn && from.name === to.name && gfidEquals(from.parent.gfid, to.parent.gfid);
    const byChild = Buffer.compare(
      encodeName(this.#set.names[fromOwn]!),
      encodeName(this.#set.names[toOwn]!),
    );
    const order = byChild !== 0 ? byChild : Buffer.compare(lockKey(from), lockKey(to));
    await locks.name(order <= 0 ? source : target);
    if (!isSame) await locks.name(order <= 0 ? target : source);
  }

  /** Everything may have changed before the locks were granted. */
  async #fileLocked(
    call: Call,
    names: Names,
    before: Place & { kind: "file" },
    xdata: Dict | undefined,
  ): Promise<RenameReply> {
    const set = this.#set;
    const { from, to } = names;
    const loc = { inode: new Inode(), parent: from.parent, name: from.name };
    const request = lookupRequest(set, undefined);
    const [there] = await set.onEach([before.child], "lookup", call, { loc, xdata: request });
    if (!there!.ok) throw isMissing(there!.error) ? set.error("ENOENT", "rename") : there!.error;
    const { stat } = there!.reply;
    const isSameFile = gfidEquals(stat.gfid, before.reply.stat.gfid);
    if (!isSameFile || linktoTarget(set, there!.reply) !== undefined) throw set.error("ENOENT", "rename");
    const target = await this.#lookups.find(call, to.parent, to.name);
    if (target?.kind === "directory") throw set.error("EISDIR", "rename");
    const source = { kind: "file", child: before.child, reply: there!.reply } as const;
    if (target !== undefined && gfidEquals(target.reply.stat.gfid, stat.gfid))
      return this.#nothingToDo(names, source.reply, target.reply);
    const move = new FileMove(set, call, names, source, target?.child ?? -1, xdata);
    const reply = await move.run();
    if (target !== undefined && to.inode.linked) set.states.forget(to.inode);
    set.states.ofGfid(stat.gfid).placed(source.child);
    return this.#parentsShown(names, { ...reply, stat: shown(reply.stat) });
  }

  /** Two names of one file stay both. */
  #nothingToDo(names: Names, source: Reply<"lookup">, target: Reply<"lookup">): RenameReply {
    const old = source.postParent;
    const next = target.postParent;
    return this.#parentsShown(names, {
      stat: shown(source.stat),
      preOldParent: old,
      postOldParent: old,
      preNewParent: next,
      postNewParent: next,
    });
  }

  #parentsShown({ from, to }: Names, reply: RenameReply): RenameReply {
    const old = this.#set.states.of(from.parent);
    const next = this.#set.states.of(to.parent);
    return {
      ...reply,
      preOldParent: old.shown(reply.preOldParent),
      postOldParent: old.shown(reply.postOldParent),
      preNewParent: next.shown(reply.preNewParent),
      postNewParent: next.shown(reply.postNewParent),
    };
  }

  // Directories.

  async #directory(
    call: Call,
    names: Names,
    source: Place,
    target: Place | undefined,
    xdata: Dict | undefined,
  ): Promise<RenameReply> {
    const set = this.#set;
    if (!set.allUp) throw set.error("ENOTCONN", "rename", "a subvolume is down");
    if (target?.kind === "file") throw set.error("ENOTDIR", "rename");
    const { gfid } = source.reply.stat;
    if (isBelow(set, names.to.parent, gfid)) throw set.error("EINVAL", "rename");
    if (target !== undefined && gfidEquals(target.reply.stat.gfid, gfid))
      return this.#nothingToDo(names, source.reply, target.reply);
    const reply = await locked(
      set,
      call,
      (locks) => this.#lockNames(locks, names),
      async () => {
        if (target !== undefined)
          await this.#removal.mustBeEmpty(call, new Inode(target.reply.stat.gfid, S_IFDIR));
        return this.#onAll(call, names, xdata);
      },
    );
    const state = set.states.ofGfid(gfid);
    state.parent = names.to.parent;
    state.name = names.to.name;
    return this.#parentsShown(names, { ...reply, stat: state.shown(reply.stat) });
  }

  async #onAll(call: Call, names: Names, xdata: Dict | undefined): Promise<RenameReply> {
    const set = this.#set;
    const { from, to, toOwn } = names;
    const first = await set.children[toOwn]!.rename(call, { from, to, xdata });
    const others = set.all.filter((child) => child !== toOwn);
    const outcomes = await set.onEach(others, "rename", call, { from, to });
    const failed = outcomes.find((outcome) => !outcome.ok);
    if (failed !== undefined && !failed.ok) {
      const done = [toOwn, ...others.filter((_, index) => outcomes[index]!.ok)];
      await set.onEach(done, "rename", call, { from: to, to: from });
      throw failed.error;
    }
    const replies = [first, ...outcomes.flatMap((outcome) => (outcome.ok ? [outcome.reply] : []))];
    return {
      ...first,
      stat: mergedDirectory(
        replies.map(({ stat }) => stat),
        first.stat,
      ),
      postOldParent: mergedDirectory(
        replies.map((one) => one.postOldParent),
        first.postOldParent,
      ),
      postNewParent: mergedDirectory(
        replies.map((one) => one.postNewParent),
        first.postNewParent,
      ),
    };
  }
}

/** The steps that move one file's name, and how to take them back. */
class FileMove {
  readonly #set: SubvolumeSet;
  readonly #call: Call;
  readonly #names: Names;
  readonly #source: Place & { kind: "file" };
  readonly #data: number;
  /** Child with the file that is replaced, -1 for none. */
  readonly #replaced: number;
  readonly #xdata: Dict | undefined;

  constructor(
    set: SubvolumeSet,
    call: Call,
    names: Names,
    source: Place & { kind: "file" },
    replaced: number,
    xdata: Dict | undefined,
  ) {
    this.#set = set;
    this.#call = call;
    this.#names = names;
    this.#source = source;
    this.#data = source.child;
    this.#replaced = replaced;
    this.#xdata = xdata;
  }

  run(): Promise<RenameReply> {
    const { toOwn } = this.#names;
    if (this.#data === this.#replaced || this.#data === toOwn) return this.#whereTheDataIs();
    return this.#byLink();
  }

  /** One rename on the data's child does it; linkto files follow. */
  async #whereTheDataIs(): Promise<RenameReply> {
    const { fromOwn, toOwn, to } = this.#names;
    const data = this.#data;
    // The linkto file of the replaced file would lead to the new one: the same name, but another gfid.
    if (toOwn !== data) await this.#unlink(toOwn, to, true);
    const reply = await this.#renameOn(data);
    if (toOwn !== data) await this.#linkto(to, toOwn);
    if (fromOwn !== data) await this.#tidy(fromOwn, this.#names.from);
    if (this.#replaced >= 0 && this.#replaced !== data) await this.#tidy(this.#replaced, to);
    return reply;
  }

  /**
   * The data is where neither name belongs or only the old one does: it gets the new name as a second one,
   * and a linkto file under the old name is renamed over what is at the new one.
   */
  async #byLink(): Promise<RenameReply> {
    const { from, to, fromOwn, toOwn } = this.#names;
    const data = this.#data;
    // Where both names belong to one child it should be there already.
    const madeLinkto = toOwn !== fromOwn;
    await this.#makeLinkto(from, toOwn, madeLinkto);
    try {
      await this.#link();
    } catch (error) {
      if (madeLinkto) await this.#tidy(toOwn, from);
      throw error;
    }
    let renamed: RenameReply | undefined;
    try {
      renamed = await this.#renameOn(toOwn);
    } catch (error) {
      // A file in the way must go; a missing linkto file is made again by the next lookup.
      if (this.#replaced === toOwn || !isMissing(toFopError(error))) {
        await this.#tidy(data, to);
        if (madeLinkto) await this.#tidy(toOwn, from);
        throw error;
      }
    }
    await this.#tidy(data, from);
    if (fromOwn !== toOwn && fromOwn !== data) await this.#tidy(fromOwn, from);
    if (this.#replaced >= 0 && this.#replaced !== toOwn) await this.#tidy(this.#replaced, to);
    if (renamed !== undefined) await ownLinkto(this.#set, this.#call, this.#source.reply.stat, toOwn);
    return this.#replyAfterLink(renamed);
  }

  /** Attributes are the data's, as they are now. */
  async #replyAfterLink(renamed: RenameReply | undefined): Promise<RenameReply> {
    const { stat: before, gfid } = { stat: this.#source.reply.stat, gfid: this.#source.reply.stat.gfid };
    const loc = { inode: new Inode(gfid, S_IFREG) };
    const [now] = await this.#set.onEach([this.#data], "stat", asRoot(this.#call), { loc });
    const stat = now!.ok ? now!.reply.stat : before;
    const parent = this.#source.reply.postParent;
    if (renamed !== undefined) return { ...renamed, stat };
    return { stat, preOldParent: parent, postOldParent: parent, preNewParent: parent, postNewParent: parent };
  }

  #renameOn(child: number): Promise<RenameReply> {
    const { from, to } = this.#names;
    // Linkto files are root's.
    const call = child === this.#data ? this.#call : asRoot(this.#call);
    const xdata = this.#xdata;
    return this.#set.children[child]!.rename(call, { from, to, ...(xdata ? { xdata } : {}) });
  }

  async #link(): Promise<void> {
    const { to } = this.#names;
    const inode = new Inode(this.#source.reply.stat.gfid, S_IFREG);
    const xdata = new Dict().setStr(KEY.INTERNAL_FOP, "yes").setStr(KEY.FORCE_REPLACE, "yes");
    const args = { from: { inode }, to: { inode, parent: to.parent, name: to.name }, xdata };
    await this.#set.children[this.#data]!.link(this.#call, args);
  }

  /** After the rename: without it a lookup makes it. */
  async #linkto(at: NamedLoc, child: number): Promise<void> {
    try {
      await this.#makeLinkto(at, child, false);
      await ownLinkto(this.#set, this.#call, this.#source.reply.stat, child);
    } catch (error) {
      this.#set.log.debug("no linkto file could be made", { name: at.name, code: toFopError(error).code });
    }
  }

  #makeLinkto({ parent, name }: NamedLoc, child: number, replace: boolean): Promise<void> {
    const { gfid } = this.#source.reply.stat;
    return makeLinkto(this.#set, this.#call, { parent, name, gfid }, child, this.#data, replace);
  }

  /** What is left over after success: a stale name is tidied by the next lookup if this fails. */
  async #tidy(child: number, { parent, name }: NamedLoc): Promise<void> {
    try {
      await this.#unlink(child, { inode: new Inode(), parent, name }, true);
    } catch (error) {
      this.#set.log.warn("a name is left over after a rename", {
        child: this.#set.names[child],
        name,
        code: toFopError(error).code,
      });
    }
  }

  async #unlink(child: number, { parent, name }: NamedLoc, mayBeMissing: boolean): Promise<void> {
    const xdata = new Dict().setStr(KEY.INTERNAL_FOP, "yes");
    const args = { loc: { inode: new Inode(), parent, name }, flags: 0, xdata };
    const [outcome] = await this.#set.onEach([child], "unlink", asRoot(this.#call), args);
    if (outcome!.ok || (mayBeMissing && isMissing(outcome!.error))) return;
    throw outcome!.error;
  }
}

/** What names are ordered by when they belong to one child. */
function lockKey({ parent, name }: NamedLoc): Buffer {
  return Buffer.concat([Buffer.from(gfidText(parent.gfid)), encodeName(name)]);
}

/** True when the directory is the one with this gfid or known to be somewhere below it. */
function isBelow(set: SubvolumeSet, directory: Inode, gfid: Inode["gfid"]): boolean {
  let at: Inode | undefined = directory;
  for (let depth = 0; at !== undefined && depth < 4096; depth++) {
    if (gfidEquals(at.gfid, gfid)) return true;
    at = set.states.of(at).parent;
  }
  return false;
}
