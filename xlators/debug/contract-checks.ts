/**
 * What args and replies of every fop must look like. A check answers with what is wrong, or undefined. Fields
 * of the same name mean the same in all fops, so args are checked by field; replies by fop, so that a field
 * that is missing is found.
 */

import type { Call } from "../../src/core/call.ts";
import { Dict } from "../../src/core/dict.ts";
import type { Args, FopName, FopTypes, Reply } from "../../src/core/fops.ts";
import { isNullGfid } from "../../src/core/gfid.ts";
import { type Iatt, S_IFMT, ZERO_IATT } from "../../src/core/iatt.ts";
import { Fd, Inode, type Loc } from "../../src/core/inode.ts";
import { iovSize } from "../../src/core/iovec.ts";
import { KEY } from "../../src/core/keys.ts";

type Check = (value: unknown) => string | undefined;
type ArgField = { [F in FopName]: keyof FopTypes[F]["args"] }[FopName];
type ReplyFields<F extends FopName> = Record<Exclude<keyof FopTypes[F]["reply"], "xdata" | "lease">, Check>;

const natural: Check = (value) =>
  Number.isSafeInteger(value) && (value as number) >= 0 ? undefined : `is ${String(value)}, not a size`;
const whole: Check = (value) =>
  Number.isSafeInteger(value) ? undefined : `is ${String(value)}, not a number`;
const text: Check = (value) => (typeof value === "string" ? undefined : "is not text");
const flag: Check = (value) => (typeof value === "boolean" ? undefined : "is not a boolean");
const bytes: Check = (value) => (Buffer.isBuffer(value) ? undefined : "is not a buffer");
const dict: Check = (value) => (value instanceof Dict ? undefined : "is not a dict");
const list: Check = (value) => (Array.isArray(value) ? undefined : "is not a list");
const object: Check = (value) => (typeof value === "object" && value !== null ? undefined : "is no object");

const offset: Check = (value) => {
  if (typeof value !== "bigint") return natural(value);
  return value >= 0n && value < 1n << 64n ? undefined : `is ${value}, not a directory offset`;
};

const iovec: Check = (value) =>
  Array.isArray(value) && value.every((part) => Buffer.isBuffer(part))
    ? undefined
    : "is not a list of buffers";

const fd: Check = (value) => {
  if (!(value instanceof Fd)) return "is not an Fd";
  return value.anonymous && !value.inode.linked ? "is anonymous on an inode without a gfid" : undefined;
};

const loc: Check = (value) => {
  const { inode, parent, name } = value as Loc;
  if (!(inode instanceof Inode)) return "has no inode";
  if (name === undefined) return inode.linked || parent ? undefined : "has neither a name nor a gfid";
  if (typeof name !== "string" || name === "") return "has an empty name";
  return parent?.linked ? undefined : "has a name but no parent with a gfid";
};

/** An iatt with every field; ZERO_IATT is allowed, as early answers carry it. */
const anyIatt: Check = (value) => {
  const iatt = value as Iatt | undefined;
  if (!iatt) return "is missing";
  for (const key of Object.keys(ZERO_IATT) as (keyof Iatt)[])
    if (key === "gfid" ? iatt.gfid?.length !== 16 : !Number.isSafeInteger(iatt[key]))
      return `has ${key} ${String(iatt[key])}`;
  if (iatt.size < 0 || iatt.blocks < 0 || iatt.nlink < 0) return "has a negative size or count";
  const times = [iatt.atimeNsec, iatt.mtimeNsec, iatt.ctimeNsec];
  return times.some((nsec) => nsec < 0 || nsec > 999_999_999) ? "has nanoseconds beyond a second" : undefined;
};

/** An iatt of an inode that exists. */
const iatt: Check = (value) => {
  const fault = anyIatt(value);
  if (fault) return fault;
  if (isNullGfid((value as Iatt).gfid)) return "has no gfid";
  return ((value as Iatt).mode & S_IFMT) === 0 ? "has no file type" : undefined;
};

const ARGS: Record<ArgField, Check> = {
  loc,
  from: loc,
  to: loc,
  fd,
  fdIn: fd,
  fdOut: fd,
  size: natural,
  offset,
  offsetIn: natural,
  offsetOut: natural,
  mode: natural,
  umask: natural,
  rdev: natural,
  flags: whole,
  mask: natural,
  op: whole,
  valid: whole,
  datasync: flag,
  keepSize: flag,
  data: iovec,
  cached: (value) => (value === undefined ? undefined : object(value)),
  xattrs: dict,
  name: (value) => (value === undefined ? undefined : text(value)),
  target: text,
  volume: text,
  stat: object,
  flock: object,
  lease: object,
  locks: list,
  cmd: text,
  type: text,
  what: text,
  xdata: (value) => (value === undefined ? undefined : dict(value)),
};

const NOTHING = {};
const PRE_POST = { pre: anyIatt, post: anyIatt };
const PARENT = { preParent: anyIatt, postParent: anyIatt };
const NEW_ENTRY = { stat: iatt, ...PARENT };
const XATTRS = { xattrs: dict };

