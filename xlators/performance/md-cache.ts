/**
 * performance/md-cache (stat-prefetch): serves attributes and some xattrs from memory (spec translators.md
 * 7.2; GlusterFS xlators/performance/md-cache).
 *
 * Serves nothing whose question was asked longer than `md-cache-timeout` ago, and a name only if that name
 * was seen so recently. Every fop of this graph that changes an inode leaves what its reply says, or, when it
 * says nothing (write-behind acknowledges early) or another change was under way, leaves nothing: a stat
 * after an own write is never older than the write. Words of bricks about other clients' changes are always
 * heeded. When another client changed a file, caches below and, with `global-cache-invalidation`, the kernel
 * are told to drop what they have of it. A hit checks no permissions: that is the kernel's work.
 *
 * VM hosts keep it on: QEMU asks for sizes, and Linux for security.capability before each write.
 */

import { type Call, internalCall } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import { FopError, toFopError } from "../../src/core/errors.ts";
import type {
  Args,
  FopName,
  FopTypes,
  NewEntry,
  ParentPrePost,
  PrePost,
  Reply,
} from "../../src/core/fops.ts";
import { type Gfid, gfidKey, isNullGfid } from "../../src/core/gfid.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";
import type { Fd, Inode, Loc } from "../../src/core/inode.ts";
import { KEY } from "../../src/core/keys.ts";
import { mayWrite, O_TRUNC } from "../../src/core/open-flags.ts";
import { IPC_UPCALL, invalidates, UPCALL } from "../../src/core/upcall-flags.ts";
import {
  type ChildEvent,
  type Dump,
  defineXlator,
  exactly,
  wind,
  Xlator,
  type XlatorBase,
  type XlatorInit,
} from "../../src/core/xlator.ts";
import { AttributeCache } from "./md-cache/attribute-cache.ts";
import { cachedXattrs, type MdCacheOptions, mdCacheOptions } from "./md-cache/options.ts";

/** Without bricks that tell of changes nothing is kept for longer. */
const UNTOLD_MAX_SEC = 60;

export const mdCache = defineXlator({
  type: "performance/md-cache",
  children: exactly(1),
  options: mdCacheOptions,
  create: (init) => new MdCache(init),
});

/** Fops whose reply says how the inode was and how it is now. */
type Changing = { [F in FopName]: FopTypes[F]["reply"] extends PrePost ? F : never }[FopName];
/** Fops that give an inode a name. */
type Making = { [F in FopName]: FopTypes[F]["reply"] extends NewEntry ? F : never }[FopName];

class MdCache extends Xlator<MdCacheOptions> {
  readonly #cache: AttributeCache;
  #statfs: { readonly reply: Reply<"statfs">; readonly askedAtMs: number } | undefined;
  /** The bricks agreed to tell of changes of the xattrs that are kept. */
  #toldOfXattrs = false;
  #hits = 0;
  #misses = 0;

  constructor(init: XlatorInit<MdCacheOptions>) {
    super(init);
    this.#cache = new AttributeCache(init.env.clock, (gfid) => this.#changedElsewhere(gfid));
    this.#configure();
  }

  override reconfigure(values: XlatorInit<MdCacheOptions>["options"]): void {
    super.reconfigure(values);
    this.#cache.allChanged();
    this.#configure();
    this.#askToBeTold();
  }

  override dump(): Dump {
    return { inodes: this.#cache.count, hits: this.#hits, misses: this.#misses };
  }

  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    switch (event.type) {
      case "child-up":
      case "some-descendent-up":
        this.#cache.allChanged();
        this.#askToBeTold();
        break;
      case "child-down":
      case "some-descendent-down":
        this.#cache.allChanged();
        break;
      case "upcall": {
        const { upcall } = event;
        if (!invalidates(upcall)) break;
        this.#cache.changed(gfidKey(upcall.gfid));
        for (const parent of upcall.parents ?? []) this.#cache.namesChanged(gfidKey(parent));
      }
    }
    super.onChildEvent(event, from);
  }

