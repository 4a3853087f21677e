/**
 * performance/quick-read: lookups bring the contents of small files along, and reads of these are served from
 * memory (spec translators.md 7.2; GlusterFS xlators/performance/quick-read).
 *
 * Contents are served for `cache-timeout` after the question that brought or confirmed them was asked. A
 * lookup, stat or listing that shows the same mtime (or ctime, by option) and size confirms; another one
 * drops. See ContentCache for what else drops. Bricks of a sharded file bring the first block only: contents
 * that are not as long as the file are not kept.
 *
 * VM hosts leave it off: images are no small files, and each lookup asks for contents that nobody reads.
 */

import type { Call } from "../../src/core/call.ts";
import { ContentCache } from "../../src/core/content-cache.ts";
import { Dict } from "../../src/core/dict.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { gfidKey } from "../../src/core/gfid.ts";
import { type Iatt, S_IFREG, ZERO_IATT } from "../../src/core/iatt.ts";
import type { Inode } from "../../src/core/inode.ts";
import { bool, int, priorities, size } from "../../src/core/options.ts";
import { PriorityCache, priorityOf } from "../../src/core/priorities.ts";
import { type Dump, defineXlator, exactly, type XlatorInit } from "../../src/core/xlator.ts";

/** xdata of a lookup: the whole file, if it has at most so many bytes. */
const CONTENT = "glusterfs.content";
/** Reply xdata of a lookup: the copies are not known to be good. */
const DOUBTFUL = ["glusterfs.bad-inode", "sh-failed"] as const;
/** What a kept file takes besides its bytes. */
const ENTRY_BYTES = 300;

const options = {
  priority: priorities({
    default: [],
    live: true,
    describe: "Which files stay longest when the cache is full.",
  }),
  "cache-size": size({
    default: 128 << 20,
    min: 0,
    live: true,
    volumeKey: "performance.quick-read-cache-size",
    describe: "Bytes of small files kept.",
  }),
  "cache-timeout": int({
    default: 1,
    min: 0,
    live: true,
    volumeKey: "performance.quick-read-cache-timeout",
    describe: "Seconds that contents are served without asking the brick whether they have changed.",
  }),
  "max-file-size": size({
    default: 64 << 10,
    min: 0,
    max: 1000 << 10,
    live: true,
    volumeKey: "performance.quick-read-max-file-size",
    describe: "Longest file that is kept.",
  }),
  "quick-read-cache-invalidation": bool({
    default: false,
    live: true,
    volumeKey: "performance.quick-read-cache-invalidation",
    describe: "Drop contents when a brick tells of a change; Mortar always does.",
  }),
  "ctime-invalidation": bool({
    default: false,
    live: true,
    volumeKey: "performance.ctime-invalidation",
    describe: "Compare ctime instead of mtime, where programs set mtimes themselves.",
  }),
} as const;

type Options = typeof options;

export const quickRead = defineXlator({
  type: "performance/quick-read",
  children: exactly(1),
  options,
  create: (init) => new QuickRead(init),
});

interface SmallFile {
  readonly content: Buffer;
  /** As the brick said when it gave the contents. */
  readonly stat: Iatt;
  /** When the question was asked that the contents were last confirmed by. */
  confirmedAtMs: number;
}

class QuickRead extends ContentCache<Options> {
  readonly #files: PriorityCache<string, SmallFile>;
  #hits = 0;
  #misses = 0;

  constructor(init: XlatorInit<Options>) {
    super(init);
    this.#files = new PriorityCache(init.options["cache-size"], (file) => file.content.length + ENTRY_BYTES);
  }

  override reconfigure(values: XlatorInit<Options>["options"]): void {
    super.reconfigure(values);
    this.#files.resize(values["cache-size"]);
  }