const REPLIES: { [F in FopName]: ReplyFields<F> } = {
  stat: { stat: iatt },
  readlink: { target: text, stat: anyIatt },
  mknod: NEW_ENTRY,
  mkdir: NEW_ENTRY,
  unlink: PARENT,
  rmdir: PARENT,
  symlink: NEW_ENTRY,
  rename: {
    stat: anyIatt,
    preOldParent: anyIatt,
    postOldParent: anyIatt,
    preNewParent: anyIatt,
    postNewParent: anyIatt,
  },
  link: NEW_ENTRY,
  truncate: PRE_POST,
  open: NOTHING,
  readv: { data: iovec, size: natural, stat: anyIatt, eof: flag },
  writev: { size: natural, ...PRE_POST },
  statfs: { statfs: object },
  flush: NOTHING,
  fsync: PRE_POST,
  setxattr: NOTHING,
  getxattr: XATTRS,
  removexattr: NOTHING,
  opendir: NOTHING,
  fsyncdir: NOTHING,
  access: NOTHING,
  create: NEW_ENTRY,
  ftruncate: PRE_POST,
  fstat: { stat: iatt },
  lk: { flock: object },
  lookup: { stat: iatt, postParent: anyIatt },
  readdir: { entries: list, eof: flag },
  inodelk: NOTHING,
  finodelk: NOTHING,
  entrylk: NOTHING,
  fentrylk: NOTHING,
  xattrop: XATTRS,
  fxattrop: XATTRS,
  fgetxattr: XATTRS,
  fsetxattr: NOTHING,
  rchecksum: { weak: natural, strong: bytes, flags: whole },
  setattr: PRE_POST,
  fsetattr: PRE_POST,
  readdirp: { entries: list, eof: flag },
  fremovexattr: NOTHING,
  fallocate: PRE_POST,
  discard: PRE_POST,
  zerofill: PRE_POST,
  ipc: NOTHING,
  seek: { offset: natural },
  lease: { lease: object },
  getactivelk: { locks: list },
  setactivelk: NOTHING,
  icreate: { stat: anyIatt },
  namelink: PARENT,
  put: NEW_ENTRY,
  copy_file_range: { size: natural, stat: anyIatt, ...PRE_POST },
};

/** Fops that must bring a gfid for what they make. */
const MAKES_INODE: ReadonlySet<FopName> = new Set(["mknod", "mkdir", "symlink", "create", "put"]);

export function callFault(call: Call): string | undefined {
  if (!Buffer.isBuffer(call.lkOwner)) return "the call has no lk-owner buffer";
  const numbers = [call.uid, call.gid, call.pid, ...call.groups];
  return numbers.every((number) => Number.isSafeInteger(number))
    ? undefined
    : "the call's ids are no numbers";
}

export function argsFault<F extends FopName>(fop: F, args: Args<F>): string | undefined {
  for (const [field, value] of Object.entries(args)) {
    const check = ARGS[field as ArgField];
    if (!check) return `args have an unknown field ${field}`;
    const fault = check(value);
    if (fault) return `args: ${field} ${fault}`;
  }
  if (MAKES_INODE.has(fop) && !args.xdata?.gfid(KEY.GFID_REQ)) return "args: xdata lacks gfid-req";
  return undefined;
}

export function replyFault<F extends FopName>(fop: F, args: Args<F>, reply: Reply<F>): string | undefined {
  if (typeof reply !== "object" || reply === null) return "the reply is no object";
  for (const [field, check] of Object.entries(REPLIES[fop]) as [string, Check][]) {
    const fault = check((reply as Record<string, unknown>)[field]);
    if (fault) return `reply: ${field} ${fault}`;
  }
  const { xdata } = reply as { xdata?: unknown };
  if (xdata !== undefined && !(xdata instanceof Dict)) return "reply: xdata is not a dict";
  return relationFault(fop, args, reply);
}

/** What must hold between args and reply, or between fields of a reply. */
function relationFault<F extends FopName>(fop: F, args: Args<F>, reply: Reply<F>): string | undefined {
  switch (fop as FopName) {
    case "readv":
      return readvFault(args as Args<"readv">, reply as Reply<"readv">);
    case "writev": {
      const { size } = reply as Reply<"writev">;
      const lent = iovSize((args as Args<"writev">).data);
      if (size > lent) return `reply: wrote ${size} of ${lent} bytes`;
      return size === 0 && lent > 0 ? "reply: wrote nothing without an error" : undefined;
    }
    case "readdir":
    case "readdirp":
      return entriesFault(args as Args<"readdir">, reply as Reply<"readdir">);
    default:
      return undefined;
  }
}

function readvFault(args: Args<"readv">, reply: Reply<"readv">): string | undefined {
  const { data, size, eof } = reply;
  if (iovSize(data) !== size) return `reply: size ${size}, but ${iovSize(data)} bytes of data`;
  if (size > args.size) return `reply: ${size} bytes, though ${args.size} were asked for`;
  return size < args.size && !eof ? `reply: ${size} of ${args.size} bytes and no end of file` : undefined;
}

function entriesFault(args: Args<"readdir">, reply: Reply<"readdir">): string | undefined {
  const seen = new Set<bigint>([args.offset]);
  for (const { name, offset: cookie } of reply.entries) {
    if (name === "" || name.includes("/")) return `reply: an entry is called ${JSON.stringify(name)}`;
    if (cookie === 0n || cookie === (1n << 64n) - 1n) return `reply: entry ${name} has offset ${cookie}`;
    if (seen.has(cookie)) return `reply: offset ${cookie} comes twice`;
    seen.add(cookie);
  }
  return reply.entries.length === 0 && !reply.eof ? "reply: no entries, yet not the end" : undefined;
}
