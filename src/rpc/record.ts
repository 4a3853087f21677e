/**
 * Record marking (wire.md 1.1): received bytes to records, in place.
 *
 * The transport asks `nextBuffer` where to read to and says with `received` how much arrived; records are
 * views of that memory. Payloads are never copied: of a record that does not fit into the rest of its slab at
 * most HEAD_BYTES_COPIED move to the next one, or it becomes a record of two parts. Only records sent in
 * several fragments (no stock sender does that) are put together.
 *
 * Alignment: `expectLike` says where the payload of the record just delivered began. While nothing is
 * buffered, the next read is then placed and bounded so that the payload of an equal record begins on a page,
 * as O_DIRECT bricks need it. So does a longer one's, whose rest is read after it; behind a shorter one the
 * next would begin anywhere. Whatever else arrives there is parsed just as well.
 */

import type { IoVec, Lease } from "../core/iovec.ts";
import { SLAB_BYTES_MAX, SLAB_BYTES_MIN, SLABS, type Slab, type SlabPool } from "./slab.ts";
import { XdrReader } from "./xdr.ts";

export const MARK_BYTES = 4;
export const LAST_FRAGMENT = 0x8000_0000;
/**
 * Largest record from a peer that is known: a write of 64 MiB (the most NFS-Ganesha sends) and room for its
 * head.
 */
export const RECORD_BYTES_MAX = 65 * 1024 * 1024;
/**
 * Largest record from a peer that has not said who it is yet: a SETVOLUME has a few KiB, a volfile some more.
 */
export const RECORD_BYTES_UNKNOWN_PEER_MAX = 4 * 1024 * 1024;
/** More fragments than this in one record are an attack, not a message. */
const FRAGMENTS_MAX = 1024;
/**
 * A record's beginning up to here is moved to a new slab; of a longer one the rest only. All heads before
 * payloads are shorter.
 */
const HEAD_BYTES_COPIED = 4096;
/** Less room than this at the end of a slab is not worth a read(2). */
const ROOM_BYTES_MIN = 4096;
const PAGE = 4096;
/**
 * Payloads up to here are expected to come in several sizes. Of longer ones, which fill a slab, each read in
 * two parts would take two slabs.
 */
const MIXED_BYTES_MAX = 256 * 1024;
/** So many longer payloads in turn are the rule from then on, and shorter ones the exception. */
const LONGER_MAX = 16;
/** What a closed receiver offers to a read that will not happen. */
const NOWHERE = Buffer.alloc(64);

/** The peer broke record marking or a limit of it; the connection cannot go on. */
export class RecordError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "RecordError";
  }
}

/**
 * One received message without its record mark: bytes `start` to `end` of `memory`, and perhaps a second
 * part.
 */
export class ReceivedRecord implements Lease {
  readonly memory: Buffer;
  readonly start: number;
  readonly end: number;
  readonly #tail: Buffer | undefined;
  #slab: Slab | undefined;
  #tailSlab: Slab | undefined;

  constructor(memory: Buffer, start: number, end: number, slab?: Slab, tail?: Buffer, tailSlab?: Slab) {
    this.memory = memory;
    this.start = start;
    this.end = end;
    this.#slab = slab;
    this.#tail = tail;
    this.#tailSlab = tailSlab;
    slab?.hold();
    tailSlab?.hold();
  }

