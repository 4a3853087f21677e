import { describe, expect, it } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { dumpCall, dumpReply, getspecCall, nothing, pingReply } from "../../src/rpc/codec-control.ts";
import {
  Denied,
  finish,
  readCallHead,
  readReplyStatus,
  SELF,
  writeCallHead,
  writeDenied,
  writeProgramMismatch,
  writeReplyHead,
} from "../../src/rpc/message.ts";
import {
  DUMP_PROC,
  DUMP_PROGRAM,
  FOP_PROGRAM,
  HANDSHAKE_PROC,
  HANDSHAKE_PROGRAM,
} from "../../src/rpc/programs.ts";
import { XdrError, XdrReader, XdrWriter } from "../../src/rpc/xdr.ts";

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s+/g, ""), "hex");
}

const GETSPEC =
  hex(`8000008c 00000002 00000000 00000002 00dbb4a9 00000002 00000002 0005f397 00000018 00000000 00000000
  00000000 00000000 00000004 00000000 00000000 00000000 00000001 00000002 74760000 0000003b 00000002 0000000e
  00000007
  6d61782d6f702d76657273696f6e00 31303030303000 0000000e 00000002 6d696e2d6f702d76657273696f6e00 3100 00`);
const DUMP =
  hex(`80000048 00000002 00000000 00000002 075bb86d 00000001 00000001 0005f397 00000018 00000000 00000000
  00000000 00000000 00000004 00000000 00000000 00000000 00000000 0000caed`);
const DUMP_REPLY =
  hex(`800000a0 00000002 00000001 00000000 00000000 00000000 00000000 0000000000000000 00000000 00000000
  00000001 00000010 476c7573746572465320342e78207631 000000000013d005 0000000000000190 00000001 00000013
  476c757374657246532048616e647368616b6500 0000000000dbb4a9 0000000000000002 00000001 00000007
  47462d44554d5000
  00000000075bb86d 0000000000000001 00000000`);
const PING =
  hex(`80000040 00000003 00000000 00000002 075bb86d 00000001 00000002 0005f397 00000018 00000000 00000000
  00000000 00000000 00000004 00000000 00000000 00000000`);
const PONG = hex("80000024 00000003 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000");
const V3_CREDENTIAL =
  hex(`0005f398 00000028 00000232 00000000 00000000 00000000 00000000 0000000000000000 00000000
  00000004 32020000`);

/** A reader behind the record mark. */
function body(message: Buffer): XdrReader {
  return new XdrReader(message, 4);
}

describe("captured messages of stock 10.3 clients and servers", () => {
  it("GETSPEC is written byte for byte", () => {
    const w = new XdrWriter();
    writeCallHead(w, 2, HANDSHAKE_PROGRAM, HANDSHAKE_PROC.GETSPEC, "v2", SELF);
    const xdata = new Dict().setStr("max-op-version", "100000").setStr("min-op-version", "1");
    getspecCall.write(w, { flags: 1, key: "tv", xdata });
    expect(finish(w).toString("hex")).toBe(GETSPEC.toString("hex"));
  });

  it("DUMP and PING calls are written byte for byte", () => {
    const w = new XdrWriter();
    writeCallHead(w, 2, DUMP_PROGRAM, DUMP_PROC.DUMP, "v2", SELF);
    dumpCall.write(w, { gfsId: 0xcaed });
    expect(finish(w).toString("hex")).toBe(DUMP.toString("hex"));
    writeCallHead(w, 3, DUMP_PROGRAM, DUMP_PROC.PING, "v2", SELF);
    nothing.write(w, {});
    expect(finish(w).toString("hex")).toBe(PING.toString("hex"));
  });

  it("a v3 credential without owner has its pid for one, the other way round", () => {
    const w = new XdrWriter();
    writeCallHead(w, 1, FOP_PROGRAM, 1, "v3", { ...SELF, pid: 0x232 });
    const message = finish(w);
    expect(message.subarray(28, 28 + V3_CREDENTIAL.length).toString("hex")).toBe(
      V3_CREDENTIAL.toString("hex"),
    );
  });

  it("calls are read: header, caller, and where the arguments begin", () => {
    const r = body(GETSPEC);
    const head = readCallHead(r, undefined);
    expect(head).toMatchObject({ xid: 2, program: 14398633, version: 2, procedure: 2 });
    expect(head.call).toMatchObject({ uid: 0, gid: 0, pid: 0, groups: [] });
    expect(getspecCall.read(r)).toMatchObject({ flags: 1, key: "tv" });
  });

  it("replies are read and written", () => {
    const r = body(DUMP_REPLY);
    expect([r.u32(), r.u32(), readReplyStatus(r)]).toEqual([2, 1, undefined]);
    expect(dumpReply.read(r).programs.map((program) => program.name)).toEqual([
      "GlusterFS 4.x v1",
      "GlusterFS Handshake",
      "GF-DUMP",
    ]);
    const w = new XdrWriter();
    writeReplyHead(w, 3);
    pingReply.write(w, { opRet: 0, opErrno: 0, xdata: Buffer.alloc(0) });
    expect(finish(w).toString("hex")).toBe(PONG.toString("hex"));
  });
});

