/**
 * One name of a directory on all copies: looks at it, removes it from a copy, makes it on a copy (spec
 * translators.md 4.9, "entry"). Entry heal and name heal decide what is to be done; the caller holds the
 * lock on the name.
 *
 * A new object is marked as new on the good copies before it is made, so that nobody reads it before data and
 * metadata are healed, and the index lists it for that.
 */

import type { Call } from "../../../../src/core/call.ts";
import { fanout } from "../../../../src/core/concurrency.ts";
import { Dict } from "../../../../src/core/dict.ts";
import { FopError } from "../../../../src/core/errors.ts";
import { type Gfid, gfidEquals, gfidText, isNullGfid } from "../../../../src/core/gfid.ts";
import { isDir, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "../../../../src/core/iatt.ts";
import { Fd, Inode, type Loc } from "../../../../src/core/inode.ts";
import { KEY } from "../../../../src/core/keys.ts";
import { O_DIRECTORY, O_RDONLY } from "../../../../src/core/open-flags.ts";
import { type Counts, NO_COUNTS, SLOTS } from "../changelog.ts";
import { type ChildSet, childrenOf, hasChild, NO_CHILDREN, only } from "../child-set.ts";
import type { NameSides, Resolution } from "../decide.ts";
import { newEntryCounts } from "../entry-verdict.ts";
import type { ReplicaSet } from "../replica-set.ts";
import {
  ABSENT,
  chooseObject,
  differ,
  type NameCopies,
  objectToKeep,
  twinsOf,
  UNDECIDED,
} from "./gfid-choice.ts";
import { isAbsent, type Look, look } from "./look.ts";
import { addMarks } from "./marks.ts";
import { isWanted, park, parks, unpark } from "./parking.ts";
import { replace } from "./replacing.ts";
import { reunite } from "./reunite.ts";

/** Longest target of a symlink. */
const TARGET_BYTES_MAX = 4096;
/** Enough of a listing to see whether there is anything. */
const NAMES_BYTES = 4096;

/** The copies have different objects at a name, and nothing says which one is right. */
export class NameConflict extends Error {}

/** An object still has its old name on a copy, or somebody works on that name; another look finds it free. */
export class NotYet extends FopError {
  constructor(set: ReplicaSet) {
    super("EBUSY", { xlator: set.name, message: "still elsewhere on a copy" });
  }
}

export class Dirent {
  readonly set: ReplicaSet;
  readonly call: Call;
  readonly directory: Inode;
  readonly name: string;
  /** Children on which something was changed. */
  changed: ChildSet = NO_CHILDREN;
  #found: Look;

  private constructor(set: ReplicaSet, call: Call, directory: Inode, name: string, found: Look) {
    this.set = set;
    this.call = call;
    this.directory = directory;
    this.name = name;
    this.#found = found;
  }

  /** Asks every child. Throws FopError when one cannot say whether it has the name. */
  static async at(set: ReplicaSet, call: Call, directory: Inode, name: string): Promise<Dirent> {
    const found = await look(set, call, { inode: new Inode(), parent: directory, name });
    for (const error of found.errors) if (error && !isAbsent(error) && error.code !== "ENODATA") throw error;
    return new Dirent(set, call, directory, name, found);
  }

  /** Children that have the name, with or without a gfid. */
  get present(): ChildSet {
    return this.#found.answered;
  }

  get copies(): NameCopies {
    const holders = childrenOf(this.present).filter((child) => !isNullGfid(this.#found.stats[child]!.gfid));
    return {
      holders: holders.reduce((all, child) => all | only(child), NO_CHILDREN),
      stats: this.#found.stats,
    };
  }

  /** Whether all children have the same object there, or none has any. */
  get isEqual(): boolean {
    const { holders } = this.copies;
    if (this.present === NO_CHILDREN) return this.#found.errors.every((error) => error?.code !== "ENODATA");
    return holders === this.set.all && differ(this.copies, holders) === "no";
  }

  /**
   * The child whose object the others shall have, of those in `among`; -1 when none of them has the name.
   * Throws NameConflict when they have different ones and neither policy nor person decides.
   */
  objectAmong(among: ChildSet, resolution: Resolution | undefined): number {
    const { copies } = this;
    const kind = differ(copies, among);
    if (kind === "no") return childrenOf(copies.holders & among)[0] ?? -1;
    const policy = this.set.options["favorite-child-policy"];
    const chosen = chooseObject(copies, kind, policy, resolution);
    if (typeof chosen === "string") throw new NameConflict(chosen);
    return chosen;
  }

  /**
   * The child whose object all copies shall have; ABSENT when they shall have none, -1 when none has a gfid.
   * Throws NameConflict when nothing decides.
   */
  async chosen(sides: NameSides): Promise<number> {
    const { set, copies } = this;
    const believed = sides.sources | sides.trusted;
    if ((this.present & ~copies.holders & believed) === NO_CHILDREN) {
      const hasQuorum = set.quorum.type === "none" ? undefined : (some: ChildSet) => set.hasQuorum(some);
      const empty = differ(copies, copies.holders) === "no" ? NO_CHILDREN : await this.#empty();
      const chosen = objectToKeep({ copies, sides, empty, hasQuorum });
      if (chosen !== UNDECIDED) return chosen;
    }
    return this.objectAmong(sides.sources & copies.holders || set.all, undefined);
  }

  /**
   * Makes all copies have the object of `chosen`, or none. Where no copy says that others missed something,
   * an object that was only moved goes where it belongs.
   */
  async settle(chosen: number, sides: NameSides): Promise<void> {
    const { set } = this;
    const { sources } = sides;
    const isBlameless = sources === NO_CHILDREN || sources === set.all;
    const remove = async (child: number): Promise<void> => {
      if (!hasChild(this.present, child) || (isBlameless && (await this.#leaves(child)))) return;
      await this.remove(child);
    };
    if (chosen === ABSENT) {
      for (const child of childrenOf(this.present)) await remove(child);
      return;
    }
    if (chosen < 0) return;
    const { gfid } = this.#found.stats[chosen]!;
    await this.assignGfid(gfid);
    if (isBlameless && this.twinsOf(chosen) !== set.all && (await this.#reunited(chosen, remove))) {
      await this.#lookAgain();
      // All copies may have it elsewhere now; what it had replaced on some of them may be here still.
      if (!hasChild(this.present, chosen) || !gfidEquals(this.#found.stats[chosen]!.gfid, gfid))
        return this.isEqual ? undefined : await this.settle(await this.chosen(sides), sides);
    }
    await this.makeOn(set.all, chosen, isBlameless ? NO_CHILDREN : set.all & ~sources);
  }

  /** Gives entries that were made behind the brick's back the gfid of the object. */
  async assignGfid(gfid: Gfid): Promise<void> {
    const without = childrenOf(this.set.all).filter((child) =>
      hasChild(this.present, child)
        ? isNullGfid(this.#found.stats[child]!.gfid)
        : this.#found.errors[child]?.code === "ENODATA",
    );
    if (without.length === 0) return;
    const xdata = new Dict().setGfid(KEY.GFID_REQ, gfid);
    await fanout(without, (child) =>
      this.set.children[child]!.lookup(this.call, { loc: this.#loc(), xdata }),
    );
    for (const child of without) this.changed |= only(child);
    await this.#lookAgain();
  }

  /** Children that have the object of `child` at this name. */
  twinsOf(child: number): ChildSet {
    return twinsOf(this.copies, child);
  }

  /** Takes the name from a copy; nothing to do when it has none. */
  async remove(child: number): Promise<void> {
    if (!hasChild(this.present, child)) return;
    const { set, call } = this;
    const stat = this.#found.stats[child]!;
    const directory = isDir(stat);
    set.log.info("an entry goes from a copy that should not have it", {
      child: set.children[child]!.name,
      directory: gfidText(this.directory.gfid),
      name: this.name,
      gfid: gfidText(stat.gfid),
    });
    this.changed |= only(child);
    const parked =
      parks(set) &&
      !isNullGfid(stat.gfid) &&
      (await isWanted(set, call, stat.gfid, directory)) &&
      (await park(set, call, child, this.#loc(), stat.gfid));
    if (parked) return;
    const brick = set.children[child]!;
    if (directory) await brick.rmdir(call, { loc: this.#loc(), flags: 1 });
    else await brick.unlink(call, { loc: this.#loc(), flags: 0 });
  }

  /** Makes `child` have the object of `source` at this name; `sources` have it already. */
  async make(child: number, source: number, sources: ChildSet): Promise<void> {
    const { set, call } = this;
    const stat = this.#found.stats[source]!;
    if (hasChild(this.present, child)) {
      if (gfidEquals(this.#found.stats[child]!.gfid, stat.gfid)) return;
      await this.remove(child);
    }
    this.changed |= only(child);
    const exists = await this.#hasObject(child, stat.gfid);
    if (!exists) await this.#markNew(child, source, sources);
    if (exists && isDir(stat)) {
      // Made anew it would share its gfid with the old one, and be without what is in it.
      const moved = parks(set) && (await unpark(set, call, child, stat.gfid, this.#loc()));
      if (!moved) throw new NotYet(set);
      return;
    }
    const xdata = new Dict().setGfid(KEY.GFID_REQ, stat.gfid);
    const brick = set.children[child]!;
    const loc = this.#loc();
    switch (stat.mode & S_IFMT) {
      case S_IFDIR:
        await brick.mkdir(call, { loc, mode: stat.mode & 0o7777, umask: 0, xdata });
        return;
      case S_IFLNK:
        if (exists) await brick.link(call, { from: { inode: new Inode(stat.gfid, S_IFLNK) }, to: loc });
        else
          await brick.symlink(call, { loc, target: await this.#target(source, stat.gfid), umask: 0, xdata });
        return;
      default:
        // A brick that has the object already gives it one more name.
        xdata.setInt(KEY.INTERNAL_FOP, 1);
        await brick.mknod(call, { loc, mode: stat.mode, rdev: stat.rdev, umask: 0, xdata });
    }
  }

  /** Makes all of `children` have the object of `source`; the directory's marks blame `blamed` already. */
  async makeOn(children: ChildSet, source: number, blamed = NO_CHILDREN): Promise<void> {
    const { set, call, directory, name } = this;
    const right = this.twinsOf(source);
    const wrong = children & ~right;
    const replaced = this.copies.holders & wrong & ~blamed;
    await replace({ set, call, directory, name, right, replaced }, async () => {
      for (const child of childrenOf(wrong)) await this.make(child, source, right);
    });
  }

  /** Whether what a copy has here went to where the other copies have it. */
  async #leaves(child: number): Promise<boolean> {
    const { gfid } = this.#found.stats[child]!;
    if (isNullGfid(gfid) || !(await this.#reunited(child))) return false;
    await this.#lookAgain();
    return !hasChild(this.present, child) || !gfidEquals(this.#found.stats[child]!.gfid, gfid);
  }

  /** Whether copies have the object that `child` has here under the same names, perhaps only now. */
  async #reunited(child: number, vacate?: (child: number) => Promise<void>): Promise<boolean> {
    const { set, call, name } = this;
    const { gfid } = this.#found.stats[child]!;
    const mine = { parent: this.directory.gfid, name };
    const holders = this.twinsOf(child);
    const reunion = await reunite({ set, call, gfid, mine, holders, ...(vacate ? { vacate } : {}) });
    if (reunion === "busy") throw new NotYet(set);
    return reunion === "agreed";
  }

  async #lookAgain(): Promise<void> {
    this.#found = await look(this.set, this.call, this.#loc());
  }

  #loc(): Loc {
    return { inode: new Inode(), parent: this.directory, name: this.name };
  }

  /** Holders of a file without bytes, of a directory without names, or of something that never has either. */
  async #empty(): Promise<ChildSet> {
    let empty = NO_CHILDREN;
    for (const child of childrenOf(this.copies.holders)) {
      const stat = this.#found.stats[child]!;
      const type = stat.mode & S_IFMT;
      const isEmpty =
        type === S_IFREG
          ? stat.size === 0
          : type === S_IFDIR
            ? await this.#hasNoNames(child, stat.gfid)
            : type !== S_IFLNK;
      if (isEmpty) empty |= only(child);
    }
    return empty;
  }

  async #hasNoNames(child: number, gfid: Gfid): Promise<boolean> {
    const brick = this.set.children[child]!;
    const inode = new Inode(gfid, S_IFDIR);
    const fd = new Fd(inode, O_RDONLY | O_DIRECTORY, this.call.pid);
    await brick.opendir(this.call, { loc: { inode }, fd });
    try {
      const { entries } = await brick.readdir(this.call, { fd, size: NAMES_BYTES, offset: 0n });
      return entries.every(({ name }) => name === "." || name === "..");
    } finally {
      await brick.releasedir(fd);
    }
  }

  async #hasObject(child: number, gfid: Gfid): Promise<boolean> {
    try {
      await this.set.children[child]!.lookup(this.call, { loc: { inode: new Inode(gfid) } });
      return true;
    } catch (error) {
      if (error instanceof FopError && isAbsent(error)) return false;
      throw error;
    }
  }

  async #target(source: number, gfid: Gfid): Promise<string> {
    const loc = { inode: new Inode(gfid, S_IFLNK) };
    const { target } = await this.set.children[source]!.readlink(this.call, { loc, size: TARGET_BYTES_MAX });
    return target;
  }

  /** Sources that blame the child already in all slots that matter need not be told. */
  async #markNew(child: number, source: number, sources: ChildSet): Promise<void> {
    const { set, call } = this;
    const { gfid, mode } = this.#found.stats[source]!;
    const counts = newEntryCounts(mode, set.options["granular-entry-heal"]);
    const pending: readonly Counts[] = set.pendingKeys.map((_, blamed) =>
      blamed === child ? counts : NO_COUNTS,
    );
    const untold = childrenOf(sources).filter((holder) => {
      const has = this.#found.rows[holder]!.pending[child]!;
      return SLOTS.some((slot) => counts[slot] !== 0 && has[slot] === 0);
    });
    const inode = new Inode(gfid, mode & S_IFMT);
    const increments = { pending, dirty: NO_COUNTS };
    const outcomes = await fanout(untold, (holder) => addMarks(set, call, inode, holder, increments));
    for (const outcome of outcomes) if (!outcome.ok) throw outcome.error;
  }
}
