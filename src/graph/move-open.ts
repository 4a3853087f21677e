/**
 * Takes what the users of a graph have open over to another one: syncs what writers have pending, opens files
 * again, and sets locks again through them, while no call is in flight.
 *
 * A lock goes from fd to fd without a moment in which it is free: it is set by the same owner over the same
 * connection before the old fd is closed, which a brick takes for a change of the one lock. The old fds are
 * left open; whoever switched closes them. On failure all is as it was, and the reason is a SwitchBusy.
 */

import { internalCall } from "../core/call.ts";
import { Dict } from "../core/dict.ts";
import { toFopError, UserError } from "../core/errors.ts";
import { gfidText } from "../core/gfid.ts";
import { Fd, type Inode } from "../core/inode.ts";
import { KEY } from "../core/keys.ts";
import type { Logger } from "../core/log.ts";
import { O_ACCMODE, O_CREAT, O_EXCL, O_NOCTTY, O_RDONLY, O_TRUNC } from "../core/open-flags.ts";
import type { Graph } from "./graph.ts";
import { type HeldLock, type HeldLocks, lockAgain, type OpenFd, type OpenFds } from "./open-fds.ts";

/** Files that are opened again at the same time. */
const REOPEN_WIDTH = 32;
/** Flags that are done with once a file is open. */
const OPENING_FLAGS = O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY;

/** A switch that would be possible at another time. */
export class SwitchBusy extends UserError {}

/** What is to be moved. */
export interface Holdings {
  readonly files: OpenFds;
  readonly locks: HeldLocks;
  /** Whether the inode's file is used past the graph. */
  readonly isLent: (inode: Inode) => boolean;
  readonly log: Logger;
}

/** An open file on its way from one graph to another. */
export interface Move {
  readonly open: OpenFd;
  readonly from: Fd;
  readonly to: Fd;
}

/**
 * Rejects with SwitchBusy; what was opened is closed again then, and the old graph has all locks. Failures of
 * syncs are in `files` either way.
 */
export async function moveOpen(before: Graph, fresh: Graph, holdings: Holdings): Promise<Move[]> {
  const { files, locks, isLent, log } = holdings;
  const all = files.all();
  await inParallel(all, (open) => sync(before, open, log));
  const moves: Move[] = [];
  try {
    await inParallel(all, async (open) => {
      const to = await openAgain(fresh, open, isLent(open.fd.inode));
      moves.push({ open, from: open.now, to });
    });
    const to = new Map(moves.map((move) => [move.open.fd, move.to]));
    await inParallel(locks.all(), (lock) => setAgain(fresh, lock, to.get(lock.fd)));
    return moves;
  } catch (error) {
    for (const lock of locks.all())
      await setAgain(before, lock, files.get(lock.fd)?.now).catch((failure) =>
        log.error("a lock may be lost", { gfid: lock.fd.inode.gfid, error: failure }),
      );
    await Promise.all(moves.map(({ open, to }) => released(fresh, open, to)));
    throw error;
  }
}

/**
 * What a layer that goes away has acknowledged reaches the bricks before. Where it cannot, the layer stays:
 * it has the only copy. Any other failure was told to nobody yet; the next call that may report it does.
 */
async function sync(graph: Graph, open: OpenFd, log: Logger): Promise<void> {
  if (open.isDirectory || (open.fd.flags & O_ACCMODE) === O_RDONLY) return;
  const xdata = new Dict().setInt(KEY.LAST_FSYNC, 1);
  try {
    await graph.top.fsync(internalCall(), { fd: open.now, datasync: false, xdata });
  } catch (error) {
    const failure = toFopError(error, { fop: "fsync" });
    const { gfid } = open.fd.inode;
    if (graph.top.hasUnwritten(open.now))
      throw new SwitchBusy(
        `acknowledged bytes of open file ${gfidText(gfid)} cannot be written: ${failure.code}; possible when ` +
          "they are, or when it is closed",
      );
    open.failure = failure;
    log.warn("data could not be synced before a switch", { gfid, error });
  }
}

/** As root: whoever opened it once may not be allowed to any more. */
async function openAgain(graph: Graph, { fd, isDirectory }: OpenFd, lent: boolean): Promise<Fd> {
  const { inode } = fd;
  const flags = fd.flags & ~OPENING_FLAGS;
  const again = new Fd(inode, flags, fd.pid);
  const call = internalCall();
  const { top } = graph;
  try {
    await top.lookup(call, { loc: { inode } });
    if (isDirectory) await top.opendir(call, { loc: { inode }, fd: again });
    else await top.open(call, { loc: { inode }, fd: again, flags });
  } catch (error) {
    const { code } = toFopError(error);
    throw new SwitchBusy(
      `open file ${gfidText(inode.gfid)} cannot be opened again: ${code}; possible when it is closed`,
    );
  }
  if (lent && top.localFile(again) === undefined) {
    await top.release(again);
    throw new SwitchBusy(
      `the kernel serves open file ${gfidText(inode.gfid)} past the graph; possible when it is closed`,
    );
  }
  return again;
}

async function setAgain(graph: Graph, lock: HeldLock, fd: Fd | undefined): Promise<void> {
  if (fd === undefined) return;
  try {
    await graph.top.lk(lock.call, lockAgain(lock, fd));
  } catch (error) {
    throw new SwitchBusy(`a lock on ${gfidText(fd.inode.gfid)} cannot be moved: ${toFopError(error).code}`);
  }
}

/** Closes an fd of a file or a directory in one graph. */
export function released(graph: Graph, { isDirectory }: OpenFd, fd: Fd): Promise<void> {
  return isDirectory ? graph.top.releasedir(fd) : graph.top.release(fd);
}

/**
 * Runs a task for each item, a bounded number at a time; rejects with the first failure, when all have ended.
 */
async function inParallel<T>(items: readonly T[], task: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  let failure: { readonly error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    while (next < items.length && failure === undefined) {
      const item = items[next++]!;
      try {
        await task(item);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(REOPEN_WIDTH, items.length) }, worker));
  if (failure !== undefined) throw failure.error;
}
