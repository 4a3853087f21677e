/**
 * performance/io-cache: keeps what was read, in pages of 128 KB, and serves it again (spec translators.md
 * 7.2; GlusterFS xlators/performance/io-cache).
 *
 * Pages are served for `cache-timeout` after their file was last seen unchanged; then its attributes are
 * asked for, once for all readers, and another mtime or size drops its pages. Reads that miss the same page
 * wait for one answer. Bytes are copied once, when they enter: what came from the network is views of memory
 * that a page would hold back whole. See ContentCache for what else drops.
 *
 * VM hosts leave it off: guests cache by themselves, with better knowledge, and a second copy in the host
 * takes their memory.
 */

import { LRUCache } from "lru-cache";
import type { Call } from "../../src/core/call.ts";
import { ContentCache } from "../../src/core/content-cache.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { type Gfid, gfidKey } from "../../src/core/gfid.ts";
import { type Iatt, ZERO_IATT } from "../../src/core/iatt.ts";
import type { Fd } from "../../src/core/inode.ts";
import { bool, int, priorities, size } from "../../src/core/options.ts";
import { PriorityCache, priorityOf } from "../../src/core/priorities.ts";
import { type Dump, defineXlator, exactly, type XlatorInit } from "../../src/core/xlator.ts";

const PAGE_BYTES = 128 << 10;
/** What a page takes besides its bytes. */
const ENTRY_BYTES = 200;
/** Files whose priority is remembered. */
const PRIORITIES_MAX = 65_536;
/** Without patterns all files are equal. */
const DEFAULT_PRIORITY = 1;

const options = {
  priority: priorities({
    default: [],
    live: true,
    volumeKey: "performance.cache-priority",
    describe: "Which files stay longest when the cache is full.",
  }),
  "cache-timeout": int({
    default: 1,
    min: 0,
    max: 60,
    live: true,
    aliases: ["force-revalidate-timeout"],
    volumeKey: "performance.cache-refresh-timeout",
    describe: "Seconds that pages are served without asking the brick whether the file has changed.",
  }),
  "cache-size": size({
    default: 32 << 20,
    min: 4 << 20,
    live: true,
    volumeKey: "performance.io-cache-size",
    describe: "Bytes of pages kept.",
  }),
  "min-file-size": size({
    default: 0,
    live: true,
    volumeKey: "performance.cache-min-file-size",
    describe: "Files that are shorter are not kept.",
  }),
  "max-file-size": size({
    default: 0,
    live: true,
    volumeKey: "performance.cache-max-file-size",
    describe: "Files that are longer are not kept; 0 for no limit.",
  }),
  "pass-through": bool({
    default: false,
    live: true,
    volumeKey: "performance.io-cache-pass-through",
    describe: "Serve every read from the brick.",
  }),
} as const;

type Options = typeof options;

export const ioCache = defineXlator({
  type: "performance/io-cache",
  children: exactly(1),
  options,
  create: (init) => new IoCache(init),
});

/** A file with pages, or with answers under way that become pages. */
interface CachedFile {
  readonly key: string;
  readonly pages: Map<number, Page>;
  /** By page. */
  readonly fetches: Map<number, UnderWay<Page>>;
  confirmation: UnderWay<void> | undefined;
  /** As last seen; the pages are of this moment. Undefined while there are none. */
  seen: Iatt | undefined;
  /** When the question was asked that `seen` was last confirmed by. */
  confirmedAtMs: number;
  /** It changed: what was read of it is not to be mixed with what is read from now on. */
  dropped: boolean;
}

interface Page {
  readonly file: CachedFile;
  readonly index: number;
  /** Shorter than PAGE_BYTES at the end of the file. */
  readonly bytes: Buffer;
}

/** An answer that others may wait for, too, while it is young enough. */
interface UnderWay<R> {
  readonly askedAtMs: number;
  readonly answer: Promise<R>;
}

class IoCache extends ContentCache<Options> {
  readonly #files = new Map<string, CachedFile>();
  readonly #pages: PriorityCache<Page, Page>;
  /** By gfid, where there are patterns. */
  readonly #priorities = new LRUCache<string, number>({ max: PRIORITIES_MAX });
  /** Opened on files that are too short or too long to be kept. */
  #uncached = new WeakSet<Fd>();
  #hits = 0;
  #misses = 0;

