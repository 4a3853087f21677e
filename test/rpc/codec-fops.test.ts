import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Dict } from "../../src/core/dict.ts";
import { FOP_NAMES } from "../../src/core/fops.ts";
import { type Gfid, gfidEquals, newGfid, parseGfid, ROOT_GFID } from "../../src/core/gfid.ts";
import { ZERO_IATT } from "../../src/core/iatt.ts";
import {
  FOP_CODECS,
  PROC_TO_FOP,
  pairsBytesAt,
  READ_REPLY_BYTES,
  type WireReply,
  WRITE_CALL_BYTES,
} from "../../src/rpc/codec-fops.ts";
import { FOP_PROC, type FopProcName } from "../../src/rpc/programs.ts";
import { IATT_BYTES, iatt, legacyIatt, statfs } from "../../src/rpc/structs.ts";
import { decode, encode, XdrError, XdrReader, XdrWriter } from "../../src/rpc/xdr.ts";
import * as arbitrary from "./wire-arbitraries.ts";

const PROC_NAMES = Object.keys(FOP_PROC) as FopProcName[];
const NULL_DICT = "00000000 ffffffff 00000000";
const GFID = "be318638e8a04c6d977d7a937aa84806";
const gfid = parseGfid(GFID)!;

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ""), "hex");
}

describe("the fop table", () => {
  it("has every fop under its procedure number", () => {
    expect(new Set(PROC_NAMES)).toEqual(new Set([...FOP_NAMES, "release", "releasedir"]));
    for (const name of PROC_NAMES) {
      expect(FOP_CODECS[name].proc).toBe(FOP_PROC[name]);
      expect(PROC_TO_FOP[FOP_PROC[name]]).toBe(name);
    }
    const unused = [...Array(57).keys()].filter((proc) => PROC_TO_FOP[proc] === undefined);
    expect(unused).toEqual([0, 49]);
  });

  it("says where a payload follows", () => {
    expect(PROC_NAMES.filter((name) => FOP_CODECS[name].callPayload)).toEqual(["writev", "put"]);
    expect(PROC_NAMES.filter((name) => FOP_CODECS[name].replyPayload)).toEqual(["readv"]);
  });

  /** Measured with libgfxdr 10.3, xdata NULL. */
  it.each<[FopProcName, number]>([
    ["access", 20],
    ["stat", 168],
    ["writev", 316],
    ["lookup", 316],
    ["mkdir", 464],
    ["getxattr", 328],
    ["open", 28],
    ["readv", READ_REPLY_BYTES],
    ["statfs", 108],
    ["rename", 760],
    ["create", 472],
  ])("%s has a reply of %i bytes", (name, size) => {
    const { reply, zeroReply } = FOP_CODECS[name];
    expect(encode(reply as typeof FOP_CODECS.stat.reply, zeroReply as WireReply<"stat">)).toHaveLength(size);
  });

  it.each(PROC_NAMES)("%s: a zero reply is frozen, has no dicts and can be written", (name) => {
    const zero = FOP_CODECS[name].zeroReply as Record<string, unknown>;
    expect(Object.isFrozen(zero)).toBe(true);
    expect(Object.values(zero).some((value) => value instanceof Dict)).toBe(false);
    const failure = { ...zero, opRet: -1, opErrno: 2 } as never;
    const bytes = encode(FOP_CODECS[name].reply as never, failure);
    expect(bytes.readInt32BE(0)).toBe(-1);
    expect(bytes.readInt32BE(4)).toBe(2);
  });

  it.each(PROC_NAMES.flatMap((name) => [[name, "call"] as const, [name, "reply"] as const]))(
    "%s: a %s comes back as it went",
    (name, side) => {
      const type = FOP_CODECS[name][side] as never;
      fc.assert(
        fc.property(arbitrary.wireValue(name, side), (value) => {
          const bytes = encode(type, value as never);
          const read = decode(type, bytes);
          expect(plain(read)).toEqual(plain(value));
          expect(encode(type, read)).toEqual(bytes);
        }),
        { numRuns: 25 },
      );
    },
  );
});

