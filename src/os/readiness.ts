/**
 * Which descriptors have something to read, asked without going through Node's event loop: an epoll of our
 * own, looked at while the loop is awake (busy-poll.ts). A look costs half a microsecond, a turn of the loop
 * several.
 *
 * Node goes on watching the same descriptors, for the times when the loop sleeps; who is called here must
 * therefore cope with finding nothing. And Node's own epoll is watched in turn: when it has something that
 * no reader took, Node is due.
 */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
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
  /** Node's epoll; -1 while it is not known. */
  #nodes = -1;
  #isSeeking = false;
  /** Node has something to do; undefined while nobody can tell. */
  turnDue: boolean | undefined;

  constructor() {
    this.#epoll = createCall(EPOLL_CLOEXEC);
  }

  /** From now on `reader` is called when `fd` is readable; one reader a descriptor. */
  watch(fd: number, reader: OnReadable): void {
    this.#control(EPOLL_CTL_ADD, fd);
    this.#readers[fd] = reader;
    if (this.#nodes < 0 && !this.#isSeeking) this.#seek(fd);
  }

  /** Finds Node's epoll by `fd`, which Node watches after its next turn. */
  #seek(fd: number): void {
    this.#isSeeking = true;
    setImmediate(() =>
      setImmediate(() => {
        this.#isSeeking = false;
        const found = epollsWatching(fd).filter((epoll) => epoll !== this.#epoll);
        if (found.length === 1) this.#heed(found[0]!);
      }).unref(),
    ).unref();
  }

  #heed(epoll: number): void {
    this.#nodes = epoll;
    this.#control(EPOLL_CTL_ADD, epoll);
    this.turnDue = false;
  }

  /**
   * Ends what `watch` began. The descriptor may be closed by now, and its number be another's, who is left
   * alone.
   */
  unwatch(fd: number, reader: OnReadable): void {
    if (this.#readers[fd] !== reader) return;
    this.#readers[fd] = undefined;
    this.#control(EPOLL_CTL_DEL, fd);
  }

  #control(operation: number, fd: number): void {
    const event = Buffer.alloc(EVENT_BYTES);
    event.writeUInt32LE(EPOLLIN, 0);
    event.writeUInt32LE(fd, DATA_AT);
    controlCall(this.#epoll, operation, fd, event);
  }

  poll(): boolean {
    const count = waitCall(this.#epoll, this.#eventsAt, EVENTS_MAX, 0);
    let found = false;
    let due = false;
    for (let i = 0, at = DATA_AT; i < count; i++, at += EVENT_BYTES) {
      const fd = this.#events.readUInt32LE(at);
      if (fd === this.#nodes) due = true;
      else if (this.#readers[fd]?.()) found = true;
    }
    // What a reader found was Node's to do as well, until a moment ago: the next look tells what is left.
    if (this.turnDue !== undefined) this.turnDue = due && !found;
    return found;
  }
}

/** This process' epoll descriptors that watch `fd` (proc(5), /proc/pid/fdinfo). */
function epollsWatching(fd: number): number[] {
  const found: number[] = [];
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`) !== "anon_inode:[eventpoll]") continue;
      const info = readFileSync(`/proc/self/fdinfo/${name}`, "latin1");
      if (new RegExp(`^tfd: +${fd} `, "m").test(info)) found.push(Number(name));
    } catch {
      // A descriptor that was closed meanwhile, the directory's own among them.
    }
  }
  return found;
}

/** The process' one. */
export const READINESS = new Readiness();
EVENT_LOOP.add(READINESS);
