/**
 * Call: who asks. It travels with every fop unchanged, from the edge to the brick (spec translators.md 1.3).
 */

/** The connection a request came in on, as lock owners and open fds are told apart by it (wire.md 10.2). */
export interface ClientIdentity {
  /** process-uuid of SETVOLUME, or a name for an in-process caller. Unique a connection. */
  readonly id: string;
  /** `opversion` it announced; 0 when it did not. */
  readonly opVersion: number;
}

/** Which times the brick shall take from `Call.time` (wire.md 7.9). */
export const TIME_FLAGS = {
  CTIME: 1,
  MTIME: 2,
  ATIME: 4,
  PARENT_CTIME: 8,
  PARENT_MTIME: 0x10,
  PARENT_ATIME: 0x20,
} as const;

export interface Call {
  readonly uid: number;
  readonly gid: number;
  /** Auxiliary groups. */
  readonly groups: readonly number[];
  /** Caller's pid; negative for internal callers (wire.md 7.8). */
  readonly pid: number;
  /** Opaque, compared by length and bytes; empty when the caller has none. */
  readonly lkOwner: Buffer;
  /** Undefined above protocol/server; bricks see the connection here. */
  readonly client?: ClientIdentity | undefined;
  /** Aborted when the caller gave up: only waits for locks and connections honour it. */
  readonly signal?: AbortSignal | undefined;
  /** Client's time of the operation and TIME_FLAGS, when the ctime feature is on. */
  readonly time?: { readonly sec: number; readonly nsec: number; readonly flags: number } | undefined;
}

/**
 * The same call at a time. Field by field: a spread of calls that were made in several ways is read slowly by
 * everybody below.
 */
export function stampedCall(call: Call, time: NonNullable<Call["time"]>): Call {
  const { uid, gid, groups, pid, lkOwner, client, signal } = call;
  return { uid, gid, groups, pid, lkOwner, client, signal, time };
}

const NO_OWNER = Buffer.alloc(0);

/** Root, for what Mortar does on its own behalf; `pid` names the kind of internal caller. */
export function internalCall(pid = 0, client?: ClientIdentity): Call {
  return { uid: 0, gid: 0, groups: [], pid, lkOwner: NO_OWNER, client };
}
