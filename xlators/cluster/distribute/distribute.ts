/**
 * cluster/distribute: each file on one child, chosen by the hash of its name; directories on all of them
 * (spec translators.md 6; GlusterFS xlators/cluster/dht).
 *
 * Promises: placement, linkto files, layouts and locks are GlusterFS', so that both kinds of client may
 * serve the same bricks at the same time; a file that its rebalance process moves is followed. Where the
 * children contradict each other the answer is an error, never a guess. Needs below: bricks with locks, or
 * replica sets of such. This class only hands each fop to the part that does it; reads and writes of files
 * in their place go straight on. Limits: no rebalance of its own; leases, moving locks, put, icreate and
 * namelink are refused.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply, Statfs } from "../../../src/core/fops.ts";
import { ROOT_GFID } from "../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../src/core/iatt.ts";
import { type Fd, Inode, type Loc } from "../../../src/core/inode.ts";
import {
  atLeast,
  type ChildEvent,
  defineXlator,
  type ParentEvent,
  type SectionOptions,
  Xlator,
  XlatorBase,
  type XlatorInit,
} from "../../../src/core/xlator.ts";
import { Directories } from "./directories.ts";
import { Entries } from "./entries.ts";
import { Files } from "./files.ts";
import { ipc } from "./ipc.ts";
import { encodePiece } from "./layout.ts";
import { Listings } from "./listing.ts";
import { Lookups } from "./lookup.ts";
import { MakeDirectory } from "./make-directory.ts";
import { Membership } from "./membership.ts";
import { type DistributeOptions, options } from "./options.ts";
import { RemoveDirectory } from "./remove-directory.ts";
import { Rename } from "./rename.ts";
import { summed } from "./statfs.ts";
import { SubvolumeSet } from "./subvolume-set.ts";

export const distribute = defineXlator({
  type: "cluster/distribute",
  children: atLeast(1),
  options,
  check: optionsFault,
  create: (init) => (init.children.length === 1 ? new OnePlace(init) : new Distribute(init)),
});

/** Shards are found by looking everywhere; a volume that is told not to is a contradiction. */
function optionsFault(section: SectionOptions<typeof options>): string | undefined {
  const { options: values, rawOptions, children, typesAbove } = section;
  if (children.length === 1 || !typesAbove.has("features/shard")) return undefined;
  if (!rawOptions.has("lookup-optimize") || !values["lookup-optimize"]) return undefined;
  return (
    "option lookup-optimize is on below features/shard: shards that are not where their name says would read " +
    "as holes; set cluster.lookup-optimize off"
  );
}

const WHOLE_RANGE = encodePiece({ start: 0, stop: 0xffffffff, commitHash: 0 });

const ROOT: Loc = { inode: new Inode(ROOT_GFID, S_IFDIR) };

/** Over one child every name has one place; new directories get the layout that says so. */
class OnePlace extends Xlator<typeof options> {
  override mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    const xdata = (args.xdata?.clone() ?? new Dict()).setBytes(this.options["xattr-name"], WHOLE_RANGE);
    return this.child.mkdir(call, { ...args, xdata });
  }
}

export class Distribute extends XlatorBase<typeof options> {
  readonly set: SubvolumeSet;
  readonly #membership: Membership;
  readonly #lookups: Lookups;
  readonly #files: Files;
  readonly #directories: Directories;
  readonly #listings: Listings;
  readonly #entries: Entries;
  readonly #making: MakeDirectory;
  readonly #removal: RemoveDirectory;
  readonly #rename: Rename;

  constructor(init: XlatorInit<typeof options>) {
    super(init);
    this.set = new SubvolumeSet({
      name: this.name,
      children: init.children,
      options: init.options,
      env: this.env,
      log: this.log,
    });
    this.#membership = new Membership(this.set, (event) => this.notifyParents(event));
    this.#lookups = new Lookups(this.set);
    this.#files = new Files(this.set, this.#lookups);
    this.#directories = new Directories(this.set, this.#lookups);
    this.#listings = new Listings(this.set, this.#lookups, this.#directories);
    this.#entries = new Entries(this.set, this.#lookups, this.#files);
    this.#making = new MakeDirectory(this.set, this.#lookups);
    this.#removal = new RemoveDirectory(this.set, this.#lookups);
    this.#rename = new Rename(this.set, this.#lookups, this.#removal);
  }

  override async fini(): Promise<void> {
    await this.set.settled();
  }