  constructor(init: XlatorInit<Options>) {
    super(init);
    this.#pages = new PriorityCache(
      init.options["cache-size"],
      (page) => page.bytes.length + ENTRY_BYTES,
      (page) => this.#evicted(page),
    );
  }

  override reconfigure(values: XlatorInit<Options>["options"]): void {
    super.reconfigure(values);
    this.#pages.resize(values["cache-size"]);
    this.#uncached = new WeakSet();
    if (values["pass-through"]) this.dropAll();
  }

  override dump(): Dump {
    const { count: pages, bytes } = this.#pages;
    return { files: this.#files.size, pages, bytes, hits: this.#hits, misses: this.#misses };
  }

  protected override drop(key: string): void {
    const file = this.#files.get(key);
    if (file === undefined) return;
    // Whoever comes next begins anew; answers under way are for those who wait already.
    file.dropped = true;
    this.#files.delete(key);
    for (const page of file.pages.values()) this.#pages.delete(page);
    file.pages.clear();
  }

  protected override dropAll(): void {
    for (const key of [...this.#files.keys()]) this.drop(key);
  }

  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    if (
      this.options["pass-through"] ||
      args.size === 0 ||
      !this.mayServe(args) ||
      this.#uncached.has(args.fd)
    )
      return this.child.readv(call, args);
    return this.#readPages(call, args);
  }

  override async create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    const reply = await super.create(call, args);
    this.#nameIs(args.loc.name, reply.stat.gfid);
    return reply;
  }

  override async lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const reply = await this.child.lookup(call, args);
    this.#nameIs(args.loc.name, reply.stat.gfid);
    return reply;
  }

  override async readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    const reply = await this.child.readdirp(call, args);
    if (this.options.priority.length > 0)
      for (const { name, stat } of reply.entries) this.#nameIs(name, stat.gfid);
    return reply;
  }

  async #readPages(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const key = gfidKey(args.fd.inode.gfid);
    const known = this.#files.get(key);
    if (known !== undefined && known.pages.size > 0 && !this.#isFresh(known.confirmedAtMs))
      await this.#confirm(call, args.fd, known);
    const file = this.#fileOf(key);
    const pages: (Page | Promise<Page>)[] = [];
    const last = Math.floor((args.offset + args.size - 1) / PAGE_BYTES);
    for (let index = Math.floor(args.offset / PAGE_BYTES); index <= last; index++)
      pages.push(this.#page(call, args, file, index));
    const found = await Promise.all(pages);
    // It changed meanwhile, and pages of before and after must not be mixed.
    if (file.dropped) return this.child.readv(call, args);
    return assemble(found, args);
  }

  #page(call: Call, args: Args<"readv">, file: CachedFile, index: number): Page | Promise<Page> {
    const page = file.pages.get(index);
    if (page !== undefined) {
      this.#hits++;
      return this.#pages.get(page)!;
    }
    this.#misses++;
    const underWay = file.fetches.get(index);
    if (underWay !== undefined && this.#isFresh(underWay.askedAtMs)) return underWay.answer;
    const askedAtMs = this.env.clock.nowMs();
    const fetch = { askedAtMs, answer: this.#fetch(call, args, file, index, askedAtMs) };
    file.fetches.set(index, fetch);
    return fetch.answer;
  }

  async #fetch(
    call: Call,
    { fd, flags }: Args<"readv">,
    file: CachedFile,
    index: number,
    askedAtMs: number,
  ): Promise<Page> {
    const since = this.watch.begin();
    try {
      const request = { fd, offset: index * PAGE_BYTES, size: PAGE_BYTES, flags };
      const { data, stat, lease } = await this.child.readv(call, request);
      const page = { file, index, bytes: Buffer.concat(data) };
      lease?.release();
      if (!this.#isKept(stat)) this.#uncached.add(fd);
      else if (this.watch.unchangedSince(file.key, since)) this.#keep(page, stat, askedAtMs);
      return page;
    } finally {
      this.watch.end();
      if (file.fetches.get(index)?.askedAtMs === askedAtMs) file.fetches.delete(index);
      this.#forgetEmpty(file);
    }
  }

  #keep(page: Page, stat: Iatt, askedAtMs: number): void {
    const { file, index } = page;
    // Without times nothing could be compared later.
    if (file.dropped || page.bytes.length === 0 || stat.ctime === 0) return;
    if (file.seen !== undefined && file.pages.size > 0 && !isSame(file.seen, stat)) {
      this.drop(file.key);
      return;
    }
    file.seen = stat;
    file.confirmedAtMs = file.pages.size > 0 ? Math.max(file.confirmedAtMs, askedAtMs) : askedAtMs;
    file.pages.set(index, page);
    const { priority } = this.options;
    const unnamed = priority.length > 0 ? 0 : DEFAULT_PRIORITY;
    this.#pages.set(page, page, this.#priorities.get(file.key) ?? unnamed);
  }

  #isKept({ ctime, size: bytes }: Iatt): boolean {
    const { "min-file-size": min, "max-file-size": max } = this.options;
    return ctime === 0 || (bytes >= min && (max === 0 || bytes <= max));
  }

  /** Asks whether the file has changed; drops it when it has, or when nobody can say. */
  #confirm(call: Call, fd: Fd, file: CachedFile): Promise<void> {
    const { confirmation } = file;
    if (confirmation !== undefined && this.#isFresh(confirmation.askedAtMs)) return confirmation.answer;
    const askedAtMs = this.env.clock.nowMs();
    file.confirmation = { askedAtMs, answer: this.#compare(call, fd, file, askedAtMs) };
    return file.confirmation.answer;
  }

  async #compare(call: Call, fd: Fd, file: CachedFile, askedAtMs: number): Promise<void> {
    try {
      const { stat } = await this.child.fstat(call, { fd });
      if (file.seen === undefined || !isSame(file.seen, stat)) this.drop(file.key);
      else file.confirmedAtMs = Math.max(file.confirmedAtMs, askedAtMs);
    } catch {
      // The read that comes next tells why.
      this.drop(file.key);
    } finally {
      if (file.confirmation?.askedAtMs === askedAtMs) file.confirmation = undefined;
    }
  }

  #isFresh(askedAtMs: number): boolean {
    return this.env.clock.nowMs() - askedAtMs < this.options["cache-timeout"] * 1000;
  }

  #fileOf(key: string): CachedFile {
    let file = this.#files.get(key);
    if (file === undefined) {
      const [pages, fetches] = [new Map(), new Map()];
      const nothing = { confirmation: undefined, seen: undefined, confirmedAtMs: 0, dropped: false };
      file = { key, pages, fetches, ...nothing };
      this.#files.set(key, file);
    }
    return file;
  }

  #nameIs(name: string | undefined, gfid: Gfid): void {
    const { priority } = this.options;
    if (name !== undefined && priority.length > 0)
      this.#priorities.set(gfidKey(gfid), priorityOf(priority, name));
  }

  #evicted({ file, index }: Page): void {
    file.pages.delete(index);
    this.#forgetEmpty(file);
  }

  #forgetEmpty(file: CachedFile): void {
    const isEmpty = file.pages.size === 0 && file.fetches.size === 0;
    if (isEmpty && this.#files.get(file.key) === file) this.#files.delete(file.key);
  }
}

/** Contents are taken to be the same while mtime and size are. */
function isSame(a: Iatt, b: Iatt): boolean {
  return a.mtime === b.mtime && a.mtimeNsec === b.mtimeNsec && a.size === b.size;
}

/** The bytes that were asked for, as views of pages, up to the first page that ends the file. */
function assemble(pages: readonly Page[], { offset, size }: Args<"readv">): Reply<"readv"> {
  const data: Buffer[] = [];
  let filled = 0;
  let eof = false;
  for (const { index, bytes } of pages) {
    const base = index * PAGE_BYTES;
    const part = bytes.subarray(Math.max(offset - base, 0), offset + size - base);
    if (part.length > 0) data.push(part);
    filled += part.length;
    eof = bytes.length < PAGE_BYTES && base + bytes.length <= offset + size;
    if (bytes.length < PAGE_BYTES) break;
  }
  // Attributes may be older than what a layer above promises: it gets none.
  return { data, size: filled, stat: ZERO_IATT, eof };
}
