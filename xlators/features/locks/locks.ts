/**
 * features/locks: the brick's lock table (spec translators.md 9, wire.md 10.2): lk, inodelk and entrylk with
 * their domains, mandatory locking, lock counts in xdata, contention messages, revocation, clear-locks.
 *
 * Promises: a lock's owner is (lk-owner, connection); whoever waits is answered by grant, unlock, clear, its
 * signal, its client's disconnect or the graph's stop, never forgotten; release(fd) and clientDisconnect drop
 * locks before they return. With mandatory locking off and no count asked, I/O passes through untouched.
 * Needs a brick below that answers stat and getxattr.
 * Limits: locks live in memory and go with the process; moving them to another brick (metalock, lockinfo,
 * reservation) is not supported; removal waits only for inodes that the caller names by a linked inode, or
 * while somebody holds an inodelk.
 */

import type { Call, ClientIdentity } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { ActiveLock, Args, FopName, Reply, Upcall } from "../../../src/core/fops.ts";
import { type Gfid, gfidText, isNullGfid } from "../../../src/core/gfid.ts";
import type { Fd, Inode, Loc } from "../../../src/core/inode.ts";
import { iovSize } from "../../../src/core/iovec.ts";
import { LOCK_KEY } from "../../../src/core/keys.ts";
import { O_TRUNC } from "../../../src/core/open-flags.ts";
import { type ByteRange, overlaps, rangeOf } from "../../../src/core/ranges.ts";
import { type Dump, defineXlator, exactly, type ParentEvent } from "../../../src/core/xlator.ts";
import { brickOfPathinfo, clearLocks, clearSummary, isClearName, parseClear } from "./clear.ts";
import { CountedFops, countedInode } from "./counted-fops.ts";
import type { Domain, DomainLock } from "./domain.ts";
import { entrylkOf } from "./entrylk.ts";
import type { InodeLocks } from "./inode-locks.ts";
import { flockOf, inodelkDomain, inodelkOf } from "./inodelk.ts";
import { ENFORCE, hasMark, type Io, IoGate, rest, span } from "./io-gate.ts";
import { forbidsTruncatingOpen } from "./mandatory.ts";
import { locksOptions } from "./options.ts";
import { ownerOf, requiredOwner } from "./owner.ts";
import type { PosixLock } from "./posix-lk.ts";
import { LockTable } from "./table.ts";

const PATHINFO = "trusted.glusterfs.pathinfo";
const MODE_MANDATORY = 1;
/** Share of unlocks that monkey-unlocking ignores. */
const MONKEY_RATE = 0.01;

export const locks = defineXlator({
  type: "features/locks",
  children: exactly(1),
  options: locksOptions,
  create: (init) => new Locks(init),
});

