/**
 * The server's half of the fop table: the wire's call struct to arguments, a reply to the wire's reply struct
 * (wire.md 6, 8).
 *
 * Arguments come as a promise only when a gfid or a name has to be looked up first. Codecs know the bytes;
 * this file the meaning: what a gfid, an fd number, a flag stands for here, and the end markers of READ and
 * READDIR.
 */

import type { Call } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import { ERRNO, FopError } from "../../src/core/errors.ts";
import type { Args, Flock, FopName, Reply } from "../../src/core/fops.ts";
import type { Gfid } from "../../src/core/gfid.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";
import { Fd, Inode, type Loc } from "../../src/core/inode.ts";
import { type IoVec, iovSize } from "../../src/core/iovec.ts";
import { nameBytes } from "../../src/core/name.ts";
import { O_DIRECTORY } from "../../src/core/open-flags.ts";
import type { WireCall, WireReply } from "../../src/rpc/codec-fops.ts";
import {
  entrylkCommandOf,
  fromWireFlags,
  lkCommandOf,
  lockTypeOf,
  seekWhatOf,
} from "../../src/rpc/wire-values.ts";
import type { ServerSession } from "./server-session.ts";

/** What the pieces of one served call have to work with. */
export interface Served {
  readonly session: ServerSession;
  readonly call: Call;
  /** Raw bytes behind the call struct. */
  readonly payload: IoVec;
}

export interface ServerFop<F extends FopName> {
  /** The arguments, looked up as needed. Throws or rejects with FopError. */
  args(wire: WireCall<F>, served: Served): Args<F> | Promise<Args<F>>;
  /** The reply struct of a fop that succeeded, and what it makes known to the session. */
  reply(reply: Reply<F>, served: Served, args: Args<F>): WireReply<F>;
}

/** core's major * 2^32 + minor of a Linux dev_t (glibc's major and minor). */
export function rdevOf(dev: number): number {
  const low = dev % 2 ** 32;
  const high = Math.floor(dev / 2 ** 32);
  const major = ((low >>> 8) & 0xfff) + Math.floor(high / 2 ** 12) * 2 ** 12;
  const minor = (low & 0xff) + (low >>> 20) * 2 ** 8 + (high & 0xfff) * 2 ** 20;
  return major * 2 ** 32 + minor;
}

const OK = { opRet: 0, opErrno: 0 } as const;

type X = { readonly xdata?: Dict | undefined };

function common({ xdata }: X): WireReply<"flush"> {
  return { ...OK, xdata };
}

function statOnly({ stat, xdata }: Reply<"stat">, { session }: Served): WireReply<"stat"> {
  return { ...OK, xdata, stat: session.outward(stat) };
}

function prePost({ pre, post, xdata }: Reply<"fsync">, { session }: Served): WireReply<"fsync"> {
  return { ...OK, xdata, pre: session.outward(pre), post: session.outward(post) };
}

function parents(
  { preParent, postParent, xdata }: Reply<"unlink">,
  { session }: Served,
): WireReply<"unlink"> {
  return { ...OK, xdata, preParent: session.outward(preParent), postParent: session.outward(postParent) };
}

function newEntry(
  reply: Reply<"mkdir">,
  { session }: Served,
  args: { readonly loc: Loc },
): WireReply<"mkdir"> {
  const { stat, preParent, postParent, xdata } = reply;
  session.link(args.loc.inode, stat);
  return {
    ...OK,
    xdata,
    stat,
    preParent: session.outward(preParent),
    postParent: session.outward(postParent),
  };
}

/** Runs `build` with a value that is there or comes later. */
function then<A, B>(value: A | Promise<A>, build: (value: A) => B): B | Promise<B> {
  return value instanceof Promise ? value.then(build) : build(value);
}

/** Arguments of a fop by gfid. */
function byGfid<W extends { readonly gfid: Gfid }, A>(build: (loc: Loc, wire: W) => A) {
  return (wire: W, { session }: Served): A | Promise<A> =>
    then(session.inode(wire.gfid), (inode) => build({ inode }, wire));
}

