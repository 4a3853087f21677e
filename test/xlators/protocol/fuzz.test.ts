/**
 * Hostile records at both ends, seeded: brick and client survive them, answer or drop, and go on serving
 * honest peers.
 */

import { describe, expect, it } from "vitest";
import { Dict } from "../../../src/core/dict.ts";
import { FopError } from "../../../src/core/errors.ts";
import { FOP_NAMES, type FopName } from "../../../src/core/fops.ts";
import { newGfid, ROOT_GFID } from "../../../src/core/gfid.ts";
import { ZERO_IATT } from "../../../src/core/iatt.ts";
import { FOP_CODECS } from "../../../src/rpc/codec-fops.ts";
import { finish, SELF, writeCallHead } from "../../../src/rpc/message.ts";
import { DUMP_PROGRAM, FOP_PROC, FOP_PROGRAM, HANDSHAKE_PROGRAM } from "../../../src/rpc/programs.ts";
import { LAST_FRAGMENT } from "../../../src/rpc/record.ts";
import type { MemoryTransport } from "../../../src/rpc/transport-memory.ts";
import { XdrWriter } from "../../../src/rpc/xdr.ts";
import { settle } from "../../support/fake-env.ts";
import { Prng } from "../../support/prng.ts";
import { PORT, Rig } from "./rig.ts";
import { WireClient } from "./wire-client.ts";

const SERVER_RECORDS = 85_000;
const CLIENT_RECORDS = 20_000;
/** Records sent before the other end gets its turn. */
const BURST = 10;
const EXTREMES = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0x00010000];

/** Changes a message behind its mark: bits, words, its length; the mark follows the length, mostly. */
function mutate(random: Prng, message: Buffer): Buffer {
  let bytes = Buffer.from(message);
  for (let changes = random.int(1, 3); changes > 0; changes--) {
    const at = 4 + random.int(0, Math.max(0, bytes.length - 5));
    switch (random.int(0, 4)) {
      case 0:
        bytes[at] = bytes[at]! ^ (1 << random.int(0, 7));
        break;
      case 1:
        if (bytes.length >= 8) bytes.writeUInt32BE(random.pick(EXTREMES), (at & ~3) % (bytes.length - 4));
        break;
      case 2:
        bytes = bytes.subarray(0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes, random.bytes(random.int(1, 64))]);
        break;
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), random.bytes(4), bytes.subarray(at)]);
    }
  }
  if (bytes.length < 4) bytes = Buffer.concat([bytes, Buffer.alloc(4)]);
  if (!random.chance(0.01)) bytes.writeUInt32BE(LAST_FRAGMENT + bytes.length - 4);
  return bytes;
}

/** A message of random bytes behind a fitting mark, or a record in pieces, or a mark alone. */
function noise(random: Prng): Buffer {
  const body = random.bytes(random.int(0, 300));
  const mark = Buffer.alloc(4);
  mark.writeUInt32BE((random.chance(0.9) ? LAST_FRAGMENT : 0) + body.length);
  return Buffer.concat([mark, body]);
}

/** A call of every procedure, right in form and about things that exist, for mutation. */
function honestCalls(): Buffer[] {
  const xdata = new Dict().setGfid("gfid-req", newGfid()).setStr("k", "v").setInt("n", 1);
  const flock = { type: "rdlck", whence: 0, start: 0n, len: 10n, pid: 1, lkOwner: Buffer.from("owner") };
  const fields: Record<string, unknown> = {
    gfid: ROOT_GFID,
    parentGfid: ROOT_GFID,
    oldParentGfid: ROOT_GFID,
    newParentGfid: ROOT_GFID,
    gfidIn: ROOT_GFID,
    gfidOut: ROOT_GFID,
    name: "name",
    oldName: "name",
    newName: "other",
    target: "target",
    volume: "domain",
    fd: 0,
    fdIn: 0,
    fdOut: 0,
    xdata,
    xattrs: Dict.ofBytes({ "user.x": Buffer.from("value") }),
    stat: ZERO_IATT,
    flock,
    locks: [{ flock, clientUid: "client", flags: 0 }],
    lease: { cmd: 1, type: 1, id: Buffer.alloc(16), flags: 0 },
  };
  const messages: Buffer[] = [];
  const w = new XdrWriter();
  for (const fop of [...FOP_NAMES, "release", "releasedir"] as const) {
    const readdir = fop === "readdir" || fop === "readdirp";
    const call = new Proxy(
      {},
      { get: (_t, key) => fields[String(key)] ?? (readdir && key === "offset" ? 0n : 1) },
    );
    writeCallHead(w, 7, FOP_PROGRAM, FOP_PROC[fop], "v3", { ...SELF, lkOwner: Buffer.from("fuzz") });
    (FOP_CODECS[fop].call as { write(w: XdrWriter, value: unknown): void }).write(w, call);
    const payload = fop === "writev" || fop === "put" ? Buffer.from("x") : Buffer.alloc(0);
    messages.push(Buffer.concat([finish(w, payload.length), payload]));
  }
  for (const program of [DUMP_PROGRAM, HANDSHAKE_PROGRAM])
    for (const procedure of [1, 2, 3, 4]) {
      writeCallHead(w, 8, program, procedure, "v2", SELF);
      w.u64(1);
      messages.push(finish(w));
    }
  return messages;
}

