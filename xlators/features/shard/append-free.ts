/**
 * Keeps O_APPEND from the layers below: where the end of a file is, only features/shard knows, and a brick
 * that appends to block 0 would write at the end of that block's file instead.
 *
 * For an fd that `strip` was told of, the layers below see a twin without the flag, in every fop. Other fds
 * pass as they are: a file that is not cut into blocks appends as ever.
 */

import type { Call } from "../../../src/core/call.ts";
import type { Args, Reply } from "../../../src/core/fops.ts";
import { Fd } from "../../../src/core/inode.ts";
import { O_APPEND } from "../../../src/core/open-flags.ts";
import { Xlator, type XlatorInit } from "../../../src/core/xlator.ts";

export class AppendFree extends Xlator {
  readonly #twins = new WeakMap<Fd, Fd>();

  constructor(init: Omit<XlatorInit, "options" | "rawOptions">) {
    super({ ...init, options: {}, rawOptions: new Map() });
  }

  /** From now on the layers below do not see that this fd appends; before it is opened. */
  strip(fd: Fd): void {
    if ((fd.flags & O_APPEND) !== 0 && !this.#twins.has(fd))
      this.#twins.set(fd, new Fd(fd.inode, fd.flags & ~O_APPEND, fd.pid, fd.anonymous));
  }

  override async release(fd: Fd): Promise<void> {
    await this.child.release(this.#twin(fd));
  }

  override open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    return this.child.open(call, this.#lower(args));
  }
  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    return this.child.readv(call, this.#lower(args));
  }
  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    return this.child.writev(call, this.#lower(args));
  }
  override flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    return this.child.flush(call, this.#lower(args));
  }
  override fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    return this.child.fsync(call, this.#lower(args));
  }
  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.child.create(call, this.#lower(args));
  }
  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.child.ftruncate(call, this.#lower(args));
  }
  override fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    return this.child.fstat(call, this.#lower(args));
  }
  override lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    return this.child.lk(call, this.#lower(args));
  }
  override finodelk(call: Call, args: Args<"finodelk">): Promise<Reply<"finodelk">> {
    return this.child.finodelk(call, this.#lower(args));
  }
  override fentrylk(call: Call, args: Args<"fentrylk">): Promise<Reply<"fentrylk">> {
    return this.child.fentrylk(call, this.#lower(args));
  }
  override fxattrop(call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    return this.child.fxattrop(call, this.#lower(args));
  }
  override fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    return this.child.fgetxattr(call, this.#lower(args));
  }
  override fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    return this.child.fsetxattr(call, this.#lower(args));
  }
  override rchecksum(call: Call, args: Args<"rchecksum">): Promise<Reply<"rchecksum">> {
    return this.child.rchecksum(call, this.#lower(args));
  }
  override fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    return this.child.fsetattr(call, this.#lower(args));
  }
  override fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    return this.child.fremovexattr(call, this.#lower(args));
  }
  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.child.fallocate(call, this.#lower(args));
  }
  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.child.discard(call, this.#lower(args));
  }
  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.child.zerofill(call, this.#lower(args));
  }
  override seek(call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    return this.child.seek(call, this.#lower(args));
  }
  override copy_file_range(call: Call, args: Args<"copy_file_range">): Promise<Reply<"copy_file_range">> {
    const fds = { fdIn: this.#twin(args.fdIn), fdOut: this.#twin(args.fdOut) };
    return this.child.copy_file_range(call, { ...args, ...fds });
  }

  #lower<A extends { readonly fd: Fd; readonly flags?: number }>(args: A): A {
    const fd = this.#twin(args.fd);
    if (fd === args.fd) return args;
    return args.flags === undefined ? { ...args, fd } : { ...args, fd, flags: args.flags & ~O_APPEND };
  }

  #twin(fd: Fd): Fd {
    return (fd.flags & O_APPEND) === 0 ? fd : (this.#twins.get(fd) ?? fd);
  }
}
