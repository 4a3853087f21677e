/**
 * ContentCache: what all filters have in common that keep contents of files (quick-read, io-cache,
 * read-ahead).
 *
 * What is kept of a file is dropped before a fop of this graph that changes it goes out, and again when it
 * has come back, failed or not; `watch` keeps answers out that were under way meanwhile. It is dropped, too,
 * when a brick tells of another client's change, when a lock is granted (whoever locks wants to see what the
 * last holder wrote), when the inode is forgotten, and all of it when a brick goes or returns: then a word
 * about a change may have been missed. Files are known by gfid, as bricks and lookups name them.
 *
 * Bytes lent from a cache are lent again: nobody writes into a reply's buffers.
 */

import type { Call } from "./call.ts";
import { ChangeWatch } from "./change-watch.ts";
import type { Args, Reply } from "./fops.ts";
import { type Gfid, gfidKey } from "./gfid.ts";
import { SETATTR } from "./iatt.ts";
import type { Fd, Inode } from "./inode.ts";
import { mayWrite, O_ACCMODE, O_DIRECT, O_TRUNC, O_WRONLY } from "./open-flags.ts";
import type { OptionTable } from "./options.ts";
import { invalidates } from "./upcall-flags.ts";
import { type ChildEvent, Xlator, type XlatorBase } from "./xlator.ts";

const SETS_TIMES = SETATTR.ATIME | SETATTR.MTIME;

export abstract class ContentCache<T extends OptionTable = OptionTable> extends Xlator<T> {
  protected readonly watch = new ChangeWatch();

  /** Lets go of what is kept of a file; its key is `gfidKey`. */
  protected abstract drop(key: string): void;
  protected abstract dropAll(): void;

  /** Whether a read may be served without the brick: not with O_DIRECT, and not where it may be refused. */
  protected mayServe({ fd, flags }: Args<"readv">): boolean {
    return !fd.anonymous && ((flags | fd.flags) & O_DIRECT) === 0 && (fd.flags & O_ACCMODE) !== O_WRONLY;
  }

  override onChildEvent(event: ChildEvent, from: XlatorBase): void {
    switch (event.type) {
      case "child-up":
      case "child-down":
      case "some-descendent-up":
      case "some-descendent-down":
        this.watch.allChanged();
        this.dropAll();
        break;
      case "upcall":
        if (invalidates(event.upcall)) this.#changed(gfidKey(event.upcall.gfid));
    }
    super.onChildEvent(event, from);
  }

  /** The kernel may read what the brick has: nothing here is newer. What it wrote would be. */
  override localFile(fd: Fd): number | undefined {
    return mayWrite(fd.flags) ? undefined : this.child.localFile(fd);
  }

  override invalidate(gfid: Gfid): void {
    this.#changed(gfidKey(gfid));
    super.invalidate(gfid);
  }

  override forget(inode: Inode): void {
    this.drop(gfidKey(inode.gfid));
    super.forget(inode);
  }

  override truncate(call: Call, args: Args<"truncate">) {
    const key = this.#begin(args.loc.inode);
    return this.#until(key, this.child.truncate(call, args));
  }
  override open(call: Call, args: Args<"open">) {
    if ((args.flags & O_TRUNC) === 0) return this.child.open(call, args);
    const key = this.#begin(args.loc.inode);
    return this.#until(key, this.child.open(call, args));
  }
  override writev(call: Call, args: Args<"writev">) {
    const key = this.#begin(args.fd.inode);
    return this.#until(key, this.child.writev(call, args));
  }
  override async create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    const reply = await this.child.create(call, args);
    // The name may have had a file already, which is empty now.
    if ((args.flags & O_TRUNC) !== 0) this.#changed(gfidKey(reply.stat.gfid));
    return reply;
  }
  override ftruncate(call: Call, args: Args<"ftruncate">) {
    const key = this.#begin(args.fd.inode);
    return this.#until(key, this.child.ftruncate(call, args));
  }
  override async lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    const reply = await this.child.lk(call, args);
    if (args.cmd !== "getlk" && args.flock.type !== "unlck") this.#changed(gfidKey(args.fd.inode.gfid));
    return reply;
  }
  override setattr(call: Call, args: Args<"setattr">) {
    // A time that someone chose says nothing about the contents any more.
    if ((args.valid & SETS_TIMES) === 0) return this.child.setattr(call, args);
    const key = this.#begin(args.loc.inode);
    return this.#until(key, this.child.setattr(call, args));
  }
  override fsetattr(call: Call, args: Args<"fsetattr">) {
    if ((args.valid & SETS_TIMES) === 0) return this.child.fsetattr(call, args);
    const key = this.#begin(args.fd.inode);
    return this.#until(key, this.child.fsetattr(call, args));
  }
  override fallocate(call: Call, args: Args<"fallocate">) {
    const key = this.#begin(args.fd.inode);
    return this.#until(key, this.child.fallocate(call, args));
  }
  override discard(call: Call, args: Args<"discard">) {
    const key = this.#begin(args.fd.inode);
    return this.#until(key, this.child.discard(call, args));
  }
  override zerofill(call: Call, args: Args<"zerofill">) {
    const key = this.#begin(args.fd.inode);
    return this.#until(key, this.child.zerofill(call, args));
  }
  override async put(call: Call, args: Args<"put">): Promise<Reply<"put">> {
    const reply = await this.child.put(call, args);
    this.#changed(gfidKey(reply.stat.gfid));
    return reply;
  }
  override copy_file_range(call: Call, args: Args<"copy_file_range">) {
    const key = this.#begin(args.fdOut.inode);
    return this.#until(key, this.child.copy_file_range(call, args));
  }

  /** The file is about to change. */
  #begin(inode: Inode): string {
    const key = gfidKey(inode.gfid);
    this.#changed(key);
    return key;
  }

  /** What the child answers, passed on when the change is over. */
  async #until<R>(key: string, changing: Promise<R>): Promise<R> {
    try {
      return await changing;
    } finally {
      this.#changed(key);
    }
  }

  #changed(key: string): void {
    this.watch.changed(key);
    this.drop(key);
  }
}