/** Arguments of a fop on an fd. */
function byFd<W extends { readonly gfid: Gfid; readonly fd: number }, A>(build: (fd: Fd, wire: W) => A) {
  return (wire: W, { session }: Served): A | Promise<A> =>
    then(session.fd(wire.fd, wire.gfid), (fd) => build(fd, wire));
}

/** Arguments of a fop that makes an entry. */
function making<W extends { readonly parentGfid: Gfid; readonly name: string }, A>(
  build: (loc: Required<Loc>, wire: W, call: Call) => A,
) {
  return async (wire: W, { session, call }: Served): Promise<A> =>
    build(await session.entry(wire.parentGfid, wire.name), wire, call);
}

/** Arguments of a fop that takes an entry away. */
function removing<W extends { readonly parentGfid: Gfid; readonly name: string }, A>(
  build: (loc: Required<Loc>, wire: W) => A,
) {
  return async (wire: W, { session, call }: Served): Promise<A> =>
    build(await session.existing(call, wire.parentGfid, wire.name), wire);
}

/** The wire's value, or EINVAL when it has no meaning. */
function known<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new FopError("EINVAL", { message: `${what} is unknown` });
  return value;
}

function flockOf(wire: { readonly type: number; readonly flock: Flock }): Flock {
  return { ...wire.flock, type: known(lockTypeOf(wire.type), "lock type") };
}

function lkArgs(wire: { readonly cmd: number; readonly type: number; readonly flock: Flock }) {
  return { cmd: known(lkCommandOf(wire.cmd), "lock command"), flock: flockOf(wire) };
}

function entrylkArgs(wire: {
  readonly cmd: number;
  readonly type: number;
  readonly named: number;
  readonly name: string;
}) {
  const type = known(lockTypeOf(wire.type), "lock type");
  if (type === "unlck") throw new FopError("EINVAL", { message: "an entrylk is given back by its command" });
  return {
    cmd: known(entrylkCommandOf(wire.cmd), "lock command"),
    type,
    name: wire.named === 0 ? undefined : wire.name,
  };
}

function nameOf(wire: { readonly named: number; readonly name: string }): string | undefined {
  return wire.named === 0 || wire.name === "" ? undefined : wire.name;
}

function xattrsReply(reply: Reply<"getxattr">, size: number): WireReply<"getxattr"> {
  const { xattrs, xdata } = reply;
  return { opRet: size, opErrno: 0, xdata, xattrs, pre: ZERO_IATT, post: ZERO_IATT };
}

function sizeOf(xattrs: Dict, name: string | undefined): number {
  return name === undefined ? 0 : (xattrs.bytes(name)?.length ?? 0);
}

/**
 * After a create the fd and the table must mean the same file, also when it existed and is known by another
 * object.
 */
function linkCreated(session: ServerSession, fd: Fd, stat: Reply<"create">["stat"]): void {
  const { inode } = fd;
  const linked = session.link(inode, stat);
  if (linked === inode) return;
  inode.gfid = linked.gfid;
  inode.type = linked.type;
}

