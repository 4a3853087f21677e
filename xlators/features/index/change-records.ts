/**
 * Keeps, for each file and missing copy, the record of what changed (see src/core/changed-ranges.ts): before
 * an xattrop of marks is wound, the ranges that came with it are added; a change of a pending data counter
 * without ranges, a heal's included, drops the record. Callers run one call per inode at a time.
 *
 * A record names the counter that it explains. A crash between record and mark leaves them different, and the
 * record is dropped: its time is lost, never data. For the same reason nothing needs to be flushed. While the
 * brick itself is dirty a batch is under way, or was when its writer died: its record may lack ranges then,
 * and is not answered. None begins in a batch before which something was not synced: the missing copy may
 * have lost that. A record that cannot be dropped fails the call.
 */

import { LRUCache } from "lru-cache";
import {
  ChangedRanges,
  decodeChange,
  ENCODED_BYTES_MAX,
  encodeRecord,
} from "../../../src/core/changed-ranges.ts";
import { Dict } from "../../../src/core/dict.ts";
import { type Gfid, gfidText } from "../../../src/core/gfid.ts";
import type { Inode } from "../../../src/core/inode.ts";
import { CHANGED_RANGES_KEY } from "../../../src/core/keys.ts";
import type { Logger } from "../../../src/core/log.ts";
import { nameBytes } from "../../../src/core/name.ts";
import { decodeLog, encodeHead, encodePart, type RecordPart } from "./record-log.ts";
import type { RecordStore } from "./record-store.ts";
import type { SyncWatch } from "./sync-watch.ts";

/** Records of one brick; more files than that are healed without. */
const RECORDS_MAX = 65536;
/** A record that has grown to this is written anew, as the union of its parts. */
const LOG_BYTES_MAX = 4 * ENCODED_BYTES_MAX;
/** Records of which the counters are known without reading anything. */
const KNOWN_MAX = 4096;
const NAME_BYTES_MAX = 250;
const AFR_PREFIX = "trusted.afr.";
const AFR_DIRTY = "trusted.afr.dirty";
/** A pending xattr has three counters of four bytes, the first is that of data. */
const COUNTERS_BYTES = 12;

/** An inode, as the layers below features/index know it. */
export interface Subject {
  readonly inode: Inode;
  /** Current values of xattrs, by an xattrop that adds zeroes. */
  add(zeroes: Dict): Promise<Dict>;
  /** Bytes of the file. */
  size(): Promise<number>;
}

/** What an xattrop is about to do to the data counter of one copy. */
export interface Increment {
  readonly key: string;
  /** 0 with ranges: what the copy misses besides what was said with its mark. */
  readonly delta: number;
}

/** A record whose last part is known to be true. */
interface Known {
  readonly counter: number;
  readonly dirtyLeft: number;
  readonly bytes: number;
}

/** An increment that was recorded, until its outcome is known. */
export interface Step {
  readonly key: string;
  readonly name: string;
  readonly known: Known;
}

export class ChangeRecords {
  /** Files below this size get no record: healing them whole costs less. */
  fileBytesMin: number;
  readonly #store: RecordStore;
  readonly #syncs: SyncWatch;
  readonly #log: Logger;
  readonly #known = new LRUCache<string, Known>({ max: KNOWN_MAX });

  constructor(store: RecordStore, syncs: SyncWatch, log: Logger, fileBytesMin: number) {
    this.#store = store;
    this.#syncs = syncs;
    this.#log = log;
    this.fileBytesMin = fileBytesMin;
  }

