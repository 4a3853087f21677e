import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  array,
  decode,
  encode,
  fixed,
  i32,
  i64,
  i64n,
  list,
  opaque,
  str,
  struct,
  u32,
  u64,
  u64n,
  XdrError,
  XdrReader,
  type XdrType,
  XdrWriter,
} from "../../src/rpc/xdr.ts";

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ""), "hex");
}

describe("scalars", () => {
  it.each<[string, XdrType<number>, number, string]>([
    ["u32", u32, 0xfffffffe, "fffffffe"],
    ["i32", i32, -2, "fffffffe"],
    ["u64", u64, 2 ** 32 + 5, "00000001 00000005"],
    ["the largest u64", u64, Number.MAX_SAFE_INTEGER, "001fffff ffffffff"],
    ["i64", i64, -2, "ffffffff fffffffe"],
    ["the smallest i64", i64, -Number.MAX_SAFE_INTEGER, "ffe00000 00000001"],
  ])("%s is big-endian", (_what, type, value, bytes) => {
    expect(encode(type, value)).toEqual(hex(bytes));
    expect(decode(type, hex(bytes))).toBe(value);
  });

  it("keep all 64 bits as bigint", () => {
    expect(decode(u64n, hex("ffffffff fffffffe"))).toBe(2n ** 64n - 2n);
    expect(decode(i64n, hex("ffffffff fffffffe"))).toBe(-2n);
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
        expect(decode(u64n, encode(u64n, value))).toBe(value);
        const signed = BigInt.asIntN(64, value);
        expect(decode(i64n, encode(i64n, signed))).toBe(signed);
      }),
    );
  });

  it.each<[string, XdrType<number>, string]>([
    ["u64", u64, "00200000 00000000"],
    ["u64", u64, "ffffffff ffffffff"],
    ["i64", i64, "00200000 00000000"],
    ["i64", i64, "ffe00000 00000000"],
    ["i64", i64, "80000000 00000000"],
  ])("%s past 2^53-1 is EOVERFLOW", (_what, type, bytes) => {
    expect(() => decode(type, hex(bytes))).toThrow(expect.objectContaining({ code: "EOVERFLOW" }));
  });

  it.each<[string, () => unknown]>([
    ["a negative u32", () => encode(u32, -1)],
    ["a fractional u32", () => encode(u32, 0.5)],
    ["NaN as u64", () => encode(u64, Number.NaN)],
    ["a negative u64", () => encode(u64, -1)],
    ["2^53 as u64", () => encode(u64, 2 ** 53)],
    ["2^31 as i32", () => encode(i32, 2 ** 31)],
    ["2^53 as i64", () => encode(i64, 2 ** 53)],
    ["2^64 as u64n", () => encode(u64n, 2n ** 64n)],
    ["2^63 as i64n", () => encode(i64n, 2n ** 63n)],
    ["three bytes as fixed(4)", () => encode(fixed(4), Buffer.alloc(3))],
  ])("%s is refused when written", (_what, write) => {
    expect(write).toThrow(XdrError);
  });
});

