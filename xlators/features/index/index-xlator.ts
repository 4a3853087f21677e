/**
 * features/index: lists on the brick what needs healing, so that nobody has to look at every file (spec
 * translators.md 3; GlusterFS features/index). Sees the xattrops by which replicate keeps its marks.
 *
 * Promises: a gfid is listed before a mark of it is set, and until all marks of its class are zero; one
 * xattrop of an inode at a time. Crawls read the lists as virtual directories. Also keeps Mortar's records of
 * changed ranges (change-records.ts). A gfid that cannot be listed does not fail the xattrop: its mark is
 * what heals it, the list only finds it sooner.
 */

import { LRUCache } from "lru-cache";
import type { Call } from "../../../src/core/call.ts";
import { RECORDED_FILE_BYTES_MIN } from "../../../src/core/changed-ranges.ts";
import { KeyedQueue } from "../../../src/core/concurrency.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError, toFopError } from "../../../src/core/errors.ts";
import { type Args, type FopName, type Reply, XATTROP } from "../../../src/core/fops.ts";
import { type Gfid, gfidKey, gfidText } from "../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../src/core/iatt.ts";
import type { Fd, Inode, Loc } from "../../../src/core/inode.ts";
import { CHANGED_RANGES_KEY, INDEX_KEY } from "../../../src/core/keys.ts";
import { O_DSYNC } from "../../../src/core/open-flags.ts";
import { bool, type OptionTable, type OptionValues, size, string } from "../../../src/core/options.ts";
import {
  defineXlator,
  exactly,
  Xlator,
  type XlatorBase,
  type XlatorDefinition,
  type XlatorInit,
} from "../../../src/core/xlator.ts";
import { ChangeRecords, dataIncrements, type Subject } from "./change-records.ts";
import { CrawledIndex } from "./crawled-index.ts";
import { DiskIndexStore } from "./disk-store.ts";
import type { IndexStore, MarkClass } from "./index-store.ts";
import { MemoryIndexStore } from "./memory-store.ts";
import { SyncWatch } from "./sync-watch.ts";
import { type Verdicts, WatchLists } from "./watch-lists.ts";

const options = {
  "index-base": string({
    default: "",
    describe: "Directory of the index; empty: .glusterfs/indices of the brick below.",
  }),
  "xattrop-pending-watchlist": string({
    default: "trusted.afr.",
    describe: "Beginnings of xattrs that blame a copy, separated by commas.",
  }),
  "xattrop-dirty-watchlist": string({
    default: "trusted.afr.dirty",
    describe: "Beginnings of xattrs that say that an operation has no verdict yet.",
  }),
  "xattrop64-watchlist": string({
    default: "trusted.ec.dirty",
    describe: "The same as the first, of 64-bit counters.",
  }),
  "changed-ranges": bool({
    default: true,
    live: true,
    describe: "Remember which ranges of a file changed while a copy was away. Mortar's own.",
  }),
  "changed-ranges-min-size": size({
    default: RECORDED_FILE_BYTES_MIN,
    live: true,
    describe: "Files below this size are healed whole, without remembering ranges. Mortar's own.",
  }),
} as const satisfies OptionTable;

/** Inodes of which it is known whether they are listed. */
const LISTED_MAX = 65536;
/** Bits of what is known of an inode: listed, or known not to be. */
const LISTED = { xattrop: 1, dirty: 2 } as const;
const UNLISTED = { xattrop: 4, dirty: 8 } as const;
const MARK_CLASSES = ["xattrop", "dirty"] as const satisfies readonly MarkClass[];

export const index: XlatorDefinition = indexOn();

/** The type on a store of the caller's, for tests that restart or crash a brick in memory. */
export function indexOn(store?: IndexStore): XlatorDefinition {
  return defineXlator({
    type: "features/index",
    children: exactly(1),
    options,
    create: (init) => new Index(init, store ?? storeOf(init)),
  });
}

/** On disk beside the files of a brick on disk, in memory beside others. */
function storeOf(init: XlatorInit<typeof options>): IndexStore {
  const base = init.options["index-base"];
  if (base !== "") return new DiskIndexStore(base);
  let bottom: XlatorBase = init.children[0]!;
  while (bottom.children[0]) bottom = bottom.children[0];
  const directory = bottom.type === "storage/posix" ? bottom.rawOptions.get("directory") : undefined;
  return directory ? new DiskIndexStore(`${directory}/.glusterfs/indices`) : new MemoryIndexStore();
}

