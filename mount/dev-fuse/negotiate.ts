/**
 * INIT: what the kernel offers, what Mortar takes, and the answer. Pure, so that each decision can be tested.
 *
 * Not taken, and why: ATOMIC_O_TRUNC (a truncation shall be a fop that every layer sees), EXPORT_SUPPORT
 * (nothing looks up ".."), POSIX_ACL (bricks check ACLs), NO_OPEN_SUPPORT (bricks must know open files),
 * SPLICE_* (pages would only be copied out again).
 */

import { UserError } from "../../src/core/errors.ts";
import { directIoMode, type MountOptions } from "../options.ts";
import {
  FUSE_MAJOR,
  FUSE_MINOR,
  FUSE_MINOR_MIN,
  IN,
  INIT,
  INIT_OUT_BYTES,
  INIT2,
  type Words,
} from "./protocol.ts";

const PAGE = 4096;
/** Passthrough to file systems that are themselves on no other one. */
const STACK_DEPTH = 1;

/** What both sides agreed on. */
export interface Agreement {
  readonly minor: number;
  readonly flags: number;
  readonly flags2: number;
  /** Bytes. */
  readonly maxReadahead: number;
  readonly maxBackground: number;
  readonly congestionThreshold: number;
  /** Bytes of payload in one WRITE, and in one READ's answer. */
  readonly maxWrite: number;
  readonly writebackCache: boolean;
  /** The kernel may read and write files of a local brick by itself. */
  readonly passthrough: boolean;
}

/** Chooses from what an INIT message (as words) offers. Throws UserError when the kernel is too old. */
export function negotiate(words: Words, options: MountOptions): Agreement {
  const minor = words[IN.init.minor]!;
  if (words[IN.init.major]! < FUSE_MAJOR || (words[IN.init.major] === FUSE_MAJOR && minor < FUSE_MINOR_MIN)) {
    const spoken = `${words[IN.init.major]}.${minor}`;
    const needed = `${FUSE_MAJOR}.${FUSE_MINOR_MIN} (Linux 5.4)`;
    throw new UserError(`mount: the kernel speaks FUSE ${spoken}, at least ${needed} is needed`);
  }
  const flags = words[IN.init.flags]! & wantedFlags(options);
  const extended = (flags & INIT.INIT_EXT) !== 0;
  const writebackCache = (flags & INIT.WRITEBACK_CACHE) !== 0;
  const flags2 = extended ? words[IN.init.flags2]! & wantedFlags2(options, writebackCache) : 0;
  const maxBackground = options["background-qlen"];
  return {
    minor: Math.min(minor, FUSE_MINOR),
    flags,
    flags2,
    maxReadahead: words[IN.init.maxReadahead]!,
    maxBackground,
    congestionThreshold: options["congestion-threshold"] || Math.ceil((maxBackground * 3) / 4),
    maxWrite: maxWriteBytes(options),
    writebackCache,
    passthrough: (flags2 & INIT2.PASSTHROUGH) !== 0,
  };
}

/** `max-write` in bytes, whole pages. */
export function maxWriteBytes(options: MountOptions): number {
  return Math.max(PAGE, Math.floor((options["max-write"] * 1024) / PAGE) * PAGE);
}

/**
 * HANDLE_KILLPRIV_V2 matters most: without it the kernel asks for security.capability before each write. In
 * return this edge strips set-id bits when a WRITE or SETATTR says so.
 */
function wantedFlags(options: MountOptions): number {
  let flags =
    INIT.ASYNC_READ |
    INIT.POSIX_LOCKS |
    INIT.FLOCK_LOCKS |
    INIT.BIG_WRITES |
    INIT.DONT_MASK |
    INIT.ASYNC_DIO |
    INIT.PARALLEL_DIROPS |
    INIT.MAX_PAGES |
    INIT.CACHE_SYMLINKS |
    INIT.HANDLE_KILLPRIV_V2 |
    INIT.INIT_EXT;
  if (options["use-readdirp"]) flags |= INIT.DO_READDIRPLUS | INIT.READDIRPLUS_AUTO;
  if (options["auto-invalidation"]) flags |= INIT.AUTO_INVAL_DATA;
  if (options["kernel-writeback-cache"]) flags |= INIT.WRITEBACK_CACHE;
  return flags;
}

/** The kernel has either passthrough or its write-back cache; direct-io-mode=enable asks for requests. */
function wantedFlags2(options: MountOptions, writebackCache: boolean): number {
  const passthrough = options.passthrough !== "off" && !writebackCache && directIoMode(options) !== "all";
  return INIT2.DIRECT_IO_ALLOW_MMAP | (passthrough ? INIT2.PASSTHROUGH : 0);
}

/** Writes fuse_init_out at word `at`; returns its bytes. */
export function putInitOut(words: Words, at: number, agreed: Agreement): number {
  words.fill(0, at, at + INIT_OUT_BYTES / 4);
  words[at] = FUSE_MAJOR;
  words[at + 1] = FUSE_MINOR;
  words[at + 2] = agreed.maxReadahead;
  words[at + 3] = agreed.flags;
  words[at + 4] = agreed.maxBackground | (agreed.congestionThreshold << 16);
  words[at + 5] = agreed.maxWrite;
  words[at + 6] = 1;
  words[at + 7] = agreed.maxWrite / PAGE;
  words[at + 8] = agreed.flags2;
  words[at + 9] = agreed.passthrough ? STACK_DEPTH : 0;
  return INIT_OUT_BYTES;
}
