/**
 * The fops on names, each as a plan for a transaction: which names are locked, which directories are marked,
 * what is made (spec translators.md 4.4).
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { gfidOf } from "../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../src/core/iatt.ts";
import type { Fd, Inode, Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import type { ChildSet } from "./child-set.ts";
import type { LockedName } from "./entry-locks.ts";
import type { EntryFop } from "./entry-reply.ts";
import { type EntryContext, type EntryPlan, runEntry } from "./entry-transaction.ts";

type MakingFop = "create" | "mknod" | "mkdir" | "symlink";

/** Hears on which children a create opened its fd. */
export type CreatedFd = (fd: Fd, children: ChildSet, flags: number) => void;

export class Entries {
  readonly #context: EntryContext;
  readonly #created: CreatedFd;
  /** What still goes on after a reply: locks on their way back. */
  readonly #rest = new Set<Promise<void>>();

  constructor(context: EntryContext, created: CreatedFd = () => {}) {
    this.#context = context;
    this.#created = created;
  }

  async create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    const { reply, good } = await this.#run(call, this.#making("create", args));
    this.#created(args.fd, good, args.flags);
    return reply;
  }

  async mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    return (await this.#run(call, this.#making("mknod", args))).reply;
  }

  async mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    return (await this.#run(call, this.#making("mkdir", args))).reply;
  }

  async symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    return (await this.#run(call, this.#making("symlink", args))).reply;
  }

  async link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    const at = this.#named("link", args.to);
    const { inode } = args.from;
    return (await this.#run(call, { fop: "link", args, changed: [at], locked: [at], subjects: [inode] }))
      .reply;
  }

  async unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    const at = this.#named("unlink", args.loc);
    const subjects = [args.loc.inode];
    return (await this.#run(call, { fop: "unlink", args, changed: [at], locked: [at], subjects })).reply;
  }

  /** The directory itself is locked too: nobody makes a name in it meanwhile. */
  async rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    const at = this.#named("rmdir", args.loc);
    const { inode } = args.loc;
    const locked: LockedName[] = inode.linked ? [at, wholeOf(inode)] : [at];
    return (await this.#run(call, { fop: "rmdir", args, changed: [at], locked, subjects: [inode] })).reply;
  }

  async rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    const from = this.#named("rename", args.from);
    const to = this.#named("rename", args.to);
    const victim = args.to.inode;
    const locked: LockedName[] = [from, to];
    if (victim.linked && victim.type === S_IFDIR) locked.push(wholeOf(victim));
    const subjects = [args.from.inode, ...(victim.linked ? [victim] : [])];
    return (await this.#run(call, { fop: "rename", args, changed: [to, from], locked, subjects })).reply;
  }

  /** Settles when nothing is under way any more that callers do not wait for. */
  async settled(): Promise<void> {
    while (this.#rest.size > 0) await Promise.all(this.#rest);
  }

  #run<F extends EntryFop>(call: Call, plan: EntryPlan<F>): Promise<{ reply: Reply<F>; good: ChildSet }> {
    return runEntry(this.#context, call, plan, (rest) => {
      this.#rest.add(rest);
      void rest.finally(() => this.#rest.delete(rest));
    });
  }

  /** All copies get the same gfid, whoever chooses it. Copies without a symlink are not marked on it. */
  #making<F extends MakingFop>(fop: F, args: Args<F>): EntryPlan<F> {
    const at = this.#named(fop, args.loc);
    const made = { inode: args.loc.inode, marked: fop !== "symlink" };
    return { fop, args: this.#withGfid(args), changed: [at], locked: [at], made, subjects: [] };
  }

  #withGfid<F extends MakingFop>(args: Args<F>): Args<F> {
    if (args.xdata?.gfid(KEY.GFID_REQ)) return args;
    const gfid = gfidOf(this.#context.set.env.random.bytes(16));
    const xdata = (args.xdata?.clone() ?? new Dict()).setGfid(KEY.GFID_REQ, gfid);
    return { ...args, xdata };
  }

  #named(fop: EntryFop, loc: Loc): { parent: Inode; name: string } {
    const { parent, name } = loc;
    if (!parent || name === undefined)
      throw new FopError("EINVAL", { fop, xlator: this.#context.set.name, message: "no name" });
    return { parent, name };
  }
}

function wholeOf(inode: Inode): LockedName {
  return { parent: inode, name: undefined };
}