describe("counted bytes", () => {
  it.each([
    [0, "00000000"],
    [1, "00000001 61000000"],
    [3, "00000003 61616100"],
    [4, "00000004 61616161"],
  ])("of length %i are padded to four bytes", (length, bytes) => {
    expect(encode(str(9), "a".repeat(length))).toEqual(hex(bytes));
    expect(encode(opaque(9), Buffer.alloc(length, "a"))).toEqual(hex(bytes));
    expect(decode(str(9), hex(bytes))).toBe("a".repeat(length));
    expect(decode(opaque(9), hex(bytes))).toEqual(Buffer.alloc(length, "a"));
  });

  it("survive as text whatever bytes they are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ min: 1, maxLength: 40 }), (array) => {
        const wire = encode(opaque(40), Buffer.from(array));
        expect(encode(str(40), decode(str(40), wire))).toEqual(wire);
      }),
    );
  });

  it.each([
    ["longer than allowed", "00000005 61616161 61000000"],
    ["longer than the record", "00000004 616161"],
    ["without their padding", "00000003 616161"],
    ["four gigabytes long", "ffffffff 61616161"],
    ["with a NUL inside", "00000003 61006100"],
    ["with a NUL behind a byte that is not ASCII", "00000003 ff006100"],
  ])("%s are refused", (_what, bytes) => {
    expect(() => decode(str(4), hex(bytes))).toThrow(XdrError);
  });

  it("are never text with a NUL when written", () => {
    expect(() => encode(str(9), "a\0")).toThrow(XdrError);
    expect(() => encode(str(9), "ä\0")).toThrow(XdrError);
  });

  it("outlive the record they were read from", () => {
    const record = hex("00000002 61620000");
    const value = decode(opaque(9), record);
    record.fill(0);
    expect(value).toEqual(Buffer.from("ab"));
  });
});

describe("lists and arrays", () => {
  it("are chains and counts", () => {
    expect(encode(list(u32), [7, 8])).toEqual(hex("00000001 00000007 00000001 00000008 00000000"));
    expect(decode(list(u32), hex("00000001 00000007 00000001 00000008 00000000"))).toEqual([7, 8]);
    expect(encode(array(u32), [7, 8])).toEqual(hex("00000002 00000007 00000008"));
    expect(decode(array(u32), hex("00000002 00000007 00000008"))).toEqual([7, 8]);
  });

  it.each<[string, XdrType<unknown>, string]>([
    ["a link that is neither 0 nor 1", list(u32), "00000002 00000007 00000000"],
    ["a list without an end", list(u32), "00000001 00000007"],
    ["a list past its limit", list(u32, 1), "00000001 00000007 00000001 00000008 00000000"],
    ["an array past its limit", array(u32, 1), "00000002 00000007 00000008"],
    ["an array longer than the record", array(u32), "00000003 00000007"],
  ])("%s is refused", (_what, type, bytes) => {
    expect(() => decode(type, hex(bytes))).toThrow(XdrError);
  });
});

describe("XdrReader", () => {
  it("stays inside its part of the buffer", () => {
    const r = new XdrReader(hex("00000001 00000002 00000003"), 4, 8);
    expect(r.u32()).toBe(2);
    expect(r.remaining).toBe(0);
    expect(() => r.u32()).toThrow("xdr: 4 bytes wanted at offset 8, the record ends at 8");
    expect(r.offset).toBe(8);
  });
});

describe("XdrWriter", () => {
  const pair = struct({ a: u32, text: str(100) });

  it("writes messages one after the other, each its own bytes", () => {
    const w = new XdrWriter(64);
    const messages: Buffer[] = [];
    for (let i = 0; i < 50; i++) {
      pair.write(w, { a: i, text: "x".repeat(i) });
      messages.push(w.take());
    }
    for (const [i, message] of messages.entries())
      expect(decode(pair, message)).toEqual({ a: i, text: "x".repeat(i) });
  });

  it("takes messages that are larger than its slab", () => {
    const w = new XdrWriter(64);
    w.u32(1);
    w.fixed(Buffer.alloc(1000, 7));
    w.patchU32(0, 2);
    expect(w.length).toBe(1004);
    expect(w.take()).toEqual(Buffer.concat([hex("00000002"), Buffer.alloc(1000, 7)]));
  });

  it("forgets a message that failed half-way", () => {
    const w = new XdrWriter();
    expect(() => pair.write(w, { a: 1, text: "a\0" })).toThrow(XdrError);
    w.discard();
    w.u32(5);
    expect(w.take()).toEqual(hex("00000005"));
  });

  it("patches only what it has written", () => {
    const w = new XdrWriter();
    w.u32(1);
    expect(() => w.patchU32(1, 0)).toThrow(XdrError);
    expect(() => w.patchU32(-1, 0)).toThrow(XdrError);
  });
});
