/**
 * RPC headers and credentials (RFC 5531 as GlusterFS uses it; wire.md 1.2 to 1.4).
 *
 * A message is written into an XdrWriter with room for its record mark; `finish` fills the mark in and takes
 * the bytes. Raw payload is not part of them: it is sent behind, and `finish` must be told its size.
 */

import type { Call, ClientIdentity } from "../core/call.ts";
import { LAST_FRAGMENT, MARK_BYTES } from "./record.ts";
import { XdrError, type XdrReader, type XdrWriter } from "./xdr.ts";

export const CALL = 0;
export const REPLY = 1;
const RPC_VERSION = 2;

const ACCEPTED = 0;
const DENIED = 1;

/** Accept status of a reply. */
export const ACCEPT = {
  SUCCESS: 0,
  PROG_UNAVAIL: 1,
  PROG_MISMATCH: 2,
  PROC_UNAVAIL: 3,
  GARBAGE_ARGS: 4,
  SYSTEM_ERR: 5,
} as const;
const ACCEPT_TEXTS = [
  "success",
  "program unknown",
  "program version unknown",
  "procedure unknown",
  "arguments not understood",
  "system error",
];
const RPC_MISMATCH = 0;
const AUTH_ERROR = 1;
/** Why of AUTH_ERROR: the caller must use something stronger. */
const AUTH_TOOWEAK = 5;

const FLAVOR_NONE = 0;
const FLAVOR_V1 = 5;
const FLAVOR_V2 = 390039;
const FLAVOR_V3 = 390040;
/** "none" is for callbacks only. */
export type CredentialVersion = "none" | "v2" | "v3";

const CREDENTIAL_BYTES_MAX = 400;
/** Groups plus bytes of the lock owner that fit; the C code adds these different things, so must we. */
const V2_GROUPS_AND_OWNER_MAX = 95;
const V3_GROUPS_AND_OWNER_MAX = 91;
const V1_GROUPS = 16;

/** Who may be named in a credential. A Call is one. */
export type Credential = Pick<Call, "uid" | "gid" | "pid" | "groups" | "lkOwner" | "time">;

/** Who asks on behalf of Mortar itself: handshakes, pings, portmap. */
export const SELF: Call = Object.freeze({ uid: 0, gid: 0, groups: [], pid: 0, lkOwner: Buffer.alloc(0) });

/**
 * Begins a call. Groups that do not fit are left out, as stock clients do; a lock owner that does not fit
 * throws XdrError.
 */
export function writeCallHead(
  w: XdrWriter,
  xid: number,
  program: { readonly number: number; readonly version: number },
  procedure: number,
  version: CredentialVersion,
  who: Credential,
): void {
  w.u32(0);
  w.u32(xid);
  w.u32(CALL);
  w.u32(RPC_VERSION);
  w.u32(program.number);
  w.u32(program.version);
  w.u32(procedure);
  if (version !== "none") writeCredential(w, version, who);
  else {
    w.u32(FLAVOR_NONE);
    w.u32(0);
  }
  w.u32(0);
  w.u32(0);
}

function writeCredential(w: XdrWriter, version: "v2" | "v3", who: Credential): void {
  const { lkOwner } = who;
  const v3 = version === "v3";
  w.u32(v3 ? FLAVOR_V3 : FLAVOR_V2);
  const lengthAt = w.length;
  w.u32(0);
  w.i32(who.pid);
  w.u32(who.uid);
  w.u32(who.gid);
  if (v3) {
    const { time } = who;
    w.u32(time ? time.flags : 0);
    w.u32(time ? time.nsec : 0);
    w.u64(time ? time.sec : 0);
  }
  const ownerBytes = lkOwner.length === 0 ? 4 : lkOwner.length;
  const groupsMax = (v3 ? V3_GROUPS_AND_OWNER_MAX : V2_GROUPS_AND_OWNER_MAX) - ownerBytes;
  if (groupsMax < 0)
    throw new XdrError(`rpc: lock owner of ${ownerBytes} bytes does not fit into a credential`);
  const { groups } = who;
  const count = Math.min(groups.length, groupsMax);
  w.u32(count);
  for (let i = 0; i < count; i++) w.u32(groups[i]!);
  if (lkOwner.length === 0) {
    w.u32(4);
    w.i32(byteSwapped(who.pid));
  } else w.opaque(lkOwner);
  w.patchU32(lengthAt, w.length - lengthAt - 4);
}