class Locks extends CountedFops {
  protected override readonly table = new LockTable({
    nowMs: () => this.env.clock.nowMs(),
    inodelkContended: (inode, domain, held) => {
      const { gfid } = inode;
      this.#notify(held, { kind: "inodelk-contention", gfid, domain, flock: flockOf(held) });
    },
    entrylkContended: (inode, domain, held) => {
      const { gfid } = inode;
      this.#notify(held, { kind: "entrylk-contention", gfid, domain, name: held.name ?? "" });
    },
    mandatoryMode: () => this.options["mandatory-locking"],
  });
  /**
   * Connections that ended: a lock call of theirs that was still on its way must not leave a lock for ever.
   */
  readonly #gone = new WeakSet<ClientIdentity>();
  readonly #gate = new IoGate({
    table: this.table,
    child: this.child,
    mode: () => this.options["mandatory-locking"],
    enforces: () => this.options["enforce-mandatory-lock"],
  });

  override async fini(): Promise<void> {
    this.table.refuseAll();
  }

  override async release(fd: Fd): Promise<void> {
    this.#dropFd(fd);
    await super.release(fd);
  }

  override clientDisconnect(client: ClientIdentity): void {
    this.#gone.add(client);
    this.table.dropClient(client);
    super.clientDisconnect(client);
  }

  override dump(): Dump {
    return { inodesWithLocks: this.table.size };
  }

  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-down") this.table.refuseAll();
    super.onParentEvent(event);
  }

  override unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    return this.#remove("unlink", call, args.loc, () =>
      this.pass("unlink", call, args, countedInode(args.loc)),
    );
  }

  override rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    return this.#remove("rmdir", call, args.loc, () =>
      this.pass("rmdir", call, args, countedInode(args.loc)),
    );
  }

  /** The inode that loses a name is the one that `to` led to. */
  override rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    return this.#remove("rename", call, args.to, () =>
      this.pass("rename", call, args, countedInode(args.from), countedInode(args.to)),
    );
  }

  override async truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    const { loc, offset } = args;
    if (this.#gate.concerns(call)) {
      const io: Io = { inode: loc.inode, kind: "write", range: rest(offset) };
      await this.#located("truncate", this.#gate.pass(call, io));
    }
    return this.pass("truncate", call, args, countedInode(loc));
  }

  /** Mandatory locks are for reads to meet. */
  override localFile(fd: Fd): number | undefined {
    const advisory = this.options["mandatory-locking"] === "off" && !this.options["enforce-mandatory-lock"];
    return advisory ? this.child.localFile(fd) : undefined;
  }

  override open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    const locked = args.flags & O_TRUNC ? this.table.find(args.loc.inode.gfid) : undefined;
    if (locked && forbidsTruncatingOpen(locked, this.options["mandatory-locking"]))
      return Promise.reject(this.#error("open", "EAGAIN"));
    return this.child.open(call, args);
  }

  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    if (this.#gate.concerns(call) && args.size > 0)
      return this.#gated("readv", call, args, "read", span(args.offset, args.size));
    return args.xdata ? this.pass("readv", call, args, args.fd.inode) : this.child.readv(call, args);
  }

  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    if (this.#gate.concerns(call))
      return this.#gated("writev", call, args, "write", span(args.offset, iovSize(args.data)));
    return args.xdata ? this.pass("writev", call, args, args.fd.inode) : this.child.writev(call, args);
  }

  /** Drops the caller's lk locks on the inode; without an lk-owner those that were set through the fd. */
  override flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    if (call.lkOwner.length === 0) this.#dropFd(args.fd);
    else {
      const inode = this.table.find(args.fd.inode.gfid);
      const { key } = ownerOf(call);
      if (inode && inode.posix.drop((lock) => lock.owner.key === key) > 0) this.table.changed(inode);
    }
    return this.pass("flush", call, args, args.fd.inode);
  }

  override async setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    const enforces = this.#checkEnforceKey("setxattr", args.xattrs.has(ENFORCE));
    const reply = await this.child.setxattr(call, args);
    if (enforces) this.#gate.setEnforced(args.loc.inode, true);
    return reply;
  }

  override getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    const { name } = args;
    if (name === undefined || !isClearName(name)) return this.child.getxattr(call, args);
    return this.#clear(call, args.loc.inode, name);
  }

  override async removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    const enforces = this.#checkEnforceKey("removexattr", args.name === ENFORCE);
    const reply = await this.child.removexattr(call, args);
    if (enforces) this.#gate.setEnforced(args.loc.inode, false);
    return reply;
  }

  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    if (this.#gate.concerns(call)) return this.#gated("ftruncate", call, args, "write", rest(args.offset));
    return this.pass("ftruncate", call, args, args.fd.inode);
  }

  override lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    return this.#located("lk", args.cmd === "getlk" ? this.#getlk(call, args) : this.#setlk(call, args));
  }

  override inodelk(call: Call, args: Args<"inodelk">): Promise<Reply<"inodelk">> {
    return this.#located(
      "inodelk",
      this.#gfidOf(call, args.loc).then((gfid) => this.#inodelk(call, gfid, args)),
    );
  }

  override finodelk(call: Call, args: Args<"finodelk">): Promise<Reply<"finodelk">> {
    return this.#located("finodelk", this.#inodelk(call, args.fd.inode.gfid, args));
  }

  override entrylk(call: Call, args: Args<"entrylk">): Promise<Reply<"entrylk">> {
    return this.#located(
      "entrylk",
      this.#gfidOf(call, args.loc).then((gfid) => this.#entrylk(call, gfid, args)),
    );
  }

  override fentrylk(call: Call, args: Args<"fentrylk">): Promise<Reply<"fentrylk">> {
    return this.#located("fentrylk", this.#entrylk(call, args.fd.inode.gfid, args));
  }

  /** By which GlusterFS' FUSE client interrupts a waiting lk call. */
  override fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    const { name } = args;
    if (name === undefined || !isClearName(name)) return this.child.fgetxattr(call, args);
    return this.#clear(call, args.fd.inode, name);
  }

  override async fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    const enforces = this.#checkEnforceKey("fsetxattr", args.xattrs.has(ENFORCE));
    const reply = await this.child.fsetxattr(call, args);
    if (enforces) this.#gate.setEnforced(args.fd.inode, true);
    return reply;
  }

  override async setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    const reply = await this.pass("setattr", call, args, countedInode(args.loc));
    this.#updateMark(reply.post);
    return reply;
  }

  override async fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    const reply = await this.pass("fsetattr", call, args, args.fd.inode);
    this.#updateMark(reply.post);
    return reply;
  }

  override async fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    const enforces = this.#checkEnforceKey("fremovexattr", args.name === ENFORCE);
    const reply = await this.child.fremovexattr(call, args);
    if (enforces) this.#gate.setEnforced(args.fd.inode, false);
    return reply;
  }

  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    if (this.#gate.concerns(call))
      return this.#gated("discard", call, args, "write", span(args.offset, args.size));
    return this.pass("discard", call, args, args.fd.inode);
  }

  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    if (this.#gate.concerns(call))
      return this.#gated("zerofill", call, args, "write", span(args.offset, args.size));
    return this.pass("zerofill", call, args, args.fd.inode);
  }

  override async getactivelk(call: Call, args: Args<"getactivelk">): Promise<Reply<"getactivelk">> {
    const gfid = await this.#gfidOf(call, args.loc);
    const granted = this.table.find(gfid)?.posix.granted ?? [];
    const active = granted.map((lock): ActiveLock => {
      const clientUid = lock.owner.client?.id ?? "";
      return { flock: flockOf(lock), clientUid, flags: lock.mandatory ? MODE_MANDATORY : 0 };
    });
    return { locks: active };
  }

  /** Takes over the locks of another brick's inode, which must have none here. */
  override async setactivelk(call: Call, args: Args<"setactivelk">): Promise<Reply<"setactivelk">> {
    const gfid = await this.#gfidOf(call, args.loc);
    if ((this.table.find(gfid)?.posix.count ?? 0) > 0 || args.locks.length === 0)
      throw this.#error("setactivelk", "EINVAL");
    const inode = this.table.of(gfid);
    for (const { flock, flags } of args.locks) {
      const range = rangeOf(flock.start, flock.len);
      if (!range || flock.type === "unlck") continue;
      const owner = ownerOf({ ...call, lkOwner: flock.lkOwner, pid: flock.pid });
      inode.posix.set({ owner, fd: undefined, range, type: flock.type, mandatory: flags === MODE_MANDATORY });
    }
    this.table.changed(inode);
    return {};
  }

  // lk

  async #getlk(call: Call, { fd, flock, xdata }: Args<"lk">): Promise<Reply<"lk">> {
    const owner = requiredOwner(call);
    const range = lkRange(fd, flock);
    const wanted = flock.type === "unlck" ? undefined : { owner, range, type: flock.type };
    const inTheWay = wanted && this.table.find(fd.inode.gfid)?.posix.conflict(wanted);
    return { flock: inTheWay ? flockOf(inTheWay) : { ...flock, type: "unlck" }, xdata };
  }

  async #setlk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    const { fd, flock, xdata } = args;
    const owner = requiredOwner(call);
    const range = lkRange(fd, flock);
    this.#trace("lk", call, { gfid: gfidText(fd.inode.gfid), cmd: args.cmd, ...flock });
    if (flock.type === "unlck") return this.#unlk(owner, range, args);
    const mandatory = xdata?.number(LOCK_KEY.LK_MODE) === MODE_MANDATORY;
    const lock: PosixLock = { owner, fd, range, type: flock.type, mandatory };
    const marked = await this.#gate.isMarked(call, fd);
    const enforced = await this.#gate.isEnforced(call, fd.inode);
    this.#checkConnected(call);
    const inode = this.table.of(fd.inode.gfid);
    inode.markedMandatory = marked;
    if (enforced) preempt(inode, lock);
    else if (!inode.posix.conflict(lock)) inode.posix.set(lock);
    else if (args.cmd === "setlk") throw new FopError("EAGAIN");
    else await inode.posix.wait(lock, call.signal, () => this.table.changed(inode));
    this.table.changed(inode);
    return { flock, xdata };
  }

  /** The reply's type says whether the fd has locks left: the NFS server of GlusterFS relies on it. */
  #unlk(owner: PosixLock["owner"], range: ByteRange, { fd, flock, xdata }: Args<"lk">): Reply<"lk"> {
    const inode = this.table.find(fd.inode.gfid);
    if (!inode) return { flock, xdata };
    inode.posix.unset(owner, range);
    this.table.changed(inode);
    const throughFd = (lock: PosixLock): boolean => lock.fd === fd;
    const left = inode.posix.granted.some(throughFd) || inode.posix.blocked.some(throughFd);
    return { flock: { ...flock, type: left ? "rdlck" : "unlck" }, xdata };
  }

  #dropFd(fd: Fd): void {
    const inode = this.table.find(fd.inode.gfid);
    if (!inode) return;
    const throughFd = (lock: PosixLock): boolean => lock.fd === fd;
    const refused = inode.posix.blocked.refuse(throughFd, "EAGAIN");
    if (inode.posix.drop(throughFd) + refused > 0) this.table.changed(inode);
  }

  // inodelk and entrylk

  async #inodelk(call: Call, gfid: Gfid, args: Omit<Args<"finodelk">, "fd">): Promise<Reply<"inodelk">> {
    const { cmd, flock, volume } = args;
    if (cmd === "getlk") throw new FopError("EOPNOTSUPP");
    if (isNullGfid(gfid)) throw new FopError("EINVAL");
    const name = inodelkDomain(volume, flock);
    const request = inodelkOf(requiredOwner(call), flock);
    this.#trace("inodelk", call, { gfid: gfidText(gfid), domain: name, cmd, ...flock });
    if (flock.type === "unlck") {
      this.#unlock(this.table.find(gfid), (inode) => inode.inodelks.get(name), request);
      return {};
    }
    this.#checkConnected(call);
    this.#revoke(this.table.find(gfid), (inode) => inode.inodelks.get(name), request, name);
    const inode = this.table.of(gfid);
    const domain = inode.inodelkDomain(name);
    if (inode.admits(request.owner) && domain.tryLock(request)) return {};
    return this.#waitFor(call, inode, domain, request, cmd === "setlkw");
  }

  async #entrylk(call: Call, gfid: Gfid, args: Omit<Args<"fentrylk">, "fd">): Promise<Reply<"entrylk">> {
    const { cmd, name, type, volume } = args;
    if (isNullGfid(gfid)) throw new FopError("EINVAL");
    const request = entrylkOf(requiredOwner(call), name, type);
    this.#trace("entrylk", call, { gfid: gfidText(gfid), domain: volume, cmd, name, type });
    if (cmd === "unlock") {
      this.#unlock(this.table.find(gfid), (inode) => inode.entrylks.get(volume), request);
      return {};
    }
    this.#checkConnected(call);
    this.#revoke(this.table.find(gfid), (inode) => inode.entrylks.get(volume), request, volume);
    const inode = this.table.of(gfid);
    const domain = inode.entrylkDomain(volume);
    if (domain.tryLock(request)) return {};
    return this.#waitFor(call, inode, domain, request, cmd === "lock");
  }

  /** What to do with a lock that cannot be had now. */
  async #waitFor<L extends DomainLock>(
    call: Call,
    inode: InodeLocks,
    domain: Domain<L>,
    request: L,
    mayWait: boolean,
  ): Promise<Record<never, never>> {
    if (!mayWait) {
      this.table.changed(inode);
      throw new FopError("EAGAIN");
    }
    await domain.blocked.wait(request, call.signal, () => this.table.changed(inode));
    return {};
  }

  #unlock<L extends DomainLock>(
    inode: InodeLocks | undefined,
    domainOf: (inode: InodeLocks) => Domain<L> | undefined,
    request: L,
  ): void {
    const stuck = this.options["revocation-secs"] > 0 && this.options["monkey-unlocking"];
    if (stuck && this.env.random.float() < MONKEY_RATE) return;
    if (!inode || !domainOf(inode)?.unlock(request)) throw new FopError("EINVAL");
    this.table.changed(inode);
  }

  /** Drops the domain's locks when one that is in the way is too old, or too many requests wait. */
  #revoke<L extends DomainLock>(
    inode: InodeLocks | undefined,
    domainOf: (inode: InodeLocks) => Domain<L> | undefined,
    request: L,
    name: string,
  ): void {
    const domain = inode && domainOf(inode);
    if (!domain) return;
    const maxMs = this.options["revocation-secs"] * 1000;
    const maxBlocked = this.options["revocation-max-blocked"];
    const tooOld = maxMs > 0 && (domain.oldestInTheWayMs(request) ?? 0) > maxMs;
    const tooMany = maxBlocked > 0 && domain.blocked.size >= maxBlocked;
    if (!tooOld && !tooMany) return;
    const clearAll = this.options["revocation-clear-all"];
    const blocked = clearAll ? domain.blocked.refuse(() => true, "EAGAIN") : 0;
    const granted = domain.drop(() => true);
    const why = tooOld ? "age" : "max blocked";
    this.log.warn("locks revoked", { gfid: gfidText(inode.gfid), domain: name, why, granted, blocked });
    this.table.changed(inode);
  }

  /** Tells a lock's holder that somebody else wants it, unless it was told a short while ago. */
  #notify(held: DomainLock, upcall: Upcall): void {
    if (!this.options["notify-contention"]) return;
    const now = this.env.clock.nowMs();
    const delayMs = this.options["notify-contention-delay"] * 1000;
    if (held.contendedMs !== undefined && now - held.contendedMs < delayMs) return;
    held.contendedMs = now;
    const to = held.owner.client?.id;
    this.notifyParents({ type: "upcall", upcall, ...(to === undefined ? {} : { to }) });
  }

  // Removal of names

  async #remove<R>(fop: FopName, call: Call, target: Loc, run: () => Promise<R>): Promise<R> {
    const gfid = await this.#removedGfid(call, target);
    if (!gfid) return run();
    const inode = this.table.of(gfid);
    await this.#located(fop, this.#waitForHolders(call, inode));
    try {
      return await run();
    } finally {
      inode.removalsRunning--;
      this.table.changed(inode);
    }
  }

  /** Counts a running removal, when other clients' inodelks are gone. */
  async #waitForHolders(call: Call, inode: InodeLocks): Promise<void> {
    const removal = { client: call.client };
    const inTheWay = inode.inTheWayOf(removal);
    if (inTheWay.length === 0) {
      inode.removalsRunning++;
      return;
    }
    for (const { domain, held } of inTheWay) inode.contended(domain, held);
    await inode.removals.wait(removal, call.signal, () => this.table.changed(inode));
  }

  /**
   * The inode that a name leads to, if it can matter here: it is known to the caller, or something is locked.
   */
  async #removedGfid(call: Call, loc: Loc): Promise<Gfid | undefined> {
    if (loc.inode.linked) return loc.inode.gfid;
    if (this.table.size === 0) return undefined;
    const found = await this.child.lookup(call, { loc }).catch(() => undefined);
    return found?.stat.gfid;
  }

  // Mandatory locks

  /** Lets I/O on an fd down when no lock forbids it. */
  async #gated<F extends "readv" | "writev" | "ftruncate" | "discard" | "zerofill">(
    fop: F,
    call: Call,
    args: Args<F>,
    kind: Io["kind"],
    range: ByteRange,
  ): Promise<Reply<F>> {
    const { fd } = args;
    await this.#located(fop, this.#gate.pass(call, { inode: fd.inode, fd, kind, range }));
    return this.pass(fop, call, args, fd.inode);
  }

  /** What files with the mark are told by changes with it (mode "file"). */
  #updateMark(post: { gfid: Gfid; mode: number }): void {
    const inode = this.table.find(post.gfid);
    if (inode) inode.markedMandatory = hasMark(post.mode);
  }

  /** Passes on whether a call is about the enforcement xattr; refuses it when enforcement is not on. */
  #checkEnforceKey(fop: FopName, concerned: boolean): boolean {
    if (concerned && !this.#gate.enforcing) throw this.#error(fop, "EINVAL");
    return concerned;
  }

  // clear-locks

  async #clear(call: Call, inode: Inode, name: string): Promise<Reply<"getxattr">> {
    const command = parseClear(name);
    if (!command || (command.ownOnly && call.pid < 0)) throw this.#error("getxattr", "EINVAL");
    const locked = this.table.find(inode.gfid);
    const cleared = locked ? clearLocks(locked, command, call) : { blocked: 0, granted: 0 };
    if (locked) this.table.changed(locked);
    const brick = (await this.#brickName(call, inode)) ?? this.name;
    const summary = clearSummary(brick, command.type, cleared);
    this.log.info("locks cleared", { gfid: gfidText(inode.gfid), name, ...cleared });
    return { xattrs: new Dict().setStr(name, summary) };
  }

  async #brickName(call: Call, inode: Inode): Promise<string | undefined> {
    try {
      const { xattrs } = await this.child.getxattr(call, { loc: { inode }, name: PATHINFO });
      return brickOfPathinfo(xattrs.text(PATHINFO) ?? "");
    } catch {
      return undefined;
    }
  }

  // Small tools

  async #gfidOf(call: Call, loc: Loc): Promise<Gfid> {
    if (loc.inode.linked) return loc.inode.gfid;
    const { stat } = await this.child.lookup(call, { loc });
    return stat.gfid;
  }

  #checkConnected(call: Call): void {
    if (call.client && this.#gone.has(call.client)) throw new FopError("ENOTCONN");
  }

  #error(fop: FopName, code: FopError["code"]): FopError {
    return new FopError(code, { fop, xlator: this.name });
  }

  /** Gives errors that were made without a place this translator's name. */
  async #located<R>(fop: FopName, work: Promise<R>): Promise<R> {
    try {
      return await work;
    } catch (error) {
      if (!(error instanceof FopError) || error.xlator !== "") throw error;
      throw new FopError(error.code, { fop, xlator: this.name, message: error.message });
    }
  }

  #trace(kind: string, call: Call, fields: Record<string, unknown>): void {
    if (!this.options.trace) return;
    const owner = call.lkOwner.toString("hex");
    this.log.info("lock request", { kind, client: call.client?.id, owner, ...fields, lkOwner: undefined });
  }
}

/**
 * An lk call's range; EINVAL when it cannot be, or when it is not from the start of the file (only the client
 * knows others).
 */
function lkRange(fd: Fd, flock: Args<"lk">["flock"]): ByteRange {
  const range = rangeOf(flock.start, flock.len);
  if (!range || flock.whence !== 0 || isNullGfid(fd.inode.gfid)) throw new FopError("EINVAL");
  return range;
}

/** An enforced lock takes the range from whoever has it, and ends all waiting. */
function preempt(inode: InodeLocks, lock: PosixLock): void {
  inode.posix.blocked.refuse(() => true, "EBUSY");
  inode.io.refuse(() => true, "EBUSY");
  inode.posix.drop((held) => held.owner.key !== lock.owner.key && overlaps(held.range, lock.range));
  inode.posix.set(lock);
}
