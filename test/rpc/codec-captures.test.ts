/**
 * Bytes of stock GlusterFS 10.3 (fixtures/stock-10.3.txt): FUSE clients with and without replicate, shard and
 * md-cache, against glusterfsd bricks, taken by a proxy between them. A line is program, procedure, side and
 * the message behind its RPC header.
 */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as control from "../../src/rpc/codec-control.ts";
import { FOP_CODECS, type WireCall } from "../../src/rpc/codec-fops.ts";
import type { FopProcName } from "../../src/rpc/programs.ts";
import { XdrReader, type XdrType, XdrWriter } from "../../src/rpc/xdr.ts";

interface Message {
  readonly program: string;
  readonly procedure: string;
  readonly side: "call" | "reply";
  readonly bytes: Buffer;
}

const messages: readonly Message[] = readFileSync(new URL("fixtures/stock-10.3.txt", import.meta.url), "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => {
    const [program, procedure, side, hex = ""] = line.split(" ");
    return {
      program: program!,
      procedure: procedure!,
      side: side as Message["side"],
      bytes: Buffer.from(hex, "hex"),
    };
  });

const CONTROL: Readonly<Record<string, XdrType<unknown>>> = {
  "DUMP call": control.dumpCall,
  "DUMP reply": control.dumpReply,
  "PING call": control.nothing,
  "PING reply": control.pingReply,
  "SETVOLUME call": control.setvolumeCall,
  "SETVOLUME reply": control.setvolumeReply,
  "CACHE_INVALIDATION call": control.cacheInvalidation,
  "INODELK_CONTENTION call": control.inodelkContention,
};

function typeOf({ program, procedure, side }: Message): XdrType<unknown> {
  return program === "fop" ? FOP_CODECS[procedure as FopProcName][side] : CONTROL[`${procedure} ${side}`]!;
}

/** Bytes that are raw payload behind the struct. */
function payloadBytes({ program, procedure, side }: Message, value: unknown): number {
  if (program !== "fop") return 0;
  const { callPayload, replyPayload } = FOP_CODECS[procedure as FopProcName];
  if (side === "call") return callPayload ? (value as WireCall<"writev">).size : 0;
  return replyPayload ? (value as { opRet: number }).opRet : 0;
}

/** STATFS replies lose the top eleven bits of the file system id: it is a hash, and a number here. */
function expected({ procedure, side, bytes }: Message): Buffer {
  if (procedure !== "statfs" || side !== "reply") return bytes;
  const copy = Buffer.from(bytes);
  copy.writeUInt32BE(copy.readUInt32BE(84) & 0x1fffff, 84);
  return copy;
}

describe("bytes of stock GlusterFS", () => {
  it("cover the procedures of a FUSE client", () => {
    expect(new Set(messages.map(({ procedure }) => procedure)).size).toBeGreaterThan(40);
  });

  it.each(messages.map((message, i) => [i + 1, message.procedure, message.side, message] as const))(
    "line %i, %s %s: read to the last byte and written the same",
    (_line, _procedure, _side, message) => {
      const type = typeOf(message);
      const r = new XdrReader(message.bytes);
      const value = type.read(r);
      expect(r.remaining).toBe(Math.max(payloadBytes(message, value), 0));
      const w = new XdrWriter();
      type.write(w, value);
      expect(w.take()).toEqual(expected(message).subarray(0, r.offset));
    },
  );

  function calls<F extends FopProcName>(fop: F): WireCall<F>[] {
    const found = messages.filter(({ procedure, side }) => procedure === fop && side === "call");
    return found.map(({ bytes }) => FOP_CODECS[fop].call.read(new XdrReader(bytes)));
  }

  it("mean what was asked for", () => {
    expect(calls("mknod")).toContainEqual(
      expect.objectContaining({ name: "dev", mode: 0o60600, dev: 0x801 }),
    );
    expect(calls("symlink")).toContainEqual(expect.objectContaining({ name: "sym", target: "file" }));
    expect(calls("rename")).toContainEqual(expect.objectContaining({ oldName: "hard", newName: "moved" }));
    expect(calls("fallocate")).toContainEqual(expect.objectContaining({ keepSize: 1, offset: 4096 }));
    const flock = expect.objectContaining({ type: "wrlck", start: 5n, len: 10n });
    expect(calls("lk")).toContainEqual(expect.objectContaining({ flock }));
    expect(calls("setxattr").some(({ xattrs }) => xattrs?.text("user.d")?.startsWith("ddd"))).toBe(true);
    expect(calls("xattrop").some(({ xattrs }) => xattrs?.bytes("trusted.afr.dirty")?.length === 12)).toBe(
      true,
    );
  });
});