export const SERVER_FOPS: { readonly [F in FopName]: ServerFop<F> } = {
  stat: { args: byGfid((loc, { xdata }) => ({ loc, xdata })), reply: statOnly },
  readlink: {
    args: byGfid((loc, { size, xdata }) => ({ loc, size, xdata })),
    reply: ({ target, stat, xdata }) => ({ opRet: nameBytes(target), opErrno: 0, xdata, stat, target }),
  },
  mknod: {
    args: making((loc, { mode, dev, umask, xdata }) => ({ loc, mode, rdev: rdevOf(dev), umask, xdata })),
    reply: newEntry,
  },
  mkdir: { args: making((loc, { mode, umask, xdata }) => ({ loc, mode, umask, xdata })), reply: newEntry },
  unlink: { args: removing((loc, { flags, xdata }) => ({ loc, flags, xdata })), reply: parents },
  rmdir: { args: removing((loc, { flags, xdata }) => ({ loc, flags, xdata })), reply: parents },
  symlink: {
    args: making((loc, { target, umask, xdata }) => ({ loc, target, umask, xdata })),
    reply: newEntry,
  },
  rename: {
    async args({ oldParentGfid, newParentGfid, oldName, newName, xdata }, { session, call }) {
      const from = await session.existing(call, oldParentGfid, oldName);
      const to = await session.existingOrNew(call, newParentGfid, newName);
      return { from, to, xdata };
    },
    reply: ({ stat, preOldParent, postOldParent, preNewParent, postNewParent, xdata }, { session }) => ({
      ...OK,
      xdata,
      stat,
      preOldParent: session.outward(preOldParent),
      postOldParent: session.outward(postOldParent),
      preNewParent: session.outward(preNewParent),
      postNewParent: session.outward(postNewParent),
    }),
  },
  link: {
    async args({ gfid, newParentGfid, newName, xdata }, { session }) {
      const inode = await session.inode(gfid);
      const to = await session.entry(newParentGfid, newName);
      return { from: { inode }, to: { ...to, inode }, xdata };
    },
    reply: ({ stat, preParent, postParent, xdata }, { session }) => ({
      ...OK,
      xdata,
      stat,
      preParent: session.outward(preParent),
      postParent: session.outward(postParent),
    }),
  },
  truncate: { args: byGfid((loc, { offset, xdata }) => ({ loc, offset, xdata })), reply: prePost },
  open: {
    args: ({ gfid, flags: wireFlags, xdata }, { session, call }) => {
      session.checkRoom();
      const flags = fromWireFlags(wireFlags);
      return then(session.inode(gfid), (inode) => ({
        loc: { inode },
        fd: new Fd(inode, flags, call.pid),
        flags,
        xdata,
      }));
    },
    reply: ({ xdata }, { session }, { fd }) => ({ ...OK, xdata, fd: session.install(fd, false) }),
  },
  readv: {
    args({ fd: number, gfid, offset, size, flags, xdata }, { session }) {
      const fd = session.fd(number, gfid, flags);
      if (fd instanceof Promise) return fd.then((later) => ({ fd: later, offset, size, flags, xdata }));
      return { fd, offset, size, flags, xdata };
    },
    reply: ({ size, stat, eof, xdata }, { session }) => ({
      opRet: size,
      opErrno: eof ? ERRNO.ENOENT : 0,
      stat: session.outward(stat),
      size,
      xdata,
    }),
  },
  writev: {
    args({ fd: number, gfid, offset, size, flags, xdata }, { session, payload: data }) {
      if (iovSize(data) !== size)
        throw new FopError("EINVAL", { message: "a write whose size is not its payload's" });
      const fd = session.fd(number, gfid, flags);
      if (fd instanceof Promise) return fd.then((later) => ({ fd: later, data, offset, flags, xdata }));
      return { fd, data, offset, flags, xdata };
    },
    reply: ({ size, pre, post, xdata }, { session }) => ({
      opRet: size,
      opErrno: 0,
      xdata,
      pre: session.outward(pre),
      post: session.outward(post),
    }),
  },
  statfs: {
    args: byGfid((loc, { xdata }) => ({ loc, xdata })),
    reply: ({ statfs, xdata }) => ({ ...OK, xdata, statfs }),
  },
  flush: { args: byFd((fd, { xdata }) => ({ fd, xdata })), reply: common },
  fsync: {
    args: byFd((fd, { datasync, xdata }) => ({ fd, datasync: datasync !== 0, xdata })),
    reply: prePost,
  },
  setxattr: {
    args: byGfid((loc, { xattrs, flags, xdata }) => ({ loc, xattrs: xattrs ?? new Dict(), flags, xdata })),
    reply: common,
  },
  getxattr: {
    args: byGfid((loc, wire) => ({ loc, name: nameOf(wire), xdata: wire.xdata })),
    reply: (reply, _served, { name }) => xattrsReply(reply, sizeOf(reply.xattrs, name)),
  },
  removexattr: { args: byGfid((loc, { name, xdata }) => ({ loc, name, xdata })), reply: common },
  opendir: {
    args: ({ gfid, xdata }, { session, call }) => {
      session.checkRoom();
      return then(session.inode(gfid), (inode) => ({
        loc: { inode },
        fd: new Fd(inode, O_DIRECTORY, call.pid),
        xdata,
      }));
    },
    reply: ({ xdata }, { session }, { fd }) => ({ ...OK, xdata, fd: session.install(fd, true) }),
  },
  fsyncdir: {
    args: byFd((fd, { datasync, xdata }) => ({ fd, datasync: datasync !== 0, xdata })),
    reply: common,
  },
  access: { args: byGfid((loc, { mask, xdata }) => ({ loc, mask, xdata })), reply: common },
  create: {
    args: making((loc, { flags: wireFlags, mode, umask, xdata }, call) => {
      const flags = fromWireFlags(wireFlags);
      return { loc, fd: new Fd(loc.inode, flags, call.pid), flags, mode, umask, xdata };
    }),
    reply({ stat, preParent, postParent, xdata }, { session }, { fd }) {
      linkCreated(session, fd, stat);
      return {
        ...OK,
        xdata,
        stat,
        fd: session.install(fd, false),
        preParent: session.outward(preParent),
        postParent: session.outward(postParent),
      };
    },
  },
  ftruncate: { args: byFd((fd, { offset, xdata }) => ({ fd, offset, xdata })), reply: prePost },
  fstat: { args: byFd((fd, { xdata }) => ({ fd, xdata })), reply: statOnly },
  lk: {
    args: byFd((fd, wire) => ({ fd, ...lkArgs(wire), xdata: wire.xdata })),
    reply: ({ flock, xdata }) => ({ ...OK, xdata, flock }),
  },
  lookup: {
    async args({ gfid, parentGfid, name, xdata }, { session }) {
      if (name !== "") return { loc: await session.lookupEntry(parentGfid, name), xdata };
      return { loc: { inode: session.knownOrNew(gfid) }, xdata };
    },
    reply({ stat, postParent, xdata }, { session }, { loc }) {
      session.link(loc.inode, stat);
      return { ...OK, xdata, stat: session.outward(stat), postParent: session.outward(postParent) };
    },
  },
  readdir: {
    args: byFd((fd, { size, offset, xdata }) => ({ fd, size, offset, xdata })),
    reply: ({ entries, eof, xdata }) => ({
      opRet: entries.length,
      opErrno: eof ? ERRNO.ENOENT : 0,
      xdata,
      entries,
    }),
  },
  inodelk: {
    args: byGfid((loc, wire) => ({ loc, volume: wire.volume, ...lkArgs(wire), xdata: wire.xdata })),
    reply: common,
  },
  finodelk: {
    args: byFd((fd, wire) => ({ fd, volume: wire.volume, ...lkArgs(wire), xdata: wire.xdata })),
    reply: common,
  },
  entrylk: {
    args: byGfid((loc, wire) => ({ loc, volume: wire.volume, ...entrylkArgs(wire), xdata: wire.xdata })),
    reply: common,
  },
  fentrylk: {
    args: byFd((fd, wire) => ({ fd, volume: wire.volume, ...entrylkArgs(wire), xdata: wire.xdata })),
    reply: common,
  },
  xattrop: {
    args: byGfid((loc, { op, xattrs, xdata }) => ({ loc, op, xattrs: xattrs ?? new Dict(), xdata })),
    reply: (reply) => xattrsReply(reply, 0),
  },
  fxattrop: {
    args: byFd((fd, { op, xattrs, xdata }) => ({ fd, op, xattrs: xattrs ?? new Dict(), xdata })),
    reply: (reply) => xattrsReply(reply, 0),
  },
  fgetxattr: {
    args: byFd((fd, wire) => ({ fd, name: nameOf(wire), xdata: wire.xdata })),
    reply: (reply, _served, { name }) => xattrsReply(reply, sizeOf(reply.xattrs, name)),
  },
  fsetxattr: {
    args: byFd((fd, { xattrs, flags, xdata }) => ({ fd, xattrs: xattrs ?? new Dict(), flags, xdata })),
    reply: common,
  },
  rchecksum: {
    args: byFd((fd, { offset, size, xdata }) => ({ fd, offset, size, xdata })),
    reply: ({ weak, strong, flags, xdata }) => ({ ...OK, xdata, flags, weak, strong }),
  },
  setattr: { args: byGfid((loc, { stat, valid, xdata }) => ({ loc, stat, valid, xdata })), reply: prePost },
  fsetattr: { args: byFd((fd, { stat, valid, xdata }) => ({ fd, stat, valid, xdata })), reply: prePost },
  readdirp: {
    args: byFd((fd, { size, offset, xdata }) => ({ fd, size, offset, xdata })),
    reply({ entries, eof, xdata }, { session }) {
      for (const { name, stat } of entries)
        if (name !== "." && name !== "..") session.link(new Inode(), stat);
      return { opRet: entries.length, opErrno: eof ? ERRNO.ENOENT : 0, xdata, entries };
    },
  },
  fremovexattr: { args: byFd((fd, { name, xdata }) => ({ fd, name, xdata })), reply: common },
  fallocate: {
    args: byFd((fd, { keepSize, offset, size, xdata }) => ({
      fd,
      keepSize: keepSize !== 0,
      offset,
      size,
      xdata,
    })),
    reply: prePost,
  },
  discard: { args: byFd((fd, { offset, size, xdata }) => ({ fd, offset, size, xdata })), reply: prePost },
  zerofill: { args: byFd((fd, { offset, size, xdata }) => ({ fd, offset, size, xdata })), reply: prePost },
  ipc: { args: ({ op, xdata }) => ({ op, xdata }), reply: common },
  seek: {
    args: byFd((fd, { offset, what, xdata }) => ({
      fd,
      offset,
      what: known(seekWhatOf(what), "seek"),
      xdata,
    })),
    reply: ({ offset, xdata }) => ({ ...OK, xdata, offset }),
  },
  lease: {
    args: byGfid((loc, { lease, xdata }) => ({ loc, lease, xdata })),
    reply: ({ lease, xdata }) => ({ ...OK, xdata, lease }),
  },
  getactivelk: {
    args: byGfid((loc, { xdata }) => ({ loc, xdata })),
    reply: ({ locks, xdata }) => ({ opRet: locks.length, opErrno: 0, xdata, locks }),
  },
  setactivelk: { args: byGfid((loc, { locks, xdata }) => ({ loc, locks, xdata })), reply: common },
  icreate: {
    args: ({ gfid, mode, xdata }) => ({ loc: { inode: new Inode(gfid) }, mode, xdata }),
    reply: statOnly,
  },
  namelink: {
    args: making((loc, { xdata }) => ({ loc, xdata })),
    reply: parents,
  },
  put: {
    args: async (
      { parentGfid, name, mode, umask, flags, offset, size, xattrs, xdata },
      { session, payload: data },
    ) => {
      if (iovSize(data) !== size)
        throw new FopError("EINVAL", { message: "a put whose size is not its payload's" });
      const loc = await session.entry(parentGfid, name);
      const values = xattrs ?? new Dict();
      return { loc, mode, umask, flags: fromWireFlags(flags), data, offset, xattrs: values, xdata };
    },
    reply: newEntry,
  },
  copy_file_range: {
    async args({ gfidIn, gfidOut, fdIn, fdOut, offsetIn, offsetOut, size, flags, xdata }, { session }) {
      const [from, to] = [await session.fd(fdIn, gfidIn), await session.fd(fdOut, gfidOut)];
      return { fdIn: from, offsetIn, fdOut: to, offsetOut, size, flags, xdata };
    },
    reply: ({ size, stat, pre, post, xdata }) => ({ opRet: size, opErrno: 0, xdata, stat, pre, post }),
  },
};
