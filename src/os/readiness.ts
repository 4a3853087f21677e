/**
 * Which descriptors have something to read, asked without going through Node's event loop: an epoll of our
 * own, looked at while the loop is awake (busy-poll.ts). A look costs half a microsecond, a turn of the loop
 * several.
 *
 * Node goes on watching the same descriptors, for the times when the loop sleeps; who is called here must
 * therefore cope with finding nothing.
 */

import { EVENT_LOOP, type PollSource } from "./busy-poll.ts";
import { addressOf, declare } from "./libc.ts";

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 1;
/** struct epoll_event is packed on x86-64 and nowhere else. */
const EVENT_BYTES = process.arch === "x64" ? 12 : 16;
const DATA_AT = process.arch === "x64" ? 4 : 8;
/** Descriptors looked after in one look; the others come next time. */
const EVENTS_MAX = 64;

const createCall = declare("int epoll_create1(int flags)");
const controlCall = declare("int epoll_ctl(int epoll, int operation, int fd, void *event)");
const readCall = declare("int64_t read(int fd, uintptr_t at, size_t size)");
const waitCall = declare("int epoll_wait(int epoll, uintptr_t events, int max, int timeoutMs)");

/**
 * Reads a nonblocking descriptor here and now: bytes; 0 at the end; negative when there is nothing, or for an
 * error.
 */
export function readNow(fd: number, into: Buffer): number {
  return readCall(fd, addressOf(into), into.length);
}

/** Reads from a descriptor that is said to be readable, without waiting; whether there was anything. */
export type OnReadable = () => boolean;

export class Readiness implements PollSource {
  readonly #epoll: number;
  readonly #events = Buffer.alloc(EVENTS_MAX * EVENT_BYTES);
  readonly #eventsAt = addressOf(this.#events);
  /** By descriptor. */
  readonly #readers: (OnReadable | undefined)[] = [];

  constructor() {
    this.#epoll = createCall(EPOLL_CLOEXEC);
  }

  /** From now on `reader` is called when `fd` is readable; one reader a descriptor. */
  watch(fd: number, reader: OnReadable): void {
    const event = Buffer.alloc(EVENT_BYTES);
    event.writeUInt32LE(EPOLLIN, 0);
    event.writeUInt32LE(fd, DATA_AT);
    controlCall(this.#epoll, EPOLL_CTL_ADD, fd, event);
    this.#readers[fd] = reader;
  }

  /**
   * Ends what `watch` began. The descriptor may be closed by now, and its number be another's, who is left
   * alone.
   */
  unwatch(fd: number, reader: OnReadable): void {
    if (this.#readers[fd] !== reader) return;
    this.#readers[fd] = undefined;
    controlCall(this.#epoll, EPOLL_CTL_DEL, fd, null);
  }

  poll(): boolean {
    const count = waitCall(this.#epoll, this.#eventsAt, EVENTS_MAX, 0);
    let found = false;
    for (let i = 0, at = DATA_AT; i < count; i++, at += EVENT_BYTES)
      if (this.#readers[this.#events.readUInt32LE(at)]?.()) found = true;
    return found;
  }
}

/** The process' one. */
export const READINESS = new Readiness();
EVENT_LOOP.add(READINESS);