/** Dicts as lists of pairs, so that `toEqual` sees into them. */
function plain(value: unknown): unknown {
  if (value instanceof Dict) return [...value].map(([key, entry]) => [key, plain(entry.value)]);
  if (Buffer.isBuffer(value) || typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, plain(entry)]));
}

describe("calls as stock clients send them", () => {
  it("LOOKUP of the root, with an empty dict", () => {
    const bytes = hex(
      `00000000000000000000000000000001 00000000000000000000000000000000 00000000 00000000
       00000000 00000000 00000000`,
    );
    const call = decode(FOP_CODECS.lookup.call, bytes);
    expect(gfidEquals(call.gfid, ROOT_GFID)).toBe(true);
    expect(call).toMatchObject({ flags: 0, name: "" });
    expect(call.xdata?.size).toBe(0);
    expect(encode(FOP_CODECS.lookup.call, call)).toEqual(bytes);
  });

  it("CREATE of /f1, O_RDWR|O_EXCL, 0644", () => {
    const bytes = hex(
      `00000000000000000000000000000001 00000082 000001a4 00000000 00000002 66310000 ${NULL_DICT}`,
    );
    const call = decode(FOP_CODECS.create.call, bytes);
    expect(call).toMatchObject({ flags: 0o202, mode: 0o644, umask: 0, name: "f1", xdata: undefined });
    expect(encode(FOP_CODECS.create.call, call)).toEqual(bytes);
  });

  it("WRITE of 37 bytes, the payload behind it unpadded", () => {
    const header = hex(
      `${GFID} 0000000000000000 0000000000000000 00000025 00000000 00000000 ffffffff 00000000`,
    );
    const payload = Buffer.alloc(37, 0x5a);
    const r = new XdrReader(Buffer.concat([header, payload]));
    const call = FOP_CODECS.writev.call.read(r);
    expect(call).toEqual({ gfid, fd: 0, offset: 0, size: 37, flags: 0, xdata: undefined });
    expect(r.remaining).toBe(37);
    expect(encode(FOP_CODECS.writev.call, call)).toEqual(header);
  });

  it.each<[string, FopProcName, Record<string, unknown>, string]>([
    [
      "UNLINK has its flags behind the name",
      "unlink",
      { parentGfid: gfid, name: "a", flags: 1, xdata: undefined },
      `${GFID} 00000001 61000000 00000001 ${NULL_DICT}`,
    ],
    [
      "RMDIR has its flags before the name",
      "rmdir",
      { parentGfid: gfid, flags: 1, name: "a", xdata: undefined },
      `${GFID} 00000001 00000001 61000000 ${NULL_DICT}`,
    ],
    [
      "SYMLINK has its umask between the names",
      "symlink",
      { parentGfid: gfid, name: "a", umask: 0o22, target: "b", xdata: undefined },
      `${GFID} 00000001 61000000 00000012 00000001 62000000 ${NULL_DICT}`,
    ],
    [
      "MKNOD has a 64-bit device",
      "mknod",
      { parentGfid: gfid, dev: 0x801, mode: 0o60600, umask: 0, name: "a", xdata: undefined },
      `${GFID} 0000000000000801 00006180 00000000 00000001 61000000 ${NULL_DICT}`,
    ],
    [
      "ENTRYLK has a 64-bit flag for the name",
      "entrylk",
      { gfid, cmd: 2, type: 1, named: 1, name: "a", volume: "v", xdata: undefined },
      `${GFID} 00000002 00000001 0000000000000001 00000001 61000000 00000001 76000000 ${NULL_DICT}`,
    ],
    [
      "READ has a signed fd",
      "readv",
      { gfid, fd: -2, offset: 4096, size: 512, flags: 0o100000, xdata: undefined },
      `${GFID} fffffffffffffffe 0000000000001000 00000200 00008000 ${NULL_DICT}`,
    ],
  ])("%s", (_what, name, value, bytes) => {
    const type = FOP_CODECS[name].call as never;
    expect(encode(type, value as never)).toEqual(hex(bytes));
    expect(decode(type, hex(bytes))).toEqual(value);
  });

  it("INODELK of AFR's metadata lock, whose start no number holds", () => {
    const flock = { whence: 0, start: 0x7ffffffffffffffen, len: 0n, pid: 7, lkOwner: Buffer.alloc(0) };
    const call = { gfid, cmd: 2, type: 1, volume: "v", xdata: undefined };
    const value = { ...call, flock: { type: "wrlck" as const, ...flock } };
    const bytes = encode(FOP_CODECS.inodelk.call, value);
    expect(bytes.subarray(24, 56)).toEqual(
      hex("00000001 00000000 7ffffffffffffffe 0000000000000000 00000007 00000000"),
    );
    expect(decode(FOP_CODECS.inodelk.call, bytes)).toEqual(value);
  });

  it("CREATE's reply has the fd between the attributes", () => {
    const reply = { ...FOP_CODECS.create.zeroReply, fd: 5 };
    const bytes = encode(FOP_CODECS.create.reply, reply);
    expect(bytes.readBigUInt64BE(20 + IATT_BYTES)).toBe(5n);
  });
});

