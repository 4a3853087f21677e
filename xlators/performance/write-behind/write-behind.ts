/**
 * performance/write-behind: acknowledges writes before the bricks have them, and gathers small ones into
 * large ones (spec translators.md 7.1; GlusterFS performance/write-behind).
 *
 * Promises: whoever looks at a file, syncs, closes, unlocks or renames it waits for what was acknowledged
 * before. A write that fails after its acknowledgement is kept and tried again; the failure comes out at the
 * next write, read of its bytes, fsync and close, until it is written or its file closed (backlog.ts).
 * Attributes in an early answer are zero. Payloads are copied once, in the window, or borrowed (loans.ts).
 * Not early: O_SYNC and O_DSYNC; O_DIRECT with strict-O_DIRECT or out of step with sectors; fds that were not
 * opened; writes that ask for something in xdata; one that fills the window while its caller waits for
 * another.
 * Beyond GlusterFS: unlocking waits too, stat and lookup answer also after a failure, a truncation drops what
 * failed behind it, and no close is answered early where locks hang on it.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Timer } from "../../../src/core/env.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../../src/core/fops.ts";
import { gfidEquals, gfidKey, gfidOf, gfidText } from "../../../src/core/gfid.ts";
import { ZERO_IATT } from "../../../src/core/iatt.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { iovSize } from "../../../src/core/iovec.ts";
import { KEY } from "../../../src/core/keys.ts";
import { O_ACCMODE, O_DIRECT, O_RDONLY, O_SYNC, O_TRUNC } from "../../../src/core/open-flags.ts";
import {
  type ChildEvent,
  type Dump,
  defineXlator,
  exactly,
  type ParentEvent,
  Xlator,
  type XlatorBase,
} from "../../../src/core/xlator.ts";
import { type Backlog, type Host, UNDER_WAY_MAX } from "./backlog.ts";
import { Backlogs } from "./backlogs.ts";
import { type Batch, type Span, spanOfWrite, type Turn, WHOLE_FILE } from "./batch.ts";
import { Loans } from "./loans.ts";
import { Looks } from "./looks.ts";
import { optionsFault, WRITE_BEHIND_OPTIONS, type WriteBehindOptions } from "./options.ts";
import { Slabs } from "./slabs.ts";

/** What O_DIRECT writes must be multiples of to be sure of a brick's consent. */
const SECTOR = 512;

export const writeBehind = defineXlator({
  type: "performance/write-behind",
  children: exactly(1),
  options: WRITE_BEHIND_OPTIONS,
  check: ({ options }) => optionsFault(options),
  create: (init) => new WriteBehind(init),
});

/** What is known of an open file. */
class OpenFile {
  /** How often bytes of the file had been given up when this fd was last told, or opened. */
  lostSeen: number;
  /** Somebody reads the brick's file by itself on behalf of this fd. */
  readsElsewhere = false;
  /** Closes that were answered and are on their way. */
  readonly flushes = new Set<Promise<void>>();

  constructor(lostSeen: number) {
    this.lostSeen = lostSeen;
  }
}

class WriteBehind extends Xlator<typeof WRITE_BEHIND_OPTIONS> implements Host {
  readonly slabs = new Slabs();
  readonly loans = new Loans();
  underWayMax = UNDER_WAY_MAX;
  readonly #backlogs = new Backlogs(this);
  readonly #looks = new Looks();
  readonly #files = new WeakMap<Fd, OpenFile>();
  /** Files that were locked through this graph: a close drops locks, and others wait for that. */
  readonly #locked = new WeakSet<Inode>();
  /** By gfidKey, how many fds have a file of the brick read without asking this graph. */
  readonly #readElsewhere = new Map<string, number>();

