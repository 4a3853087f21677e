import { describe, expect, it } from "vitest";
import { negotiate, putInitOut } from "../../mount/dev-fuse/negotiate.ts";
import { parseMountOptions } from "../../mount/options.ts";
import { UserError } from "../../src/core/errors.ts";

const ALL = 0xffffffff;

function init({ major = 7, minor = 45, readahead = 131072, flags = ALL, flags2 = ALL } = {}): Uint32Array {
  const words = new Uint32Array(64);
  words.set([major, minor, readahead, flags, flags2], 10);
  return words;
}

function options(...pairs: [string, string?][]) {
  return parseMountOptions(new Map(pairs.map(([key, value]) => [key, value]))).options;
}

describe("INIT", () => {
  it("takes what Mortar has a use for from a kernel that offers everything", () => {
    const agreed = negotiate(init(), options());
    expect(agreed.minor).toBe(45);
    // ASYNC_READ POSIX_LOCKS BIG_WRITES DONT_MASK FLOCK_LOCKS AUTO_INVAL_DATA DO_READDIRPLUS READDIRPLUS_AUTO
    // ASYNC_DIO PARALLEL_DIROPS MAX_PAGES CACHE_SYMLINKS HANDLE_KILLPRIV_V2 INIT_EXT
    const bits = [0, 1, 5, 6, 10, 12, 13, 14, 15, 18, 22, 23, 28, 30];
    expect(agreed.flags >>> 0).toBe(bits.reduce((sum, bit) => sum + 2 ** bit, 0));
    expect(agreed.flags2).toBe((1 << 4) | (1 << 5));
    expect(agreed.passthrough).toBe(true);
    expect(agreed.writebackCache).toBe(false);
  });

  it("takes nothing that is not offered", () => {
    const agreed = negotiate(init({ minor: 31, flags: 1 << 5 }), options(["kernel-writeback-cache"]));
    expect(agreed).toMatchObject({ minor: 31, flags: 1 << 5, flags2: 0, writebackCache: false });
  });

  it("follows the options", () => {
    const asked = options(
      ["kernel-writeback-cache", "on"],
      ["use-readdirp", "no"],
      ["auto-invalidation", "off"],
      ["background-qlen", "100"],
      ["max-write", "128"],
    );
    const agreed = negotiate(init(), asked);
    expect(agreed.writebackCache).toBe(true);
    expect(agreed.flags & ((1 << 13) | (1 << 14) | (1 << 12))).toBe(0);
    expect(agreed).toMatchObject({ maxBackground: 100, congestionThreshold: 75, maxWrite: 131072 });
  });

  it("answers with fuse_init_out", () => {
    const words = new Uint32Array(16).fill(ALL);
    expect(putInitOut(words, 0, negotiate(init(), options()))).toBe(64);
    const out = Buffer.from(words.buffer);
    expect([out.readUInt32LE(0), out.readUInt32LE(4), out.readUInt32LE(8)]).toEqual([7, 45, 131072]);
    expect([out.readUInt16LE(16), out.readUInt16LE(18)]).toEqual([64, 48]);
    expect([out.readUInt32LE(20), out.readUInt32LE(24)]).toEqual([1 << 20, 1]);
    expect([out.readUInt16LE(28), out.readUInt16LE(30)]).toEqual([256, 0]);
    expect(out.readUInt32LE(36)).toBe(1);
    expect(out.subarray(40)).toEqual(Buffer.alloc(24));
  });

  it.each([
    ["passthrough", "off"],
    ["kernel-writeback-cache", "on"],
    ["direct-io-mode", "enable"],
  ] as [string, string][])("asks for no passthrough with %s=%s, and for no stacking", (key, value) => {
    const agreed = negotiate(init(), options([key, value]));
    expect(agreed).toMatchObject({ passthrough: false, flags2: 1 << 4 });
    const words = new Uint32Array(16);
    putInitOut(words, 0, agreed);
    expect(words[9]).toBe(0);
  });

  it.each([
    [7, 30],
    [6, 45],
  ])("refuses a kernel that speaks %d.%d", (major, minor) => {
    expect(() => negotiate(init({ major, minor }), options())).toThrow(UserError);
    expect(() => negotiate(init({ major, minor }), options())).toThrow(/Linux 5\.4/);
  });
});
