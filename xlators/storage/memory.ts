/**
 * storage/memory: a brick that keeps everything in memory, with the contract of storage/posix (spec
 * translators.md 2, wire.md 8 and 9). For tests, for the simulation, and to see what the layers above cost.
 *
 * Promises: what storage/posix promises, O_DIRECT rules included; each fop happens within one turn of the
 * event loop, so every one is atomic. Needs nothing below. What it is stored on (a MemoryDisk) outlives the
 * graph and can crash.
 * Limits: reading leaves atime alone (as a disk mounted noatime); no gfid2path xattrs and no .glusterfs tree;
 * a write that does not fit writes nothing; permissions are the business of features/access-control.
 */

import type { Call } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import { type ErrnoName, FopError } from "../../src/core/errors.ts";
import type { Args, DirentPlus, FopName, Reply } from "../../src/core/fops.ts";
import type { Gfid } from "../../src/core/gfid.ts";
import {
  type Iatt,
  isRegular,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  ZERO_IATT,
} from "../../src/core/iatt.ts";
import type { Fd } from "../../src/core/inode.ts";
import { iovSize } from "../../src/core/iovec.ts";
import { KEY } from "../../src/core/keys.ts";
import { mdataAt, ownMask, parentMask, type TimeMask } from "../../src/core/mdata.ts";
import { nameBytes } from "../../src/core/name.ts";
import {
  O_ACCMODE,
  O_APPEND,
  O_DSYNC,
  O_EXCL,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
} from "../../src/core/open-flags.ts";
import { bool, int, type OptionTable, size } from "../../src/core/options.ts";
import {
  defineXlator,
  exactly,
  type ParentEvent,
  XlatorBase,
  type XlatorDefinition,
  type XlatorInit,
} from "../../src/core/xlator.ts";
import { countAnswers, lookupAnswers, removalAnswers } from "./memory/answers.ts";
import { applySetattr, S_ISGID, stamp } from "./memory/attributes.ts";
import { checksums } from "./memory/checksums.ts";
import { MemoryDisk } from "./memory/disk.ts";
import { Namespace, type Slot } from "./memory/namespace.ts";
import { MemNode } from "./memory/node.ts";
import { OpenFiles } from "./memory/open-files.ts";
import { PAGE_BYTES, type SparseData } from "./memory/sparse.ts";
import { combineXattrs, getXattrs, initialXattrs, removeXattr, setXattrs } from "./memory/xattrs.ts";

const options = {
  capacity: size({
    default: 2 ** 40,
    live: true,
    describe: "Bytes of file data that fit; beyond is ENOSPC.",
  }),
  "inodes-max": int({ default: 2 ** 20, min: 1, live: true, describe: "Inodes that fit; beyond is ENOSPC." }),
  "max-hardlinks": int({ default: 100, min: 0, live: true, describe: "Names of one file; 0: no limit." }),
  ctime: bool({ default: true, live: true, describe: "Keep the client's times and report those." }),
  "fips-mode-rchecksum": bool({
    default: false,
    live: true,
    describe: "Strong checksums are SHA-256, not MD5.",
  }),
} as const satisfies OptionTable;

const NAMEMAX = 255;
const LINKTO_KEY = "trusted.glusterfs.dht.linkto";

const PATH_BYTES_MAX = 4096;
/** Largest file, as numbers stay exact up to here. */
const SIZE_MAX = Number.MAX_SAFE_INTEGER;
const NODE_TYPES: ReadonlySet<number> = new Set([S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK]);
const X_OK = 1;
const CTIME: TimeMask = { ctime: true, mtime: false, atime: false };
const MTIME_CTIME: TimeMask = { ctime: true, mtime: true, atime: false };

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export const storageMemory: XlatorDefinition = memoryOn();

/** The type on a disk of the caller's, for tests that restart or crash a brick. */
export function memoryOn(disk?: MemoryDisk): XlatorDefinition {
  return defineXlator({
    type: "storage/memory",
    children: exactly(0),
    options,
    create: (init) => new Memory(init, disk ?? new MemoryDisk(init.env.clock.wall())),
  });
}

class Memory extends XlatorBase<typeof options> {
  readonly #disk: MemoryDisk;
  readonly #names: Namespace;
  readonly #fds: OpenFiles;

