/**
 * Every procedure of the fop program (1298437 v400) as a table: number, call struct, reply struct (wire.md
 * section 6).
 *
 * Client and server share the table. Fields are in wire order and named as core's fops name them; numbers
 * stay numbers (flags, commands: see wire-values.ts). Where a payload belongs to a message it follows the
 * struct and is not part of it: the reader's offset is where it begins, it ends with the record.
 *
 * A failed call is answered with the whole struct, zeros but for opRet, opErrno and xdata: see `zeroReply`.
 * Traps of the wire (order of UNLINK and RMDIR, fd between attributes in CREATE, 64-bit dev of MKNOD) live
 * here and nowhere else.
 */

import { Dict } from "../core/dict.ts";
import type { DirentPlus } from "../core/fops.ts";
import { DICT_HEADER_BYTES, dict, payloadDict } from "./dict-codec.ts";
import { FOP_PROC, type FopProcName } from "./programs.ts";
import { activeLock, dirent, flock, iatt, lease, readEntryIatt, statfs, TEXT_BYTES_MAX } from "./structs.ts";
import {
  gfid,
  i32,
  i64,
  list,
  opaque,
  padded,
  str,
  struct,
  u32,
  u64,
  u64n,
  XdrReader,
  type XdrType,
  type XdrValue,
} from "./xdr.ts";

/** Entries of one READDIR or READDIRP reply. */
export const DIRENTS_MAX = 65_536;
/** Locks of one GETACTIVELK reply or SETACTIVELK call. */
export const ACTIVE_LOCKS_MAX = 65_536;
/** Strong checksum of RCHECKSUM: 16 or 32 bytes today. */
const CHECKSUM_BYTES_MAX = 64;

const text = str(TEXT_BYTES_MAX);
/** Remote fd numbers; -1 none, -2 anonymous (wire.md 10.1). */
const fd = i64;
const xdata = dict;
const opRet = i32;
const opErrno = i32;

const direntPlus: XdrType<DirentPlus> = {
  read(r) {
    const entry = dirent.read(r);
    const stat = readEntryIatt(r);
    const xattrs = dict.read(r);
    return { ...entry, stat, ...(xattrs && { xattrs }) };
  },
  write(w, entry) {
    dirent.write(w, entry);
    iatt.write(w, entry.stat);
    dict.write(w, entry.xattrs);
  },
};

const common = struct({ opRet, opErrno, xdata });
const oneIatt = struct({ opRet, opErrno, xdata, stat: iatt });
const prePost = struct({ opRet, opErrno, xdata, pre: iatt, post: iatt });
const parentPrePost = struct({ opRet, opErrno, xdata, preParent: iatt, postParent: iatt });
const newEntry = struct({ opRet, opErrno, xdata, stat: iatt, preParent: iatt, postParent: iatt });
const opened = struct({ opRet, opErrno, xdata, fd });
const xattrs = struct({ opRet, opErrno, xdata, xattrs: dict, pre: iatt, post: iatt });

const fdOnly = struct({ gfid, fd, xdata });
const fdRange = struct({ gfid, fd, offset: u64, size: u64, xdata });
const readdirCall = struct({ gfid, fd, offset: u64n, size: u32, xdata });

/** Number, call, reply, and whether raw bytes follow one of them. */
function codec<P extends number, C, R>(
  proc: P,
  call: XdrType<C>,
  reply: XdrType<R>,
  payload: "call" | "reply" | "none" = "none",
) {
  return {
    proc,
    call,
    reply,
    callPayload: payload === "call",
    replyPayload: payload === "reply",
    zeroReply: zeroOf(reply),
  };
}

/** The longest fixed reply, RENAME's, has 760 bytes. */
const ZEROS = Buffer.alloc(1024);

/**
 * All zero bytes are a value of every reply struct: no text, no entries, no attributes. Dicts become NULL,
 * nothing is shared.
 */
