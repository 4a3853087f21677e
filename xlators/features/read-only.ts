/**
 * features/read-only: every fop that would change something answers EROFS while the option is on.
 *
 * Locks, reads and internal bookkeeping pass: an xattrop that adds nothing but zeros (a read of pending
 * counters) and every call of an internal client (negative pid: healing) go down, as in GlusterFS
 * (read-only-common.c).
 */

import type { Call } from "../../src/core/call.ts";
import type { Dict } from "../../src/core/dict.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { O_ACCMODE, O_CREAT, O_RDONLY, O_TRUNC } from "../../src/core/open-flags.ts";
import { bool } from "../../src/core/options.ts";
import { defineXlator, exactly, wind, Xlator } from "../../src/core/xlator.ts";

const options = {
  "read-only": bool({
    default: false,
    live: true,
    volumeKey: "features.read-only",
    describe: "Refuse every change with EROFS.",
  }),
} as const;

export const readOnly = defineXlator({
  type: "features/read-only",
  children: exactly(1),
  options,
  create: (init) => new ReadOnly(init),
});

class ReadOnly extends Xlator<typeof options> {
  override mknod(call: Call, args: Args<"mknod">) {
    return this.#change("mknod", call, args);
  }
  override mkdir(call: Call, args: Args<"mkdir">) {
    return this.#change("mkdir", call, args);
  }
  override unlink(call: Call, args: Args<"unlink">) {
    return this.#change("unlink", call, args);
  }
  override rmdir(call: Call, args: Args<"rmdir">) {
    return this.#change("rmdir", call, args);
  }
  override symlink(call: Call, args: Args<"symlink">) {
    return this.#change("symlink", call, args);
  }
  override rename(call: Call, args: Args<"rename">) {
    return this.#change("rename", call, args);
  }
  override link(call: Call, args: Args<"link">) {
    return this.#change("link", call, args);
  }
  override truncate(call: Call, args: Args<"truncate">) {
    return this.#change("truncate", call, args);
  }
  override open(call: Call, args: Args<"open">) {
    const writes = (args.flags & O_ACCMODE) !== O_RDONLY || (args.flags & (O_TRUNC | O_CREAT)) !== 0;
    return writes ? this.#change("open", call, args) : this.child.open(call, args);
  }
  override writev(call: Call, args: Args<"writev">) {
    return this.#change("writev", call, args);
  }
  override setxattr(call: Call, args: Args<"setxattr">) {
    return this.#change("setxattr", call, args);
  }
  override removexattr(call: Call, args: Args<"removexattr">) {
    return this.#change("removexattr", call, args);
  }
  override fsyncdir(call: Call, args: Args<"fsyncdir">) {
    return this.#change("fsyncdir", call, args);
  }
  override create(call: Call, args: Args<"create">) {
    return this.#change("create", call, args);
  }
  override ftruncate(call: Call, args: Args<"ftruncate">) {
    return this.#change("ftruncate", call, args);
  }
  override xattrop(call: Call, args: Args<"xattrop">) {
    return allZero(args.xattrs) ? this.child.xattrop(call, args) : this.#change("xattrop", call, args);
  }
  override fxattrop(call: Call, args: Args<"fxattrop">) {
    return allZero(args.xattrs) ? this.child.fxattrop(call, args) : this.#change("fxattrop", call, args);
  }
  override fsetxattr(call: Call, args: Args<"fsetxattr">) {
    return this.#change("fsetxattr", call, args);
  }
  override setattr(call: Call, args: Args<"setattr">) {
    return this.#change("setattr", call, args);
  }
  override fsetattr(call: Call, args: Args<"fsetattr">) {
    return this.#change("fsetattr", call, args);
  }
  override fremovexattr(call: Call, args: Args<"fremovexattr">) {
    return this.#change("fremovexattr", call, args);
  }
  override fallocate(call: Call, args: Args<"fallocate">) {
    return this.#change("fallocate", call, args);
  }
  override discard(call: Call, args: Args<"discard">) {
    return this.#change("discard", call, args);
  }
  override zerofill(call: Call, args: Args<"zerofill">) {
    return this.#change("zerofill", call, args);
  }
  override icreate(call: Call, args: Args<"icreate">) {
    return this.#change("icreate", call, args);
  }
  override namelink(call: Call, args: Args<"namelink">) {
    return this.#change("namelink", call, args);
  }
  override put(call: Call, args: Args<"put">) {
    return this.#change("put", call, args);
  }
  override copy_file_range(call: Call, args: Args<"copy_file_range">) {
    return this.#change("copy_file_range", call, args);
  }

  #change<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>> {
    if (this.options["read-only"] && call.pid >= 0)
      return Promise.reject(new FopError("EROFS", { fop, xlator: this.name }));
    return wind(this.child, fop, call, args);
  }
}

/** An xattrop of zeros only reads. */
function allZero(xattrs: Dict): boolean {
  for (const key of xattrs.keys()) if (xattrs.bytes(key)?.some((byte) => byte !== 0) ?? true) return false;
  return true;
}
