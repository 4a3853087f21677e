/**
 * Lookup: what all copies say of a name or a gfid, and one answer out of it (spec translators.md 4.6;
 * GlusterFS afr-common.c, afr_lookup_done).
 *
 * On the way it learns which copies may be read, and has names healed that are not the same everywhere. An
 * answer needs a quorum of copies that say something; copies that disagree about the gfid are EIO unless one
 * of them is known to be behind, or an operation on the name is under way. What is left on copies alone that
 * have missed its removal is not there (removed.ts). A file in split brain is found, so that tools can name
 * it: reading it is EIO.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { type ErrnoName, FopError } from "../../../src/core/errors.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { type Gfid, gfidEquals, ROOT_GFID } from "../../../src/core/gfid.ts";
import type { Inode, Loc } from "../../../src/core/inode.ts";
import { KEY, LOCK_KEY } from "../../../src/core/keys.ts";
import { type ChildSet, countChildren, firstChild, hasChild, NO_CHILDREN, withChild } from "./child-set.ts";
import { absences, fanoutTo, mergedError, noQuorum, type Outcomes, successes } from "./fan-out.ts";
import { type Asked, askForState } from "./inode-state.ts";
import { isPrivateName } from "./private-names.ts";
import type { ReadContext } from "./read.ts";
import { withMetadata } from "./read.ts";
import { healedFrom, nameLocked, type Readable } from "./readable.ts";
import { isNameRemoved, isObjectRemoved, mayBeRemoved, removedError } from "./removed.ts";

type Replies = Outcomes<Reply<"lookup">>;
type NamedLoc = Loc & { readonly parent: Inode; readonly name: string };

/** Heals one name of a directory; what came of it shows in the next lookup. Must not reject. */
export type HealName = (
  call: Call,
  parent: Inode,
  name: string,
  /** For an object that has none yet. */
  gfid: Gfid | undefined,
) => Promise<void>;

const PID = { HEAL_TOOL: -7, ADD_REPLICA: -12 } as const;
/** xdata of a request that is not handed on. */
const NOT_FOR_BRICKS = [KEY.GFID_REQ, KEY.GONE_EVERYWHERE, KEY.FEWEST_LINKS];
/** Reply xdata: content of small files, which only a good copy may tell. */
const CONTENT = "glusterfs.content";
/** Reply xdata: the name has another object than the caller believes. */
const GFID_CHANGED = "gfid-changed";
/** An operation on the name is waited for so often, and so long each time, before a heal steps in. */
const LOCKED_TRIES_MAX = 5;
const LOCKED_WAIT_MS = 20;

export class Lookups {
  readonly #context: ReadContext;
  readonly #healName: HealName;

  constructor(context: ReadContext, healName: HealName) {
    this.#context = context;
    this.#healName = healName;
  }

  lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const { gate } = this.#context;
    if (!gate.isPatient) return this.#lookup(call, args);
    return gate.persist("lookup", call, () => this.#lookup(call, args));
  }

  async #lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const { set } = this.#context;
    const { loc } = args;
    if (!isNamed(loc)) return this.#nameless(call, args);
    const inRoot = gfidEquals(loc.parent.gfid, ROOT_GFID);
    if (inRoot && isPrivateName(set, loc.name, call.pid)) throw this.#error("EPERM");
    for (let tries = 0; ; tries++) {
      const asked = this.#context.states.now();
      let replies = await this.#ask(call, args);
      // Whoever holds the lock is about to settle it; a heal would wait for that lock.
      const patient = tries < LOCKED_TRIES_MAX && nameLocked(replies);
      if (!patient && (await this.#nameDiffers(call, loc.parent, replies))) {
        await this.#healName(call, loc.parent, loc.name, args.xdata?.gfid(KEY.GFID_REQ));
        this.#context.states.expire(loc.parent);
        replies = await this.#ask(call, args);
      }
      if (args.xdata?.has(KEY.GONE_EVERYWHERE)) this.#checkNotOnFew(replies);
      const answer = await this.#decide(call, loc, replies, asked);
      if (answer !== "in flight") return withFewestLinks(answer, args, replies);
      if (!patient) throw this.#error("ESTALE");
      await new Promise<void>((resolve) => set.env.clock.after(LOCKED_WAIT_MS, resolve));
    }
  }

