/**
 * features/shard: cuts files into blocks of equal size, which are files of their own under the hidden
 * directory `/.shard`, on disk as GlusterFS 10.3 has them (spec translators.md 5; GlusterFS features/shard).
 * Both kinds of client may use a volume at the same time.
 *
 * Promises upwards: files look whole. What was acknowledged is never published smaller; reading makes no
 * blocks; removal survives crashes; O_SYNC, O_DIRECT and fsync reach every block. Needs below: inodelk and
 * entrylk, atomic xattrop, fops by anonymous fd, lookup by gfid. Limits: GlusterFS' client takes no lock when
 * it changes a size, so two writers may extend one file at the same time only where both are Mortar's. For a
 * second other clients may read zeros where one has cut the file off. Parts: file.ts (what is known of a
 * file), shards.ts (blocks), file-size.ts, attributes.ts (keys), and a file for each kind of fop.
 */

import type { Call } from "../../../src/core/call.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, DirentPlus, Reply } from "../../../src/core/fops.ts";
import { gfidEquals, ROOT_GFID } from "../../../src/core/gfid.ts";
import { isDir, S_IFMT, SETATTR } from "../../../src/core/iatt.ts";
import { type Fd, Inode, type Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import { O_TRUNC } from "../../../src/core/open-flags.ts";
import {
  type Afterwork,
  type ChildEvent,
  type Dump,
  defineXlator,
  exactly,
  Xlator,
  type XlatorBase,
  type XlatorDefinition,
  type XlatorInit,
} from "../../../src/core/xlator.ts";
import { AppendFree } from "./append-free.ts";
import { askingAll, askingSize, blockSizeOf, extentOf, withExtent, withShardXattrs } from "./attributes.ts";
import { Cleaner } from "./cleaner.ts";
import type { Context } from "./context.ts";
import { copyRange } from "./copy.ts";
import { SHARD_DIR } from "./directories.ts";
import { Files, type Known, PLAIN, ShardFile } from "./file.ts";
import { Renewals, sizeDomain } from "./file-size.ts";
import { checkKeys, checkName, hiddenFrom, isHidden, isOwnKey, withoutOwnKeys } from "./hidden.ts";
import { BLOCK_SIZE_MIN, optionsWith, type ShardOptions, type ShardOptionTable } from "./options.ts";
import { Reader } from "./read.ts";
import { Remover } from "./remove.ts";
import { Shards } from "./shards.ts";
import { Syncer } from "./sync.ts";
import { Truncator } from "./truncate.ts";
import { Writer } from "./write.ts";

/** Geo-replication copies blocks as they are. */
const PID_GSYNCD = -1;
const PID_GLFS_HEAL = -7;
const CONTENT = "glusterfs.content";

export const shard: XlatorDefinition = shardWith(BLOCK_SIZE_MIN);

/** The type with another least block size, for tests. */
export function shardWith(blockSizeMin: number): XlatorDefinition {
  return defineXlator({
    type: "features/shard",
    children: exactly(1),
    options: optionsWith(blockSizeMin),
    create: (init) => Shard.over(init),
  });
}

export class Shard extends Xlator<ShardOptionTable> {
  readonly #below: AppendFree;
  readonly #context: Context;
  readonly #files: Files;
  readonly #shards: Shards;
  readonly #reader: Reader;
  readonly #writer: Writer;
  readonly #truncator: Truncator;
  readonly #syncer: Syncer;
  readonly #remover: Remover;
  readonly #cleaner: Cleaner;
  #stopping: Promise<void> | undefined;

  static over(init: XlatorInit<ShardOptionTable>): Shard {
    const { name, type, children, env } = init;
    return new Shard(init, new AppendFree({ name, type, children, env }));
  }

  private constructor(init: XlatorInit<ShardOptionTable>, below: AppendFree) {
    super({ ...init, children: [below] });
    this.#below = below;
    const { env, log, name } = this;
    this.#files = new Files({ below, env, name, renewals: new Renewals() });
    this.#shards = new Shards({ below, log, name }, this.options["shard-lru-limit"]);
    const [files, shards] = [this.#files, this.#shards];
    this.#context = { name, below, env, log, files, shards, options: () => this.options };
    this.#truncator = new Truncator(this.#context);
    this.#reader = new Reader(this.#context);
    this.#writer = new Writer(this.#context, (file, call, fd) => this.#truncator.trim(file, call, fd));
    this.#syncer = new Syncer(this.#context);
    this.#cleaner = new Cleaner(this.#context);
    this.#remover = new Remover(this.#context, this.#cleaner);
  }

  /** Blocks whose gfid is remembered. */
  get shardCount(): number {
    return this.#shards.count;
  }

  /** Blocks of removed files. */
  override get afterwork(): Afterwork {
    return this.#cleaner.afterwork;
  }

  /** Resolves when no removal runs in the background. */
  removalsDone(): Promise<void> {
    return this.#cleaner.idle();
  }

  override reconfigure(given: ShardOptions): void {
    super.reconfigure(given);
    this.#shards.limit(given["shard-lru-limit"]);
  }

  override onParentEvent(event: Parameters<XlatorBase["onParentEvent"]>[0]): void {
    if (event.type === "parent-down") this.#stopping = this.#stop().finally(() => super.onParentEvent(event));
    else super.onParentEvent(event);
  }

  /** The layers below hear of the end when the work in the background is over. */
  override async fini(): Promise<void> {
    await this.#stopping;
  }

  override dump(): Dump {
    const files = this.#files.all();
    return {
      blockSize: this.options["shard-block-size"],
      blocksRemembered: this.#shards.count,
      blocksRememberedMax: this.options["shard-lru-limit"],
      files: files.length,
      filesOpen: files.filter(({ opens }) => opens > 0).length,
      sizesOwned: files.filter(({ size }) => size.ownership.isHeld).length,
      blocksUnsynced: files.reduce((sum, { dirty }) => sum + dirty.size, 0),
      isRemoving: this.#cleaner.isRunning,
    };
  }

  override onChildEvent(event: ChildEvent, _from: XlatorBase): void {
    if (event.type === "child-down" || event.type === "some-descendent-down") this.#files.doubtOwnerships();
    if (event.type === "upcall" && event.upcall.kind === "inodelk-contention") {
      if (event.upcall.domain === sizeDomain(this.name)) {
        this.#files.find(event.upcall.gfid)?.size.ownership.doubt();
        return;
      }
    }
    this.notifyParents(event);
  }

  override async release(fd: Fd): Promise<void> {
    const file = this.#files.of(fd.inode);
    if (file instanceof ShardFile && file.opens > 0) {
      await file.size.flushBlocks(fd).catch((error) => this.log.debug("a block count was lost", { error }));
      await file.size.ownership.end(fd);
      if (file.opens === 1) await this.#remover.closing(file, fd);
      this.#files.closed(file);
    }
    await this.child.release(fd);
    if (file instanceof ShardFile && file.isUnlinked && file.opens === 0) this.#cleaner.run();
  }

  // Fops on a file's contents.

  override async readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const file = this.#files.of(args.fd.inode) ?? (await this.#load(call, args.fd));
    if (file === PLAIN || isGeoReplication(call)) return this.child.readv(call, args);
    return this.#reader.readv(file, call, args);
  }

  override async writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    const file = this.#files.of(args.fd.inode) ?? (await this.#load(call, args.fd));
    if (file === PLAIN || isGeoReplication(call)) return this.child.writev(call, args);
    return this.#writer.writev(file, call, args);
  }

  override async truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    const { inode } = args.loc;
    const file = this.#files.of(inode) ?? (await this.#load(call, inode));
    if (file === PLAIN || isGeoReplication(call)) return this.child.truncate(call, args);
    return this.#truncator.truncate(file, call, inode, args.offset);
  }

  override async ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    const file = this.#files.of(args.fd.inode) ?? (await this.#load(call, args.fd));
    if (file === PLAIN || isGeoReplication(call)) return this.child.ftruncate(call, args);
    return this.#truncator.truncate(file, call, args.fd, args.offset);
  }

  override async flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    const file = this.#files.of(args.fd.inode);
    return file instanceof ShardFile ? this.#syncer.flush(file, call, args) : this.child.flush(call, args);
  }

  override async fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    const file = this.#files.of(args.fd.inode) ?? (await this.#load(call, args.fd));
    if (file === PLAIN || isGeoReplication(call)) return this.child.fsync(call, args);
    return this.#syncer.fsync(file, call, args);
  }

  override async fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    const file = this.#files.of(args.fd.inode) ?? (await this.#load(call, args.fd));
    if (file === PLAIN || isGeoReplication(call)) return this.child.fallocate(call, args);
    return this.#writer.fallocate(file, call, args);
  }

  override async discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    const file = this.#files.of(args.fd.inode) ?? (await this.#load(call, args.fd));
    if (file === PLAIN || isGeoReplication(call)) return this.child.discard(call, args);
    return this.#writer.discard(file, call, args);
  }

  override async zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    const file = this.#files.of(args.fd.inode) ?? (await this.#load(call, args.fd));
    if (file === PLAIN || isGeoReplication(call)) return this.child.zerofill(call, args);
    return this.#writer.zerofill(file, call, args);
  }

  override async seek(call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    const file = this.#files.of(args.fd.inode) ?? (await this.#load(call, args.fd));
    if (file === PLAIN || isGeoReplication(call)) return this.child.seek(call, args);
    return this.#reader.seek(file, call, args);
  }

  override async copy_file_range(
    call: Call,
    args: Args<"copy_file_range">,
  ): Promise<Reply<"copy_file_range">> {
    const from = this.#files.of(args.fdIn.inode) ?? (await this.#load(call, args.fdIn));
    const to = this.#files.of(args.fdOut.inode) ?? (await this.#load(call, args.fdOut));
    if ((from === PLAIN && to === PLAIN) || isGeoReplication(call))
      return this.child.copy_file_range(call, args);
    return copyRange(this, call, args);
  }

  // Attributes.

  override async stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    const { inode } = args.loc;
    const file = this.#files.of(inode);
    if (file === PLAIN || isGeoReplication(call)) return this.child.stat(call, args);
    const asked = file?.size.asking();
    const reply = await this.child.stat(call, { ...args, xdata: askingAll(args.xdata) });
    return { ...reply, stat: this.#whole(inode, reply, asked) };
  }

  override async fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    const { inode } = args.fd;
    const file = this.#files.of(inode);
    if (file === PLAIN || isGeoReplication(call)) return this.child.fstat(call, args);
    const asked = file?.size.asking();
    const reply = await this.child.fstat(call, { ...args, xdata: askingAll(args.xdata) });
    return { ...reply, stat: this.#whole(inode, reply, asked) };
  }

  override async lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    if (isGeoReplication(call)) return this.child.lookup(call, args);
    if (call.pid !== PID_GLFS_HEAL) checkName(this.name, "lookup", args.loc);
    const { inode } = args.loc;
    const asked = this.#files.find(inode.gfid)?.size.asking();
    const xdata = askingAll(args.xdata);
    this.#cleaner.start();
    const reply = await this.child.lookup(call, { ...args, xdata });
    if (isDir(reply.stat)) return reply;
    // What the base file holds is what the file holds only when it has no end of its own.
    const isPart = reply.stat.size !== (extentOf(reply.xdata)?.size ?? reply.stat.size);
    const answer = isPart && reply.xdata?.has(CONTENT) ? reply.xdata.clone([CONTENT]) : reply.xdata;
    return { ...reply, stat: this.#whole(inode, reply, asked), xdata: answer };
  }

  override setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    const { inode } = args.loc;
    return this.#setattr(inode, call, args.valid, () => this.child.setattr(call, args));
  }

  override fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    const { inode } = args.fd;
    return this.#setattr(inode, call, args.valid, () => this.child.fsetattr(call, args));
  }

  async #setattr(
    inode: Inode,
    call: Call,
    valid: number,
    set: () => Promise<Reply<"setattr">>,
  ): Promise<Reply<"setattr">> {
    const file = this.#files.of(inode) ?? (await this.#load(call, inode));
    if (file === PLAIN || isGeoReplication(call)) return set();
    // Whoever sets an attribute publishes all that the reply says.
    const [reply] = await Promise.all([set(), file.size.isFresh ? undefined : file.size.refresh(inode)]);
    const pre = file.attributes();
    if ((valid & SETATTR.MTIME) !== 0) file.timesWereSet();
    file.saw(reply.post);
    return { ...reply, pre, post: file.attributes() };
  }

  // Names.

  override async mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    if (isGeoReplication(call)) return this.child.mknod(call, args);
    checkName(this.name, "mknod", args.loc);
    const blockSize = this.options["shard-block-size"];
    const reply = await this.child.mknod(call, { ...args, xdata: withShardXattrs(args.xdata, blockSize) });
    this.#made(args.loc.inode, reply, blockSize);
    return reply;
  }

  override mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    return this.#named("mkdir", call, args, args.loc);
  }

  override symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    return this.#named("symlink", call, args, args.loc);
  }

  override async unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    if (isGeoReplication(call)) return this.child.unlink(call, args);
    checkName(this.name, "unlink", args.loc);
    return this.#remover.unlink(call, args);
  }

  override rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    return this.#named("rmdir", call, args, args.loc);
  }

  override async rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    if (isGeoReplication(call)) return this.child.rename(call, args);
    checkName(this.name, "rename", args.from);
    checkName(this.name, "rename", args.to);
    return this.#remover.rename(call, args);
  }

  override async link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    if (isGeoReplication(call)) return this.child.link(call, args);
    checkName(this.name, "link", args.to);
    const file = this.#files.of(args.from.inode) ?? (await this.#load(call, args.from.inode));
    const reply = await this.child.link(call, args);
    if (file === PLAIN) return reply;
    file.saw(reply.stat);
    return { ...reply, stat: file.attributes() };
  }

  override put(): Promise<Reply<"put">> {
    return Promise.reject(new FopError("EOPNOTSUPP", { fop: "put", xlator: this.name }));
  }

  override async open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    const { fd, loc } = args;
    const file = this.#files.of(loc.inode) ?? (await this.#load(call, loc.inode));
    if (file === PLAIN || isGeoReplication(call)) return this.child.open(call, args);
    this.#below.strip(fd);
    const reply = await this.child.open(call, { ...args, flags: args.flags & ~O_TRUNC });
    this.#files.opened(file);
    if ((args.flags & O_TRUNC) === 0) return reply;
    try {
      await this.#truncator.truncate(file, call, loc.inode, 0);
      return reply;
    } catch (error) {
      await this.release(fd);
      throw error;
    }
  }

  override async create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    if (isGeoReplication(call)) return this.child.create(call, args);
    checkName(this.name, "create", args.loc);
    const blockSize = this.options["shard-block-size"];
    this.#below.strip(args.fd);
    const flags = args.flags & ~O_TRUNC;
    const xdata = withShardXattrs(args.xdata, blockSize);
    const reply = await this.child.create(call, { ...args, flags, xdata });
    const wanted = args.xdata?.gfid(KEY.GFID_REQ);
    if (wanted === undefined || !gfidEquals(wanted, reply.stat.gfid))
      return this.#createdBefore(call, args, reply);
    const file = this.#made(args.loc.inode, reply, blockSize);
    if (file instanceof ShardFile) this.#files.opened(file);
    return reply;
  }

  override async opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    if (isHidden(args.loc.inode) && !isGeoReplication(call) && call.pid !== PID_GLFS_HEAL)
      throw hiddenFrom(this.name, "opendir");
    return this.child.opendir(call, { ...args, xdata: askingSize(args.xdata) });
  }

  override async readdir(call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    if (!gfidEquals(args.fd.inode.gfid, ROOT_GFID) || isGeoReplication(call))
      return this.child.readdir(call, args);
    for (let { offset } = args; ; ) {
      const reply = await this.child.readdir(call, { ...args, offset });
      const entries = reply.entries.filter(({ name }) => name !== SHARD_DIR);
      if (entries.length > 0 || reply.eof || reply.entries.length === 0) return { ...reply, entries };
      offset = reply.entries.at(-1)!.offset;
    }
  }

  override async readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    if (isGeoReplication(call)) return this.child.readdirp(call, args);
    const isRoot = gfidEquals(args.fd.inode.gfid, ROOT_GFID);
    const xdata = askingAll(args.xdata);
    for (let { offset } = args; ; ) {
      const reply = await this.child.readdirp(call, { ...args, offset, xdata });
      const seen = isRoot ? reply.entries.filter(({ name }) => name !== SHARD_DIR) : reply.entries;
      const entries = seen.map((entry) => this.#wholeEntry(entry));
      if (entries.length > 0 || reply.eof || reply.entries.length === 0) return { ...reply, entries };
      offset = reply.entries.at(-1)!.offset;
    }
  }

  // Extended attributes: those of this layer do not exist for users.

  override async getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    if (isGeoReplication(call)) return this.child.getxattr(call, args);
    if (isOwnKey(args.name)) throw new FopError("ENODATA", { fop: "getxattr", xlator: this.name });
    return withoutOwnKeys(await this.child.getxattr(call, args));
  }

  override async fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    if (isGeoReplication(call)) return this.child.fgetxattr(call, args);
    if (isOwnKey(args.name)) throw new FopError("ENODATA", { fop: "fgetxattr", xlator: this.name });
    return withoutOwnKeys(await this.child.fgetxattr(call, args));
  }

  override async setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    if (!isGeoReplication(call)) checkKeys(this.name, "setxattr", args.xattrs.keys());
    return this.child.setxattr(call, args);
  }

  override async fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    if (!isGeoReplication(call)) checkKeys(this.name, "fsetxattr", args.xattrs.keys());
    return this.child.fsetxattr(call, args);
  }

  override async removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    if (!isGeoReplication(call)) checkKeys(this.name, "removexattr", [args.name]);
    return this.child.removexattr(call, args);
  }

  override async fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    if (!isGeoReplication(call)) checkKeys(this.name, "fremovexattr", [args.name]);
    return this.child.fremovexattr(call, args);
  }

  // Steps.

  /** What an fd or an inode is that no lookup of this layer has seen. */
  async #load(call: Call, target: Fd | Inode): Promise<Known> {
    const inode = "inode" in target ? target.inode : target;
    const xdata = askingAll(undefined);
    const root = { ...call, uid: 0, gid: 0, groups: [] };
    const reply =
      "inode" in target
        ? await this.child.fstat(root, { fd: target, xdata })
        : await this.child.stat(root, { loc: { inode: target }, xdata });
    return this.#learn(inode, reply);
  }

  #learn(inode: Inode, { stat, xdata }: Reply<"stat">): Known {
    const extent = extentOf(xdata) ?? { size: stat.size, blocks: stat.blocks };
    return this.#files.learn(inode, { stat, blockSize: blockSizeOf(xdata), extent });
  }

  /** Attributes of the whole file, from a reply about its base file. */
  #whole(inode: Inode, reply: Reply<"stat">, asked: ReturnType<ShardFile["size"]["asking"]> | undefined) {
    const file = this.#learn(inode, reply);
    const extent = extentOf(reply.xdata);
    if (file === PLAIN) return extent === undefined ? reply.stat : withExtent(reply.stat, extent);
    if (asked !== undefined) file.size.believe(asked, extent);
    file.saw(reply.stat);
    return file.attributes();
  }

  #wholeEntry(entry: DirentPlus): DirentPlus {
    const { stat } = entry;
    const file = this.#files.find(stat.gfid);
    const extent = isDir(stat) ? undefined : extentOf(entry.xattrs);
    if (file !== undefined && (file.size.isFresh || extent === undefined))
      return { ...entry, stat: withExtent(stat, file.attributes()) };
    return extent === undefined ? entry : { ...entry, stat: withExtent(stat, extent) };
  }

  #made(inode: Inode, { stat }: Reply<"mknod">, blockSize: number): Known {
    return this.#files.learn(inode, { stat, blockSize, extent: { size: 0, blocks: 0 }, isNew: true });
  }

  /** The file was there already: another client made it, perhaps with other blocks or without any. */
  async #createdBefore(call: Call, args: Args<"create">, reply: Reply<"create">): Promise<Reply<"create">> {
    const { gfid, mode } = reply.stat;
    // The inode of the call gets its gfid when the reply is there.
    const inode = new Inode(gfid, mode & S_IFMT);
    const file = this.#files.of(inode) ?? (await this.#load(call, inode));
    if (file === PLAIN) {
      if ((args.flags & O_TRUNC) === 0) return reply;
      const { post } = await this.child.truncate(call, { loc: { inode }, offset: 0 });
      return { ...reply, stat: post };
    }
    this.#files.opened(file);
    if ((args.flags & O_TRUNC) !== 0) await this.#truncator.truncate(file, call, inode, 0);
    return { ...reply, stat: file.attributes() };
  }

  #named<F extends "mkdir" | "symlink" | "rmdir">(
    fop: F,
    call: Call,
    args: Args<F>,
    loc: Loc,
  ): Promise<Reply<F>> {
    try {
      if (!isGeoReplication(call)) checkName(this.name, fop, loc);
    } catch (error) {
      return Promise.reject(error);
    }
    return (this.child[fop] as (call: Call, args: Args<F>) => Promise<Reply<F>>)(call, args);
  }

  /** Before the layers below stop: background work ends, and block counts are written. */
  async #stop(): Promise<void> {
    await this.#cleaner.stop();
    await Promise.allSettled(
      this.#files.all().map(async (file) => {
        await file.size.flushBlocks(file.target());
        await file.size.ownership.end();
      }),
    );
  }
}

function isGeoReplication(call: Call): boolean {
  return call.pid === PID_GSYNCD;
}
