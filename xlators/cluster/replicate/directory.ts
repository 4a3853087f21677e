/**
 * Open directories: opened on all copies, listed from one (spec translators.md 4.5; GlusterFS
 * afr-dir-read.c).
 *
 * Offsets mean something to the brick that gave them alone, so that a listing stays with the copy it began
 * on; it begins anew, on any good copy, at offset 0. Attributes that come with names are of that copy too:
 * while a heal is pending anywhere they are left out unless this client knows that copy of the entry to be
 * good. Names that heals hide are left out.
 */

import type { Call } from "../../../src/core/call.ts";
import { toFopError } from "../../../src/core/errors.ts";
import type { Args, Dirent, DirentPlus, Reply } from "../../../src/core/fops.ts";
import { gfidEquals, ROOT_GFID } from "../../../src/core/gfid.ts";
import { ZERO_IATT } from "../../../src/core/iatt.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { wind } from "../../../src/core/xlator.ts";
import { childrenOf, NO_CHILDREN, only } from "./child-set.ts";
import { fanoutTo, mergedError, noQuorum, successes } from "./fan-out.ts";
import type { InodeStates } from "./inode-state.ts";
import { isPrivateName } from "./private-names.ts";
import type { ReadContext, Reads } from "./read.ts";
import type { ReplicaSet } from "./replica-set.ts";

type ListFop = "readdir" | "readdirp";

export class Directories {
  readonly #set: ReplicaSet;
  readonly #states: InodeStates;
  readonly #context: ReadContext;
  readonly #reads: Reads;
  /** Where the listing of an fd goes on. */
  readonly #listedOn = new WeakMap<Fd, number>();

  constructor(context: ReadContext, reads: Reads) {
    this.#set = context.set;
    this.#states = context.states;
    this.#context = context;
    this.#reads = reads;
  }

  opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.#context.gate.persist("opendir", call, () => this.#openOnAll(call, args));
  }

  async readdir(call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    return this.#visible("readdir", call, args);
  }

  async readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    return this.#visible("readdirp", call, args);
  }

  /** A page without visible names is no end: the next one is read. */
  async #visible<F extends ListFop>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    let { offset } = args;
    for (;;) {
      const { reply, child } = await this.#page(fop, call, { ...args, offset });
      const all: readonly (Dirent | DirentPlus)[] = reply.entries;
      const inRoot = gfidEquals(args.fd.inode.gfid, ROOT_GFID);
      const shown = inRoot ? all.filter(({ name }) => !isPrivateName(this.#set, name, call.pid)) : all;
      if (shown.length > 0 || reply.eof || all.length === 0) {
        const entries =
          fop === "readdirp" ? (shown as DirentPlus[]).map((one) => this.#checked(one, child)) : shown;
        return { ...reply, entries } as Reply<F>;
      }
      offset = all.at(-1)!.offset;
    }
  }

  async #openOnAll(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    const set = this.#set;
    const outcomes = await fanoutTo(set, set.up, "opendir", call, args);
    const opened = successes(outcomes);
    const first = outcomes.find((outcome) => outcome?.ok);
    if (first?.ok && set.hasQuorum(opened)) {
      this.#context.files.opened(args.fd, opened, 0, true);
      return first.reply;
    }
    for (const child of childrenOf(opened)) void set.children[child]!.releasedir(args.fd);
    throw mergedError(outcomes) ?? noQuorum(set, "opendir");
  }

  async #page<F extends ListFop>(
    fop: F,
    call: Call,
    args: Args<F>,
  ): Promise<{ reply: Reply<F>; child: number }> {
    const child = this.#listedOn.get(args.fd) ?? -1;
    if (args.offset !== 0n && child >= 0)
      return { reply: await wind(this.#set.children[child]!, fop, call, args), child };
    return this.#context.gate.persist(fop, call, () => this.#fromTheBeginning(fop, call, args));
  }

  /** From any good copy; the next one when it fails. */
  async #fromTheBeginning<F extends ListFop>(
    fop: F,
    call: Call,
    args: Args<F>,
  ): Promise<{ reply: Reply<F>; child: number }> {
    const { fd } = args;
    const { inode } = fd;
    const set = this.#set;
    const { policy, files } = this.#context;
    let tried = NO_CHILDREN;
    for (let error = noQuorum(set, fop); ; ) {
      const state = await this.#states.ensureFresh(call, inode);
      await files.ready(fd);
      const openOn = files.openOn(fd) ?? set.all;
      const good = this.#reads.candidates(state, inode, "data", true) & set.up & openOn & ~tried;
      const child = policy.choose(inode, good);
      if (child < 0) throw error;
      try {
        const reply = await wind(set.children[child]!, fop, call, args);
        this.#listedOn.set(fd, child);
        return { reply, child };
      } catch (caught) {
        error = toFopError(caught, { fop, xlator: set.children[child]!.name });
        if (tried === NO_CHILDREN) this.#states.expire(inode);
        tried |= only(child);
      }
    }
  }

  #checked(entry: DirentPlus, child: number): DirentPlus {
    if (!this.#states.healPending || entry.stat === ZERO_IATT) return entry;
    if (this.#states.isKnownGood(entry.stat.gfid, child)) return entry;
    const { name, ino, offset, type } = entry;
    return { name, ino, offset, type, stat: ZERO_IATT };
  }
}
