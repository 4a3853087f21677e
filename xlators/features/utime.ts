/**
 * features/utime: stamps calls with the client's clock, so that all bricks store the same times (the "ctime"
 * feature).
 *
 * Bricks of a volume with ctime on keep times in an xattr and take them from `Call.time` alone: without this
 * layer a write through Mortar would not move mtime. `Call.time.flags` says which times of the object and of
 * its parent the brick shall take (wire.md 7.9; GlusterFS features/utime: utime-helpers.c,
 * utime-gen-fops-c.py).
 *
 * A lookup asks for the stored times; an object that has none yet (made before ctime was on) gets them from
 * its stat.
 */

import { type Call, internalCall, stampedCall, TIME_FLAGS } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import type { Args, Reply } from "../../src/core/fops.ts";
import type { Iatt } from "../../src/core/iatt.ts";
import { SETATTR } from "../../src/core/iatt.ts";
import { Inode } from "../../src/core/inode.ts";
import { KEY } from "../../src/core/keys.ts";
import { bool } from "../../src/core/options.ts";
import { defineXlator, exactly, Xlator } from "../../src/core/xlator.ts";

const { CTIME, MTIME, ATIME, PARENT_CTIME, PARENT_MTIME } = TIME_FLAGS;
const MADE = ATIME | CTIME | MTIME | PARENT_CTIME | PARENT_MTIME;
const NAME_CHANGED = CTIME | PARENT_CTIME | PARENT_MTIME;
/** The caller of the setxattr that gives old objects their first stored times. */
const PID_SET_UTIME = -13;

const options = {
  noatime: bool({
    default: true,
    live: true,
    volumeKey: "ctime.noatime",
    describe: "Do not store access times of reads and opens.",
  }),
} as const;

export const utime = defineXlator({
  type: "features/utime",
  children: exactly(1),
  options,
  create: (init) => new Utime(init),
});

class Utime extends Xlator<typeof options> {
  override mknod(call: Call, args: Args<"mknod">) {
    return this.child.mknod(this.#stamp(call, MADE), args);
  }
  override mkdir(call: Call, args: Args<"mkdir">) {
    return this.child.mkdir(this.#stamp(call, MADE), args);
  }
  override unlink(call: Call, args: Args<"unlink">) {
    return this.child.unlink(this.#stamp(call, NAME_CHANGED), args);
  }
  override rmdir(call: Call, args: Args<"rmdir">) {
    return this.child.rmdir(this.#stamp(call, NAME_CHANGED), args);
  }
  override symlink(call: Call, args: Args<"symlink">) {
    return this.child.symlink(this.#stamp(call, MADE), args);
  }
  override rename(call: Call, args: Args<"rename">) {
    return this.child.rename(this.#stamp(call, NAME_CHANGED), args);
  }
  override link(call: Call, args: Args<"link">) {
    return this.child.link(this.#stamp(call, NAME_CHANGED), args);
  }
  override truncate(call: Call, args: Args<"truncate">) {
    return this.child.truncate(this.#stamp(call, CTIME | MTIME), args);
  }
  override open(call: Call, args: Args<"open">) {
    return this.child.open(this.#stamp(call, this.#accessed()), args);
  }
  override readv(call: Call, args: Args<"readv">) {
    return this.child.readv(this.#stamp(call, this.#accessed()), args);
  }
  override writev(call: Call, args: Args<"writev">) {
    return this.child.writev(this.#stamp(call, MTIME | CTIME), args);
  }
  override removexattr(call: Call, args: Args<"removexattr">) {
    return this.child.removexattr(this.#stamp(call, CTIME), args);
  }
  override opendir(call: Call, args: Args<"opendir">) {
    return this.child.opendir(this.#stamp(call, this.#accessed()), args);
  }
  override create(call: Call, args: Args<"create">) {
    return this.child.create(this.#stamp(call, MADE), args);
  }
  override ftruncate(call: Call, args: Args<"ftruncate">) {
    return this.child.ftruncate(this.#stamp(call, CTIME | MTIME), args);
  }
  override async lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    const xdata = (args.xdata?.clone() ?? new Dict()).setInt(KEY.MDATA, 1);
    const reply = await this.child.lookup(call, { ...args, xdata });
    if (reply.xdata?.has(KEY.MDATA)) return reply;
    await this.#storeFirstTimes(reply.stat);
    return reply;
  }
  override setattr(call: Call, args: Args<"setattr">) {
    return this.child.setattr(this.#stampSetattr(call, args), args);
  }
  override fsetattr(call: Call, args: Args<"fsetattr">) {
    return this.child.fsetattr(this.#stampSetattr(call, args), args);
  }
  override fremovexattr(call: Call, args: Args<"fremovexattr">) {
    return this.child.fremovexattr(this.#stamp(call, CTIME), args);
  }
  override fallocate(call: Call, args: Args<"fallocate">) {
    return this.child.fallocate(this.#stamp(call, MTIME | ATIME), args);
  }
  override zerofill(call: Call, args: Args<"zerofill">) {
    return this.child.zerofill(this.#stamp(call, MTIME | ATIME), args);
  }
  override copy_file_range(call: Call, args: Args<"copy_file_range">) {
    return this.child.copy_file_range(this.#stamp(call, CTIME | MTIME | this.#accessed()), args);
  }

  #accessed(): number {
    return this.options.noatime ? 0 : ATIME;
  }

  /** Without flags the time still travels, as the peer's does; bricks ignore it then. */
  #stamp(call: Call, flags: number): Call {
    const { sec, nsec } = this.env.clock.wall();
    return withTime(call, sec, nsec, flags);
  }

  /** "Now" of the caller wins over ours, so that utimensat answers what it stored. */
  #stampSetattr(call: Call, args: { readonly stat: Iatt; readonly valid: number }): Call {
    const { stat, valid } = args;
    const owner = SETATTR.MODE | SETATTR.UID | SETATTR.GID;
    const flags = valid === 0 || (valid & owner) !== 0 ? CTIME : 0;
    if ((valid & (SETATTR.ATIME | SETATTR.MTIME)) !== 0) {
      if ((valid & SETATTR.ATIME_NOW) !== 0) return withTime(call, stat.atime, stat.atimeNsec, flags);
      if ((valid & SETATTR.MTIME_NOW) !== 0) return withTime(call, stat.mtime, stat.mtimeNsec, flags);
    }
    return this.#stamp(call, flags);
  }

  /** The lookup succeeds whatever becomes of this. */
  async #storeFirstTimes(stat: Iatt): Promise<void> {
    const { atime, atimeNsec, mtime, mtimeNsec, ctime, ctimeNsec } = stat;
    const times = { atime, atimeNsec, mtime, mtimeNsec, ctime, ctimeNsec };
    const xattrs = new Dict().set(KEY.SET_MDATA, { type: "mdata", value: times });
    const loc = { inode: new Inode(stat.gfid, stat.mode & 0o170000) };
    try {
      await this.child.setxattr(internalCall(PID_SET_UTIME), { loc, xattrs, flags: 0 });
    } catch (error) {
      this.log.warn("the first stored times of an object could not be written", { gfid: stat.gfid, error });
    }
  }
}

function withTime(call: Call, sec: number, nsec: number, flags: number): Call {
  return stampedCall(call, { sec, nsec, flags });
}
