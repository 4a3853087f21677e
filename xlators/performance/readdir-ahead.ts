/**
 * performance/readdir-ahead: reads a directory from the moment it is opened, before the next page is asked
 * for (spec translators.md 1.7, 7; GlusterFS xlators/performance/readdir-ahead).
 *
 * Entries wait in the open directory and are given in order. A read at another offset (rewinddir, seekdir), a
 * change of the directory, or a wait of a second ends that: the read goes to the brick, and reading ahead
 * goes on behind it. Attributes of an inode that was changed since they were asked for are left out, so that
 * a listing never takes an own write back. With parallel-readdir glusterd puts one of these above each
 * subvolume of distribute: then all are read at the same time.
 *
 * VM hosts leave it off: directories of images are short, and one answer holds them whole.
 */

import type { Call } from "../../src/core/call.ts";
import { ChangeFilter } from "../../src/core/change-filter.ts";
import { ChangeWatch } from "../../src/core/change-watch.ts";
import type { Dict } from "../../src/core/dict.ts";
import type { Args, DirentPlus, Reply } from "../../src/core/fops.ts";
import { type Gfid, gfidKey } from "../../src/core/gfid.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";
import type { Fd, Inode } from "../../src/core/inode.ts";
import { nameBytes } from "../../src/core/name.ts";
import { mayWrite } from "../../src/core/open-flags.ts";
import { bool, size } from "../../src/core/options.ts";
import { invalidates } from "../../src/core/upcall-flags.ts";
import { type ChildEvent, type Dump, defineXlator, exactly, type XlatorBase } from "../../src/core/xlator.ts";

/** What an entry takes besides its name: in memory, and of the room in a reply as bricks count it. */
const ENTRY_BYTES = 200;
const AGE_MAX_MS = 1000;

const options = {
  "rda-request-size": size({
    default: 128 << 10,
    min: 4096,
    max: 128 << 10,
    live: true,
    volumeKey: "performance.rda-request-size",
    describe: "Bytes of entries asked for at once.",
  }),
  "rda-low-wmark": size({
    default: 4096,
    min: 0,
    max: 10 << 20,
    live: true,
    volumeKey: "performance.rda-low-wmark",
    describe: "Reading ahead goes on when at most so many bytes wait in an open directory.",
  }),
  "rda-high-wmark": size({
    default: 128 << 10,
    min: 0,
    max: 100 << 20,
    live: true,
    volumeKey: "performance.rda-high-wmark",
    describe: "Reading ahead pauses when at least so many bytes wait in an open directory.",
  }),
  "rda-cache-limit": size({
    default: 10 << 20,
    min: 0,
    live: true,
    volumeKey: "performance.rda-cache-limit",
    describe: "Bytes that wait in all open directories together.",
  }),
  "parallel-readdir": bool({
    default: false,
    live: true,
    volumeKey: "performance.parallel-readdir",
    describe: "Has one of these above each subvolume of distribute.",
  }),
  "pass-through": bool({
    default: false,
    live: true,
    volumeKey: "performance.readdir-ahead-pass-through",
    describe: "Read nothing ahead.",
  }),
} as const;

export const readdirAhead = defineXlator({
  type: "performance/readdir-ahead",
  children: exactly(1),
  options,
  create: (init) => new ReaddirAhead(init),
});

/** One answer that was asked for ahead. */
interface Batch {
  readonly entries: readonly DirentPlus[];
  /** First entry that was not given yet. */
  next: number;
  readonly askedAtMs: number;
  readonly since: number;
}

/** What is read ahead in one open directory. */
class Ahead {
  readonly key: string;
  /** What the entries were asked for with. */
  xdata: Dict | undefined;
  /** Offset of the read that can be served. */
  next = 0n;
  /** Offset that reading ahead goes on at. */
  edge = 0n;
  /** Nothing follows `edge`; asked at this time. */
  endSeenAtMs: number | undefined;
  readonly batches: Batch[] = [];
  bytes = 0;
  /** The answer that the next entries will come with. */
  filling: Promise<void> | undefined;
  /** Answers under way, those included that nobody waits for any more. */
  readonly underWay = new Set<Promise<void>>();
  /** Between the high and the low mark, on the way down. */
  isFull = false;
  /** Counts the times that everything was dropped. */
  epoch = 0;

