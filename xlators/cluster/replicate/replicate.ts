/**
 * cluster/replicate: the same files on every child, so that the loss of one goes unnoticed (spec
 * translators.md 4; GlusterFS xlators/cluster/afr).
 *
 * Promises: an acknowledged change is on a quorum of copies, or marked as missing on those that lack it;
 * reads come from copies that nobody blames. Agrees with GlusterFS' AFR about marks, lock domains and ranges,
 * so that both kinds of client may serve the same bricks at the same time. Needs below: bricks with xattrop,
 * locks and (for the heal daemon) index. This class only hands each fop to the part that does it.
 * Limits: no thin arbiter, no halo; leases, moving locks, put, icreate and namelink (which no mount sends)
 * are refused.
 */

import type { Call } from "../../../src/core/call.ts";
import { within } from "../../../src/core/concurrency.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, FopName, Reply, Upcall } from "../../../src/core/fops.ts";
import type { Gfid } from "../../../src/core/gfid.ts";
import { type Fd, Inode } from "../../../src/core/inode.ts";
import { O_TRUNC } from "../../../src/core/open-flags.ts";
import { UPCALL } from "../../../src/core/upcall-flags.ts";
import {
  type ChildEvent,
  type Dump,
  defineXlator,
  type ParentEvent,
  Xlator,
  XlatorBase,
  type XlatorInit,
} from "../../../src/core/xlator.ts";
import { brickIds, whyUnsupported } from "./brick-ids.ts";
import { CHILDREN_MAX } from "./child-set.ts";
import { Directories } from "./directory.ts";
import { EagerLocks } from "./eager-locks.ts";
import { Entries } from "./entries.ts";
import { onAll, onAny } from "./fan-out.ts";
import type { BackgroundHeals } from "./heal/background.ts";
import { healOnAccess } from "./heal-on-access.ts";
import { InodeStates } from "./inode-state.ts";
import { InodeWrites } from "./inode-writes.ts";
import { ipc } from "./ipc.ts";
import { Lookups } from "./lookup.ts";
import { Membership } from "./membership.ts";
import { OpenFiles } from "./open-files.ts";
import { options, type ReplicateOptions } from "./options.ts";
import { Places } from "./places.ts";
import { QuorumGate } from "./quorum-gate.ts";
import { type ReadContext, Reads } from "./read.ts";
import { namedCopyFault, ReadPolicy } from "./read-policy.ts";
import { ReplicaSet } from "./replica-set.ts";
import { UserLocks } from "./user-locks.ts";
import { VirtualXattrs } from "./virtual-xattrs.ts";

/** How long the end of a graph waits for delayed post-ops and for heals to stop. */
const STOP_MS = 5000;

export const replicate = defineXlator({
  type: "cluster/replicate",
  children: { min: 1, max: CHILDREN_MAX },
  options,
  check: ({ options: values, children }) =>
    children.length === 1
      ? undefined
      : (whyUnsupported(values, children.length) ?? namedCopyFault(values, children)),
  create: (init) => (init.children.length === 1 ? new SingleCopy(init) : new Replicate(init)),
});

/** Over one child there is no second copy to keep equal. */
class SingleCopy extends Xlator<typeof options> {}

export class Replicate extends XlatorBase<typeof options> {
  readonly set: ReplicaSet;
  readonly #membership: Membership;
  readonly #places: Places;
  readonly #states: InodeStates;
  readonly #policy: ReadPolicy;
  readonly #gate: QuorumGate;
  readonly #files: OpenFiles;
  readonly #locks: EagerLocks;
  readonly #writes: InodeWrites;
  readonly #userLocks: UserLocks;
  readonly #entries: Entries;
  readonly #reads: Reads;
  readonly #directories: Directories;
  readonly #lookups: Lookups;
  readonly #virtual: VirtualXattrs;
  readonly #background: BackgroundHeals;
  #stopping: Promise<void> | undefined;

