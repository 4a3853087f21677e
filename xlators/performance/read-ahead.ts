/**
 * performance/read-ahead: while a file is read from front to back, asks for what comes next before anybody
 * does (spec translators.md 7.2; GlusterFS xlators/performance/read-ahead).
 *
 * The window grows with the run, a page at a time, up to `page-count`; a read anywhere else ends the run and
 * goes to the brick as it is. Bytes are lent as views of the answers, without a copy; memory goes back when
 * the last view does. An answer that nobody wanted for a second is thrown away, so that nothing older is ever
 * served. See ContentCache for what else drops.
 *
 * VM hosts leave it off: a guest reads ahead by itself, and what it reads in a row seldom lies in a row.
 */

import type { Call } from "../../src/core/call.ts";
import { ContentCache } from "../../src/core/content-cache.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import { gfidKey } from "../../src/core/gfid.ts";
import type { Fd } from "../../src/core/inode.ts";
import { iovSlice, type Lease } from "../../src/core/iovec.ts";
import { bool, int, size } from "../../src/core/options.ts";
import { type Dump, defineXlator, exactly, type XlatorBase } from "../../src/core/xlator.ts";

const AGE_MAX_MS = 1000;

const options = {
  "force-atime-update": bool({
    default: false,
    live: true,
    describe: "Read a byte for each read that was served from here, so that access times move.",
  }),
  "page-count": int({
    default: 4,
    min: 1,
    max: 16,
    live: true,
    volumeKey: "performance.read-ahead-page-count",
    describe: "Pages that are read ahead at most.",
  }),
  "page-size": size({
    default: 128 << 10,
    min: 4096,
    max: 64 << 20,
    live: true,
    describe: "Bytes of a page.",
  }),
  "pass-through": bool({
    default: false,
    live: true,
    volumeKey: "performance.read-ahead-pass-through",
    describe: "Read nothing ahead.",
  }),
} as const;

export const readAhead = defineXlator({
  type: "performance/read-ahead",
  children: exactly(1),
  options,
  create: (init) => new ReadAhead(init),
});

class ReadAhead extends ContentCache<typeof options> {
  readonly #readers = new WeakMap<Fd, Reader>();
  /** Readers with chunks, by file. */
  readonly #byFile = new Map<string, Set<Reader>>();
  #hits = 0;
  #misses = 0;

  override dump(): Dump {
    return { files: this.#byFile.size, hits: this.#hits, misses: this.#misses };
  }

  protected override drop(key: string): void {
    for (const reader of this.#byFile.get(key) ?? []) reader.startOver();
    this.#byFile.delete(key);
  }

  protected override dropAll(): void {
    for (const key of [...this.#byFile.keys()]) this.drop(key);
  }

  override async release(fd: Fd): Promise<void> {
    const reader = this.#readers.get(fd);
    if (reader !== undefined) {
      this.#startOver(reader);
      // The brick must not be asked about an open file that it was told to close.
      await Promise.all(reader.underWay);
    }
    await super.release(fd);
  }

  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    if (this.options["pass-through"] || !this.mayServe(args)) return this.child.readv(call, args);
    const reader = this.#readerOf(args.fd);
    const { "page-count": pageCount, "page-size": pageSize } = this.options;
    if (args.offset !== reader.next) this.#startOver(reader);
    else reader.run = Math.min(reader.run + args.size, pageCount * pageSize);
    reader.next = args.offset + args.size;
    const reply = this.#serve(call, args, reader);
    this.#readOn(call, args.fd, reader);
    return reply;
  }

  #readerOf(fd: Fd): Reader {
    let reader = this.#readers.get(fd);
    if (reader === undefined) {
      reader = new Reader(gfidKey(fd.inode.gfid));
      this.#readers.set(fd, reader);
    }
    return reader;
  }

  #startOver(reader: Reader): void {
    reader.startOver();
    const others = this.#byFile.get(reader.key);
    others?.delete(reader);
    if (others?.size === 0) this.#byFile.delete(reader.key);
  }

  #serve(call: Call, args: Args<"readv">, reader: Reader): Promise<Reply<"readv">> {
    const chunks = reader.take(args.offset, args.size, this.env.clock.nowMs() - AGE_MAX_MS);
    if (chunks.length === 0) {
      this.#misses++;
      return this.child.readv(call, args);
    }
    this.#hits++;
    return this.#fromChunks(call, args, chunks);
  }

