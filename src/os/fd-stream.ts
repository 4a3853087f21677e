/**
 * Watches a pollable, nonblocking descriptor that Node has no stream for (/dev/fuse, an eventfd) from Node's
 * own epoll loop.
 *
 * A net.Socket is made on the read end of a pipe, then the descriptor is duplicated over it: from there on
 * Node polls the real thing and reads it into buffers of ours, with no pool thread and no copy between. One
 * read(2) a wake-up, and more only where the handler expects more: what is read in one turn of the event loop
 * leaves in one turn too.
 */

import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { EVENT_LOOP } from "./busy-poll.ts";
import { duplicateOnto, makePipe } from "./libc.ts";
import { READINESS, readNow } from "./readiness.ts";

/** Reads in one wake-up, at most: others want their turn. */
const BURST_MAX = 16;

export interface FdHandler {
  /** Where a read(2) to come goes; its length bounds the read. Two may be out, one a way of reading. */
  buffer(): Buffer;
  /** `count` bytes were read into `buffer`, which `buffer()` gave. */
  onData(count: number, buffer: Buffer): void;
  /** read(2) failed for good (ENODEV: the mount is gone); the stream is closed. */
  onError?(error: NodeJS.ErrnoException): void;
  onEnd?(): void;
  /** Also read while the loop is awake, without epoll. */
  readonly polled?: boolean;
  /** Asked after `onData`: whether to look for another message at once. Absent: never. */
  expectsMore?(): boolean;
}

export interface FdStream {
  /** The descriptor that is polled; a duplicate of the one given. */
  readonly fd: number;
  /** Stops reading and closes the duplicate. */
  close(): void;
  /** Whether the watch keeps the process alive (it does not, to begin with). */
  ref(): void;
  unref(): void;
}

/**
 * Begins to watch `fd`, which must be nonblocking. The caller keeps `fd` and may close it: a duplicate is
 * watched.
 */
export function watchFd(fd: number, handler: FdHandler): FdStream {
  const { readEnd, writeEnd } = makePipe();
  let current: Buffer = Buffer.alloc(0);
  const socket = new Socket({
    fd: readEnd,
    readable: true,
    writable: false,
    onread: {
      buffer: () => {
        current = handler.buffer();
        return current;
      },
      callback: (count: number) => {
        EVENT_LOOP.touch();
        handler.onData(count, current);
        readOn();
        return true;
      },
    },
  } as ConstructorParameters<typeof Socket>[0]);
  duplicateOnto(fd, readEnd);
  closeSync(writeEnd);
  // The socket keeps a buffer for its next read, so a read beside it needs another one.
  let spare: Buffer | undefined;
  let closed = false;
  function readOne(): boolean {
    spare ??= handler.buffer();
    const buffer = spare;
    const count = readNow(readEnd, buffer);
    if (count <= 0) return false;
    spare = undefined;
    EVENT_LOOP.touch();
    handler.onData(count, buffer);
    return true;
  }
  function readOn(): void {
    for (let reads = 1; reads < BURST_MAX && !closed && handler.expectsMore?.() === true; reads++)
      if (!readOne()) return;
  }
  function reader(): boolean {
    if (!readOne()) return false;
    readOn();
    return true;
  }
  if (handler.polled) READINESS.watch(readEnd, reader);
  socket.on("error", (error) => handler.onError?.(error));
  socket.on("end", () => handler.onEnd?.());
  socket.unref();
  return {
    fd: readEnd,
    close: () => {
      closed = true;
      READINESS.unwatch(readEnd, reader);
      socket.destroy();
    },
    ref: () => void socket.ref(),
    unref: () => void socket.unref(),
  };
}
