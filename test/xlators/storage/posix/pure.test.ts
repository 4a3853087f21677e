/**
 * The parts of storage/posix that touch no disk: patterns, arithmetic, names, and the byte vectors of the
 * specification.
 */

import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fnmatch } from "../../../../src/core/fnmatch.ts";
import { inoOf, newGfid, parseGfid, ROOT_GFID } from "../../../../src/core/gfid.ts";
import {
  decodeMdata,
  encodeMdata,
  mdataAt,
  mergeMdata,
  ownMask,
  parentMask,
  raiseMdata,
} from "../../../../src/core/mdata.ts";
import { combineXattr } from "../../../../src/core/xattrop.ts";
import { adler32From0 } from "../../../../xlators/storage/posix/adler32.ts";
import { gfid2path, parseGfid2path } from "../../../../xlators/storage/posix/gfid2path.ts";
import { cookieOf, Listing } from "../../../../xlators/storage/posix/listing.ts";
import { isFull, visibleStatfs } from "../../../../xlators/storage/posix/space.ts";
import { isPathinfo } from "../../../../xlators/storage/posix/virtual-xattrs.ts";
import { CALL, stamped } from "./brick-fixture.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

describe("fnmatch", () => {
  it.each([
    ["trusted.afr.*", "trusted.afr.vol-client-0", true],
    ["trusted.afr.*", "trusted.afr", false],
    ["*", ".hidden/with/slash", true],
    ["trusted.*.*.contri", "trusted.glusterfs.quota.contri", true],
    ["user.?", "user.x", true],
    ["user.?", "user.xy", false],
    ["user.[a-c]", "user.b", true],
    ["user.[!a-c]", "user.b", false],
    ["user.[^a-c]", "user.d", true],
    ["user.[]]", "user.]", true],
    ["user.[", "user.[", true],
    ["user.[z-a]", "user.z", false],
    ["user.\\*", "user.*", true],
    ["user.\\*", "user.x", false],
    ["user.a+b", "user.a+b", true],
    ["user.a+b", "user.aab", false],
  ])("%s on %s: %s", (pattern, text, expected) => {
    expect(fnmatch(pattern, text)).toBe(expected);
  });

  it("answers hostile patterns at once", () => {
    const started = performance.now();
    expect(fnmatch(`${"*".repeat(200)}b`, "a".repeat(255))).toBe(false);
    expect(performance.now() - started).toBeLessThan(1000);
  });

  it("never throws, whatever the pattern", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (pattern, text) => {
        expect(typeof fnmatch(pattern, text)).toBe("boolean");
      }),
    );
  });
});

describe("gfid2path", () => {
  it("has the name and value that GlusterFS writes", () => {
    const root = gfid2path(ROOT_GFID, "img");
    expect(root.key).toBe("trusted.gfid2path.ac9350b6c564eacc");
    expect(root.value.toString()).toBe("00000000-0000-0000-0000-000000000001/img");
    const shards = parseGfid("be318638-e8a0-4c6d-977d-7a937aa84806")!;
    const shard = gfid2path(shards, "c2c25697-f603-4a11-8330-66a4923ff447.1");
    expect(shard.key).toBe("trusted.gfid2path.235686e28a8e60a6");
  });

  it("is read back to parent and name, whatever bytes the name has", () => {
    const parent = newGfid();
    for (const name of ["a", "a/b".slice(0, 1), "ä", "\udc80\udcff"]) {
      expect(parseGfid2path(gfid2path(parent, name).value)).toEqual({ parent, name });
    }
    expect(parseGfid2path(Buffer.from("rubbish"))).toBeUndefined();
  });
});

describe("inode numbers", () => {
  it("are the last eight bytes of the gfid, 1 for the root", () => {
    expect(inoOf(parseGfid("c2c25697-f603-4a11-8330-66a4923ff447")!)).toBe(0x833066a4923ff447n);
    expect(inoOf(ROOT_GFID)).toBe(1n);
  });
});

