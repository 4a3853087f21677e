/**
 * OS fds behind Fds. A named Fd (a client's open) has one until it is released; anonymous Fds share one per
 * inode and O_DIRECT, kept open in an LRU because shards are written through them without an open (spec
 * translators.md 1.5): as many as a large image has shards, as long as the process has room for other fds.
 *
 * Invariant: an OS fd is closed only when no fop uses it (`enter` ... `leave`): a number that is closed early
 * may name another file by the time a pool thread gets to it.
 */

import { LRUCache } from "lru-cache";
import { FopError } from "../../../src/core/errors.ts";
import type { Gfid } from "../../../src/core/gfid.ts";
import { S_IFMT, S_IFREG } from "../../../src/core/iatt.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { O_DIRECT, O_RDWR } from "../../../src/core/open-flags.ts";
import { close, open, openFilesMax } from "../../../src/os/files.ts";
import type { Fence } from "./fence.ts";
import type { Handles } from "./handle.ts";
import type { InodeState, InodeStates } from "./inode-state.ts";
import type { Listing } from "./listing.ts";
import type { MdataStore } from "./mdata-store.ts";

/** What may be kept open for anonymous access. */
export interface Room {
  readonly files: number;
  /** From this fd number on an old one is closed for each that is opened: the process runs out of numbers. */
  readonly fdFull: number;
}

/** A shard of 64 MiB each: a tebibyte. */
const KEPT_MAX = 16384;
/** Fds left to what clients open, and to connections. */
const OTHER_FDS = 4096;

/** Under a limit of fds of the process, which other bricks may share: the kernel gives low numbers first. */
export function roomUnder(fdsMax: number): Room {
  return { files: KEPT_MAX, fdFull: Math.max(fdsMax - OTHER_FDS, Math.floor(fdsMax / 2)) };
}

export class OpenFile {
  readonly osFd: number;
  /** The flags that the OS fd was opened with. */
  readonly flags: number;
  readonly state: InodeState;
  readonly anonymous: boolean;
  /** For a directory: what readdir goes through. */
  listing: Listing | undefined;
  users = 0;
  closing = false;
  /** Serves the fops that waited for it and is closed after the last of them. */
  once = false;
  /** For an anonymous one: as many had been opened when it was last counted as used. */
  usedAt = 0;

  constructor(osFd: number, flags: number, state: InodeState, anonymous: boolean) {
    this.osFd = osFd;
    this.flags = flags;
    this.state = state;
    this.anonymous = anonymous;
  }

  get gfid(): Gfid {
    return this.state.gfid;
  }

  get isDirect(): boolean {
    return (this.flags & O_DIRECT) !== 0;
  }
}

/** What the OS fd behind an anonymous Fd is opened with. */
function anonymousFlags(fd: Fd): number {
  return O_RDWR | (fd.flags & O_DIRECT);
}

function anonymousKey(flags: number, state: InodeState): string {
  return `${flags}${state.key}`;
}

export class OpenFiles {
  /** Called for a file that nobody is to use any more, and that is closed when the last user leaves. */
  onClosing: (file: OpenFile) => void = () => {};
  readonly #handles: Handles;
  readonly #states: InodeStates;
  readonly #mdata: MdataStore;
  readonly #fence: Fence;
  readonly #named = new WeakMap<Fd, OpenFile>();
  readonly #all = new Set<OpenFile>();
  readonly #room: Room;
  readonly #anonymous: LRUCache<string, OpenFile>;
  /** The anonymous file that an inode was last reached through. */
  readonly #lately = new WeakMap<Inode, OpenFile>();
  /** Anonymous ones opened so far: what is used again before the next one need not be counted again. */
  #opened = 0;
  readonly #opening = new Map<string, Promise<OpenFile>>();

  /** Open descriptors of files and directories. */
  get size(): number {
    return this.#all.size;
  }

  constructor(
    handles: Handles,
    states: InodeStates,
    mdata: MdataStore,
    fence: Fence,
    room = roomUnder(openFilesMax()),
  ) {
    this.#handles = handles;
    this.#states = states;
    this.#mdata = mdata;
    this.#fence = fence;
    this.#room = room;
    this.#anonymous = new LRUCache({ max: room.files, dispose: (file) => this.#closeWhenIdle(file) });
  }

  /**
   * The file of a named Fd, in use until `leave`; undefined for an anonymous Fd. EBADF for a named one that
   * is not open.
   */
  enter(fd: Fd): OpenFile | undefined {
    const file = this.#named.get(fd);
    if (file === undefined) {
      if (fd.anonymous) return undefined;
      throw new FopError("EBADF", { fop: "fd" });
    }
    file.users++;
    return file;
  }

  /** The file of a named Fd, to look at. */
  find(fd: Fd): OpenFile | undefined {
    return this.#named.get(fd);
  }

