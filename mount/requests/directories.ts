/**
 * OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR.
 *
 * The kernel asks for a page at a time; the graph is asked for more, and what does not fit waits in the
 * handle. Entries that waited are offered with attributes only while these are fresh and this mount has not
 * changed the directory since: else a name just removed would come back to life in the kernel's cache.
 * Without them the kernel looks names up.
 */

import { Dict } from "../../src/core/dict.ts";
import { FopError } from "../../src/core/errors.ts";
import type { Dirent, DirentPlus } from "../../src/core/fops.ts";
import { isNullGfid } from "../../src/core/gfid.ts";
import { direntType, S_IFMT, ZERO_IATT } from "../../src/core/iatt.ts";
import { Fd } from "../../src/core/inode.ts";
import { encodeName } from "../../src/core/name.ts";
import { O_DIRECTORY } from "../../src/core/open-flags.ts";
import {
  align8,
  DIRENT_BYTES,
  DIRENTPLUS_BYTES,
  ENTRY_OUT_BYTES,
  FSYNC_FDATASYNC,
  IN,
  OPEN_OUT_BYTES,
  putEntry,
  putU64,
  putU64n,
  u64,
  u64n,
  type Words,
} from "../dev-fuse/protocol.ts";
import { BODY, type KernelRequest } from "../dev-fuse/request.ts";
import { DirHandle, type Listing } from "../handles.ts";
import type { MountState } from "../state.ts";
import { staleIfMissing } from "../state.ts";

/** What one fop is asked for; a network round trip should bring many entries. */
const FETCH_BYTES = 128 * 1024;
/** The largest listing the kernel takes at once (its own limit is the mount's largest read). */
const REPLY_MAX = 1 << 20;

export async function opendir(state: MountState, request: KernelRequest): Promise<number> {
  const node = state.node(request);
  const call = state.call(request);
  const fd = new Fd(node.inode, O_DIRECTORY, call.pid);
  try {
    await state.top.opendir(call, { loc: { inode: node.inode }, fd });
  } catch (error) {
    throw staleIfMissing(error);
  }
  const { outWords } = request;
  putU64(outWords, BODY, state.handles.add(new DirHandle(node, fd)));
  outWords[BODY + 2] = 0;
  outWords[BODY + 3] = 0;
  return OPEN_OUT_BYTES;
}

export function readdir(state: MountState, request: KernelRequest): Promise<Buffer> {
  return list(state, request, false);
}

export function readdirplus(state: MountState, request: KernelRequest): Promise<Buffer> {
  return list(state, request, true);
}

export async function releasedir(state: MountState, request: KernelRequest): Promise<number> {
  const handle = directory(state, request);
  state.handles.remove(u64(request.words, IN.release.fh));
  await state.top.releasedir(handle.fd);
  return 0;
}

export async function fsyncdir(state: MountState, request: KernelRequest): Promise<number> {
  const handle = directory(state, request);
  const datasync = (request.words[IN.fsync.flags]! & FSYNC_FDATASYNC) !== 0;
  await state.top.fsyncdir(state.call(request), { fd: handle.fd, datasync });
  return 0;
}

function directory(state: MountState, request: KernelRequest): DirHandle {
  const handle = state.handles.directory(u64(request.words, IN.read.fh));
  if (handle === undefined) throw new FopError("EBADF", { fop: "readdir" });
  return handle;
}

async function list(state: MountState, request: KernelRequest, plus: boolean): Promise<Buffer> {
  const { words } = request;
  const handle = directory(state, request);
  const offset = u64n(words, IN.read.offset);
  const room = Math.min(words[IN.read.size]!, REPLY_MAX);
  let listing = handle.listing;
  if (listing === undefined || listing.expected !== offset || (plus && !listing.plus)) {
    listing = await fetch(state, request, handle, offset, plus);
    handle.listing = listing;
  } else if (listing.next >= listing.entries.length && !listing.eof) {
    listing = await fetch(state, request, handle, offset, plus);
    handle.listing = listing;
  }
  return new Packer(state, handle, listing, plus).pack(room);
}