class Index extends Xlator<typeof options> {
  readonly #store: IndexStore;
  readonly #watch: WatchLists;
  readonly #crawled: CrawledIndex;
  readonly #queue = new KeyedQueue<string>();
  readonly #listed = new LRUCache<string, number>({ max: LISTED_MAX });
  readonly #syncs = new SyncWatch();
  #changes: ChangeRecords | undefined;

  constructor(init: XlatorInit<typeof options>, store: IndexStore) {
    super(init);
    this.#store = store;
    this.#watch = new WatchLists(init.options);
    this.#crawled = new CrawledIndex(store, init.env.random, (which, gfid) => this.#purged(which, gfid));
  }

  override async init(): Promise<void> {
    await this.#store.open();
    const minimum = this.options["changed-ranges-min-size"];
    const { records } = this.#store;
    if (records) this.#changes = new ChangeRecords(records, this.#syncs, this.log, minimum);
    else this.log.warn("changed ranges are not remembered on this brick", {});
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    super.reconfigure(values);
    if (this.#changes) this.#changes.fileBytesMin = values["changed-ranges-min-size"];
  }

  override async releasedir(fd: Fd): Promise<void> {
    if (!this.#crawled.release(fd)) await this.child.releasedir(fd);
  }

  override unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    const place = this.#crawled.place(args.loc.parent);
    return place ? this.#own("unlink", this.#crawled.unlink(place, args)) : this.child.unlink(call, args);
  }

  override rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    const place = this.#crawled.place(args.loc.parent);
    return place ? this.#own("rmdir", this.#crawled.rmdir(place, args)) : this.child.rmdir(call, args);
  }

