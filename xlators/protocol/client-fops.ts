/**
 * The client's half of the fop table: arguments to the wire's call struct, the wire's reply struct to a reply
 * (wire.md 6).
 *
 * Codecs (src/rpc/codec-fops.ts) know the bytes, this file the meaning: which gfid travels, which fd number,
 * flags, end markers.
 */

import { Dict } from "../../src/core/dict.ts";
import { ERRNO } from "../../src/core/errors.ts";
import type { Args, FopName, Reply } from "../../src/core/fops.ts";
import { type Gfid, NULL_GFID } from "../../src/core/gfid.ts";
import type { Fd, Loc } from "../../src/core/inode.ts";
import { iovSize } from "../../src/core/iovec.ts";
import type { WireCall, WireReply } from "../../src/rpc/codec-fops.ts";
import {
  entrylkCommandNumber,
  lkCommandNumber,
  lockTypeNumber,
  seekWhatNumber,
  toWireFlags,
} from "../../src/rpc/wire-values.ts";

/** Gives the number by which the brick knows an fd; throws FopError EBADFD when it knows it no more. */
export type FdNumber = (fd: Fd) => number;

export interface ClientFop<F extends FopName> {
  /** The call struct. */
  call(args: Args<F>, number: FdNumber): WireCall<F>;
  /** The reply of a call that succeeded. */
  reply(reply: WireReply<F>, args: Args<F>): Reply<F>;
}

/** Makes a Linux dev_t of core's major * 2^32 + minor (glibc's makedev). */
export function devOf(rdev: number): number {
  const major = Math.floor(rdev / 2 ** 32);
  const minor = rdev % 2 ** 32;
  const low = ((major & 0xfff) << 8) + (minor & 0xff);
  return Math.floor(major / 2 ** 12) * 2 ** 44 + Math.floor(minor / 2 ** 8) * 2 ** 20 + low;
}

function parentGfid(loc: Loc): Gfid {
  return loc.parent?.gfid ?? NULL_GFID;
}

function nameOf(loc: Loc): string {
  return loc.name ?? "";
}

type Common = { readonly xdata: Reply<"flush">["xdata"] };

function onlyXdata({ xdata }: Common): Common {
  return { xdata };
}

function statOnly({ stat, xdata }: WireReply<"stat">): Reply<"stat"> {
  return { stat, xdata };
}

function prePost({ pre, post, xdata }: WireReply<"fsync">): Reply<"fsync"> {
  return { pre, post, xdata };
}

function parents({ preParent, postParent, xdata }: WireReply<"unlink">): Reply<"unlink"> {
  return { preParent, postParent, xdata };
}

function newEntry({ stat, preParent, postParent, xdata }: WireReply<"mkdir">): Reply<"mkdir"> {
  return { stat, preParent, postParent, xdata };
}

/** A brick may leave the dict out when there is nothing in it. */
function xattrs({ xattrs, xdata }: WireReply<"getxattr">): Reply<"getxattr"> {
  return { xattrs: xattrs ?? new Dict(), xdata };
}

function isEnd(reply: { readonly opErrno: number; readonly entries: readonly unknown[] }): boolean {
  return reply.opErrno === ERRNO.ENOENT || reply.entries.length === 0;
}