  /** Before an xattrop; the steps go to `settled` afterwards. `xdata` is that of the xattrop. */
  async before(
    subject: Subject,
    increments: readonly Increment[],
    xdata: Dict | undefined,
  ): Promise<readonly Step[]> {
    const steps: Step[] = [];
    const change = decodeChange(xdata?.bytes(CHANGED_RANGES_KEY.CHANGE));
    for (const { key, delta } of increments) {
      if (delta === 0 && change === undefined) continue;
      const name = recordName(subject.inode.gfid, key);
      if (name === undefined || (delta === 0 && !this.#store.has(name))) continue;
      const dirtyLeft = delta > 0 && change?.dirtyLeft.includes(key) ? 1 : 0;
      const part = change && { counter: delta, dirtyLeft, ranges: change.ranges };
      const known = part && (await this.#extend(subject, key, name, part));
      if (known) steps.push({ key, name, known });
      else await this.#drop(name);
    }
    return steps;
  }

  /** After the xattrop; `reply` is undefined when it failed, and then its effect is not known. */
  async settled(steps: readonly Step[], reply: Dict | undefined): Promise<void> {
    for (const { key, name, known } of steps) {
      if (reply === undefined) this.#known.delete(name);
      else if (dataCounter(reply.bytes(key)) === known.counter) this.#known.set(name, known);
      else await this.#drop(name);
    }
  }

  /** Something else than an increment is about to change these marks. */
  async drop(gfid: Gfid, keys: Iterable<string>): Promise<void> {
    for (const key of keys) {
      const name = recordName(gfid, key);
      if (name !== undefined) await this.#drop(name);
    }
  }

  /** The object is gone, or nothing of it is pending. */
  async forget(gfid: Gfid): Promise<void> {
    for (const name of this.#store.namesFrom(`${gfidText(gfid)}.`)) await this.#drop(name);
  }

  /**
   * The encoded record of one copy; undefined when none explains the counter as it is now, or when a batch
   * may be under way.
   */
  async answer(subject: Subject, key: string): Promise<Buffer | undefined> {
    const name = recordName(subject.inode.gfid, key);
    if (name === undefined || !this.#store.has(name)) return undefined;
    const counter = await counterOf(subject, key);
    if (counter !== 0 && (await counterOf(subject, AFR_DIRTY)) !== 0) return undefined;
    const { last } = await this.#read(subject.inode.gfid, key, name);
    if (counter !== 0 && last?.counter === counter) return encodeRecord(last);
    await this.#drop(name);
    return undefined;
  }

  /** Adds to a record, or begins it; `part.counter` is the increment. Undefined: there must be no record. */
  async #extend(subject: Subject, key: string, name: string, part: RecordPart): Promise<Known | undefined> {
    try {
      const before = this.#known.get(name) ?? (await this.#look(subject, key, name));
      this.#known.delete(name);
      if (before === undefined || before.counter + part.counter <= 0) return undefined;
      const counter = before.counter + part.counter;
      const dirtyLeft = before.dirtyLeft + part.dirtyLeft;
      if (before.bytes > 0 && before.bytes < LOG_BYTES_MAX) {
        const bytes = encodePart({ counter, dirtyLeft, ranges: part.ranges });
        await this.#store.append(name, bytes);
        return { counter, dirtyLeft, bytes: before.bytes + bytes.length };
      }
      const ranges = new ChangedRanges();
      if (before.bytes > 0) {
        const { last } = await this.#read(subject.inode.gfid, key, name);
        if (last?.counter !== before.counter) return undefined;
        ranges.addAll(last.ranges);
      }
      ranges.addAll(part.ranges);
      const head = encodeHead(subject.inode.gfid, key);
      const bytes = Buffer.concat([head, encodePart({ counter, dirtyLeft, ranges })]);
      await this.#store.replace(name, bytes);
      return { counter, dirtyLeft, bytes: bytes.length };
    } catch (error) {
      const gfid = gfidText(subject.inode.gfid);
      this.#log.warn("changed ranges not recorded", { gfid, key, error: String(error) });
      return undefined;
    }
  }

  /** Where a record stands of which nothing is known yet; no bytes when it is to begin now. */
  async #look(subject: Subject, key: string, name: string): Promise<Known | undefined> {
    const counter = await counterOf(subject, key);
    if (counter === 0) {
      if (!this.#syncs.wasClean(subject.inode)) return undefined;
      const size = await subject.size();
      // On an arbiter every file is empty; it accuses like the others, so its record is needed like theirs.
      const isSmall = size > 0 && size < this.fileBytesMin;
      return isSmall || this.#store.count >= RECORDS_MAX ? undefined : { counter, dirtyLeft: 0, bytes: 0 };
    }
    if (!this.#store.has(name)) return undefined;
    const { last, bytes } = await this.#read(subject.inode.gfid, key, name);
    return last?.counter === counter ? { counter, dirtyLeft: last.dirtyLeft, bytes } : undefined;
  }

  async #read(gfid: Gfid, key: string, name: string): Promise<{ last?: RecordPart; bytes: number }> {
    const content = await this.#store.read(name);
    const last = decodeLog(content, gfid, key);
    return last ? { last, bytes: content.length } : { bytes: content.length };
  }

  async #drop(name: string): Promise<void> {
    this.#known.delete(name);
    if (this.#store.has(name)) await this.#store.remove(name);
  }
}

/** What an xattrop's request does to data counters, of the keys that are watched. */
export function dataIncrements(request: Dict, isPending: (key: string) => boolean): Increment[] {
  const found: Increment[] = [];
  for (const key of request.keys())
    if (isPending(key)) found.push({ key, delta: dataCounter(request.bytes(key)) });
  return found;
}

async function counterOf(subject: Subject, key: string): Promise<number> {
  const values = await subject.add(new Dict().setBytes(key, Buffer.alloc(COUNTERS_BYTES)));
  return dataCounter(values.bytes(key));
}

function dataCounter(bytes: Buffer | undefined): number {
  return bytes !== undefined && bytes.length >= 4 ? bytes.readInt32BE(0) : 0;
}

/** A record's file name; undefined for a key that is no pending mark of replicate. */
function recordName(gfid: Gfid, key: string): string | undefined {
  const name = `${gfidText(gfid)}.${key.slice(AFR_PREFIX.length)}`;
  const fits = key.startsWith(AFR_PREFIX) && !key.includes("/") && nameBytes(name) <= NAME_BYTES_MAX;
  return fits ? name : undefined;
}
