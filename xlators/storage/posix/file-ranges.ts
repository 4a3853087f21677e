/**
 * Fops on ranges of a file that move no payload: fallocate, discard, zerofill, seek, rchecksum,
 * copy_file_range, truncate (spec translators.md 2.6).
 */

import { createHash } from "node:crypto";
import type { Call } from "../../../src/core/call.ts";
import { Dict } from "../../../src/core/dict.ts";
import type { Args, PrePost, Reply } from "../../../src/core/fops.ts";
import { isDir, isRegular } from "../../../src/core/iatt.ts";
import { KEY } from "../../../src/core/keys.ts";
import { fallocate, fstat, ftruncate, seek, truncate } from "../../../src/os/files.ts";
import { PAYLOADS } from "../../../src/os/memory.ts";
import { adler32From0 } from "./adler32.ts";
import type { Brick } from "./brick.ts";
import { isCode } from "./handle.ts";
import { enterFile, fitsInside, requireRegular, writeAll } from "./io.ts";
import type { OpenFile } from "./open-files.ts";

const KEEP_SIZE = 1;
const PUNCH_HOLE = 2;
const ZERO_RANGE = 0x10;
/** Zeros are written in pieces of this size where the file system has no call for it. */
const ZEROS_BYTES = 1 << 18;
/** Copies and checksums go in pieces of this size. */
const PIECE_BYTES = 1 << 20;

export async function truncateFop(brick: Brick, call: Call, args: Args<"truncate">): Promise<PrePost> {
  return brick.withLoc(args.loc, async (subject) => {
    if (isDir(subject.stat)) throw brick.error("EISDIR", "truncate");
    if (!isRegular(subject.stat)) throw brick.error("EINVAL", "truncate");
    const pre = await brick.iatt(subject.stat, subject.state, subject.target);
    const path = subject.target as string;
    await brick.fence.pass(subject.state, path);
    await truncate(path, args.offset);
    await brick.stamp(call, subject.state, subject.target);
    return { pre, post: await brick.iattNow(subject) };
  });
}

export async function ftruncateFop(brick: Brick, call: Call, args: Args<"ftruncate">): Promise<PrePost> {
  return onFile(brick, call, args, (file) => ftruncate(file.osFd, args.offset));
}

export async function fallocateFop(brick: Brick, call: Call, args: Args<"fallocate">): Promise<PrePost> {
  await brick.space.check(brick.options.reserve);
  return onFile(brick, call, args, async (file) => {
    const end = args.offset + args.size;
    if (!fitsInside(fstat(file.osFd), end)) brick.checkSpace(call, args.xdata, "fallocate");
    await fallocate(file.osFd, args.keepSize ? KEEP_SIZE : 0, args.offset, args.size);
  });
}

export async function discardFop(brick: Brick, call: Call, args: Args<"discard">): Promise<PrePost> {
  return onFile(brick, call, args, (file) =>
    fallocate(file.osFd, PUNCH_HOLE | KEEP_SIZE, args.offset, args.size),
  );
}

export async function zerofillFop(brick: Brick, call: Call, args: Args<"zerofill">): Promise<PrePost> {
  return onFile(brick, call, args, async (file) => {
    if (args.size === 0) return;
    if (!fitsInside(fstat(file.osFd), args.offset + args.size))
      brick.checkSpace(call, args.xdata, "zerofill");
    try {
      await fallocate(file.osFd, ZERO_RANGE, args.offset, args.size);
    } catch (error) {
      // With O_DIRECT zeros that do not fill sectors cannot be written; qemu has its own way when it is told
      // so.
      if (!isCode(error, "EOPNOTSUPP") || file.isDirect) throw error;
      await writeZeros(brick, file, args.offset, args.size);
    }
  });
}

async function writeZeros(brick: Brick, file: OpenFile, offset: number, size: number): Promise<void> {
  const zeros = PAYLOADS.take(Math.min(ZEROS_BYTES, size));
  try {
    zeros.buffer.fill(0);
    for (let done = 0; done < size; ) {
      const piece = zeros.buffer.subarray(0, Math.min(zeros.buffer.length, size - done));
      const count = await writeAll(brick, file, [piece], offset + done);
      if (count === 0) throw brick.error("ENOSPC", "zerofill");
      done += count;
    }
  } finally {
    zeros.release();
  }
}

/**
 * Attributes before, the work, the call's times, attributes after; their differences add up when the caller
 * wants that.
 */