  constructor(key: string, xdata: Dict | undefined) {
    this.key = key;
    this.xdata = xdata;
  }
}

class ReaddirAhead extends ChangeFilter<typeof options> {
  readonly #watch = new ChangeWatch();
  readonly #aheads = new WeakMap<Fd, Ahead>();
  readonly #byDirectory = new Map<string, Set<Ahead>>();
  #bytes = 0;
  #hits = 0;
  #misses = 0;

  override dump(): Dump {
    return {
      directories: this.#byDirectory.size,
      bytes: this.#bytes,
      hits: this.#hits,
      misses: this.#misses,
    };
  }

  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    switch (event.type) {
      case "child-up":
      case "child-down":
      case "some-descendent-up":
      case "some-descendent-down":
        this.#watch.allChanged();
        for (const key of this.#byDirectory.keys()) this.#dropDirectory(key);
        break;
      case "upcall": {
        const { upcall } = event;
        if (!invalidates(upcall)) break;
        for (const gfid of [upcall.gfid, ...(upcall.parents ?? [])]) this.#keyChanged(gfidKey(gfid));
      }
    }
    super.onChildEvent(event, from);
  }

  /** Listings bring attributes, which a writer that is not seen here would make old. */
  override localFile(fd: Fd): number | undefined {
    return mayWrite(fd.flags) ? undefined : this.child.localFile(fd);
  }

  override invalidate(gfid: Gfid): void {
    this.#keyChanged(gfidKey(gfid));
    super.invalidate(gfid);
  }

  protected override changed(inode: Inode): void {
    this.#keyChanged(gfidKey(inode.gfid));
  }

  override async releasedir(fd: Fd): Promise<void> {
    const ahead = this.#aheads.get(fd);
    if (ahead !== undefined) {
      this.#drop(ahead);
      // The brick must not be asked about an open directory that it was told to close.
      await Promise.all(ahead.underWay);
      this.#aheads.delete(fd);
      const others = this.#byDirectory.get(ahead.key);
      others?.delete(ahead);
      if (others?.size === 0) this.#byDirectory.delete(ahead.key);
    }
    await super.releasedir(fd);
  }