describe("hostile peers", () => {
  it(`the brick outlives ${SERVER_RECORDS} records of them`, { timeout: 120_000 }, async () => {
    const random = new Prng(20_261);
    await using rig = await Rig.start();
    const honest = await rig.client();
    const kept = await honest.session.create("kept");
    const calls = honestCalls();
    let transport = await hostile(rig, false);
    let dropped = 0;
    // Only what arrived counts: the rest of a burst behind a fatal record does not.
    for (let arrived = 0; arrived < SERVER_RECORDS; ) {
      const before = transport.other.arrivals;
      for (let burst = 0; burst < BURST; burst++) {
        const raw = random.chance(0.03) ? noise(random) : random.pick(calls);
        transport.sendRaw(random.chance(0.3) ? mutate(random, raw) : raw);
      }
      await settle();
      arrived += transport.other.arrivals - before;
      if (!transport.closed) continue;
      dropped++;
      transport = await hostile(rig, random.chance(0.8));
    }
    transport.close();
    await settle();
    expect(dropped).toBeGreaterThan(100);
    expect(rig.logged("error")).toEqual([]);
    await honest.session.write(kept, Buffer.from("still here"), 0);
    expect(String(await honest.session.read(kept, 0, 100))).toBe("still here");
  });

  it(`the client outlives ${CLIENT_RECORDS} replies of them`, { timeout: 120_000 }, async () => {
    const random = new Prng(20_262);
    await using rig = await Rig.start();
    const armed = { on: false, records: 0 };
    const { connect } = rig.network;
    (rig.network as { connect: typeof connect }).connect = async (target) => {
      const transport = (await connect(target)) as MemoryTransport;
      tamper(transport.other, random, armed);
      return transport;
    };
    const client = await rig.client({ "frame-timeout": "60", "ping-timeout": "0" });
    const { session } = client;
    const fd = await session.create("f");
    await session.write(fd, Buffer.alloc(5000, 1), 0);
    const directory = await session.opendir();
    while (armed.records < CLIENT_RECORDS) {
      armed.on = true;
      const work = Array.from({ length: 40 }, () => ask(session, random, fd, directory));
      let waiting = work.length;
      for (const one of work) void one.then(() => waiting--);
      await settle();
      armed.on = false;
      // A record of the wrong length swallows what follows it: calls end by their timeout, the connection by
      // the peer.
      if (waiting > 0) {
        for (let turn = 0; waiting > 0 && turn < 8; turn++) await rig.env.clock.advance(10_000);
        client.link().close();
      }
      expect(waiting).toBe(0);
      if (client.link().closed) await rig.env.clock.advance(3000);
    }
    client.link().close();
    for (let turn = 0; turn < 3; turn++) await rig.env.clock.advance(3000);
    expect(String((await session.read(fd, 0, 4)).toString("hex"))).toBe("01010101");
    const unexpected = rig.logged("error").filter((message) => !message.startsWith("connection dropped"));
    expect(unexpected).toEqual([]);
  });
});

/** A connection of a hostile peer, with or without having been let in. */
async function hostile(rig: Rig, bound: boolean): Promise<MemoryTransport> {
  if (bound) {
    const client = await WireClient.bound(rig);
    const { fd } = await client.ask("opendir", { gfid: ROOT_GFID, xdata: undefined });
    if (fd !== 0) throw new Error("the first fd has number 0");
    return client.rpc.transport as MemoryTransport;
  }
  const transport = (await rig.network.connect({ kind: "tcp", host: "h", port: PORT })) as MemoryTransport;
  transport.start({ onRecord: (record) => record.release(), onClose: () => {} });
  return transport;
}

/** Makes one end send rubbish now and then. */
function tamper(end: MemoryTransport, random: Prng, armed: { on: boolean; records: number }): void {
  const send = end.send.bind(end);
  end.send = (message, lease) => {
    if (!armed.on) return send(message, lease);
    armed.records++;
    if (random.chance(0.01)) send([noise(random)]);
    return send(random.chance(0.15) ? [mutate(random, Buffer.concat(message as Buffer[]))] : message, lease);
  };
}

type User = Awaited<ReturnType<Rig["client"]>>["session"];
type File = Awaited<ReturnType<User["create"]>>;

/** One fop of any kind; settles whatever comes, but only a FopError may be what it fails with. */
async function ask(session: User, random: Prng, fd: File, directory: File): Promise<void> {
  const { top, call } = session;
  const loc = { inode: fd.inode };
  const kinds: Partial<Record<FopName, () => Promise<unknown>>> = {
    readv: async () => {
      const { lease } = await top.readv(call, { fd, offset: 0, size: random.int(1, 5000), flags: 0 });
      lease?.release();
    },
    writev: () => top.writev(call, { fd, data: [Buffer.from("data")], offset: 5000, flags: 0 }),
    stat: () => top.stat(call, { loc }),
    lookup: () => session.lookup("f"),
    readdirp: () => top.readdirp(call, { fd: directory, size: 4096, offset: 0n }),
    readdir: () => top.readdir(call, { fd: directory, size: 4096, offset: 0n }),
    getxattr: () => top.getxattr(call, { loc, name: undefined }),
    statfs: () => top.statfs(call, { loc }),
    readlink: () => top.readlink(call, { loc, size: 100 }),
    xattrop: () =>
      top.xattrop(call, { loc, op: 0, xattrs: Dict.ofBytes({ "trusted.afr.dirty": Buffer.alloc(12) }) }),
    open: () => top.open(call, { loc, fd, flags: 2 }),
    getactivelk: () => top.getactivelk(call, { loc }),
    rchecksum: () => top.rchecksum(call, { fd, offset: 0, size: 100 }),
    seek: () => top.seek(call, { fd, offset: 0, what: "data" }),
    fsync: () => top.fsync(call, { fd, datasync: false }),
  };
  try {
    await random.pick(Object.values(kinds))();
  } catch (error) {
    if (!(error instanceof FopError)) throw error;
  }
}
