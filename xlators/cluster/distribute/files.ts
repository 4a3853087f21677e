/**
 * Fops on files: sent to the child that has the data, also while the rebalance process of GlusterFS moves it
 * to another one (spec translators.md 6.7; GlusterFS dht-inode-read.c, dht-inode-write.c, dht-helper.c).
 *
 * While a file is being moved its mode carries two marks, and what changes it is done on the target too
 * before it is acknowledged; once it has moved the old place is an empty linkto file or gone, and the fop is
 * done anew where the file is now. Open files are opened there as they are needed. A fop that cannot be done
 * on the target fails: then the target may lack it.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { type FopError, toFopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import { gfidEquals } from "../../../src/core/gfid.ts";
import type { Iatt } from "../../../src/core/iatt.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import type { Lease } from "../../../src/core/iovec.ts";
import { O_CREAT, O_EXCL, O_TRUNC } from "../../../src/core/open-flags.ts";
import { wind } from "../../../src/core/xlator.ts";
import { hasLinktoMode, isMoving, shown } from "./iatts.ts";
import type { InodeState } from "./inode-state.ts";
import type { Lookups } from "./lookup.ts";
import { asRoot, isMissing, type SubvolumeSet } from "./subvolume-set.ts";
import { IATT_IN_XDATA, PROTECT_WRITES } from "./xattr-names.ts";

/** Set in the modes of both marks of a move; what has it not needs no further look. */
const MOVE_BIT = 0o1000;
/** What a brick keeps as the mark that a client has written to the target of a move. */
const PROTECTED = Buffer.from("1\0");
/** A file that moves again each time it is looked for. */
const MOVES_MAX = 4;

/** Fops that must be repeated on the target of a move; what was written there must reach its disk, too. */
const CHANGES: ReadonlySet<FopName> = new Set([
  "fsync",
  "flush",
  "writev",
  "truncate",
  "ftruncate",
  "fallocate",
  "discard",
  "zerofill",
  "setattr",
  "fsetattr",
  "setxattr",
  "fsetxattr",
  "removexattr",
  "fremovexattr",
  "xattrop",
  "fxattrop",
]);
/** Fops whose replies tell attributes only when they are asked to. */
const ASKS_IATT: ReadonlySet<FopName> = new Set([
  "setxattr",
  "fsetxattr",
  "removexattr",
  "fremovexattr",
  "xattrop",
  "fxattrop",
]);

/** An inode and, if the fop comes by one, its open file. */
interface Target {
  readonly inode: Inode;
  readonly fd: Fd | undefined;
}

interface AnyReply {
  readonly stat?: Iatt;
  readonly pre?: Iatt;
  readonly post?: Iatt;
  readonly xdata?: Dict | undefined;
}

export class Files {
  readonly #set: SubvolumeSet;
  readonly #lookups: Lookups;
  /** Children that an open file is open on. */
  readonly #openOn = new WeakMap<Fd, Set<number>>();

  constructor(set: SubvolumeSet, lookups: Lookups) {
    this.#set = set;
    this.#lookups = lookups;
  }

  /** A fop by name or gfid. */
  byInode<F extends FopName>(fop: F, call: Call, args: Args<F>, inode: Inode): Promise<Reply<F>> {
    return this.#run(fop, call, args, { inode, fd: undefined });
  }

  /** A fop by open file. */
  byFd<F extends FopName>(fop: F, call: Call, args: Args<F>, fd: Fd): Promise<Reply<F>> {
    return this.#run(fop, call, args, { inode: fd.inode, fd });
  }

  /** The child to read and write at once, -1 when that takes more than passing on. */
  direct(inode: Inode): number {
    const state = this.#set.states.peek(inode);
    return state === undefined || state.moved ? -1 : state.cached;
  }

  /** Whether a reply with this mode may go up as it is. */
  isPlain(mode: number): boolean {
    return (mode & MOVE_BIT) === 0;
  }