describe("mdata", () => {
  const VECTOR = hex(
    [
      "01 0000000000000000 000000006b017993 0000000003a150da",
      "000000006b017993 0000000003a150da 000000006b017990 000000001999083b",
    ].join(" "),
  );

  it("has the bytes that GlusterFS writes", () => {
    const mdata = decodeMdata(VECTOR)!;
    expect(mdata).toEqual({
      ctime: 0x6b017993,
      ctimeNsec: 0x03a150da,
      mtime: 0x6b017993,
      mtimeNsec: 0x03a150da,
      atime: 0x6b017990,
      atimeNsec: 0x1999083b,
    });
    expect(encodeMdata(mdata)).toEqual(VECTOR);
  });

  it("is refused with another size or version", () => {
    expect(decodeMdata(VECTOR.subarray(0, 56))).toBeUndefined();
    expect(decodeMdata(Buffer.from([2, ...VECTOR.subarray(1)]))).toBeUndefined();
  });

  it("only moves forward, field by field", () => {
    const old = mdataAt({ sec: 100, nsec: 5 });
    const mask = { ctime: true, mtime: false, atime: true };
    expect(raiseMdata(old, { sec: 100, nsec: 4 }, mask)).toBe(old);
    expect(raiseMdata(old, { sec: 100, nsec: 6 }, mask)).toEqual({ ...old, ctimeNsec: 6, atimeNsec: 6 });
    expect(raiseMdata(old, { sec: 101, nsec: 0 }, mask)).toMatchObject({
      ctime: 101,
      mtime: 100,
      atime: 101,
    });
  });

  it("merges to the later of each time, in any order", () => {
    const time = fc.record({
      sec: fc.integer({ min: 0, max: 2 ** 33 }),
      nsec: fc.integer({ min: 0, max: 999999999 }),
    });
    const any = fc.tuple(time, time, time).map(([c, m, a]) => ({
      ctime: c.sec,
      ctimeNsec: c.nsec,
      mtime: m.sec,
      mtimeNsec: m.nsec,
      atime: a.sec,
      atimeNsec: a.nsec,
    }));
    fc.assert(
      fc.property(any, any, (a, b) => {
        expect(mergeMdata(a, b)).toEqual(mergeMdata(b, a));
        expect(mergeMdata(mergeMdata(a, b), a)).toEqual(mergeMdata(a, b));
        expect(decodeMdata(encodeMdata(a))).toEqual(a);
      }),
    );
  });

  it("reads own and parent flags of a call apart", () => {
    expect(ownMask(CALL)).toBeUndefined();
    expect(ownMask(stamped(0x18, 1))).toBeUndefined();
    expect(ownMask(stamped(0x03, 1))).toEqual({ ctime: true, mtime: true, atime: false });
    expect(parentMask(stamped(0x18, 1))).toEqual({ ctime: true, mtime: true, atime: false });
    expect(parentMask(stamped(0x27, 1))).toEqual({ ctime: false, mtime: false, atime: true });
  });
});

describe("xattrop arithmetic", () => {
  it("adds 32-bit numbers, wrapping", () => {
    const { store, reply } = combineXattr(
      0,
      hex("00000001 7fffffff ffffffff"),
      hex("00000002 00000001 00000001"),
    );
    expect(store).toEqual(hex("00000003 80000000 00000000"));
    expect(reply).toEqual(store);
  });

  it("adds 64-bit numbers, wrapping, a missing value counting as zeros", () => {
    expect(combineXattr(1, undefined, hex("0000000004200000 ffffffffffffffff")).store).toEqual(
      hex("0000000004200000 ffffffffffffffff"),
    );
    expect(combineXattr(1, hex("ffffffffffffffff"), hex("0000000000000001")).store).toEqual(
      hex("0000000000000000"),
    );
  });

  it("writes nothing and answers the value when every byte of the request is zero", () => {
    expect(combineXattr(0, hex("00000007"), hex("00000000"))).toEqual({
      store: undefined,
      reply: hex("00000007"),
    });
    expect(combineXattr(0, undefined, hex("0000000000000000"))).toEqual({
      store: undefined,
      reply: hex("0000000000000000"),
    });
  });

  it("starts zero elements from the default in the second half of the request", () => {
    const combined = combineXattr(5, hex("00000000 00000005"), hex("00000001 00000001 00000064 00000064"));
    expect(combined.store).toEqual(hex("00000065 00000006"));
    expect(combineXattr(6, undefined, hex("0000000000000001 0000000000000010")).store).toEqual(
      hex("0000000000000011"),
    );
  });

  it("stores and answers the previous value for get-and-set", () => {
    expect(combineXattr(4, hex("0a"), hex("00"))).toEqual({ store: hex("00"), reply: hex("0a") });
    expect(combineXattr(4, undefined, hex("0b"))).toEqual({ store: hex("0b"), reply: undefined });
  });

  it("pads a shorter value with zeros and refuses a longer one with ERANGE", () => {
    expect(combineXattr(0, hex("00000001"), hex("00000001 00000001")).store).toEqual(
      hex("00000002 00000001"),
    );
    expect(() => combineXattr(0, hex("00000001 00000001"), hex("00000001"))).toThrow(
      expect.objectContaining({ code: "ERANGE" }),
    );
  });

  it.each([2, 3, 7, -1])("refuses operation %i with EINVAL", (op) => {
    expect(() => combineXattr(op, undefined, hex("00000001"))).toThrow(
      expect.objectContaining({ code: "EINVAL" }),
    );
  });

  it("leaves the buffers that it was lent untouched", () => {
    const current = hex("00000001");
    const request = hex("00000002");
    combineXattr(0, current, request);
    expect([current, request]).toEqual([hex("00000001"), hex("00000002")]);
  });
});