describe("credentials", () => {
  function roundTrip(version: "v2" | "v3", call: Parameters<typeof writeCallHead>[5]) {
    const w = new XdrWriter();
    writeCallHead(w, 7, FOP_PROGRAM, 12, version, call);
    return readCallHead(body(finish(w)), undefined).call;
  }

  it.each(["v2", "v3"] as const)("%s brings ids, groups and owner over", (version) => {
    const call = {
      uid: 1000,
      gid: 4_294_967_295,
      pid: -6,
      groups: [4, 24, 27],
      lkOwner: Buffer.from("0123456789"),
    };
    expect(roundTrip(version, call)).toMatchObject(call);
  });

  it("v3 brings the time of the operation over, v2 does not", () => {
    const call = { ...SELF, time: { sec: 1_700_000_000, nsec: 123_456_789, flags: 3 } };
    expect(roundTrip("v3", call).time).toEqual(call.time);
    expect(roundTrip("v2", call).time).toBeUndefined();
  });

  it("leaves groups out that do not fit beside the owner", () => {
    const groups = Array.from({ length: 200 }, (_, index) => index);
    const lkOwner = Buffer.alloc(8, 1);
    expect(roundTrip("v3", { ...SELF, groups, lkOwner }).groups).toEqual(groups.slice(0, 83));
    expect(roundTrip("v2", { ...SELF, groups, lkOwner }).groups).toEqual(groups.slice(0, 87));
  });

  it("refuses an owner that does not fit at all", () => {
    expect(() => roundTrip("v3", { ...SELF, lkOwner: Buffer.alloc(92) })).toThrow(XdrError);
  });

  it("takes the first version of them", () => {
    const text = `00000009 00000000 00000002 0013d005 00000190 00000001 00000005 00000058 0102030405060708 00000001
      000003e8 000003e9 00000001 00000021 ${"00000000".repeat(15)} 00000000 00000000`;
    const { call } = readCallHead(new XdrReader(hex(text)), undefined);
    expect(call).toMatchObject({ uid: 1000, gid: 1001, pid: 1, groups: [33] });
    expect(call.lkOwner.toString("hex")).toBe("0102030405060708");
  });

  it("no credential is nobody, never root", () => {
    const text = "00000009 00000000 00000002 0013d005 00000190 00000001 00000000 00000000 00000000 00000000";
    expect(readCallHead(new XdrReader(hex(text)), undefined).call).toMatchObject({ uid: 65534, gid: 65534 });
  });

  it("an unknown flavor is denied", () => {
    const text = "00000009 00000000 00000002 0013d005 00000190 00000001 00000006 00000000 00000000 00000000";
    expect(() => readCallHead(new XdrReader(hex(text)), undefined)).toThrow(Denied);
  });

  it("an owner or group count past the credential's length is refused", () => {
    const head = "00000009 00000000 00000002 0013d005 00000190 00000001 0005f398 00000028";
    const groups = `${head} 00000000 00000000 00000000 00000000 00000000 0000000000000000 7fffffff ${"0".repeat(64)}`;
    expect(() => readCallHead(new XdrReader(hex(groups)), undefined)).toThrow(XdrError);
    const long = `${head} 00000000 00000000 00000000 00000000 00000000 0000000000000000 00000000 00000100 ${"00".repeat(300)}`;
    expect(() => readCallHead(new XdrReader(hex(long)), undefined)).toThrow(XdrError);
  });
});

describe("answers to calls that are not run", () => {
  function statusOf(write: (w: XdrWriter) => void): string | undefined {
    const w = new XdrWriter();
    write(w);
    const r = body(finish(w));
    r.skip(8);
    return readReplyStatus(r);
  }

  it("are understood by the caller", () => {
    expect(statusOf((w) => writeReplyHead(w, 1, 1))).toBe("program unknown");
    expect(statusOf((w) => writeProgramMismatch(w, 1, 330, 400))).toBe("program version unknown");
    expect(statusOf((w) => writeReplyHead(w, 1, 3))).toBe("procedure unknown");
    expect(statusOf((w) => writeReplyHead(w, 1, 4))).toBe("arguments not understood");
    expect(statusOf((w) => writeDenied(w, 1, "credential"))).toBe("the credential was refused");
    expect(statusOf((w) => writeDenied(w, 1, "rpc-version"))).toBe("rpc version mismatch");
  });
});
