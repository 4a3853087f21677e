/**
 * The memory of md-cache and its rules: what may be kept, for how long, and what ends it.
 *
 * An answer is kept as of the moment when its question was asked, and only if nothing of this graph changed
 * the inode in between (ChangeWatch). A change leaves what its reply says when it was the only one under way
 * and the reply says anything; else nothing. An answer that differs from what was known, though nothing here
 * changed the inode, is another client's work: `onForeignChange` hears of files.
 */

import { ChangeWatch } from "../../../src/core/change-watch.ts";
import { Dict, type DictValue } from "../../../src/core/dict.ts";
import type { Clock } from "../../../src/core/env.ts";
import { fnmatch } from "../../../src/core/fnmatch.ts";
import { type Gfid, gfidKey } from "../../../src/core/gfid.ts";
import { type Iatt, isRegular } from "../../../src/core/iatt.ts";
import type { Inode, Loc } from "../../../src/core/inode.ts";
import { areShort, type KnownInode, KnownInodes, placeOf, type Xattrs } from "./known.ts";

/** A question under way, or a change. */
export interface Asked {
  readonly since: number;
  readonly atMs: number;
}

export class AttributeCache {
  timeoutMs = 0;
  xattrTimeoutMs = 0;
  /** Names and patterns of the xattrs that are kept. */
  xattrNames: readonly string[] = [];
  readonly #clock: Clock;
  readonly #onForeignChange: (gfid: Gfid) => void;
  readonly #watch = new ChangeWatch();
  readonly #known = new KnownInodes();

  constructor(clock: Clock, onForeignChange: (gfid: Gfid) => void) {
    this.#clock = clock;
    this.#onForeignChange = onForeignChange;
  }

  get count(): number {
    return this.#known.count;
  }

