/**
 * Locks that keep clients of GlusterFS and of Mortar apart while they change the namespace (spec
 * translators.md 6.6; GlusterFS dht-lock.c): on a name (read lock on its directory's layout, then the name
 * itself, both on the name's own child), on layouts, on files that may be moved.
 *
 * Locks are taken one after the other in the order given; who needs several names sorts them as GlusterFS
 * does. Each taking has an owner of its own, so that two operations of one client exclude each other too.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { type ErrnoName, FopError, toFopError } from "../../../src/core/errors.ts";
import type { Flock, LockType } from "../../../src/core/fops.ts";
import type { Inode } from "../../../src/core/inode.ts";
import type { SubvolumeSet } from "./subvolume-set.ts";
import { DOMAIN } from "./xattr-names.ts";

const OWNER_BYTES = 16;
const GONE: ReadonlySet<ErrnoName> = new Set(["ENOTCONN", "ENOENT", "ESTALE"]);

/** A name in a directory, and the child that it belongs to. */
export interface PlacedName {
  readonly parent: Inode;
  readonly name: string;
  readonly child: number;
}

type Held =
  | { readonly kind: "inode"; readonly child: number; readonly inode: Inode; readonly domain: string }
  | { readonly kind: "entry"; readonly child: number; readonly inode: Inode; readonly name: string };

/** Locks of one operation. `release` gives all of them back, the last one first. */
export class Locks {
  readonly #set: SubvolumeSet;
  readonly #call: Call;
  readonly #held: Held[] = [];

  constructor(set: SubvolumeSet, call: Call) {
    const owner = set.env.random.bytes(OWNER_BYTES);
    owner[0]! |= 1; // All zero is no owner.
    this.#set = set;
    this.#call = { ...internalCall(), lkOwner: owner, ...(call.signal ? { signal: call.signal } : {}) };
  }

  /** Nobody else makes or removes this name, nor changes the layout of its directory. */
  async name({ parent, name, child }: PlacedName): Promise<void> {
    await this.inode(child, parent, DOMAIN.layout, "rdlck");
    const at = this.#set.children[child]!;
    const args = {
      loc: { inode: parent },
      volume: DOMAIN.entry,
      name,
      cmd: "lock",
      type: "wrlck",
    } as const;
    await at.entrylk(this.#call, args);
    this.#held.push({ kind: "entry", child, inode: parent, name });
  }

  /** All of an inode, in a domain. `ignoring`: errors that leave it unlocked, and that is fine. */
  async inode(
    child: number,
    inode: Inode,
    domain: string,
    type: "rdlck" | "wrlck",
    ignoring: readonly ErrnoName[] = [],
  ): Promise<void> {
    try {
      const args = { loc: { inode }, volume: domain, cmd: "setlkw", flock: this.#flock(type) } as const;
      await this.#set.children[child]!.inodelk(this.#call, args);
    } catch (error) {
      if (error instanceof FopError && ignoring.includes(error.code)) return;
      throw error;
    }
    this.#held.push({ kind: "inode", child, inode, domain });
  }

  /** Never rejects: a child that is gone has dropped its locks. */
  async release(): Promise<void> {
    for (const lock of this.#held.splice(0).reverse()) {
      try {
        await this.#unlock(lock);
      } catch (error) {
        const { code } = toFopError(error);
        if (!GONE.has(code))
          this.#set.log.warn("a lock could not be given back", { child: lock.child, code, kind: lock.kind });
      }
    }
  }

  #unlock(lock: Held): Promise<unknown> {
    const { signal: _, ...call } = this.#call;
    const child = this.#set.children[lock.child]!;
    const loc = { inode: lock.inode };
    if (lock.kind === "inode") {
      const flock = this.#flock("unlck");
      return child.inodelk(call, { loc, volume: lock.domain, cmd: "setlk", flock });
    }
    const args = { loc, volume: DOMAIN.entry, name: lock.name, cmd: "unlock", type: "wrlck" } as const;
    return child.entrylk(call, args);
  }

  #flock(type: LockType): Flock {
    const { pid, lkOwner } = this.#call;
    return { type, whence: 0, start: 0n, len: 0n, pid, lkOwner };
  }
}

/** Takes locks, works, and gives them back however it ends. */
export async function locked<R>(
  set: SubvolumeSet,
  call: Call,
  take: (locks: Locks) => Promise<void>,
  work: () => Promise<R>,
): Promise<R> {
  const locks = new Locks(set, call);
  try {
    await take(locks);
    return await work();
  } finally {
    await locks.release();
  }
}
