/**
 * One operation on an inode, on all copies or marked on those that did it: lock, pre-op, operation, post-op,
 * unlock (spec translators.md 4.4; GlusterFS afr-transaction.c, afr-inode-write.c).
 *
 * Lock and marks are shared with the operations before and after it (eager-lock.ts, batch.ts), so that in the
 * steady state only the operation itself goes to the bricks, to all at once. The caller hears of success when
 * no copy missed anything, or when that is marked. Payloads are lent to all children, never copied.
 */

import type { Call } from "../../../src/core/call.ts";
import { allSettled } from "../../../src/core/concurrency.ts";
import type { Dict } from "../../../src/core/dict.ts";
import { type FopError, toFopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import { ZERO_IATT } from "../../../src/core/iatt.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import type { IoVec } from "../../../src/core/iovec.ts";
import { LOCK_KEY } from "../../../src/core/keys.ts";
import { wind } from "../../../src/core/xlator.ts";
import type { Batch, InodeSlot } from "./batch.ts";
import { type ChildSet, childrenOf, firstChild, hasChild, NO_CHILDREN, only } from "./child-set.ts";
import type { EagerLock, Holder } from "./eager-lock.ts";
import type { EagerLocks } from "./eager-locks.ts";
import { errorRank, failures, fanoutTo, noQuorum, saysAbsent } from "./fan-out.ts";
import type { InodeStates } from "./inode-state.ts";
import { inodeVerdict } from "./inode-verdict.ts";
import type { OpenFiles } from "./open-files.ts";
import type { QuorumGate } from "./quorum-gate.ts";
import { isObjectRemoved, mayBeRemoved, removedError } from "./removed.ts";
import type { ReplicaSet } from "./replica-set.ts";
import { isAddition, negated, outvoted } from "./sums.ts";

/** What changes an inode. */
export type InodeFop =
  | "writev"
  | "truncate"
  | "ftruncate"
  | "fallocate"
  | "discard"
  | "zerofill"
  | "fsync"
  | "setattr"
  | "fsetattr"
  | "setxattr"
  | "fsetxattr"
  | "removexattr"
  | "fremovexattr"
  | "xattrop"
  | "fxattrop";

/** One operation. Fields are as Holder says. */
export class InodeOp<F extends InodeFop = InodeFop> implements Holder {
  readonly fop: F;
  readonly call: Call;
  readonly args: Args<F>;
  readonly inode: Inode;
  readonly fd: Fd | undefined;
  readonly slot: InodeSlot;
  readonly start: number;
  readonly end: number;
  mayLinger = false;
  /** Of a write: bytes lent, which every copy has to take; 0 otherwise. */
  size = 0;
  /** It is on disk when it is answered. */
  isStable = false;
  /** Done twice it leaves what it leaves when done once. */
  isRepeatable = true;
  /** Its replies tell whether somebody waits for the lock, when asked. */
  tellsContention = false;

  constructor(
    fop: F,
    call: Call,
    args: Args<F>,
    subject: { readonly inode: Inode; readonly fd?: Fd },
    slot: InodeSlot,
    start: number,
    end: number,
  ) {
    this.fop = fop;
    this.call = call;
    this.args = args;
    this.inode = subject.inode;
    this.fd = subject.fd;
    this.slot = slot;
    this.start = start;
    this.end = end;
  }
}

/** Where transactions run, one for all of a set. */
export interface InodeContext {
  readonly set: ReplicaSet;
  readonly states: InodeStates;
  readonly gate: QuorumGate;
  readonly files: OpenFiles;
  readonly locks: EagerLocks;
}

type Results<F extends FopName> = readonly PromiseSettledResult<Reply<F> | undefined>[];

const NOTHING_SENT = Promise.resolve(undefined);
/** What an arbiter gets instead of a payload, as GlusterFS sends it. */
const ARBITER_DATA: IoVec = [Buffer.from([0xff])];

/** Runs one operation; with `quorum-loss-policy suspend` for as long as it takes. */
export function runInodeOp<F extends InodeFop>(context: InodeContext, op: InodeOp<F>): Promise<Reply<F>> {
  const { gate } = context;
  if (gate.isPatient && op.isRepeatable) return gate.persist(op.fop, op.call, () => transact(context, op));
  return transact(context, op);
}

async function transact<F extends InodeFop>(context: InodeContext, op: InodeOp<F>): Promise<Reply<F>> {
  const { set, gate, files, states } = context;
  const quorum = gate.enter(op.fop, op.call);
  if (quorum) await quorum;
  const reopening = op.fd && files.ready(op.fd);
  if (reopening) {
    await reopening;
    files.checkLocks(op.fd!, op.fop);
  }
  if (op.slot === "metadata" && !states.isFresh(op.inode)) await states.ensureFresh(op.call, op.inode, op.fd);
  const lock = context.locks.of(op.inode, op.slot);
  const entering = lock.enter(op);
  if (entering) await entering;
  try {
    const { batch } = lock;
    const beginning = batch.begin(lock, op.fop, states.knownGood(op.inode, op.slot));
    if (beginning) {
      try {
        await beginning;
      } catch (error) {
        states.expire(op.inode);
        throw error;
      }
      // A copy that could not take part is blamed by now; others may have been blamed by other clients.
      if (batch.isWounded || isNewlyAccused(context, op, batch)) states.invalidate(op.inode);
      if (op.slot === "data") states.prove(op.inode, batch.sources);
    }
    if (op.fop === "fsync") batch.beforeSync();
    const asked = batch.good;
    batch.ranges?.add(op.start, op.end - op.start);
    const results = await perform(set, op, argsOf(op, lock), asked);
    const outcome = new Outcome(set, op, asked, results);
    const done = outcome.succeeded;
    outcome.succeeded &= ~outvoted(op, results, batch.blameless);
    if (!op.isStable) batch.unsynced = true;
    if (outcome.contended) lock.contended();
    if (outcome.succeeded !== asked) await settleFailure(context, op, lock, outcome, done);
    const blaming = batch.blame(lock, op.fop, NO_CHILDREN);
    if (blaming) {
      await blaming;
      states.invalidate(op.inode);
    }
    return answer(context, op, batch, outcome);
  } finally {
    lock.leave(op);
  }
}

/** The pre-op found blame on a copy that is read so far. */
function isNewlyAccused<F extends InodeFop>(
  { set, states }: InodeContext,
  { inode, slot }: InodeOp<F>,
  { sources }: Batch,
): boolean {
  const { readableData, readableMetadata } = states.peek(inode);
  const readable = slot === "data" ? readableData : readableMetadata;
  return (readable & set.dataChildren & ~sources) !== NO_CHILDREN;
}

/** The args to send: now and then they ask who waits for the lock. */
function argsOf<F extends InodeFop>({ args, tellsContention, size }: InodeOp<F>, lock: EagerLock): Args<F> {
  const request = tellsContention ? lock.countRequest(size) : undefined;
  return request === undefined ? args : { ...args, xdata: withRequest(args.xdata, request) };
}

/** xdata with one more request; `request` itself is shared by all calls that bring none. */
export function withRequest(given: Dict | undefined, request: Dict): Dict {
  if (given === undefined) return request;
  const both = given.clone();
  for (const [key, value] of request) both.set(key, value);
  return both;
}

function perform<F extends InodeFop>(
  set: ReplicaSet,
  op: InodeOp<F>,
  args: Args<F>,
  asked: ChildSet,
): Promise<Results<F>> {
  const { fop, call } = op;
  const sent: Promise<Reply<F> | undefined>[] = [];
  for (let child = 0; child < set.count; child++) {
    if (!hasChild(asked, child)) sent.push(NOTHING_SENT);
    else if (child === set.arbiter && op.size > 0)
      sent.push(wind(set.children[child]!, fop, call, { ...args, data: ARBITER_DATA }));
    else sent.push(wind(set.children[child]!, fop, call, args));
  }
  return allSettled(sent);
}

/** How the copies answered. */
class Outcome<F extends InodeFop> {
  readonly asked: ChildSet;
  readonly results: Results<F>;
  /** Without the ones that wrote less than another. */
  succeeded: ChildSet = NO_CHILDREN;
  /** Somebody else waits for the lock. */
  contended = false;
  /** Most bytes that a copy wrote. */
  size = 0;

  constructor(set: ReplicaSet, op: InodeOp<F>, asked: ChildSet, results: Results<F>) {
    this.asked = asked;
    this.results = results;
    for (let child = 0; child < results.length; child++) {
      const result = results[child]!;
      if (result.status !== "fulfilled" || result.value === undefined) continue;
      this.succeeded |= 1 << child;
      const { xdata } = result.value;
      if (xdata !== undefined && (xdata.number(LOCK_KEY.INODELK_COUNT) ?? 0) > 1) this.contended = true;
      if (op.size === 0) continue;
      this.size = Math.max(this.size, this.#written(set, op, child));
    }
    if (op.size === 0 || this.succeeded === NO_CHILDREN) return;
    for (let child = 0; child < results.length; child++)
      if (hasChild(this.succeeded, child) && this.#written(set, op, child) < this.size)
        this.succeeded &= ~(1 << child);
  }

  reply(child: number): Reply<F> {
    const result = this.results[child]!;
    if (result.status === "fulfilled" && result.value !== undefined) return result.value;
    throw new Error("replicate: no reply where there must be one");
  }

  error(child: number): FopError | undefined {
    const result = this.results[child]!;
    return result.status === "rejected" ? toFopError(result.reason) : undefined;
  }

  /** The error that tells most. */
  get merged(): FopError | undefined {
    let best: FopError | undefined;
    for (const child of childrenOf(this.asked)) {
      const error = this.error(child);
      if (error && (best === undefined || errorRank(error) >= errorRank(best))) best = error;
    }
    return best;
  }

  /** All refused, for one reason that means that nothing was changed. */
  get refusedAlike(): boolean {
    const codes = new Set(childrenOf(this.asked).map((child) => this.error(child)?.code));
    return codes.size === 1 && !codes.has("ENOTCONN") && !codes.has("EIO") && !codes.has(undefined);
  }

  /** Whether it was done on copies alone that have missed the removal of the object. */
  async isOfRemoved(set: ReplicaSet, { gfid }: Inode): Promise<boolean> {
    const copies = { found: this.succeeded, missing: NO_CHILDREN };
    for (const child of childrenOf(this.asked)) {
      const error = this.error(child);
      if (error && saysAbsent(error)) copies.missing |= only(child);
    }
    return mayBeRemoved(set, copies) && (await isObjectRemoved(set, gfid, copies));
  }

  #written(set: ReplicaSet, op: InodeOp<F>, child: number): number {
    const { size } = this.reply(child) as Reply<"writev">;
    return child === set.arbiter && size === 1 ? op.size : size;
  }
}

/** Not all copies did it as it should be: blames those, or throws what the caller is to hear. */
async function settleFailure<F extends InodeFop>(
  { set, states }: InodeContext,
  op: InodeOp<F>,
  lock: EagerLock,
  outcome: Outcome<F>,
  done: ChildSet,
): Promise<void> {
  const { batch } = lock;
  const { asked, succeeded } = outcome;
  const verdict = inodeVerdict({
    asked,
    succeeded,
    sources: batch.sources,
    refusedAlike: outcome.refusedAlike && op.fop !== "fsync",
    hasQuorum: (children) => set.hasQuorum(children),
  });
  const error = outcome.merged ?? noQuorum(set, op.fop);
  if (verdict.kind === "refused") throw error;
  const isRemoved = verdict.kind === "done" && (await outcome.isOfRemoved(set, op.inode));
  for (const child of childrenOf(verdict.failed)) states.markBad(op.inode, child, op.slot);
  const codes = childrenOf(verdict.failed).map((child) => outcome.error(child)?.code ?? "less or other");
  set.log.info("copies missed an operation", { fop: op.fop, copies: verdict.failed, codes, ...verdict });
  try {
    if (verdict.kind === "done" && !isRemoved) return await batch.blame(lock, op.fop, verdict.failed);
    await batch.poison(lock, asked);
    if (isAddition(op.fop, op.args)) await takeBack(set, op, done);
    if (isRemoved) throw removedError(set, op.fop);
    if (verdict.kind !== "last-source") throw error;
    throw outcome.error(firstChild(batch.sources & verdict.failed)) ?? error;
  } finally {
    states.invalidate(op.inode);
  }
}

/** Where that fails too, the copies are dirty. */
async function takeBack<F extends InodeFop>(set: ReplicaSet, op: InodeOp<F>, done: ChildSet): Promise<void> {
  const args = negated(op.args as Args<"xattrop">) as Args<F>;
  const failed = failures(await fanoutTo(set, done, op.fop, op.call, args));
  if (failed !== NO_CHILDREN) set.log.info("an addition could not be taken back", { copies: failed });
}

/** The reply of a good copy. */
function answer<F extends InodeFop>(
  { set, states }: InodeContext,
  op: InodeOp<F>,
  batch: Batch,
  outcome: Outcome<F>,
): Reply<F> {
  const { succeeded } = outcome;
  const sources = batch.sources & succeeded;
  const child = firstChild(states.peek(op.inode).readableData & sources || sources || succeeded);
  const chosen = outcome.reply(child);
  if (!set.options["consistent-metadata"] || !batch.isMarked || !("post" in chosen)) return chosen;
  return { ...chosen, pre: ZERO_IATT, post: ZERO_IATT };
}