  /** What is still here then belongs to fds that nobody released: it goes, though nobody waits for it. */
  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-down")
      for (const backlog of [...this.#backlogs.busy.values()]) void backlog.settle();
    super.onParentEvent(event);
  }

  override async fini(): Promise<void> {
    for (const { key, unsyncedBytes } of this.#backlogs.busy.values())
      this.log.error("acknowledged bytes were not written when the graph ended", {
        gfid: gfidText(gfidOf(Buffer.from(key, "latin1"))),
        bytes: unsyncedBytes,
      });
  }

  override reconfigure(options: WriteBehindOptions): void {
    super.reconfigure(options);
    for (const backlog of [...this.#backlogs.busy.values()]) backlog.wake();
  }

  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    super.onChildEvent(event, from);
    if (event.type !== "child-up") return;
    for (const backlog of [...this.#backlogs.busy.values()]) if (backlog.hasFailed) backlog.wake();
  }

  override dump(): Dump {
    const busy = [...this.#backlogs.busy.values()];
    return {
      busyFiles: busy.length,
      unsyncedBytes: busy.reduce((sum, backlog) => sum + backlog.unsyncedBytes, 0),
      failedFiles: busy
        .filter(({ hasFailed }) => hasFailed)
        .map(({ key }) => gfidText(gfidOf(Buffer.from(key, "latin1")))),
      spareBytes: this.slabs.keptBytes,
      borrowedBytes: this.loans.bytes,
    };
  }

  override localFile(fd: Fd): number | undefined {
    const file = this.#files.get(fd);
    if (file === undefined || this.#backlogs.find(fd.inode)?.isDirty) return undefined;
    const osFd = this.child.localFile(fd);
    if (osFd === undefined || file.readsElsewhere) return osFd;
    file.readsElsewhere = true;
    const key = gfidKey(fd.inode.gfid);
    this.#readElsewhere.set(key, (this.#readElsewhere.get(key) ?? 0) + 1);
    return osFd;
  }

  override hasUnwritten(fd: Fd): boolean {
    return this.#backlogs.find(fd.inode)?.isDirty === true || super.hasUnwritten(fd);
  }

  /** What the fd wrote is settled before it goes: nobody could hear of a failure after that. */
  override async release(fd: Fd): Promise<void> {
    const backlog = this.#backlogs.find(fd.inode);
    if (backlog?.isDirty) {
      await backlog.settle();
      const bytes = backlog.giveUp(fd);
      if (bytes > 0)
        this.log.error("acknowledged bytes are lost: the bricks did not take them before the close", {
          gfid: gfidText(fd.inode.gfid),
          bytes,
        });
    }
    const file = this.#files.get(fd);
    if (file !== undefined) {
      this.#files.delete(fd);
      await Promise.all(file.flushes);
      if (file.readsElsewhere) this.#readsHereAgain(gfidKey(fd.inode.gfid));
    }
    await this.child.release(fd);
  }

  override async link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    await this.#settled("link", args.from.inode);
    return this.child.link(call, args);
  }

  /** Programs save by writing a new file and renaming it: it must be written before what it replaces goes. */
  override async rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    await this.#settled("rename", args.from.inode);
    return this.child.rename(call, args);
  }

  override truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    const { inode } = args.loc;
    const backlog = this.#backlogs.find(inode);
    if (backlog === undefined) return this.child.truncate(call, args);
    return this.#truncated(backlog, args.offset, () => this.child.truncate(call, args));
  }

  override async open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    const { fd, flags } = args;
    const backlog = this.#backlogs.find(fd.inode);
    const reply =
      backlog !== undefined && (flags & O_TRUNC) !== 0
        ? await this.#inTurn(backlog, WHOLE_FILE, true, () => this.child.open(call, args))
        : await this.child.open(call, args);
    if ((flags & O_TRUNC) !== 0) backlog?.noteSize(0);
    this.#files.set(fd, new OpenFile(backlog?.lost ?? 0));
    return reply;
  }

  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const backlog = this.#backlogs.find(args.fd.inode);
    return backlog?.isDirty ? this.#read(backlog, call, args) : this.child.readv(call, args);
  }

  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    const size = iovSize(args.data);
    if (size === 0) return this.#writeNothing(call, args);
    const backlog = this.#backlogs.of(args.fd.inode);
    if (!this.#mayPromise(args, size)) return this.#write(backlog, call, args, size, false);
    return backlog.offer(call, args, size) ?? this.#write(backlog, call, args, size, true);
  }

  override flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    const file = this.#files.get(args.fd);
    return file === undefined ? this.child.flush(call, args) : this.#flush(file, call, args);
  }

  override async fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    const { fd } = args;
    const backlog = this.#backlogs.find(fd.inode);
    if (backlog !== undefined) {
      const failure = await backlog.settle();
      // Before a switch nobody hears of it, and nothing may be given up.
      if (failure !== undefined && args.xdata?.has(KEY.LAST_FSYNC)) throw failure;
      this.#tell("fsync", fd, backlog, failure);
    }
    return this.child.fsync(call, args);
  }