  constructor(init: XlatorInit<typeof options>) {
    super(init);
    const names = init.children.map(({ name }) => name);
    this.set = new ReplicaSet({
      name: this.name,
      children: init.children,
      brickIds: brickIds(this.name, init.options["afr-pending-xattr"], names),
      options: init.options,
      env: this.env,
      log: this.log,
    });
    this.#membership = new Membership(this.set, (event) => this.notifyParents(event));
    this.#places = new Places(this.set, (child, why) => this.#membership.childRefused(child, why));
    this.#states = new InodeStates(this.set);
    this.#policy = new ReadPolicy(this.set);
    this.set.watch(() => this.#policy.discoverLocal());
    const heals = healOnAccess(this.set);
    this.#background = heals.background;
    this.#states.settle = heals.settle;
    this.#background.healed = (gfid) => this.#states.expire(new Inode(gfid));
    this.#states.noticed = (gfid, outcomes) => heals.background.notice(gfid, outcomes);
    this.#gate = new QuorumGate(this.set);
    this.#files = new OpenFiles(this.set, this.#states);
    const context: ReadContext = {
      set: this.set,
      states: this.#states,
      policy: this.#policy,
      gate: this.#gate,
      files: this.#files,
    };
    this.#locks = new EagerLocks(this.set);
    this.#userLocks = new UserLocks(this.set, this.#gate, this.#files);
    this.#entries = new Entries(context, (fd, children, flags) => this.#files.opened(fd, children, flags));
    this.#reads = new Reads(context);
    const parts = { ...context, locks: this.#locks };
    this.#writes = new InodeWrites(parts, (call, args) => this.#reads.readv(call, args));
    this.#directories = new Directories(context, this.#reads);
    this.#lookups = new Lookups(context, heals.healName);
    this.#virtual = new VirtualXattrs(context, (gfid) => this.#forgetCached(gfid));
  }

  override async fini(): Promise<void> {
    await this.#stopping;
    this.#gate.stop();
    this.#virtual.stop();
    await within(this.env.clock, STOP_MS, this.#entries.settled());
  }

  override reconfigure(given: ReplicateOptions): void {
    super.reconfigure(given);
    this.set.reconfigure(given);
  }

  override dump(): Dump {
    const { set } = this;
    const { hasQuorum, waiting, suspended, timedOut, suspensions } = this.#gate.stats;
    return {
      childrenUp: set.children.filter((_, child) => set.isUp(child)).map(({ name }) => name),
      hasQuorum,
      callsForQuorum: { waiting, suspended, timedOut, suspensions },
      inodesLocked: this.#locks.busyCount,
      pingMs: set.latencyMs,
    };
  }

  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-up") {
      this.#membership.start();
      super.onParentEvent(event);
      return;
    }
    this.#membership.stop();
    this.#places.stop();
    this.#gate.stop();
    this.#stopping = this.#stop(event);
  }

  /**
   * Delayed post-ops need the children: those hear of the end when the marks are cleared. A brick that hangs
   * does not hold up the end for as long as its ping timeout: what is not cleared stays for a heal to find.
   */
  async #stop(event: ParentEvent): Promise<void> {
    const inTime = await within(this.env.clock, STOP_MS, this.#settle());
    if (!inTime) this.log.warn("a copy does not answer: what was written last may stay marked for a heal");
    super.onParentEvent(event);
  }

  async #settle(): Promise<void> {
    await this.#background.stop();
    await Promise.all([this.#locks.settleAll(), this.#entries.settled()]);
  }

  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    const child = this.children.indexOf(from);
    if (event.type === "child-up") {
      this.#places.heard(child, event.brickId);
      this.#membership.childUp(child, event);
    } else if (event.type === "child-down") this.#membership.childDown(child);
    else if (event.type === "child-connecting") this.#membership.childConnecting(child, event.why);
    else if (event.type === "auth-failed") this.#membership.childRefused(child, event.why);
    else if (event.type === "child-ping") this.set.latencyMs[child] = event.latencyMs;
    else if (event.type === "upcall" && isContention(event.upcall)) this.#contended(event.upcall);
    else {
      if (event.type === "upcall" && isOfXattrs(event.upcall))
        this.#states.expire(new Inode(event.upcall.gfid));
      this.notifyParents(event);
    }
  }

  /** The layers above know nothing of the locks that are held here; in other domains they have their own. */
  #contended(upcall: Upcall): void {
    if (upcall.kind !== "inodelk-contention") return;
    if (upcall.domain === this.name) this.#locks.contended(upcall.gfid, "data");
    else if (upcall.domain === `${this.name}:metadata`) this.#locks.contended(upcall.gfid, "metadata");
    else if (!upcall.domain.startsWith(`${this.name}:`)) this.notifyParents({ type: "upcall", upcall });
  }

