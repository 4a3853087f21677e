/**
 * The gate that reads and writes pass under mandatory locking (spec translators.md 9.3): it lets them
 * through, makes them wait for a lock of another owner to go, or refuses them. Also the enforcement xattr,
 * under which I/O needs a lock.
 *
 * With mandatory locking off nothing asks here.
 */

import type { Call } from "../../../src/core/call.ts";
import { FopError } from "../../../src/core/errors.ts";
import { S_IFMT, S_IFREG } from "../../../src/core/iatt.ts";
import type { Fd, Inode } from "../../../src/core/inode.ts";
import { O_NONBLOCK } from "../../../src/core/open-flags.ts";
import { type ByteRange, RANGE_END } from "../../../src/core/ranges.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";
import { enforcedIoAllowed, type IoRequest, ioAllowed, type MandatoryMode } from "./mandatory.ts";
import { ownerOf } from "./owner.ts";
import type { LockTable } from "./table.ts";

/** The xattr that puts a file under enforcement. */
export const ENFORCE = "trusted.glusterfs.enforce-mandatory-lock";
const S_ISGID = 0o2000;
const S_IXGRP = 0o010;

/** What is about to be read or written. */
export interface Io {
  readonly inode: Inode;
  /** Undefined for a truncate by name, which cannot wait. */
  readonly fd?: Fd;
  readonly kind: IoRequest["kind"];
  readonly range: ByteRange;
}

interface IoGateInit {
  readonly table: LockTable;
  readonly child: XlatorBase;
  mode(): MandatoryMode;
  /** Whether the enforcement xattr is heeded at all. */
  enforces(): boolean;
}

export class IoGate {
  readonly #init: IoGateInit;
  /** Inodes of which it is known whether they carry the enforcement xattr. */
  readonly #enforced = new WeakMap<Inode, boolean>();

  constructor(init: IoGateInit) {
    this.#init = init;
  }

  /** Whether this call's I/O has to pass here. Internal callers need not. */
  concerns(call: Call): boolean {
    return this.#init.mode() !== "off" && call.pid >= 0;
  }

  /** Whether the enforcement xattr means anything. */
  get enforcing(): boolean {
    return this.#init.enforces() && this.#init.mode() !== "off";
  }

  /** Settles when no lock forbids the I/O; EAGAIN or EBUSY when it must not wait. */
  async pass(call: Call, { inode, fd, kind, range }: Io): Promise<void> {
    const { table } = this.#init;
    const request: IoRequest = { owner: ownerOf(call), kind, range };
    const enforced = await this.isEnforced(call, inode);
    const locked = table.find(inode.gfid);
    if (enforced) {
      if (!enforcedIoAllowed(locked?.posix, request)) throw new FopError("EBUSY");
      return;
    }
    if (!locked || ioAllowed(locked, request, this.#init.mode())) return;
    if (!fd || fd.flags & O_NONBLOCK) throw new FopError("EAGAIN");
    await locked.io.wait(request, call.signal, () => table.changed(locked));
  }

  async isEnforced(call: Call, inode: Inode): Promise<boolean> {
    if (!this.enforcing) return false;
    const known = this.#enforced.get(inode);
    if (known !== undefined) return known;
    try {
      await this.#init.child.getxattr(call, { loc: { inode }, name: ENFORCE });
      this.#enforced.set(inode, true);
      return true;
    } catch (error) {
      if (error instanceof FopError && error.code === "ENODATA") this.#enforced.set(inode, false);
      return false;
    }
  }

  /** The xattr was set or removed. */
  setEnforced(inode: Inode, enforced: boolean): void {
    this.#enforced.set(inode, enforced);
  }

  /** Whether locks of this file are mandatory in mode "file"; false in other modes, which do not ask. */
  async isMarked(call: Call, fd: Fd): Promise<boolean> {
    if (this.#init.mode() !== "file") return false;
    const { stat } = await this.#init.child.fstat(call, { fd });
    return hasMark(stat.mode);
  }
}

/** Set-gid without group-execute: a combination that means nothing else. */
export function hasMark(mode: number): boolean {
  return (mode & S_IFMT) === S_IFREG && (mode & S_ISGID) !== 0 && (mode & S_IXGRP) === 0;
}

/** The range of some I/O; at least one byte. */
export function span(offset: number, size: number): ByteRange {
  return { start: BigInt(offset), end: BigInt(offset) + BigInt(Math.max(size, 1)) - 1n };
}

/** Everything from an offset on. */
export function rest(offset: number): ByteRange {
  return { start: BigInt(offset), end: RANGE_END };
}