  async #nameless(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const asked = this.#context.states.now();
    const replies = await this.#ask(call, args);
    this.#checkQuorum(call, args.loc, replies);
    if (args.xdata?.has(KEY.GONE_EVERYWHERE)) this.#checkAllGone(replies);
    else if (await this.#isRemoved(call, args.loc, replies)) throw removedError(this.#context.set, "lookup");
    return withFewestLinks(await this.#answer(call, args.loc, replies, asked), args, replies);
  }

  #ask(call: Call, args: Args<"lookup">): Promise<Replies> {
    const { set } = this.#context;
    if (set.up === NO_CHILDREN) throw noQuorum(set, "lookup");
    const xdata = askForState(set, args.xdata?.clone(NOT_FOR_BRICKS) ?? new Dict())
      .setInt(LOCK_KEY.INODELK_COUNT, 0)
      .setInt(LOCK_KEY.ENTRYLK_COUNT, 0)
      .setInt(LOCK_KEY.PARENT_ENTRYLK, 0);
    return fanoutTo(set, set.up, "lookup", call, { ...args, xdata });
  }

  /**
   * Whether the copies of the directory that matter have not all got the name, or not the same object under
   * it. A quorum with the name, and without it only copies whose directory is known to be behind, can wait
   * for the heal of the directory.
   */
  async #nameDiffers(call: Call, parent: Inode, replies: Replies): Promise<boolean> {
    const { set, states } = this.#context;
    const found = successes(replies);
    const codes = replies.map((reply) => (reply?.ok === false ? reply.error.code : undefined));
    if (codes.includes("ENODATA")) return true;
    if (found === NO_CHILDREN) return false;
    if (gfidsOf(replies).length > 1) return true;
    const missing = absences(replies);
    if (missing === NO_CHILDREN) return false;
    if (set.quorum.type === "none" || !set.hasQuorum(found)) return true;
    const good = await states.ensureFresh(call, parent).then(
      (state) => state.readableData,
      () => NO_CHILDREN,
    );
    return good === NO_CHILDREN || (missing & good) !== NO_CHILDREN;
  }

  /** Heal tools look at what there is; a new copy is added by a client that sees the root anywhere. */
  #seesAll(call: Call, { inode }: Loc): boolean {
    return call.pid === PID.HEAL_TOOL || (call.pid === PID.ADD_REPLICA && gfidEquals(inode.gfid, ROOT_GFID));
  }

  /** Throws unless a quorum of copies said something. */
  #checkQuorum(call: Call, loc: Loc, replies: Replies): void {
    const { set } = this.#context;
    if (this.#seesAll(call, loc)) return;
    const answered = replies.reduce(
      (some, reply, child) =>
        reply && (reply.ok || reply.error.code !== "ENOTCONN") ? withChild(some, child) : some,
      NO_CHILDREN,
    );
    if (!set.hasQuorum(answered)) throw noQuorum(set, "lookup");
  }

  /**
   * A removal that its client did not live to finish is undone by a heal while one copy has the name. Who
   * removes the rest of a file that somebody else removed must hear of that copy, and of those that are
   * away.
   */
  #checkAllGone(replies: Replies): void {
    const { set } = this.#context;
    const gone = absences(replies);
    if (gone !== set.all && !set.hasQuorum(successes(replies))) throw noQuorum(set, "lookup");
  }

  /**
   * A name that few copies have is spread by a heal, or taken away: whoever wants it gone has to ask again
   * after that. Copies that are away are not waited for; while one is, removals go on.
   */
  #checkNotOnFew(replies: Replies): void {
    const found = successes(replies);
    if (found !== NO_CHILDREN && !this.#context.set.hasQuorum(found))
      throw this.#error("EAGAIN", "few copies have this name, and a heal may spread it");
  }

  async #decide(
    call: Call,
    loc: NamedLoc,
    replies: Replies,
    asked: Asked,
  ): Promise<Reply<"lookup"> | "in flight"> {
    const { set } = this.#context;
    this.#checkQuorum(call, loc, replies);
    const found = successes(replies);
    if (replies.some((reply) => (reply?.ok ? reply.reply : reply?.error)?.xdata?.has(GFID_CHANGED)))
      throw this.#error("ESTALE");
    const locked = nameLocked(replies);
    const missing = replies.some((reply) => reply?.ok === false && reply.error.code === "ENOENT");
    // It is being made, or removed: not there yet, or no more.
    if (locked && missing && !set.hasQuorum(found)) throw this.#error("ENOENT");
    if (gfidsOf(replies).length <= 1) {
      if (!(await this.#isRemoved(call, loc, replies))) return this.#answer(call, loc, replies, asked);
      if (locked) return "in flight";
      throw this.#error("ENOENT");
    }
    const chosen = await this.#gfidToBelieve(call, loc.parent, replies, locked);
    if (chosen === undefined) throw this.#error("EIO", "the copies have different objects under this name");
    const agreeing = replies.map((reply) =>
      reply?.ok && !gfidEquals(reply.reply.stat.gfid, chosen) ? undefined : reply,
    );
    if (set.hasQuorum(successes(agreeing))) return this.#answer(call, loc, agreeing, asked);
    if (locked) return "in flight";
    throw this.#error("ENOTCONN", "the copies that are not behind are no quorum");
  }

  /** Whether copies that lack it know that it was removed: the others are about to lose it. */
  async #isRemoved(call: Call, loc: Loc, replies: Replies): Promise<boolean> {
    const { set } = this.#context;
    const copies = { found: successes(replies), missing: absences(replies) };
    if (!mayBeRemoved(set, copies) || this.#seesAll(call, loc)) return false;
    return isNamed(loc)
      ? isNameRemoved(set, loc.parent, copies)
      : isObjectRemoved(set, loc.inode.gfid, copies);
  }

  /** Of a good copy of the directory, provided that all others are behind or something is under way. */
  async #gfidToBelieve(
    call: Call,
    parent: Inode,
    replies: Replies,
    locked: boolean,
  ): Promise<Gfid | undefined> {
    const state = await this.#context.states.ensureFresh(call, parent).catch(() => undefined);
    const good = state?.readableData ?? NO_CHILDREN;
    const found = successes(replies);
    const gfidsOfGood = gfidsOf(replies, found & good);
    if (gfidsOfGood.length === 1) return gfidsOfGood[0];
    return locked ? mostCommon(gfidsOf(replies), replies) : undefined;
  }

  /** The replies are of one object. */
  async #answer(call: Call, loc: Loc, replies: Replies, asked: Asked): Promise<Reply<"lookup">> {
    const { set, states } = this.#context;
    const found = successes(replies);
    const first = replies[firstChild(found)];
    if (!first?.ok) throw mergedError(replies) ?? noQuorum(set, "lookup");
    if (!this.#seesAll(call, loc) && !set.hasQuorum(found))
      throw (set.hasQuorum(absences(replies)) ? mergedError(replies) : undefined) ?? noQuorum(set, "lookup");
    const { gfid } = first.reply.stat;
    const readable = states.learn(loc.inode, gfid, replies, asked);
    const child = this.#readChild(call, loc, gfid, replies, readable);
    const chosen = replies[child];
    if (!chosen?.ok) throw noQuorum(set, "lookup");
    const good = hasChild(readable.data & readable.metadata, child);
    const clean = (readable.accusedData | readable.accusedMetadata) === NO_CHILDREN;
    const metadata = good ? undefined : replies[this.#metadataChild(loc, child, replies, readable)];
    const { xdata } = metadata?.ok ? metadata.reply : chosen.reply;
    const parent = replies[this.#parentChild(loc, found)];
    return {
      ...chosen.reply,
      ...(metadata?.ok ? { stat: withMetadata(chosen.reply.stat, metadata.reply.stat) } : {}),
      ...(parent?.ok ? { postParent: parent.reply.postParent } : {}),
      xdata: withMostOpens(clean ? xdata : xdata?.clone([CONTENT]), replies),
    };
  }

  /** The copy whose attributes are answered. */
  #readChild(call: Call, loc: Loc, gfid: Gfid, replies: Replies, readable: Readable): number {
    const { set, states, policy } = this.#context;
    const found = successes(replies);
    const inode = { gfid, type: loc.inode.type };
    const good = readable.data & readable.metadata;
    if (good !== NO_CHILDREN) return policy.choose(inode, good);
    if (readable.data !== NO_CHILDREN && readable.metadata !== NO_CHILDREN)
      return policy.choose(inode, readable.data);
    const { splitBrainChoice } = states.peek(loc.inode);
    if (hasChild(found, splitBrainChoice)) return splitBrainChoice;
    const data = firstChild(readable.data || found & set.dataChildren);
    const anything = found === set.all || set.quorum.type === "none" || call.pid === PID.HEAL_TOOL;
    if (!anything || data < 0) throw this.#error("ENOTCONN", "the good copies are away");
    return data;
  }

  /** Whose owner, mode and xattrs are answered when the copy that is read is not good; -1: its own. */
  #metadataChild({ inode }: Loc, child: number, replies: Replies, readable: Readable): number {
    const { set, states } = this.#context;
    if (readable.metadata !== NO_CHILDREN) return firstChild(readable.metadata);
    if (states.peek(inode).splitBrainChoice === child) return -1;
    return firstChild(healedFrom(set, replies, "metadata"));
  }

  #parentChild({ parent }: Loc, found: ChildSet): number {
    const { set, states, policy } = this.#context;
    if (!parent) return -1;
    const { readableData, readableMetadata } = states.peek(parent);
    return policy.choose(
      parent,
      found & readableData & readableMetadata || found & set.dataChildren || found,
    );
  }

  #error(code: ErrnoName, message?: string): FopError {
    const where = { fop: "lookup", xlator: this.#context.set.name };
    return new FopError(code, message === undefined ? where : { ...where, message });
  }
}