  override async release(fd: Fd): Promise<void> {
    await this.#locks.forgetFd(fd);
    await super.release(fd);
  }

  override forget(inode: Inode): void {
    this.#states.forget(inode);
    super.forget(inode);
  }

  // Names.

  override lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    return this.#lookups.lookup(call, args);
  }
  override mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    return this.#entries.mknod(call, args);
  }
  override mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    return this.#entries.mkdir(call, args);
  }
  override unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    return this.#entries.unlink(call, args);
  }
  override rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    return this.#entries.rmdir(call, args);
  }
  override symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    return this.#entries.symlink(call, args);
  }
  override rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    return this.#entries.rename(call, args);
  }
  override link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    return this.#entries.link(call, args);
  }
  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.#entries.create(call, args);
  }
  override icreate(): Promise<never> {
    return this.#notHere("icreate");
  }
  override namelink(): Promise<never> {
    return this.#notHere("namelink");
  }
  override put(): Promise<never> {
    return this.#notHere("put");
  }

  // Reads.

  override stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    return this.#reads.stat(call, args);
  }
  override fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    return this.#reads.fstat(call, args);
  }
  override access(call: Call, args: Args<"access">): Promise<Reply<"access">> {
    return this.#reads.byInode("access", "metadata", call, args, args.loc.inode);
  }
  override readlink(call: Call, args: Args<"readlink">): Promise<Reply<"readlink">> {
    return this.#reads.byInode("readlink", "data", call, args, args.loc.inode);
  }
  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    return this.#reads.readv(call, args);
  }
  override seek(call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    return this.#reads.byFd("seek", "data", call, args, args.fd);
  }
  override rchecksum(call: Call, args: Args<"rchecksum">): Promise<Reply<"rchecksum">> {
    return this.#reads.byFd("rchecksum", "data", call, args, args.fd);
  }
  override getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    const { inode } = args.loc;
    return (
      this.#gate.xattr(args.name) ??
      this.#virtual.get(call, inode, args.name) ??
      this.#reads
        .byInode("getxattr", "metadata", call, args, inode)
        .then((reply) => this.#virtual.visible(reply))
    );
  }
  override fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    const { fd } = args;
    return (
      this.#gate.xattr(args.name) ??
      this.#virtual.get(call, fd.inode, args.name) ??
      this.#reads.byFd("fgetxattr", "metadata", call, args, fd).then((reply) => this.#virtual.visible(reply))
    );
  }
  override statfs(call: Call, args: Args<"statfs">): Promise<Reply<"statfs">> {
    return this.#reads.statfs(call, args);
  }

  // Directories.

  override opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.#directories.opendir(call, args);
  }
  override readdir(call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    return this.#directories.readdir(call, args);
  }
  override readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    return this.#directories.readdirp(call, args);
  }
  override fsyncdir(call: Call, args: Args<"fsyncdir">): Promise<Reply<"fsyncdir">> {
    return onAll(this.set, "fsyncdir", call, args);
  }

  // Writes to an inode.

  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    return this.#writes.writev(call, args);
  }
  override truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    return this.#writes.truncate(call, args);
  }
  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.#writes.ftruncate(call, args);
  }
  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.#writes.fallocate(call, args);
  }
  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.#writes.discard(call, args);
  }
  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.#writes.zerofill(call, args);
  }
  override setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    return this.#writes.setattr(call, args);
  }
  override fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    return this.#writes.fsetattr(call, args);
  }
  override setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    return this.#virtual.set(call, args.loc.inode, args.xattrs) ?? this.#writes.setxattr(call, args);
  }
  override fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    return this.#virtual.set(call, args.fd.inode, args.xattrs) ?? this.#writes.fsetxattr(call, args);
  }
  override removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    return this.#writes.removexattr(call, args);
  }
  override fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    return this.#writes.fremovexattr(call, args);
  }
  override xattrop(call: Call, args: Args<"xattrop">): Promise<Reply<"xattrop">> {
    return this.#writes.xattrop(call, args);
  }
  override fxattrop(call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    return this.#writes.fxattrop(call, args);
  }
  override fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    return this.#writes.fsync(call, args);
  }
  override copy_file_range(call: Call, args: Args<"copy_file_range">): Promise<Reply<"copy_file_range">> {
    return this.#writes.copy_file_range(call, args);
  }

  // Open files and locks of users.

  override async open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    await this.#gate.enter("open", call);
    const reply = await this.#files.open(call, args);
    if ((args.flags & O_TRUNC) === 0) return reply;
    try {
      await this.#writes.ftruncate(call, { fd: args.fd, offset: 0 });
      return reply;
    } catch (error) {
      await this.release(args.fd);
      throw error;
    }
  }
  override async flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    await this.#locks.settle(args.fd.inode);
    await this.#files.ready(args.fd);
    return onAny(this.set, "flush", call, args);
  }
  override lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    return this.#userLocks.lk(call, args);
  }
  override inodelk(call: Call, args: Args<"inodelk">): Promise<Reply<"inodelk">> {
    return this.#userLocks.internal("inodelk", call, args);
  }
  override finodelk(call: Call, args: Args<"finodelk">): Promise<Reply<"finodelk">> {
    return this.#userLocks.internal("finodelk", call, args);
  }
  override entrylk(call: Call, args: Args<"entrylk">): Promise<Reply<"entrylk">> {
    return this.#userLocks.internal("entrylk", call, args);
  }
  override fentrylk(call: Call, args: Args<"fentrylk">): Promise<Reply<"fentrylk">> {
    return this.#userLocks.internal("fentrylk", call, args);
  }
  override getactivelk(): Promise<never> {
    return this.#notHere("getactivelk");
  }
  override setactivelk(): Promise<never> {
    return this.#notHere("setactivelk");
  }
  override lease(): Promise<never> {
    return this.#notHere("lease");
  }

  // The rest.

  override ipc(call: Call, args: Args<"ipc">): Promise<Reply<"ipc">> {
    return ipc(this.set, call, args);
  }

  #forgetCached(gfid: Gfid): void {
    this.notifyParents({
      type: "upcall",
      upcall: { kind: "cache-invalidation", gfid, flags: 0, expireSec: 0 },
    });
  }

  #notHere(fop: FopName): Promise<never> {
    return Promise.reject(new FopError("EOPNOTSUPP", { fop, xlator: this.name }));
  }
}

/** Among the xattrs that bricks tell of are the marks of this set: another client blames a copy (ipc.ts). */
function isOfXattrs(upcall: Upcall): boolean {
  return upcall.kind === "cache-invalidation" && (upcall.flags & (UPCALL.XATTR | UPCALL.XATTR_REMOVED)) !== 0;
}

function isContention({ kind }: Upcall): boolean {
  return kind === "inodelk-contention" || kind === "entrylk-contention";
}
