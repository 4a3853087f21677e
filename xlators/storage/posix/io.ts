/**
 * Reading, writing and syncing open files (spec translators.md 2.6).
 *
 * The way of every read and write: DiskIo moves the payload, a synchronous fstat gives the attributes, times
 * come from memory. Only what a caller asks for in xdata costs more. O_DIRECT wants whole sectors; a payload
 * that merely lies at an odd address is copied into an aligned buffer.
 */

import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Args, PrePost, Reply } from "../../../src/core/fops.ts";
import { type Iatt, S_IFMT, S_IFREG } from "../../../src/core/iatt.ts";
import type { Fd } from "../../../src/core/inode.ts";
import { EMPTY_IOVEC, type IoVec, iovSize, iovSlice } from "../../../src/core/iovec.ts";
import { KEY } from "../../../src/core/keys.ts";
import { O_APPEND, O_DSYNC, O_SYNC } from "../../../src/core/open-flags.ts";
import { fstat, type OsStat } from "../../../src/os/files.ts";
import { isAligned, PAYLOADS } from "../../../src/os/memory.ts";
import { answerFdCounts } from "./answers.ts";
import type { Brick } from "./brick.ts";
import type { Differences } from "./differences.ts";
import { PROTECT_WRITES } from "./keys.ts";
import type { OpenFile } from "./open-files.ts";
import { getXattr, setXattr } from "./target.ts";

/**
 * What offsets, lengths and memory must be multiples of for O_DIRECT. The kernel refuses most of the rest,
 * but not in holes and behind the end: qemu's probe must not find a finer alignment there (qemu-fio-needs.md
 * 2.2).
 */
const SECTOR = 512;
/** Reads from this size on are bounded by the file's size before memory is taken. */
const LARGE_READ_BYTES = 1 << 20;
const SYNC_BITS = O_SYNC | O_DSYNC;

/** The open file behind an fd, in use until `brick.files.leave`. */
export async function enterFile(brick: Brick, fd: Fd): Promise<OpenFile> {
  return brick.files.enter(fd) ?? brick.files.enterAnonymous(fd);
}

export async function readFop(brick: Brick, call: Call, args: Args<"readv">): Promise<Reply<"readv">> {
  let file: OpenFile | undefined;
  try {
    file = brick.files.enterKnown(args.fd) ?? (await brick.files.enterAnonymous(args.fd));
    return await readNow(brick, call, file, args);
  } catch (error) {
    throw brick.located(error, "readv");
  } finally {
    if (file) brick.files.leave(file);
  }
}

async function readNow(
  brick: Brick,
  call: Call,
  file: OpenFile,
  args: Args<"readv">,
): Promise<Reply<"readv">> {
  const { offset } = args;
  if (file.isDirect && (offset % SECTOR !== 0 || args.size % SECTOR !== 0))
    throw brick.error("EINVAL", "readv");
  const size = args.size < LARGE_READ_BYTES ? args.size : bounded(file, args);
  if (size === 0) return { data: EMPTY_IOVEC, size: 0, stat: brick.iattOfFile(file), eof: true };
  const lease = PAYLOADS.take(size);
  try {
    let count = await brick.io.readv(file.osFd, [lease.buffer], offset);
    if (count < size) count = await readRest(brick, file, lease.buffer, count, offset);
    const stamping = call.time && brick.stampFile(call, file);
    if (stamping) await stamping;
    const stat = brick.iattOfFile(file);
    const data = [count === size ? lease.buffer : lease.buffer.subarray(0, count)];
    return { data, size: count, stat, eof: offset + count >= stat.size, lease };
  } catch (error) {
    lease.release();
    throw error;
  }
}

/**
 * A short read is the end of the file, or a system call that stopped early: the kernel may do that, a brick
 * may not.
 */
async function readRest(
  brick: Brick,
  file: OpenFile,
  buffer: Buffer,
  count: number,
  offset: number,
): Promise<number> {
  while (count < buffer.length && offset + count < fstat(file.osFd).size) {
    // What is left of a direct read has to begin on a sector.
    if (file.isDirect && count % SECTOR !== 0) break;
    const more = await brick.io.readv(file.osFd, [buffer.subarray(count)], offset + count);
    if (more === 0) break;
    count += more;
  }
  return count;
}