  /** From chunks that cover the beginning of what is asked for, and the brick for the rest. */
  async #fromChunks(call: Call, args: Args<"readv">, chunks: readonly Chunk[]): Promise<Reply<"readv">> {
    const end = args.offset + args.size;
    const { end: covered } = chunks.at(-1)!;
    const rest = covered < end ? this.#ask(call, args.fd, covered, end - covered) : undefined;
    const parts = rest === undefined ? chunks : [...chunks, rest];
    await Promise.all(parts.map(({ settled }) => settled));
    const reply = assemble(parts, args);
    if (reply === undefined) {
      for (const part of parts) part.release();
      return this.child.readv(call, args);
    }
    if (this.options["force-atime-update"]) this.#touch(call, args.fd);
    return reply;
  }

  /** Keeps the window full. */
  #readOn(call: Call, fd: Fd, reader: Reader): void {
    const { "page-size": pageSize } = this.options;
    const windowBytes = Math.floor(reader.run / pageSize) * pageSize;
    if (windowBytes === 0 || reader.next >= reader.eof) return;
    const end = Math.min(reader.next + windowBytes, reader.eof);
    let at = Math.max(reader.next, reader.chunks.at(-1)?.end ?? 0);
    while (at < end) {
      const chunkEnd = (Math.floor(at / pageSize) + 1) * pageSize;
      reader.chunks.push(this.#ask(call, fd, at, chunkEnd - at, reader));
      at = chunkEnd;
    }
    const readers = this.#byFile.get(reader.key);
    if (readers) readers.add(reader);
    else this.#byFile.set(reader.key, new Set([reader]));
  }

  #ask(call: Call, fd: Fd, offset: number, bytes: number, reader?: Reader): Chunk {
    const chunk = new Chunk(offset, offset + bytes, this.env.clock.nowMs());
    chunk.settled = chunk.fill(this.child, call, fd, reader);
    reader?.underWay.add(chunk.settled);
    return chunk;
  }

  #touch(call: Call, fd: Fd): void {
    this.child.readv(call, { fd, offset: 1, size: 1, flags: 0 }).then(
      ({ lease }) => lease?.release(),
      () => {},
    );
  }
}

/** How one open file is being read. */
class Reader {
  readonly key: string;
  /** Where a read that goes on would begin. */
  next = 0;
  /** Bytes read in a row, as far as that matters. */
  run = 0;
  /** Where the file ended a moment ago. */
  eof = Number.POSITIVE_INFINITY;
  /** Asked for ahead; each begins where the one before it ends. */
  chunks: Chunk[] = [];
  /** Answers under way, those included that nobody waits for any more. */
  readonly underWay = new Set<Promise<void>>();

  constructor(key: string) {
    this.key = key;
  }

  startOver(): void {
    for (const chunk of this.chunks) {
      chunk.dropped = true;
      chunk.release();
    }
    this.chunks = [];
    this.run = 0;
    this.eof = Number.POSITIVE_INFINITY;
  }

  /**
   * Chunks that cover `offset` and on, each held once for the caller, who releases it; none when the first of
   * them was asked for before `oldestMs`. What is read to its end leaves the queue.
   */
  take(offset: number, bytes: number, oldestMs: number): Chunk[] {
    const first = this.chunks[0];
    // Whoever reads at the end wants to know whether the file has grown.
    const isAtEnd = offset >= this.eof;
    if (first === undefined || isAtEnd || first.start > offset || first.askedAtMs < oldestMs) {
      const { run } = this;
      this.startOver();
      this.run = run;
      return [];
    }
    const taken = this.chunks.filter(({ start }) => start < offset + bytes);
    for (const chunk of taken) chunk.hold();
    while (this.chunks.length > 0 && this.chunks[0]!.end <= offset + bytes) this.chunks.shift()!.release();
    return taken;
  }
}

/** A piece of a file that was asked for; its memory goes back when nobody holds it any more. */
class Chunk implements Lease {
  readonly start: number;
  readonly end: number;
  readonly askedAtMs: number;
  /** The file changed after this was asked for. */
  dropped = false;
  /** Undefined until it is settled, and for good when the brick refused. */
  reply: Reply<"readv"> | undefined;
  settled: Promise<void> = Promise.resolve();
  #holders = 1;

  constructor(start: number, end: number, askedAtMs: number) {
    this.start = start;
    this.end = end;
    this.askedAtMs = askedAtMs;
  }

  /** Asks. Never rejects: whoever wants these bytes asks again and hears why they cannot be had. */
  async fill(child: XlatorBase, call: Call, fd: Fd, reader: Reader | undefined): Promise<void> {
    try {
      const reply = await child.readv(call, {
        fd,
        offset: this.start,
        size: this.end - this.start,
        flags: 0,
      });
      if (this.#holders === 0) reply.lease?.release();
      this.reply = reply;
      if (reader !== undefined && reply.eof && !this.dropped)
        reader.eof = Math.min(reader.eof, this.start + reply.size);
    } catch {
      this.dropped = true;
    } finally {
      reader?.underWay.delete(this.settled);
    }
  }

  hold(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders === 0) this.reply?.lease?.release();
  }
}

/** Several chunks in one answer. */
class Chunks implements Lease {
  readonly #chunks: readonly Chunk[];

  constructor(chunks: readonly Chunk[]) {
    this.#chunks = chunks;
  }

  release(): void {
    for (const chunk of this.#chunks) chunk.release();
  }
}

/** The bytes that were asked for, with the holds of the parts; undefined when a part is of no use. */
function assemble(
  parts: readonly Chunk[],
  { offset, size: bytes }: Args<"readv">,
): Reply<"readv"> | undefined {
  const data: Buffer[] = [];
  let filled = 0;
  let eof = false;
  for (const { start, reply, dropped } of parts) {
    if (dropped || reply === undefined) return undefined;
    if (eof) continue;
    const from = Math.max(offset - start, 0);
    const to = Math.min(offset + bytes - start, reply.size);
    if (from < to) {
      data.push(...iovSlice(reply.data, from, to));
      filled += to - from;
    }
    eof = reply.eof && to === reply.size;
  }
  const { stat } = parts[0]!.reply!;
  const lease = parts.length === 1 ? parts[0]! : new Chunks(parts);
  return { data, size: filled, stat, eof, lease };
}