/** A frame without an owner has its pid for one, in little-endian order (wire.md 1.4). */
function byteSwapped(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** Begins a successful reply. */
export function writeReplyHead(w: XdrWriter, xid: number, status: number = ACCEPT.SUCCESS): void {
  w.u32(0);
  w.u32(xid);
  w.u32(REPLY);
  w.u32(ACCEPTED);
  w.u32(0);
  w.u32(0);
  w.u32(status);
}

/** A whole reply for a program of which the peer asked a version we lack. */
export function writeProgramMismatch(w: XdrWriter, xid: number, low: number, high: number): void {
  writeReplyHead(w, xid, ACCEPT.PROG_MISMATCH);
  w.u32(low);
  w.u32(high);
}

/** A whole reply for a call that is not RPC version 2, or whose credential is refused. */
export function writeDenied(w: XdrWriter, xid: number, why: "rpc-version" | "credential"): void {
  w.u32(0);
  w.u32(xid);
  w.u32(REPLY);
  w.u32(DENIED);
  if (why === "rpc-version") {
    w.u32(RPC_MISMATCH);
    w.u32(RPC_VERSION);
    w.u32(RPC_VERSION);
  } else {
    w.u32(AUTH_ERROR);
    w.u32(AUTH_TOOWEAK);
  }
}

/** The finished message with its mark; `payloadBytes` raw bytes will follow it. */
export function finish(w: XdrWriter, payloadBytes = 0): Buffer {
  const length = w.length - MARK_BYTES + payloadBytes;
  if (length >= LAST_FRAGMENT)
    throw new XdrError(`rpc: message of ${length} bytes is too large for one fragment`);
  w.patchU32(0, LAST_FRAGMENT + length);
  return w.take();
}

/** A call's header, decoded. */
export interface CallHead {
  readonly xid: number;
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly call: Call;
}

/** A call that is answered with a denial instead of being run. */
export class Denied extends Error {
  readonly xid: number;
  readonly why: "rpc-version" | "credential";
  constructor(xid: number, why: "rpc-version" | "credential", message: string) {
    super(message);
    this.xid = xid;
    this.why = why;
  }
}

/**
 * Reads a call's header up to its arguments, the message type included. Throws Denied for what deserves an
 * answer, XdrError for what does not. No credential means nobody, and an unknown flavor is denied; stock
 * bricks take both for root (wire.md
 * 1.4), but none of their clients sends such fops.
 */
export function readCallHead(r: XdrReader, client: ClientIdentity | undefined): CallHead {
  const xid = r.u32();
  if (r.u32() !== CALL) throw new XdrError("rpc: a reply where only calls may come");
  if (r.u32() !== RPC_VERSION) throw new Denied(xid, "rpc-version", "rpc version is not 2");
  const program = r.u32();
  const version = r.u32();
  const procedure = r.u32();
  const flavor = r.u32();
  const length = r.u32();
  if (length > CREDENTIAL_BYTES_MAX) throw new XdrError(`rpc: credential of ${length} bytes`);
  const end = r.offset + length;
  const call = readCredential(r, xid, flavor, client);
  if (r.offset > end) throw new XdrError("rpc: credential is longer than its length");
  r.offset = end;
  r.u32();
  r.opaque(CREDENTIAL_BYTES_MAX);
  return { xid, program, version, procedure, call };
}

const NOBODY: Call = Object.freeze({ uid: 65534, gid: 65534, groups: [], pid: 0, lkOwner: Buffer.alloc(0) });

function readCredential(r: XdrReader, xid: number, flavor: number, client: ClientIdentity | undefined): Call {
  switch (flavor) {
    case FLAVOR_V3:
    case FLAVOR_V2: {
      const pid = r.i32();
      const uid = r.u32();
      const gid = r.u32();
      const time = flavor === FLAVOR_V3 ? readTime(r) : undefined;
      const groups = readGroups(r);
      const lkOwner = r.opaqueCopy(CREDENTIAL_BYTES_MAX);
      return { uid, gid, groups, pid, lkOwner, client, time };
    }
    case FLAVOR_V1: {
      const lkOwner = Buffer.from(r.fixed(8));
      const pid = r.i32();
      const uid = r.u32();
      const gid = r.u32();
      const count = r.u32();
      if (count > V1_GROUPS) throw new XdrError(`rpc: ${count} groups in a credential of the first version`);
      const groups: number[] = [];
      for (let i = 0; i < V1_GROUPS; i++) {
        const group = r.u32();
        if (i < count) groups.push(group);
      }
      return { uid, gid, groups, pid, lkOwner, client, time: undefined };
    }
    case FLAVOR_NONE:
      return client ? { ...NOBODY, client } : NOBODY;
    default:
      throw new Denied(xid, "credential", `credential flavor ${flavor} is unknown`);
  }
}

function readTime(r: XdrReader): Call["time"] {
  const flags = r.u32();
  const nsec = r.u32();
  const sec = r.u64();
  return flags === 0 && sec === 0 ? undefined : { sec, nsec, flags };
}

const NO_GROUPS: readonly number[] = [];

function readGroups(r: XdrReader): readonly number[] {
  const count = r.u32();
  if (count === 0) return NO_GROUPS;
  if (count > V2_GROUPS_AND_OWNER_MAX) throw new XdrError(`rpc: ${count} groups in a credential`);
  const groups: number[] = [];
  for (let i = 0; i < count; i++) groups.push(r.u32());
  return groups;
}

/**
 * Reads a reply's header behind xid and type, up to the result. Gives why the call was not run, undefined
 * when it was.
 */
export function readReplyStatus(r: XdrReader): string | undefined {
  if (r.u32() !== ACCEPTED)
    return r.u32() === AUTH_ERROR ? "the credential was refused" : "rpc version mismatch";
  r.u32();
  r.opaque(CREDENTIAL_BYTES_MAX);
  const status = r.u32();
  return status === ACCEPT.SUCCESS ? undefined : (ACCEPT_TEXTS[status] ?? `accept status ${status}`);
}