async function onFile(
  brick: Brick,
  call: Call,
  args: { fd: Args<"fsync">["fd"]; xdata?: Dict | undefined },
  work: (file: OpenFile) => Promise<void>,
): Promise<PrePost> {
  const file = await enterFile(brick, args.fd);
  const differences = args.xdata?.has(KEY.WRITE_UPDATE_ATOMIC) ? file.state.differences : undefined;
  const pre = brick.iattOfFile(file);
  differences?.begin(pre);
  try {
    await work(file);
    await brick.stampFile(call, file);
    const post = brick.iattOfFile(file);
    return { pre: differences?.end(pre, post) ?? pre, post };
  } catch (error) {
    differences?.fail();
    throw error;
  } finally {
    brick.files.leave(file);
  }
}

export async function seekFop(brick: Brick, args: Args<"seek">): Promise<Reply<"seek">> {
  const file = await enterFile(brick, args.fd);
  try {
    return { offset: await seek(file.osFd, args.offset, args.what) };
  } finally {
    brick.files.leave(file);
  }
}

/** Bytes of a strong checksum, as GlusterFS sends them: an MD5 fills the first half. */
const STRONG_BYTES = 32;

/** Weak: zlib's Adler-32 begun at 0. Strong: SHA-256 (flags 1) or MD5 (flags 0). */
export async function rchecksumFop(
  brick: Brick,
  call: Call,
  args: Args<"rchecksum">,
): Promise<Reply<"rchecksum">> {
  const fips = brick.options["fips-mode-rchecksum"];
  const hash = createHash(fips ? "sha256" : "md5");
  const file = await enterFile(brick, args.fd);
  const piece = PAYLOADS.take(Math.min(Math.max(args.size, 1), PIECE_BYTES));
  let weak = 0;
  let isZero = true;
  try {
    for (let done = 0; done < args.size; ) {
      const wanted = piece.buffer.subarray(0, Math.min(piece.buffer.length, args.size - done));
      const count = await brick.io.readv(file.osFd, [wanted], args.offset + done);
      const bytes = wanted.subarray(0, count);
      hash.update(bytes);
      weak = adler32From0(bytes, weak);
      isZero &&= isAllZero(bytes);
      done += count;
      if (count < wanted.length) break;
    }
    await brick.stampFile(call, file);
  } finally {
    piece.release();
    brick.files.leave(file);
  }
  const xdata = new Dict();
  if (args.xdata?.has("check-zero-filled")) xdata.setUint("buf-has-zeroes", isZero ? 1 : 0);
  if (fips) xdata.setInt("fips-mode-rchecksum", 1);
  const strong = Buffer.alloc(STRONG_BYTES);
  hash.digest().copy(strong);
  return { weak, strong, flags: fips ? 1 : 0, xdata };
}

function isAllZero(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

/** Copies inside the brick; stops at the end of the source. */
export async function copyRangeFop(
  brick: Brick,
  call: Call,
  args: Args<"copy_file_range">,
): Promise<Reply<"copy_file_range">> {
  const source = await enterFile(brick, args.fdIn);
  try {
    requireRegular(brick, fstat(source.osFd), "copy_file_range");
    let size = 0;
    const prePost = await onFile(brick, call, { fd: args.fdOut, xdata: args.xdata }, async (file) => {
      requireRegular(brick, fstat(file.osFd), "copy_file_range");
      brick.checkSpace(call, args.xdata, "copy_file_range");
      size = await copy(brick, source, file, args);
    });
    return { size, stat: brick.iattOfFile(source), ...prePost };
  } finally {
    brick.files.leave(source);
  }
}

async function copy(
  brick: Brick,
  source: OpenFile,
  file: OpenFile,
  args: Args<"copy_file_range">,
): Promise<number> {
  const overlaps =
    source.state === file.state && Math.abs(args.offsetIn - args.offsetOut) < args.size && args.size > 0;
  if (overlaps) throw brick.error("EINVAL", "copy_file_range");
  const piece = PAYLOADS.take(Math.min(Math.max(args.size, 1), PIECE_BYTES));
  try {
    let done = 0;
    while (done < args.size) {
      const wanted = piece.buffer.subarray(0, Math.min(piece.buffer.length, args.size - done));
      const count = await brick.io.readv(source.osFd, [wanted], args.offsetIn + done);
      if (count === 0) break;
      const written = await writeAll(brick, file, [wanted.subarray(0, count)], args.offsetOut + done);
      done += written;
      if (written < count) break;
    }
    return done;
  } finally {
    piece.release();
  }
}
