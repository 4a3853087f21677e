import { describe, expect, it } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import {
  dumpCall,
  dumpReply,
  entrylkContention,
  getspecCall,
  getspecReply,
  nothing,
  pingReply,
  setvolumeReply,
} from "../../src/rpc/codec-control.ts";
import { DUMP_PROGRAM, FOP_PROGRAM, HANDSHAKE_PROGRAM } from "../../src/rpc/programs.ts";
import { decode, encode, XdrError, type XdrType } from "../../src/rpc/xdr.ts";

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ""), "hex");
}

/**
 * Record mark, xid, type, RPC version, program, version, procedure; then credential and verifier as these
 * calls have them.
 */
const CALL_HEADER_BYTES = 4 + 24 + 8 + 24 + 8;
const REPLY_HEADER_BYTES = 4 + 24;

const CREDENTIAL =
  "0005f397 00000018 00000000 00000000 00000000 00000000 00000004 00000000 00000000 00000000";

/** Whole records of stock clients, and of servers they accepted. */
const RECORDS: [string, number, XdrType<unknown>, string, unknown][] = [
  [
    "GETSPEC call",
    CALL_HEADER_BYTES,
    getspecCall,
    `8000008c 00000002 00000000 00000002 00dbb4a9 00000002 00000002 ${CREDENTIAL}
     00000001 00000002 74760000 0000003b 00000002
     0000000e 00000007 6d61782d6f702d76657273696f6e00 31303030303000
     0000000e 00000002 6d696e2d6f702d76657273696f6e00 3100 00`,
    expect.objectContaining({ flags: 1, key: "tv" }),
  ],
  [
    "DUMP call",
    CALL_HEADER_BYTES,
    dumpCall,
    `80000048 00000002 00000000 00000002 075bb86d 00000001 00000001 ${CREDENTIAL} 000000000000caed`,
    { gfsId: 0xcaed },
  ],
  [
    "DUMP reply",
    REPLY_HEADER_BYTES,
    dumpReply,
    `800000a0 00000002 00000001 00000000 00000000 00000000 00000000 0000000000000000 00000000 00000000
     00000001 00000010 476c7573746572465320342e78207631 000000000013d005 0000000000000190
     00000001 00000013 476c757374657246532048616e647368616b6500 0000000000dbb4a9 0000000000000002
     00000001 00000007 47462d44554d5000 00000000075bb86d 0000000000000001 00000000`,
    { gfsId: 0, opRet: 0, opErrno: 0, programs: [FOP_PROGRAM, HANDSHAKE_PROGRAM, DUMP_PROGRAM] },
  ],
  [
    "PING call",
    CALL_HEADER_BYTES,
    nothing,
    `80000040 00000003 00000000 00000002 075bb86d 00000001 00000002 ${CREDENTIAL}`,
    {},
  ],
  [
    "PING reply",
    REPLY_HEADER_BYTES,
    pingReply,
    `80000024 00000003 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000`,
    { opRet: 0, opErrno: 0, xdata: Buffer.alloc(0) },
  ],
];

describe("records of stock peers", () => {
  it.each(RECORDS)("%s", (_what, headerBytes, type, text, value) => {
    const record = hex(text);
    expect(record.readUInt32BE(0)).toBe(0x80000000 + record.length - 4);
    const body = record.subarray(headerBytes);
    const read = decode(type, body);
    expect(read).toEqual(value);
    expect(encode(type, read)).toEqual(body);
  });

  it("GETSPEC's dict holds the range of op-versions as text", () => {
    const body = hex(RECORDS[0]![3]).subarray(CALL_HEADER_BYTES);
    const { xdata } = decode(getspecCall, body);
    expect(xdata?.number("min-op-version")).toBe(1);
    expect(xdata?.number("max-op-version")).toBe(100_000);
    const ours = new Dict().setStr("max-op-version", "100000").setStr("min-op-version", "1");
    expect(encode(getspecCall, { flags: 1, key: "tv", xdata: ours })).toEqual(body);
  });
});

describe("control structs", () => {
  it("carry the least that a client accepts as SETVOLUME's reply", () => {
    const dict = new Dict().setStr("child_up", "1").setStr("ERROR", "Success").setStr("process-uuid", "x");
    const read = decode(setvolumeReply, encode(setvolumeReply, { opRet: 0, opErrno: 0, dict }));
    expect(read.dict?.text("child_up")).toBe("1");
    expect(read.dict?.text("ERROR")).toBe("Success");
  });

  it("carry a volfile of many lines whatever its language", () => {
    const spec = 'volume a\n  type storage/posix\n  option directory "/bricks/größe"\nend-volume\n'.repeat(
      1000,
    );
    const reply = { opRet: Buffer.byteLength(spec), opErrno: 0, spec, xdata: undefined };
    expect(decode(getspecReply, encode(getspecReply, reply))).toEqual(reply);
  });

  it("are refused when their dict is cut", () => {
    const bytes = encode(setvolumeReply, { opRet: 0, opErrno: 0, dict: new Dict().setStr("child_up", "1") });
    expect(() => decode(setvolumeReply, bytes.subarray(0, -4))).toThrow(XdrError);
  });

  it("may have bytes behind them only where the caller looks for them", () => {
    expect(() => decode(dumpCall, Buffer.alloc(12))).toThrow("xdr: 4 bytes after the end of the value");
    expect(() => decode(entrylkContention, Buffer.alloc(7))).toThrow(XdrError);
  });
});
