/**
 * What this client knows of the copies of each inode: which of them may be read (spec translators.md 4.5).
 *
 * A state is fresh while the set's generation is the one it was learned at; children that come and go make all
 * states stale, a failed operation the state of its inode. `ensureFresh` asks the bricks again, once for all
 * who wait. What `markBad` takes away stays away, whatever the bricks say, until `invalidate`: between the
 * failure of a copy and its mark on the others' disks nobody but this client knows.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import type { FopError } from "../../../src/core/errors.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { LOCK_KEY } from "../../../src/core/keys.ts";
import { requestRow, type Slot } from "./changelog.ts";
import { type ChildSet, NO_CHILDREN, withChild } from "./child-set.ts";
import { fanoutTo, mergedError, noQuorum, type Outcomes, successes } from "./fan-out.ts";
import { type CopyReply, type Readable, readableOf } from "./readable.ts";
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
  /** Copy that a person chose to read in a split brain, -1 for none. */
  readonly splitBrainChoice: number;
}

class State implements InodeState {
  generation = 0;
  readableData: ChildSet = NO_CHILDREN;
  readableMetadata: ChildSet = NO_CHILDREN;
  answered: ChildSet = NO_CHILDREN;
  splitBrainChoice = -1;
  /** Taken away by markBad. */
  badData: ChildSet = NO_CHILDREN;
  badMetadata: ChildSet = NO_CHILDREN;
  /** Grows with markBad and invalidate: answers to questions from before are not the last word. */
  version = 0;
  refreshing: Promise<void> | undefined;
}

/** An answer that was overtaken is asked again; who is overtaken as often as this takes what there is. */
const ATTEMPTS_MAX = 4;

export class InodeStates {
  readonly #set: ReplicaSet;
  readonly #states = new WeakMap<Inode, State>();

  constructor(set: ReplicaSet) {
    this.#set = set;
  }

  /** What is known now; generation 0 when nothing is. */
  peek(inode: Inode): InodeState {
    return this.#of(inode);
  }

  isFresh(inode: Inode): boolean {
    return this.#states.get(inode)?.generation === this.#set.generation;
  }

  /**
   * The state, asked of all up children unless it is fresh. `fd` finds copies of a file without a name.
   * Rejects with the children's merged error, or ENOTCONN, when those that answered are no quorum.
   */
  async ensureFresh(_call: Call, inode: Inode, fd?: Fd): Promise<InodeState> {
    const state = this.#of(inode);
    for (let attempt = 0; state.generation !== this.#set.generation && attempt < ATTEMPTS_MAX; attempt++) {
      state.refreshing ??= this.#refresh(inode, state, fd);
      await state.refreshing;
    }
    return state;
  }

  /** Takes what replies to a lookup told; they were asked for when `askedAt` was the generation. */
  learn(inode: Inode, outcomes: Outcomes<CopyReply>, askedAt: number): Readable {
    const readable = readableOf(this.#set, outcomes);
    this.#take(this.#of(inode), readable, askedAt);
    return readable;
  }

  /** An object that was made just now, after `askedAt`, on these children. */
  learnNew(inode: Inode, children: ChildSet, askedAt: number): void {
    const data = children & this.#set.dataChildren;
    const state = this.#of(inode);
    state.generation = askedAt;
    state.answered = children;
    state.readableData = data & ~state.badData;
    state.readableMetadata = data & ~state.badMetadata;
  }

  /** What is known may hold no longer; copies that were marked bad stay so. */
  expire(inode: Inode): void {
    const state = this.#states.get(inode);
    if (state === undefined) return;
    state.generation = 0;
    state.version++;
  }

  /** Nothing known holds any more, bad copies included: their marks are on disk, or nobody is to blame. */
  invalidate(inode: Inode): void {
    const state = this.#states.get(inode);
    if (state === undefined) return;
    state.badData = NO_CHILDREN;
    state.badMetadata = NO_CHILDREN;
    this.expire(inode);
  }

  /** This copy missed an operation: it is not read until `invalidate` and a refresh. */
  markBad(inode: Inode, child: number, slot: Slot): void {
    const state = this.#of(inode);
    state.version++;
    if (slot === "metadata") state.badMetadata = withChild(state.badMetadata, child);
    else state.badData = withChild(state.badData, child);
    state.readableData &= ~state.badData;
    state.readableMetadata &= ~state.badMetadata;
  }

  /** The copy to read though it is in split brain; -1 takes the choice back. */
  chooseInSplitBrain(inode: Inode, child: number): void {
    this.#of(inode).splitBrainChoice = child;
  }

  #of(inode: Inode): State {
    let state = this.#states.get(inode);
    if (state === undefined) {
      state = new State();
      this.#states.set(inode, state);
    }
    return state;
  }

  async #refresh(inode: Inode, state: State, fd: Fd | undefined): Promise<void> {
    const set = this.#set;
    const { generation } = set;
    const { version } = state;
    try {
      const outcomes = await askCopies(set, set.up, inode, fd);
      if (!set.hasQuorum(successes(outcomes))) throw mergedError(outcomes) ?? noQuorum(set, "lookup");
      // Overtaken: kept as the best there is, yet stale.
      this.#take(state, readableOf(set, outcomes), version === state.version ? generation : 0);
    } finally {
      state.refreshing = undefined;
    }
  }

  #take(state: State, readable: Readable, generation: number): void {
    state.generation = generation;
    state.answered = readable.answered;
    state.readableData = readable.data & ~state.badData;
    state.readableMetadata = readable.metadata & ~state.badMetadata;
  }
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
  const xdata = requestRow(set.pendingKeys).setStr(LOCK_KEY.INODELK_DOM_COUNT, set.name);
  const call = internalCall();
  const found: Outcomes<CopyReply> = await fanoutTo(set, children, "lookup", call, { loc: { inode }, xdata });
  if (fd === undefined || fd.anonymous) return found;
  const nameless = found.reduce(
    (some, outcome, child) =>
      outcome?.ok === false && isGone(outcome.error) ? withChild(some, child) : some,
    NO_CHILDREN,
  );
  if (nameless === NO_CHILDREN) return found;
  const byFd: Outcomes<CopyReply> = await fanoutTo(set, nameless, "fstat", call, { fd, xdata });
  return found.map((outcome, child) => byFd[child] ?? outcome);
}

function isGone(error: FopError): boolean {
  return error.code === "ENOENT" || error.code === "ESTALE";
}
