/**
 * performance/open-behind: answers an open before the bricks know of it, and spares them opens that nobody
 * needs (spec translators.md 7.2; GlusterFS performance/open-behind).
 *
 * The first open of a file is answered at once, unless it truncates or asks for something in xdata. It is
 * sent when a fop other than flush comes through its fd, or before the file is opened again, renamed over,
 * unlinked or given other attributes, as it might fail after that. What comes through the fd waits for it;
 * if it fails, all of them fail with its errno. A file that is opened and closed untouched is never opened
 * below.
 *
 * Limits: another client's unlink or chmod between the answer and the open makes the fd fail, as in
 * GlusterFS. A fop by a name whose inode is not told sends every open that is late, to be safe.
 */

import type { Call } from "../../src/core/call.ts";
import { FopError, toFopError } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { gfidKey } from "../../src/core/gfid.ts";
import { S_IFREG } from "../../src/core/iatt.ts";
import { Fd, type Inode } from "../../src/core/inode.ts";
import { O_DIRECT, O_RDWR, O_TRUNC } from "../../src/core/open-flags.ts";
import { bool, type OptionTable } from "../../src/core/options.ts";
import { type Dump, defineXlator, exactly, wind, Xlator } from "../../src/core/xlator.ts";

const options = {
  "lazy-open": bool({
    default: true,
    volumeKey: "performance.lazy-open",
    live: true,
    describe: "Send an open only when it is needed; off: answer it at once and send it at once.",
  }),
  "use-anonymous-fd": bool({
    default: false,
    live: true,
    describe: "Let reads (see read-after-open), fstat and seek go by gfid instead of sending the open.",
  }),
  "read-after-open": bool({
    default: true,
    volumeKey: "performance.read-after-open",
    live: true,
    describe: "A read sends the open first, also with use-anonymous-fd.",
  }),
  "pass-through": bool({
    default: false,
    volumeKey: "performance.open-behind-pass-through",
    live: true,
    describe: "Answer no open early.",
  }),
} as const satisfies OptionTable;

export const openBehind = defineXlator({
  type: "performance/open-behind",
  children: exactly(1),
  options,
  create: (init) => new OpenBehind(init),
});

/** An open that was answered, until it succeeded below; one that failed stays with its fd. */
interface LateOpen {
  readonly call: Call;
  readonly args: Args<"open">;
  readonly key: string;
  /** Settles, without rejecting, when the child has answered; absent before it was sent. */
  sent: Promise<void> | undefined;
  error: FopError | undefined;
}

class OpenBehind extends Xlator<typeof options> {
  readonly #late = new Map<string, LateOpen>();
  readonly #lateByFd = new WeakMap<Fd, LateOpen>();
  /** Open fds a file, by gfidKey; the key is kept with the fd for its release. */
  readonly #openFds = new Map<string, number>();
  readonly #keys = new WeakMap<Fd, string>();

  override dump(): Dump {
    return { openFiles: this.#openFds.size, lateOpens: this.#late.size };
  }

  override localFile(fd: Fd): number | undefined {
    return this.#lateByFd.has(fd) ? undefined : this.child.localFile(fd);
  }

  override async release(fd: Fd): Promise<void> {
    const late = this.#lateByFd.get(fd);
    if (late !== undefined) {
      if (late.sent !== undefined) await late.sent;
      else this.#late.delete(late.key);
      this.#lateByFd.delete(fd);
    }
    this.#forgetOpen(fd);
    await this.child.release(fd);
  }

  override unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    return this.#byName("unlink", args.loc.inode, call, args);
  }

