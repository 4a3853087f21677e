/**
 * The brick at work: everything that the fops of storage/posix share, and the steps that many of them begin
 * or end with.
 */

import type { Call } from "../../../src/core/call.ts";
import { KeyedQueue } from "../../../src/core/concurrency.ts";
import type { Dict } from "../../../src/core/dict.ts";
import type { Env } from "../../../src/core/env.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { FopName } from "../../../src/core/fops.ts";
import { type Gfid, gfidEquals, gfidOf, NULL_GFID, ROOT_GFID } from "../../../src/core/gfid.ts";
import { type Iatt, S_IFDIR, S_IFMT } from "../../../src/core/iatt.ts";
import type { Fd, Inode, Loc } from "../../../src/core/inode.ts";
import { KEY } from "../../../src/core/keys.ts";
import type { Logger } from "../../../src/core/log.ts";
import { nameBytes } from "../../../src/core/name.ts";
import type { DiskIo } from "../../../src/os/disk-io.ts";
import { fstat, lstat, type OsStat } from "../../../src/os/files.ts";
import { iattOf } from "./attributes.ts";
import { Fence } from "./fence.ts";
import { FsyncBatch } from "./fsync-batch.ts";
import { type Found, Handles, HIDDEN, isCode } from "./handle.ts";
import { type InodeState, InodeStates } from "./inode-state.ts";
import { LazyTimes } from "./lazy-times.ts";
import { MdataStore } from "./mdata-store.ts";
import { type OpenFile, OpenFiles } from "./open-files.ts";
import type { PosixOptions } from "./options.ts";
import { Space } from "./space.ts";
import { getXattr, statTarget, type Target } from "./target.ts";

/** NAME_MAX, in bytes. */
export const NAME_BYTES_MAX = 255;

/** A directory that an entry fop works in, with its attributes before. */
export interface Parent {
  readonly gfid: Gfid;
  /** Entries are at `${path}/${name}`. */
  readonly path: string;
  readonly stat: OsStat;
  readonly state: InodeState;
  readonly pre: Iatt;
}

/** What a fop on attributes is about: an object by its path, or the file behind an fd. */
export interface Subject {
  readonly target: Target;
  readonly gfid: Gfid;
  readonly state: InodeState;
  /** Attributes as they were when the fop began. */
  readonly stat: OsStat;
}

export class Brick {
  readonly name: string;
  readonly base: string;
  readonly env: Env;
  readonly log: Logger;
  options: PosixOptions;
  readonly io: DiskIo;
  readonly states = new InodeStates();
  readonly handles: Handles;
  readonly mdata: MdataStore;
  readonly fence: Fence;
  readonly files: OpenFiles;
  readonly times: LazyTimes;
  readonly space: Space;
  readonly fsyncs: FsyncBatch;
  /** Excludes fops on the same name from one another; keys are parent and name. */
  readonly entries = new KeyedQueue<string>();
  /**
   * Excludes fops on the number of an inode's names; keys are gfids. Taken inside `entries`, one at a time.
   */
  readonly #links = new KeyedQueue<string>();
  /** Excludes writes that ask whether they were appends; keys are gfids. */
  readonly writes = new KeyedQueue<string>();
  /** Excludes read-modify-write of xattrs; keys are gfids. */
  readonly counters = new KeyedQueue<string>();

  constructor(init: {
    name: string;
    base: string;
    env: Env;
    log: Logger;
    options: PosixOptions;
    io: DiskIo;
  }) {
    this.name = init.name;
    this.base = init.base;
    this.env = init.env;
    this.log = init.log;
    this.options = init.options;
    this.io = init.io;
    this.handles = new Handles(init.base, this.states);
    this.mdata = new MdataStore(this.states, init.log);
    this.fence = new Fence(init.base, init.log);
    this.files = new OpenFiles(this.handles, this.states, this.mdata, this.fence);
    this.times = new LazyTimes(this.mdata, this.files, init.env);
    this.space = new Space(init.base, init.env);
    this.fsyncs = new FsyncBatch(init.io, init.env, () => ({
      mode: this.options["batch-fsync-mode"],
      delayMs: this.options["batch-fsync-delay-usec"] / 1000,
    }));
  }

