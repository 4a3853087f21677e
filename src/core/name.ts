/**
 * File names, paths, link targets and xattr names are bytes in Linux and on the wire, yet strings in the
 * code.
 *
 * A byte string that is valid UTF-8 is that text. Each byte that is not becomes one lone surrogate
 * U+DC80..U+DCFF (the "surrogateescape" of Python's PEP 383), so that every name survives the way through
 * Mortar byte for byte and two different names are never equal.
 */

const REPLACEMENT = "\ufffd";
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Bytes to name. Total: never throws, `encodeName` gives the same bytes back. */
export function decodeName(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  return text.includes(REPLACEMENT) ? decodeSlowly(bytes) : text;
}

/** Name to bytes; the inverse of `decodeName`. */
export function encodeName(name: string): Buffer {
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    if (unit >= 0xd800 && unit <= 0xdfff) return encodeSlowly(name);
  }
  return Buffer.from(name, "utf8");
}

/** Bytes that `name` takes on disk and on the wire. */
export function nameBytes(name: string): number {
  return encodeName(name).length;
}

function decodeSlowly(bytes: Buffer): string {
  let out = "";
  for (let at = 0; at < bytes.length; ) {
    const size = sequenceSize(bytes, at);
    if (size === 0) out += String.fromCharCode(0xdc00 + bytes[at++]!);
    else {
      out += bytes.toString("utf8", at, at + size);
      at += size;
    }
  }
  return out;
}

/** Length of the valid UTF-8 sequence at `at`, or 0. */
function sequenceSize(bytes: Buffer, at: number): number {
  const first = bytes[at]!;
  const size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (at + size > bytes.length) return 0;
  try {
    utf8.decode(bytes.subarray(at, at + size));
    return size;
  } catch {
    return 0;
  }
}

function encodeSlowly(name: string): Buffer {
  const parts: Buffer[] = [];
  for (const character of name) {
    const unit = character.charCodeAt(0);
    const escaped = character.length === 1 && unit >= 0xdc80 && unit <= 0xdcff;
    parts.push(escaped ? Buffer.from([unit - 0xdc00]) : Buffer.from(character, "utf8"));
  }
  return Buffer.concat(parts);
}
