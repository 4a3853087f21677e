/**
 * Reads two things out of fuse-native's own request struct that its C code holds but never hands to
 * JavaScript: the modification time of utimens (it passes the access time twice) and the open flags of create
 * (it passes none).
 *
 * The package gives every handler that struct as a Buffer. Its layout is that of version 2.2.6 on 64-bit
 * little-endian Linux, so every read is checked against values the package does pass; when one differs, the
 * answer is undefined and the caller refuses the operation rather than store something made up.
 * Source: struct fuse_thread_locals_t in the package's fuse-native.c, struct fuse_file_info of libfuse 2.9.
 */

import koffi from "koffi";

/** sizeof(fuse_thread_locals_t), and byte offsets of its members. */
const LAYOUT = { size: 360, op: 8, info: 48, mode: 80, atime: 104, mtime: 112 } as const;

/** Operation numbers of the package; also the places of their handlers. */
export const OP = { utimens: 12, create: 27 } as const;

export interface RequestTimes {
  /** Milliseconds since 1970, may be negative. */
  readonly atimeMs: number;
  readonly mtimeMs: number;
}

/**
 * Both times of a utimens request.
 * @param atimeLow the access time as the package passed it, two halves of a 64-bit number
 */
export function requestTimes(request: Buffer, atimeLow: number, atimeHigh: number): RequestTimes | undefined {
  if (request.length !== LAYOUT.size || request.readUInt32LE(LAYOUT.op) !== OP.utimens) return undefined;
  if (request.readUInt32LE(LAYOUT.atime) !== atimeLow) return undefined;
  if (request.readUInt32LE(LAYOUT.atime + 4) !== atimeHigh) return undefined;
  return {
    atimeMs: Number(request.readBigInt64LE(LAYOUT.atime)),
    mtimeMs: Number(request.readBigInt64LE(LAYOUT.mtime)),
  };
}

/** The open(2) flags of a create request; `read` is replaced by tests. */
export function createFlags(request: Buffer, mode: number, read = readInt32): number | undefined {
  if (request.length !== LAYOUT.size || request.readUInt32LE(LAYOUT.op) !== OP.create) return undefined;
  if (request.readUInt32LE(LAYOUT.mode) !== mode) return undefined;
  const info = request.readBigUInt64LE(LAYOUT.info);
  return info === 0n ? undefined : read(info);
}

/**
 * `flags` is the first member of fuse_file_info, which lives on the stack of the thread that waits for the
 * answer.
 */
function readInt32(address: bigint): number {
  return koffi.decode(address, "int32_t") as number;
}
