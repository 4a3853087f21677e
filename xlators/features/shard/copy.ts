/**
 * copy_file_range where blocks are involved: read here and written here, a piece at a time. The two ranges
 * lie in blocks of different files, so no brick could copy them by itself.
 */

import type { Call } from "../../../src/core/call.ts";
import { FopError } from "../../../src/core/errors.ts";
import type { Args, PrePost, Reply } from "../../../src/core/fops.ts";
import type { XlatorBase } from "../../../src/core/xlator.ts";

const PIECE_BYTES = 1 << 20;
/** More is left to the caller's next call, as copy_file_range(2) allows. */
const CALL_BYTES_MAX = 64 * PIECE_BYTES;

export async function copyRange(
  whole: XlatorBase,
  call: Call,
  args: Args<"copy_file_range">,
): Promise<Reply<"copy_file_range">> {
  const { fdIn, offsetIn, fdOut, offsetOut } = args;
  const overlaps = fdIn.inode === fdOut.inode && Math.abs(offsetIn - offsetOut) < args.size;
  if (overlaps) throw new FopError("EINVAL", { fop: "copy_file_range", xlator: whole.name });
  const wanted = Math.min(args.size, CALL_BYTES_MAX);
  let before: PrePost | undefined;
  let after: Reply<"writev"> | undefined;
  let size = 0;
  while (size < wanted) {
    const piece = Math.min(PIECE_BYTES, wanted - size);
    const read = await whole.readv(call, { fd: fdIn, offset: offsetIn + size, size: piece, flags: 0 });
    try {
      if (read.size === 0) break;
      after = await whole.writev(call, { fd: fdOut, data: read.data, offset: offsetOut + size, flags: 0 });
    } catch (error) {
      // What was copied counts.
      if (size > 0) break;
      throw error;
    } finally {
      read.lease?.release();
    }
    before ??= after;
    size += after.size;
    if (after.size < read.size) break;
  }
  const { stat } = await whole.fstat(call, { fd: fdIn });
  const out = after === undefined ? (await whole.fstat(call, { fd: fdOut })).stat : undefined;
  return { size, stat, pre: before?.pre ?? out!, post: after?.post ?? out! };
}
