/**
 * Operations on names, on all copies or marked on those that did them: lock the names, say in the
 * directories' dirty counts that something begins, do it, mark who missed it, unlock (spec translators.md
 * 4.4; GlusterFS afr-dir-write.c, afr-transaction.c). Who may be blamed: entry-blame.ts.
 *
 * With all copies locked the beginning is not announced (optimistic-change-log): a client that dies in
 * between leaves names that differ, which lookup notices. The caller hears of success when no copy missed
 * anything, or when that is marked on those that missed nothing. Needs below: entrylk, xattrop, index.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { type ErrnoName, FopError } from "../../../src/core/errors.ts";
import { type Args, type Reply, XATTROP } from "../../../src/core/fops.ts";
import { type Gfid, gfidEquals } from "../../../src/core/gfid.ts";
import { S_IFMT } from "../../../src/core/iatt.ts";
import { Inode } from "../../../src/core/inode.ts";
import { INDEX_KEY, KEY } from "../../../src/core/keys.ts";
import { type ChangelogRow, countsOf, DIRTY_KEY, decodeRow, rowIncrements } from "./changelog.ts";
import { type ChildSet, hasChild, NO_CHILDREN, only } from "./child-set.ts";
import { allBlame, blamedIn, inTurn } from "./entry-blame.ts";
import { EntryLocks, type LockedName } from "./entry-locks.ts";
import { composeReply, type EntryFop, statIn, withoutStats } from "./entry-reply.ts";
import { type EntryVerdict, entryVerdict, newEntryCounts } from "./entry-verdict.ts";
import { failures, fanoutTo, mergedError, noQuorum, type Outcomes, successes } from "./fan-out.ts";
import type { Asked, InodeStates } from "./inode-state.ts";
import type { QuorumGate } from "./quorum-gate.ts";
import type { ReadPolicy } from "./read-policy.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** Errors of copies that have the name, or have it not, other than the operation needs it. */
const SAYS_OTHERWISE: ReadonlySet<ErrnoName> = new Set(["EEXIST", "ENOENT", "ESTALE", "ENOTDIR", "EISDIR"]);
const NO_ERRORS: ReadonlyMap<number, ErrnoName> = new Map();

/** One operation: what it is and which names it is about. */
export interface EntryPlan<F extends EntryFop> {
  readonly fop: F;
  readonly args: Args<F>;
  /** Directory and name, once for each xattrop: a rename has two, also within one directory. */
  readonly changed: readonly { readonly parent: Inode; readonly name: string }[];
  readonly locked: readonly LockedName[];
  /** The object that it makes, and whether copies without it are to be marked on it. */
  readonly made?: { readonly inode: Inode; readonly marked: boolean };
  /** Objects about which something is no longer known when a copy fails. */
  readonly subjects: readonly Inode[];
}

/** Where it runs, one for all transactions of a set. */
export interface EntryContext {
  readonly set: ReplicaSet;
  readonly states: InodeStates;
  readonly policy: ReadPolicy;
  readonly gate: QuorumGate;
}

/**
 * Runs one transaction. `after` gets the promise of what goes on after the reply; it never rejects. Without
 * quorum it waits at its beginning, if the volume wants that; once something was done it fails instead.
 */
export async function runEntry<F extends EntryFop>(
  context: EntryContext,
  call: Call,
  plan: EntryPlan<F>,
  after: (rest: Promise<void>) => void,
): Promise<{ readonly reply: Reply<F>; readonly good: ChildSet }> {
  const { transaction, locks } = await context.gate.persist(plan.fop, call, () =>
    begin(context, call, plan, after),
  );
  try {
    return await transaction.run();
  } finally {
    after(locks.release());
  }
}