  /** Attributes of an inode, if they are young enough. */
  iatt(inode: Inode): Iatt | undefined {
    if (!inode.linked || this.timeoutMs === 0) return undefined;
    const known = this.#known.find(gfidKey(inode.gfid));
    if (known?.iatt === undefined || !this.#isYoung(known.iattAskedAtMs, this.timeoutMs)) return undefined;
    return known.iatt;
  }

  /** Whether the name was seen to mean the inode recently. A loc without a name is about the inode alone. */
  isAt({ inode, parent, name }: Loc): boolean {
    if (parent === undefined || name === undefined) return true;
    const known = this.#known.find(gfidKey(inode.gfid));
    const atMs = known && this.#known.placeSeenAtMs(known, placeOf(gfidKey(parent.gfid), name));
    return atMs !== undefined && this.#isYoung(atMs, this.timeoutMs);
  }

  /** The xattrs that are kept of an inode, if they are young enough. */
  xattrs(inode: Inode): Xattrs | undefined {
    if (!inode.linked) return undefined;
    const xattrs = this.#known.find(gfidKey(inode.gfid))?.xattrs;
    return xattrs && this.#isYoung(xattrs.askedAtMs, this.xattrTimeoutMs) ? xattrs : undefined;
  }

  keepsXattr(name: string): boolean {
    return this.xattrNames.some((pattern) => fnmatch(pattern, name));
  }

  /** A request for the xattrs that are kept, besides what is asked for anyway. */
  withXattrs(xdata: Dict | undefined): Dict | undefined {
    if (this.xattrTimeoutMs === 0 || this.xattrNames.length === 0) return xdata;
    const request = xdata?.clone() ?? new Dict();
    for (const name of this.xattrNames) if (!request.has(name)) request.setInt(name, 0);
    return request;
  }

  /** A question goes out; `end` follows. */
  begin(): Asked {
    return { since: this.#watch.begin(), atMs: this.#clock.nowMs() };
  }

  end(): void {
    this.#watch.end();
  }

  /** What a question brought; undefined when it may not be kept. */
  learn(stat: Iatt, asked: Asked): KnownInode | undefined {
    const key = gfidKey(stat.gfid);
    if (stat.ctime === 0) {
      this.drop(key);
      return undefined;
    }
    if (this.timeoutMs === 0 || !this.#watch.unchangedSince(key, asked.since)) return undefined;
    const known = this.#known.obtain(key);
    if (known.iattAskedAtMs > asked.atMs && known.iatt !== undefined) return undefined;
    this.#compare(known, stat);
    known.iatt = stat;
    known.iattAskedAtMs = asked.atMs;
    return known;
  }

  /** All xattrs that are kept and exist, as a reply to `withXattrs` brings them among others. */
  learnXattrs(known: KnownInode, reply: Dict | undefined, asked: Asked): void {
    if (reply === undefined || this.xattrNames.length === 0) return;
    const values = new Map<string, DictValue | undefined>();
    for (const [name, value] of reply) if (this.keepsXattr(name)) values.set(name, value);
    known.xattrs = areShort(values.values()) ? { values, complete: true, askedAtMs: asked.atMs } : undefined;
  }

  /** One xattr, or that it does not exist. */
  learnXattr(inode: Inode, name: string, value: DictValue | undefined, asked: Asked): void {
    const key = gfidKey(inode.gfid);
    if (this.xattrTimeoutMs === 0 || !this.#watch.unchangedSince(key, asked.since)) return;
    const known = this.#known.obtain(key);
    const before = this.xattrs(inode);
    const values = new Map(before?.values).set(name, value);
    if (!areShort(values.values())) return;
    // Of the younger one the older time is claimed.
    known.xattrs = {
      values,
      complete: before?.complete ?? false,
      askedAtMs: before?.askedAtMs ?? asked.atMs,
    };
  }

  learnPlace(known: KnownInode, stat: Iatt, parent: Inode, name: string, asked: Asked): void {
    const place = placeOf(gfidKey(parent.gfid), name);
    this.#known.setPlace(gfidKey(stat.gfid), known, place, asked.atMs);
  }

  /** The inode that a loc of a change is about, as far as it is known. */
  keyAt({ inode, parent, name }: Loc): string | undefined {
    if (inode.linked) return gfidKey(inode.gfid);
    if (parent === undefined || name === undefined) return undefined;
    return this.#known.at(placeOf(gfidKey(parent.gfid), name));
  }

  /** A change of an inode goes out; `endChange` or `changed` follows, then `end`. */
  beginChange(key: string): Asked {
    this.#watch.changed(key);
    return this.begin();
  }

  /** The change is over; its reply says how the inode was and is. Undefined when nothing is kept of that. */
  endChange(key: string, asked: Asked, pre: Iatt | undefined, post: Iatt): KnownInode | undefined {
    const wasAlone = this.#watch.unchangedSince(key, asked.since);
    this.#watch.changed(key, 1);
    if (!wasAlone || post.ctime === 0 || this.timeoutMs === 0) {
      this.#known.drop(key);
      return undefined;
    }
    const known = this.#known.obtain(key);
    if (pre !== undefined && pre.ctime !== 0) this.#compare(known, pre);
    known.iatt = post;
    known.iattAskedAtMs = asked.atMs;
    // Linux takes capabilities from a file that is written to.
    if (known.xattrs !== undefined && hasValues(known.xattrs)) known.xattrs = undefined;
    return known;
  }

  /** The inode changed, or is about to, and nobody says how. */
  changed(key: string): void {
    this.#watch.changed(key);
    this.#known.drop(key);
  }

  /** Another client changed entries of this directory. */
  namesChanged(key: string): void {
    this.changed(key);
    this.#known.distrustNamesIn(key, this.#clock.nowMs());
  }

  allChanged(): void {
    this.#watch.allChanged();
    this.#known.clear();
  }

  drop(key: string): void {
    this.#known.drop(key);
  }

  #compare(known: KnownInode, stat: Iatt): void {
    const before = known.iatt;
    if (before === undefined) return;
    if (before.ctime !== stat.ctime || before.ctimeNsec !== stat.ctimeNsec) known.xattrs = undefined;
    const isOther =
      before.mtime !== stat.mtime || before.mtimeNsec !== stat.mtimeNsec || before.size !== stat.size;
    if (isOther && isRegular(stat)) this.#onForeignChange(stat.gfid);
  }

  #isYoung(askedAtMs: number, timeoutMs: number): boolean {
    return this.#clock.nowMs() - askedAtMs < timeoutMs;
  }
}

function hasValues({ values }: Xattrs): boolean {
  for (const value of values.values()) if (value !== undefined) return true;
  return false;
}
