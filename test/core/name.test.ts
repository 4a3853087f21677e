import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeName, encodeName, nameBytes } from "../../src/core/name.ts";

describe("names", () => {
  it("show UTF-8 as text", () => {
    expect(decodeName(Buffer.from("é.img"))).toBe("é.img");
    expect(nameBytes("é.img")).toBe(6);
  });

  it("survive byte for byte, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(encodeName(decodeName(Buffer.from(bytes)))).toEqual(Buffer.from(bytes));
      }),
    );
  });

  it("keep a replacement character that was meant as one", () => {
    const bytes = Buffer.from("a\ufffdb");
    expect(encodeName(decodeName(bytes))).toEqual(bytes);
  });

  it("never make two byte strings equal", () => {
    expect(decodeName(Buffer.from([0xff]))).not.toBe(decodeName(Buffer.from([0xfe])));
    expect(decodeName(Buffer.from([0xed, 0xb2, 0x80]))).not.toBe(decodeName(Buffer.from([0x80])));
  });
});
