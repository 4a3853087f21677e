/**
 * Requests on open files: OPEN, READ, WRITE, FLUSH, RELEASE, FSYNC, FALLOCATE, LSEEK, COPY_FILE_RANGE.
 *
 * READ and WRITE are the hot path: numbers from the message, one fop, the request's own callbacks; the
 * payload is never copied here. An answer says that the fop was answered, never less.
 */

import type { Call } from "../../src/core/call.ts";
import { type ErrnoName, FopError } from "../../src/core/errors.ts";
import type { Reply } from "../../src/core/fops.ts";
import { hasSetId, type Iatt, SETATTR, withoutSetId, ZERO_IATT } from "../../src/core/iatt.ts";
import { Fd } from "../../src/core/inode.ts";
import { EMPTY_IOVEC } from "../../src/core/iovec.ts";
import {
  O_ACCMODE,
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_EXCL,
  O_NOCTTY,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from "../../src/core/open-flags.ts";
import {
  FALLOC,
  FOPEN,
  FSYNC_FDATASYNC,
  HIGH,
  IN,
  OPEN_OUT_BYTES,
  putU64,
  READ_LOCKOWNER,
  SEEK_DATA,
  SEEK_HOLE,
  u64,
  WRITE_CACHE,
  WRITE_KILL_SUIDGID,
  WRITE_LOCKOWNER,
} from "../dev-fuse/protocol.ts";
import { BODY, type KernelRequest } from "../dev-fuse/request.ts";
import { FileHandle } from "../handles.ts";
import type { Node } from "../nodes.ts";
import { type MountState, staleIfMissing } from "../state.ts";
import { releaseLocks } from "./locks.ts";

/** The largest count a reply's 32-bit size field is trusted with. */
const COPY_MAX = 2 ** 30;

export async function open(state: MountState, request: KernelRequest): Promise<number> {
  const node = state.node(request);
  const call = state.call(request);
  const flags = openFlags(state, request.words[IN.open.flags]!) & ~(O_CREAT | O_EXCL | O_NOCTTY);
  const fd = new Fd(node.inode, flags, call.pid);
  try {
    await state.top.open(call, { loc: { inode: node.inode }, fd, flags });
  } catch (error) {
    throw staleIfMissing(error);
  }
  putOpened(state, request, BODY, new FileHandle(node, fd));
  return OPEN_OUT_BYTES;
}

/**
 * The flags a file is opened with on the bricks. With the kernel's write-back cache the kernel itself places
 * appends and reads the rest of half-written pages, so the brick must allow reads and must not append.
 */
export function openFlags(state: MountState, flags: number): number {
  if (!state.writebackCache) return flags;
  const access = (flags & O_ACCMODE) === O_WRONLY ? O_RDWR : flags & O_ACCMODE;
  return (flags & ~(O_ACCMODE | O_APPEND)) | access;
}

/** Enters an open handle and writes fuse_open_out. */
export function putOpened(state: MountState, request: KernelRequest, at: number, handle: FileHandle): void {
  const fh = state.handles.add(handle);
  const backing = state.passthrough?.opened(handle) ?? 0;
  putU64(request.outWords, at, fh);
  request.outWords[at + 2] = backing > 0 ? passingFlags(handle) : openOutFlags(state, handle.fd.flags);
  request.outWords[at + 3] = backing;
}

/**
 * Direct I/O means requests, also where other handles make the inode pass through. Pages that the kernel has
 * of the file go with the first open (no KEEP_CACHE), and none come while it passes through.
 */
function passingFlags(handle: FileHandle): number {
  return handle.passing === "kernel"
    ? FOPEN.PASSTHROUGH
    : FOPEN.PASSTHROUGH | FOPEN.DIRECT_IO | FOPEN.PARALLEL_DIRECT_WRITES;
}

/**
 * A file opened with O_DIRECT gets FOPEN_DIRECT_IO, so that the kernel skips the page cache's checks and,
 * with PARALLEL_DIRECT_WRITES, does not line writers up behind the inode's lock.
 */
function openOutFlags(state: MountState, flags: number): number {
  if (state.directIo === "all" || (state.directIo === "auto" && (flags & O_DIRECT) !== 0))
    return FOPEN.DIRECT_IO | FOPEN.PARALLEL_DIRECT_WRITES;
  return state.options["fopen-keep-cache"] ? FOPEN.KEEP_CACHE : 0;
}

export function read(state: MountState, request: KernelRequest): void {
  const { words } = request;
  const at = IN.read;
  const handle = state.handles.file(words[at.fh]! + words[at.fh + 1]! * HIGH);
  if (handle === undefined) {
    request.refuse("EBADF");
    return;
  }
  const offset = words[at.offset]! + words[at.offset + 1]! * HIGH;
  const size = words[at.size]!;
  if (offset + size > Number.MAX_SAFE_INTEGER) {
    request.replyRead(NOTHING_READ);
    return;
  }
  const call =
    (words[at.readFlags]! & READ_LOCKOWNER) === 0
      ? state.call(request)
      : state.callWithOwner(request, at.lockOwner);
  state.top
    .readv(call, { fd: handle.fd, offset, size, flags: words[at.flags]! })
    .then(request.replyRead, request.fail);
}

/** What a read past every possible end gives. */
const NOTHING_READ: Reply<"readv"> = { data: EMPTY_IOVEC, size: 0, stat: ZERO_IATT, eof: true };

export function write(state: MountState, request: KernelRequest): void {
  const { words } = request;
  const at = IN.write;
  const handle = state.handles.file(words[at.fh]! + words[at.fh + 1]! * HIGH);
  if (handle === undefined) {
    request.refuse("EBADF");
    return;
  }
  const offset = words[at.offset]! + words[at.offset + 1]! * HIGH;
  const size = words[at.size]!;
  if (offset + size > Number.MAX_SAFE_INTEGER) {
    request.refuse("EFBIG");
    return;
  }
  const writeFlags = words[at.writeFlags]!;
  const isCached = (writeFlags & WRITE_CACHE) !== 0;
  const fd = isCached ? fdForPages(handle) : handle.fd;
  const call =
    (writeFlags & WRITE_LOCKOWNER) === 0 ? state.call(request) : state.callWithOwner(request, at.lockOwner);
  const flags = words[at.flags]!;
  if (request.inCompany && mayJoin(writeFlags, flags, size)) {
    state.writeRuns.add({ request, call, fd, offset, size, flags });
    return;
  }
  const cached = isCached ? request : undefined;
  const written = state.top.writev(call, { fd, data: request.payload(size), offset, flags, cached });
  if ((writeFlags & WRITE_KILL_SUIDGID) === 0) written.then(request.replyWritten, request.fail);
  else answerStripped(state, request, call, handle, written).catch(request.fail);
}

/** Whether a WRITE may be merged with others: nothing is asked for but to write its bytes where it says. */
function mayJoin(writeFlags: number, flags: number, size: number): boolean {
  return (writeFlags & ~WRITE_LOCKOWNER) === 0 && (flags & O_APPEND) === 0 && size > 0;
}

/**
 * Pages of the kernel's cache come through any handle that may write, also one opened with O_DIRECT, and the
 * last page ends where the file ends: a brick would refuse that length on a direct descriptor.
 */
function fdForPages(handle: FileHandle): Fd {
  if ((handle.fd.flags & O_DIRECT) === 0) return handle.fd;
  const buffered = handle.node.open.find(
    ({ fd }) => (fd.flags & O_DIRECT) === 0 && (fd.flags & O_ACCMODE) !== O_RDONLY,
  );
  return buffered?.fd ?? Fd.anonymous(handle.node.inode, O_RDWR);
}

/** The writer may not keep set-id bits (it lacks CAP_FSETID): they go before the write is answered. */
async function answerStripped(
  state: MountState,
  request: KernelRequest,
  call: Call,
  handle: FileHandle,
  written: Promise<Reply<"writev">>,
): Promise<void> {
  const reply = await written;
  // A layer that answers early has no attributes to tell; then the mode last seen counts.
  const mode = reply.post.mode !== 0 ? reply.post.mode : handle.node.mode;
  if (hasSetId(mode)) await stripSetId(state, call, handle.node, handle.fd, mode);
  request.replyWritten(reply);
}

/** Takes the set-id bits from a file as the kernel would, on behalf of root; `fd` undefined: by gfid. */
export async function stripSetId(
  state: MountState,
  call: Call,
  node: Node,
  fd: Fd | undefined,
  mode: number,
): Promise<Iatt> {
  const asRoot: Call = { ...call, uid: 0, gid: 0, groups: [] };
  const change = { stat: { ...ZERO_IATT, mode: withoutSetId(mode) }, valid: SETATTR.MODE };
  const { post } = fd
    ? await state.top.fsetattr(asRoot, { fd, ...change })
    : await state.top.setattr(asRoot, { loc: { inode: node.inode }, ...change });
  node.mode = post.mode;
  return post;
}

/** One close of one descriptor: the bricks drop the owner's locks on this file. */
export async function flush(state: MountState, request: KernelRequest): Promise<number> {
  const handle = state.file(request, IN.flush.fh);
  const call = state.callWithOwner(request, IN.flush.lockOwner);
  await state.pageTimes.settle(handle.node);
  await state.top.flush(call, { fd: handle.fd });
  const owner = call.lkOwner.toString("latin1");
  for (const other of handle.node.open) other.lockOwners.delete(owner);
  return 0;
}

export async function release(state: MountState, request: KernelRequest): Promise<number> {
  const fh = u64(request.words, IN.release.fh);
  const handle = state.file(request, IN.release.fh);
  // The kernel never names the handle again: its number may go to the next open at once.
  state.handles.remove(fh);
  state.passthrough?.released(handle);
  await releaseLocks(state, state.call(request), handle);
  await state.pageTimes.settleQuietly(handle.node);
  await state.top.release(handle.fd);
  return 0;
}

export function fsync(state: MountState, request: KernelRequest): void {
  const handle = state.handles.file(u64(request.words, IN.fsync.fh));
  if (handle === undefined) {
    request.refuse("EBADF");
    return;
  }
  const { fd } = handle;
  const call = state.call(request);
  const datasync = (request.words[IN.fsync.flags]! & FSYNC_FDATASYNC) !== 0;
  const settling = state.pageTimes.settle(handle.node);
  const syncing = settling
    ? settling.then(() => state.top.fsync(call, { fd, datasync }))
    : state.top.fsync(call, { fd, datasync });
  syncing.then(request.replyEmpty, request.fail);
}

export async function fallocate(state: MountState, request: KernelRequest): Promise<number> {
  const { words } = request;
  const { fd } = state.file(request, IN.fallocate.fh);
  const call = state.call(request);
  const offset = safe(u64(words, IN.fallocate.offset), "EFBIG");
  const size = safe(u64(words, IN.fallocate.length), "EFBIG");
  safe(offset + size, "EFBIG");
  const mode = words[IN.fallocate.mode]!;
  switch (mode) {
    case 0:
    case FALLOC.KEEP_SIZE:
      await state.top.fallocate(call, { fd, keepSize: mode !== 0, offset, size });
      return 0;
    case FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE:
      await state.top.discard(call, { fd, offset, size });
      return 0;
    case FALLOC.ZERO_RANGE:
      await state.top.zerofill(call, { fd, offset, size });
      return 0;
    case FALLOC.ZERO_RANGE | FALLOC.KEEP_SIZE:
      await zeroInside(state, call, fd, offset, size);
      return 0;
    default:
      throw new FopError("EOPNOTSUPP", { fop: "fallocate" });
  }
}

/**
 * The zerofill fop extends a file: only what lies inside is zeroed by it, the rest is preallocated behind the
 * end.
 */
async function zeroInside(
  state: MountState,
  call: Call,
  fd: Fd,
  offset: number,
  size: number,
): Promise<void> {
  const { stat } = await state.top.fstat(call, { fd });
  const inside = Math.min(size, Math.max(0, stat.size - offset));
  if (inside > 0) await state.top.zerofill(call, { fd, offset, size: inside });
  if (inside === size) return;
  await state.top.fallocate(call, { fd, keepSize: true, offset: offset + inside, size: size - inside });
}

export async function lseek(state: MountState, request: KernelRequest): Promise<number> {
  const { words } = request;
  const { fd } = state.file(request, IN.lseek.fh);
  const whence = words[IN.lseek.whence]!;
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new FopError("EINVAL", { fop: "seek" });
  const offset = safe(u64(words, IN.lseek.offset), "ENXIO");
  const what = whence === SEEK_DATA ? "data" : "hole";
  const reply = await state.top.seek(state.call(request), { fd, offset, what });
  putU64(request.outWords, BODY, reply.offset);
  return 8;
}

export async function copyFileRange(state: MountState, request: KernelRequest): Promise<number> {
  const { words } = request;
  const at = IN.copyFileRange;
  const { fd: fdIn } = state.file(request, at.fhIn);
  const { fd: fdOut } = state.file(request, at.fhOut);
  const size = Math.min(u64(words, at.len), COPY_MAX);
  const offsetIn = safe(u64(words, at.offIn), "EFBIG");
  const offsetOut = safe(u64(words, at.offOut), "EFBIG");
  safe(offsetIn + size, "EFBIG");
  safe(offsetOut + size, "EFBIG");
  const args = { fdIn, offsetIn, fdOut, offsetOut, size, flags: 0 };
  const reply = await state.top.copy_file_range(state.call(request), args);
  request.outWords[BODY] = reply.size;
  request.outWords[BODY + 1] = 0;
  return 8;
}

/** Refuses what a number cannot hold exactly. */
export function safe(value: number, code: ErrnoName): number {
  if (value > Number.MAX_SAFE_INTEGER) throw new FopError(code);
  return value;
}