  /** After a fop that was passed on at once: the reply was not plain. */
  settle<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    fd: Fd,
    child: number,
    reply: Reply<F>,
  ): Promise<Reply<F>> {
    const target = { inode: fd.inode, fd };
    return this.#settled(fop, call, args, target, child, reply);
  }

  /** After a fop that was passed on at once: it failed. */
  recover<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    fd: Fd,
    child: number,
    error: unknown,
  ): Promise<Reply<F>> {
    return this.#failed(fop, call, args, { inode: fd.inode, fd }, child, error);
  }

  async open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    const { loc, fd } = args;
    const reply = await this.byInode("open", call, args, loc.inode);
    this.opened(fd, this.#set.states.of(loc.inode).cached);
    return reply;
  }

  opened(fd: Fd, child: number): void {
    const on = this.#openOn.get(fd);
    if (on === undefined) this.#openOn.set(fd, new Set([child]));
    else on.add(child);
  }

  /** The child with the data, found if need be. */
  async childOf(call: Call, inode: Inode): Promise<number> {
    const state = this.#set.states.of(inode);
    if (state.cached >= 0) return state.cached;
    await this.#lookups.locate(call, inode);
    if (state.cached < 0) throw this.#set.error("EISDIR", "lookup");
    return state.cached;
  }

  /** Whether what is on that child is only what a move has left of a file. */
  hasLeft(call: Call, inode: Inode, child: number): Promise<boolean> {
    return this.#isLinkto(call, { inode, fd: undefined }, child);
  }

  async #run<F extends FopName>(fop: F, call: Call, args: Args<F>, target: Target): Promise<Reply<F>> {
    const child = await this.childOf(call, target.inode);
    return this.#runOn(fop, call, ASKS_IATT.has(fop) ? withIatt(args) : args, target, child);
  }

  async #runOn<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    target: Target,
    child: number,
    moves = 0,
  ): Promise<Reply<F>> {
    let reply: Reply<F>;
    try {
      await this.#ensureOpen(target, child);
      reply = await wind(this.#set.children[child]!, fop, call, args);
    } catch (error) {
      return this.#failed(fop, call, args, target, child, error, moves);
    }
    return this.#settled(fop, call, args, target, child, reply, moves);
  }

  /** Looks at what the reply tells of a move. */
  async #settled<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    target: Target,
    child: number,
    reply: Reply<F>,
    moves = 0,
  ): Promise<Reply<F>> {
    const stat = statIn(reply);
    if (stat !== undefined && hasLinktoMode(stat)) {
      if (!(await this.#isLinkto(call, target, child))) return reply;
      (reply as { lease?: Lease }).lease?.release();
      return this.#elsewhere(fop, call, args, target, child, moves, undefined);
    }
    const state = this.#set.states.of(target.inode);
    const isNow = stat === undefined ? state.movingFrom === child && state.movingTo >= 0 : isMoving(stat);
    if (!isNow) {
      if (stat !== undefined) state.movingTo = -1;
      return reply;
    }
    if (!CHANGES.has(fop)) return withoutMarks(reply);
    await this.#repeat(fop, call, args, target, child, state);
    return withoutMarks(reply);
  }

  async #failed<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    target: Target,
    child: number,
    error: unknown,
    moves = 0,
  ): Promise<Reply<F>> {
    const known = toFopError(error, { fop, xlator: this.#set.children[child]!.name });
    if (!isMissing(known)) throw error;
    return this.#elsewhere(fop, call, args, target, child, moves, known);
  }

  /** The file is not there any more: once more where it is now. */
  async #elsewhere<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    target: Target,
    from: number,
    moves: number,
    error: FopError | undefined,
  ): Promise<Reply<F>> {
    const state = this.#set.states.of(target.inode);
    if (state.cached === from) {
      try {
        await this.#lookups.locate(call, target.inode);
      } catch (caught) {
        const { code } = toFopError(caught);
        throw error !== undefined && (code === "ENOENT" || code === "ESTALE") ? error : caught;
      }
    }
    if (state.cached < 0 || state.cached === from || moves >= MOVES_MAX)
      throw error ?? this.#set.error("EIO", fop, "the file was moved away, and is nowhere");
    return this.#runOn(fop, call, args, target, state.cached, moves + 1);
  }

  /** Does the same on the target of the move. */
  async #repeat<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    target: Target,
    from: number,
    state: InodeState,
  ): Promise<void> {
    const to =
      state.movingFrom === from && state.movingTo >= 0
        ? state.movingTo
        : await this.#targetOfMove(call, target, from);
    if (to === undefined) return;
    state.movingFrom = from;
    state.movingTo = to;
    await this.#ensureOpenOn(target, to);
    try {
      await wind(this.#set.children[to]!, fop, call, fop === "writev" ? protecting(args) : args);
    } catch (error) {
      state.movingTo = -1;
      throw error;
    }
  }

  /** Undefined when the marks are not a move's of this layer. */
  async #targetOfMove(call: Call, target: Target, from: number): Promise<number | undefined> {
    const set = this.#set;
    const name = await this.#linktoOn(call, target, from);
    if (name === undefined) return undefined;
    const to = set.childNamed(name);
    if (to < 0) throw set.error("EIO", "lookup", `a file is being moved to "${name}", which is no subvolume`);
    const [there] = await set.onEach([to], "lookup", asRoot(call), { loc: { inode: target.inode } });
    if (!there!.ok) throw there!.error;
    if (!gfidEquals(there!.reply.stat.gfid, target.inode.gfid)) throw set.error("EIO", "lookup");
    return to;
  }

  async #isLinkto(call: Call, target: Target, child: number): Promise<boolean> {
    return (await this.#linktoOn(call, target, child)) !== undefined;
  }

  async #linktoOn(call: Call, { inode, fd }: Target, child: number): Promise<string | undefined> {
    const at = this.#set.children[child]!;
    const name = this.#set.xattrs.linkto;
    try {
      const { xattrs } =
        fd === undefined
          ? await at.getxattr(asRoot(call), { loc: { inode }, name })
          : await at.fgetxattr(asRoot(call), { fd, name });
      return xattrs.text(name);
    } catch (error) {
      if (toFopError(error).code === "ENODATA") return undefined;
      throw error;
    }
  }

  /** Only files that have changed place can be open elsewhere than where they are. */
  #ensureOpen(target: Target, child: number): Promise<void> | undefined {
    return this.#set.states.of(target.inode).moved ? this.#ensureOpenOn(target, child) : undefined;
  }

  /** As root: the right to it was checked when the file was opened. */
  async #ensureOpenOn({ inode, fd }: Target, child: number): Promise<void> {
    if (fd === undefined || fd.anonymous || this.#openOn.get(fd)?.has(child)) return;
    const flags = fd.flags & ~(O_CREAT | O_EXCL | O_TRUNC);
    const call = { uid: 0, gid: 0, groups: [], pid: fd.pid, lkOwner: Buffer.alloc(0) };
    await this.#set.children[child]!.open(call, { loc: { inode }, fd, flags });
    this.opened(fd, child);
  }
}

function statIn(reply: AnyReply): Iatt | undefined {
  return reply.post ?? reply.stat ?? iattIn(reply.xdata);
}

function iattIn(xdata: Dict | undefined): Iatt | undefined {
  const entry = xdata?.get(IATT_IN_XDATA);
  return entry?.type === "iatt" ? entry.value : undefined;
}

function withoutMarks<R extends AnyReply>(reply: R): R {
  const { stat, pre, post } = reply;
  return {
    ...reply,
    ...(stat === undefined ? {} : { stat: shown(stat) }),
    ...(pre === undefined ? {} : { pre: shown(pre) }),
    ...(post === undefined ? {} : { post: shown(post) }),
  };
}

function withIatt<F extends FopName>(args: Args<F>): Args<F> {
  const { xdata } = args as { xdata?: Dict };
  return { ...args, xdata: (xdata?.clone() ?? new Dict()).setInt(IATT_IN_XDATA, 1) };
}

function protecting<F extends FopName>(args: Args<F>): Args<F> {
  const { xdata } = args as { xdata?: Dict };
  return { ...args, xdata: (xdata?.clone() ?? new Dict()).setBytes(PROTECT_WRITES, PROTECTED) };
}
