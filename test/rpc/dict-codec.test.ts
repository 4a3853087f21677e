import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { newGfid } from "../../src/core/gfid.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";
import {
  decodeLegacyDict,
  dict,
  encodeLegacyDict,
  legacyDict,
  payloadDict,
} from "../../src/rpc/dict-codec.ts";
import { decode, encode, XdrError, XdrReader } from "../../src/rpc/xdr.ts";
import * as arbitrary from "./wire-arbitraries.ts";

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ""), "hex");
}

/** A dict of one pair, with its header; `body` is key, type and value. */
function onePair(body: string, size = hex(body).length): Buffer {
  return Buffer.concat([hex(size.toString(16).padStart(8, "0")), hex("00000001 00000001"), hex(body)]);
}

describe("typed dicts", () => {
  it("tell NULL from empty", () => {
    expect(encode(dict, undefined)).toEqual(hex("00000000 ffffffff 00000000"));
    expect(decode(dict, hex("00000000 ffffffff 00000000"))).toBeUndefined();
    expect(encode(dict, new Dict())).toEqual(hex("00000000 00000000 00000000"));
    expect(decode(dict, hex("00000000 00000000 00000000"))?.size).toBe(0);
  });

  it("carry a gfid as stock clients send it", () => {
    const gfid = newGfid();
    const bytes = Buffer.concat([
      hex("00000024 00000001 00000001 00000009 676669642d72657100000000 00000007"),
      gfid,
    ]);
    expect(encode(dict, new Dict().setGfid("gfid-req", gfid))).toEqual(bytes);
    expect(decode(dict, bytes)?.get("gfid-req")).toEqual({ type: "gfuuid", value: gfid });
  });

  it("carry text and numbers as in a READ reply", () => {
    const bytes = hex(
      `0000002c 00000002 00000002 00000007 6d792e6b65790000 00000005 00000004 61626300
       00000003 6b320000 00000002 fffffffffffffffb`,
    );
    const value = new Dict().setStr("my.key", "abc").setInt("k2", -5);
    expect(encode(payloadDict, value)).toEqual(bytes);
    expect([...decode(payloadDict, bytes)!]).toEqual([...value]);
  });

  it("carry times in their own order", () => {
    const mdata = { atime: 1, atimeNsec: 4, mtime: 2, mtimeNsec: 5, ctime: -3, ctimeNsec: 6 };
    const bytes = onePair(
      `00000002 6d000000 00000009
       0000000000000001 0000000000000002 fffffffffffffffd 00000004 00000005 00000006`,
    );
    const value = new Dict().set("m", { type: "mdata", value: mdata });
    expect(encode(dict, value)).toEqual(bytes);
    expect([...decode(dict, bytes)!]).toEqual([...value]);
  });

  it("come back as they went, with the exact size in front", () => {
    fc.assert(
      fc.property(arbitrary.someDict, (value) => {
        const bytes = encode(payloadDict, value);
        expect(bytes.readUInt32BE(0)).toBe(bytes.length - 12);
        expect([...decode(payloadDict, bytes)!]).toEqual([...value]);
        expect(encode(dict, decode(dict, bytes))).toEqual(bytes);
      }),
      { numRuns: 500 },
    );
  });

  it("outlive the record they were read from", () => {
    const gfid = newGfid();
    const value = new Dict().setBytes("b", Buffer.from("bytes")).setGfid("g", gfid);
    const record = encode(dict, value);
    const read = decode(dict, record)!;
    record.fill(0xff);
    expect([...read]).toEqual([...value]);
  });

  it("are read once when a payload's comes again, and again when a byte is another", () => {
    const [one, two] = [new Dict().setUint("k", 1), new Dict().setUint("k", 2)];
    const record = Buffer.concat([encode(payloadDict, one), encode(payloadDict, two)]);
    const first = decode(payloadDict, encode(payloadDict, one));
    const reader = new XdrReader(record);
    expect(payloadDict.read(reader)).toBe(first);
    expect([...payloadDict.read(reader)!]).toEqual([...two]);
    expect(reader.remaining).toBe(0);
    expect([...decode(payloadDict, encode(payloadDict, one))!]).toEqual([...one]);
    const cut = new XdrReader(record, 0, record.length / 2 - 4);
    expect(() => payloadDict.read(cut)).toThrow(XdrError);
  });

  it("take text up to its first NUL, or all of it when there is none", () => {
    const key = "00000002 6b000000 00000005";
    expect(decode(dict, onePair(`${key} 00000004 61620063`))?.text("k")).toBe("ab");
    expect(decode(dict, onePair(`${key} 00000002 61620000`))?.text("k")).toBe("ab");
    expect(decode(dict, onePair(`${key} 00000000`))?.text("k")).toBe("");
  });

  it("give the last value of a key that comes twice", () => {
    const bytes = hex(
      `00000028 00000002 00000002 00000002 6b000000 00000002 0000000000000001
       00000002 6b000000 00000002 0000000000000002`,
    );
    expect([...decode(dict, bytes)!]).toEqual([["k", { type: "int", value: 2n }]]);
  });

  it("pass over the pairs of a dict that says it is NULL", () => {
    const bytes = onePair("00000002 6b000000 00000002 0000000000000001");
    bytes.writeInt32BE(-1, 4);
    expect(decode(dict, bytes)).toBeUndefined();
  });

  it("trust xdr_size only in front of a payload, and there it must be right", () => {
    const wrong = onePair("00000002 6b000000 00000002 0000000000000001", 24);
    expect(decode(dict, wrong)?.number("k")).toBe(1);
    expect(() => decode(payloadDict, wrong)).toThrow("dict: xdr_size 24 where the pairs take 20 bytes");
    expect(() => decode(payloadDict, hex("00000004 ffffffff 00000000"))).toThrow(XdrError);
  });

  it.each([
    ["a key without a NUL", onePair("00000001 6b000000 00000002 0000000000000001")],
    ["a key of no bytes", onePair("00000000 00000002 0000000000000001")],
    ["a key with a NUL inside", onePair("00000003 6b006b00 00000002 0000000000000001")],
    ["a value of type 0", onePair("00000002 6b000000 00000000")],
    ["a value of type 10", onePair("00000002 6b000000 0000000a")],
    ["a value past the end", onePair("00000002 6b000000 00000006 00000005 00000000")],
    ["a value over a megabyte", onePair("00000002 6b000000 00000006 00100001")],
    ["more pairs than allowed", hex("00000000 00001001 00001001")],
    ["four thousand million pairs", hex("00000000 7fffffff ffffffff")],
    ["fewer pairs than promised", hex("00000000 00000001 00000001")],
  ])("refuse %s", (_what, bytes) => {
    expect(() => decode(dict, bytes)).toThrow(XdrError);
  });
});

