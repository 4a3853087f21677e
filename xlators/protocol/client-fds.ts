/**
 * The open files of one protocol/client: by what number the brick knows each (wire.md 10.1, translators.md
 * 8.3).
 *
 * Numbers are valid for one connection. When it ends all become NONE; after the next one is made the open
 * files are opened again by gfid. A file that could not be falls back to the anonymous fd in the fops that
 * allow it, unless it holds POSIX locks: those went with the connection, and to go on as if they were there
 * would break what the application relies on.
 */

import { FopError } from "../../src/core/errors.ts";
import type { FopName } from "../../src/core/fops.ts";
import type { Fd } from "../../src/core/inode.ts";
import { O_CREAT, O_EXCL, O_TRUNC } from "../../src/core/open-flags.ts";

export const NONE = -1;
export const ANONYMOUS = -2;

/** Fops that a brick can do with no more than the gfid. */
const ANONYMOUS_FOPS: ReadonlySet<FopName> = new Set([
  "readv",
  "writev",
  "fsync",
  "fxattrop",
  "finodelk",
  "copy_file_range",
]);
/** Of these, the ones that strict-locks keeps from an fd that the brick has never seen. */
const WRITE_FOPS: ReadonlySet<FopName> = new Set(["writev", "fxattrop", "copy_file_range"]);

/** An fd that the brick has opened. */
export class RemoteFd {
  readonly fd: Fd;
  readonly directory: boolean;
  /** What it was opened with; O_DIRECT may have been filtered out. */
  readonly flags: number;
  number: number;
  /** Lock owners (hex) that took POSIX locks through it and have not given all of them back. */
  readonly lockOwners = new Set<string>();

  constructor(fd: Fd, directory: boolean, flags: number, number: number) {
    this.fd = fd;
    this.directory = directory;
    this.flags = flags;
    this.number = number;
  }

  /** Flags for opening it again: the file exists now and keeps its contents. */
  get reopenFlags(): number {
    return this.flags & ~(O_CREAT | O_EXCL | O_TRUNC);
  }
}

export class FdTable {
  readonly #byFd = new WeakMap<Fd, RemoteFd>();
  readonly #open = new Set<RemoteFd>();

  /** Opened and not released, in the order of opening. */
  get all(): Iterable<RemoteFd> {
    return this.#open;
  }

  get size(): number {
    return this.#open.size;
  }

  find(fd: Fd): RemoteFd | undefined {
    return this.#byFd.get(fd);
  }

  opened(remote: RemoteFd): void {
    this.#byFd.set(remote.fd, remote);
    this.#open.add(remote);
  }

  /** Forgets an fd; gives what was known of it. */
  released(fd: Fd): RemoteFd | undefined {
    const remote = this.#byFd.get(fd);
    if (remote === undefined) return undefined;
    this.#byFd.delete(fd);
    this.#open.delete(remote);
    return remote;
  }

  /** Whether it is still open here, e.g. after waiting for a reply. */
  has(remote: RemoteFd): boolean {
    return this.#open.has(remote);
  }

  /** The connection is gone, and with it every number. */
  invalidate(): void {
    for (const remote of this.#open) remote.number = NONE;
  }

  /** The number to send for a fop. Throws FopError EBADFD when the brick has no use for the fd. */
  numberFor(fop: FopName, fd: Fd, strictLocks: boolean): number {
    if (fd.anonymous) return ANONYMOUS;
    const remote = this.#byFd.get(fd);
    if (remote === undefined) {
      if (!ANONYMOUS_FOPS.has(fop) || (strictLocks && WRITE_FOPS.has(fop)))
        throw new FopError("EBADFD", { fop });
      return ANONYMOUS;
    }
    if (remote.number !== NONE) return remote.number;
    if (remote.lockOwners.size > 0 || !ANONYMOUS_FOPS.has(fop)) throw new FopError("EBADFD", { fop });
    return ANONYMOUS;
  }
}
