/**
 * Reads: each from one copy that is good, and from another when that one fails (spec translators.md 4.5, 4.7;
 * GlusterFS afr-read-txn.c, afr-inode-read.c).
 *
 * Promises: a copy that is known to have missed something is not read; a file without a good copy is EIO, as
 * is one whose data or metadata is in split brain, until somebody chooses a copy; without quorum ENOTCONN.
 * While an inode's state is fresh a read costs one call to one child and no allocation besides its own.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Dict } from "../../../src/core/dict.ts";
import { type ErrnoName, type FopError, toFopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import { type Iatt, S_IFDIR, S_IFMT } from "../../../src/core/iatt.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { wind } from "../../../src/core/xlator.ts";
import { type ChildSet, childrenOf, NO_CHILDREN, only } from "./child-set.ts";
import { fanoutTo, mergedError, noGoodCopy, noQuorum } from "./fan-out.ts";
import type { InodeState, InodeStates } from "./inode-state.ts";
import type { OpenFiles } from "./open-files.ts";
import type { QuorumGate } from "./quorum-gate.ts";
import type { ReadPolicy } from "./read-policy.ts";
import type { ReplicaSet } from "./replica-set.ts";
import { outOfService } from "./service.ts";

/** Reads that go to one copy. */
type ReadFop =
  | "stat"
  | "fstat"
  | "access"
  | "readlink"
  | "readv"
  | "seek"
  | "rchecksum"
  | "getxattr"
  | "fgetxattr"
  | "readdir"
  | "readdirp";

/** What the answer depends on: content and names, or owner, mode and xattrs. */
export type ReadSlot = "data" | "metadata";

/** Errors that say what is so, on a good copy; others say that this copy could not answer. */
const ANSWERS: ReadonlySet<ErrnoName> = new Set<ErrnoName>([
  "ENODATA",
  "EOPNOTSUPP",
  "ERANGE",
  "ENAMETOOLONG",
  "EACCES",
  "EPERM",
  "EINVAL",
  "ENXIO",
  "ENOTDIR",
  "EISDIR",
  "EINTR",
  "EAGAIN",
  "EOVERFLOW",
]);

export interface ReadContext {
  readonly set: ReplicaSet;
  readonly states: InodeStates;
  readonly policy: ReadPolicy;
  readonly gate: QuorumGate;
  readonly files: OpenFiles;
}

export class Reads {
  readonly #set: ReplicaSet;
  readonly #states: InodeStates;
  readonly #policy: ReadPolicy;
  readonly #gate: QuorumGate;
  readonly #files: OpenFiles;

  constructor({ set, states, policy, gate, files }: ReadContext) {
    this.#set = set;
    this.#states = states;
    this.#policy = policy;
    this.#gate = gate;
    this.#files = files;
  }

  readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const { fd } = args;
    const child = this.#readyChild(fd.inode, "data", fd);
    if (child < 0) return this.#begin("readv", "data", call, args, fd.inode, fd);
    return this.#set.children[child]!.readv(call, args).catch((error) =>
      this.#afterFailure(error, child, "readv", "data", call, args, args.fd.inode, args.fd),
    );
  }

  async stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    const { inode } = args.loc;
    const reply = await this.byInode("stat", "data", call, args, inode);
    return this.#ownMetadata(reply, call, inode, args.xdata);
  }

  async fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    const { inode } = args.fd;
    const reply = await this.byFd("fstat", "data", call, args, args.fd);
    return this.#ownMetadata(reply, call, inode, args.xdata);
  }

  /** From one good copy of the inode. */
  byInode<F extends ReadFop>(
    fop: F,
    slot: ReadSlot,
    call: Call,
    args: Args<F>,
    inode: Inode,
  ): Promise<Reply<F>> {
    return this.#byEither(fop, slot, call, args, inode, undefined);
  }

  byFd<F extends ReadFop>(fop: F, slot: ReadSlot, call: Call, args: Args<F>, fd: Fd): Promise<Reply<F>> {
    return this.#byEither(fop, slot, call, args, fd.inode, fd);
  }

  /** Of the data copies the one with the least room: what fits there fits everywhere. */
  async statfs(call: Call, args: Args<"statfs">): Promise<Reply<"statfs">> {
    const set = this.#set;
    return this.#gate.persist("statfs", call, async () => {
      const outcomes = await fanoutTo(set, set.up & set.dataChildren, "statfs", call, args);
      let least: Reply<"statfs"> | undefined;
      for (const outcome of outcomes)
        if (outcome?.ok && (!least || outcome.reply.statfs.bavail < least.statfs.bavail))
          least = outcome.reply;
      if (!least) throw mergedError(outcomes) ?? noQuorum(set, "statfs");
      return least;
    });
  }

  /**
   * Copies that this read may take; none means EIO. A directory in entry split brain is still listed, from
   * any copy: what it has is there. Not so while a copy is away, which may be the good one.
   */
  candidates(state: InodeState, inode: Inode, slot: ReadSlot, listing = false): ChildSet {
    const { readableData: data, readableMetadata: metadata } = state;
    const both = data & metadata;
    if (both !== NO_CHILDREN) return both;
    if (inode.type === S_IFDIR) {
      if (!listing) return metadata;
      const { all, up, dataChildren, quorum } = this.#set;
      const isKnown = state.answered === all || quorum.type === "none";
      return data || (isKnown ? up & dataChildren & state.answered : NO_CHILDREN);
    }
    if (data === NO_CHILDREN || metadata === NO_CHILDREN) return NO_CHILDREN;
    return slot === "data" ? data : metadata;
  }

  #byEither<F extends ReadFop>(
    fop: F,
    slot: ReadSlot,
    call: Call,
    args: Args<F>,
    inode: Inode,
    fd: Fd | undefined,
  ): Promise<Reply<F>> {
    const child = this.#readyChild(inode, slot, fd);
    if (child < 0) return this.#begin(fop, slot, call, args, inode, fd);
    return wind(this.#set.children[child]!, fop, call, args).catch((error) =>
      this.#afterFailure(error, child, fop, slot, call, args, inode, fd),
    );
  }

  /** The copy to read at once, -1 when something is to be asked or counted first. */
  #readyChild(inode: Inode, slot: ReadSlot, fd: Fd | undefined): number {
    const set = this.#set;
    const policy = this.#policy;
    const state = this.#states.peek(inode);
    if (state.generation !== set.generation || policy.dynamic || outOfService(set, "readv") !== undefined)
      return -1;
    if (fd !== undefined && this.#files.ready(fd) !== undefined) return -1;
    this.#states.renewOld(inode, fd);
    if (state.readChild >= 0 && state.readChildVersion === policy.version) return state.readChild;
    const both = state.readableData & state.readableMetadata & set.up;
    if (both === NO_CHILDREN) return policy.choose(inode, this.candidates(state, inode, slot) & set.up);
    state.readChild = policy.choose(inode, both);
    state.readChildVersion = policy.version;
    return state.readChild;
  }

  /** A first copy failed: the state is asked again before others are tried. */
  #afterFailure<F extends ReadFop>(
    caught: unknown,
    child: number,
    fop: F,
    slot: ReadSlot,
    call: Call,
    args: Args<F>,
    inode: Inode,
    fd: Fd | undefined,
  ): Promise<Reply<F>> {
    const error = toFopError(caught, { fop, xlator: this.#set.children[child]!.name });
    if (ANSWERS.has(error.code)) return Promise.reject(error);
    this.#states.expire(inode);
    if (error.code === "ENOTCONN" && this.#gate.isPatient)
      return this.#begin(fop, slot, call, args, inode, fd);
    return this.#read(fop, slot, call, args, inode, fd, only(child), error);
  }

  /** The long way, which waits for quorum if the volume wants that. */
  #begin<F extends ReadFop>(
    fop: F,
    slot: ReadSlot,
    call: Call,
    args: Args<F>,
    inode: Inode,
    fd: Fd | undefined,
  ): Promise<Reply<F>> {
    return this.#gate.persist(fop, call, () => this.#read(fop, slot, call, args, inode, fd, NO_CHILDREN));
  }

  /** Copies in `tried` have failed with `error`. */
  async #read<F extends ReadFop>(
    fop: F,
    slot: ReadSlot,
    call: Call,
    args: Args<F>,
    inode: Inode,
    fd: Fd | undefined,
    tried: ChildSet,
    error?: FopError,
  ): Promise<Reply<F>> {
    const set = this.#set;
    const refused = outOfService(set, fop);
    if (refused) throw refused;
    const state = await this.#states.ensureFresh(call, inode, fd);
    const good = this.#goodCopies(state, inode, slot, fop) & set.up & ~tried;
    const openOn = fd === undefined ? undefined : await this.#openOn(fd, fop);
    // Without an open file there a copy may still answer, by gfid.
    const child = this.#policy.choose(inode, (openOn !== undefined && good & openOn) || good);
    if (child < 0) throw error ?? noQuorum(set, fop);
    this.#policy.begin(child);
    try {
      return await wind(set.children[child]!, fop, call, args);
    } catch (caught) {
      const failure = toFopError(caught, { fop, xlator: set.children[child]!.name });
      if (ANSWERS.has(failure.code)) throw failure;
      if (tried === NO_CHILDREN) this.#states.expire(inode);
      return this.#read(fop, slot, call, args, inode, fd, tried | only(child), failure);
    } finally {
      this.#policy.end(child);
    }
  }

  async #openOn(fd: Fd, fop: FopName): Promise<ChildSet | undefined> {
    await this.#files.ready(fd);
    this.#files.checkLocks(fd, fop);
    return this.#files.openOn(fd);
  }

  /** Never empty: EIO when there is none, nor one that somebody chose. */
  #goodCopies(state: InodeState, inode: Inode, slot: ReadSlot, fop: FopName): ChildSet {
    const listing = fop === "readdir" || fop === "readdirp";
    const good = this.candidates(state, inode, slot, listing);
    if (good !== NO_CHILDREN) return good;
    const { splitBrainChoice } = state;
    if (splitBrainChoice >= 0 && this.#set.isUp(splitBrainChoice)) return only(splitBrainChoice);
    throw noGoodCopy(this.#set, fop, inode);
  }

  /**
   * Where no copy is good in both slots the size comes from one and the owner from another: attributes of
   * the copy that was read, with what belongs to metadata of one that is good in that.
   */
  async #ownMetadata<R extends { readonly stat: Iatt; readonly xdata?: Dict | undefined }>(
    reply: R,
    call: Call,
    inode: Inode,
    xdata: Dict | undefined,
  ): Promise<R> {
    if ((reply.stat.mode & S_IFMT) === S_IFDIR) return reply;
    const { readableData, readableMetadata, splitBrainChoice } = this.#states.peek(inode);
    if ((readableData & readableMetadata) !== NO_CHILDREN || splitBrainChoice >= 0) return reply;
    for (const child of childrenOf(readableMetadata & this.#set.up)) {
      const [metadata] = await fanoutTo(this.#set, only(child), "stat", call, { loc: { inode }, xdata }).then(
        (outcomes) => outcomes.filter((outcome) => outcome?.ok),
      );
      if (!metadata?.ok) continue;
      const stat = withMetadata(reply.stat, metadata.reply.stat);
      return { ...reply, stat, xdata: metadata.reply.xdata };
    }
    return reply;
  }
}

/** `data` with the fields that a metadata heal brings over. */
export function withMetadata(data: Iatt, metadata: Iatt): Iatt {
  const { mode, uid, gid, nlink } = metadata;
  return { ...data, mode, uid, gid, nlink };
}