  override reconfigure(given: DistributeOptions): void {
    super.reconfigure(given);
    this.set.reconfigure(given);
  }

  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-up") this.#membership.start();
    else this.#membership.stop();
    super.onParentEvent(event);
  }

  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    const child = this.children.indexOf(from);
    if (event.type === "child-up") this.#membership.childUp(child);
    else if (event.type === "child-down") this.#membership.childDown(child);
    else if (event.type === "child-connecting") this.#membership.childConnecting(child, event.why);
    else if (event.type === "auth-failed") this.#membership.childRefused(child, event.why);
    else this.notifyParents(event);
  }

  override forget(inode: Inode): void {
    this.set.states.forget(inode);
    super.forget(inode);
  }

  // Names.

  override lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    return this.#lookups.lookup(call, args);
  }
  override mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    return this.#entries.mknod(call, args);
  }
  override mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    return this.#making.mkdir(call, args);
  }
  override unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    return this.#entries.unlink(call, args);
  }
  override rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    return this.#removal.rmdir(call, args);
  }
  override symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    return this.#entries.symlink(call, args);
  }
  override rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    return this.#rename.rename(call, args);
  }
  override link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    return this.#entries.link(call, args);
  }
  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.#entries.create(call, args);
  }
  override icreate(): Promise<never> {
    return this.#notHere("icreate");
  }
  override namelink(): Promise<never> {
    return this.#notHere("namelink");
  }
  override put(): Promise<never> {
    return this.#notHere("put");
  }

  // Data.

  override async readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const { fd } = args;
    const child = this.#files.direct(fd.inode);
    if (child < 0) return this.#files.byFd("readv", call, args, fd);
    let reply: Reply<"readv">;
    try {
      reply = await this.children[child]!.readv(call, args);
    } catch (error) {
      return this.#files.recover("readv", call, args, fd, child, error);
    }
    if (this.#files.isPlain(reply.stat.mode)) return reply;
    return this.#files.settle("readv", call, args, fd, child, reply);
  }

  override async writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    const { fd } = args;
    const child = this.#files.direct(fd.inode);
    if (child < 0) return this.#files.byFd("writev", call, args, fd);
    let reply: Reply<"writev">;
    try {
      reply = await this.children[child]!.writev(call, args);
    } catch (error) {
      return this.#files.recover("writev", call, args, fd, child, error);
    }
    if (this.#files.isPlain(reply.post.mode)) return reply;
    return this.#files.settle("writev", call, args, fd, child, reply);
  }

  override truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    return this.#files.byInode("truncate", call, args, args.loc.inode);
  }
  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.#files.byFd("ftruncate", call, args, args.fd);
  }
  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.#files.byFd("fallocate", call, args, args.fd);
  }
  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.#files.byFd("discard", call, args, args.fd);
  }
  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.#files.byFd("zerofill", call, args, args.fd);
  }
  override seek(call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    return this.#files.byFd("seek", call, args, args.fd);
  }
  override rchecksum(call: Call, args: Args<"rchecksum">): Promise<Reply<"rchecksum">> {
    return this.#files.byFd("rchecksum", call, args, args.fd);
  }
  override readlink(call: Call, args: Args<"readlink">): Promise<Reply<"readlink">> {
    return this.#files.byInode("readlink", call, args, args.loc.inode);
  }

  /** Between files of one child; others are copied by the caller, who falls back on EXDEV. */
  override async copy_file_range(
    call: Call,
    args: Args<"copy_file_range">,
  ): Promise<Reply<"copy_file_range">> {
    const from = await this.#files.childOf(call, args.fdIn.inode);
    const to = await this.#files.childOf(call, args.fdOut.inode);
    const isSettled =
      this.#files.direct(args.fdIn.inode) === from && this.#files.direct(args.fdOut.inode) === to;
    if (from !== to || !isSettled) throw this.set.error("EXDEV", "copy_file_range");
    const reply = await this.children[to]!.copy_file_range(call, args);
    if (this.#files.isPlain(reply.post.mode)) return reply;
    throw this.set.error("EIO", "copy_file_range", "the file is being moved to another subvolume");
  }

  // Open files.

  override open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    return this.#files.open(call, args);
  }
  override flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    return this.#files.byFd("flush", call, args, args.fd);
  }
  override fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    return this.#files.byFd("fsync", call, args, args.fd);
  }
  override lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    return this.#files.byFd("lk", call, args, args.fd);
  }

  // Attributes, of files and directories.

  override async stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    const { inode } = args.loc;
    if (await this.#isDirectory(call, inode)) return this.#directories.stat("stat", call, args, inode);
    return this.#files.byInode("stat", call, args, inode);
  }
  override async fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    const { fd } = args;
    if (await this.#isDirectory(call, fd.inode))
      return this.#directories.stat("fstat", call, args, fd.inode, fd);
    return this.#files.byFd("fstat", call, args, fd);
  }
  override async setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    const { inode } = args.loc;
    if (await this.#isDirectory(call, inode)) return this.#directories.setattr("setattr", call, args, inode);
    return this.#files.byInode("setattr", call, args, inode);
  }
  override async fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    const { fd } = args;
    if (await this.#isDirectory(call, fd.inode))
      return this.#directories.setattr("fsetattr", call, args, fd.inode);
    return this.#files.byFd("fsetattr", call, args, fd);
  }
  override access(call: Call, args: Args<"access">): Promise<Reply<"access">> {
    return this.#byInode("access", call, args, args.loc.inode);
  }

  // Extended attributes.

  override async setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    const { inode } = args.loc;
    if (await this.#isDirectory(call, inode))
      return this.#directories.setXattr("setxattr", call, args, inode);
    return this.#files.byInode("setxattr", call, args, inode);
  }
  override async fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    const { fd } = args;
    if (await this.#isDirectory(call, fd.inode))
      return this.#directories.setXattr("fsetxattr", call, args, fd.inode, fd);
    return this.#files.byFd("fsetxattr", call, args, fd);
  }
  override async removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    const { inode } = args.loc;
    if (await this.#isDirectory(call, inode))
      return this.#directories.setXattr("removexattr", call, args, inode);
    return this.#files.byInode("removexattr", call, args, inode);
  }
  override async fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    const { fd } = args;
    if (await this.#isDirectory(call, fd.inode))
      return this.#directories.setXattr("fremovexattr", call, args, fd.inode, fd);
    return this.#files.byFd("fremovexattr", call, args, fd);
  }
  override async getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    const { inode } = args.loc;
    if (await this.#isDirectory(call, inode))
      return this.#directories.getXattr("getxattr", call, args, inode);
    const reply = await this.#files.byInode("getxattr", call, args, inode);
    return args.name === undefined ? { ...reply, xattrs: this.#directories.visible(reply.xattrs) } : reply;
  }
  override async fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    const { fd } = args;
    if (await this.#isDirectory(call, fd.inode))
      return this.#directories.getXattr("fgetxattr", call, args, fd.inode);
    const reply = await this.#files.byFd("fgetxattr", call, args, fd);
    return args.name === undefined ? { ...reply, xattrs: this.#directories.visible(reply.xattrs) } : reply;
  }
  override xattrop(call: Call, args: Args<"xattrop">): Promise<Reply<"xattrop">> {
    return this.#byInode("xattrop", call, args, args.loc.inode);
  }
  override fxattrop(call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    return this.#byFd("fxattrop", call, args, args.fd);
  }

  // Directories.

  override opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.#directories.opendir(call, args);
  }
  override readdir(call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    return this.#listings.readdir(call, args);
  }
  override readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    return this.#listings.readdirp(call, args);
  }
  override fsyncdir(call: Call, args: Args<"fsyncdir">): Promise<Reply<"fsyncdir">> {
    return this.#directories.fsyncdir(call, args);
  }

  // Locks of other layers.

  override inodelk(call: Call, args: Args<"inodelk">): Promise<Reply<"inodelk">> {
    return this.#byInode("inodelk", call, args, args.loc.inode);
  }
  override finodelk(call: Call, args: Args<"finodelk">): Promise<Reply<"finodelk">> {
    return this.#byFd("finodelk", call, args, args.fd);
  }
  override entrylk(call: Call, args: Args<"entrylk">): Promise<Reply<"entrylk">> {
    return this.#byInode("entrylk", call, args, args.loc.inode);
  }
  override fentrylk(call: Call, args: Args<"fentrylk">): Promise<Reply<"fentrylk">> {
    return this.#byFd("fentrylk", call, args, args.fd);
  }
  override getactivelk(): Promise<never> {
    return this.#notHere("getactivelk");
  }
  override setactivelk(): Promise<never> {
    return this.#notHere("setactivelk");
  }
  override lease(): Promise<never> {
    return this.#notHere("lease");
  }

  // The rest.

  /** The sum of the children that answer. All of them have the root, and only one a file. */
  override async statfs(call: Call, args: Args<"statfs">): Promise<Reply<"statfs">> {
    const isFile = args.loc.inode.type !== 0 && args.loc.inode.type !== S_IFDIR;
    const asked = isFile ? { ...args, loc: ROOT } : args;
    const outcomes = await this.set.onEach(this.set.all, "statfs", call, asked);
    const parts: Statfs[] = outcomes.flatMap((outcome) => (outcome.ok ? [outcome.reply.statfs] : []));
    if (parts.length > 0) return { statfs: summed(parts) };
    const [first] = outcomes;
    throw first !== undefined && !first.ok ? first.error : this.set.error("ENOTCONN", "statfs");
  }
  override ipc(call: Call, args: Args<"ipc">): Promise<Reply<"ipc">> {
    return ipc(this.set, call, args);
  }

  async #byInode<F extends FopName>(fop: F, call: Call, args: Args<F>, inode: Inode): Promise<Reply<F>> {
    if (await this.#isDirectory(call, inode)) return this.#directories.onOne(fop, call, args, inode);
    return this.#files.byInode(fop, call, args, inode);
  }

  async #byFd<F extends FopName>(fop: F, call: Call, args: Args<F>, fd: Fd): Promise<Reply<F>> {
    if (await this.#isDirectory(call, fd.inode)) return this.#directories.onOne(fop, call, args, fd.inode);
    return this.#files.byFd(fop, call, args, fd);
  }

  /** Known at once of anything that was seen; else found out. */
  #isDirectory(call: Call, inode: Inode): boolean | Promise<boolean> {
    if (inode.type !== 0) return inode.type === S_IFDIR;
    const state = this.set.states.of(inode);
    if (state.cached >= 0) return false;
    if (state.layout !== undefined) return true;
    return this.#lookups.locate(call, inode).then(({ layout }) => layout !== undefined);
  }

  #notHere(fop: FopName): Promise<never> {
    return Promise.reject(new FopError("EOPNOTSUPP", { fop, xlator: this.name }));
  }
}