describe("weak checksum", () => {
  it("is Adler-32 begun at 0", () => {
    // zlib's Adler-32 of "Wikipedia" is 11e60398; begun at 0 it lacks 1 in the low sum and 9 times 1 in the
    // high one.
    expect(adler32From0(Buffer.from("Wikipedia"))).toBe((0x11e60398 - 9 * 0x10000 - 1) >>> 0);
    expect(adler32From0(Buffer.alloc(0))).toBe(0);
  });

  it("is the same in pieces", () => {
    const bytes = createHash("sha512").update("seed").digest();
    const long = Buffer.concat(Array.from({ length: 300 }, () => bytes));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: long.length }), (at) => {
        const first = adler32From0(long.subarray(0, at));
        expect(adler32From0(long.subarray(at), first)).toBe(adler32From0(long));
      }),
    );
  });
});

describe("directory cookies", () => {
  const NAME = fc.string({ minLength: 1, maxLength: 20 }).filter((name) => name !== "." && name !== "..");
  const NAMES = fc.uniqueArray(NAME, { maxLength: 100 });
  const listing = (names: readonly string[]): Listing =>
    new Listing(names.map((name) => ({ name, type: 8 })));

  it("grow, are small, and do not depend on the order of the file system", () => {
    fc.assert(
      fc.property(NAMES, (names) => {
        const { entries } = listing(names);
        expect(entries.map((entry) => entry.name).sort()).toEqual([".", "..", ...names].sort());
        for (let i = 1; i < entries.length; i++)
          expect(entries[i]!.cookie).toBeGreaterThan(entries[i - 1]!.cookie);
        expect(entries.at(-1)!.cookie).toBeLessThan(2 ** 41);
        expect(listing([...names].reverse()).entries).toEqual(entries);
      }),
    );
  });

  it("lead on after any entry, also when others came or went meanwhile", () => {
    fc.assert(
      fc.property(NAMES, NAMES, fc.nat(), (names, others, pick) => {
        const before = listing(names).entries;
        const { name, cookie } = before[pick % before.length]!;
        const after = listing([...new Set([...names, ...others])]);
        const rest = after.entries.slice(after.indexAfter(BigInt(cookie))).map((entry) => entry.name);
        const expected = before.slice(before.findIndex((entry) => entry.name === name) + 1);
        expect(rest).toEqual(expect.arrayContaining(expected.map((entry) => entry.name)));
        expect(rest).not.toContain(name);
      }),
    );
  });

  it("begin at the beginning with offset 0 and end behind the last", () => {
    const some = listing(["a", "b"]);
    expect(some.indexAfter(0n)).toBe(0);
    expect(some.indexAfter(2n ** 63n)).toBe(4);
    expect(cookieOf("a")).toBeGreaterThan(2);
  });
});

describe("the reserve", () => {
  const FS = {
    bsize: 4096,
    frsize: 4096,
    blocks: 1000,
    bfree: 100,
    bavail: 90,
    files: 50,
    ffree: 40,
    favail: 40,
    fsid: 1,
    flag: 0,
    namemax: 255,
  };

  it("is reached when the free share or the free bytes are down to it", () => {
    expect(isFull(FS, { percent: 10 })).toBe(true);
    expect(isFull(FS, { percent: 9.9 })).toBe(false);
    expect(isFull(FS, { bytes: 100 * 4096 })).toBe(true);
    expect(isFull(FS, { bytes: 100 * 4096 - 1 })).toBe(false);
    expect(isFull({ ...FS, bfree: 0 }, { percent: 0 })).toBe(false);
  });

  it("is not shown as free, and what is left is divided among the bricks", () => {
    const options = { reserve: { percent: 1 }, sharedBy: 1, exportSize: true };
    expect(visibleStatfs(FS, options)).toMatchObject({ blocks: 1000, bfree: 90, bavail: 90 });
    expect(visibleStatfs(FS, { ...options, sharedBy: 2 })).toMatchObject({
      blocks: 500,
      bfree: 45,
      files: 25,
    });
    expect(visibleStatfs(FS, { ...options, reserve: { percent: 50 } })).toMatchObject({
      bfree: 0,
      bavail: 0,
    });
    expect(visibleStatfs(FS, { ...options, exportSize: false })).toMatchObject({
      blocks: 0,
      bfree: 0,
      files: 0,
    });
  });
});

describe("pathinfo", () => {
  it("answers to its names and to their beginnings, but to no real xattr", () => {
    for (const name of ["trusted.glusterfs.pathinfo", "glusterfs.pathinfo", "trusted.glusterfs.path"])
      expect(isPathinfo(name)).toBe(true);
    for (const name of ["trusted.", "trusted.gfid", "user.x", "trusted.glusterfs.pathinfo2", ""])
      expect(isPathinfo(name)).toBe(false);
  });
});
