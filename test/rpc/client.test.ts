import { describe, expect, it } from "vitest";
import type { FopError } from "../../src/core/errors.ts";
import { PendingCall, RpcClient, type RpcClientOptions } from "../../src/rpc/client.ts";
import { pingReply, statusReply } from "../../src/rpc/codec-control.ts";
import { finish, readCallHead, SELF, writeCallHead, writeReplyHead } from "../../src/rpc/message.ts";
import { CALLBACK_PROC, CALLBACK_PROGRAM, DUMP_PROGRAM, PORTMAP_PROGRAM } from "../../src/rpc/programs.ts";
import type { ReceivedRecord } from "../../src/rpc/record.ts";
import { type MemoryTransport, memoryPair } from "../../src/rpc/transport-memory.ts";
import { u32, type XdrReader, XdrWriter } from "../../src/rpc/xdr.ts";
import { type FakeEnv, fakeEnv, settle } from "../support/fake-env.ts";

/** The other end: keeps the calls it gets; answers when the test says so. */
class Peer {
  readonly calls: { xid: number; program: number; procedure: number }[] = [];
  readonly transport: MemoryTransport;
  closed = false;
  answersPings = true;

  constructor(transport: MemoryTransport) {
    this.transport = transport;
    transport.start({
      onRecord: (record) => {
        const { xid, program, procedure } = readCallHead(record.reader(), undefined);
        record.release();
        if (program === DUMP_PROGRAM.number && this.answersPings) this.pong(xid);
        else this.calls.push({ xid, program, procedure });
      },
      onClose: () => {
        this.closed = true;
      },
    });
  }

  answer(xid: number, opRet = 0): void {
    const w = new XdrWriter();
    writeReplyHead(w, xid);
    statusReply.write(w, { opRet, opErrno: 0 });
    this.transport.send([finish(w)]);
  }

  pong(xid: number): void {
    const w = new XdrWriter();
    writeReplyHead(w, xid);
    pingReply.write(w, { opRet: 0, opErrno: 0, xdata: Buffer.alloc(0) });
    this.transport.send([finish(w)]);
  }
}

interface Setup {
  readonly env: FakeEnv;
  readonly rpc: RpcClient;
  readonly peer: Peer;
  readonly closes: (string | undefined)[];
  readonly end: MemoryTransport;
}

function connect(options: Partial<RpcClientOptions> = {}): Setup {
  const env = fakeEnv();
  const [end, other] = memoryPair();
  const closes: (string | undefined)[] = [];
  const rpc = new RpcClient(end, {
    env,
    frameTimeoutMs: () => 0,
    pingTimeoutMs: () => 0,
    onClose: (why) => closes.push(why),
    ...options,
  });
  return { env, rpc, peer: new Peer(other), closes, end };
}

function ask(rpc: RpcClient, value = 1) {
  return rpc.request(PORTMAP_PROGRAM, 1, u32, value, statusReply);
}

/** The error's code, or the reply. */
function outcome(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: FopError) => error.code);
}

describe("rpc client", () => {
  it("gives each reply to its call, in whatever order they come", async () => {
    const { rpc, peer } = connect();
    const answers = [ask(rpc), ask(rpc), ask(rpc)];
    await settle();
    for (const [index, { xid }] of [...peer.calls.entries()].reverse()) peer.answer(xid, index);
    expect((await Promise.all(answers)).map((reply) => reply.opRet)).toEqual([0, 1, 2]);
    expect(rpc.outstanding).toBe(0);
  });

  it("numbers its first call 2 and goes on from the connection before", async () => {
    const first = connect();
    void outcome(ask(first.rpc));
    await settle();
    expect(first.peer.calls[0]?.xid).toBe(2);
    const second = connect({ lastXid: first.rpc.lastXid });
    void outcome(ask(second.rpc));
    await settle();
    expect(second.peer.calls[0]?.xid).toBe(3);
  });

  it("fails pending calls with ENOTCONN when the connection ends, and later ones at once", async () => {
    const { rpc, peer, closes } = connect();
    const pending = [ask(rpc), ask(rpc)].map(outcome);
    await settle();
    peer.transport.close();
    expect(await Promise.all(pending)).toEqual(["ENOTCONN", "ENOTCONN"]);
    expect(await outcome(ask(rpc))).toBe("ENOTCONN");
    expect(closes).toEqual(["the peer closed the connection"]);
  });

  it("ends the connection on a reply to a call that nobody made", async () => {
    const { rpc, peer, env, closes } = connect();
    const pending = outcome(ask(rpc));
    await settle();
    peer.answer(4711);
    expect(await pending).toBe("ENOTCONN");
    expect(closes.length).toBe(1);
    expect(env.log.lines.filter((line) => line.level === "error").length).toBe(1);
  });

  it("ends the connection on a reply that is too short", async () => {
    const { rpc, peer } = connect();
    const pending = outcome(ask(rpc));
    await settle();
    const w = new XdrWriter();
    writeReplyHead(w, peer.calls[0]!.xid);
    peer.transport.send([finish(w)]);
    expect(await pending).toBe("ENOTCONN");
    expect(rpc.closed).toBe(true);
  });

  it("fails only the call that the peer refuses", async () => {
    const { rpc, peer } = connect();
    const [refused, other] = [outcome(ask(rpc)), ask(rpc)];
    await settle();
    const w = new XdrWriter();
    writeReplyHead(w, peer.calls[0]!.xid, 4);
    peer.transport.send([finish(w)]);
    peer.answer(peer.calls[1]!.xid, 5);
    expect(await refused).toBe("ENOTCONN");
    expect((await other).opRet).toBe(5);
  });

  it("hands callbacks on and does not answer them", async () => {
    const seen: [number, number, number][] = [];
    const { peer } = connect({
      onCallback: (program, procedure, reader) => seen.push([program, procedure, reader.u32()]),
    });
    const w = new XdrWriter();
    writeCallHead(w, 1, CALLBACK_PROGRAM, CALLBACK_PROC.STATEDUMP, "none", SELF);
    w.u32(77);
    peer.transport.send([finish(w)]);
    await settle();
    expect(seen).toEqual([[CALLBACK_PROGRAM.number, CALLBACK_PROC.STATEDUMP, 77]]);
    expect(peer.calls).toEqual([]);
  });

  it("fails a call whose arguments do not fit the wire and goes on", async () => {
    const { rpc, peer } = connect();
    expect(await outcome(ask(rpc, -1))).toBe("EINVAL");
    const next = ask(rpc);
    await settle();
    peer.answer(peer.calls[0]!.xid, 1);
    expect((await next).opRet).toBe(1);
  });
});

