/**
 * Notifications: telling the kernel that what it caches is out of date (an upcall from a brick, too many
 * inodes held).
 *
 * The kernel takes page and directory locks while it handles one, and the holder of such a lock may be
 * waiting for an answer of this very process. So notifications are written by the libuv pool, one at a time,
 * never by the main thread.
 */

import { write } from "node:fs";
import type { Logger } from "../../src/core/log.ts";
import { encodeName } from "../../src/core/name.ts";
import { NOTIFY, OUT_HEADER_BYTES, putU64, type Words } from "./protocol.ts";

/** Beyond that many waiting, older caches are left to their timeouts. */
const WAITING_MAX = 10_000;

export class Notifier {
  readonly #fd: number;
  readonly #log: Logger;
  readonly #waiting: Buffer[] = [];
  #writing = false;
  #open = true;

  /** Writes to an open /dev/fuse until `close`. */
  constructor(fd: number, log: Logger) {
    this.#fd = fd;
    this.#log = log;
  }

  /** Notifications not yet taken by the kernel. */
  get pending(): number {
    return this.#waiting.length + (this.#writing ? 1 : 0);
  }

  /** Attributes of a node are out of date, and its cached pages with them. */
  invalidateInode(nodeid: number): void {
    // Offset 0 and length 0, which the message has already, mean all pages.
    const { message, words } = newMessage(24, NOTIFY.INVAL_INODE);
    putU64(words, 4, nodeid);
    this.#enqueue(message);
  }

  /** A name may have changed its meaning: the kernel looks it up again. */
  invalidateEntry(parent: number, name: string): void {
    const bytes = encodeName(name);
    const { message, words } = newMessage(16 + bytes.length + 1, NOTIFY.INVAL_ENTRY);
    putU64(words, 4, parent);
    words[6] = bytes.length;
    bytes.copy(message, OUT_HEADER_BYTES + 16);
    this.#enqueue(message);
  }

  close(): void {
    this.#open = false;
    this.#waiting.length = 0;
  }

  #enqueue(message: Buffer): void {
    if (!this.#open || this.#waiting.length >= WAITING_MAX) return;
    this.#waiting.push(message);
    if (!this.#writing) this.#next();
  }

  #next(): void {
    const message = this.#open ? this.#waiting.shift() : undefined;
    this.#writing = message !== undefined;
    if (message === undefined) return;
    write(this.#fd, message, (error) => {
      // ENOENT: the kernel does not cache it. ENOTDIR, ENOTEMPTY, EBUSY: a name in use stays.
      if (error && error.code !== "ENOENT" && this.#open)
        this.#log.debug("notification refused by the kernel", { code: error.code });
      this.#next();
    });
  }
}

function newMessage(bodyBytes: number, code: number): { message: Buffer; words: Words } {
  const size = OUT_HEADER_BYTES + bodyBytes;
  const memory = new ArrayBuffer((size + 3) & ~3);
  const words = new Uint32Array(memory);
  words[0] = size;
  // A notification is an answer to nothing: unique 0, and its code where an error would be.
  words[1] = code;
  return { message: Buffer.from(memory, 0, size), words };
}