describe("messages with a payload", () => {
  const value = fc.record({ xdata: arbitrary.dict, payload: arbitrary.bytes(100) });

  it("READ replies fall apart in the three steps of a stock receiver", () => {
    const { reply, zeroReply } = FOP_CODECS.readv;
    fc.assert(
      fc.property(value, ({ xdata, payload }) => {
        const struct = { ...zeroReply, opRet: payload.length, size: payload.length, xdata };
        const record = Buffer.concat([encode(reply, struct), payload]);
        const pairs = pairsBytesAt(record, 0, READ_REPLY_BYTES);
        expect(record.subarray(READ_REPLY_BYTES + pairs)).toEqual(payload);
        const r = new XdrReader(record, 0, READ_REPLY_BYTES + pairs);
        expect(reply.read(r).opRet).toBe(payload.length);
        expect(r.remaining).toBe(0);
      }),
    );
  });

  it("WRITE calls do, too", () => {
    fc.assert(
      fc.property(value, ({ xdata, payload }) => {
        const call = { gfid, fd: 3, offset: 0, size: payload.length, flags: 2, xdata };
        const record = Buffer.concat([encode(FOP_CODECS.writev.call, call), payload]);
        const pairs = pairsBytesAt(record, 0, WRITE_CALL_BYTES);
        expect(record.subarray(WRITE_CALL_BYTES + pairs)).toEqual(payload);
      }),
    );
  });
});

describe("attributes", () => {
  const stat = { ...ZERO_IATT, gfid, mode: 0o100644, nlink: 1, size: 5, blocks: 8, blksize: 4096 };

  it("bring the inode number and the flags that a stock brick sends", () => {
    const bytes = encode(iatt, stat);
    expect(bytes).toHaveLength(IATT_BYTES);
    expect(bytes.readBigUInt64BE(16)).toBe(0x17ffn);
    expect(bytes.subarray(24, 32)).toEqual(gfid.subarray(8));
    expect(bytes.readUInt32BE(144)).toBe(0o100644);
  });

  it("have the inode number that a 10.3 brick gives a gfid", () => {
    const shard = parseGfid("c2c25697-f603-4a11-8330-66a4923ff447")!;
    expect(encode(iatt, { ...stat, gfid: shard }).readBigUInt64BE(24)).toBe(0x833066a4923ff447n);
  });

  it("of the root have inode number 1", () => {
    expect(encode(iatt, { ...stat, gfid: ROOT_GFID }).readBigUInt64BE(24)).toBe(1n);
  });

  it("are all zero when there are none", () => {
    expect(encode(iatt, ZERO_IATT)).toEqual(Buffer.alloc(IATT_BYTES));
    expect(decode(iatt, Buffer.alloc(IATT_BYTES))).toEqual(ZERO_IATT);
  });

  it("group all seconds, then all nanoseconds", () => {
    const times = { atime: 1, mtime: 2, ctime: 3, btime: 4, atimeNsec: 5, mtimeNsec: 6, ctimeNsec: 7 };
    const bytes = encode(iatt, { ...stat, ...times, btimeNsec: 8 });
    expect(bytes.subarray(80, 128)).toEqual(
      hex(`0000000000000001 0000000000000002 0000000000000003 0000000000000004
           00000005 00000006 00000007 00000008`),
    );
  });

  it("of a file past 2^53 bytes are EOVERFLOW, but do not hide the rest of a directory", () => {
    const { reply } = FOP_CODECS.readdirp;
    const entry = { name: "huge", ino: 1n, offset: 1n, type: 8, stat };
    const value = { ...FOP_CODECS.readdirp.zeroReply, opRet: 2, entries: [entry, { ...entry, name: "b" }] };
    const bytes = encode(reply, value);
    const size = bytes.indexOf(hex("0000000000000005 0000000000000008"));
    bytes.writeBigUInt64BE(2n ** 60n, size);
    const [huge, other] = decode(reply, bytes).entries;
    expect(huge).toEqual({ ...entry, stat: ZERO_IATT });
    expect(other?.stat).toEqual(stat);

    const alone = encode(FOP_CODECS.stat.reply, { ...FOP_CODECS.stat.zeroReply, stat });
    alone.writeBigUInt64BE(2n ** 60n, 20 + 48);
    expect(() => decode(FOP_CODECS.stat.reply, alone)).toThrow(
      expect.objectContaining({ code: "EOVERFLOW" }),
    );
  });

  it("in the old form have 100 bytes and unsigned seconds", () => {
    const old = { ...stat, atime: 2 ** 32 - 1, mtime: 2, ctime: 3, ctimeNsec: 4 };
    const bytes = encode(legacyIatt, old);
    expect(bytes).toHaveLength(100);
    expect(decode(legacyIatt, bytes)).toEqual(old);
  });
});

