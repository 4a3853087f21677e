/**
 * The fops that change an inode, each as a transaction (inode-transaction.ts): which bytes it may change,
 * whether it changes data or metadata, and what it asks of the bricks besides (spec translators.md 4.4).
 */

import type { Call } from "../../../src/core/call.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, FopFunction, Reply } from "../../../src/core/fops.ts";
import { iovSize } from "../../../src/core/iovec.ts";
import { KEY } from "../../../src/core/keys.ts";
import { O_APPEND, O_DSYNC } from "../../../src/core/open-flags.ts";
import { AFR_PREFIX } from "./changelog.ts";
import { type InodeContext, type InodeFop, InodeOp, runInodeOp } from "./inode-transaction.ts";
import type { ReplicaSet } from "./replica-set.ts";

const END = Number.POSITIVE_INFINITY;
/** What copy_file_range reads and writes at a time. */
const COPY_BYTES = 1024 * 1024;

export class InodeWrites {
  readonly #context: InodeContext;
  readonly #set: ReplicaSet;
  readonly #read: FopFunction<"readv">;

  /** `read` is this translator's own readv. */
  constructor(context: InodeContext, read: FopFunction<"readv">) {
    this.#context = context;
    this.#set = context.set;
    this.#read = read;
  }

  writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    const { fd, offset } = args;
    const size = iovSize(args.data);
    const flags = fd.flags | args.flags;
    // The brick puts an append where the file ends, wherever the caller thinks that is.
    const isAppend = (flags & O_APPEND) !== 0;
    const start = isAppend ? 0 : offset;
    const end = isAppend ? END : offset + size;
    const op = new InodeOp("writev", call, args, fdSubject(fd), "data", start, end);
    op.tellsContention = true;
    op.mayLinger = true;
    op.size = size;
    op.isStable = (flags & O_DSYNC) !== 0;
    op.isRepeatable = !isAppend;
    return this.#run(op);
  }

  truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    return this.#run(new InodeOp("truncate", call, args, args.loc, "data", args.offset, END));
  }

  ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.#run(new InodeOp("ftruncate", call, args, fdSubject(args.fd), "data", args.offset, END));
  }

  fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.#run(this.#ranged("fallocate", call, args));
  }

  discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.#run(this.#ranged("discard", call, args));
  }

  zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.#run(this.#ranged("zerofill", call, args));
  }

  /** A copy that cannot sync has lost what it was sent: a transaction, though it changes no byte. */
  fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    const op = new InodeOp("fsync", call, args, fdSubject(args.fd), "data", 0, 0);
    op.tellsContention = true;
    op.mayLinger = !args.xdata?.number(KEY.LAST_FSYNC);
    op.isStable = true;
    return this.#run(op);
  }

  setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    return this.#run(metadataOp("setattr", call, args, args.loc));
  }

  fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    return this.#run(metadataOp("fsetattr", call, args, fdSubject(args.fd)));
  }

  setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    const refused = this.#guard("setxattr", args.xattrs.keys());
    return refused ?? this.#run(onceOnly(metadataOp("setxattr", call, args, args.loc), args.flags !== 0));
  }

  fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    const refused = this.#guard("fsetxattr", args.xattrs.keys());
    const subject = fdSubject(args.fd);
    return refused ?? this.#run(onceOnly(metadataOp("fsetxattr", call, args, subject), args.flags !== 0));
  }

  removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    const refused = this.#guard("removexattr", [args.name]);
    return refused ?? this.#run(onceOnly(metadataOp("removexattr", call, args, args.loc)));
  }

  fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    const refused = this.#guard("fremovexattr", [args.name]);
    return refused ?? this.#run(onceOnly(metadataOp("fremovexattr", call, args, fdSubject(args.fd))));
  }

  xattrop(call: Call, args: Args<"xattrop">): Promise<Reply<"xattrop">> {
    return this.#run(onceOnly(metadataOp("xattrop", call, args, args.loc)));
  }

  fxattrop(call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    const op = onceOnly(metadataOp("fxattrop", call, args, fdSubject(args.fd)));
    op.tellsContention = true;
    // Shard counts sizes with it, write after write.
    op.mayLinger = true;
    return this.#run(op);
  }

  /**
   * Reads and writes, so that every copy gets the same bytes: a brick that copied by itself would copy its
   * own, which may be stale, or empty on an arbiter. Copies less than asked for at the end of the file.
   */
  async copy_file_range(call: Call, args: Args<"copy_file_range">): Promise<Reply<"copy_file_range">> {
    let copied = 0;
    let whole: Reply<"copy_file_range"> | undefined;
    while (copied < args.size || whole === undefined) {
      const size = Math.min(COPY_BYTES, args.size - copied);
      const read = await this.#read(call, { fd: args.fdIn, offset: args.offsetIn + copied, size, flags: 0 });
      try {
        const { data } = read;
        const offset = args.offsetOut + copied;
        const wrote = await this.writev(call, { fd: args.fdOut, data, offset, flags: args.fdOut.flags });
        copied += wrote.size;
        whole = { size: copied, stat: read.stat, pre: whole?.pre ?? wrote.pre, post: wrote.post };
        if (wrote.size < size) break;
      } catch (error) {
        if (whole === undefined) throw error;
        break;
      } finally {
        read.lease?.release();
      }
    }
    return whole!;
  }

  #run<F extends InodeFop>(op: InodeOp<F>): Promise<Reply<F>> {
    return runInodeOp(this.#context, op);
  }

  #ranged<F extends "fallocate" | "discard" | "zerofill">(fop: F, call: Call, args: Args<F>): InodeOp<F> {
    const { fd, offset, size } = args as Args<"discard">;
    return new InodeOp(fop, call, args, fdSubject(fd), "data", offset, offset + size);
  }

  /** Marks are changed by transactions and heals only. */
  #guard(fop: InodeFop, names: Iterable<string>): Promise<never> | undefined {
    for (const name of names) if (name.startsWith(AFR_PREFIX)) return this.#refuse(fop, name);
    return undefined;
  }

  #refuse(fop: InodeFop, name: string): Promise<never> {
    const message = `EPERM: ${name} is kept by replicate`;
    return Promise.reject(new FopError("EPERM", { fop, xlator: this.#set.name, message }));
  }
}

function fdSubject(fd: Args<"fsync">["fd"]): { inode: typeof fd.inode; fd: typeof fd } {
  return { inode: fd.inode, fd };
}

function metadataOp<F extends InodeFop>(
  fop: F,
  call: Call,
  args: Args<F>,
  subject: ConstructorParameters<typeof InodeOp>[3],
): InodeOp<F> {
  // Two of them never run at the same time: the lock is one for all metadata.
  const op = new InodeOp(fop, call, args, subject, "metadata", 0, END);
  op.isStable = true;
  return op;
}

/** Done a second time it might fail, or do more. */
function onceOnly<F extends InodeFop>(op: InodeOp<F>, once = true): InodeOp<F> {
  if (once) op.isRepeatable = false;
  return op;
}