  override async opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    const reply = await this.child.opendir(call, args);
    if (this.options["pass-through"] || args.fd.anonymous) return reply;
    const ahead = new Ahead(gfidKey(args.loc.inode.gfid), args.xdata);
    this.#aheads.set(args.fd, ahead);
    const others = this.#byDirectory.get(ahead.key);
    if (others) others.add(ahead);
    else this.#byDirectory.set(ahead.key, new Set([ahead]));
    this.#fill(call, args.fd, ahead);
    return reply;
  }

  override readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    const ahead = this.#aheads.get(args.fd);
    if (ahead === undefined || this.options["pass-through"]) return this.child.readdirp(call, args);
    return this.#read(call, args, ahead);
  }

  async #read(call: Call, args: Args<"readdirp">, ahead: Ahead): Promise<Reply<"readdirp">> {
    for (;;) {
      if (args.offset !== ahead.next || !asksTheSame(args.xdata, ahead.xdata)) break;
      const reply = this.#take(ahead, args.size);
      if (reply !== undefined) {
        this.#hits++;
        this.#fill(call, args.fd, ahead);
        return reply;
      }
      if (ahead.filling === undefined) break;
      await ahead.filling;
    }
    this.#misses++;
    this.#drop(ahead);
    const { epoch } = ahead;
    const askedAtMs = this.env.clock.nowMs();
    const reply = await this.child.readdirp(call, args);
    if (ahead.epoch === epoch) {
      ahead.next = reply.entries.at(-1)?.offset ?? args.offset;
      ahead.edge = ahead.next;
      ahead.xdata = args.xdata;
      ahead.endSeenAtMs = reply.eof ? askedAtMs : undefined;
      this.#fill(call, args.fd, ahead);
    }
    return reply;
  }

  /** What waits, as much as fits; undefined when nothing does, or for too long. */
  #take(ahead: Ahead, room: number): Reply<"readdirp"> | undefined {
    const oldestMs = this.env.clock.nowMs() - AGE_MAX_MS;
    const entries: DirentPlus[] = [];
    let filled = 0;
    for (;;) {
      const batch = ahead.batches[0];
      if (batch === undefined) break;
      if (batch.askedAtMs < oldestMs) return undefined;
      const entry = batch.entries[batch.next]!;
      filled += bytesOf(entry);
      if (filled > room && entries.length > 0) break;
      entries.push(this.#isUnchanged(entry, batch) ? entry : withoutAttributes(entry));
      ahead.next = entry.offset;
      this.#count(ahead, -bytesOf(entry));
      if (++batch.next === batch.entries.length) {
        ahead.batches.shift();
        this.#watch.end();
      }
    }
    const atEnd = ahead.batches.length === 0 && ahead.endSeenAtMs !== undefined;
    if (entries.length > 0) return { entries, eof: atEnd };
    // Whoever rewinds wants to see what is new, also in a directory without entries.
    return atEnd && ahead.endSeenAtMs! >= oldestMs && ahead.next !== 0n ? { entries, eof: true } : undefined;
  }

  #isUnchanged({ stat }: DirentPlus, { since }: Batch): boolean {
    return this.#watch.unchangedSince(gfidKey(stat.gfid), since);
  }

  /** Asks for more, unless enough waits, nothing follows or somebody does already. */
  #fill(call: Call, fd: Fd, ahead: Ahead): void {
    if (ahead.filling !== undefined || ahead.endSeenAtMs !== undefined) return;
    const { "rda-low-wmark": low, "rda-high-wmark": high, "rda-cache-limit": limit } = this.options;
    if (ahead.bytes >= high) ahead.isFull = true;
    else if (ahead.bytes <= low) ahead.isFull = false;
    if (ahead.isFull || this.#bytes >= limit) return;
    const fetch = this.#fetch(call, fd, ahead).finally(() => ahead.underWay.delete(fetch));
    ahead.underWay.add(fetch);
    ahead.filling = fetch;
  }

  async #fetch(call: Call, fd: Fd, ahead: Ahead): Promise<void> {
    const { epoch, edge, xdata } = ahead;
    const askedAtMs = this.env.clock.nowMs();
    const since = this.#watch.begin();
    let isKept = false;
    try {
      const request = { fd, size: this.options["rda-request-size"], offset: edge, xdata };
      const { entries, eof } = await this.child.readdirp(call, request);
      if (ahead.epoch !== epoch) return;
      if (entries.length > 0) {
        isKept = true;
        ahead.batches.push({ entries, next: 0, askedAtMs, since });
        ahead.edge = entries.at(-1)!.offset;
        for (const entry of entries) this.#count(ahead, bytesOf(entry));
      }
      if (eof || entries.length === 0) ahead.endSeenAtMs = askedAtMs;
      ahead.filling = undefined;
      this.#fill(call, fd, ahead);
    } catch {
      // The read that comes to this place hears why.
      if (ahead.epoch === epoch) ahead.filling = undefined;
    } finally {
      if (!isKept) this.#watch.end();
    }
  }

  #count(ahead: Ahead, bytes: number): void {
    ahead.bytes += bytes;
    this.#bytes += bytes;
  }

  #keyChanged(key: string): void {
    this.#watch.changed(key);
    this.#dropDirectory(key);
  }

  #dropDirectory(key: string): void {
    for (const ahead of this.#byDirectory.get(key) ?? []) this.#drop(ahead);
  }

  #drop(ahead: Ahead): void {
    ahead.epoch++;
    for (const _ of ahead.batches.splice(0)) this.#watch.end();
    this.#count(ahead, -ahead.bytes);
    ahead.filling = undefined;
    ahead.endSeenAtMs = undefined;
    ahead.edge = ahead.next;
    ahead.isFull = false;
  }
}

function bytesOf({ name }: DirentPlus): number {
  return ENTRY_BYTES + nameBytes(name);
}

function withoutAttributes({ name, ino, offset, type }: DirentPlus): DirentPlus {
  return { name, ino, offset, type, stat: ZERO_IATT };
}

function asksTheSame(a: Dict | undefined, b: Dict | undefined): boolean {
  if ((a?.size ?? 0) !== (b?.size ?? 0)) return false;
  for (const key of a?.keys() ?? []) if (!b!.has(key) || a!.number(key) !== b!.number(key)) return false;
  return true;
}