  /** A FopError of this brick. */
  error(code: FopError["code"], fop: string, more: { message?: string; xdata?: Dict } = {}): FopError {
    return new FopError(code, { fop, xlator: this.name, ...more });
  }

  /** An error from anywhere below, with the fop and the brick that it belongs to. A bug stays what it is. */
  located(error: unknown, fop: FopName): unknown {
    if (!(error instanceof FopError) || (error.fop === fop && error.xlator !== "")) return error;
    const { code, xdata } = error;
    const detail = error.message === code ? `${error.fop}: ${code}` : error.message;
    const message = error.fop === "" || error.fop === fop ? error.message : detail;
    return new FopError(code, { fop, xlator: this.name, message, cause: error, ...(xdata && { xdata }) });
  }

  /** Attributes of an open file, at once: its inode is in memory. */
  iattOfFile(file: OpenFile): Iatt {
    const { state } = file;
    return iattOf(fstat(file.osFd), state.gfid, this.options.ctime ? state.mdata : null);
  }

  /** Attributes with the times of mdata, which are read on the first need. */
  async iatt(stat: OsStat, state: InodeState, target: Target): Promise<Iatt> {
    const mdata = this.options.ctime ? await this.mdata.load(state, target) : null;
    return iattOf(stat, state.gfid, mdata);
  }

  /** Attributes now. */
  iattNow({ target, state }: { target: Target; state: InodeState }): Promise<Iatt> {
    return this.handles.steady(async () => this.iatt(await statTarget(target), state, target));
  }

  /** An object by its gfid; `missing` is the errno when it does not exist. */
  async find(inode: Inode, missing: "ESTALE" | "ENOENT" = "ESTALE"): Promise<Subject> {
    if (!inode.linked) throw this.error("EINVAL", "resolve", { message: "resolve: the inode has no gfid" });
    const { gfid } = inode;
    try {
      const { path, stat } = await this.handles.find(gfid, inode.type);
      return { target: path, gfid, state: this.states.of(gfid), stat };
    } catch (error) {
      if (isCode(error, "ENOENT")) throw this.error(missing, "resolve");
      throw error;
    }
  }

  /** Runs a fop on what a loc names. */
  async withLoc<R>(loc: Loc, work: (subject: Subject) => Promise<R>): Promise<R> {
    return work(await this.find(loc.inode));
  }

  /** Runs a fop on what an fd refers to; its OS fd stays open meanwhile. An anonymous fd goes by the gfid. */
  async withFd<R>(fd: Fd, work: (subject: Subject) => Promise<R>): Promise<R> {
    const file = this.files.enter(fd);
    if (!file) return work(await this.find(fd.inode, "ENOENT"));
    try {
      const { osFd, state } = file;
      return await work({ target: osFd, gfid: state.gfid, state, stat: fstat(osFd) });
    } finally {
      this.files.leave(file);
    }
  }

  /**
   * The directory of an entry fop. ESTALE when it is gone or not given, EPERM when it is no directory (spec
   * wire.md 8).
   */
  async parent(loc: Loc): Promise<Parent> {
    if (!loc.parent?.linked || loc.name === undefined) throw this.error("ESTALE", "resolve");
    const { gfid } = loc.parent;
    let found: Found;
    try {
      found = await this.handles.findDirectory(gfid);
    } catch (error) {
      if (isCode(error, "ENOENT")) throw this.error("ESTALE", "resolve");
      if (isCode(error, "ENOTDIR")) throw this.error("EPERM", "resolve");
      throw error;
    }
    if ((found.stat.mode & S_IFMT) !== S_IFDIR) throw this.error("EPERM", "resolve");
    const state = this.states.of(gfid);
    return { ...found, gfid, state, pre: await this.iatt(found.stat, state, found.path) };
  }

