/**
 * Fops on a directory itself: attributes, xattrs, sync (GlusterFS dht-common.c, dht-inode-write.c).
 *
 * A directory is on all children. Its metadata owner, the child that its name belonged to when it was made,
 * is changed first and decides; the others follow. Changes of users' xattrs are counted on the owner before
 * and after, so that a lookup heals what a child has missed; owner and mode are healed whenever they differ.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Outcome } from "../../../src/core/concurrency.ts";
import { Dict } from "../../../src/core/dict.ts";
import { toFopError } from "../../../src/core/errors.ts";
import { type Args, type FopName, type Reply, XATTROP } from "../../../src/core/fops.ts";
import { gfidEquals, ROOT_GFID } from "../../../src/core/gfid.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { wind } from "../../../src/core/xlator.ts";
import { mergedDirectory } from "./iatts.ts";
import type { InodeState } from "./inode-state.ts";
import type { Lookups } from "./lookup.ts";
import { asRoot, type SubvolumeSet } from "./subvolume-set.ts";

type StatFop = "stat" | "fstat";
type SetattrFop = "setattr" | "fsetattr";
type SetXattrFop = "setxattr" | "fsetxattr" | "removexattr" | "fremovexattr";
type GetXattrFop = "getxattr" | "fgetxattr";

/** Xattrs of users, whose changes are counted. */
const COUNTED = /^(user\.|security\.|system\.posix_acl_(access|default)$)/;

export class Directories {
  readonly #set: SubvolumeSet;
  readonly #lookups: Lookups;
  /** Children that an open directory is open on. */
  readonly #openOn = new WeakMap<Fd, readonly number[]>();

  constructor(set: SubvolumeSet, lookups: Lookups) {
    this.#set = set;
    this.#lookups = lookups;
  }