  override dump(): Dump {
    return { files: this.#files.count, bytes: this.#files.bytes, hits: this.#hits, misses: this.#misses };
  }

  protected override drop(key: string): void {
    this.#files.delete(key);
  }

  protected override dropAll(): void {
    this.#files.clear();
  }

  override async stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    const askedAtMs = this.env.clock.nowMs();
    const since = this.watch.begin();
    try {
      const reply = await this.child.stat(call, args);
      this.#confirm(reply.stat, since, askedAtMs);
      return reply;
    } finally {
      this.watch.end();
    }
  }

  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const file = this.mayServe(args) ? this.#fresh(args.fd.inode) : undefined;
    if (file === undefined || args.offset >= file.content.length) {
      this.#misses++;
      return this.child.readv(call, args);
    }
    this.#hits++;
    const data = file.content.subarray(args.offset, args.offset + args.size);
    const eof = args.offset + data.length === file.content.length;
    // Attributes may be older than what a layer above promises: it gets none.
    return Promise.resolve({ data: [data], size: data.length, stat: ZERO_IATT, eof });
  }

  override async fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    const askedAtMs = this.env.clock.nowMs();
    const since = this.watch.begin();
    try {
      const reply = await this.child.fstat(call, args);
      this.#confirm(reply.stat, since, askedAtMs);
      return reply;
    } finally {
      this.watch.end();
    }
  }

  override async lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const request = this.#wants(args.loc.inode) ? this.#withContent(args) : args;
    const askedAtMs = this.env.clock.nowMs();
    const since = this.watch.begin();
    try {
      const reply = await this.child.lookup(call, request);
      this.#learn(args.loc.name ?? "", reply, since, askedAtMs);
      return reply;
    } catch (error) {
      if (args.loc.inode.linked) this.drop(gfidKey(args.loc.inode.gfid));
      throw error;
    } finally {
      this.watch.end();
    }
  }

  override async readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    const askedAtMs = this.env.clock.nowMs();
    const since = this.watch.begin();
    try {
      const reply = await this.child.readdirp(call, args);
      if (this.#files.count > 0) for (const { stat } of reply.entries) this.#confirm(stat, since, askedAtMs);
      return reply;
    } finally {
      this.watch.end();
    }
  }

  #fresh(inode: Inode): SmallFile | undefined {
    const file = this.#files.get(gfidKey(inode.gfid));
    if (file === undefined) return undefined;
    const ageMs = this.env.clock.nowMs() - file.confirmedAtMs;
    return ageMs < this.options["cache-timeout"] * 1000 ? file : undefined;
  }

  /** Whether a lookup shall bring contents: they are not here, and it may be a file. */
  #wants({ linked, type, gfid }: Inode): boolean {
    if (this.options["max-file-size"] === 0 || this.options["cache-timeout"] === 0) return false;
    if (!linked) return true;
    return (type === 0 || type === S_IFREG) && this.#files.get(gfidKey(gfid)) === undefined;
  }

  #withContent(args: Args<"lookup">): Args<"lookup"> {
    const xdata = args.xdata?.clone() ?? new Dict();
    if (!xdata.has(CONTENT)) xdata.setUint(CONTENT, this.options["max-file-size"]);
    return { ...args, xdata };
  }

  #learn(name: string, { stat, xdata }: Reply<"lookup">, since: number, askedAtMs: number): void {
    const content = xdata?.bytes(CONTENT);
    if (xdata !== undefined && DOUBTFUL.some((key) => xdata.has(key))) {
      this.drop(gfidKey(stat.gfid));
    } else if (content === undefined) {
      this.#confirm(stat, since, askedAtMs);
    } else {
      const key = gfidKey(stat.gfid);
      const isWhole = content.length > 0 && content.length === stat.size;
      if (!isWhole || !this.watch.unchangedSince(key, since)) return;
      if ((this.#files.get(key)?.confirmedAtMs ?? 0) > askedAtMs) return;
      const file = { content, stat, confirmedAtMs: askedAtMs };
      this.#files.set(key, file, priorityOf(this.options.priority, name));
    }
  }

  /** Attributes from a brick: the contents are still those, or not any more. */
  #confirm(stat: Iatt, since: number, askedAtMs: number): void {
    const key = gfidKey(stat.gfid);
    const file = this.#files.get(key);
    if (file === undefined || !this.watch.unchangedSince(key, since)) return;
    if (!this.#isSame(file.stat, stat)) this.drop(key);
    else if (askedAtMs > file.confirmedAtMs) file.confirmedAtMs = askedAtMs;
  }

  #isSame(a: Iatt, b: Iatt): boolean {
    if (a.size !== b.size) return false;
    return this.options["ctime-invalidation"]
      ? a.ctime === b.ctime && a.ctimeNsec === b.ctimeNsec
      : a.mtime === b.mtime && a.mtimeNsec === b.mtimeNsec;
  }
}
