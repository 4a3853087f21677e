/**
 * Xattrs that replicate itself answers or acts on (spec translators.md 4.10; GlusterFS afr-inode-read.c,
 * afr-inode-write.c): where the copies are, the state of a split brain and its settlement, and that a copy is
 * new and empty. Marks (`trusted.afr.*`) are nobody's business above: they are neither listed nor read.
 *
 * Limits: no merging of lock records for graph switches, of quota sizes or of geo-replication times.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Timer } from "../../../src/core/env.ts";
import { type ErrnoName, FopError } from "../../../src/core/errors.ts";
import { type Reply, XATTROP } from "../../../src/core/fops.ts";
import { type Gfid, gfidEquals, gfidKey, ROOT_GFID } from "../../../src/core/gfid.ts";
import type { Inode } from "../../../src/core/inode.ts";
import { AFR_PREFIX, type Counts, DIRTY_KEY, NO_COUNTS, rowIncrements } from "./changelog.ts";
import { childrenOf, NO_CHILDREN, only } from "./child-set.ts";
import { fanoutTo, mergedError, noQuorum, successes } from "./fan-out.ts";
import { healInode, inspectInode } from "./heal/heal.ts";
import { lockAll, metadataOf, namesOf, withOwner } from "./heal/locks.ts";
import type { ReadContext } from "./read.ts";

const STATUS = "replica.split-brain-status";
const CHOICE = "replica.split-brain-choice";
const CHOICE_TIMEOUT = "replica.split-brain-choice-timeout";
const FINALIZE = "replica.split-brain-heal-finalize";
const HEAL_INFO = "glusterfs.heal-info";
const PATHINFO: ReadonlySet<string> = new Set(["trusted.glusterfs.pathinfo", "glusterfs.pathinfo"]);
const CLEAR_LOCKS = "glusterfs.clrlk";
const LIST_NODE_UUIDS = "trusted.glusterfs.list-node-uuids";
const NODE_UUID = "trusted.glusterfs.node-uuid";
const EMPTY_BRICK: readonly string[] = ["trusted.replace-brick", "trusted.add-brick"];
const NO_CHOICE = "none";

const PID_ADD_REPLICA = -12;
const CHOICE_TIMEOUT_S = 300;
const HEALTHY = "The file is not under data or metadata split-brain";

export class VirtualXattrs {
  readonly #context: ReadContext;
  /** The kernel is to forget what it has of a file. */
  readonly #forgetCached: (gfid: Gfid) => void;
  readonly #choices = new Map<string, Timer>();
  #choiceTimeoutS = CHOICE_TIMEOUT_S;

  constructor(context: ReadContext, forgetCached: (gfid: Gfid) => void) {
    this.#context = context;
    this.#forgetCached = forgetCached;
  }

  /** Undefined when the name is an ordinary one. */
  get(call: Call, inode: Inode, name: string | undefined): Promise<Reply<"getxattr">> | undefined {
    if (name === undefined) return undefined;
    if (name.startsWith(AFR_PREFIX)) return Promise.reject(this.#error("ENODATA", name));
    if (PATHINFO.has(name)) return this.#pathinfo(call, inode, name);
    if (name === STATUS) return this.#splitBrainStatus(inode);
    if (name === HEAL_INFO) return this.#healInfo(inode);
    if (name === LIST_NODE_UUIDS) return this.#joined(call, inode, name, " ");
    if (name.startsWith(NODE_UUID)) return this.#first(call, inode, name);
    if (name.startsWith(CLEAR_LOCKS)) return this.#joined(call, inode, name, "\n");
    return undefined;
  }

  /** What callers above see of the xattrs of a copy. */
  visible<R extends Reply<"getxattr">>(reply: R): R {
    const marks = [...reply.xattrs.keys()].filter((key) => key.startsWith(AFR_PREFIX));
    return marks.length === 0 ? reply : { ...reply, xattrs: reply.xattrs.clone(marks) };
  }

  /** Undefined when nothing in it is for replicate. */
  set(call: Call, inode: Inode, xattrs: Dict): Promise<Reply<"setxattr">> | undefined {
    const choice = xattrs.text(CHOICE);
    if (choice !== undefined) return this.#choose(inode, choice);
    const winner = xattrs.text(FINALIZE);
    if (winner !== undefined) return this.#finalize(inode, winner);
    const minutes = xattrs.number(CHOICE_TIMEOUT);
    if (minutes !== undefined) return this.#keepChoices(minutes);
    const key = EMPTY_BRICK.find((name) => xattrs.has(name));
    return key === undefined ? undefined : this.#markEmpty(call, inode, xattrs.text(key) ?? "");
  }

  /** No timer outlives the graph. */
  stop(): void {
    for (const timer of this.#choices.values()) timer.cancel();
    this.#choices.clear();
  }

  async #pathinfo(call: Call, inode: Inode, name: string): Promise<Reply<"getxattr">> {
    const places = await this.#ask(call, inode, name);
    const text = `(<REPLICATE:${this.#context.set.name}> ${places.join(" ")})`;
    return { xattrs: new Dict().setStr(name, text) };
  }

  async #joined(call: Call, inode: Inode, name: string, separator: string): Promise<Reply<"getxattr">> {
    const texts = await this.#ask(call, inode, name);
    return { xattrs: new Dict().setStr(name, texts.join(separator)) };
  }

  async #first(call: Call, inode: Inode, name: string): Promise<Reply<"getxattr">> {
    const [text] = await this.#ask(call, inode, name);
    return { xattrs: new Dict().setStr(name, text ?? "") };
  }

  /** The answers of all up children, in their order; rejects when there is none. */
  async #ask(call: Call, inode: Inode, name: string): Promise<string[]> {
    const { set } = this.#context;
    const outcomes = await fanoutTo(set, set.up, "getxattr", call, { loc: { inode }, name });
    const texts = outcomes.flatMap((outcome) => (outcome?.ok ? (outcome.reply.xattrs.text(name) ?? []) : []));
    if (texts.length === 0) throw mergedError(outcomes) ?? noQuorum(set, "getxattr");
    return texts;
  }

  async #splitBrainStatus(inode: Inode): Promise<Reply<"getxattr">> {
    const { set } = this.#context;
    const { data, metadata } = await this.#splitBrain(inode);
    const yes = (is: boolean): string => (is ? "yes" : "no");
    const choices = set.children.map(({ name }) => name).join(",");
    const status = `data-split-brain:${yes(data)}    metadata-split-brain:${yes(metadata)}    Choices:${choices}`;
    return { xattrs: new Dict().setStr(STATUS, data || metadata ? status : HEALTHY) };
  }

  async #splitBrain(inode: Inode): Promise<{ data: boolean; metadata: boolean }> {
    const { splitBrain } = await inspectInode(this.#context.set, inode);
    return { data: splitBrain.includes("data"), metadata: splitBrain.includes("metadata") };
  }

  async #healInfo(inode: Inode): Promise<Reply<"getxattr">> {
    const { status, pending } = await inspectInode(this.#context.set, inode);
    const text = pending && status !== "no-heal" ? `${status}-pending` : status;
    return { xattrs: new Dict().setStr("heal-info", text) };
  }

  async #choose(inode: Inode, choice: string): Promise<Reply<"setxattr">> {
    const { states, set } = this.#context;
    const child = choice === NO_CHOICE ? -1 : this.#childNamed(choice);
    const { data, metadata } = await this.#splitBrain(inode);
    if (!data && !metadata) throw this.#error("EINVAL", "the file is not in split brain");
    this.#cancelChoice(inode);
    states.chooseInSplitBrain(inode, child);
    if (child >= 0) {
      const timer = set.env.clock.after(this.#choiceTimeoutS * 1000, () => {
        this.#cancelChoice(inode);
        this.#forgetCached(inode.gfid);
      });
      this.#choices.set(gfidKey(inode.gfid), timer);
    }
    this.#forgetCached(inode.gfid);
    return {};
  }

  /** Whether or not the heal succeeds, the choice to look at a copy is over. */
  async #finalize(inode: Inode, winner: string): Promise<Reply<"setxattr">> {
    const { set, states } = this.#context;
    const child = this.#childNamed(winner);
    this.#cancelChoice(inode);
    const { outcome, why } = await healInode(set, inode, { resolution: { kind: "source-brick", child } });
    states.invalidate(inode);
    this.#forgetCached(inode.gfid);
    switch (outcome) {
      case "healed":
      case "clean":
      case "not-needed":
      case "not-split-brain":
        return {};
      case "unavailable":
        throw this.#error("ENOTCONN", why ?? "a child is down");
      default:
        throw this.#error("EIO", why ?? outcome);
    }
  }

  #keepChoices(minutes: number): Promise<Reply<"setxattr">> {
    if (!Number.isInteger(minutes) || minutes < 0)
      return Promise.reject(this.#error("EINVAL", `"${minutes}" are no minutes`));
    this.#choiceTimeoutS = minutes * 60;
    return Promise.resolve({});
  }

  #cancelChoice(inode: Inode): void {
    const key = gfidKey(inode.gfid);
    this.#choices.get(key)?.cancel();
    this.#choices.delete(key);
    this.#context.states.chooseInSplitBrain(inode, -1);
  }

  /**
   * Says on all copies of the root that this child has nothing yet: everything is to be brought there, and
   * nothing from there. A name of another set is passed over, for a distributed volume asks all of them.
   */
  async #markEmpty(call: Call, inode: Inode, name: string): Promise<Reply<"setxattr">> {
    const { set, states } = this.#context;
    if (call.pid !== PID_ADD_REPLICA || !gfidEquals(inode.gfid, ROOT_GFID))
      throw this.#error("EPERM", "only volume management may declare a copy empty");
    const child = set.children.findIndex((one) => one.name === name);
    if (child < 0) return {};
    const granular = set.options["granular-entry-heal"];
    await this.#blame(call, inode, child, "metadata", { ...NO_COUNTS, metadata: 1 });
    await this.#blame(call, inode, child, "entry", { ...NO_COUNTS, entry: 1, data: granular ? 1 : 0 });
    states.invalidate(inode);
    return {};
  }

  async #blame(
    call: Call,
    inode: Inode,
    child: number,
    slot: "metadata" | "entry",
    counts: Counts,
  ): Promise<void> {
    const { set } = this.#context;
    const wanted = slot === "entry" ? namesOf(inode, set.name) : metadataOf(inode, set.name);
    const owned = withOwner(set, call);
    const lock = await lockAll(set, owned, wanted, "wait");
    try {
      if (lock.children === NO_CHILDREN) throw lock.error ?? this.#error("EAGAIN", "locked by others");
      const xattrs = rowIncrements(set.pendingKeys, (index) => (index === child ? counts : undefined));
      xattrs.delete(DIRTY_KEY);
      const args = { loc: { inode }, op: XATTROP.ADD_ARRAY, xattrs };
      const outcomes = await fanoutTo(set, lock.children, "xattrop", owned, args);
      const others = successes(outcomes) & ~only(child);
      if (childrenOf(others).length === 0) throw mergedError(outcomes) ?? noQuorum(set, "setxattr");
    } finally {
      await lock.release();
    }
  }

  #childNamed(name: string): number {
    const child = this.#context.set.children.findIndex((one) => one.name === name);
    if (child < 0) throw this.#error("EINVAL", `"${name}" is no copy; see ${STATUS}`);
    return child;
  }

  #error(code: ErrnoName, message: string): FopError {
    return new FopError(code, { fop: "xattr", xlator: this.#context.set.name, message });
  }
}