async function fetch(
  state: MountState,
  request: KernelRequest,
  handle: DirHandle,
  offset: bigint,
  plus: boolean,
): Promise<Listing> {
  const { changes } = handle.node;
  const askedAtMs = state.env.clock.nowMs();
  const args = { fd: handle.fd, size: FETCH_BYTES, offset };
  const call = state.call(request);
  const { entries, eof } = plus
    ? await state.top.readdirp(call, { ...args, xdata: new Dict() })
    : withoutAttributes(await state.top.readdir(call, args));
  const freshMs = state.options["attribute-timeout"] * 1000;
  const over = eof || entries.length === 0;
  return {
    entries,
    next: 0,
    expected: offset,
    eof: over,
    changes,
    freshUntilMs: askedAtMs + Math.max(freshMs, 0),
    plus,
  };
}

function withoutAttributes(reply: { entries: readonly Dirent[]; eof: boolean }) {
  return {
    entries: reply.entries.map((entry): DirentPlus => ({ ...entry, stat: ZERO_IATT })),
    eof: reply.eof,
  };
}

/** Lays entries out as the kernel reads them: fuse_dirent, or fuse_direntplus, each padded to eight bytes. */
class Packer {
  readonly #state: MountState;
  readonly #handle: DirHandle;
  readonly #listing: Listing;
  readonly #plus: boolean;
  /** Attributes may be handed out. */
  readonly #fresh: boolean;

  constructor(state: MountState, handle: DirHandle, listing: Listing, plus: boolean) {
    this.#state = state;
    this.#handle = handle;
    this.#listing = listing;
    this.#plus = plus;
    this.#fresh =
      plus && listing.changes === handle.node.changes && state.env.clock.nowMs() <= listing.freshUntilMs;
  }

  pack(room: number): Buffer {
    const out = Buffer.from(new ArrayBuffer(align8(room)));
    const words: Words = new Uint32Array(out.buffer);
    const listing = this.#listing;
    let at = 0;
    while (listing.next < listing.entries.length) {
      const entry = listing.entries[listing.next]!;
      const name = encodeName(entry.name);
      const head = this.#plus ? DIRENTPLUS_BYTES : DIRENT_BYTES;
      const size = align8(head + name.length);
      if (at + size > room) break;
      if (this.#plus) this.#putEntry(words, at / 4, entry);
      this.#putDirent(words, (at + head - DIRENT_BYTES) / 4, entry, name.length);
      name.copy(out, at + head);
      at += size;
      listing.next++;
      listing.expected = entry.offset;
    }
    return out.subarray(0, at);
  }

  #putEntry(words: Words, at: number, entry: DirentPlus): void {
    const { stat, name } = entry;
    const known = this.#fresh && !isNullGfid(stat.gfid) && name !== "." && name !== "..";
    if (!known) {
      words.fill(0, at, at + ENTRY_OUT_BYTES / 4);
      return;
    }
    const { inodes, entryValidity, attrValidity } = this.#state;
    const inode = inodes.obtain(stat.gfid);
    inode.type = stat.mode & S_IFMT;
    const node = this.#state.enter(this.#handle.node, name, inode, stat);
    putEntry(words, at, node.id, stat, entryValidity, attrValidity);
  }

  #putDirent(words: Words, at: number, entry: DirentPlus, nameLength: number): void {
    const { stat } = entry;
    const isRoot = entry.name === "." && this.#handle.node === this.#state.nodes.root;
    if (isRoot) putU64(words, at, 1);
    else if (isNullGfid(stat.gfid)) putU64n(words, at, entry.ino);
    else {
      words[at] = stat.gfid.readUInt32BE(12);
      words[at + 1] = stat.gfid.readUInt32BE(8);
    }
    putU64n(words, at + 2, entry.offset);
    words[at + 4] = nameLength;
    words[at + 5] = entry.type !== 0 ? entry.type : direntType(stat.mode);
  }
}
