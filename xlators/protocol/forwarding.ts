/**
 * A translator that treats all fops alike: every one is `forward` with its name. Which children it has is its
 * own business.
 */

import type { Call } from "../../src/core/call.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import type { OptionTable } from "../../src/core/options.ts";
import { XlatorBase } from "../../src/core/xlator.ts";

export abstract class ForwardingXlator<T extends OptionTable> extends XlatorBase<T> {
  /** Does the fop. Does not throw but rejects. */
  protected abstract forward<F extends FopName>(fop: F, call: Call, args: Args<F>): Promise<Reply<F>>;

  override stat(call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    return this.forward("stat", call, args);
  }
  override readlink(call: Call, args: Args<"readlink">): Promise<Reply<"readlink">> {
    return this.forward("readlink", call, args);
  }
  override mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    return this.forward("mknod", call, args);
  }
  override mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    return this.forward("mkdir", call, args);
  }
  override unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    return this.forward("unlink", call, args);
  }
  override rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    return this.forward("rmdir", call, args);
  }
  override symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    return this.forward("symlink", call, args);
  }
  override rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    return this.forward("rename", call, args);
  }
  override link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    return this.forward("link", call, args);
  }
  override truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    return this.forward("truncate", call, args);
  }
  override open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    return this.forward("open", call, args);
  }
  override readv(call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    return this.forward("readv", call, args);
  }
  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    return this.forward("writev", call, args);
  }
  override statfs(call: Call, args: Args<"statfs">): Promise<Reply<"statfs">> {
    return this.forward("statfs", call, args);
  }
  override flush(call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    return this.forward("flush", call, args);
  }
  override fsync(call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    return this.forward("fsync", call, args);
  }
  override setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    return this.forward("setxattr", call, args);
  }
  override getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    return this.forward("getxattr", call, args);
  }
  override removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    return this.forward("removexattr", call, args);
  }
  override opendir(call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.forward("opendir", call, args);
  }
  override fsyncdir(call: Call, args: Args<"fsyncdir">): Promise<Reply<"fsyncdir">> {
    return this.forward("fsyncdir", call, args);
  }
  override access(call: Call, args: Args<"access">): Promise<Reply<"access">> {
    return this.forward("access", call, args);
  }
  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.forward("create", call, args);
  }
  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.forward("ftruncate", call, args);
  }
  override fstat(call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    return this.forward("fstat", call, args);
  }
  override lk(call: Call, args: Args<"lk">): Promise<Reply<"lk">> {
    return this.forward("lk", call, args);
  }
  override lookup(call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    return this.forward("lookup", call, args);
  }
  override readdir(call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    return this.forward("readdir", call, args);
  }
  override inodelk(call: Call, args: Args<"inodelk">): Promise<Reply<"inodelk">> {
    return this.forward("inodelk", call, args);
  }
  override finodelk(call: Call, args: Args<"finodelk">): Promise<Reply<"finodelk">> {
    return this.forward("finodelk", call, args);
  }
  override entrylk(call: Call, args: Args<"entrylk">): Promise<Reply<"entrylk">> {
    return this.forward("entrylk", call, args);
  }
  override fentrylk(call: Call, args: Args<"fentrylk">): Promise<Reply<"fentrylk">> {
    return this.forward("fentrylk", call, args);
  }
  override xattrop(call: Call, args: Args<"xattrop">): Promise<Reply<"xattrop">> {
    return this.forward("xattrop", call, args);
  }
  override fxattrop(call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    return this.forward("fxattrop", call, args);
  }
  override fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    return this.forward("fgetxattr", call, args);
  }
  override fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    return this.forward("fsetxattr", call, args);
  }
  override rchecksum(call: Call, args: Args<"rchecksum">): Promise<Reply<"rchecksum">> {
    return this.forward("rchecksum", call, args);
  }
  override setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    return this.forward("setattr", call, args);
  }
  override fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    return this.forward("fsetattr", call, args);
  }
  override readdirp(call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    return this.forward("readdirp", call, args);
  }
  override fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    return this.forward("fremovexattr", call, args);
  }
  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.forward("fallocate", call, args);
  }
  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.forward("discard", call, args);
  }
  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.forward("zerofill", call, args);
  }
  override ipc(call: Call, args: Args<"ipc">): Promise<Reply<"ipc">> {
    return this.forward("ipc", call, args);
  }
  override seek(call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    return this.forward("seek", call, args);
  }
  override lease(call: Call, args: Args<"lease">): Promise<Reply<"lease">> {
    return this.forward("lease", call, args);
  }
  override getactivelk(call: Call, args: Args<"getactivelk">): Promise<Reply<"getactivelk">> {
    return this.forward("getactivelk", call, args);
  }
  override setactivelk(call: Call, args: Args<"setactivelk">): Promise<Reply<"setactivelk">> {
    return this.forward("setactivelk", call, args);
  }
  override icreate(call: Call, args: Args<"icreate">): Promise<Reply<"icreate">> {
    return this.forward("icreate", call, args);
  }
  override namelink(call: Call, args: Args<"namelink">): Promise<Reply<"namelink">> {
    return this.forward("namelink", call, args);
  }
  override put(call: Call, args: Args<"put">): Promise<Reply<"put">> {
    return this.forward("put", call, args);
  }
  override copy_file_range(call: Call, args: Args<"copy_file_range">): Promise<Reply<"copy_file_range">> {
    return this.forward("copy_file_range", call, args);
  }
}