describe("gfids", () => {
  it("are copied, and read twice are one object", () => {
    const id = newGfid();
    const record = encode(FOP_CODECS.stat.call, { gfid: id, xdata: undefined });
    const first: Gfid = decode(FOP_CODECS.stat.call, record).gfid;
    expect(decode(FOP_CODECS.stat.call, record).gfid).toBe(first);
    record.fill(0);
    expect(first).toEqual(id);
  });

  it("that end in the same byte are told apart", () => {
    const [a, b] = [newGfid(), newGfid()];
    b[15] = a[15]!;
    const read = (id: Gfid) => new XdrReader(id).gfid();
    expect(read(a)).toEqual(a);
    expect(read(b)).toEqual(b);
    expect(read(a)).toEqual(a);
  });
});

describe("statfs", () => {
  it("saturates counters and trims the file system id", () => {
    const bytes = Buffer.alloc(88, 0xff);
    const read = decode(statfs, bytes);
    expect(read.favail).toBe(Number.MAX_SAFE_INTEGER);
    expect(read.fsid).toBe(Number.MAX_SAFE_INTEGER);
    expect(encode(statfs, read)).toHaveLength(88);
  });
});

describe("hostile structs", () => {
  it.each<[string, FopProcName, string]>([
    ["a name of 4097 bytes", "mkdir", `${GFID} 00000000 00000000 00001001${"61".repeat(4100)} ${NULL_DICT}`],
    ["a name with a NUL", "mkdir", `${GFID} 00000000 00000000 00000003 61006100 ${NULL_DICT}`],
    [
      "an offset past 2^53",
      "readv",
      `${GFID} ${"00".repeat(8)} 0020000000000000 0000000000000000 ${NULL_DICT}`,
    ],
    ["a lock type 3", "lk", `${GFID} ${"00".repeat(16)} 00000003 ${"00".repeat(28)} ${NULL_DICT}`],
    [
      "a lock owner of 1025 bytes",
      "lk",
      `${GFID} ${"00".repeat(40)} 00000401 ${"00".repeat(1028)} ${NULL_DICT}`,
    ],
    ["nothing at all", "stat", ""],
  ])("%s is refused", (_what, name, bytes) => {
    expect(() => decode(FOP_CODECS[name].call as never, hex(bytes))).toThrow(XdrError);
  });

  it("a lock type that no lock has is refused when written, too", () => {
    const w = new XdrWriter();
    const flock = {
      type: "none" as "unlck",
      whence: 0,
      start: 0n,
      len: 0n,
      pid: 0,
      lkOwner: Buffer.alloc(0),
    };
    const call = { gfid, fd: 0, cmd: 0, type: 0, flock, xdata: undefined };
    expect(() => FOP_CODECS.lk.call.write(w, call)).toThrow(XdrError);
  });
});