describe("untyped dicts", () => {
  it("carry text with its NUL as stock servers send it", () => {
    const bytes = hex("00000001 00000008 00000002 6368696c645f757000 3100");
    expect(encodeLegacyDict(new Dict().setStr("child_up", "1"))).toEqual(bytes);
    expect(encodeLegacyDict(new Dict().setInt("child_up", 1))).toEqual(bytes);
    const read = decodeLegacyDict(bytes);
    expect([...read]).toEqual([["child_up", { type: "str-old", value: hex("3100") }]]);
    expect(read.text("child_up")).toBe("1");
    expect(read.number("child_up")).toBe(1);
  });

  it("are empty opaques when absent", () => {
    expect(encode(legacyDict, undefined)).toEqual(hex("00000000"));
    expect(decode(legacyDict, hex("00000000"))).toBeUndefined();
    expect(encode(legacyDict, new Dict())).toEqual(hex("00000004 00000000"));
    expect(decode(legacyDict, hex("00000004 00000000"))?.size).toBe(0);
  });

  it("keep text, bytes and numbers", () => {
    const entries = fc.array(fc.tuple(arbitrary.name, fc.oneof(arbitrary.name, arbitrary.bytes(50))));
    fc.assert(
      fc.property(entries, (pairs) => {
        const value = new Dict();
        for (const [key, entry] of pairs)
          typeof entry === "string" ? value.setStr(key, entry) : value.setBytes(key, entry);
        const bytes = encodeLegacyDict(value);
        const read = decodeLegacyDict(bytes);
        expect([...read.keys()]).toEqual([...value.keys()]);
        for (const key of value.keys()) expect(read.bytes(key)).toEqual(value.bytes(key));
        expect(encodeLegacyDict(read)).toEqual(bytes);
      }),
    );
  });

  it("have no form for attributes", () => {
    expect(() => encodeLegacyDict(new Dict().setIatt("stat", ZERO_IATT))).toThrow(
      'dict: "stat": type iatt has no untyped form',
    );
  });

  it.each([
    ["a key without its NUL", "00000001 00000001 00000001 6b6b 31"],
    ["a key with a NUL inside", "00000001 00000002 00000001 6b0000 31"],
    ["a key longer than the rest", "00000001 00000009 00000000 6b00"],
    ["a key of four gigabytes", "00000001 ffffffff 00000000 6b00"],
    ["a value longer than the rest", "00000001 00000001 00000002 6b00 31"],
    ["a value of four gigabytes", "00000001 00000001 ffffffff 6b00 31"],
    ["a million pairs", "00100000"],
    ["fewer pairs than promised", "00000002 00000001 00000001 6b00 31"],
    ["bytes after the last pair", "00000001 00000001 00000001 6b00 3132"],
    ["less than a count", "0000"],
  ])("refuse %s", (_what, bytes) => {
    expect(() => decodeLegacyDict(hex(bytes))).toThrow(XdrError);
  });
});