  override rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    return this.#byName("rename", args.to.inode, call, args);
  }

  override async open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    const { fd } = args;
    const key = gfidKey(fd.inode.gfid);
    for (let before = this.#late.get(key); before !== undefined; before = this.#late.get(key))
      await this.#send(before);
    const isEarly = !this.#openFds.has(key) && this.#mayAnswer(args);
    this.#noteOpen(fd, key);
    if (!isEarly) return this.#openNow(call, args);
    const late: LateOpen = { call, args, key, sent: undefined, error: undefined };
    this.#late.set(key, late);
    this.#lateByFd.set(fd, late);
    if (!this.options["lazy-open"]) void this.#send(late);
    return {};
  }

  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    const late = this.#lateByFd.get(args.fd);
    if (late === undefined) return this.child.readv(call, args);
    const byGfid = !this.options["read-after-open"] && this.#maySkip(late);
    return byGfid
      ? this.child.readv(call, { ...args, fd: anonymous(args.fd) })
      : this.#after(late, "readv", call, args);
  }

  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    const late = this.#lateByFd.get(args.fd);
    return late === undefined ? this.child.writev(call, args) : this.#after(late, "writev", call, args);
  }

  /** One close of an fd that nothing came through: there is nothing to flush. */
  override flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    const late = this.#lateByFd.get(args.fd);
    if (late === undefined) return this.child.flush(call, args);
    return late.sent === undefined ? Promise.resolve({}) : this.#after(late, "flush", call, args);
  }

  override fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    return this.#byFd("fsync", call, args);
  }

  override setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    return this.#byName("setxattr", args.loc.inode, call, args);
  }

  override removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    return this.#byName("removexattr", args.loc.inode, call, args);
  }

  override async create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    const reply = await this.child.create(call, args);
    this.#noteOpen(args.fd, gfidKey(reply.stat.gfid));
    return reply;
  }

  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.#byFd("ftruncate", call, args);
  }

  override fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    return this.#looking("fstat", call, args);
  }

  override lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    return this.#byFd("lk", call, args);
  }

  override finodelk(call: Call, args: Args<"finodelk">): Promise<Reply<"finodelk">> {
    return this.#byFd("finodelk", call, args);
  }

  override fentrylk(call: Call, args: Args<"fentrylk">): Promise<Reply<"fentrylk">> {
    return this.#byFd("fentrylk", call, args);
  }

  override fxattrop(call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    return this.#byFd("fxattrop", call, args);
  }

  override fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    return this.#byFd("fgetxattr", call, args);
  }

  override fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    return this.#byFd("fsetxattr", call, args);
  }

  override rchecksum(call: Call, args: Args<"rchecksum">): Promise<Reply<"rchecksum">> {
    return this.#byFd("rchecksum", call, args);
  }

  override setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    return this.#byName("setattr", args.loc.inode, call, args);
  }

  override fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    return this.#byFd("fsetattr", call, args);
  }

  override fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    return this.#byFd("fremovexattr", call, args);
  }

  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.#byFd("fallocate", call, args);
  }

  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.#byFd("discard", call, args);
  }

  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.#byFd("zerofill", call, args);
  }

  override seek(call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    return this.#looking("seek", call, args);
  }

  override async copy_file_range(
    call: Call,
    args: Args<"copy_file_range">,
  ): Promise<Reply<"copy_file_range">> {
    for (const fd of [args.fdIn, args.fdOut]) {
      const late = this.#lateByFd.get(fd);
      if (late !== undefined) await this.#opened(late, "copy_file_range");
    }
    return this.child.copy_file_range(call, args);
  }

  #mayAnswer({ fd, flags, xdata }: Args<"open">): boolean {
    const isFile = fd.inode.type === S_IFREG;
    return isFile && (flags & O_TRUNC) === 0 && xdata === undefined && !this.options["pass-through"];
  }

  async #openNow(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    try {
      return await this.child.open(call, args);
    } catch (error) {
      this.#forgetOpen(args.fd);
      throw error;
    }
  }

  /** Sends a late open, once; settles when it was answered, and never rejects. */
  #send(late: LateOpen | undefined): Promise<void> | undefined {
    if (late !== undefined) late.sent ??= this.#finish(late);
    return late?.sent;
  }

  async #finish(late: LateOpen): Promise<void> {
    const { fd } = late.args;
    try {
      await this.child.open(late.call, late.args);
      this.#lateByFd.delete(fd);
    } catch (error) {
      late.error = toFopError(error, { fop: "open", xlator: this.name });
      this.#forgetOpen(fd);
      this.log.warn("an open that was answered failed", { code: late.error.code });
    }
    if (this.#late.get(late.key) === late) this.#late.delete(late.key);
  }

  /** A fop through an fd. */
  #byFd<F extends FopName>(fop: F, call: Call, args: Args<F> & { readonly fd: Fd }): Promise<Reply<F>> {
    const late = this.#lateByFd.get(args.fd);
    return late === undefined ? wind(this.child, fop, call, args) : this.#after(late, fop, call, args);
  }

  /** One that only looks, and can do so without the open. */
  #looking<F extends "fstat" | "seek">(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    const late = this.#lateByFd.get(args.fd);
    if (late === undefined) return wind(this.child, fop, call, args);
    if (!this.#maySkip(late)) return this.#after(late, fop, call, args);
    return wind(this.child, fop, call, { ...args, fd: anonymous(args.fd) });
  }

  /** A fop after which a late open of the inode might fail. */
  async #byName<F extends FopName>(fop: F, inode: Inode, call: Call, args: Args<F>): Promise<Reply<F>> {
    if (this.#late.size > 0) {
      const concerned = inode.linked ? [this.#late.get(gfidKey(inode.gfid))] : [...this.#late.values()];
      await Promise.all(concerned.map((late) => this.#send(late)));
    }
    return wind(this.child, fop, call, args);
  }

  #maySkip(late: LateOpen): boolean {
    return this.options["use-anonymous-fd"] && late.sent === undefined;
  }

  async #after<F extends FopName>(late: LateOpen, fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    await this.#opened(late, fop);
    return wind(this.child, fop, call, args);
  }

  /** Waits for the open; rejects when it failed. */
  async #opened(late: LateOpen, fop: FopName): Promise<void> {
    await this.#send(late);
    const { error } = late;
    if (error === undefined) return;
    const message = `${error.code}: the open of this file, answered before, failed`;
    throw new FopError(error.code, { fop, xlator: this.name, message, cause: error });
  }

  #noteOpen(fd: Fd, key: string): void {
    this.#keys.set(fd, key);
    this.#openFds.set(key, (this.#openFds.get(key) ?? 0) + 1);
  }

  #forgetOpen(fd: Fd): void {
    const key = this.#keys.get(fd);
    if (key === undefined) return;
    this.#keys.delete(fd);
    const left = this.#openFds.get(key)! - 1;
    if (left > 0) this.#openFds.set(key, left);
    else this.#openFds.delete(key);
  }
}

/** The same file without an open. */
function anonymous(fd: Fd): Fd {
  return Fd.anonymous(fd.inode, O_RDWR | (fd.flags & O_DIRECT));
}
