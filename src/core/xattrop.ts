/**
 * The arithmetic of xattrop: what is on disk and what is asked for give what is written (spec translators.md
 * 2.7, wire.md 7.4). Pure; arrays are big-endian and addition wraps.
 */

import { FopError } from "./errors.ts";
import { XATTROP } from "./fops.ts";

export interface Combined {
  /** Bytes to store; undefined when nothing is to be written (or created). */
  readonly store: Buffer | undefined;
  /** Bytes to answer; undefined when the key is left out of the reply. */
  readonly reply: Buffer | undefined;
}

/**
 * `current` is undefined when the xattr does not exist. ERANGE when it is longer than the request, EINVAL for
 * unknown operations.
 */
export function combineXattr(op: number, current: Buffer | undefined, request: Buffer): Combined {
  if (op === XATTROP.GET_AND_SET) return { store: request, reply: current };
  const withDefault = op === XATTROP.ADD_ARRAY_WITH_DEFAULT || op === XATTROP.ADD_ARRAY64_WITH_DEFAULT;
  const size = withDefault ? Math.floor(request.length / 2) : request.length;
  if (current !== undefined && current.length > size) throw new FopError("ERANGE", { fop: "xattrop" });
  const value = Buffer.alloc(size);
  current?.copy(value);
  if (isZero(request)) return { store: undefined, reply: value };
  switch (op) {
    case XATTROP.ADD_ARRAY:
    case XATTROP.ADD_ARRAY_WITH_DEFAULT:
      add32(value, request, withDefault ? request.subarray(size) : undefined);
      break;
    case XATTROP.ADD_ARRAY64:
    case XATTROP.ADD_ARRAY64_WITH_DEFAULT:
      add64(value, request, withDefault ? request.subarray(size) : undefined);
      break;
    default:
      throw new FopError("EINVAL", { fop: "xattrop", message: `xattrop: operation ${op} is not known` });
  }
  return { store: value, reply: value };
}

function add32(value: Buffer, delta: Buffer, start: Buffer | undefined): void {
  for (let at = 0; at + 4 <= value.length; at += 4) {
    const old = value.readInt32BE(at);
    const base = old === 0 && start ? start.readInt32BE(at) : old;
    value.writeInt32BE((base + delta.readInt32BE(at)) | 0, at);
  }
}

function add64(value: Buffer, delta: Buffer, start: Buffer | undefined): void {
  for (let at = 0; at + 8 <= value.length; at += 8) {
    const old = value.readBigInt64BE(at);
    const base = old === 0n && start ? start.readBigInt64BE(at) : old;
    value.writeBigInt64BE(BigInt.asIntN(64, base + delta.readBigInt64BE(at)), at);
  }
}

function isZero(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}