function zeroOf<T>(type: XdrType<T>): T {
  const zero = type.read(new XdrReader(ZEROS));
  for (const [name, value] of Object.entries(zero as object))
    if (value instanceof Dict) (zero as Record<string, unknown>)[name] = undefined;
  return Object.freeze(zero);
}

const CODECS = {
  stat: codec(FOP_PROC.stat, struct({ gfid, xdata }), oneIatt),
  readlink: codec(
    FOP_PROC.readlink,
    struct({ gfid, size: u32, xdata }),
    struct({ opRet, opErrno, xdata, stat: iatt, target: text }),
  ),
  mknod: codec(
    FOP_PROC.mknod,
    struct({ parentGfid: gfid, dev: u64, mode: u32, umask: u32, name: text, xdata }),
    newEntry,
  ),
  mkdir: codec(
    FOP_PROC.mkdir,
    struct({ parentGfid: gfid, mode: u32, umask: u32, name: text, xdata }),
    newEntry,
  ),
  unlink: codec(FOP_PROC.unlink, struct({ parentGfid: gfid, name: text, flags: u32, xdata }), parentPrePost),
  rmdir: codec(FOP_PROC.rmdir, struct({ parentGfid: gfid, flags: i32, name: text, xdata }), parentPrePost),
  symlink: codec(
    FOP_PROC.symlink,
    struct({ parentGfid: gfid, name: text, umask: u32, target: text, xdata }),
    newEntry,
  ),
  rename: codec(
    FOP_PROC.rename,
    struct({ oldParentGfid: gfid, newParentGfid: gfid, oldName: text, newName: text, xdata }),
    struct({
      opRet,
      opErrno,
      xdata,
      stat: iatt,
      preOldParent: iatt,
      postOldParent: iatt,
      preNewParent: iatt,
      postNewParent: iatt,
    }),
  ),
  /** `gfid` is the file, not a parent. */
  link: codec(FOP_PROC.link, struct({ gfid, newParentGfid: gfid, newName: text, xdata }), newEntry),
  truncate: codec(FOP_PROC.truncate, struct({ gfid, offset: u64, xdata }), prePost),
  open: codec(FOP_PROC.open, struct({ gfid, flags: u32, xdata }), opened),
  readv: codec(
    FOP_PROC.readv,
    struct({ gfid, fd, offset: u64, size: u32, flags: u32, xdata }),
    struct({ opRet, opErrno, stat: iatt, size: u32, xdata: payloadDict }),
    "reply",
  ),
  writev: codec(
    FOP_PROC.writev,
    struct({ gfid, fd, offset: u64, size: u32, flags: u32, xdata: payloadDict }),
    prePost,
    "call",
  ),
  statfs: codec(FOP_PROC.statfs, struct({ gfid, xdata }), struct({ opRet, opErrno, xdata, statfs })),
  flush: codec(FOP_PROC.flush, fdOnly, common),
  fsync: codec(FOP_PROC.fsync, struct({ gfid, fd, datasync: u32, xdata }), prePost),
  setxattr: codec(FOP_PROC.setxattr, struct({ gfid, flags: u32, xattrs: dict, xdata }), common),
  /** `named` is 0 for all names, else 1 (the wire calls it namelen). */
  getxattr: codec(FOP_PROC.getxattr, struct({ gfid, named: u32, name: text, xdata }), xattrs),
  removexattr: codec(FOP_PROC.removexattr, struct({ gfid, name: text, xdata }), common),
  opendir: codec(FOP_PROC.opendir, struct({ gfid, xdata }), opened),
  fsyncdir: codec(FOP_PROC.fsyncdir, struct({ gfid, fd, datasync: i32, xdata }), common),
  access: codec(FOP_PROC.access, struct({ gfid, mask: u32, xdata }), common),
  create: codec(
    FOP_PROC.create,
    struct({ parentGfid: gfid, flags: u32, mode: u32, umask: u32, name: text, xdata }),
    struct({ opRet, opErrno, xdata, stat: iatt, fd, preParent: iatt, postParent: iatt }),
  ),
  ftruncate: codec(FOP_PROC.ftruncate, struct({ gfid, fd, offset: u64, xdata }), prePost),
  fstat: codec(FOP_PROC.fstat, fdOnly, oneIatt),
  lk: codec(
    FOP_PROC.lk,
    struct({ gfid, fd, cmd: u32, type: u32, flock, xdata }),
    struct({ opRet, opErrno, xdata, flock }),
  ),
  lookup: codec(
    FOP_PROC.lookup,
    struct({ gfid, parentGfid: gfid, flags: u32, name: text, xdata }),
    struct({ opRet, opErrno, xdata, stat: iatt, postParent: iatt }),
  ),
  readdir: codec(
    FOP_PROC.readdir,
    readdirCall,
    struct({ opRet, opErrno, xdata, entries: list(dirent, DIRENTS_MAX) }),
  ),
  inodelk: codec(FOP_PROC.inodelk, struct({ gfid, cmd: u32, type: u32, flock, volume: text, xdata }), common),
  finodelk: codec(
    FOP_PROC.finodelk,
    struct({ gfid, fd, cmd: u32, type: u32, flock, volume: text, xdata }),
    common,
  ),
  /** `named` is 0 for the whole directory, else 1. */
  entrylk: codec(
    FOP_PROC.entrylk,
    struct({ gfid, cmd: u32, type: u32, named: u64, name: text, volume: text, xdata }),
    common,
  ),
  fentrylk: codec(
    FOP_PROC.fentrylk,
    struct({ gfid, fd, cmd: u32, type: u32, named: u64, name: text, volume: text, xdata }),
    common,
  ),
  xattrop: codec(FOP_PROC.xattrop, struct({ gfid, op: u32, xattrs: dict, xdata }), xattrs),
  fxattrop: codec(FOP_PROC.fxattrop, struct({ gfid, fd, op: u32, xattrs: dict, xdata }), xattrs),
  fgetxattr: codec(FOP_PROC.fgetxattr, struct({ gfid, fd, named: u32, name: text, xdata }), xattrs),
  fsetxattr: codec(FOP_PROC.fsetxattr, struct({ gfid, fd, flags: u32, xattrs: dict, xdata }), common),
  rchecksum: codec(
    FOP_PROC.rchecksum,
    struct({ gfid, fd, offset: u64, size: u32, flags: u32, xdata }),
    struct({ opRet, opErrno, xdata, flags: u32, weak: u32, strong: opaque(CHECKSUM_BYTES_MAX) }),
  ),
  /** `valid` may be -1, all bits. */
  setattr: codec(FOP_PROC.setattr, struct({ gfid, stat: iatt, valid: i32, xdata }), prePost),
  fsetattr: codec(FOP_PROC.fsetattr, struct({ gfid, fd, stat: iatt, valid: i32, xdata }), prePost),
  readdirp: codec(
    FOP_PROC.readdirp,
    readdirCall,
    struct({ opRet, opErrno, xdata, entries: list(direntPlus, DIRENTS_MAX) }),
  ),
  release: codec(FOP_PROC.release, fdOnly, common),
  releasedir: codec(FOP_PROC.releasedir, fdOnly, common),
  fremovexattr: codec(FOP_PROC.fremovexattr, struct({ gfid, fd, name: text, xdata }), common),
  /** `keepSize` is 0 or not 0 (the wire calls it flags). */
  fallocate: codec(
    FOP_PROC.fallocate,
    struct({ gfid, fd, keepSize: u32, offset: u64, size: u64, xdata }),
    prePost,
  ),
  discard: codec(FOP_PROC.discard, fdRange, prePost),
  zerofill: codec(FOP_PROC.zerofill, fdRange, prePost),
  ipc: codec(FOP_PROC.ipc, struct({ op: i32, xdata }), common),
  seek: codec(
    FOP_PROC.seek,
    struct({ gfid, fd, offset: u64, what: i32, xdata }),
    struct({ opRet, opErrno, xdata, offset: u64 }),
  ),
  lease: codec(FOP_PROC.lease, struct({ gfid, lease, xdata }), struct({ opRet, opErrno, xdata, lease })),
  getactivelk: codec(
    FOP_PROC.getactivelk,
    struct({ gfid, xdata }),
    struct({ opRet, opErrno, xdata, locks: list(activeLock, ACTIVE_LOCKS_MAX) }),
  ),
  setactivelk: codec(
    FOP_PROC.setactivelk,
    struct({ gfid, locks: list(activeLock, ACTIVE_LOCKS_MAX), xdata }),
    common,
  ),
  icreate: codec(FOP_PROC.icreate, struct({ gfid, mode: u32, xdata }), oneIatt),
  namelink: codec(FOP_PROC.namelink, struct({ parentGfid: gfid, name: text, xdata }), parentPrePost),
  put: codec(
    FOP_PROC.put,
    struct({
      parentGfid: gfid,
      name: text,
      mode: u32,
      umask: u32,
      flags: u32,
      offset: u64,
      size: u32,
      xattrs: dict,
      xdata: payloadDict,
    }),
    newEntry,
    "call",
  ),
  /** The result's attributes before and after are those of the destination. */
  copy_file_range: codec(
    FOP_PROC.copy_file_range,
    struct({
      gfidIn: gfid,
      gfidOut: gfid,
      fdIn: fd,
      fdOut: fd,
      offsetIn: u64,
      offsetOut: u64,
      size: u32,
      flags: u32,
      xdata,
    }),
    struct({ opRet, opErrno, xdata, stat: iatt, pre: iatt, post: iatt }),
  ),
} as const satisfies Record<FopProcName, unknown>;

