/**
 * Locks that are asked for from above (spec translators.md 4.14; GlusterFS afr-common.c): POSIX locks of
 * programs, and inodelks and entrylks of other translators. They are kept by the bricks, on a quorum of them.
 *
 * POSIX locks go to child by child in order, so that of two callers one gets the first and with it the rest.
 * Internal locks go to all at once without waiting, and when somebody is in the way again child by child.
 * What was granted where it does not suffice is given back.
 */

import type { Call } from "../../../src/core/call.ts";
import { type FopError, toFopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import { wind } from "../../../src/core/xlator.ts";
import { type ChildSet, childrenOf, NO_CHILDREN } from "./child-set.ts";
import { errorRank, fanoutTo, mergedError, noQuorum, type Outcomes, successes } from "./fan-out.ts";
import type { OpenFiles } from "./open-files.ts";
import type { QuorumGate } from "./quorum-gate.ts";
import type { ReplicaSet } from "./replica-set.ts";

type InternalLock = "inodelk" | "finodelk" | "entrylk" | "fentrylk";

export class UserLocks {
  readonly #set: ReplicaSet;
  readonly #gate: QuorumGate;
  readonly #files: OpenFiles;

  constructor(set: ReplicaSet, gate: QuorumGate, files: OpenFiles) {
    this.#set = set;
    this.#gate = gate;
    this.#files = files;
  }

  async lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    await this.#files.ready(args.fd);
    if (args.flock.type === "unlck" && args.cmd !== "getlk") return this.#unlock("lk", call, args);
    await this.#gate.enter("lk", call);
    return args.cmd === "getlk" ? this.#test(call, args) : this.#lock(call, args);
  }

  async internal<F extends InternalLock>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const { fd } = args as Partial<Args<"finodelk">>;
    if (fd) await this.#files.ready(fd);
    if (isUnlock(args as Args<InternalLock>)) return this.#unlock(fop, call, args);
    await this.#gate.enter(fop, call);
    const set = this.#set;
    const tried = await fanoutTo(set, set.up, fop, call, unwaiting(fop, args));
    if (!isConflict(tried)) return this.#granted(fop, call, args, tried);
    await this.#giveBack(fop, call, args, successes(tried));
    return this.#granted(fop, call, args, await this.#oneByOne(fop, call, args));
  }

  /** Whom it would meet: the first conflict that a child knows of. */
  async #test(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    const outcomes = await fanoutTo(this.#set, this.#set.up, "lk", call, args);
    const first = this.#first("lk", outcomes);
    for (const outcome of outcomes)
      if (outcome?.ok && outcome.reply.flock.type !== "unlck") return outcome.reply;
    return first;
  }

  async #lock(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    const outcomes = await this.#oneByOne("lk", call, args);
    const reply = await this.#granted("lk", call, args, outcomes);
    this.#files.locked(args.fd, successes(outcomes));
    return reply;
  }

  /** In order, up to the first conflict. */
  async #oneByOne<F extends "lk" | InternalLock>(
    fop: F,
    call: Call,
    args: Args<F>,
  ): Promise<Outcomes<Reply<F>>> {
    const outcomes: Outcomes<Reply<F>>[number][] = this.#set.children.map(() => undefined);
    for (const child of childrenOf(this.#set.up)) {
      const target = this.#set.children[child]!;
      try {
        outcomes[child] = { ok: true, reply: await wind(target, fop, call, args) };
      } catch (caught) {
        const error = toFopError(caught, { fop, xlator: target.name });
        outcomes[child] = { ok: false, error };
        if (endsSearch(error)) break;
      }
    }
    return outcomes;
  }

  /** The reply, when the children that granted it are a quorum and none is in conflict. */
  async #granted<F extends "lk" | InternalLock>(
    fop: F,
    call: Call,
    args: Args<F>,
    outcomes: Outcomes<Reply<F>>,
  ): Promise<Reply<F>> {
    const granted = successes(outcomes);
    const refusal = outcomes.find((outcome) => outcome?.ok === false && endsSearch(outcome.error));
    if (refusal === undefined && granted !== NO_CHILDREN && this.#set.hasQuorum(granted))
      return this.#first(fop, outcomes);
    await this.#giveBack(fop, call, args, granted);
    if (refusal?.ok === false) throw refusal.error;
    throw mergedError(outcomes) ?? noQuorum(this.#set, fop);
  }

  /** Everywhere, also where it may not be held. A child that is gone has no locks. */
  async #unlock<F extends "lk" | InternalLock>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const outcomes = await fanoutTo(this.#set, this.#set.up, fop, call, args);
    return this.#first(fop, outcomes);
  }

  async #giveBack<F extends "lk" | InternalLock>(
    fop: F,
    call: Call,
    args: Args<F>,
    children: ChildSet,
  ): Promise<void> {
    const { signal: _, ...patient } = call;
    const outcomes = await fanoutTo(this.#set, children, fop, patient, unlocking(fop, args));
    const error = mergedError(outcomes);
    if (error && errorRank(error) >= 0)
      this.#set.log.warn("a lock could not be given back", { fop, code: error.code });
  }

  #first<F extends FopName>(fop: F, outcomes: Outcomes<Reply<F>>): Reply<F> {
    for (const outcome of outcomes) if (outcome?.ok) return outcome.reply;
    throw mergedError(outcomes) ?? noQuorum(this.#set, fop);
  }
}

function isConflict(outcomes: Outcomes<unknown>): boolean {
  return outcomes.some((outcome) => outcome?.ok === false && outcome.error.code === "EAGAIN");
}

/** The other children need not be asked: somebody has it, or the caller gave up. */
function endsSearch({ code }: FopError): boolean {
  return code === "EAGAIN" || code === "EINTR" || code === "EDEADLK";
}

function isUnlock(args: Args<InternalLock>): boolean {
  return "flock" in args ? args.flock.type === "unlck" : args.cmd === "unlock";
}

/** The same request, answered at once. */
function unwaiting<F extends InternalLock>(fop: F, args: Args<F>): Args<F> {
  return { ...args, cmd: isInodelk(fop) ? "setlk" : "lock-nb" };
}

function unlocking<F extends "lk" | InternalLock>(fop: F, args: Args<F>): Args<F> {
  if (fop !== "lk" && !isInodelk(fop)) return { ...args, cmd: "unlock" };
  const { flock } = args as Args<"lk">;
  return { ...args, cmd: "setlk", flock: { ...flock, type: "unlck" } };
}

function isInodelk(fop: FopName): boolean {
  return fop === "inodelk" || fop === "finodelk";
}