  /** The kernel may read what the brick has: nothing here is newer. What it wrote would be. */
  override localFile(fd: Fd): number | undefined {
    return mayWrite(fd.flags) ? undefined : this.child.localFile(fd);
  }

  override forget(inode: Inode): void {
    this.#cache.drop(gfidKey(inode.gfid));
    super.forget(inode);
  }

  // What asks for attributes.

  override stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    const stat = asksNothing(args.xdata) ? this.#cache.iatt(args.loc.inode) : undefined;
    this.#count(stat);
    return stat ? Promise.resolve({ stat }) : this.#ask("stat", call, args, args.loc.inode);
  }
  override fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    const stat = asksNothing(args.xdata) ? this.#cache.iatt(args.fd.inode) : undefined;
    this.#count(stat);
    return stat ? Promise.resolve({ stat }) : this.#ask("fstat", call, args, args.fd.inode);
  }
  override lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const reply = this.#knownLookup(args);
    this.#count(reply);
    return reply ? Promise.resolve(reply) : this.#lookup(call, args);
  }
  override async statfs(call: Call, args: Args<"statfs">): Promise<Reply<"statfs">> {
    if (!this.options["md-cache-statfs"]) return this.child.statfs(call, args);
    const askedAtMs = this.env.clock.nowMs();
    const kept = this.#statfs;
    if (kept !== undefined && askedAtMs - kept.askedAtMs < this.#cache.timeoutMs) return kept.reply;
    const reply = await this.child.statfs(call, args);
    this.#statfs = { reply, askedAtMs };
    return reply;
  }

  // What lists directories.

  override opendir(call: Call, args: Args<"opendir">) {
    // readdir-ahead reads from now on what readdirp is going to ask for.
    return this.child.opendir(call, { ...args, xdata: this.#cache.withXattrs(args.xdata) });
  }
  override readdir(call: Call, args: Args<"readdir">) {
    return this.options["force-readdirp"] ? this.readdirp(call, args) : this.child.readdir(call, args);
  }
  override async readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    const asked = this.#cache.begin();
    try {
      const reply = await this.child.readdirp(call, { ...args, xdata: this.#cache.withXattrs(args.xdata) });
      for (const { name, stat, xattrs } of reply.entries) {
        if (isNullGfid(stat.gfid)) continue;
        const known = this.#cache.learn(stat, asked);
        if (known === undefined) continue;
        this.#cache.learnXattrs(known, xattrs, asked);
        this.#cache.learnPlace(known, stat, args.fd.inode, name, asked);
      }
      return reply;
    } finally {
      this.#cache.end();
    }
  }

  // What reads xattrs.

  override getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    return this.#xattr("getxattr", call, args, args.loc.inode);
  }
  override fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    return this.#xattr("fgetxattr", call, args, args.fd.inode);
  }

  // What changes an inode and says how it is now.

  override truncate(call: Call, args: Args<"truncate">) {
    return this.#change("truncate", call, args, args.loc.inode);
  }
  override writev(call: Call, args: Args<"writev">) {
    return this.#change("writev", call, args, args.fd.inode);
  }
  override fsync(call: Call, args: Args<"fsync">) {
    return this.#change("fsync", call, args, args.fd.inode);
  }
  override ftruncate(call: Call, args: Args<"ftruncate">) {
    return this.#change("ftruncate", call, args, args.fd.inode);
  }
  override setattr(call: Call, args: Args<"setattr">) {
    return this.#change("setattr", call, args, args.loc.inode);
  }
  override fsetattr(call: Call, args: Args<"fsetattr">) {
    return this.#change("fsetattr", call, args, args.fd.inode);
  }
  override fallocate(call: Call, args: Args<"fallocate">) {
    return this.#change("fallocate", call, args, args.fd.inode);
  }
  override discard(call: Call, args: Args<"discard">) {
    return this.#change("discard", call, args, args.fd.inode);
  }
  override zerofill(call: Call, args: Args<"zerofill">) {
    return this.#change("zerofill", call, args, args.fd.inode);
  }
  override copy_file_range(call: Call, args: Args<"copy_file_range">) {
    return this.#change("copy_file_range", call, args, args.fdOut.inode);
  }

  // What changes an inode and does not say how.

  override open(call: Call, args: Args<"open">) {
    if ((args.flags & O_TRUNC) === 0) return this.child.open(call, args);
    return this.#dirty("open", call, args, args.loc.inode);
  }
  override setxattr(call: Call, args: Args<"setxattr">) {
    return this.#dirty("setxattr", call, args, args.loc.inode);
  }
  override removexattr(call: Call, args: Args<"removexattr">) {
    return this.#dirty("removexattr", call, args, args.loc.inode);
  }
  override xattrop(call: Call, args: Args<"xattrop">) {
    return this.#dirty("xattrop", call, args, args.loc.inode);
  }
  override fxattrop(call: Call, args: Args<"fxattrop">) {
    return this.#dirty("fxattrop", call, args, args.fd.inode);
  }
  override fsetxattr(call: Call, args: Args<"fsetxattr">) {
    return this.#dirty("fsetxattr", call, args, args.fd.inode);
  }
  override fremovexattr(call: Call, args: Args<"fremovexattr">) {
    return this.#dirty("fremovexattr", call, args, args.fd.inode);
  }
  /** Whoever locks wants to see what the last holder did. */
  override lk(call: Call, args: Args<"lk">) {
    if (args.cmd === "getlk" || args.flock.type === "unlck") return this.child.lk(call, args);
    return this.#dirty("lk", call, args, args.fd.inode);
  }

  // What changes names.

  override mknod(call: Call, args: Args<"mknod">) {
    return this.#make("mknod", call, args, args.loc);
  }
  override mkdir(call: Call, args: Args<"mkdir">) {
    return this.#make("mkdir", call, args, args.loc);
  }
  override symlink(call: Call, args: Args<"symlink">) {
    return this.#make("symlink", call, args, args.loc);
  }
  override create(call: Call, args: Args<"create">) {
    return this.#make("create", call, args, args.loc);
  }
  override put(call: Call, args: Args<"put">) {
    return this.#make("put", call, args, args.loc);
  }
  override link(call: Call, args: Args<"link">) {
    return this.#make("link", call, args, args.to);
  }
  override namelink(call: Call, args: Args<"namelink">) {
    return this.#remove("namelink", call, args, args.loc);
  }
  override unlink(call: Call, args: Args<"unlink">) {
    return this.#remove("unlink", call, args, args.loc);
  }
  override rmdir(call: Call, args: Args<"rmdir">) {
    return this.#remove("rmdir", call, args, args.loc);
  }
  override async rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    const fromParent = parentKey(args.from);
    const toParent = parentKey(args.to);
    const moved = this.#cache.keyAt(args.from);
    const replaced = this.#cache.keyAt(args.to);
    for (const key of [fromParent, toParent, moved, replaced])
      if (key !== undefined) this.#cache.changed(key);
    const asked = this.#cache.begin();
    try {
      const reply = await this.child.rename(call, args);
      this.#cache.endChange(toParent, asked, undefined, reply.postNewParent);
      if (fromParent !== toParent) this.#cache.endChange(fromParent, asked, undefined, reply.postOldParent);
      return reply;
    } catch (error) {
      this.#cache.changed(fromParent);
      this.#cache.changed(toParent);
      throw error;
    } finally {
      if (replaced !== undefined) this.#cache.changed(replaced);
      this.#changedOrAll(moved);
      this.#cache.end();
    }
  }

  #configure(): void {
    const { options } = this;
    const limitSec = options["cache-invalidation"] ? Number.POSITIVE_INFINITY : UNTOLD_MAX_SEC;
    const timeoutSec = options["pass-through"] ? 0 : Math.min(options["md-cache-timeout"], limitSec);
    this.#cache.timeoutMs = timeoutSec * 1000;
    this.#cache.xattrTimeoutMs =
      (this.#toldOfXattrs ? timeoutSec : Math.min(timeoutSec, UNTOLD_MAX_SEC)) * 1000;
    this.#cache.xattrNames = cachedXattrs(options);
    this.#statfs = undefined;
  }

  /** Tells the bricks which xattrs are kept. Those that do not know how are believed for a minute at most. */
  async #askToBeTold(): Promise<void> {
    this.#toldOfXattrs = false;
    this.#configure();
    if (!this.options["cache-invalidation"]) return;
    const xdata = new Dict();
    for (const name of this.#cache.xattrNames) xdata.setInt(name, 0);
    try {
      await this.child.ipc(internalCall(), { op: IPC_UPCALL, xdata });
      this.#toldOfXattrs = true;
      this.#configure();
    } catch (error) {
      this.log.debug("bricks will not tell of changed xattrs", { code: toFopError(error).code });
    }
  }

  /** Caches below go first: what the kernel asks for again must not come from there. */
  #changedElsewhere(gfid: Gfid): void {
    this.child.invalidate(gfid);
    if (!this.options["global-cache-invalidation"]) return;
    const upcall = {
      kind: "cache-invalidation",
      gfid,
      flags: UPCALL.SIZE | UPCALL.TIMES,
      expireSec: 0,
    } as const;
    this.notifyParents({ type: "upcall", upcall });
  }

  #count(hit: unknown): void {
    if (hit === undefined) this.#misses++;
    else this.#hits++;
  }

  async #ask<F extends "stat" | "fstat">(fop: F, call: Call, args: Args<F>, inode: Inode): Promise<Reply<F>> {
    const asked = this.#cache.begin();
    try {
      const reply = await wind(this.child, fop, call, args);
      this.#cache.learn(reply.stat, asked);
      return reply;
    } catch (error) {
      this.#cache.drop(gfidKey(inode.gfid));
      throw error;
    } finally {
      this.#cache.end();
    }
  }

  /** Undefined unless everything that is asked for is known. */
  #knownLookup({ loc, xdata }: Args<"lookup">): Reply<"lookup"> | undefined {
    const stat = this.#cache.iatt(loc.inode);
    if (stat === undefined || !this.#cache.isAt(loc)) return undefined;
    const reply = { stat, postParent: ZERO_IATT };
    if (asksNothing(xdata)) return reply;
    const xattrs = this.#cache.xattrs(loc.inode);
    if (!xattrs?.complete) return undefined;
    for (const key of xdata!.keys())
      if (key !== KEY.GFID_REQ && !this.#cache.keepsXattr(key)) return undefined;
    const answers = new Dict();
    for (const [name, value] of xattrs.values) if (value !== undefined) answers.set(name, value);
    return { ...reply, xdata: answers };
  }

  async #lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const { inode, parent, name } = args.loc;
    const asked = this.#cache.begin();
    try {
      const reply = await this.child.lookup(call, { ...args, xdata: this.#cache.withXattrs(args.xdata) });
      const known = this.#cache.learn(reply.stat, asked);
      if (known !== undefined) this.#cache.learnXattrs(known, reply.xdata, asked);
      if (parent === undefined || name === undefined) return reply;
      if (known !== undefined) this.#cache.learnPlace(known, reply.stat, parent, name, asked);
      if (!isNullGfid(reply.postParent.gfid)) this.#cache.learn(reply.postParent, asked);
      return reply;
    } catch (error) {
      if (inode.linked) this.#cache.drop(gfidKey(inode.gfid));
      if (parent !== undefined && toFopError(error).code === "ESTALE") this.#cache.drop(gfidKey(parent.gfid));
      throw error;
    } finally {
      this.#cache.end();
    }
  }

  #xattr<F extends "getxattr" | "fgetxattr">(
    fop: F,
    call: Call,
    args: Args<F>,
    inode: Inode,
  ): Promise<Reply<F>> {
    const { name } = args;
    if (name === undefined || !asksNothing(args.xdata) || !this.#cache.keepsXattr(name))
      return wind(this.child, fop, call, args);
    const xattrs = this.#cache.xattrs(inode);
    const value = xattrs?.values.get(name);
    if (value !== undefined) {
      this.#hits++;
      return Promise.resolve({ xattrs: new Dict().set(name, value) } as Reply<F>);
    }
    if (xattrs?.complete || xattrs?.values.has(name)) {
      this.#hits++;
      return Promise.reject(new FopError("ENODATA", { fop, xlator: this.name }));
    }
    this.#misses++;
    return this.#askXattr(fop, call, args, inode, name);
  }

  async #askXattr<F extends "getxattr" | "fgetxattr">(
    fop: F,
    call: Call,
    args: Args<F>,
    inode: Inode,
    name: string,
  ): Promise<Reply<F>> {
    const asked = this.#cache.begin();
    try {
      const reply = await wind(this.child, fop, call, args);
      const value = reply.xattrs.get(name);
      if (value !== undefined) this.#cache.learnXattr(inode, name, value, asked);
      return reply;
    } catch (error) {
      if (toFopError(error).code === "ENODATA") this.#cache.learnXattr(inode, name, undefined, asked);
      throw error;
    } finally {
      this.#cache.end();
    }
  }

  async #change<F extends Changing>(fop: F, call: Call, args: Args<F>, inode: Inode): Promise<Reply<F>> {
    const key = gfidKey(inode.gfid);
    const asked = this.#cache.beginChange(key);
    try {
      const reply = await wind(this.child, fop, call, args);
      const { pre, post } = reply as PrePost;
      this.#cache.endChange(key, asked, pre, post);
      return reply;
    } catch (error) {
      this.#cache.changed(key);
      throw error;
    } finally {
      this.#cache.end();
    }
  }

  async #dirty<F extends FopName>(fop: F, call: Call, args: Args<F>, inode: Inode): Promise<Reply<F>> {
    const key = gfidKey(inode.gfid);
    this.#cache.changed(key);
    try {
      return await wind(this.child, fop, call, args);
    } finally {
      this.#cache.changed(key);
    }
  }

  async #make<F extends Making>(fop: F, call: Call, args: Args<F>, loc: Loc): Promise<Reply<F>> {
    const key = parentKey(loc);
    const asked = this.#cache.beginChange(key);
    try {
      const reply = await wind(this.child, fop, call, args);
      const { stat, postParent } = reply as NewEntry;
      this.#cache.endChange(key, asked, undefined, postParent);
      const known = this.#cache.endChange(gfidKey(stat.gfid), asked, undefined, stat);
      if (known && loc.parent && loc.name !== undefined)
        this.#cache.learnPlace(known, stat, loc.parent, loc.name, asked);
      return reply;
    } catch (error) {
      this.#cache.changed(key);
      throw error;
    } finally {
      this.#cache.end();
    }
  }

  async #remove<F extends "unlink" | "rmdir" | "namelink">(
    fop: F,
    call: Call,
    args: Args<F>,
    loc: Loc,
  ): Promise<Reply<F>> {
    const key = parentKey(loc);
    const removed = this.#cache.keyAt(loc);
    if (removed !== undefined) this.#cache.changed(removed);
    const asked = this.#cache.beginChange(key);
    try {
      const reply = await wind(this.child, fop, call, args);
      this.#cache.endChange(key, asked, undefined, (reply as ParentPrePost).postParent);
      return reply;
    } catch (error) {
      this.#cache.changed(key);
      throw error;
    } finally {
      this.#changedOrAll(removed);
      this.#cache.end();
    }
  }

  /** Of an inode that nobody knows, anything that is kept may be. */
  #changedOrAll(key: string | undefined): void {
    if (key === undefined) this.#cache.allChanged();
    else this.#cache.changed(key);
  }
}

/** A request for nothing but what every reply brings. */
function asksNothing(xdata: Dict | undefined): boolean {
  return xdata === undefined || xdata.size === 0 || (xdata.size === 1 && xdata.has(KEY.GFID_REQ));
}

function parentKey({ parent, inode }: Loc): string {
  return gfidKey((parent ?? inode).gfid);
}