  /** `enter` for an anonymous Fd of a regular file; opened now if need be. ENOENT when the file is gone. */
  async enterAnonymous(fd: Fd): Promise<OpenFile> {
    const flags = anonymousFlags(fd);
    const key = anonymousKey(flags, this.#states.of(fd.inode.gfid));
    const file = this.#anonymous.get(key) ?? (await this.#openAnonymous(key, fd, flags));
    if (file.closing) return this.enterAnonymous(fd);
    file.usedAt = this.#opened;
    this.#lately.set(fd.inode, file);
    file.users++;
    return file;
  }

  /**
   * `enter`, and for an anonymous Fd the file it was last reached through; undefined when that has to be
   * looked for (`enterAnonymous`). Small reads and writes of shards go this way.
   */
  enterKnown(fd: Fd): OpenFile | undefined {
    if (!fd.anonymous) return this.enter(fd);
    const file = this.#lately.get(fd.inode);
    if (file === undefined || file.closing || file.once || file.flags !== anonymousFlags(fd))
      return undefined;
    // One is closed only for one that is opened: between two of those the order of use does not matter.
    if (file.usedAt !== this.#opened) {
      file.usedAt = this.#opened;
      this.#anonymous.get(anonymousKey(file.flags, file.state));
    }
    file.users++;
    return file;
  }

  leave(file: OpenFile): void {
    if (--file.users > 0 || !(file.closing || file.once)) return;
    file.closing = true;
    this.#close(file);
  }

  /** Ties an OS fd to a named Fd. The caller holds `state` and gives that hold over. */
  add(fd: Fd, osFd: number, flags: number, state: InodeState): OpenFile {
    const file = new OpenFile(osFd, flags, state, false);
    state.sole = true;
    this.#named.set(fd, file);
    this.#all.add(file);
    return file;
  }

  /** The client closed the Fd. The last one of a file whose names are gone takes the file along. */
  async release(fd: Fd): Promise<void> {
    const file = this.#named.get(fd);
    if (!file) return;
    this.#named.delete(fd);
    this.#closeWhenIdle(file);
    await this.#uncount(file.state);
  }

  /** Takes back a count and a hold on behalf of an open that failed. */
  async abandon(state: InodeState): Promise<void> {
    try {
      await this.#uncount(state);
    } finally {
      this.#states.letGo(state);
    }
  }

  async #uncount(state: InodeState): Promise<void> {
    if (--state.opens > 0 || !state.parked) return;
    this.dropAnonymous(state);
    await this.#handles.unpark(state.gfid);
  }

  /** Lets go of cached OS fds of an inode, so that they do not keep a removed file's blocks. */
  dropAnonymous(state: InodeState): void {
    this.#anonymous.delete(anonymousKey(O_RDWR, state));
    this.#anonymous.delete(anonymousKey(O_RDWR | O_DIRECT, state));
  }

  /** Closes everything; nothing is in flight any more. */
  closeAll(): void {
    this.#anonymous.clear();
    for (const file of this.#all) this.#closeWhenIdle(file);
  }

  #openAnonymous(key: string, fd: Fd, flags: number): Promise<OpenFile> {
    const underWay = this.#opening.get(key);
    if (underWay) return underWay;
    const opening = this.#openNow(key, fd, flags).finally(() => this.#opening.delete(key));
    this.#opening.set(key, opening);
    return opening;
  }

  async #openNow(key: string, fd: Fd, flags: number): Promise<OpenFile> {
    const { gfid, type } = fd.inode;
    const state = this.#states.hold(gfid);
    let osFd: number;
    try {
      const found = await this.#handles.find(gfid, type);
      if ((found.stat.mode & S_IFMT) !== S_IFREG) throw new FopError("EINVAL", { fop: "fd" });
      await this.#fence.pass(state, found.path);
      osFd = await open(found.path, flags);
    } catch (error) {
      this.#states.letGo(state);
      throw error;
    }
    const file = new OpenFile(osFd, flags, state, true);
    this.#opened++;
    state.sole = true;
    this.#all.add(file);
    await this.#mdata.load(state, osFd);
    // What has no name left is not kept; unlink may have come in between and found nothing to drop.
    if (state.removed) file.once = true;
    else this.#anonymous.set(key, file);
    if (osFd >= this.#room.fdFull && this.#anonymous.size > 1) this.#anonymous.pop();
    return file;
  }

  #closeWhenIdle(file: OpenFile): void {
    if (file.closing) return;
    file.closing = true;
    if (file.users === 0) this.#close(file);
    else this.onClosing(file);
  }

  #close(file: OpenFile): void {
    this.#all.delete(file);
    this.#states.letGo(file.state);
    // An error of close(2) has no one to go to; what must be on disk was synced by fsync.
    close(file.osFd).catch(() => {});
  }
}
