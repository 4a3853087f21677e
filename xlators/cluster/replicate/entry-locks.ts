/**
 * Locks on names for the time of a transaction (spec translators.md 4.4): entrylk write locks in the set's
 * domain, on all up children.
 *
 * First all at once without waiting. If anybody else holds one of them everything is given back and asked for
 * again, now waiting, name after name and child after child, so that two clients never wait for each other.
 * The order of names (gfid of the directory, whole directory first, then name) is GlusterFS' too.
 */

import { type Call, internalCall } from "../../../src/core/call.ts";
import { type FopError, toFopError } from "../../../src/core/errors.ts";
import type { EntrylkCommand } from "../../../src/core/fops.ts";
import type { Inode } from "../../../src/core/inode.ts";
import { encodeName } from "../../../src/core/name.ts";
import { type ChildSet, childrenOf, NO_CHILDREN, withChild } from "./child-set.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** A name in a directory; without one, all names of it. */
export interface LockedName {
  readonly parent: Inode;
  readonly name: string | undefined;
}

const OWNER_BYTES = 16;

/** In the order in which every client asks for them. */
export function inLockOrder(names: readonly LockedName[]): readonly LockedName[] {
  return [...names].sort(compare);
}

function compare(a: LockedName, b: LockedName): number {
  const byGfid = Buffer.compare(a.parent.gfid, b.parent.gfid);
  if (byGfid !== 0) return byGfid;
  if (a.name === undefined || b.name === undefined)
    return a.name === b.name ? 0 : a.name === undefined ? -1 : 1;
  return Buffer.compare(encodeName(a.name), encodeName(b.name));
}

function sameName(a: LockedName, b: LockedName): boolean {
  return compare(a, b) === 0;
}

/** Held locks; `release` gives them back. */
export class EntryLocks {
  readonly #set: ReplicaSet;
  readonly #names: readonly LockedName[];
  readonly #call: Call;
  /** By name, where it is locked. */
  readonly #held: ChildSet[];
  #error: FopError | undefined;

  /**
   * Resolves when nothing is left to ask for, whatever was granted: see `children`. Rejects, with nothing
   * held, only when the caller gave up (EINTR).
   */
  static async take(set: ReplicaSet, call: Call, names: readonly LockedName[]): Promise<EntryLocks> {
    const locks = new EntryLocks(set, call, names);
    if (await locks.#tryAll()) await locks.#waitForEach();
    return locks;
  }

  private constructor(set: ReplicaSet, call: Call, names: readonly LockedName[]) {
    this.#set = set;
    this.#names = inLockOrder(names).filter(
      (name, index, sorted) => index === 0 || !sameName(name, sorted[index - 1]!),
    );
    this.#held = this.#names.map(() => NO_CHILDREN);
    const owner = set.env.random.bytes(OWNER_BYTES);
    owner[0]! |= 1; // All zero is no owner.
    this.#call = { ...internalCall(), lkOwner: owner, ...(call.signal ? { signal: call.signal } : {}) };
  }

  /** Children on which all names are locked. */
  get children(): ChildSet {
    return this.#held.reduce((all, held) => all & held, this.#set.all);
  }

  /** The last error of a child that granted nothing. */
  get error(): FopError | undefined {
    return this.#error;
  }

  /** Never rejects: a child that is gone has dropped its locks. */
  async release(): Promise<void> {
    const { signal: _, ...call } = this.#call;
    await Promise.all(
      this.#names.flatMap((name, index) => {
        const held = this.#held[index]!;
        this.#held[index] = NO_CHILDREN;
        return childrenOf(held).map(async (child) => {
          try {
            await this.#send(call, name, child, "unlock");
          } catch (error) {
            const { code } = toFopError(error);
            if (code === "ENOTCONN" || code === "ESTALE" || code === "ENOENT") return;
            this.#set.log.warn("an entry lock could not be given back", { child, code, name: name.name });
          }
        });
      }),
    );
  }

  /** True when somebody else is in the way; then nothing is held. */
  async #tryAll(): Promise<boolean> {
    const { up } = this.#set;
    let conflict = false;
    await Promise.all(
      this.#names.flatMap((name, index) =>
        childrenOf(up).map(async (child) => {
          const error = await this.#lock(name, index, child, "lock-nb");
          if (error?.code === "EAGAIN") conflict = true;
        }),
      ),
    );
    if (conflict) await this.release();
    return conflict;
  }

  async #waitForEach(): Promise<void> {
    const { up } = this.#set;
    for (const [index, name] of this.#names.entries())
      for (const child of childrenOf(up)) {
        const error = await this.#lock(name, index, child, "lock");
        if (error?.code !== "EINTR") continue;
        await this.release();
        throw error;
      }
  }

  async #lock(
    name: LockedName,
    index: number,
    child: number,
    cmd: EntrylkCommand,
  ): Promise<FopError | undefined> {
    try {
      await this.#send(this.#call, name, child, cmd);
      this.#held[index] = withChild(this.#held[index]!, child);
      return undefined;
    } catch (caught) {
      this.#error = toFopError(caught, { fop: "entrylk", xlator: this.#set.children[child]!.name });
      return this.#error;
    }
  }

  #send(call: Call, { parent, name }: LockedName, child: number, cmd: EntrylkCommand): Promise<unknown> {
    const loc = { inode: parent };
    return this.#set.children[child]!.entrylk(call, {
      loc,
      volume: this.#set.name,
      name,
      cmd,
      type: "wrlck",
    });
  }
}
