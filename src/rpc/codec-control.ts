/**
 * Structs of everything but fops: dump and ping, handshake, portmap, callbacks (wire.md 2.2, 2.3, 2.4, 2.6).
 *
 * Dicts here are the untyped ones, on v400 connections too, and cache invalidations carry the old attributes.
 */

import { LEGACY_DICT_BYTES_MAX, legacyDict } from "./dict-codec.ts";
import { flock, legacyIatt, TEXT_BYTES_MAX } from "./structs.ts";
import { fixed, gfid, i32, list, opaque, str, struct, u32, u64, type XdrType } from "./xdr.ts";

/** A volfile as GETSPEC sends it; a volume takes about a kilobyte a brick. */
export const VOLFILE_BYTES_MAX = 16 * 1024 * 1024;
/** Programs in a DUMP reply; stock servers list eight. */
const PROGRAMS_MAX = 256;

const text = str(TEXT_BYTES_MAX);
const dict = legacyDict;
const opRet = i32;
const opErrno = i32;

/** No fields. */
export const nothing: XdrType<Record<never, never>> = { read: () => ({}), write: () => {} };

/** opRet and opErrno, nothing more. */
export const statusReply = struct({ opRet, opErrno });

/** DUMP: `gfsId` means nothing; stock servers answer 0. */
export const dumpCall = struct({ gfsId: u64 });
export const dumpReply = struct({
  gfsId: u64,
  opRet,
  opErrno,
  programs: list(struct({ name: text, number: u64, version: u64 }), PROGRAMS_MAX),
});
/** What clients send in DUMP. */
export const DUMP_GFS_ID = 0xcaed;

/** PING, of the dump program and of the handshake: the call is empty. */
export const pingReply = struct({ opRet, opErrno, xdata: opaque(LEGACY_DICT_BYTES_MAX) });

export const setvolumeCall = struct({ dict });
export const setvolumeReply = struct({ opRet, opErrno, dict });

/** GETSPEC: `flags` 1 asks for the list of volfile servers. */
export const getspecCall = struct({ flags: u32, key: text, xdata: dict });
/** `opRet` is the length of the volfile in bytes; after a failure `spec` is empty. */
export const getspecReply = struct({ opRet, opErrno, spec: str(VOLFILE_BYTES_MAX), xdata: dict });

export const setLkVerCall = struct({ uid: text, lkVersion: i32 });
export const setLkVerReply = struct({ opRet, opErrno, lkVersion: i32 });

export const eventNotifyCall = struct({ op: i32, dict });
export const eventNotifyReply = struct({ opRet, opErrno, dict });

/** GET_VOLUME_INFO and GET_SNAPSHOT_INFO. */
export const volumeInfoCall = struct({ dict });
export const volumeInfoReply = struct({ opRet, opErrno, error: text, dict });

/** `brick` is the brick's path. */
export const portByBrickCall = struct({ brick: text });
/** `opRet` -1 and port 0 for a brick that glusterd does not know. `status` is unused. */
export const portByBrickReply = struct({ opRet, opErrno, status: i32, port: i32 });

/** Sent by a brick process when it listens; answered with `statusReply`. */
export const signinCall = struct({ brick: text, port: i32, pid: i32 });
export const signoutCall = struct({ brick: text, port: i32, rdmaPort: i32 });

/** Callbacks without a body: FETCHSPEC, GET_SNAPS, CHILD_UP, CHILD_DOWN use `nothing`. */
export const cacheInvalidation = struct({
  /** 36 characters of text, not sixteen bytes. */
  gfid: text,
  eventType: u32,
  flags: u32,
  expireSec: u32,
  stat: legacyIatt,
  parentStat: legacyIatt,
  oldParentStat: legacyIatt,
  xdata: dict,
});
export const recallLease = struct({ gfid, leaseType: u32, tid: fixed(16), xdata: dict });
export const statedump = struct({ pid: u32 });
export const inodelkContention = struct({ gfid, flock, pid: u32, domain: text, xdata: dict });
export const entrylkContention = struct({ gfid, type: u32, pid: u32, name: text, domain: text, xdata: dict });
