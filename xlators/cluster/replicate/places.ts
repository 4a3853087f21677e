/**
 * Which brick is which copy: bricks of Mortar carry the id by which marks know them (storage/posix/place.ts),
 * so that two that changed places are told apart before a heal runs backwards.
 *
 * A brick without an id gets that of its place in the volfile, once all children are there and none blames
 * another: whatever the order was before, no mark is left that was made under it. A read-only mount does so
 * as well, as it heals as well. Bricks of GlusterFS keep no id: as an xattr of their root it would go from
 * copy to copy with their heals of metadata, and their own heal daemon would not ask for it anyway.
 */

import { internalCall } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Timer } from "../../../src/core/env.ts";
import { toFopError } from "../../../src/core/errors.ts";
import { ROOT_GFID } from "../../../src/core/gfid.ts";
import { S_IFDIR } from "../../../src/core/iatt.ts";
import { Inode, type Loc } from "../../../src/core/inode.ts";
import { INDEX_KEY, PLACE_XATTR } from "../../../src/core/keys.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import { type ChildSet, hasChild, NO_CHILDREN, withChild, withoutChild } from "./child-set.ts";
import { PID_HEAL_DAEMON } from "./crawl/set-healer.ts";
import type { ReplicaSet } from "./replica-set.ts";

/** Pause before copies that were not level are looked at again. */
const RETRY_MS = 60_000;

/**
 * Why a brick that says that it is the copy `found` must not serve as child `child`; undefined when it may.
 */
export function misplaced(set: ReplicaSet, child: number, found: string | undefined): string | undefined {
  const wanted = set.brickIds[child]!;
  if (found === undefined || found === "" || found === wanted) return undefined;
  const swapped = set.brickIds.includes(found) ? "bricks of this volume are swapped" : "it is of another set";
  return (
    `subvolume "${set.children[child]!.name}": its brick is the copy "${found}", not "${wanted}": ${swapped}; ` +
    "put the directories, or the sections of the volfile, back to their places; if all is in its place and " +
    `nothing is to be healed: setfattr -x ${PLACE_XATTR} BRICK/.glusterfs and start that brick again`
  );
}

export class Places {
  readonly #set: ReplicaSet;
  readonly #refuse: (child: number, why: string) => void;
  readonly #unwatch: () => void;
  #unwritten: ChildSet = NO_CHILDREN;
  #busy = false;
  #stopped = false;
  #timer: Timer | undefined;

  /** `refuse` takes a child out of service that turns out to be another copy. */
  constructor(set: ReplicaSet, refuse: (child: number, why: string) => void) {
    this.#set = set;
    this.#refuse = refuse;
    this.#unwatch = set.watch(() => this.#look());
  }

  /** A brick has come and said which copy it is; before it counts as up. */
  heard(child: number, brickId: string | undefined): void {
    const change = brickId === "" ? withChild : withoutChild;
    this.#unwritten = change(this.#unwritten, child);
  }

  stop(): void {
    this.#stopped = true;
    this.#unwatch();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #look(): void {
    const { up, all } = this.#set;
    if (this.#unwritten === NO_CHILDREN || up !== all || this.#busy || this.#timer !== undefined) return;
    void this.#write();
  }

  async #write(): Promise<void> {
    const { log, children, env } = this.#set;
    this.#busy = true;
    try {
      const pending = await Promise.all(children.map(pendingCount));
      if (pending.every((count) => count === 0)) await this.#writeAll();
    } catch (error) {
      log.debug("which copy a brick is could not be written down", { code: toFopError(error).code });
    }
    this.#busy = false;
    if (this.#unwritten !== NO_CHILDREN && !this.#stopped)
      this.#timer = env.clock.after(RETRY_MS, () => this.#again());
  }

  async #writeAll(): Promise<void> {
    const { children, brickIds } = this.#set;
    for (const [index, child] of children.entries()) {
      if (!hasChild(this.#unwritten, index)) continue;
      const xattrs = new Dict().setStr(PLACE_XATTR, brickIds[index]!);
      try {
        await child.setxattr(internalCall(PID_HEAL_DAEMON), { loc: rootLoc(), xattrs, flags: 0 });
      } catch (error) {
        if (toFopError(error).code !== "EEXIST") throw error;
        this.#refuse(
          index,
          `subvolume "${child.name}": another client took its brick for another copy than ` +
            `"${brickIds[index]}" just now; compare the volfiles of both`,
        );
      }
      this.#unwritten = withoutChild(this.#unwritten, index);
    }
  }

  #again(): void {
    this.#timer = undefined;
    this.#look();
  }
}

/** Objects for which a brick blames another; rejects when it does not tell. */
async function pendingCount(child: XlatorBase): Promise<number> {
  const name = INDEX_KEY.PENDING_COUNT;
  const { xattrs } = await child.getxattr(internalCall(PID_HEAL_DAEMON), { loc: rootLoc(), name });
  return xattrs.number(name) ?? Number.NaN;
}

function rootLoc(): Loc {
  return { inode: new Inode(ROOT_GFID, S_IFDIR) };
}