/** Locks and announces; when that fails nothing is left of it. */
async function begin<F extends EntryFop>(
  context: EntryContext,
  call: Call,
  plan: EntryPlan<F>,
  after: (rest: Promise<void>) => void,
): Promise<{ transaction: EntryTransaction<F>; locks: EntryLocks }> {
  const { set } = context;
  const locks = await EntryLocks.take(set, call, plan.locked);
  try {
    const { children } = locks;
    if (children === NO_CHILDREN || !set.hasQuorum(children)) throw locks.error ?? noQuorum(set, plan.fop);
    const transaction = new EntryTransaction(context, call, plan, children);
    await transaction.preOp();
    return { transaction, locks };
  } catch (error) {
    after(locks.release());
    throw error;
  }
}

class EntryTransaction<F extends EntryFop> {
  readonly #set: ReplicaSet;
  readonly #context: EntryContext;
  readonly #call: Call;
  readonly #plan: EntryPlan<F>;
  readonly #locked: ChildSet;
  readonly #begun: Asked;
  /** Children that take part: fewer with each step that one of them fails. */
  #asked: ChildSet;
  #dirtied = false;
  /** Copies that have another object under the name that was to be made. */
  #others: ChildSet = NO_CHILDREN;
  /** By directory that changes, then by child: blame that the pre-op saw. */
  #rows: readonly (readonly (ChangelogRow | undefined)[])[] = [];

  constructor(context: EntryContext, call: Call, plan: EntryPlan<F>, locked: ChildSet) {
    this.#context = context;
    this.#set = context.set;
    this.#call = call;
    this.#plan = plan;
    this.#locked = locked;
    this.#asked = locked;
    this.#begun = context.states.now();
  }

