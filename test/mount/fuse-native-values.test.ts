import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  fromLinuxDev,
  fromMs,
  shortIno,
  toFuseStat,
  toFuseStatfs,
  toLinuxDev,
  toMs,
} from "../../mount/fuse-native/values.ts";
import { gfidOf, newGfid, parseGfid, ROOT_GFID } from "../../src/core/gfid.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";

const GIB = 2 ** 30;

describe("inode numbers", () => {
  it("are 1 for the root and for nothing else", () => {
    expect(shortIno(ROOT_GFID)).toBe(1);
    const foldsToOne = parseGfid("00000000-0000-4000-8000-000080000001")!;
    expect(shortIno(foldsToOne)).not.toBe(1);
    expect(shortIno(gfidOf(Buffer.alloc(16, 7)))).not.toBe(0);
  });

  it("fit 32 bits and are the same each time", () => {
    for (let i = 0; i < 1000; i++) {
      const gfid = newGfid();
      const ino = shortIno(gfid);
      expect(ino).toBe(shortIno(gfidOf(Buffer.from(gfid))));
      expect(ino >= 2 && ino <= 0xffffffff && Number.isInteger(ino)).toBe(true);
    }
  });
});

describe("statvfs", () => {
  const small = {
    bsize: 4096,
    frsize: 4096,
    blocks: 1000,
    bfree: 900,
    bavail: 800,
    files: 70,
    ffree: 60,
    favail: 50,
    fsid: 2 ** 40 + 5,
    flag: 6,
    namemax: 255,
  };

  it("passes a small file system as it is, its id cut to 32 bits", () => {
    expect(toFuseStatfs(small)).toEqual({ ...small, fsid: 5 });
  });

  it("tells sizes past 2^32 blocks in larger blocks, not wrapped around", () => {
    const blocks = 2 ** 34 + 32;
    const told = toFuseStatfs({ ...small, blocks, bfree: blocks / 2, bavail: blocks / 4, files: 2 ** 40 });
    expect(told.blocks).toBeLessThanOrEqual(0xffffffff);
    expect(told.blocks * told.frsize).toBe(blocks * 4096);
    expect(told.bfree * told.frsize).toBe((blocks / 2) * 4096);
    expect(told.files).toBe(0xffffffff);
    expect((told.blocks * told.frsize) / GIB).toBeGreaterThan(65536);
  });
});

describe("times", () => {
  it("keep whole milliseconds", () => {
    expect(toMs(1000, 987_654_321)).toBe(1_000_987);
    expect(fromMs(1_000_987)).toEqual({ sec: 1000, nsec: 987_000_000 });
  });

  it("before 1970 come in right and go out as 1970", () => {
    expect(fromMs(-1)).toEqual({ sec: -1, nsec: 999_000_000 });
    expect(toMs(-1, 999_000_000)).toBe(0);
  });

  it("of any millisecond since 1970 survive the way in and out", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 45 }), (ms) => {
        const { sec, nsec } = fromMs(ms);
        expect(toMs(sec, nsec)).toBe(ms);
      }),
    );
  });
});

describe("device numbers", () => {
  it("have the kernel's 32-bit form", () => {
    expect(toLinuxDev(259 * 2 ** 32 + 70000)).toBe(286327664);
    expect(toLinuxDev(8 * 2 ** 32 + 1)).toBe(0x801);
  });

  it("survive the way in and out, up to 12 bits of major and 20 of minor", () => {
    const devices = fc.tuple(fc.integer({ min: 0, max: 0xfff }), fc.integer({ min: 0, max: 0xfffff }));
    fc.assert(
      fc.property(devices, ([major, minor]) => {
        const rdev = major * 2 ** 32 + minor;
        expect(fromLinuxDev(toLinuxDev(rdev))).toBe(rdev);
      }),
    );
  });
});

it("a stat has type, permissions and sizes past 4 GiB", () => {
  const stat = toFuseStat({
    ...ZERO_IATT,
    gfid: newGfid(),
    mode: 0o104755,
    size: 2 ** 41 + 1,
    blocks: 2 ** 33,
    nlink: 2,
  });
  expect(stat).toMatchObject({ mode: 0o104755, size: 2 ** 41 + 1, blocks: 2 ** 33, nlink: 2 });
});