describe("frame timeout", () => {
  it("fails the call and keeps the connection; a reply that comes late is dropped", async () => {
    const { rpc, peer, env } = connect({ frameTimeoutMs: () => 60_000 });
    const pending = outcome(ask(rpc));
    await env.clock.advance(59_000);
    expect(rpc.outstanding).toBe(1);
    await env.clock.advance(12_000);
    expect(await pending).toBe("ENOTCONN");
    expect(rpc.closed).toBe(false);
    peer.answer(peer.calls[0]!.xid);
    await settle();
    expect(rpc.closed).toBe(false);
    const next = ask(rpc);
    await settle();
    peer.answer(peer.calls[1]!.xid, 9);
    expect((await next).opRet).toBe(9);
  });

  it("does not concern calls that wait for others", async () => {
    class Lock extends PendingCall {
      override readonly patient = true;
      result = "waiting";
      override onReply(_reader: XdrReader, record: ReceivedRecord): void {
        record.release();
        this.result = "granted";
      }
      override onFailure(error: FopError): void {
        this.result = error.code;
      }
    }
    const { rpc, peer, env } = connect({ frameTimeoutMs: () => 10_000 });
    const lock = new Lock();
    rpc.send(PORTMAP_PROGRAM, 1, SELF, u32, 1, lock);
    await env.clock.advance(1_000_000);
    expect(lock.result).toBe("waiting");
    peer.answer(peer.calls[0]!.xid);
    await settle();
    expect(lock.result).toBe("granted");
  });

  it("ends the connection when the call has not even left, as its payload may still be read", async () => {
    const { rpc, peer, env } = connect({ frameTimeoutMs: () => 60_000 });
    await settle();
    peer.transport.pause();
    const pending = outcome(ask(rpc));
    await env.clock.advance(80_000);
    expect(await pending).toBe("ENOTCONN");
    expect(rpc.closed).toBe(true);
  });
});

describe("ping", () => {
  it("drops a peer that is silent for the ping timeout while a call is outstanding", async () => {
    const { rpc, end, env } = connect({ pingTimeoutMs: () => 42_000 });
    end.silent = true;
    const pending = outcome(ask(rpc));
    await env.clock.advance(41_000);
    expect(rpc.closed).toBe(false);
    await env.clock.advance(12_000);
    expect(rpc.closed).toBe(true);
    expect(await pending).toBe("ENOTCONN");
  });

  it("leaves a peer alone that answers pings, however long a call takes", async () => {
    const latencies: number[] = [];
    const { rpc, env } = connect({ pingTimeoutMs: () => 42_000, onPing: (ms) => latencies.push(ms) });
    void outcome(ask(rpc));
    await env.clock.advance(1_000_000);
    expect(rpc.closed).toBe(false);
    expect(latencies.length).toBeGreaterThan(20);
  });

  it.each([100, 1_000, 4_900, 5_100, 9_999, 12_345])(
    "drops a peer within a second of the ping timeout, last seen after %d ms",
    async (lastSignMs) => {
      const { rpc, peer, env } = connect({ pingTimeoutMs: () => 5_000 });
      void outcome(ask(rpc));
      const last = outcome(ask(rpc));
      await env.clock.advance(lastSignMs);
      peer.answersPings = false;
      peer.answer(peer.calls[1]!.xid);
      await last;
      await env.clock.advance(4_400);
      expect(rpc.closed).toBe(false);
      await env.clock.advance(1_600);
      expect(rpc.closed).toBe(true);
    },
  );

  it("counts any traffic as life", async () => {
    const { rpc, peer, env } = connect({ pingTimeoutMs: () => 40_000 });
    peer.answersPings = false;
    const calls = Array.from({ length: 12 }, () => outcome(ask(rpc)));
    await settle();
    const ours = peer.calls.filter((call) => call.program === PORTMAP_PROGRAM.number);
    for (const { xid } of ours) {
      await env.clock.advance(30_000);
      peer.answer(xid);
    }
    await Promise.all(calls);
    expect(rpc.closed).toBe(false);
    await env.clock.advance(60_000);
    expect(rpc.closed).toBe(true);
  });

  it("does not ping an idle connection", async () => {
    const { rpc, peer, env } = connect({ pingTimeoutMs: () => 42_000 });
    const call = ask(rpc);
    await settle();
    peer.answer(peer.calls[0]!.xid);
    await call;
    peer.answersPings = false;
    await env.clock.advance(10_000_000);
    expect(rpc.closed).toBe(false);
    expect(env.clock.pendingCount).toBe(0);
  });
});