  override async create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    const reply = await this.child.create(call, args);
    this.#files.set(args.fd, new OpenFile(this.#backlogs.find(args.fd.inode)?.lost ?? 0));
    return reply;
  }

  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    const backlog = this.#backlogs.of(args.fd.inode);
    return this.#truncated(backlog, args.offset, () => this.child.ftruncate(call, args));
  }

  override async stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    await this.#backlogs.find(args.loc.inode)?.settle();
    return this.child.stat(call, args);
  }

  override async fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    await this.#backlogs.find(args.fd.inode)?.settle();
    return this.child.fstat(call, args);
  }

  /** Whoever gets a lock next, on this client or another, shall see what was written under it. */
  override async lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    const { inode } = args.fd;
    if (args.flock.type === "unlck") await this.#backlogs.find(inode)?.settle();
    else if (args.cmd !== "getlk") this.#locked.add(inode);
    return this.child.lk(call, args);
  }

  override lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    return this.#backlogs.busy.size === 0 ? this.child.lookup(call, args) : this.#lookUp(call, args);
  }

  override async rchecksum(call: Call, args: Args<"rchecksum">): Promise<Reply<"rchecksum">> {
    await this.#settled("rchecksum", args.fd.inode);
    return this.child.rchecksum(call, args);
  }

  override async setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    await this.#settled("setattr", args.loc.inode);
    return this.child.setattr(call, args);
  }

  override async fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    await this.#settled("fsetattr", args.fd.inode);
    return this.child.fsetattr(call, args);
  }

  override readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    return this.#backlogs.busy.size === 0 ? this.child.readdirp(call, args) : this.#list(call, args);
  }

  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.#changed(args, () => this.child.fallocate(call, args));
  }

  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.#changed(args, () => this.child.discard(call, args));
  }

  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.#changed(args, () => this.child.zerofill(call, args));
  }

  override async seek(call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    await this.#settled("seek", args.fd.inode);
    return this.child.seek(call, args);
  }

  override async copy_file_range(
    call: Call,
    args: Args<"copy_file_range">,
  ): Promise<Reply<"copy_file_range">> {
    const { fdIn, fdOut, offsetOut, size } = args;
    await this.#settled("copy_file_range", fdIn.inode);
    const span = spanOfWrite(fdOut, offsetOut, size);
    return this.#inTurn(this.#backlogs.of(fdOut.inode), span, false, () =>
      this.child.copy_file_range(call, args),
    );
  }

  // What the lines ask for.

  current(): WriteBehindOptions {
    return this.options;
  }

  send({ call, fd, flags, offset, data }: Batch): Promise<Reply<"writev">> {
    return this.child.writev(call, { fd, data, offset, flags });
  }

  onBusy(backlog: Backlog): void {
    this.#backlogs.enter(backlog);
  }

  onIdle(backlog: Backlog): void {
    this.#backlogs.leave(backlog);
  }

  onWritten(backlog: Backlog): void {
    this.#looks.noteWritten(backlog.key);
  }

  onFailed({ fd, offset, size }: Batch, error: FopError): void {
    const gfid = gfidText(fd.inode.gfid);
    this.log.warn("an acknowledged write failed and is kept", { gfid, offset, size, code: error.code });
  }

  after(delayMs: number, task: () => void): Timer {
    return this.env.clock.after(delayMs, task);
  }

  /** Whether a write may be acknowledged before it is done. */
  #mayPromise({ fd, offset, flags, xdata }: Args<"writev">, size: number): boolean {
    if (this.options["pass-through"] || xdata !== undefined) return false;
    const given = fd.flags | flags;
    if ((given & O_SYNC) !== 0 || (fd.flags & O_ACCMODE) === O_RDONLY || !this.#files.has(fd)) return false;
    if ((given & O_DIRECT) !== 0) {
      const isAligned = offset % SECTOR === 0 && size % SECTOR === 0;
      if (this.options["strict-O_DIRECT"] || !isAligned) return false;
    }
    return this.#readElsewhere.size === 0 || !this.#readElsewhere.has(gfidKey(fd.inode.gfid));
  }

  /**
   * A write that its caller waits for. `isTempting`: it would have been promised, had there been room and no
   * failure; then it is the one to bring a failure out that nobody has heard of.
   */
  async #write(
    backlog: Backlog,
    call: Call,
    args: Args<"writev">,
    size: number,
    isTempting: boolean,
  ): Promise<Reply<"writev">> {
    const mustTell = isTempting && backlog.hasFailed;
    const turn = backlog.begin(spanOfWrite(args.fd, args.offset, size));
    if (mustTell) await this.#tellWriter(backlog, turn);
    else if (turn.started !== undefined) await turn.started.promise;
    let succeeded = false;
    const wasDirty = backlog.isDirty;
    try {
      const reply = await this.child.writev(call, args);
      succeeded = true;
      if (backlog.isAlone && reply.post.mode !== 0) backlog.noteSize(reply.post.size);
      return wasDirty || backlog.isDirty ? withoutAttributes(reply) : reply;
    } finally {
      backlog.end(turn, succeeded);
    }
  }

  async #writeNothing(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    const isDirty = this.#backlogs.find(args.fd.inode)?.isDirty === true;
    const reply = await this.child.writev(call, args);
    return isDirty ? withoutAttributes(reply) : reply;
  }

  /** Waits for the turn, and for another attempt at what failed; rejects when that is news. */
  async #tellWriter(backlog: Backlog, turn: Turn): Promise<void> {
    const started = turn.started?.promise;
    started?.catch(ignore);
    const failure = await backlog.settle();
    if (failure !== undefined && backlog.takeUnreported()) {
      backlog.end(turn, false);
      throw this.#refusal("writev", failure);
    }
    await started;
  }

  async #read(backlog: Backlog, call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const { offset, size } = args;
    const failure = await backlog.settle({ start: offset, end: offset + size });
    if (failure !== undefined) throw this.#refusal("readv", failure, backlog);
    const reply = await this.child.readv(call, args);
    return backlog.isDirty ? { ...reply, stat: ZERO_IATT } : reply;
  }

  async #flush(file: OpenFile, call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    const { fd } = args;
    const backlog = this.#backlogs.find(fd.inode);
    const failure = await backlog?.settle();
    const flushed = this.child.flush(call, args);
    if (!this.options["flush-behind"] || this.#locked.has(fd.inode)) {
      const reply = await flushed;
      if (backlog !== undefined) this.#tell("flush", fd, backlog, failure);
      return reply;
    }
    const quiet: Promise<void> = flushed.then(ignore, ignore).then(() => {
      file.flushes.delete(quiet);
    });
    file.flushes.add(quiet);
    if (backlog !== undefined) this.#tell("flush", fd, backlog, failure);
    return {};
  }

  /** Throws what an fsync or a close of this fd has to hear of: writes that fail, or were given up. */
  #tell(fop: FopName, fd: Fd, backlog: Backlog, failure: FopError | undefined): void {
    const file = this.#files.get(fd);
    if (failure !== undefined) {
      backlog.takeUnreported();
      if (!this.options["resync-failed-syncs-after-fsync"]) backlog.giveUp();
      if (file !== undefined) file.lostSeen = backlog.lost;
      throw this.#refusal(fop, failure);
    }
    if (file === undefined || file.lostSeen === backlog.lost) return;
    file.lostSeen = backlog.lost;
    throw this.#refusal(fop, backlog.lostTo!);
  }

  async #lookUp(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const { inode } = args.loc;
    await this.#backlogs.find(inode)?.settle();
    this.#looks.begin();
    try {
      const reply = await this.child.lookup(call, args);
      const { gfid } = reply.stat;
      if (inode.linked && gfidEquals(inode.gfid, gfid)) return reply;
      const backlog = this.#backlogs.dirty(gfid);
      if (backlog === undefined && !this.#looks.sawWritten(gfid)) return reply;
      // Now that the name has a gfid: the attributes lack what is acknowledged. They are asked for again.
      await backlog?.settle();
      return await this.child.lookup(call, args);
    } finally {
      this.#looks.end();
    }
  }

  /** Attributes of files with unwritten bytes are left out: whoever wants them asks for each. */
  async #list(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    this.#looks.begin();
    try {
      const reply = await this.child.readdirp(call, args);
      const entries = reply.entries.map((entry) => {
        const { gfid } = entry.stat;
        const isStale = this.#backlogs.dirty(gfid) !== undefined || this.#looks.sawWritten(gfid);
        return isStale ? { ...entry, stat: ZERO_IATT } : entry;
      });
      return { ...reply, entries };
    } finally {
      this.#looks.end();
    }
  }

  async #truncated<R extends Reply<"truncate">>(
    backlog: Backlog,
    offset: number,
    truncate: () => Promise<R>,
  ): Promise<R> {
    const span = { start: offset, end: Number.POSITIVE_INFINITY };
    const reply = await this.#inTurn(backlog, span, true, truncate);
    backlog.noteSize(offset);
    return reply;
  }

  async #changed<R extends Reply<"discard">>(
    { fd, offset, size }: { readonly fd: Fd; readonly offset: number; readonly size: number },
    change: () => Promise<R>,
  ): Promise<R> {
    const backlog = this.#backlogs.of(fd.inode);
    const reply = await this.#inTurn(backlog, { start: offset, end: offset + size }, false, change);
    return backlog.isDirty ? { ...reply, pre: ZERO_IATT, post: ZERO_IATT } : reply;
  }

  async #inTurn<R>(backlog: Backlog, span: Span, supersedes: boolean, work: () => Promise<R>): Promise<R> {
    const turn = backlog.begin(span, supersedes);
    if (turn.started !== undefined) await turn.started.promise;
    let succeeded = false;
    try {
      const reply = await work();
      succeeded = true;
      return reply;
    } finally {
      backlog.end(turn, succeeded);
    }
  }

  /** Waits until everything acknowledged is written, and fails the fop when it cannot be. */
  async #settled(fop: FopName, inode: Inode): Promise<void> {
    const backlog = this.#backlogs.find(inode);
    const failure = await backlog?.settle();
    if (failure !== undefined) throw this.#refusal(fop, failure, backlog);
  }

  #refusal(fop: FopName, failure: FopError, backlog?: Backlog): FopError {
    backlog?.takeUnreported();
    const message = `${failure.code}: a write that was acknowledged before could not be done`;
    return new FopError(failure.code, { fop, xlator: this.name, message, cause: failure });
  }

  #readsHereAgain(key: string): void {
    const left = this.#readElsewhere.get(key)! - 1;
    if (left > 0) this.#readElsewhere.set(key, left);
    else this.#readElsewhere.delete(key);
  }
}

function ignore(): void {}

/** For a write that went out while acknowledged bytes were missing on the bricks: theirs are of before. */
function withoutAttributes(reply: Reply<"writev">): Reply<"writev"> {
  return { ...reply, pre: ZERO_IATT, post: ZERO_IATT };
}