  /** Bytes of the whole message. */
  get size(): number {
    return this.end - this.start + (this.#tail?.length ?? 0);
  }

  /** In two parts: a message that is not all payload behind a short head must be read through `joined`. */
  get split(): boolean {
    return this.#tail !== undefined;
  }

  /** Reads the first part from its beginning. */
  reader(): XdrReader {
    return new XdrReader(this.memory, this.start, this.end);
  }

  /** Bytes from `offset` (in `memory`, as readers count) to the end, as views. */
  from(offset: number): IoVec {
    const first = this.memory.subarray(offset, this.end);
    if (this.#tail === undefined) return first.length === 0 ? [] : [first];
    return first.length === 0 ? [this.#tail] : [first, this.#tail];
  }

  /** The same message in one part; a copy when it has two. Not for large payloads. */
  joined(): ReceivedRecord {
    if (this.#tail === undefined) return this;
    const bytes = Buffer.concat([this.memory.subarray(this.start, this.end), this.#tail]);
    return new ReceivedRecord(bytes, 0, bytes.length);
  }

  /** Gives the memory back; once only the first call counts. */
  release(): void {
    this.#slab?.letGo();
    this.#tailSlab?.letGo();
    this.#slab = undefined;
    this.#tailSlab = undefined;
  }
}

export interface RecordSink {
  /** A whole message; the sink owns it and releases it. */
  onRecord(record: ReceivedRecord): void;
}

/** The beginning of a record, mark included, and how much of it is still to come. */
interface FirstPart {
  readonly slab: Slab;
  readonly start: number;
  readonly end: number;
  readonly restBytes: number;
}

/** Turns one connection's bytes into records. */
export class RecordReceiver {
  /** Largest acceptable record; raised when the peer has identified itself. */
  limitBytes: number;
  readonly #sink: RecordSink;
  readonly #pool: SlabPool;
  #slab: Slab;
  #slabBytes = SLAB_BYTES_MIN;
  /** Beginning of the record that is under way in the current slab, its mark included. */
  #start = 0;
  /** Where the next byte goes. */
  #end = 0;
  /** First part of a record whose rest goes to the beginning of the current slab. */
  #split: FirstPart | undefined;
  #fragments: Buffer[] = [];
  #fragmentBytes = 0;
  #headBytes = 0;
  #payloadBytes = 0;
  /** What the record before brought, which is expected when it comes twice. */
  #otherHeadBytes = 0;
  #otherPayloadBytes = 0;
  /** Longer payloads than expected in turn, and the shortest of them. */
  #longer = 0;
  #longerBytes = 0;
  #paused = false;
  #closed = false;
  /** Whole records; those before `#next` are delivered. */
  readonly #ready: ReceivedRecord[] = [];
  #next = 0;

  constructor(sink: RecordSink, limitBytes = RECORD_BYTES_UNKNOWN_PEER_MAX, pool: SlabPool = SLABS) {
    this.#sink = sink;
    this.limitBytes = limitBytes;
    this.#pool = pool;
    this.#slab = pool.take(SLAB_BYTES_MIN);
  }

  /** Memory for the next bytes, never empty; the last answer before `received` counts. */
  nextBuffer(): Buffer {
    if (this.#closed) return NOWHERE;
    if (this.#split) return this.#upTo(this.#split.restBytes);
    const have = this.#end - this.#start;
    if (have === 0) return this.#boundary();
    const needed = have < MARK_BYTES ? MARK_BYTES : MARK_BYTES + this.#markedBytes();
    if (this.#start + needed > this.#slab.memory.length) {
      this.#moveOn(have, needed);
      if (this.#split) return this.nextBuffer();
    }
    return this.#payloadBytes > 0 && have >= MARK_BYTES ? this.#upTo(needed) : this.#rest();
  }

  /** `count` bytes arrived in the buffer given last. Throws RecordError. */
  received(count: number): void {
    if (this.#closed) return;
    this.#end += count;
    const { length } = this.#slab.memory;
    // One read that fills most of a slab, not the last of many small ones.
    if (this.#end === length && count >= length / 2) this.#grow();
    this.#parse();
    this.#deliver();
  }

  /** Copies bytes in, for transports that cannot read into a given buffer. Throws RecordError. */
  feed(bytes: Buffer): void {
    for (let at = 0; at < bytes.length && !this.#closed; ) {
      const count = bytes.copy(this.nextBuffer(), 0, at);
      this.received(count);
      at += count;
    }
  }

  /**
   * The record just delivered had a payload at `payloadOffset` of `record.memory`; more like it are expected.
   */
  expectLike(record: ReceivedRecord, payloadOffset: number): void {
    const head = payloadOffset - record.start + MARK_BYTES;
    const payload = record.size + MARK_BYTES - head;
    if (payload < PAGE || payload % 512 !== 0 || head > PAGE || PAGE + payload > SLAB_BYTES_MAX) return;
    const longest = Math.max(payload, this.#payloadBytes);
    if (head === this.#headBytes && longest <= MIXED_BYTES_MAX) this.#expectSize(payload);
    // One that is different for once (it asks for something more) does not change what is expected.
    else if (
      this.#headBytes === 0 ||
      (head === this.#otherHeadBytes && payload === this.#otherPayloadBytes)
    ) {
      this.#headBytes = head;
      this.#payloadBytes = payload;
      this.#longer = 0;
    }
    this.#otherHeadBytes = head;
    this.#otherPayloadBytes = payload;
  }

  #expectSize(payload: number): void {
    if (payload <= this.#payloadBytes) {
      this.#payloadBytes = payload;
      this.#longer = 0;
      return;
    }
    this.#longerBytes = this.#longer === 0 ? payload : Math.min(this.#longerBytes, payload);
    if (++this.#longer < LONGER_MAX) return;
    this.#payloadBytes = this.#longerBytes;
    this.#longer = 0;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Holds records back until `resume`; bytes may still arrive. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
  }

  /** Delivers nothing any more and lets go of all memory but what records hold. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const record of this.#ready.splice(this.#next)) record.release();
    this.#split?.slab.letGo();
    this.#split = undefined;
    this.#slab.letGo();
  }

  #markedBytes(): number {
    return this.#slab.memory.readUInt32BE(this.#start) & ~LAST_FRAGMENT;
  }

  #upTo(recordBytes: number): Buffer {
    return this.#slab.memory.subarray(this.#end, this.#start + recordBytes);
  }

  #rest(): Buffer {
    return this.#slab.memory.subarray(this.#end);
  }

  /** Between two records: chooses the best place, in this slab or a new one. */
  #boundary(): Buffer {
    const size = this.#slab.memory.length;
    const base = this.#slab.sole ? 0 : this.#end;
    const misfit = size > SLAB_BYTES_MAX || (base === 0 && size < this.#slabBytes);
    if (this.#payloadBytes === 0) {
      if (misfit || size - base < ROOM_BYTES_MIN) this.#replace(this.#slabBytes, 0);
      else this.#start = this.#end = base;
      return this.#rest();
    }
    const expected = this.#headBytes + this.#payloadBytes;
    const place = pageAlignedPlace(base, this.#headBytes);
    if (!misfit && place + expected <= size) this.#start = this.#end = place;
    else this.#replace(this.#sizeFor(PAGE + expected), pageAlignedPlace(0, this.#headBytes));
    return this.#upTo(expected);
  }

  /** The record under way does not fit: its beginning is copied, or stays as a first part. */
  #moveOn(have: number, needed: number): void {
    const before = this.#slab;
    const start = this.#start;
    if (have > HEAD_BYTES_COPIED) {
      const restBytes = needed - have;
      this.#split = { slab: before, start, end: this.#end, restBytes };
      this.#slab = this.#pool.take(this.#sizeFor(restBytes));
      this.#start = this.#end = 0;
      return;
    }
    const place = this.#headBytes > 0 ? pageAlignedPlace(0, this.#headBytes) : 0;
    this.#slab = this.#pool.take(this.#sizeFor(place + needed));
    before.memory.copy(this.#slab.memory, place, start, start + have);
    before.letGo();
    this.#start = place;
    this.#end = place + have;
  }

  /** Size of a slab that has room for `bytes`; what is larger than all slabs gets memory for itself. */
  #sizeFor(bytes: number): number {
    while (this.#slabBytes < bytes && this.#slabBytes < SLAB_BYTES_MAX) this.#grow();
    return Math.max(this.#slabBytes, bytes);
  }

  #replace(size: number, place: number): void {
    this.#slab.letGo();
    this.#slab = this.#pool.take(size);
    this.#start = this.#end = place;
  }

  #grow(): void {
    this.#slabBytes = Math.min(this.#slabBytes * 4, SLAB_BYTES_MAX);
  }

  /** Makes records of all whole ones in the slab. */
  #parse(): void {
    if (this.#split && !this.#finishSplit(this.#split)) return;
    const memory = this.#slab.memory;
    while (this.#end - this.#start >= MARK_BYTES) {
      const mark = memory.readUInt32BE(this.#start);
      const length = mark & ~LAST_FRAGMENT;
      if (length + this.#fragmentBytes > this.limitBytes)
        throw new RecordError(
          `record of ${length + this.#fragmentBytes} bytes, at most ${this.limitBytes} are allowed`,
        );
      const from = this.#start + MARK_BYTES;
      const to = from + length;
      if (to > this.#end) return;
      this.#start = to;
      if (mark >>> 31 === 0 || this.#fragments.length > 0)
        this.#fragment(memory.subarray(from, to), mark >>> 31 === 1);
      else this.#ready.push(new ReceivedRecord(memory, from, to, this.#slab));
    }
  }

  /** False while the second part is incomplete. */
  #finishSplit(split: FirstPart): boolean {
    if (this.#end - this.#start < split.restBytes) return false;
    const { memory } = split.slab;
    const from = split.start + MARK_BYTES;
    const rest = this.#slab.memory.subarray(this.#start, this.#start + split.restBytes);
    this.#start += split.restBytes;
    this.#split = undefined;
    const last = memory[split.start]! >= 0x80;
    if (!last || this.#fragments.length > 0)
      this.#fragment(Buffer.concat([memory.subarray(from, split.end), rest]), last);
    else this.#ready.push(new ReceivedRecord(memory, from, split.end, split.slab, rest, this.#slab));
    split.slab.letGo();
    return true;
  }

  #fragment(bytes: Buffer, last: boolean): void {
    this.#fragments.push(Buffer.from(bytes));
    this.#fragmentBytes += bytes.length;
    if (this.#fragments.length > FRAGMENTS_MAX)
      throw new RecordError(`record of more than ${FRAGMENTS_MAX} fragments`);
    if (!last) return;
    const whole = Buffer.concat(this.#fragments);
    this.#fragments = [];
    this.#fragmentBytes = 0;
    this.#ready.push(new ReceivedRecord(whole, 0, whole.length));
  }

  /** A sink may pause, resume or close from inside `onRecord`: all progress is in the fields. */
  #deliver(): void {
    const ready = this.#ready;
    while (this.#next < ready.length && !this.#paused) this.#sink.onRecord(ready[this.#next++]!);
    if (this.#next >= ready.length) {
      // Mostly there is one; setting the length would be a call into the engine.
      while (ready.length > 0) ready.pop();
      this.#next = 0;
    }
  }
}

/** First place from `base` on where a record has its payload, `headBytes` later, on a page. */
function pageAlignedPlace(base: number, headBytes: number): number {
  return Math.ceil((base + headBytes) / PAGE) * PAGE - headBytes;
}
