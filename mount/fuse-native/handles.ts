/**
 * Open files of this edge: small numbers, as libfuse's 32-bit handles want them, to Fd. 0 is never given out,
 * because the package takes it for "no handle". A number is used again only after its release.
 */

import { FopError } from "../../src/core/errors.ts";
import type { Fd } from "../../src/core/inode.ts";

export class Handles {
  /** Index is the handle; place 0 stays empty. */
  readonly #open: (Fd | undefined)[] = [undefined];
  readonly #free: number[] = [];

  get size(): number {
    return this.#open.length - 1 - this.#free.length;
  }

  add(fd: Fd): number {
    const handle = this.#free.pop() ?? this.#open.length;
    this.#open[handle] = fd;
    return handle;
  }

  /** @throws FopError EBADF for a number that is not open */
  get(handle: number): Fd {
    const fd = this.#open[handle];
    if (fd === undefined) throw new FopError("EBADF", { fop: "handle", xlator: "fuse-native" });
    return fd;
  }

  /** Takes a handle out of the table. */
  remove(handle: number): Fd {
    const fd = this.get(handle);
    this.#open[handle] = undefined;
    this.#free.push(handle);
    return fd;
  }

  /** Empties the table. */
  takeAll(): Fd[] {
    const open = this.#open.filter((fd) => fd !== undefined);
    this.#open.length = 1;
    this.#free.length = 0;
    return open;
  }
}