  async stat<F extends StatFop>(fop: F, call: Call, args: Args<F>, inode: Inode, fd?: Fd): Promise<Reply<F>> {
    const set = this.#set;
    const outcomes = await set.onEach(this.#on(fd), fop, call, args);
    const parts = good(outcomes).map(({ stat }) => stat);
    if (parts.length === 0) throw this.#worst(outcomes, fop);
    const state = set.states.of(inode);
    const owner = state.mds >= 0 ? outcomes[this.#on(fd).indexOf(state.mds)] : undefined;
    const base = owner?.ok ? (owner.reply as Reply<StatFop>).stat : parts[0]!;
    const xdata = good(outcomes)[0]!.xdata;
    return { stat: state.shown(mergedDirectory(parts, base)), xdata } as Reply<F>;
  }

  /** On one child that has the directory: its owner if it is up. */
  async onOne<F extends FopName>(fop: F, call: Call, args: Args<F>, inode: Inode): Promise<Reply<F>> {
    const child = await this.lockChild(call, inode);
    return wind(this.#set.children[child]!, fop, call, args);
  }

  /** The child that locks of a directory are taken on, the same for all clients while it is up. */
  async lockChild(call: Call, inode: Inode): Promise<number> {
    const state = await this.#stateOf(call, inode);
    if (state.mds >= 0 && this.#set.isUp(state.mds)) return state.mds;
    const { firstUp } = this.#set;
    if (firstUp < 0) throw this.#set.error("ENOTCONN", "lookup", "all subvolumes are down");
    return firstUp;
  }

  async setattr<F extends SetattrFop>(fop: F, call: Call, args: Args<F>, inode: Inode): Promise<Reply<F>> {
    const set = this.#set;
    const { owner, others } = await this.#roles(call, inode, fop);
    const first = await this.#onOwner(fop, call, args, owner);
    const rest = good(await set.onEach(others, fop, call, args));
    if (first === undefined && rest.length === 0) throw set.error("ENOTCONN", fop, "no subvolume took it");
    const replies = first === undefined ? rest : [first, ...rest];
    const pre = mergedDirectory(
      replies.map((one) => one.pre),
      replies[0]!.pre,
    );
    const post = mergedDirectory(
      replies.map((one) => one.post),
      replies[0]!.post,
    );
    set.states.of(inode).latest = post;
    return { ...replies[0]!, pre, post } as Reply<F>;
  }

  async setXattr<F extends SetXattrFop>(
    fop: F,
    call: Call,
    args: Args<F>,
    inode: Inode,
    fd?: Fd,
  ): Promise<Reply<F>> {
    const set = this.#set;
    const { owner, others } = await this.#roles(call, inode, fop);
    if (owner < 0 || !isCounted(args as Args<SetXattrFop>)) return this.#onAny(fop, call, args);
    await this.#count(call, inode, fd, owner, -1);
    let reply: Reply<F>;
    try {
      reply = await wind(set.children[owner]!, fop, call, args);
    } catch (error) {
      await this.#count(call, inode, fd, owner, 1).catch(() => {});
      throw error;
    }
    const outcomes = await set.onEach(others, fop, call, args);
    if (outcomes.every((outcome) => outcome.ok)) await this.#count(call, inode, fd, owner, 1).catch(() => {});
    return reply;
  }

  async getXattr<F extends GetXattrFop>(fop: F, call: Call, args: Args<F>, inode: Inode): Promise<Reply<F>> {
    const { mds } = this.#set.xattrs;
    if (args.name === mds) throw this.#set.error("EOPNOTSUPP", fop);
    const reply = await this.onOne(fop, call, args, inode);
    if (args.name !== undefined) return reply;
    return { ...reply, xattrs: this.visible(reply.xattrs) };
  }

  /** A listing of xattrs without those of this layer. */
  visible(xattrs: Dict): Dict {
    const { xattrs: own } = this.#set;
    return xattrs.clone([own.layout, own.mds, own.linkto, own.commitHash]);
  }

  async opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    const set = this.#set;
    const { layout } = await this.#stateOf(call, args.loc.inode);
    if (layout === undefined) throw set.error("ENOTDIR", "opendir");
    const outcomes = await set.onEach(set.all, "opendir", call, args);
    const on = set.all.filter((child) => outcomes[child]!.ok);
    const [first] = good(outcomes);
    if (first === undefined) throw this.#worst(outcomes, "opendir");
    this.#openOn.set(args.fd, on);
    return first;
  }

  /** Where an open directory can be listed, in the order of listing. */
  listedOn(fd: Fd): readonly number[] {
    return this.#on(fd).filter((child) => this.#set.isUp(child));
  }

  async fsyncdir(call: Call, args: Args<"fsyncdir">): Promise<Reply<"fsyncdir">> {
    const outcomes = await this.#set.onEach(this.#on(args.fd), "fsyncdir", call, args);
    const failed = outcomes.find((outcome) => !outcome.ok);
    if (failed !== undefined && !failed.ok) throw failed.error;
    return good(outcomes)[0] ?? {};
  }

  /** What is known of a directory, asked for when nothing is. */
  async #stateOf(call: Call, inode: Inode): Promise<InodeState> {
    const state = this.#set.states.of(inode);
    return state.layout === undefined ? this.#lookups.locate(call, inode) : state;
  }

  #on(fd: Fd | undefined): readonly number[] {
    return (fd && this.#openOn.get(fd)) ?? this.#set.all;
  }

  /** The owner (-1: all are equal) and the rest. A change without the owner would be undone by a heal. */
  async #roles(
    call: Call,
    inode: Inode,
    fop: FopName,
  ): Promise<{ owner: number; others: readonly number[] }> {
    const set = this.#set;
    const { mds } = await this.#stateOf(call, inode);
    if (mds < 0 || gfidEquals(inode.gfid, ROOT_GFID)) return { owner: -1, others: set.all };
    if (!set.isUp(mds))
      throw set.error("ENOTCONN", fop, `the directory's metadata owner, ${set.names[mds]}, is down`);
    return { owner: mds, others: set.all.filter((child) => child !== mds) };
  }

  #onOwner<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    owner: number,
  ): Promise<Reply<F>> | undefined {
    return owner < 0 ? undefined : wind(this.#set.children[owner]!, fop, call, args);
  }

  /** On all children; enough when one takes it, as the root of a volume has no metadata owner. */
  async #onAny<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const outcomes = await this.#set.onEach(this.#set.all, fop, call, args);
    const [first] = good(outcomes);
    if (first === undefined) throw this.#worst(outcomes, fop);
    return first;
  }

  async #count(call: Call, inode: Inode, fd: Fd | undefined, owner: number, by: number): Promise<void> {
    const value = Buffer.alloc(4);
    value.writeInt32BE(by);
    const xattrs = Dict.ofBytes({ [this.#set.xattrs.mds]: value });
    const child = this.#set.children[owner]!;
    const op = XATTROP.ADD_ARRAY;
    if (fd === undefined) await child.xattrop(asRoot(call), { loc: { inode }, op, xattrs });
    else await child.fxattrop(asRoot(call), { fd, op, xattrs });
  }

  /** Of failures on all children, one that is not about a connection if there is one. */
  #worst(outcomes: readonly Outcome<unknown>[], fop: FopName): Error {
    const errors = outcomes.flatMap((outcome) => (outcome.ok ? [] : [outcome.error]));
    return (
      errors.find(({ code }) => code !== "ENOTCONN") ??
      errors[0] ??
      toFopError(this.#set.error("ENOTCONN", fop))
    );
  }
}

function good<R>(outcomes: readonly Outcome<R>[]): R[] {
  return outcomes.flatMap((outcome) => (outcome.ok ? [outcome.reply] : []));
}

function isCounted(args: Args<SetXattrFop>): boolean {
  if ("name" in args) return COUNTED.test(args.name);
  return [...args.xattrs.keys()].some((name) => COUNTED.test(name));
}