export const CLIENT_FOPS: { readonly [F in FopName]: ClientFop<F> } = {
  stat: { call: ({ loc, xdata }) => ({ gfid: loc.inode.gfid, xdata }), reply: statOnly },
  readlink: {
    call: ({ loc, size, xdata }) => ({ gfid: loc.inode.gfid, size, xdata }),
    reply: ({ target, stat, xdata }) => ({ target, stat, xdata }),
  },
  mknod: {
    call: ({ loc, mode, rdev, umask, xdata }) => ({
      parentGfid: parentGfid(loc),
      dev: devOf(rdev),
      mode,
      umask,
      name: nameOf(loc),
      xdata,
    }),
    reply: newEntry,
  },
  mkdir: {
    call: ({ loc, mode, umask, xdata }) => ({
      parentGfid: parentGfid(loc),
      mode,
      umask,
      name: nameOf(loc),
      xdata,
    }),
    reply: newEntry,
  },
  unlink: {
    call: ({ loc, flags, xdata }) => ({ parentGfid: parentGfid(loc), name: nameOf(loc), flags, xdata }),
    reply: parents,
  },
  rmdir: {
    call: ({ loc, flags, xdata }) => ({ parentGfid: parentGfid(loc), flags, name: nameOf(loc), xdata }),
    reply: parents,
  },
  symlink: {
    call: ({ loc, umask, target, xdata }) => ({
      parentGfid: parentGfid(loc),
      name: nameOf(loc),
      umask,
      target,
      xdata,
    }),
    reply: newEntry,
  },
  rename: {
    call: ({ from, to, xdata }) => ({
      oldParentGfid: parentGfid(from),
      newParentGfid: parentGfid(to),
      oldName: nameOf(from),
      newName: nameOf(to),
      xdata,
    }),
    reply: ({ stat, preOldParent, postOldParent, preNewParent, postNewParent, xdata }) => ({
      stat,
      preOldParent,
      postOldParent,
      preNewParent,
      postNewParent,
      xdata,
    }),
  },
  link: {
    call: ({ from, to, xdata }) => ({
      gfid: from.inode.gfid,
      newParentGfid: parentGfid(to),
      newName: nameOf(to),
      xdata,
    }),
    reply: newEntry,
  },
  truncate: {
    call: ({ loc, offset, xdata }) => ({ gfid: loc.inode.gfid, offset, xdata }),
    reply: prePost,
  },
  open: {
    call: ({ loc, flags, xdata }) => ({ gfid: loc.inode.gfid, flags: toWireFlags(flags), xdata }),
    reply: onlyXdata,
  },
  readv: {
    call: ({ fd, offset, size, flags, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      offset,
      size,
      flags: flags >>> 0,
      xdata,
    }),
    reply: ({ opRet, opErrno, stat, xdata }) => ({
      data: [],
      size: opRet,
      stat,
      eof: opErrno === ERRNO.ENOENT,
      xdata,
    }),
  },
  writev: {
    call: ({ fd, data, offset, flags, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      offset,
      size: iovSize(data),
      flags: flags >>> 0,
      xdata,
    }),
    reply: ({ opRet, pre, post, xdata }) => ({ size: opRet, pre, post, xdata }),
  },
  statfs: {
    call: ({ loc, xdata }) => ({ gfid: loc.inode.gfid, xdata }),
    reply: ({ statfs, xdata }) => ({ statfs, xdata }),
  },
  flush: { call: fdOnly, reply: onlyXdata },
  fsync: {
    call: ({ fd, datasync, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      datasync: datasync ? 1 : 0,
      xdata,
    }),
    reply: prePost,
  },
  setxattr: {
    call: ({ loc, flags, xattrs, xdata }) => ({ gfid: loc.inode.gfid, flags, xattrs, xdata }),
    reply: onlyXdata,
  },
  getxattr: {
    call: ({ loc, name, xdata }) => ({ gfid: loc.inode.gfid, ...optionalName(name), xdata }),
    reply: xattrs,
  },
  removexattr: {
    call: ({ loc, name, xdata }) => ({ gfid: loc.inode.gfid, name, xdata }),
    reply: onlyXdata,
  },
  opendir: { call: ({ loc, xdata }) => ({ gfid: loc.inode.gfid, xdata }), reply: onlyXdata },
  fsyncdir: {
    call: ({ fd, datasync, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      datasync: datasync ? 1 : 0,
      xdata,
    }),
    reply: onlyXdata,
  },
  access: { call: ({ loc, mask, xdata }) => ({ gfid: loc.inode.gfid, mask, xdata }), reply: onlyXdata },
  create: {
    call: ({ loc, flags, mode, umask, xdata }) => ({
      parentGfid: parentGfid(loc),
      flags: toWireFlags(flags),
      mode,
      umask,
      name: nameOf(loc),
      xdata,
    }),
    reply: newEntry,
  },
  ftruncate: {
    call: ({ fd, offset, xdata }, number) => ({ gfid: fd.inode.gfid, fd: number(fd), offset, xdata }),
    reply: prePost,
  },
  fstat: { call: fdOnly, reply: statOnly },
  lk: {
    call: ({ fd, cmd, flock, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      cmd: lkCommandNumber(cmd),
      type: lockTypeNumber(flock.type),
      flock,
      xdata,
    }),
    reply: ({ flock, xdata }) => ({ flock, xdata }),
  },
  lookup: {
    call: ({ loc, xdata }) => ({
      gfid: loc.inode.gfid,
      parentGfid: parentGfid(loc),
      flags: 0,
      name: nameOf(loc),
      xdata,
    }),
    reply: ({ stat, postParent, xdata }) => ({ stat, postParent, xdata }),
  },
  readdir: {
    call: ({ fd, offset, size, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      offset,
      size,
      xdata,
    }),
    reply: (reply) => ({ entries: reply.entries, eof: isEnd(reply), xdata: reply.xdata }),
  },
  inodelk: {
    call: ({ loc, cmd, flock, volume, xdata }) => ({
      gfid: loc.inode.gfid,
      cmd: lkCommandNumber(cmd),
      type: lockTypeNumber(flock.type),
      flock,
      volume,
      xdata,
    }),
    reply: onlyXdata,
  },
  finodelk: {
    call: ({ fd, cmd, flock, volume, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      cmd: lkCommandNumber(cmd),
      type: lockTypeNumber(flock.type),
      flock,
      volume,
      xdata,
    }),
    reply: onlyXdata,
  },
  entrylk: {
    call: ({ loc, cmd, type, name, volume, xdata }) => ({
      gfid: loc.inode.gfid,
      cmd: entrylkCommandNumber(cmd),
      type: lockTypeNumber(type),
      ...optionalName(name),
      volume,
      xdata,
    }),
    reply: onlyXdata,
  },
  fentrylk: {
    call: ({ fd, cmd, type, name, volume, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      cmd: entrylkCommandNumber(cmd),
      type: lockTypeNumber(type),
      ...optionalName(name),
      volume,
      xdata,
    }),
    reply: onlyXdata,
  },
  xattrop: {
    call: ({ loc, op, xattrs, xdata }) => ({ gfid: loc.inode.gfid, op, xattrs, xdata }),
    reply: xattrs,
  },
  fxattrop: {
    call: ({ fd, op, xattrs, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      op,
      xattrs,
      xdata,
    }),
    reply: xattrs,
  },
  fgetxattr: {
    call: ({ fd, name, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      ...optionalName(name),
      xdata,
    }),
    reply: xattrs,
  },
  fsetxattr: {
    call: ({ fd, flags, xattrs, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      flags,
      xattrs,
      xdata,
    }),
    reply: onlyXdata,
  },
  rchecksum: {
    call: ({ fd, offset, size, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      offset,
      size,
      flags: 0,
      xdata,
    }),
    reply: ({ weak, strong, flags, xdata }) => ({ weak, strong, flags, xdata }),
  },
  setattr: {
    call: ({ loc, stat, valid, xdata }) => ({ gfid: loc.inode.gfid, stat, valid, xdata }),
    reply: prePost,
  },
  fsetattr: {
    call: ({ fd, stat, valid, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      stat,
      valid,
      xdata,
    }),
    reply: prePost,
  },
  readdirp: {
    call: ({ fd, offset, size, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      offset,
      size,
      xdata,
    }),
    reply: (reply) => ({ entries: reply.entries, eof: isEnd(reply), xdata: reply.xdata }),
  },
  fremovexattr: {
    call: ({ fd, name, xdata }, number) => ({ gfid: fd.inode.gfid, fd: number(fd), name, xdata }),
    reply: onlyXdata,
  },
  fallocate: {
    call: ({ fd, keepSize, offset, size, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      keepSize: keepSize ? 1 : 0,
      offset,
      size,
      xdata,
    }),
    reply: prePost,
  },
  discard: { call: range, reply: prePost },
  zerofill: { call: range, reply: prePost },
  ipc: { call: ({ op, xdata }) => ({ op, xdata }), reply: onlyXdata },
  seek: {
    call: ({ fd, offset, what, xdata }, number) => ({
      gfid: fd.inode.gfid,
      fd: number(fd),
      offset,
      what: seekWhatNumber(what),
      xdata,
    }),
    reply: ({ offset, xdata }) => ({ offset, xdata }),
  },
  lease: {
    call: ({ loc, lease, xdata }) => ({ gfid: loc.inode.gfid, lease, xdata }),
    reply: ({ lease, xdata }) => ({ lease, xdata }),
  },
  getactivelk: {
    call: ({ loc, xdata }) => ({ gfid: loc.inode.gfid, xdata }),
    reply: ({ locks, xdata }) => ({ locks, xdata }),
  },
  setactivelk: {
    call: ({ loc, locks, xdata }) => ({ gfid: loc.inode.gfid, locks, xdata }),
    reply: onlyXdata,
  },
  icreate: { call: ({ loc, mode, xdata }) => ({ gfid: loc.inode.gfid, mode, xdata }), reply: statOnly },
  namelink: {
    call: ({ loc, xdata }) => ({ parentGfid: parentGfid(loc), name: nameOf(loc), xdata }),
    reply: parents,
  },
  put: {
    call: ({ loc, mode, umask, flags, data, offset, xattrs, xdata }) => ({
      parentGfid: parentGfid(loc),
      name: nameOf(loc),
      mode,
      umask,
      flags: toWireFlags(flags),
      offset,
      size: iovSize(data),
      xattrs,
      xdata,
    }),
    reply: newEntry,
  },
  copy_file_range: {
    call: ({ fdIn, offsetIn, fdOut, offsetOut, size, flags, xdata }, number) => ({
      gfidIn: fdIn.inode.gfid,
      gfidOut: fdOut.inode.gfid,
      fdIn: number(fdIn),
      fdOut: number(fdOut),
      offsetIn,
      offsetOut,
      size,
      flags,
      xdata,
    }),
    reply: ({ opRet, stat, pre, post, xdata }) => ({ size: opRet, stat, pre, post, xdata }),
  },
};

function fdOnly({ fd, xdata }: Args<"flush">, number: FdNumber): WireCall<"flush"> {
  return { gfid: fd.inode.gfid, fd: number(fd), xdata };
}

function range({ fd, offset, size, xdata }: Args<"discard">, number: FdNumber): WireCall<"discard"> {
  return { gfid: fd.inode.gfid, fd: number(fd), offset, size, xdata };
}

/** The wire says with a flag whether there is a name. */
function optionalName(name: string | undefined): { named: 0 | 1; name: string } {
  return name === undefined ? { named: 0, name: "" } : { named: 1, name };
}