  override truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    return this.#changing(args.loc.inode, this.child.truncate(call, args));
  }

  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    const work = this.child.writev(call, args);
    return (args.flags & O_DSYNC) === 0 ? this.#changing(args.fd.inode, work) : work;
  }

  override async fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    const changes = this.#syncs.syncing(args.fd.inode);
    const reply = await this.child.fsync(call, args);
    this.#syncs.synced(args.fd.inode, changes);
    return reply;
  }

  override setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    const wind = (): Promise<Reply<"setxattr">> => this.child.setxattr(call, args);
    return this.#setMarks(args.loc.inode.gfid, args.xattrs.keys(), wind);
  }

  override fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    const wind = (): Promise<Reply<"fsetxattr">> => this.child.fsetxattr(call, args);
    return this.#setMarks(args.fd.inode.gfid, args.xattrs.keys(), wind);
  }

  override removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    return this.#setMarks(args.loc.inode.gfid, [args.name], () => this.child.removexattr(call, args));
  }

  override fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    return this.#setMarks(args.fd.inode.gfid, [args.name], () => this.child.fremovexattr(call, args));
  }

  override getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    const { name, loc } = args;
    if (name?.startsWith(CHANGED_RANGES_KEY.RECORD_PREFIX)) return this.#changedRanges(call, loc, name);
    const answer = name === undefined ? undefined : this.#crawled.xattr(name);
    return answer ? Promise.resolve({ xattrs: answer }) : this.child.getxattr(call, args);
  }

  override opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.#crawled.place(args.fd.inode) ? Promise.resolve({}) : this.child.opendir(call, args);
  }

  override async fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    const reply = await this.child.fstat(call, args);
    return asksLinkCount(args.xdata) ? { ...reply, xdata: this.#linkCount(reply.xdata) } : reply;
  }

  override async lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const virtual = this.#crawled.lookup(args);
    if (virtual) return this.#own("lookup", virtual);
    const reply = await this.child.lookup(call, args);
    return asksLinkCount(args.xdata) ? { ...reply, xdata: this.#linkCount(reply.xdata) } : reply;
  }

  override readdir(call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    const place = this.#crawled.place(args.fd.inode);
    if (!place) return this.child.readdir(call, args);
    const typeOf = (gfid: Gfid): Promise<number> => this.#crawled.typeOf(this.child, call, gfid);
    return this.#own("readdir", this.#crawled.readdir(place, args, typeOf));
  }

  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.#changing(args.fd.inode, this.child.ftruncate(call, args));
  }

  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.#changing(args.fd.inode, this.child.fallocate(call, args));
  }

  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.#changing(args.fd.inode, this.child.discard(call, args));
  }

  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.#changing(args.fd.inode, this.child.zerofill(call, args));
  }

  override copy_file_range(call: Call, args: Args<"copy_file_range">): Promise<Reply<"copy_file_range">> {
    return this.#changing(args.fdOut.inode, this.child.copy_file_range(call, args));
  }

  override xattrop(call: Call, args: Args<"xattrop">): Promise<Reply<"xattrop">> {
    const { loc, op, xattrs, xdata } = args;
    const wind = (): Promise<Reply<"xattrop">> => this.child.xattrop(call, args);
    if (!this.#concerns(xattrs, xdata)) return wind();
    if (!isTracked(op)) return this.#setMarks(loc.inode.gfid, xattrs.keys(), wind);
    const subject = this.#subjectAt(call, loc);
    return this.#queue.run(gfidKey(loc.inode.gfid), () => this.#mark(subject, args, wind));
  }

  override fxattrop(call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    const { fd, op, xattrs, xdata } = args;
    const wind = (): Promise<Reply<"fxattrop">> => this.child.fxattrop(call, args);
    if (!this.#concerns(xattrs, xdata)) return wind();
    if (!isTracked(op)) return this.#setMarks(fd.inode.gfid, xattrs.keys(), wind);
    const subject: Subject = {
      inode: fd.inode,
      add: async (zeroes) =>
        (await this.child.fxattrop(call, { fd, op: XATTROP.ADD_ARRAY, xattrs: zeroes })).xattrs,
      size: async () => (await this.child.fstat(call, { fd })).stat.size,
    };
    return this.#queue.run(gfidKey(fd.inode.gfid), () => this.#mark(subject, args, wind));
  }

  /** Whether an xattrop is about marks or about names at all. */
  #concerns(xattrs: Dict, xdata: Dict | undefined): boolean {
    for (const key of xattrs.keys()) if (this.#watch.watches(key)) return true;
    return xdata !== undefined && (xdata.has(INDEX_KEY.ENTRY_CREATE) || xdata.has(INDEX_KEY.ENTRY_DELETE));
  }

  /** Lists, records, winds, and takes out what is zero now: the steps of one xattrop, alone on its inode. */
  async #mark(
    subject: Subject,
    { xattrs, xdata }: { xattrs: Dict; xdata?: Dict | undefined },
    wind: () => Promise<Reply<"xattrop">>,
  ): Promise<Reply<"xattrop">> {
    const { gfid } = subject.inode;
    const requested = this.#watch.verdicts(xattrs);
    for (const which of MARK_CLASSES) if (requested[which] === "set") await this.#enlist(which, gfid);
    const entered = xdata?.text(INDEX_KEY.ENTRY_CREATE);
    if (entered !== undefined) await this.#own("xattrop", this.#store.addName(gfid, entered));
    if (requested.dirty === "set" && this.#beginsBatch(xattrs)) this.#syncs.begins(subject.inode);
    const increments = this.#changes
      ? dataIncrements(xattrs, (key) => this.#watch.classOf(key) === "xattrop")
      : [];
    const change = this.options["changed-ranges"] ? xdata : undefined;
    const steps =
      increments.length > 0
        ? await this.#own("xattrop", this.#changes!.before(subject, increments, change))
        : undefined;
    let reply: Reply<"xattrop">;
    try {
      reply = await wind();
    } catch (error) {
      if (steps) await this.#changes!.settled(steps, undefined);
      throw error;
    }
    if (steps) await this.#changes!.settled(steps, reply.xattrs);
    await this.#afterwards(subject.inode, this.#watch.verdicts(reply.xattrs), xdata);
    return reply;
  }

  async #afterwards({ gfid, type }: Inode, found: Verdicts, xdata: Dict | undefined): Promise<void> {
    for (const which of MARK_CLASSES) {
      if (found[which] === "set") await this.#enlist(which, gfid);
      else if (found[which] === "zero") await this.#delist(which, gfid);
    }
    const left = xdata?.text(INDEX_KEY.ENTRY_DELETE);
    if (left !== undefined)
      await this.#tried("entry-changes", gfid, this.#store.removeName(gfidText(gfid), left));
    const purges = xdata === undefined || (xdata.number(INDEX_KEY.PURGE) ?? 0) !== 0;
    // While the directory is dirty a change of another name is under way, which may come to blame a copy.
    const isQuiet = found.xattrop === "zero" && found.dirty !== "set";
    if (purges && isQuiet && (type === S_IFDIR || type === 0))
      await this.#tried("entry-changes", gfid, this.#store.removeDirectory(gfidText(gfid)));
  }

  /** Whether an xattrop is the pre-op of a change of data. */
  #beginsBatch(xattrs: Dict): boolean {
    return dataIncrements(xattrs, (key) => this.#watch.classOf(key) === "dirty").some(
      ({ delta }) => delta > 0,
    );
  }

  #subjectAt(call: Call, loc: Loc): Subject {
    return {
      inode: loc.inode,
      add: async (zeroes) =>
        (await this.child.xattrop(call, { loc, op: XATTROP.ADD_ARRAY, xattrs: zeroes })).xattrs,
      size: async () => (await this.child.stat(call, { loc })).stat.size,
    };
  }

  /** A call that changes data, and may not have reached the disk when it is answered. */
  async #changing<R>(inode: Inode, work: Promise<R>): Promise<R> {
    try {
      return await work;
    } finally {
      this.#syncs.changed(inode);
    }
  }

  async #enlist(which: MarkClass, gfid: Gfid): Promise<void> {
    const key = gfidKey(gfid);
    const known = this.#listed.get(key) ?? 0;
    if ((known & LISTED[which]) !== 0) return;
    if (await this.#tried(which, gfid, this.#store.add(which, gfid)))
      this.#listed.set(key, (known & ~UNLISTED[which]) | LISTED[which]);
  }

  async #delist(which: MarkClass, gfid: Gfid): Promise<void> {
    const key = gfidKey(gfid);
    const known = this.#listed.get(key) ?? 0;
    if ((known & UNLISTED[which]) !== 0) return;
    if (await this.#tried(which, gfid, this.#store.remove(which, gfid)))
      this.#listed.set(key, (known & ~LISTED[which]) | UNLISTED[which]);
  }

  /** A list that cannot be changed is no reason to fail the call. */
  async #tried(which: string, gfid: Gfid, work: Promise<void>): Promise<boolean> {
    try {
      await work;
      return true;
    } catch (error) {
      this.log.error("index not changed", { class: which, gfid: gfidText(gfid), error: String(error) });
      return false;
    }
  }

  /** A crawl took an entry out: the object is gone, or nothing is pending. */
  #purged(which: MarkClass, gfid: Gfid): Promise<void> {
    return this.#queue.run(gfidKey(gfid), async () => {
      this.#listed.delete(gfidKey(gfid));
      await this.#store.remove(which, gfid);
      if (which === "xattrop") await this.#changes?.forget(gfid);
    });
  }

  /** Marks that are set and not counted up are in no record. */
  #setMarks<R>(gfid: Gfid, keys: Iterable<string>, wind: () => Promise<R>): Promise<R> {
    const changes = this.#changes;
    if (!changes) return wind();
    const marks: string[] = [];
    for (const key of keys) if (this.#watch.classOf(key) === "xattrop") marks.push(key);
    if (marks.length === 0) return wind();
    return this.#queue.run(gfidKey(gfid), async () => {
      await changes.drop(gfid, marks);
      return wind();
    });
  }

  async #changedRanges(call: Call, loc: Args<"getxattr">["loc"], name: string): Promise<Reply<"getxattr">> {
    const key = name.slice(CHANGED_RANGES_KEY.RECORD_PREFIX.length);
    const subject = this.#subjectAt(call, loc);
    const answered = async (): Promise<Buffer | undefined> => this.#changes?.answer(subject, key);
    const record = await this.#queue.run(gfidKey(loc.inode.gfid), answered);
    if (!record) throw new FopError("ENODATA", { fop: "getxattr", xlator: this.name });
    return { xattrs: Dict.ofBytes({ [name]: record }) };
  }

  /** Errors of the store say that they are of this translator. */
  async #own<R>(fop: FopName, work: Promise<R>): Promise<R> {
    try {
      return await work;
    } catch (error) {
      const { code, message } = toFopError(error);
      throw new FopError(code, { fop, xlator: this.name, message, cause: error });
    }
  }

  #linkCount(xdata: Dict | undefined): Dict {
    const reply = xdata?.clone() ?? new Dict();
    return reply.setInt(INDEX_KEY.LINK_COUNT, this.#store.count("xattrop") > 0 ? 1 : 0);
  }
}

/** Operations whose values are counters. */
function isTracked(op: number): boolean {
  return op === XATTROP.ADD_ARRAY || op === XATTROP.ADD_ARRAY64;
}

function asksLinkCount(xdata: Dict | undefined): boolean {
  return xdata !== undefined && xdata.text(INDEX_KEY.LINK_COUNT) === INDEX_KEY.PENDING_COUNT;
}
