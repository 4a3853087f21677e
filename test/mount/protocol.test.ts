import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as p from "../../mount/dev-fuse/protocol.ts";
import { gfidOf, ROOT_GFID } from "../../src/core/gfid.ts";
import type { Iatt } from "../../src/core/iatt.ts";

const STAT: Iatt = {
  gfid: gfidOf(Buffer.from("00112233445566778899aabbccddeeff", "hex")),
  mode: 0o100640,
  nlink: 3,
  uid: 1000,
  gid: 100,
  size: 2 ** 40 + 5,
  blocks: 2 ** 33,
  blksize: 131072,
  dev: 7,
  rdev: 0,
  atime: 1_700_000_000,
  atimeNsec: 1,
  mtime: -2,
  mtimeNsec: 999_999_999,
  ctime: 2 ** 33,
  ctimeNsec: 3,
  btime: 1_600_000_000,
  btimeNsec: 4,
};

function written(bytes: number, write: (words: Uint32Array) => void): Buffer {
  // Old contents must not shine through.
  const memory = Buffer.alloc(bytes, 0xee);
  const words = new Uint32Array(new ArrayBuffer(bytes));
  new Uint8Array(words.buffer).set(memory);
  write(words);
  return Buffer.from(words.buffer);
}

describe("structs to the kernel", () => {
  it("fuse_attr has each field in its place", () => {
    const attr = written(88, (words) => p.putAttr(words, 0, STAT, false));
    expect(attr.readBigUInt64LE(0)).toBe(0x8899aabbccddeeffn);
    expect(attr.readBigUInt64LE(8)).toBe(2n ** 40n + 5n);
    expect(attr.readBigUInt64LE(16)).toBe(2n ** 33n);
    expect(attr.readBigInt64LE(24)).toBe(1_700_000_000n);
    expect(attr.readBigInt64LE(32)).toBe(-2n);
    expect(attr.readBigInt64LE(40)).toBe(2n ** 33n);
    const rest = Array.from({ length: 10 }, (_, index) => attr.readUInt32LE(48 + index * 4));
    expect(rest).toEqual([1, 999_999_999, 3, 0o100640, 3, 1000, 100, 0, 131072, 0]);
  });

  it("the mount's root is inode 1, as is the volume's root by its gfid", () => {
    const shown = written(88, (words) => p.putAttr(words, 0, STAT, true));
    const own = written(88, (words) => p.putAttr(words, 0, { ...STAT, gfid: ROOT_GFID }, false));
    expect([shown.readBigUInt64LE(0), own.readBigUInt64LE(0)]).toEqual([1n, 1n]);
  });

  it("fuse_entry_out has node, times and attributes", () => {
    const entry = written(128, (words) =>
      p.putEntry(words, 0, 2 ** 34 + 9, STAT, { sec: 5, nsec: 6 }, { sec: 7, nsec: 8 }),
    );
    expect(entry.readBigUInt64LE(0)).toBe(2n ** 34n + 9n);
    expect(entry.readBigUInt64LE(8)).toBe(0n);
    expect(entry.readBigUInt64LE(16)).toBe(5n);
    expect(entry.readBigUInt64LE(24)).toBe(7n);
    expect([entry.readUInt32LE(32), entry.readUInt32LE(36)]).toEqual([6, 8]);
    expect(entry.readBigUInt64LE(40)).toBe(0x8899aabbccddeeffn);
    expect(entry.readUInt32LE(40 + 60)).toBe(0o100640);
  });

  it("a negative entry is node 0 and its time", () => {
    const entry = written(128, (words) => p.putNegativeEntry(words, 0, { sec: 1, nsec: 500 }));
    const expected = Buffer.alloc(128);
    expected.writeUInt32LE(1, 16);
    expected.writeUInt32LE(500, 32);
    expect(entry).toEqual(expected);
  });

  it("fuse_statx_out tells the birth time only when it is known", () => {
    const known = written(288, (words) => p.putStatxOut(words, 0, STAT, { sec: 1, nsec: 2 }, false));
    expect(known.readUInt32LE(32)).toBe(0xfff);
    expect(known.readUInt16LE(32 + 28)).toBe(0o100640);
    expect(known.readBigUInt64LE(32 + 32)).toBe(0x8899aabbccddeeffn);
    expect(known.readBigUInt64LE(32 + 40)).toBe(2n ** 40n + 5n);
    expect(known.readBigInt64LE(32 + 64)).toBe(1_700_000_000n);
    expect(known.readBigInt64LE(32 + 80)).toBe(1_600_000_000n);
    expect(known.readUInt32LE(32 + 88)).toBe(4);
    expect(known.readBigInt64LE(32 + 96)).toBe(2n ** 33n);
    expect(known.readBigInt64LE(32 + 112)).toBe(-2n);
    const unknown = written(288, (words) =>
      p.putStatxOut(words, 0, { ...STAT, btime: 0 }, { sec: 1, nsec: 2 }, false),
    );
    expect(unknown.readUInt32LE(32)).toBe(0x7ff);
  });
});

describe("numbers", () => {
  it("of 64 bits come back, negative ones too", () => {
    const words = new Uint32Array(2);
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        p.putU64(words, 0, value);
        expect(Buffer.from(words.buffer).readBigInt64LE(0)).toBe(BigInt(value));
        expect(p.i64(words, 0)).toBe(value);
      }),
    );
  });

  it("of 64 bits as bigint come back", () => {
    const words = new Uint32Array(2);
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
        p.putU64n(words, 0, value);
        expect(Buffer.from(words.buffer).readBigUInt64LE(0)).toBe(value);
        expect(p.u64n(words, 0)).toBe(value);
      }),
    );
  });

  it("of devices come back, and are what makedev(3) packs into 32 bits", () => {
    // major 259, minor 1000 = 0x3e8: ((0x3e8 & 0xff) | 259 << 8 | (0x3e8 & ~0xff) << 12).
    expect(p.encodeRdev(259 * 2 ** 32 + 1000)).toBe(0x003103e8);
    fc.assert(
      fc.property(fc.nat(0xfff), fc.nat(0xfffff), (major, minor) => {
        const rdev = major * 2 ** 32 + minor;
        expect(p.decodeRdev(p.encodeRdev(rdev))).toBe(rdev);
      }),
    );
  });

  it.each([
    [0, { sec: 0, nsec: 0 }],
    [1.5, { sec: 1, nsec: 500_000_000 }],
    [0.1, { sec: 0, nsec: 100_000_000 }],
    [600, { sec: 600, nsec: 0 }],
    [0.9999999999, { sec: 0, nsec: 999_999_999 }],
  ])("of seconds %d become a validity", (seconds, expected) => {
    expect(p.validity(seconds)).toEqual(expected);
  });
});
