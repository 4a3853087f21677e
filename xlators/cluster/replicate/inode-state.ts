/**
 * What this client knows of the copies of each inode: which of them may be read (spec translators.md 4.5).
 *
 * A state is fresh while the set's generation is the one it was learned at; children that come and go make
 * all states stale, a failed operation the state of its inode. `ensureFresh` asks the bricks again, once for
 * all who wait. What `markBad` takes away stays away, whatever the bricks say, until `invalidate`: between
 * the failure of a copy and its mark on the others' disks nobody but this client knows.
 *
 * Inodes of the same gfid share their state. Limit: what other clients find out is seen when asked again,
 * which lookups do and, every ten seconds, reads. An answer of all bricks that nothing on them waits for a
 * heal is one for every inode whose copies are all good: a guest that reads all over a large image does not
 * ask for each of its blocks.
 */

import { LRUCache } from "lru-cache";
import { type Call, internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { type Gfid, gfidKey, isNullGfid } from "../../../src/core/gfid.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { INDEX_KEY, LOCK_KEY } from "../../../src/core/keys.ts";
import { requestRow, type Slot } from "./changelog.ts";
import { type ChildSet, childrenWhere, hasChild, NO_CHILDREN, withChild } from "./child-set.ts";
import { absences, fanoutTo, mergedError, noQuorum, type Outcomes, successes } from "./fan-out.ts";
import { type CopyReply, type Readable, readableOf } from "./readable.ts";
import { isObjectRemoved, mayBeRemoved, removedError } from "./removed.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** One inode, as last learned. A live view: its fields change when more is known. */
export interface InodeState {
  /** `set.generation` that it was learned at; 0: never learned, or no longer true. */
  readonly generation: number;
  /** Good in the data slot (of directories the entry slot); never an arbiter. */
  readonly readableData: ChildSet;
  readonly readableMetadata: ChildSet;
  /** Copies that answered when it was learned. */
  readonly answered: ChildSet;
  /** Copies that somebody blames in the data slot (of directories the entry slot), an arbiter among them. */
  readonly accusedData: ChildSet;
  /** When that was, by the clock that only grows; whole, as a fraction takes memory of its own. */
  readonly learnedAtMs: number;
  /** Copy that a person chose to read in a split brain, -1 for none. */
  readonly splitBrainChoice: number;
  /** Kept by who reads: the copy that was chosen, and at which version of the choice; -1 for none. */
  readChild: number;
  readChildVersion: number;
}

/** A moment in which bricks were asked. */
export interface Asked {
  readonly atMs: number;
  readonly generation: number;
  readonly tick: number;
}

class State implements InodeState {
  generation = 0;
  readableData: ChildSet = NO_CHILDREN;
  readableMetadata: ChildSet = NO_CHILDREN;
  answered: ChildSet = NO_CHILDREN;
  accusedData: ChildSet = NO_CHILDREN;
  learnedAtMs = 0;
  splitBrainChoice = -1;
  readChild = -1;
  readChildVersion = -1;
  /** Taken away by markBad. */
  badData: ChildSet = NO_CHILDREN;
  badMetadata: ChildSet = NO_CHILDREN;
  /** When it last got worse: answers to questions from before are not the last word. */
  changedAt = 0;
  /** Generation at which a pre-op found `proven` good in the data slot; 0: nothing of that kind holds. */
  provenAt = 0;
  proven: ChildSet = NO_CHILDREN;
  refreshing: Promise<boolean> | undefined;
}

/** An answer that was overtaken is asked again; who is overtaken as often as this takes what there is. */
const ATTEMPTS_MAX = 4;
/** What is known is asked again after this long: another client may have found a copy bad, or healed it. */
const AGE_MAX_MS = 10_000;
/** States that are found by gfid; others are found by their inode alone. */
const STATES_MAX = 65_536;

export class InodeStates {
  readonly #set: ReplicaSet;
  readonly #byInode = new WeakMap<Inode, State>();
  readonly #byGfid = new LRUCache<string, State>({ max: STATES_MAX });
  /** Counts what makes states worse. */
  #tick = 1;
  /** False when all bricks said, when last asked, that nothing on them waits for a heal. */
  healPending = true;
  /** When all bricks were last asked and said so. */
  #soundAtMs = Number.NEGATIVE_INFINITY;
  /** Hears what bricks said of an object whenever they were asked; heals on access look for damage there. */
  noticed: ((gfid: Gfid, outcomes: Outcomes<CopyReply>) => void) | undefined;
  /** Settles a split brain by the volume's favorite-child-policy, if it has one; true: ask again. */
  settle: (inode: Inode) => Promise<boolean> = async () => false;

  constructor(set: ReplicaSet) {
    this.#set = set;
  }

  /** What is known now; generation 0 when nothing is. */
  peek(inode: Inode): InodeState {
    return this.#of(inode);
  }

  isFresh(inode: Inode): boolean {
    return this.#of(inode).generation === this.#set.generation;
  }

  /**
   * The state, asked of all up children unless it is fresh. `fd` finds copies of a file without a name.
   * Rejects with the children's merged error, or ENOTCONN, when those that answered are no quorum.
   */
  async ensureFresh(_call: Call, inode: Inode, fd?: Fd): Promise<InodeState> {
    const state = this.#of(inode);
    for (let attempt = 0; state.generation !== this.#set.generation && attempt < ATTEMPTS_MAX; attempt++) {
      state.refreshing ??= this.#refresh(inode, state, fd);
      if (await state.refreshing) break;
    }
    return state;
  }

  /** Has an old state asked again for those who come later; who calls goes on with what is known. */
  renewOld(inode: Inode, fd?: Fd): void {
    const state = this.#of(inode);
    const nowMs = this.#set.env.clock.nowMs();
    if (nowMs - state.learnedAtMs < AGE_MAX_MS || state.refreshing !== undefined) return;
    if (nowMs - this.#soundAtMs < AGE_MAX_MS && isWhole(this.#set, state)) return;
    state.learnedAtMs = Math.floor(nowMs);
    state.refreshing = this.#refresh(inode, state, fd);
    state.refreshing.catch(() => {});
  }

  /** To be taken before bricks are asked what `learn` or `learnNew` then gets. */
  now(): Asked {
    return { atMs: this.#set.env.clock.nowMs(), generation: this.#set.generation, tick: this.#tick };
  }

  /** Copies known to be good in this slot, without asking; none when that may hold no longer. */
  knownGood(inode: Inode, slot: Slot): ChildSet {
    const state = this.#of(inode);
    const { generation } = this.#set;
    if (slot === "metadata") return state.readableMetadata;
    if (state.generation === generation) return state.readableData;
    return state.provenAt === generation ? state.proven : NO_CHILDREN;
  }

  /** Under the lock of the inode's data these copies were seen to be blamed by nobody. */
  prove(inode: Inode, children: ChildSet): void {
    const state = this.#of(inode);
    state.provenAt = this.#set.generation;
    state.proven = children;
  }

  /**
   * Takes what replies to a lookup told of the object with this gfid. Of a split brain that a policy can
   * settle it is no more than a name: the first operation asks again, and has it settled.
   */
  learn(inode: Inode, gfid: Gfid, outcomes: Outcomes<CopyReply>, asked: Asked): Readable {
    const readable = readableOf(this.#set, outcomes);
    this.#noticePending(outcomes, asked);
    this.noticed?.(gfid, outcomes);
    const state = this.#of(inode, gfid);
    this.#take(state, readable, asked);
    if (!hasGoodCopies(state) && this.#set.options["favorite-child-policy"] !== "none") state.generation = 0;
    return readable;
  }

  /** An object that was made on these children. */
  learnNew(inode: Inode, gfid: Gfid, children: ChildSet, asked: Asked): void {
    const good = children & this.#set.dataChildren;
    const accusedData = this.#set.all & ~children;
    this.#take(this.#of(inode, gfid), { answered: children, data: good, metadata: good, accusedData }, asked);
  }

  /** What is known may hold no longer; copies that were marked bad stay so. */
  expire(inode: Inode): void {
    const state = this.#of(inode);
    state.generation = 0;
    state.provenAt = 0;
    state.changedAt = ++this.#tick;
  }

  /** Nothing known holds any more, bad copies included: their marks are on disk, or nobody is to blame. */
  invalidate(inode: Inode): void {
    const state = this.#of(inode);
    state.badData = NO_CHILDREN;
    state.badMetadata = NO_CHILDREN;
    this.expire(inode);
  }

  /** This copy missed an operation: it is not read until `invalidate` and a refresh. */
  markBad(inode: Inode, child: number, slot: Slot): void {
    const state = this.#of(inode);
    state.changedAt = ++this.#tick;
    state.provenAt = 0;
    this.healPending = true;
    if (slot === "metadata") state.badMetadata = withChild(state.badMetadata, child);
    else state.badData = withChild(state.badData, child);
    state.readableData &= ~state.badData;
    state.readableMetadata &= ~state.badMetadata;
    state.readChild = -1;
  }

  /** Whether this copy of the object is known to be good; nothing is asked. */
  isKnownGood(gfid: Gfid, child: number): boolean {
    const state = this.#byGfid.get(gfidKey(gfid));
    if (state === undefined || state.generation !== this.#set.generation) return false;
    return hasChild(state.readableData & state.readableMetadata, child);
  }

  /** The copy to read though it is in split brain; -1 takes the choice back. */
  chooseInSplitBrain(inode: Inode, child: number): void {
    this.#of(inode).splitBrainChoice = child;
  }

  /** The inode is in nobody's table any more. */
  forget(inode: Inode): void {
    this.#byInode.delete(inode);
    this.#byGfid.delete(gfidKey(inode.gfid));
  }

  #of(inode: Inode, gfid = inode.gfid): State {
    let state = this.#byInode.get(inode);
    if (state !== undefined) return state;
    if (isNullGfid(gfid)) return new State();
    const key = gfidKey(gfid);
    state = this.#byGfid.get(key);
    if (state === undefined) {
      state = new State();
      this.#byGfid.set(key, state);
    }
    this.#byInode.set(inode, state);
    return state;
  }

  /** Asks; without a good copy, has a split brain settled and asks again. True when nothing overtook it. */
  async #refresh(inode: Inode, state: State, fd: Fd | undefined): Promise<boolean> {
    try {
      const isCurrent = await this.#askAndTake(inode, state, fd);
      if (!isCurrent || hasGoodCopies(state) || !(await this.settle(inode))) return isCurrent;
      return await this.#askAndTake(inode, state, fd);
    } finally {
      state.refreshing = undefined;
    }
  }

  async #askAndTake(inode: Inode, state: State, fd: Fd | undefined): Promise<boolean> {
    const set = this.#set;
    const asked = this.now();
    const outcomes = await askCopies(set, set.up, inode, fd);
    const found = successes(outcomes);
    if (!set.hasQuorum(found)) throw mergedError(outcomes) ?? noQuorum(set, "lookup");
    const copies = { found, missing: absences(outcomes) };
    if (mayBeRemoved(set, copies) && (await isObjectRemoved(set, inode.gfid, copies)))
      throw removedError(set, "lookup");
    this.#noticePending(outcomes, asked);
    this.#take(state, readableOf(set, outcomes), asked);
    this.noticed?.(inode.gfid, outcomes);
    return state.changedAt <= asked.tick && set.generation === asked.generation;
  }

  #noticePending(outcomes: Outcomes<CopyReply>, asked: Asked): void {
    const found = successes(outcomes);
    const sound = childrenWhere(this.#set.count, (child) => {
      const outcome = outcomes[child];
      return outcome?.ok === true && outcome.reply.xdata?.number(INDEX_KEY.LINK_COUNT) === 0;
    });
    this.healPending = found !== sound;
    if (this.healPending) this.#soundAtMs = Number.NEGATIVE_INFINITY;
    else if (sound === this.#set.all) this.#soundAtMs = asked.atMs;
  }

  /**
   * What was overtaken is kept as the best there is, yet as stale. So is a state without good copies: whoever
   * wants to read asks again, for somebody may have healed them.
   */
  #take(
    state: State,
    readable: Pick<Readable, "answered" | "data" | "metadata" | "accusedData">,
    asked: Asked,
  ): void {
    state.learnedAtMs = Math.floor(this.#set.env.clock.nowMs());
    state.answered = readable.answered;
    state.accusedData = readable.accusedData;
    state.readableData = readable.data & ~state.badData;
    state.readableMetadata = readable.metadata & ~state.badMetadata;
    state.generation = state.changedAt > asked.tick || !hasGoodCopies(state) ? 0 : asked.generation;
    state.readChild = -1;
  }
}

/** Adds what a lookup or fstat has to ask for so that `learn` can judge. */
export function askForState(set: ReplicaSet, xdata = new Dict()): Dict {
  return requestRow(set.pendingKeys, xdata).setStr(INDEX_KEY.LINK_COUNT, INDEX_KEY.PENDING_COUNT);
}

/**
 * Looks the inode up by gfid on these children, for its marks and locks in the set's domain. A copy that has
 * no name any more is asked through `fd`. Never rejects.
 */
export async function askCopies(
  set: ReplicaSet,
  children: ChildSet,
  inode: Inode,
  fd?: Fd,
): Promise<Outcomes<CopyReply>> {
  const xdata = askForState(set).setStr(LOCK_KEY.INODELK_DOM_COUNT, set.name);
  const call = internalCall();
  const found: Outcomes<CopyReply> = await fanoutTo(set, children, "lookup", call, { loc: { inode }, xdata });
  if (fd === undefined || fd.anonymous) return found;
  const nameless = absences(found);
  if (nameless === NO_CHILDREN) return found;
  const byFd: Outcomes<CopyReply> = await fanoutTo(set, nameless, "fstat", call, { fd, xdata });
  return found.map((outcome, child) => byFd[child] ?? outcome);
}

/** Whether all copies are good. */
function isWhole({ dataChildren }: ReplicaSet, { readableData, readableMetadata }: InodeState): boolean {
  return (readableData & readableMetadata) === dataChildren;
}

/** Without them a file can be neither read nor told about. */
function hasGoodCopies(state: InodeState): boolean {
  return state.readableData !== NO_CHILDREN && state.readableMetadata !== NO_CHILDREN;
}