/** What a call of a procedure holds, fields in wire order. */
export type WireCall<F extends FopProcName> = XdrValue<(typeof CODECS)[F]["call"]>;
/** What its reply holds. */
export type WireReply<F extends FopProcName> = XdrValue<(typeof CODECS)[F]["reply"]>;

export interface FopCodec<F extends FopProcName> {
  /** Procedure number. */
  readonly proc: number;
  readonly call: XdrType<WireCall<F>>;
  readonly reply: XdrType<WireReply<F>>;
  /** Raw bytes follow the call struct. */
  readonly callPayload: boolean;
  /** Raw bytes follow the reply struct. */
  readonly replyPayload: boolean;
  /** The reply with every field zero or empty, frozen; a failure spreads it. */
  readonly zeroReply: WireReply<F>;
}

export const FOP_CODECS: { readonly [F in FopProcName]: FopCodec<F> } = CODECS;

/** Procedure number to name, for dispatch; undefined for NULL, COMPOUND and what nobody knows. */
export const PROC_TO_FOP: readonly (FopProcName | undefined)[] = byProc();

function byProc(): (FopProcName | undefined)[] {
  const names = new Array<FopProcName | undefined>(Math.max(...Object.values(FOP_PROC)) + 1);
  for (const name of Object.keys(FOP_PROC) as FopProcName[]) names[FOP_PROC[name]] = name;
  return names;
}

/** Bytes of a WRITE call struct, and of a READ reply struct, with no pairs in xdata (wire.md 1.6). */
export const WRITE_CALL_BYTES = 52;
export const READ_REPLY_BYTES = 172;

/**
 * Bytes of the pairs that follow a WRITE call or READ reply whose fixed part (`fixedBytes` long) begins at
 * `start`; for a receiver that wants to know where the payload begins before all of the record is there.
 */
export function pairsBytesAt(buffer: Buffer, start: number, fixedBytes: number): number {
  return padded(buffer.readUInt32BE(start + fixedBytes - DICT_HEADER_BYTES));
}
