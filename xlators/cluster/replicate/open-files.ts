/**
 * Opening files on all copies, and on which of them each open file is open (spec translators.md 4; GlusterFS
 * afr-open.c). Emptying a file (O_TRUNC) is a transaction, and not done here.
 *
 * An fd that was opened while a child was away is opened there before an operation on it goes to that child,
 * without what would make or empty the file again. A connection that breaks and returns is the client
 * translator's business: it opens its files again by itself, with `strict-locks` not those that held locks.
 * Of those the children answer EBADFD; an fd whose locks are kept by too few for a quorum is good for nothing
 * any more, reads included: who holds the lock by now may be changing what is read.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import { S_IFMT, S_IFREG } from "../../../src/core/iatt.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { O_CREAT, O_EXCL, O_TRUNC } from "../../../src/core/open-flags.ts";
import { type ChildSet, childrenOf, NO_CHILDREN } from "./child-set.ts";
import { fanoutTo, mergedError, noGoodCopy, noQuorum, successes } from "./fan-out.ts";
import type { InodeStates } from "./inode-state.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** A child on which the file cannot be opened (it is not there yet, say) is asked again after this long. */
const RETRY_MS = 1000;

interface OpenFile {
  readonly directory: boolean;
  readonly flags: number;
  openOn: ChildSet;
  retryAtMs: number;
  reopening: Promise<void> | undefined;
  /** Children that granted locks of programs through it. */
  lockedOn: ChildSet;
  /** The set's generation in which it was last looked whether they have them still. */
  locksSeenAt: number;
  /** Too few of them have. */
  locksLost: boolean;
}

export class OpenFiles {
  readonly #set: ReplicaSet;
  readonly #states: InodeStates;
  readonly #files = new WeakMap<Fd, OpenFile>();

  constructor(set: ReplicaSet, states: InodeStates) {
    this.#set = set;
    this.#states = states;
  }

  /** On all up children, of which a quorum must succeed. EIO for a file of which no copy is good. */
  async open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    const set = this.#set;
    const { loc, fd } = args;
    await this.#checkReadable(call, loc.inode);
    const flags = args.flags & ~O_TRUNC;
    const outcomes = await fanoutTo(set, set.up, "open", call, { ...args, flags });
    const opened = successes(outcomes);
    const first = outcomes.find((outcome) => outcome?.ok);
    if (first?.ok && set.hasQuorum(opened)) {
      this.opened(fd, opened, args.flags);
      return first.reply;
    }
    for (const child of childrenOf(opened)) void set.children[child]!.release(fd);
    throw mergedError(outcomes) ?? noQuorum(set, "open");
  }

  /** An open, opendir or create of `fd` succeeded on `children`; `flags` are its open flags. */
  opened(fd: Fd, children: ChildSet, flags: number, directory = false): void {
    const openOn = (this.#files.get(fd)?.openOn ?? NO_CHILDREN) | children;
    const locks = { lockedOn: NO_CHILDREN, locksSeenAt: 0, locksLost: false };
    this.#files.set(fd, { directory, flags, openOn, retryAtMs: 0, reopening: undefined, ...locks });
  }

  /** `children` granted a lock through this fd. */
  locked(fd: Fd, children: ChildSet): void {
    const file = this.#files.get(fd);
    if (file === undefined) return;
    if (file.lockedOn === NO_CHILDREN) file.locksSeenAt = this.#set.generation;
    file.lockedOn |= children;
  }

  /** Throws EBADFD, after `ready`, when too few children kept the locks of this fd. */
  checkLocks(fd: Fd, fop: FopName): void {
    if (this.#files.get(fd)?.locksLost !== true) return;
    const message = "too few copies kept the locks of this descriptor; open the file again";
    throw new FopError("EBADFD", { fop, xlator: this.#set.name, message });
  }

  /** Where it is open; undefined for an fd that was never opened here, an anonymous one for example. */
  openOn(fd: Fd): ChildSet | undefined {
    return this.#files.get(fd)?.openOn;
  }

  /**
   * Undefined when the fd is open on all up children and has the locks that it had, as it usually is; else
   * resolves after an attempt to open and a look at the locks.
   */
  ready(fd: Fd): Promise<void> | undefined {
    const file = this.#files.get(fd);
    if (file === undefined) return undefined;
    if (file.lockedOn !== NO_CHILDREN && (file.locksLost || file.locksSeenAt !== this.#set.generation))
      return this.#lookAtLocks(fd, file);
    return this.#openEverywhere(fd, file);
  }

  #openEverywhere(fd: Fd, file: OpenFile): Promise<void> | undefined {
    if ((this.#set.up & ~file.openOn) === NO_CHILDREN) return undefined;
    if (file.reopening === undefined && this.#set.env.clock.nowMs() < file.retryAtMs) return undefined;
    file.reopening ??= this.#reopen(fd, file);
    return file.reopening;
  }

  async #checkReadable(call: Call, inode: Inode): Promise<void> {
    const state = this.#states.isFresh(inode)
      ? this.#states.peek(inode)
      : await this.#states.ensureFresh(call, inode);
    const isFile = (inode.type & S_IFMT) === S_IFREG;
    if (!isFile || state.readableData !== NO_CHILDREN || state.splitBrainChoice >= 0) return;
    throw noGoodCopy(this.#set, "open", inode);
  }

  /** Locks that are gone do not return: an fd that lost them once is not asked about again. */
  async #lookAtLocks(fd: Fd, file: OpenFile): Promise<void> {
    await this.#openEverywhere(fd, file);
    const set = this.#set;
    const { generation } = set;
    if (file.locksLost || file.locksSeenAt === generation) return;
    const outcomes = await fanoutTo(set, set.up & file.openOn, "fstat", internalCall(), { fd });
    const isStrict = outcomes.some((outcome) => outcome?.ok === false && outcome.error.code === "EBADFD");
    file.locksLost = isStrict && !set.hasQuorum(successes(outcomes) & file.lockedOn);
    file.locksSeenAt = generation;
  }

  /** Never rejects: an operation on the fd finds out itself what a child can do without it. */
  async #reopen(fd: Fd, file: OpenFile): Promise<void> {
    const set = this.#set;
    const missing = set.up & ~file.openOn;
    const flags = file.flags & ~(O_CREAT | O_EXCL | O_TRUNC);
    const call: Call = internalCall();
    const loc = { inode: fd.inode };
    const outcomes = await (file.directory
      ? fanoutTo(set, missing, "opendir", call, { loc, fd })
      : fanoutTo(set, missing, "open", call, { loc, fd, flags }));
    file.openOn |= successes(outcomes);
    file.retryAtMs = set.env.clock.nowMs() + RETRY_MS;
    file.reopening = undefined;
  }
}
