/**
 * RPC programs and procedure numbers (wire.md section 2), each number once.
 *
 * Fop procedures are keyed by fop name. Up to 40 they equal GlusterFS' fop enum, from 41 on they do not.
 */

import type { FopName } from "../core/fops.ts";

export interface Program {
  readonly number: number;
  readonly version: number;
  /** As DUMP lists it. */
  readonly name: string;
}

/** Lists the programs of a server and answers pings; every server has it. */
export const DUMP_PROGRAM: Program = { number: 123451501, version: 1, name: "GF-DUMP" };
/** SETVOLUME on bricks, GETSPEC on glusterd. */
export const HANDSHAKE_PROGRAM: Program = { number: 14398633, version: 2, name: "GlusterFS Handshake" };
/** Brick ports, on glusterd only: a server that lists it is taken for glusterd (wire.md 2.2). */
export const PORTMAP_PROGRAM: Program = { number: 34123456, version: 1, name: "Gluster Portmap" };
/** The fops; its number, not its version, is SETVOLUME's `fops-version`. */
export const FOP_PROGRAM: Program = { number: 1298437, version: 400, name: "GlusterFS 4.x v1" };
/** Calls of a server to its client, never answered. */
export const CALLBACK_PROGRAM: Program = { number: 52743234, version: 1, name: "GlusterFS Callback" };

export const DUMP_PROC = { DUMP: 1, PING: 2 } as const;

export const HANDSHAKE_PROC = {
  SETVOLUME: 1,
  GETSPEC: 2,
  PING: 3,
  SET_LK_VER: 4,
  EVENT_NOTIFY: 5,
  GET_VOLUME_INFO: 6,
  GET_SNAPSHOT_INFO: 7,
} as const;

export const PORTMAP_PROC = { PORTBYBRICK: 1, BRICKBYPORT: 2, SIGNUP: 3, SIGNIN: 4, SIGNOUT: 5 } as const;

export const CALLBACK_PROC = {
  FETCHSPEC: 1,
  INO_FLUSH: 2,
  EVENT_NOTIFY: 3,
  GET_SNAPS: 4,
  CACHE_INVALIDATION: 5,
  CHILD_UP: 6,
  CHILD_DOWN: 7,
  RECALL_LEASE: 8,
  STATEDUMP: 9,
  INODELK_CONTENTION: 10,
  ENTRYLK_CONTENTION: 11,
} as const;

/** What a client asks a brick for: the fops, and the end of an open file or directory. */
export type FopProcName = FopName | "release" | "releasedir";

/** 0 is NULL, 49 is COMPOUND: neither has a sender or a codec (wire.md 2.5). */
export const FOP_PROC = {
  stat: 1,
  readlink: 2,
  mknod: 3,
  mkdir: 4,
  unlink: 5,
  rmdir: 6,
  symlink: 7,
  rename: 8,
  link: 9,
  truncate: 10,
  open: 11,
  readv: 12,
  writev: 13,
  statfs: 14,
  flush: 15,
  fsync: 16,
  setxattr: 17,
  getxattr: 18,
  removexattr: 19,
  opendir: 20,
  fsyncdir: 21,
  access: 22,
  create: 23,
  ftruncate: 24,
  fstat: 25,
  lk: 26,
  lookup: 27,
  readdir: 28,
  inodelk: 29,
  finodelk: 30,
  entrylk: 31,
  fentrylk: 32,
  xattrop: 33,
  fxattrop: 34,
  fgetxattr: 35,
  fsetxattr: 36,
  rchecksum: 37,
  setattr: 38,
  fsetattr: 39,
  readdirp: 40,
  release: 41,
  releasedir: 42,
  fremovexattr: 43,
  fallocate: 44,
  discard: 45,
  zerofill: 46,
  ipc: 47,
  seek: 48,
  lease: 50,
  getactivelk: 51,
  setactivelk: 52,
  icreate: 53,
  namelink: 54,
  put: 55,
  copy_file_range: 56,
} as const satisfies Record<FopProcName, number>;