  constructor(init: XlatorInit<typeof options>, disk: MemoryDisk) {
    super(init);
    this.#disk = disk;
    this.#names = new Namespace(disk);
    this.#fds = new OpenFiles(disk);
  }

  override onParentEvent(event: ParentEvent): void {
    if (event.type === "parent-up") this.notifyParents({ type: "child-up" });
  }

  override async release(fd: Fd): Promise<void> {
    this.#fds.close(fd);
  }
  override async releasedir(fd: Fd): Promise<void> {
    this.#fds.close(fd);
  }

  override stat(_call: Call, args: Args<"stat">): Promise<Reply<"stat">> {
    return this.#run("stat", () => {
      const node = this.#names.at(args.loc);
      return { stat: node.iatt(), xdata: lookupAnswers(args.xdata, node) };
    });
  }

  override readlink(_call: Call, args: Args<"readlink">): Promise<Reply<"readlink">> {
    return this.#run("readlink", () => {
      const node = this.#names.at(args.loc);
      if ((node.mode & S_IFMT) !== S_IFLNK) throw new FopError("EINVAL");
      return { target: node.target, stat: node.iatt() };
    });
  }

  override mknod(call: Call, args: Args<"mknod">): Promise<Reply<"mknod">> {
    return this.#run("mknod", () => {
      const gfid = this.#names.newGfid(args.xdata);
      const slot = this.#names.slot(args.loc);
      if (slot.node) throw new FopError("EEXIST");
      const twin = args.xdata?.has(KEY.INTERNAL_FOP) ? this.#disk.find(gfid) : undefined;
      if (twin) return this.#addLink(call, slot, twin);
      const type = args.mode & S_IFMT || S_IFREG;
      if (!NODE_TYPES.has(type)) throw new FopError(type === S_IFDIR ? "EPERM" : "EINVAL");
      const mode = type | (args.mode & 0o7777 & ~args.umask);
      const rdev = type === S_IFCHR || type === S_IFBLK ? args.rdev : 0;
      return this.#make(call, slot, args.xdata, (owner) => this.#node(gfid, mode, owner, rdev));
    });
  }

  override mkdir(call: Call, args: Args<"mkdir">): Promise<Reply<"mkdir">> {
    return this.#run("mkdir", () => {
      const gfid = this.#names.newGfid(args.xdata);
      const slot = this.#names.slot(args.loc);
      if (slot.node) throw new FopError("EEXIST");
      const mode = S_IFDIR | (args.mode & 0o7777 & ~args.umask) | (slot.dir.mode & S_ISGID);
      return this.#make(call, slot, args.xdata, (owner) => this.#node(gfid, mode, owner));
    });
  }

  override unlink(call: Call, args: Args<"unlink">): Promise<Reply<"unlink">> {
    return this.#run("unlink", () => {
      const slot = this.#names.slot(args.loc);
      const { node } = slot;
      if (!node) throw new FopError("ENOENT");
      if (args.xdata?.has("dont-unlink-for-open-fd") && node.opens > 0) throw new FopError("EBUSY");
      if (args.xdata?.has("unlink-only-if-dht-linkto-file") && !node.xattrs.has(LINKTO_KEY))
        throw new FopError("EBUSY");
      const before = removalAnswers(args.xdata, node);
      return this.#removing(call, slot, before, () => this.#names.unlink(slot));
    });
  }

  override rmdir(call: Call, args: Args<"rmdir">): Promise<Reply<"rmdir">> {
    return this.#run("rmdir", () => {
      const slot = this.#names.slot(args.loc);
      return this.#removing(call, slot, undefined, () => this.#names.rmdir(slot, args.flags !== 0));
    });
  }

  override symlink(call: Call, args: Args<"symlink">): Promise<Reply<"symlink">> {
    return this.#run("symlink", () => {
      const gfid = this.#names.newGfid(args.xdata);
      const slot = this.#names.slot(args.loc);
      if (slot.node) throw new FopError("EEXIST");
      if (args.target === "") throw new FopError("ENOENT");
      if (nameBytes(args.target) >= PATH_BYTES_MAX) throw new FopError("ENAMETOOLONG");
      return this.#make(call, slot, args.xdata, (owner) =>
        this.#node(gfid, S_IFLNK | 0o777, owner, 0, args.target),
      );
    });
  }

  override rename(call: Call, args: Args<"rename">): Promise<Reply<"rename">> {
    return this.#run("rename", () => {
      const from = this.#names.slot(args.from);
      const to = this.#names.slot(args.to);
      if (!from.node) throw new FopError("ENOENT");
      const preOldParent = from.dir.iatt();
      const preNewParent = to.dir.iatt();
      const replaced = to.node && removalAnswers(args.xdata, to.node);
      if (this.#names.rename(from, to)) {
        this.#stampParent(from.dir, call);
        this.#stampParent(to.dir, call);
        this.#stamp(from.node, call, CTIME);
        if (to.node) this.#stamp(to.node, call, CTIME);
      }
      return {
        stat: from.node.iatt(),
        preOldParent,
        postOldParent: from.dir.iatt(),
        preNewParent,
        postNewParent: to.dir.iatt(),
        xdata: replaced,
      };
    });
  }

  override link(call: Call, args: Args<"link">): Promise<Reply<"link">> {
    return this.#run("link", () => {
      const node = this.#names.byGfid(args.from.inode);
      const slot = this.#names.slot(args.to);
      if (slot.node) throw new FopError("EEXIST");
      if (node.isDir) throw new FopError("EPERM");
      return this.#addLink(call, slot, node);
    });
  }

  override truncate(call: Call, args: Args<"truncate">): Promise<Reply<"truncate">> {
    return this.#run("truncate", () => this.#truncate(call, this.#names.at(args.loc), args.offset));
  }

  override open(call: Call, args: Args<"open">): Promise<Reply<"open">> {
    return this.#run("open", () => {
      const node = this.#names.at(args.loc);
      const type = node.mode & S_IFMT;
      if (type === S_IFLNK) throw new FopError("ELOOP");
      if (type === S_IFDIR) throw new FopError("EISDIR");
      if (type === S_IFSOCK) throw new FopError("ENXIO");
      if (type === S_IFBLK || type === S_IFCHR) throw new FopError("EINVAL");
      if (args.flags & O_TRUNC && node.data) this.#truncate(call, node, 0);
      this.#fds.openFile(args.fd, node, args.flags);
      return {};
    });
  }

  override readv(_call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
    return this.#run("readv", () => {
      const node = this.#fds.file(args.fd, args.flags, args.offset, args.size);
      if ((args.fd.flags & O_ACCMODE) === O_WRONLY) throw new FopError("EBADF");
      const data = node.data!.read(args.offset, args.size);
      const eof = args.offset + data.length >= node.data!.size;
      return {
        data: [data],
        size: data.length,
        stat: node.iatt(),
        eof,
        xdata: countAnswers(args.xdata, node),
      };
    });
  }

  override writev(call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
    return this.#run("writev", () => {
      const count = iovSize(args.data);
      const node = this.#fds.file(args.fd, args.flags, args.offset, count);
      if ((args.fd.flags & O_ACCMODE) === O_RDONLY) throw new FopError("EBADF");
      const pre = node.iatt();
      const offset = args.fd.flags & O_APPEND ? pre.size : args.offset;
      if (count > 0) {
        this.#changeData(node, offset, count, (data) => {
          data.write(args.data, offset);
          if ((args.flags | args.fd.flags) & O_DSYNC) data.syncRange(offset, count);
        });
        this.#stamp(node, call, MTIME_CTIME);
      }
      const xdata = countAnswers(args.xdata, node);
      if (args.xdata?.has(KEY.WRITE_IS_APPEND))
        xdata!.setUint(KEY.WRITE_IS_APPEND, pre.size === offset || args.fd.flags & O_APPEND ? 1 : 0);
      return { size: count, pre, post: node.iatt(), xdata };
    });
  }

  override statfs(_call: Call, args: Args<"statfs">): Promise<Reply<"statfs">> {
    return this.#run("statfs", () => {
      this.#names.at(args.loc);
      const blocks = Math.floor(this.options.capacity / PAGE_BYTES);
      const free = Math.max(0, blocks - this.#disk.usedBytes / PAGE_BYTES);
      const files = this.options["inodes-max"];
      const ffree = Math.max(0, files - this.#disk.inodeCount);
      const inodes = { files, ffree, favail: ffree };
      const room = { bsize: PAGE_BYTES, frsize: PAGE_BYTES, blocks, bfree: free, bavail: free };
      return { statfs: { ...room, ...inodes, fsid: 0, flag: 0, namemax: NAMEMAX } };
    });
  }

  override flush(_call: Call, args: Args<"flush">): Promise<Reply<"flush">> {
    return this.#run("flush", () => {
      this.#fds.node(args.fd);
      return {};
    });
  }

  override fsync(_call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
    return this.#run("fsync", () => {
      const node = this.#fds.node(args.fd);
      node.data?.sync();
      const stat = node.iatt();
      return { pre: stat, post: stat, xdata: countAnswers(args.xdata, node) };
    });
  }

  override setxattr(call: Call, args: Args<"setxattr">): Promise<Reply<"setxattr">> {
    return this.#run("setxattr", () => this.#setXattrs(call, this.#names.at(args.loc), args));
  }

  override getxattr(call: Call, args: Args<"getxattr">): Promise<Reply<"getxattr">> {
    return this.#run("getxattr", () => {
      const node = this.#names.at(args.loc);
      if (args.name !== KEY.GFID_TO_PATH) return { xattrs: getXattrs(node, args.name, call) };
      return { xattrs: new Dict().setStr(KEY.GFID_TO_PATH, this.#disk.pathsOf(node).join(":")) };
    });
  }

  override removexattr(call: Call, args: Args<"removexattr">): Promise<Reply<"removexattr">> {
    return this.#run("removexattr", () => this.#removeXattr(call, this.#names.at(args.loc), args));
  }

  override opendir(_call: Call, args: Args<"opendir">): Promise<Reply<"opendir">> {
    return this.#run("opendir", () => {
      const node = this.#names.at(args.loc);
      if (!node.isDir) throw new FopError("ENOTDIR");
      this.#fds.openDirectory(args.fd, node);
      return {};
    });
  }

  override fsyncdir(_call: Call, args: Args<"fsyncdir">): Promise<Reply<"fsyncdir">> {
    return this.#run("fsyncdir", () => {
      this.#fds.node(args.fd);
      return {};
    });
  }

  override access(_call: Call, args: Args<"access">): Promise<Reply<"access">> {
    return this.#run("access", () => {
      const node = this.#names.at(args.loc);
      const executable = node.isDir || (node.mode & 0o111) !== 0;
      if (args.mask & X_OK && !executable) throw new FopError("EACCES");
      return {};
    });
  }

  override create(call: Call, args: Args<"create">): Promise<Reply<"create">> {
    return this.#run("create", () => {
      const gfid = this.#names.newGfid(args.xdata);
      const slot = this.#names.slot(args.loc);
      if (slot.node) return this.#createExisting(call, args, slot, slot.node);
      const mode = S_IFREG | (args.mode & 0o7777 & ~args.umask);
      const reply = this.#make(call, slot, args.xdata, (owner) => this.#node(gfid, mode, owner));
      this.#fds.openFile(args.fd, this.#disk.find(gfid)!, args.flags);
      return reply;
    });
  }

  override ftruncate(call: Call, args: Args<"ftruncate">): Promise<Reply<"ftruncate">> {
    return this.#run("ftruncate", () => {
      if ((args.fd.flags & O_ACCMODE) === O_RDONLY) throw new FopError("EINVAL");
      return this.#truncate(call, this.#fds.node(args.fd), args.offset);
    });
  }

  override fstat(_call: Call, args: Args<"fstat">): Promise<Reply<"fstat">> {
    return this.#run("fstat", () => {
      const node = this.#fds.node(args.fd);
      return { stat: node.iatt(), xdata: lookupAnswers(args.xdata, node) };
    });
  }

  override lk(): Promise<Reply<"lk">> {
    return this.#withoutLocks("lk");
  }

  override lookup(_call: Call, args: Args<"lookup">): Promise<Reply<"lookup">> {
    return this.#run("lookup", () => {
      if (args.loc.name !== undefined) {
        const slot = this.#names.slot(args.loc);
        if (!slot.node) throw new FopError("ENOENT");
        const xdata = lookupAnswers(args.xdata, slot.node);
        return { stat: slot.node.iatt(), postParent: slot.dir.iatt(), xdata };
      }
      const node = this.#disk.find(args.loc.inode.gfid);
      const unlinkedToo = args.xdata?.has("unlinked-lookup") ?? false;
      if (!node || (node.nlink === 0 && !unlinkedToo)) throw new FopError("ENOENT");
      return { stat: node.iatt(), postParent: ZERO_IATT, xdata: lookupAnswers(args.xdata, node) };
    });
  }

  override readdir(_call: Call, args: Args<"readdir">): Promise<Reply<"readdir">> {
    return this.#run("readdir", () =>
      this.#fds.listing(args.fd).read(args.offset, args.size, false, (dirent) => dirent),
    );
  }

  override inodelk(): Promise<Reply<"inodelk">> {
    return this.#withoutLocks("inodelk");
  }
  override finodelk(): Promise<Reply<"finodelk">> {
    return this.#withoutLocks("finodelk");
  }
  override entrylk(): Promise<Reply<"entrylk">> {
    return this.#withoutLocks("entrylk");
  }
  override fentrylk(): Promise<Reply<"fentrylk">> {
    return this.#withoutLocks("fentrylk");
  }

  override xattrop(_call: Call, args: Args<"xattrop">): Promise<Reply<"xattrop">> {
    return this.#run("xattrop", () => this.#xattrop(this.#names.at(args.loc), args));
  }

  override fxattrop(_call: Call, args: Args<"fxattrop">): Promise<Reply<"fxattrop">> {
    return this.#run("fxattrop", () => this.#xattrop(this.#fds.node(args.fd), args));
  }

  override fgetxattr(call: Call, args: Args<"fgetxattr">): Promise<Reply<"fgetxattr">> {
    return this.#run("fgetxattr", () => {
      return { xattrs: getXattrs(this.#fds.node(args.fd), args.name, call) };
    });
  }

  override fsetxattr(call: Call, args: Args<"fsetxattr">): Promise<Reply<"fsetxattr">> {
    return this.#run("fsetxattr", () => this.#setXattrs(call, this.#fds.node(args.fd), args));
  }

  override rchecksum(_call: Call, args: Args<"rchecksum">): Promise<Reply<"rchecksum">> {
    return this.#run("rchecksum", () => {
      const data = this.#fds.file(args.fd, 0, args.offset, args.size).data!.read(args.offset, args.size);
      return checksums(data, this.options["fips-mode-rchecksum"], args.xdata);
    });
  }

  override setattr(call: Call, args: Args<"setattr">): Promise<Reply<"setattr">> {
    return this.#run("setattr", () => this.#setattr(call, this.#names.at(args.loc), args));
  }

  override fsetattr(call: Call, args: Args<"fsetattr">): Promise<Reply<"fsetattr">> {
    return this.#run("fsetattr", () => this.#setattr(call, this.#fds.node(args.fd), args));
  }

  override readdirp(_call: Call, args: Args<"readdirp">): Promise<Reply<"readdirp">> {
    return this.#run("readdirp", () =>
      this.#fds.listing(args.fd).read(args.offset, args.size, true, (dirent, node): DirentPlus => {
        if (!node) return { ...dirent, stat: ZERO_IATT };
        const xattrs = lookupAnswers(args.xdata, node);
        return { ...dirent, stat: node.iatt(), ...(xattrs ? { xattrs } : {}) };
      }),
    );
  }

  override fremovexattr(call: Call, args: Args<"fremovexattr">): Promise<Reply<"fremovexattr">> {
    return this.#run("fremovexattr", () => this.#removeXattr(call, this.#fds.node(args.fd), args));
  }

  override fallocate(call: Call, args: Args<"fallocate">): Promise<Reply<"fallocate">> {
    return this.#run("fallocate", () =>
      this.#changeRange(call, args, (data) => data.reserve(args.offset, args.size, args.keepSize)),
    );
  }

  override discard(call: Call, args: Args<"discard">): Promise<Reply<"discard">> {
    return this.#run("discard", () =>
      this.#changeRange(call, args, (data) => data.punch(args.offset, args.size)),
    );
  }

  override zerofill(call: Call, args: Args<"zerofill">): Promise<Reply<"zerofill">> {
    return this.#run("zerofill", () =>
      this.#changeRange(call, args, (data) => data.zero(args.offset, args.size)),
    );
  }

  override ipc(): Promise<Reply<"ipc">> {
    return this.#refuse("ipc", "EOPNOTSUPP");
  }

  override seek(_call: Call, args: Args<"seek">): Promise<Reply<"seek">> {
    return this.#run("seek", () => {
      const data = this.#fds.file(args.fd, 0, args.offset, 0).data!;
      if (args.offset >= data.size) throw new FopError("ENXIO");
      const offset = args.what === "data" ? data.nextData(args.offset) : data.nextHole(args.offset);
      if (offset === undefined) throw new FopError("ENXIO");
      return { offset };
    });
  }

  override lease(): Promise<Reply<"lease">> {
    return this.#refuse("lease", "ENOSYS");
  }
  override getactivelk(): Promise<Reply<"getactivelk">> {
    return this.#withoutLocks("getactivelk");
  }
  override setactivelk(): Promise<Reply<"setactivelk">> {
    return this.#withoutLocks("setactivelk");
  }
  override icreate(): Promise<Reply<"icreate">> {
    return this.#refuse("icreate", "EOPNOTSUPP");
  }
  override namelink(): Promise<Reply<"namelink">> {
    return this.#refuse("namelink", "EOPNOTSUPP");
  }
  override put(): Promise<Reply<"put">> {
    return this.#refuse("put", "EOPNOTSUPP");
  }

  override copy_file_range(call: Call, args: Args<"copy_file_range">): Promise<Reply<"copy_file_range">> {
    return this.#run("copy_file_range", () => {
      const source = this.#fds.file(args.fdIn, 0, args.offsetIn, args.size);
      const target = this.#fds.file(args.fdOut, 0, args.offsetOut, args.size);
      const overlaps = Math.abs(args.offsetIn - args.offsetOut) < args.size;
      if (source === target && overlaps) throw new FopError("EINVAL");
      const pre = target.iatt();
      const bytes = source.data!.read(args.offsetIn, args.size);
      this.#changeData(target, args.offsetOut, bytes.length, (data) => data.write([bytes], args.offsetOut));
      if (bytes.length > 0) this.#stamp(target, call, MTIME_CTIME);
      return { size: bytes.length, stat: source.iatt(), pre, post: target.iatt() };
    });
  }

  /** Runs a fop's body at once; what it throws is given the place it came from. */
  async #run<F extends FopName>(fop: F, body: () => Reply<F>): Promise<Reply<F>> {
    try {
      return body();
    } catch (error) {
      if (!(error instanceof FopError) || error.xlator !== "") throw error;
      const { message, xdata } = error;
      throw new FopError(error.code, { fop, xlator: this.name, message, ...(xdata ? { xdata } : {}) });
    }
  }

  async #refuse(fop: FopName, code: ErrnoName, message: string = code): Promise<never> {
    throw new FopError(code, { fop, xlator: this.name, message });
  }

  #withoutLocks(fop: FopName): Promise<never> {
    return this.#refuse(fop, "ENOSYS", "there is no features/locks above this brick");
  }

  #node(gfid: Gfid, mode: number, owner: Owner, rdev = 0, target = ""): MemNode {
    return new MemNode(gfid, mode, owner, this.env.clock.wall(), rdev, target);
  }

  /** Makes an inode and its name, with the xattrs that the call brings. */
  #make(call: Call, slot: Slot, xdata: Dict | undefined, make: (owner: Owner) => MemNode): Reply<"mknod"> {
    const { dir, name } = slot;
    const node = make({ uid: call.uid, gid: dir.mode & S_ISGID ? dir.gid : call.gid });
    this.#names.checkNew(slot, node.gfid, xdata);
    if (this.#disk.inodeCount >= this.options["inodes-max"]) throw new FopError("ENOSPC");
    const preParent = dir.iatt();
    for (const [key, value] of initialXattrs(xdata)) node.xattrs.set(key, value);
    if (this.options.ctime && call.time && ownMask(call)) node.mdata = mdataAt(call.time);
    this.#disk.add(node);
    dir.enter(name, node);
    this.#stampParent(dir, call);
    return { stat: node.iatt(), preParent, postParent: dir.iatt(), xdata: xdata && new Dict() };
  }

  /** create on a name that is there: opens it, as open(2) with O_CREAT does. */
  #createExisting(call: Call, args: Args<"create">, slot: Slot, node: MemNode): Reply<"create"> {
    // No flags at all mean that the caller wants a new file.
    if (args.flags === 0 || args.flags & O_EXCL) throw new FopError("EEXIST");
    if (node.isDir) throw new FopError("EISDIR");
    if (!isRegular(node)) throw new FopError((node.mode & S_IFMT) === S_IFLNK ? "ELOOP" : "EINVAL");
    if (args.flags & O_TRUNC) this.#truncate(call, node, 0);
    this.#fds.openFile(args.fd, node, args.flags);
    const parent = slot.dir.iatt();
    return { stat: node.iatt(), preParent: parent, postParent: parent, xdata: args.xdata && new Dict() };
  }

  #addLink(call: Call, slot: Slot, node: MemNode): Reply<"link"> {
    const max = this.options["max-hardlinks"];
    if (max > 0 && node.nlink >= max) throw new FopError("EMLINK");
    const preParent = slot.dir.iatt();
    slot.dir.enter(slot.name, node);
    this.#stamp(node, call, CTIME);
    this.#stampParent(slot.dir, call);
    return { stat: node.iatt(), preParent, postParent: slot.dir.iatt() };
  }

  #removing(call: Call, slot: Slot, xdata: Dict | undefined, remove: () => MemNode): Reply<"unlink"> {
    const preParent = slot.dir.iatt();
    this.#stamp(remove(), call, CTIME);
    this.#stampParent(slot.dir, call);
    return { preParent, postParent: slot.dir.iatt(), xdata };
  }

  #truncate(call: Call, node: MemNode, size: number): Reply<"truncate"> {
    if (node.isDir) throw new FopError("EISDIR");
    if (!node.data || size < 0) throw new FopError("EINVAL");
    if (size > SIZE_MAX) throw new FopError("EFBIG");
    const pre = node.iatt();
    this.#disk.changeData(node, () => node.data!.truncate(size));
    this.#stamp(node, call, MTIME_CTIME);
    return { pre, post: node.iatt() };
  }

  #changeRange(
    call: Call,
    args: { fd: Fd; offset: number; size: number; xdata?: Dict | undefined },
    change: (data: SparseData) => void,
  ): Reply<"fallocate"> {
    const node = this.#fds.file(args.fd, 0, args.offset, args.size);
    if ((args.fd.flags & O_ACCMODE) === O_RDONLY) throw new FopError("EBADF");
    if (args.size === 0) throw new FopError("EINVAL");
    const pre = node.iatt();
    this.#changeData(node, args.offset, args.size, change);
    this.#stamp(node, call, MTIME_CTIME);
    return { pre, post: node.iatt(), xdata: countAnswers(args.xdata, node) };
  }

  /** Changes contents within a range, if there is room for all of it. */
  #changeData(node: MemNode, offset: number, size: number, change: (data: SparseData) => void): void {
    const data = node.data!;
    if (offset + size > SIZE_MAX) throw new FopError("EFBIG");
    const more = data.missing(offset, size) * PAGE_BYTES;
    if (this.#disk.usedBytes + more > this.options.capacity) throw new FopError("ENOSPC");
    this.#disk.changeData(node, () => change(data));
  }

  #setXattrs(call: Call, node: MemNode, args: { xattrs: Dict; flags: number }): Reply<"setxattr"> {
    setXattrs(node, args.xattrs, args.flags);
    this.#stamp(node, call, CTIME);
    return {};
  }

  #removeXattr(call: Call, node: MemNode, args: { name: string }): Reply<"removexattr"> {
    removeXattr(node, args.name);
    this.#stamp(node, call, CTIME);
    return {};
  }

  #xattrop(node: MemNode, args: { op: number; xattrs: Dict; xdata?: Dict | undefined }): Reply<"xattrop"> {
    const xattrs = combineXattrs(node, args.op, args.xattrs);
    return { xattrs, xdata: lookupAnswers(args.xdata, node) };
  }

  #setattr(call: Call, node: MemNode, args: { stat: Iatt; valid: number }): Reply<"setattr"> {
    const pre = node.iatt();
    this.#stamp(node, call, CTIME);
    applySetattr(node, args.stat, args.valid, this.env.clock.wall());
    return { pre, post: node.iatt() };
  }

  #stamp(node: MemNode, call: Call, times: TimeMask, mask: TimeMask | undefined = ownMask(call)): void {
    stamp(node, this.env.clock.wall(), times, this.options.ctime ? call.time : undefined, mask);
  }

  #stampParent(dir: MemNode, call: Call): void {
    this.#stamp(dir, call, MTIME_CTIME, parentMask(call));
  }
}