/** No more than the file has, rounded up so that O_DIRECT still likes the length. */
function bounded(file: OpenFile, { offset, size }: { offset: number; size: number }): number {
  const left = Math.max(fstat(file.osFd).size - offset, 0);
  return size <= left ? size : Math.min(size, Math.ceil(left / SECTOR) * SECTOR);
}

export async function writeFop(brick: Brick, call: Call, args: Args<"writev">): Promise<Reply<"writev">> {
  let file: OpenFile | undefined;
  try {
    file = brick.files.enterKnown(args.fd) ?? (await brick.files.enterAnonymous(args.fd));
    if (brick.space.full) checkOverwrite(brick, call, file, args);
    if (args.xdata !== undefined) return await writeAsAsked(brick, call, file, args, args.xdata);
    return await writeNow(brick, call, file, args);
  } catch (error) {
    throw brick.located(error, "writev");
  } finally {
    if (file) brick.files.leave(file);
  }
}

async function writeNow(
  brick: Brick,
  call: Call,
  file: OpenFile,
  args: Args<"writev">,
  differences?: Differences,
): Promise<PrePost & { size: number }> {
  const pre = brick.iattOfFile(file);
  differences?.begin(pre);
  try {
    const wanted = iovSize(args.data);
    let size = wanted === 0 ? 0 : await writeOnce(brick, file, args.data, wanted, args.offset);
    if (size < wanted) size = await writeRest(brick, file, args, { size: wanted, done: size });
    const stamping = call.time && brick.stampFile(call, file);
    if (stamping) await stamping;
    if ((args.flags & SYNC_BITS) !== 0) await brick.io.fsync(file.osFd, (args.flags & O_SYNC) !== O_SYNC);
    const post = brick.iattOfFile(file);
    return { size, pre: differences?.end(pre, post) ?? pre, post };
  } catch (error) {
    differences?.fail();
    throw error;
  }
}

/** A write with xdata: guarded, serialised or answered as it says. */
async function writeAsAsked(
  brick: Brick,
  call: Call,
  file: OpenFile,
  args: Args<"writev">,
  xdata: Dict,
): Promise<Reply<"writev">> {
  const checking = checkProtection(brick, file, xdata);
  if (checking) await checking;
  const differences = xdata.has(KEY.WRITE_UPDATE_ATOMIC) ? file.state.differences : undefined;
  const asksAppend = xdata.has(KEY.WRITE_IS_APPEND);
  const { size, pre, post } = asksAppend
    ? await brick.writes.run(file.state.key, () => writeNow(brick, call, file, args, differences))
    : await writeNow(brick, call, file, args, differences);
  const answers = new Dict();
  answerFdCounts(file, xdata, answers);
  if (asksAppend) {
    const isAppend = pre.size === args.offset || (file.flags & O_APPEND) !== 0;
    answers.setUint(KEY.WRITE_IS_APPEND, isAppend ? 1 : 0);
  }
  return { size, pre, post, xdata: answers };
}

/**
 * Writes until all is written or the file system stops; then the count so far, or the error when there is
 * none.
 */
export async function writeAll(brick: Brick, file: OpenFile, data: IoVec, offset: number): Promise<number> {
  const size = iovSize(data);
  if (size === 0) return 0;
  const done = await writeOnce(brick, file, data, size, offset);
  return done === size ? size : writeRest(brick, file, { data, offset }, { size, done });
}

/** One write of everything. No promise of its own, and no `async`: most writes go no further. */
function writeOnce(brick: Brick, file: OpenFile, data: IoVec, size: number, offset: number): Promise<number> {
  if (file.isDirect) {
    if (offset % SECTOR !== 0 || size % SECTOR !== 0) throw brick.error("EINVAL", "writev");
    if (!isDirectReady(data)) return writeAligned(brick, file, data, size, offset);
    return brick.io.writev(file.osFd, data, offset);
  }
  return brick.io.writev(file.osFd, data, offset, isBulk(brick, size));
}

/**
 * Who sends so much at a time streams an image through, or empties a cache of its own. Three copies of it
 * would push out of this machine's memory what its guests need, and all of it would wait for the last fsync.
 */
