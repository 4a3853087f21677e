/**
 * GETLK, SETLK, SETLKW and INTERRUPT: POSIX, OFD and flock locks, all of them `lk` fops held on the bricks.
 *
 * The kernel names an owner by 64 bits: for POSIX locks the process's file table, for OFD and flock the open
 * file. A lock wait is given up when the kernel interrupts it (a signal to the waiting process).
 */

import type { Call } from "../../src/core/call.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Flock, LkCommand, LockType } from "../../src/core/fops.ts";
import { F_RDLCK, F_UNLCK, F_WRLCK, IN, LK_OUT_BYTES, putU64n, u64, u64n } from "../dev-fuse/protocol.ts";
import { BODY, type KernelRequest } from "../dev-fuse/request.ts";
import type { FileHandle } from "../handles.ts";
import type { MountState } from "../state.ts";

/** The kernel's "until the end of the file", inclusive. */
const OFFSET_MAX = 2n ** 63n - 1n;
const TYPES: readonly LockType[] = ["rdlck", "wrlck", "unlck"];
const TYPE_NUMBER: Readonly<Record<LockType, number>> = { rdlck: F_RDLCK, wrlck: F_WRLCK, unlck: F_UNLCK };

export async function getlk(state: MountState, request: KernelRequest): Promise<number> {
  const { handle, call, flock } = lockRequest(state, request);
  const { flock: found } = await state.top.lk(call, { fd: handle.fd, cmd: "getlk", flock });
  putLock(request, found);
  return LK_OUT_BYTES;
}

export async function setlk(state: MountState, request: KernelRequest): Promise<number> {
  const { handle, call, flock } = lockRequest(state, request);
  await lock(state, handle, call, "setlk", flock);
  return 0;
}

export async function setlkw(state: MountState, request: KernelRequest): Promise<number> {
  const { handle, call, flock } = lockRequest(state, request);
  const { unique } = request;
  const waiting = new AbortController();
  state.lockWaits.set(unique, waiting);
  try {
    await lock(state, handle, { ...call, signal: waiting.signal }, "setlkw", flock);
  } finally {
    state.lockWaits.delete(unique);
  }
  return 0;
}

/** Ends a lock wait; anything else the kernel may interrupt settles by itself, and no answer is expected. */
export function interrupt(state: MountState, request: KernelRequest): void {
  state.lockWaits.get(u64(request.words, IN.interrupt.unique))?.abort();
}

async function lock(
  state: MountState,
  handle: FileHandle,
  call: Call,
  cmd: LkCommand,
  flock: Flock,
): Promise<void> {
  const owner = flock.lkOwner.toString("latin1");
  // Before the fop: a RELEASE must unlock what a brick granted even if its answer got lost.
  if (flock.type !== "unlck") handle.lockOwners.add(owner);
  await state.top.lk(call, { fd: handle.fd, cmd, flock });
  if (flock.type === "unlck" && flock.start === 0n && flock.len === 0n) handle.lockOwners.delete(owner);
}

/** Unlocks what was locked through a handle and never flushed, for its RELEASE. */
export async function releaseLocks(state: MountState, call: Call, handle: FileHandle): Promise<void> {
  for (const key of handle.lockOwners) {
    const lkOwner = Buffer.from(key, "latin1");
    const flock: Flock = { type: "unlck", whence: 0, start: 0n, len: 0n, pid: call.pid, lkOwner };
    try {
      await state.top.lk({ ...call, lkOwner }, { fd: handle.fd, cmd: "setlk", flock });
    } catch (error) {
      // The release that follows drops the fd's locks on the brick; nobody waits for this answer.
      state.log.debug("unlock at release failed", { error });
    }
  }
  handle.lockOwners.clear();
}

function lockRequest(state: MountState, request: KernelRequest) {
  const { words } = request;
  const handle = state.file(request, IN.lk.fh);
  const call = state.callWithOwner(request, IN.lk.owner);
  const type = TYPES[words[IN.lk.type]!];
  if (type === undefined) throw new FopError("EINVAL", { fop: "lk" });
  const start = u64n(words, IN.lk.start);
  const end = u64n(words, IN.lk.end);
  if (end < start) throw new FopError("EINVAL", { fop: "lk" });
  const len = end >= OFFSET_MAX ? 0n : end - start + 1n;
  const flock: Flock = { type, whence: 0, start, len, pid: words[IN.lk.pid]!, lkOwner: call.lkOwner };
  return { handle, call, flock };
}

function putLock(request: KernelRequest, flock: Flock): void {
  const { outWords } = request;
  putU64n(outWords, BODY, flock.start);
  putU64n(outWords, BODY + 2, flock.len === 0n ? OFFSET_MAX : flock.start + flock.len - 1n);
  outWords[BODY + 4] = TYPE_NUMBER[flock.type];
  outWords[BODY + 5] = flock.type === "unlck" ? 0 : flock.pid;
}
