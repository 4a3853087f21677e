/**
 * The fops in which features/locks only answers lock counts: taken out of the request's xdata, put into the
 * reply's (counts.ts). For a fop on an fd or an inode the counts are that inode's; for one on a name they are
 * the parent directory's, but for lookup.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Dict } from "../../../src/core/dict.ts";
import type { Args, DirentPlus, FopName, Reply } from "../../../src/core/fops.ts";
import type { Inode, Loc } from "../../../src/core/inode.ts";
import { wind, Xlator } from "../../../src/core/xlator.ts";
import { type CountRequest, takeCountRequest, withCounts } from "./counts.ts";
import type { locksOptions } from "./options.ts";
import type { LockTable } from "./table.ts";

/** Whose counts a fop on this loc tells. */
export function countedInode(loc: Loc): Inode {
  return loc.parent ?? loc.inode;
}

export abstract class CountedFops extends Xlator<typeof locksOptions> {
  protected abstract readonly table: LockTable;

  override stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    return this.pass("stat", call, args, countedInode(args.loc));
  }
  override mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    return this.pass("mknod", call, args, countedInode(args.loc));
  }
  override mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    return this.pass("mkdir", call, args, countedInode(args.loc));
  }
  override symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    return this.pass("symlink", call, args, countedInode(args.loc));
  }
  override link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    return this.pass("link", call, args, args.from.inode, countedInode(args.to));
  }
  override fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    return this.pass("fsync", call, args, args.fd.inode);
  }
  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.pass("create", call, args, countedInode(args.loc));
  }
  override fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    return this.pass("fstat", call, args, args.fd.inode);
  }

  override lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const taken = args.xdata && takeCountRequest(args.xdata);
    return taken
      ? this.#countedLookup(call, { ...args, xdata: taken.rest }, taken.request)
      : this.child.lookup(call, args);
  }

  override xattrop(call: Call, args: Args<"xattrop">): Promise<Reply<"xattrop">> {
    return this.pass("xattrop", call, args, countedInode(args.loc));
  }
  override fxattrop(call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    return this.pass("fxattrop", call, args, args.fd.inode);
  }

  override readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    const taken = args.xdata && takeCountRequest(args.xdata);
    return taken
      ? this.#countedReaddirp(call, { ...args, xdata: taken.rest }, taken.request)
      : this.child.readdirp(call, args);
  }

  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.pass("fallocate", call, args, args.fd.inode);
  }

  /** Sends a fop down and answers the counts that it asks for, about these inodes. */
  protected pass<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    ...about: readonly Inode[]
  ): Promise<Reply<F>> {
    const taken = args.xdata && takeCountRequest(args.xdata);
    if (!taken) return wind(this.child, fop, call, args);
    return this.#counted(fop, call, { ...args, xdata: taken.rest }, taken.request, about);
  }

  async #counted<F extends FopName>(
    fop: F,
    call: Call,
    args: Args<F>,
    request: CountRequest,
    about: readonly Inode[],
  ): Promise<Reply<F>> {
    const reply = await wind(this.child, fop, call, args);
    return { ...reply, xdata: this.#counts(reply.xdata, request, about) };
  }

  #counts(xdata: Dict | undefined, request: CountRequest, about: readonly Pick<Inode, "gfid">[]): Dict {
    return withCounts(
      xdata,
      request,
      about.map(({ gfid }) => this.table.find(gfid)),
      false,
    );
  }

  async #countedLookup(call: Call, args: Args<"lookup">, request: CountRequest): Promise<Reply<"lookup">> {
    const reply = await this.child.lookup(call, args);
    const { parent, name } = args.loc;
    const directory = parent && this.table.find(parent.gfid);
    const nameLocked = name !== undefined && (directory?.isNameLocked(name) ?? false);
    const xdata = withCounts(reply.xdata, request, [this.table.find(reply.stat.gfid)], nameLocked);
    return { ...reply, xdata };
  }

  async #countedReaddirp(
    call: Call,
    args: Args<"readdirp">,
    request: CountRequest,
  ): Promise<Reply<"readdirp">> {
    const reply = await this.child.readdirp(call, args);
    const entries = reply.entries.map((entry): DirentPlus => {
      return { ...entry, xattrs: this.#counts(entry.xattrs, request, [entry.stat]) };
    });
    return { ...reply, entries };
  }
}