function isBulk(brick: Brick, size: number): boolean {
  const least = brick.options["uncached-write-min-size"];
  return least > 0 && size >= least;
}

/** What a short write left. */
async function writeRest(
  brick: Brick,
  file: OpenFile,
  { data, offset }: { readonly data: IoVec; readonly offset: number },
  { size, done }: { size: number; done: number },
): Promise<number> {
  while (done < size) {
    try {
      const count = await brick.io.writev(file.osFd, iovSlice(data, done, size), offset + done);
      if (count === 0) break;
      done += count;
    } catch {
      break;
    }
  }
  return done;
}

/** Whether O_DIRECT can take the buffers where they lie. */
function isDirectReady(data: IoVec): boolean {
  for (const part of data) if (part.length % SECTOR !== 0 || !isAligned(part, SECTOR)) return false;
  return true;
}

async function writeAligned(
  brick: Brick,
  file: OpenFile,
  data: IoVec,
  size: number,
  offset: number,
): Promise<number> {
  const bounce = PAYLOADS.take(size);
  try {
    let at = 0;
    for (const part of data) at += part.copy(bounce.buffer, at);
    return await brick.io.writev(file.osFd, [bounce.buffer], offset);
  } finally {
    bounce.release();
  }
}

/** When only the reserve is left, what is allocated already may still be overwritten. */
function checkOverwrite(brick: Brick, call: Call, file: OpenFile, args: Args<"writev">): void {
  if (!brick.isShortOfSpace(call, args.xdata)) return;
  const stat = fstat(file.osFd);
  if (!fitsInside(stat, args.offset + iovSize(args.data))) brick.checkSpace(call, args.xdata, "writev");
}

/** Whether a file is dense up to `end`. */
export function fitsInside(stat: OsStat, end: number): boolean {
  return end <= stat.size && stat.blocks * 512 >= stat.size;
}

/**
 * Rebalance marks a file that it copies; its own copying writes must not undo what a client wrote meanwhile.
 */
function checkProtection(brick: Brick, file: OpenFile, xdata: Dict): Promise<void> | undefined {
  const mark = xdata.bytes(PROTECT_WRITES);
  if (mark) return setXattr(file.osFd, PROTECT_WRITES, mark);
  return xdata.has("glusterfs.avoid.overwrite") ? refuseProtected(brick, file) : undefined;
}

async function refuseProtected(brick: Brick, file: OpenFile): Promise<void> {
  if (await getXattr(file.osFd, PROTECT_WRITES))
    throw brick.error("EBUSY", "writev", { message: "writev: a client wrote to the file meanwhile" });
}

/** Nothing is buffered here but times. */
export async function flushFop(brick: Brick, args: Args<"flush">): Promise<Reply<"flush">> {
  const file = brick.files.enter(args.fd);
  if (!file) return {};
  try {
    await brick.times.settle(file.state);
    return {};
  } finally {
    brick.files.leave(file);
  }
}

/** An anonymous fd has no OS fd of a directory to sync; nobody syncs one. */
export async function fsyncdirFop(brick: Brick, args: Args<"fsyncdir">): Promise<Reply<"fsyncdir">> {
  const file = brick.files.enter(args.fd);
  if (!file) return {};
  try {
    await brick.io.fsync(file.osFd, args.datasync);
    return {};
  } finally {
    brick.files.leave(file);
  }
}

export async function fsyncFop(brick: Brick, _call: Call, args: Args<"fsync">): Promise<Reply<"fsync">> {
  const file = await enterFile(brick, args.fd);
  try {
    const pre: Iatt = brick.iattOfFile(file);
    if (!args.datasync) await brick.times.settle(file.state);
    const mayBatch = brick.options["batch-fsync-mode"] !== "none" && args.xdata?.has("batch-fsync");
    if (mayBatch) await brick.fsyncs.add(file, args.datasync);
    else await brick.io.fsync(file.osFd, args.datasync);
    return { pre, post: brick.iattOfFile(file) };
  } finally {
    brick.files.leave(file);
  }
}

/** EINVAL unless the file is a regular one. */
export function requireRegular(brick: Brick, stat: OsStat, fop: string): void {
  if ((stat.mode & S_IFMT) !== S_IFREG) throw brick.error("EINVAL", fop);
}
