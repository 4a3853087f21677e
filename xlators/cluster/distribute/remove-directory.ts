/**
 * rmdir over distributed children (spec translators.md 6.6; GlusterFS dht_rmdir).
 *
 * The directory must be empty on all of them; stale linkto files in it are removed first. The child that
 * its name belongs to is the last, so that a lookup finds the directory until it is gone; when a child
 * fails after others have succeeded, the directory is made again where it is missing.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Args, ParentPrePost, Reply } from "../../../src/core/fops.ts";
import { isDir, S_IFDIR, ZERO_IATT } from "../../../src/core/iatt.ts";
import { Fd, Inode } from "../../../src/core/inode.ts";
import { O_RDONLY } from "../../../src/core/open-flags.ts";
import { hasLinktoMode, mergedDirectory } from "./iatts.ts";
import { removeStaleLinkto } from "./linkto.ts";
import { locked } from "./locks.ts";
import { lookupRequest } from "./look.ts";
import { isNamed, type Lookups, type NamedLoc } from "./lookup.ts";
import { asRoot, isMissing, type SubvolumeSet } from "./subvolume-set.ts";

const LINKTO_BYTES = 256;
const LIST_BYTES = 65536;

export class RemoveDirectory {
  readonly #set: SubvolumeSet;
  readonly #lookups: Lookups;

  constructor(set: SubvolumeSet, lookups: Lookups) {
    this.#set = set;
    this.#lookups = lookups;
  }

  async rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    const set = this.#set;
    const { loc } = args;
    if (!isNamed(loc)) throw set.error("EINVAL", "rmdir");
    const inode = await this.#directory(call, loc);
    if (args.flags === 0) await this.mustBeEmpty(call, inode);
    const own = await this.#lookups.childFor(call, loc.parent, loc.name);
    if (own < 0) return this.#remove(call, { ...args, loc }, -1);
    return locked(
      set,
      call,
      (locks) => locks.name({ parent: loc.parent, name: loc.name, child: own }),
      () => this.#remove(call, { ...args, loc }, own),
    );
  }

  /** ENOTEMPTY unless nothing but stale linkto files is in it; those are removed. */
  async mustBeEmpty(call: Call, inode: Inode): Promise<void> {
    for (const child of this.#set.all) await this.#emptyOn(call, inode, child);
  }

  /** The directory of this name; ENOENT, ENOTDIR. */
  async #directory(call: Call, loc: NamedLoc): Promise<Inode> {
    const set = this.#set;
    if (loc.inode.linked && set.states.of(loc.inode).layout !== undefined) return loc.inode;
    const { stat } = await this.#lookups.lookup(call, {
      loc: { inode: new Inode(), parent: loc.parent, name: loc.name },
    });
    if (!isDir(stat)) throw set.error("ENOTDIR", "rmdir");
    return new Inode(stat.gfid, S_IFDIR);
  }

  async #emptyOn(call: Call, inode: Inode, child: number): Promise<void> {
    const set = this.#set;
    const at = set.children[child]!;
    const fd = new Fd(inode, O_RDONLY, call.pid);
    const [opened] = await set.onEach([child], "opendir", call, { loc: { inode }, fd });
    if (!opened!.ok) {
      if (isMissing(opened!.error)) return;
      throw opened!.error;
    }
    try {
      const xdata = new Dict().setInt(set.xattrs.linkto, LINKTO_BYTES);
      let offset = 0n;
      for (;;) {
        const page = await at.readdirp(call, { fd, size: LIST_BYTES, offset, xdata });
        for (const { name, stat, xattrs } of page.entries) {
          if (name === "." || name === "..") continue;
          const isLinkto = hasLinktoMode(stat) && xattrs?.has(set.xattrs.linkto) === true;
          if (!isLinkto) throw set.error("ENOTEMPTY", "rmdir");
          await this.#removeLinkto(call, inode, name, child, xattrs.text(set.xattrs.linkto)!);
        }
        if (page.eof || page.entries.length === 0) return;
        offset = page.entries.at(-1)!.offset;
      }
    } finally {
      await at.releasedir(fd);
    }
  }

  /** A linkto file counts when it leads somewhere. */
  async #removeLinkto(call: Call, parent: Inode, name: string, child: number, to: string): Promise<void> {
    const set = this.#set;
    const target = set.childNamed(to);
    if (target >= 0 && target !== child) {
      const loc = { inode: new Inode(), parent, name };
      const args = { loc, xdata: lookupRequest(set, undefined) };
      const [there] = await set.onEach([target], "lookup", asRoot(call), args);
      if (there!.ok) throw set.error("ENOTEMPTY", "rmdir");
      if (!isMissing(there!.error)) throw there!.error;
    }
    if (!(await removeStaleLinkto(set, call, { parent, name }, child))) throw set.error("ENOTEMPTY", "rmdir");
  }

  async #remove(call: Call, args: Args<"rmdir"> & { loc: NamedLoc }, own: number): Promise<Reply<"rmdir">> {
    const set = this.#set;
    const others = set.all.filter((child) => child !== own);
    const outcomes = await set.onEach(others, "rmdir", call, args);
    const replies = outcomes.flatMap((outcome) => (outcome.ok ? [outcome.reply] : []));
    const failed = outcomes.find((outcome) => !outcome.ok && !isMissing(outcome.error));
    if (failed !== undefined && !failed.ok) {
      if (replies.length > 0 && failed.error.code !== "EACCES") this.#restore(call, args.loc);
      throw failed.error;
    }
    if (own >= 0) {
      const [last] = await set.onEach([own], "rmdir", call, args);
      if (!last!.ok) {
        const { code } = last!.error;
        if (!isMissing(last!.error) && code !== "EACCES" && replies.length > 0) this.#restore(call, args.loc);
        throw last!.error;
      }
      replies.push(last!.reply);
    }
    if (replies.length === 0) throw set.error("ENOENT", "rmdir");
    return this.#reply(args.loc, replies);
  }

  /** A lookup makes the directory again where it is missing; it needs the lock that is held now. */
  #restore(call: Call, { parent, name }: NamedLoc): void {
    const loc = { inode: new Inode(), parent, name };
    this.#set.inBackground(this.#lookups.lookup(asRoot(call), { loc }));
  }

  #reply({ parent }: NamedLoc, replies: readonly ParentPrePost[]): Reply<"rmdir"> {
    const state = this.#set.states.of(parent);
    const pres = replies.map(({ preParent }) => preParent).filter((iatt) => iatt !== ZERO_IATT);
    const posts = replies.map(({ postParent }) => postParent).filter((iatt) => iatt !== ZERO_IATT);
    return {
      preParent: pres.length === 0 ? ZERO_IATT : state.shown(mergedDirectory(pres)),
      postParent: posts.length === 0 ? ZERO_IATT : state.shown(mergedDirectory(posts)),
    };
  }
}
