import { describe, expect, it } from "vitest";
import { nothing, statusReply } from "../../src/rpc/codec-control.ts";
import { finish, readReplyStatus, SELF, writeCallHead } from "../../src/rpc/message.ts";
import { DUMP_PROC, DUMP_PROGRAM, type Program } from "../../src/rpc/programs.ts";
import { LAST_FRAGMENT } from "../../src/rpc/record.ts";
import { type Exchange, RpcServer, type ServedProgram } from "../../src/rpc/server.ts";
import { type MemoryTransport, memoryPair } from "../../src/rpc/transport-memory.ts";
import { type XdrReader, XdrWriter } from "../../src/rpc/xdr.ts";
import { dumpProgram } from "../../xlators/protocol/server-handshake.ts";
import { fakeEnv, settle } from "../support/fake-env.ts";

const WORK: Program = { number: 4242, version: 7, name: "work" };
const LATER = 1;
const UNCOUNTED = 2;

/** Answers a call when the test says so. */
class Work implements ServedProgram {
  readonly number = WORK.number;
  readonly version = WORK.version;
  readonly name = WORK.name;
  readonly running: Exchange[] = [];

  dispatch(exchange: Exchange, reader: XdrReader): void {
    reader.u32();
    exchange.record.release();
    if (exchange.procedure === UNCOUNTED) exchange.uncount();
    this.running.push(exchange);
  }

  answerFirst(): void {
    this.running.shift()!.reply(statusReply, { opRet: 0, opErrno: 0 });
  }
}

function serve(outstandingMax = 4) {
  const env = fakeEnv();
  const work = new Work();
  const disconnected: number[] = [];
  const server = new RpcServer([work, dumpProgram], {
    log: env.log,
    outstandingMax: () => outstandingMax,
    onDisconnect: (peer) => disconnected.push(peer.inFlight),
  });
  const [client, end] = memoryPair();
  const peer = server.accept(end);
  const replies: { xid: number; status: string | undefined }[] = [];
  let closed = false;
  client.start({
    onRecord(record) {
      const r = record.reader();
      const xid = r.u32();
      r.u32();
      replies.push({ xid, status: readReplyStatus(r) });
      record.release();
    },
    onClose() {
      closed = true;
    },
  });
  return { env, work, server, client, peer, replies, disconnected, isClosed: () => closed };
}

function call(client: MemoryTransport, xid: number, procedure = LATER, program: Program = WORK): void {
  const w = new XdrWriter();
  writeCallHead(w, xid, program, procedure, "v3", SELF);
  w.u32(1);
  client.send([finish(w)]);
}

function ping(client: MemoryTransport, xid: number): void {
  const w = new XdrWriter();
  writeCallHead(w, xid, DUMP_PROGRAM, DUMP_PROC.PING, "v2", SELF);
  nothing.write(w, {});
  client.send([finish(w)]);
}

describe("rpc server", () => {
  it("answers calls for what it does not have with what is wrong", async () => {
    const { client, replies } = serve();
    call(client, 1, 1, { number: 99, version: 1, name: "" });
    call(client, 2, 1, { ...WORK, version: 8 });
    call(client, 3, 9, DUMP_PROGRAM);
    await settle();
    expect(replies).toEqual([
      { xid: 1, status: "program unknown" },
      { xid: 2, status: "program version unknown" },
      { xid: 3, status: "procedure unknown" },
    ]);
  });

  it("runs no more calls of a connection than the limit, and all of them in the end", async () => {
    const { client, work, replies } = serve(4);
    for (let xid = 1; xid <= 40; xid++) call(client, xid);
    await settle();
    expect(work.running.length).toBe(4);
    for (let answered = 1; answered <= 40; answered++) {
      work.answerFirst();
      await settle();
      expect(work.running.length).toBe(Math.min(4, 40 - answered));
    }
    expect(replies.map((reply) => reply.xid)).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
  });

  it("stops reading above the limit", async () => {
    const { client, work } = serve(4);
    for (let xid = 1; xid <= 100; xid++) {
      call(client, xid);
      await settle();
    }
    expect(client.backlogBytes).toBeGreaterThan(0);
    while (work.running.length > 0) {
      work.answerFirst();
      await settle();
    }
    expect(client.backlogBytes).toBe(0);
  });

  it("answers pings while the limit is reached", async () => {
    const { client, work, replies } = serve(4);
    for (let xid = 1; xid <= 6; xid++) call(client, xid);
    ping(client, 1000);
    await settle();
    expect(work.running.length).toBe(4);
    expect(replies).toEqual([{ xid: 1000, status: undefined }]);
  });

  it("does not count calls that wait for others", async () => {
    const { client, work, peer } = serve(4);
    for (let xid = 1; xid <= 50; xid++) call(client, xid, UNCOUNTED);
    call(client, 51);
    await settle();
    expect(work.running.length).toBe(51);
    expect(peer.inFlight).toBe(1);
    for (const exchange of work.running.splice(0)) exchange.reply(statusReply, { opRet: 0, opErrno: 0 });
    await settle();
    expect(peer.inFlight).toBe(0);
  });

  it("counts a call until its reply has left, so that a peer that reads nothing is not read", async () => {
    const { client, work, peer } = serve(4);
    call(client, 1);
    await settle();
    client.pause();
    for (let xid = 2; xid <= 100; xid++) call(client, xid);
    for (let turn = 0; turn < 50; turn++) {
      while (work.running.length > 0) work.answerFirst();
      await settle();
    }
    expect(peer.inFlight).toBe(4);
    expect(client.backlogBytes).toBeGreaterThan(0);
    client.resume();
    for (let turn = 0; turn < 50; turn++) {
      while (work.running.length > 0) work.answerFirst();
      await settle();
    }
    expect(peer.inFlight).toBe(0);
  });

  it.each([
    ["a reply", "00000001 00000001 00000000 00000000 00000000 00000000"],
    ["a header cut off", "00000001 00000000 00000002"],
    [
      "arguments cut off",
      "00000001 00000000 00000002 00001092 00000007 00000001 00000000 00000000 00000000 00000000",
    ],
    ["a credential of 401 bytes", "00000001 00000000 00000002 00001092 00000007 00000001 0005f398 00000191"],
  ])("drops a peer that sends %s, with one log line", async (_what, text) => {
    const { client, env, disconnected, isClosed } = serve();
    const body = Buffer.from(text.replaceAll(" ", ""), "hex");
    const mark = Buffer.alloc(4);
    mark.writeUInt32BE(LAST_FRAGMENT + body.length);
    client.sendRaw(Buffer.concat([mark, body]));
    await settle();
    expect(isClosed()).toBe(true);
    expect(disconnected.length).toBe(1);
    expect(env.log.lines.filter((line) => line.level === "warn").length).toBe(1);
  });

  it("drops a peer whose record is above the limit, before the record has come", async () => {
    const { client, env, isClosed } = serve();
    client.sendRaw(Buffer.from("ffffffff", "hex"));
    await settle();
    expect(isClosed()).toBe(true);
    expect(env.log.lines.filter((line) => line.level === "warn").length).toBe(1);
  });

  it("tells of a disconnect once, and late answers are dropped", async () => {
    const { client, work, disconnected } = serve();
    call(client, 1);
    await settle();
    client.close();
    await settle();
    work.answerFirst();
    await settle();
    expect(disconnected).toEqual([1]);
  });
});