  async run(): Promise<{ reply: Reply<F>; good: ChildSet }> {
    const answers = await this.#operate();
    const outcomes = this.#sameGfid(answers);
    const verdict = await this.#judge(outcomes);
    const good = successes(outcomes);
    const marked = await this.#mark(verdict, outcomes);
    this.#learn(outcomes, verdict);
    if (!verdict.ok || (verdict.blamed !== NO_CHILDREN && !this.#set.hasQuorum(marked & good))) {
      this.#closeFailed(successes(answers));
      const told = verdict.ok || verdict.inDoubt ? withoutRefusals(outcomes) : outcomes;
      throw mergedError(told) ?? noQuorum(this.#set, this.#plan.fop);
    }
    return { reply: this.#reply(outcomes, good), good };
  }

  /** Raises dirty, unless all copies are at hand; who cannot do even that takes no part. */
  async preOp(): Promise<void> {
    const set = this.#set;
    if (set.options["optimistic-change-log"] && this.#locked === set.all) return;
    this.#dirtied = true;
    const results = await this.#xattrop(this.#locked, NO_CHILDREN, 1, INDEX_KEY.ENTRY_CREATE);
    const failed = results.reduce((some, outcomes) => some | failures(outcomes), NO_CHILDREN);
    this.#asked = this.#locked & ~failed;
    this.#rows = results.map((outcomes) =>
      outcomes.map((outcome) => (outcome?.ok ? decodeRow(outcome.reply.xattrs, set.pendingKeys) : undefined)),
    );
    const why = set.hasQuorum(this.#asked)
      ? this.#whyNot()
      : (mergedError(results.flat()) ?? noQuorum(set, this.#plan.fop));
    if (why === undefined) return;
    await this.#xattrop(this.#asked, NO_CHILDREN, -1, undefined);
    throw why;
  }

  /** Copies that could not be trusted to have done it all are away: then somebody who has must be there. */
  #whyNot(): FopError | undefined {
    const set = this.#set;
    if (this.#locked === set.all) return undefined;
    const blameless = this.#rows.reduce((some, rows) => some & ~blamedIn(rows), this.#asked);
    // The arbiter knows the names, yet none of the data that may be behind them.
    const message =
      set.arbiter >= 0 && blameless === only(set.arbiter)
        ? "only the arbiter is good"
        : blameless === NO_CHILDREN && set.quorum.type !== "none"
          ? "the good copies of the directory are away"
          : undefined;
    return message === undefined
      ? undefined
      : new FopError("ENOTCONN", { fop: this.#plan.fop, xlator: set.name, message });
  }

  /**
   * Copies whose directory is behind come second, and only when a good one did it: what good copies refuse,
   * a copy that lacks the name or still has it might do, and would differ from them ever after.
   */
  async #operate(): Promise<Outcomes<Reply<F>>> {
    const behind = await this.#behind();
    const first = await this.#send(this.#asked & ~behind);
    if (behind === NO_CHILDREN || successes(first) === NO_CHILDREN) return first;
    const second = await this.#send(behind);
    return first.map((outcome, child) => outcome ?? second[child]);
  }

  #send(children: ChildSet): Promise<Outcomes<Reply<F>>> {
    return fanoutTo(this.#set, children, this.#plan.fop, this.#call, this.#plan.args);
  }

  /** Copies of which a directory is known to have missed something; none when that is so of all. */
  async #behind(): Promise<ChildSet> {
    const { states } = this.#context;
    let behind = NO_CHILDREN;
    for (const { parent } of this.#plan.changed) {
      try {
        const state = await states.ensureFresh(this.#call, parent);
        behind |= state.accusedData & this.#asked;
      } catch {
        // The operation itself finds out what is wrong with the directory.
      }
    }
    return behind === this.#asked ? NO_CHILDREN : behind;
  }

  /**
   * A copy that had another object under the name (create may open what is there) did not do what was asked
   * for. Where all have the same one, it is what the caller gets.
   */
  #sameGfid(outcomes: Outcomes<Reply<F>>): Outcomes<Reply<F>> {
    const wanted = this.#wantedGfid();
    const first = outcomes.find((outcome) => outcome?.ok);
    const found = first?.ok ? statIn(first.reply)?.gfid : undefined;
    if (!wanted || !found || outcomes.every((outcome) => !outcome?.ok || hasGfid(outcome.reply, found)))
      return outcomes;
    const { fop } = this.#plan;
    return outcomes.map((outcome, child) => {
      if (!outcome?.ok || hasGfid(outcome.reply, wanted)) return outcome;
      this.#others |= only(child);
      const message = "the name belongs to another object on this copy";
      const error = new FopError("EIO", { fop, xlator: this.#set.children[child]!.name, message });
      return { ok: false, error };
    });
  }

  #wantedGfid(): Gfid | undefined {
    return this.#plan.made ? this.#plan.args.xdata?.gfid(KEY.GFID_REQ) : undefined;
  }

  /**
   * The copies that did it, if all of them are behind others that have the name otherwise: another client
   * changed it without them, and what this one knew of the directory was older. Where a rule of quorum has
   * only one of the two sides be enough, it needs no asking.
   */
  async #overruled(done: ChildSet, errors: ReadonlyMap<number, ErrnoName>): Promise<ChildSet> {
    const set = this.#set;
    let refusing = NO_CHILDREN;
    for (const [child, code] of errors) if (SAYS_OTHERWISE.has(code)) refusing |= only(child);
    if (!set.hasQuorum(done) || !set.hasQuorum(refusing)) return NO_CHILDREN;
    for (const { parent } of this.#plan.changed) this.#context.states.expire(parent);
    const behind = await this.#behind();
    return (done & ~behind) === NO_CHILDREN && (refusing & ~behind) !== NO_CHILDREN ? done : NO_CHILDREN;
  }

  #errors(outcomes: Outcomes<Reply<F>>): ReadonlyMap<number, ErrnoName> {
    if (failures(outcomes) === NO_CHILDREN) return NO_ERRORS;
    const errors = new Map<number, ErrnoName>();
    for (const [child, outcome] of outcomes.entries())
      if (outcome?.ok === false)
        errors.set(child, hasChild(this.#others, child) ? "EEXIST" : outcome.error.code);
    return errors;
  }

  async #judge(outcomes: Outcomes<Reply<F>>): Promise<EntryVerdict> {
    const set = this.#set;
    const succeeded = successes(outcomes);
    const errors = this.#errors(outcomes);
    const overruled = errors.size === 0 ? NO_CHILDREN : await this.#overruled(succeeded, errors);
    const verdict = entryVerdict({
      all: set.all,
      asked: this.#asked,
      succeeded,
      overruled,
      errors,
      dirtied: this.#dirtied,
      quorumRules: set.quorum.type !== "none",
      hasQuorum: (children) => set.hasQuorum(children),
    });
    if (verdict.lostQuorum)
      set.log.warn("an operation on names did not reach a quorum of copies", { fop: this.#plan.fop });
    return verdict;
  }

  /**
   * The post-op, and beside it the marks of a new object. The children on which all marks went well; none
   * when nobody may be blamed (entry-blame.ts): then a heal has to look.
   */
  #mark(verdict: EntryVerdict, outcomes: Outcomes<Reply<F>>): Promise<ChildSet> {
    const { markOn, blamed } = verdict;
    const isKnown = (rows: readonly (ChangelogRow | undefined)[]): boolean => allBlame(rows, markOn, blamed);
    const isNew = this.#rows.length === 0 || !this.#rows.every(isKnown);
    if (blamed === NO_CHILDREN || !isNew || this.#set.quorum.type === "none")
      return this.#markOn(markOn, verdict, outcomes);
    const directories = this.#plan.changed.map(({ parent }) => parent);
    return inTurn(this.#set, directories, markOn, async (able) => {
      if (able !== NO_CHILDREN) return this.#markOn(able, verdict, outcomes);
      this.#set.log.warn("no copy may be blamed, as all others are", { fop: this.#plan.fop, blamed });
      if (!this.#dirtied) await this.#xattrop(successes(outcomes), NO_CHILDREN, 1, INDEX_KEY.ENTRY_CREATE);
      return NO_CHILDREN;
    });
  }

  async #markOn(on: ChildSet, verdict: EntryVerdict, outcomes: Outcomes<Reply<F>>): Promise<ChildSet> {
    if (on === NO_CHILDREN) return NO_CHILDREN;
    const { blamed, dirty } = verdict;
    const [results] = await Promise.all([
      this.#xattrop(on, blamed, dirty, this.#granularEnd(verdict)),
      verdict.ok ? this.#markNewEntry(outcomes, on, blamed) : undefined,
    ]);
    return results.reduce((all, one) => all & successes(one), on);
  }

  /** Which names differ is known until a post-op that finds all copies equal. */
  #granularEnd({ ok, blamed, lostQuorum }: EntryVerdict): string | undefined {
    const asked = this.#asked & blamed;
    if (lostQuorum || asked !== NO_CHILDREN) return INDEX_KEY.ENTRY_CREATE;
    return ok && blamed === NO_CHILDREN ? INDEX_KEY.ENTRY_DELETE : undefined;
  }

  async #markNewEntry(outcomes: Outcomes<Reply<F>>, on: ChildSet, blamed: ChildSet): Promise<void> {
    const { made } = this.#plan;
    if (!made?.marked || blamed === NO_CHILDREN) return;
    const done = outcomes.find((outcome) => outcome?.ok);
    const stat = done?.ok ? statIn(done.reply) : undefined;
    if (stat === undefined) return;
    const set = this.#set;
    const counts = newEntryCounts(stat.mode, set.options["granular-entry-heal"]);
    const xattrs = rowIncrements(set.pendingKeys, (child) => (hasChild(blamed, child) ? counts : undefined));
    xattrs.delete(DIRTY_KEY);
    const loc = { inode: new Inode(stat.gfid, stat.mode & S_IFMT) };
    const marks = await fanoutTo(set, on, "xattrop", internalCall(), { loc, op: XATTROP.ADD_ARRAY, xattrs });
    const failed = failures(marks);
    if (failed !== NO_CHILDREN) set.log.warn("a new object could not be marked", { failed });
  }

  /** On each directory that changes; the names go along when names are recorded one by one. */
  #xattrop(
    children: ChildSet,
    blamed: ChildSet,
    dirty: number,
    granular: string | undefined,
  ): Promise<Outcomes<Reply<"xattrop">>[]> {
    const set = this.#set;
    const one = countsOf("entry", 1);
    const xattrs = rowIncrements(
      set.pendingKeys,
      (child) => (hasChild(blamed, child) ? one : undefined),
      countsOf("entry", dirty),
    );
    return Promise.all(
      this.#plan.changed.map(({ parent, name }) =>
        fanoutTo(set, children, "xattrop", internalCall(), {
          loc: { inode: parent },
          op: XATTROP.ADD_ARRAY,
          xattrs,
          ...(granular && set.options["granular-entry-heal"]
            ? { xdata: new Dict().setStr(granular, name) }
            : {}),
        }),
      ),
    );
  }

  #learn(outcomes: Outcomes<Reply<F>>, verdict: EntryVerdict): void {
    const { states } = this.#context;
    const { changed, subjects, made } = this.#plan;
    if (failures(outcomes) !== NO_CHILDREN)
      for (const inode of [...changed.map(({ parent }) => parent), ...subjects]) states.expire(inode);
    if (!made || !verdict.ok) return;
    const wanted = this.#wantedGfid();
    const first = outcomes.find((outcome) => outcome?.ok);
    const gfid = first?.ok ? statIn(first.reply)?.gfid : undefined;
    const isNew = outcomes.every((outcome) => !outcome?.ok || !wanted || hasGfid(outcome.reply, wanted));
    if (isNew && gfid) states.learnNew(made.inode, gfid, successes(outcomes), this.#begun);
    else states.expire(made.inode);
  }

  /** An open file of a create that the caller is told to have failed belongs to nobody. */
  #closeFailed(children: ChildSet): void {
    const { args, fop } = this.#plan;
    if (fop !== "create") return;
    const { fd } = args as Args<"create">;
    for (const [index, child] of this.#set.children.entries())
      if (hasChild(children, index)) void child.release(fd);
  }

  /** Attributes of each object from the copy that later reads of it will take. */
  #reply(outcomes: Outcomes<Reply<F>>, good: ChildSet): Reply<F> {
    const { fop, changed, made, subjects } = this.#plan;
    const parent = this.#replyFor(changed.at(-1)!.parent, outcomes, good);
    const subject = made?.inode ?? subjects[0];
    const reply = composeReply(fop, {
      own: subject ? this.#replyFor(subject, outcomes, good) : parent,
      parent,
      newParent: this.#replyFor(changed[0]!.parent, outcomes, good),
    });
    return this.#set.options["consistent-metadata"] && this.#dirtied ? withoutStats(reply) : reply;
  }

  #replyFor(inode: Inode, outcomes: Outcomes<Reply<F>>, good: ChildSet): Reply<F> {
    const { states, policy } = this.#context;
    const state = states.peek(inode);
    const readable = good & state.readableData & state.readableMetadata;
    const outcome = outcomes[policy.choose(inode, readable || good & this.#set.dataChildren || good)];
    if (!outcome?.ok) throw noQuorum(this.#set, this.#plan.fop);
    return outcome.reply;
  }
}

/** What becomes of the name is in doubt: that some copies have it, or have it not, is then no answer. */
function withoutRefusals<R>(outcomes: Outcomes<R>): Outcomes<R> {
  return outcomes.map((outcome) =>
    outcome?.ok === false && SAYS_OTHERWISE.has(outcome.error.code) ? undefined : outcome,
  );
}

function hasGfid(reply: object, gfid: Gfid): boolean {
  const stat = statIn(reply);
  return stat === undefined || gfidEquals(stat.gfid, gfid);
}