  /** The directory after an entry fop, with the times that the call gives it. */
  async postParent(call: Call, parent: Parent): Promise<Iatt> {
    if (this.options.ctime) await this.mdata.stampParent(call, parent.state, parent.path);
    return this.iattNow({ target: parent.path, state: parent.state });
  }

  /** Gives the object the times of the call, if the call brings any. */
  async stamp(call: Call, state: InodeState, target: Target): Promise<void> {
    if (this.options.ctime) await this.mdata.stamp(call, state, target);
  }

  /**
   * The same for a read or write: on disk a moment later. A promise only when there is something to wait
   * for.
   */
  stampFile(call: Call, file: OpenFile): Promise<void> | undefined {
    return this.options.ctime ? this.times.stamp(call, file) : undefined;
  }

  /** The gfid on an entry; NULL_GFID when it has none. */
  async gfidOn(path: string): Promise<Gfid> {
    const bytes = await getXattr(path, KEY.GFID);
    return bytes?.length === 16 ? gfidOf(bytes) : NULL_GFID;
  }

  /** lstat of an entry; undefined when it does not exist. */
  async lstatIfThere(path: string): Promise<OsStat | undefined> {
    try {
      return await lstat(path);
    } catch (error) {
      if (isCode(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  /**
   * Runs an entry fop alone on its names. It is run again when a directory on its way was being renamed: so
   * it must find its parent first.
   */
  inEntries<R>(locs: readonly Loc[], work: () => Promise<R>): Promise<R> {
    const keys = [...new Set(locs.map(entryKey))].sort();
    const run = (index: number): Promise<R> =>
      index === keys.length
        ? this.handles.steady(work)
        : this.entries.run(keys[index]!, () => run(index + 1));
    return run(0);
  }

  /**
   * Runs what changes the number of an inode's names, alone. An inode without a name left is forgotten
   * afterwards.
   */
  async withLinks<R>(gfid: Gfid, work: (state: InodeState) => Promise<R>): Promise<R> {
    const state = this.states.hold(gfid);
    try {
      return await this.#links.run(state.key, () => work(state));
    } finally {
      this.states.letGo(state);
      if (state.removed) this.states.drop(gfid);
    }
  }

  /**
   * Names that an entry fop may not have: too long (ENAMETOOLONG), with a slash (EPERM) or a NUL (EINVAL),
   * the brick's own directory (EPERM), and `.` and `..` (`dots`).
   */
  checkName(loc: Loc, fop: string, dots: "EEXIST" | "EINVAL" | "allowed"): void {
    const name = loc.name;
    if (name === undefined) return;
    if (name === "" || name.includes("\0")) throw this.error("EINVAL", fop);
    if (name.includes("/")) throw this.error("EPERM", fop);
    if (name === "." || name === "..") {
      if (dots !== "allowed") throw this.error(dots, fop);
    } else if (name === HIDDEN && loc.parent && gfidEquals(loc.parent.gfid, ROOT_GFID)) {
      throw this.error("EPERM", fop, { message: `${fop}: "${HIDDEN}" belongs to the brick` });
    } else if (name.length * 3 > NAME_BYTES_MAX && nameBytes(name) > NAME_BYTES_MAX) {
      throw this.error("ENAMETOOLONG", fop);
    }
  }

  /** ENOSPC for a fop that needs space, when only the reserve is left and the caller may not use it. */
  checkSpace(call: Call, xdata: Dict | undefined, fop: string): void {
    if (this.isShortOfSpace(call, xdata)) {
      throw this.error("ENOSPC", fop, { message: `${fop}: only the reserve is left (option reserve)` });
    }
  }

  isShortOfSpace(call: Call, xdata: Dict | undefined): boolean {
    return this.space.full && call.pid >= 0 && !xdata?.has(KEY.INTERNAL_FOP);
  }
}

/** A string that is equal for the same name in the same directory. */
export function entryKey(loc: Loc): string {
  return `${loc.parent?.gfid.toString("latin1") ?? ""}/${loc.name ?? ""}`;
}