function isNamed(loc: Loc): loc is NamedLoc {
  return loc.parent !== undefined && loc.name !== undefined;
}

/** Each once, of these children. */
function gfidsOf(replies: Replies, among: ChildSet = -1): readonly Gfid[] {
  const gfids: Gfid[] = [];
  for (const [child, reply] of replies.entries()) {
    if (!reply?.ok || !hasChild(among, child)) continue;
    const { gfid } = reply.reply.stat;
    if (!gfids.some((known) => gfidEquals(known, gfid))) gfids.push(gfid);
  }
  return gfids;
}

/**
 * How many have a file open is told by the copy that most reach: a client that is cut off from one brick has
 * its files open on the others.
 */
function withMostOpens(xdata: Dict | undefined, replies: Replies): Dict | undefined {
  const told = xdata?.number(KEY.OPEN_FD_COUNT);
  if (xdata === undefined || told === undefined) return xdata;
  const counts = replies.map((reply) => (reply?.ok && reply.reply.xdata?.number(KEY.OPEN_FD_COUNT)) || 0);
  const most = Math.max(...counts);
  return most > told ? xdata.clone().setUint(KEY.OPEN_FD_COUNT, most) : xdata;
}

/** For whoever has to know whether a name is the last one: a copy may have more, for a heal to take away. */
function withFewestLinks(answer: Reply<"lookup">, asked: Args<"lookup">, replies: Replies): Reply<"lookup"> {
  if (!asked.xdata?.has(KEY.FEWEST_LINKS)) return answer;
  const counts = replies.map((reply) =>
    reply?.ok && gfidEquals(reply.reply.stat.gfid, answer.stat.gfid) ? reply.reply.stat.nlink : undefined,
  );
  const fewest = Math.min(...counts.filter((count) => count !== undefined));
  return { ...answer, xdata: (answer.xdata?.clone() ?? new Dict()).setUint(KEY.FEWEST_LINKS, fewest) };
}

function mostCommon(gfids: readonly Gfid[], replies: Replies): Gfid | undefined {
  const copiesOf = (gfid: Gfid): number =>
    countChildren(
      replies.reduce(
        (some, reply, child) =>
          reply?.ok && gfidEquals(reply.reply.stat.gfid, gfid) ? withChild(some, child) : some,
        NO_CHILDREN,
      ),
    );
  return [...gfids].sort((a, b) => copiesOf(b) - copiesOf(a))[0];
}
