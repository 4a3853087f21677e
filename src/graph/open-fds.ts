/**
 * What the users of a graph have open, and the locks they hold: all that a new graph must be given before it
 * can take the place of the old one (live-graph.ts). Bookkeeping only; nobody is asked anything here.
 */

import type { Call } from "../core/call.ts";
import type { FopError } from "../core/errors.ts";
import type { Args, LockType } from "../core/fops.ts";
import type { Fd, Inode } from "../core/inode.ts";
import { type ByteRange, lengthOf, rangeOf, subtract, touches, union } from "../core/ranges.ts";

/** One open file or directory. */
export interface OpenFd {
  /** As its user knows it. */
  readonly fd: Fd;
  readonly isDirectory: boolean;
  /** As the graph of now knows it: `fd` itself until the first switch. */
  now: Fd;
  /** What became of the sync before a switch, if it failed: the next call that may report it does. */
  failure: FopError | undefined;
}

/** A lock as its owner holds it; locks of one owner on one inode never overlap. */
export interface HeldLock {
  readonly owner: string;
  readonly call: Call;
  /** The fd it was last set through, as its user knows it: closing that drops the lock. */
  readonly fd: Fd;
  readonly type: LockType;
  readonly range: ByteRange;
  readonly args: Args<"lk">;
}

export class OpenFds {
  readonly #open = new Map<Fd, OpenFd>();

  get size(): number {
    return this.#open.size;
  }

  add(fd: Fd, isDirectory: boolean): void {
    this.#open.set(fd, { fd, isDirectory, now: fd, failure: undefined });
  }

  get(fd: Fd): OpenFd | undefined {
    return this.#open.get(fd);
  }

  /** Forgets a closed one; returns it. */
  remove(fd: Fd): OpenFd | undefined {
    const open = this.#open.get(fd);
    this.#open.delete(fd);
    return open;
  }

  all(): OpenFd[] {
    return [...this.#open.values()];
  }
}

/** Locks of the lk fop that were granted, by inode. */
export class HeldLocks {
  readonly #byInode = new Map<Inode, HeldLock[]>();

  get size(): number {
    let size = 0;
    for (const held of this.#byInode.values()) size += held.length;
    return size;
  }

  /** What a successful setlk or setlkw did. */
  note(call: Call, args: Args<"lk">): void {
    const { fd, flock } = args;
    const range = rangeOf(flock.start, flock.len);
    if (range === undefined) return;
    const owner = ownerKey(call);
    const next: HeldLock[] = [];
    let whole = range;
    for (const held of this.#byInode.get(fd.inode) ?? []) {
      if (held.owner !== owner) next.push(held);
      else if (held.type === flock.type && touches(held.range, range)) whole = union(whole, held.range);
      else for (const piece of subtract(held.range, range)) next.push({ ...held, range: piece });
    }
    const { signal: _given, ...who } = call;
    if (flock.type !== "unlck")
      next.push({ owner, call: who, fd, type: flock.type, range: whole, args: { ...args, cmd: "setlk" } });
    this.#keep(fd.inode, next);
  }

  /** A close of one descriptor: the owner's locks on the inode go; without an owner those of the fd. */
  flushed(call: Call, fd: Fd): void {
    if (call.lkOwner.length === 0) this.released(fd);
    else {
      const owner = ownerKey(call);
      this.#drop(fd.inode, (held) => held.owner === owner);
    }
  }

  /** The last reference to an fd went. */
  released(fd: Fd): void {
    this.#drop(fd.inode, (held) => held.fd === fd);
  }

  all(): HeldLock[] {
    return [...this.#byInode.values()].flat();
  }

  #drop(inode: Inode, which: (held: HeldLock) => boolean): void {
    const held = this.#byInode.get(inode);
    if (held !== undefined)
      this.#keep(
        inode,
        held.filter((one) => !which(one)),
      );
  }

  #keep(inode: Inode, held: HeldLock[]): void {
    if (held.length === 0) this.#byInode.delete(inode);
    else this.#byInode.set(inode, held);
  }
}

/** The call that takes a held lock again, through another fd of the same file. */
export function lockAgain({ args, type, range }: HeldLock, fd: Fd): Args<"lk"> {
  const flock = { ...args.flock, type, whence: 0, start: range.start, len: lengthOf(range) };
  return { ...args, fd, flock };
}

/** Owners are told apart as bricks do it: by the client as well, where one graph serves several. */
function ownerKey(call: Call): string {
  return `${call.client?.id ?? ""}:${call.lkOwner.toString("latin1")}`;
}
